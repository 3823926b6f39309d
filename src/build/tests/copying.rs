//! COPY and WORKDIR: destinations, links, owners, other stages.

use std::os::unix::fs::symlink;

use super::{Machine, whole};
use crate::plan::tests::{Build, build};

/// A build upon a base with links, directories and users.
fn upon(machine: &Machine, text: &str) -> Build {
    let lower = [
        ("bin", "-> usr/bin"),
        ("etc/", ""),
        ("etc/group", "root:x:0:\nstaff:x:50:\n"),
        ("etc/passwd", "root:x:0:0::/:/bin/sh\napp:x:1000:1001::/:/bin/sh\n"),
        ("file", "old"),
        ("flink", "-> file"),
        ("srv/", ""),
        ("srv/sub/", ""),
        ("usr/", ""),
        ("usr/bin/", ""),
    ];
    let upper = [("tmp/", ""), ("srv/new", "n")];
    let layers = [machine.layer(&lower), machine.layer(&upper)];
    build(&format!("FROM base\n{text}"))
        .layered("base", &layers)
        .file("f", "F")
        .file("bin/x", "X")
        .file("tree/sub/g", "G")
        .file("tree/h", "H")
}

#[tokio::test]
async fn destinations_follow_buildkit() {
    let machine = Machine::new();
    for (text, expected) in [
        ("COPY f /srv", vec!["srv/f 644 0:0 F"]),
        ("COPY f /srv/", vec!["srv/f 644 0:0 F"]),
        ("COPY f /srv/sub/..", vec!["srv/f 644 0:0 F"]),
        ("COPY f /new", vec!["new 644 0:0 F"]),
        ("COPY f /a/b/", vec!["a/ 755 0:0", "a/b/ 755 0:0", "a/b/f 644 0:0 F"]),
        ("COPY f /file", vec!["file 644 0:0 F"]),
        ("COPY f /flink", vec!["file 644 0:0 F"]),
        ("COPY f /bin/tool", vec!["usr/bin/tool 644 0:0 F"]),
        ("COPY f /bin", vec!["usr/bin/f 644 0:0 F"]),
        ("COPY bin /bin", vec!["usr/bin/x 644 0:0 X"]),
        ("COPY tree /srv", vec!["srv/h 644 0:0 H", "srv/sub/ 755 0:0", "srv/sub/g 644 0:0 G"]),
        ("COPY tree /srv/", vec!["srv/h 644 0:0 H", "srv/sub/ 755 0:0", "srv/sub/g 644 0:0 G"]),
        ("COPY tree/sub /n/m", vec!["n/ 755 0:0", "n/m/ 755 0:0", "n/m/g 644 0:0 G"]),
        ("COPY tree/sub f /srv/", vec!["srv/f 644 0:0 F", "srv/g 644 0:0 G"]),
        ("COPY tree/* /n/", vec!["n/ 755 0:0", "n/g 644 0:0 G", "n/h 644 0:0 H"]),
        ("WORKDIR /bin/w\nCOPY f .", vec!["usr/bin/w/f 644 0:0 F"]),
        ("COPY <<E /n\n\\$x'y'\nE", vec!["n 644 0:0 $x'y'\n"]),
        ("ENV x=z\nCOPY <<E /bin\n$x\nE", vec!["usr/bin/E 644 0:0 z\n"]),
        (
            "COPY --chown=5 --chmod=600 f <<E <<'F' /n/\nE\n$x\nF",
            vec!["n/ 755 5:5", "n/E 600 5:5 ", "n/F 600 5:5 $x\n", "n/f 600 5:5 F"],
        ),
        ("ADD <<E /flink\ne\nE", vec!["file 644 0:0 e\n"]),
        ("WORKDIR /bin/w", vec!["usr/bin/w/ 755 0:0"]),
        ("USER app\nWORKDIR /srv/w", vec!["srv/w/ 755 1000:1001"]),
        ("COPY --chown=app f /a/", vec!["a/ 755 1000:1001", "a/f 644 1000:1001 F"]),
        ("COPY --chown=app:staff f /g", vec!["g 644 1000:50 F"]),
        ("COPY --chown=5 f /g", vec!["g 644 5:5 F"]),
        ("COPY --chmod=4711 f /a/", vec!["a/ 755 0:0", "a/f 4711 0:0 F"]),
        (
            "COPY --chmod=700 tree /n",
            vec!["n/ 755 0:0", "n/h 700 0:0 H", "n/sub/ 700 0:0", "n/sub/g 700 0:0 G"],
        ),
    ] {
        let top = machine.top(&upon(&machine, text)).await.map_err(whole);
        assert_eq!(top.as_deref(), Ok(expected.map_to_strings().as_slice()), "{text}");
    }
}

trait Strings {
    fn map_to_strings(self) -> Vec<String>;
}

impl Strings for Vec<&str> {
    fn map_to_strings(self) -> Vec<String> {
        self.into_iter().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn what_buildkit_refuses_is_refused_at_its_place() {
    let machine = Machine::new();
    for (text, message) in [
        ("COPY . /", "/bin is a symbolic link in the image, not a directory"),
        ("COPY f /file/", "/file is a file in the image, not a directory"),
        ("COPY f /file/x", "/file is a file"),
        ("COPY tree /file", "/file is a file"),
        ("WORKDIR /file/x", "/file is a file"),
        ("COPY --chown=nobody f /", "nobody"),
        ("COPY --chown=app:none f /", "none"),
    ] {
        let error = whole(machine.top(&upon(&machine, text)).await.unwrap_err());
        assert!(error.contains(message), "{text}: {error}");
        assert!(error.contains("Dockerfile:2:1\n"), "{text}: {error}");
    }
}

#[tokio::test]
async fn links_of_the_context_are_copied_as_links() {
    let machine = Machine::new();
    let build = upon(&machine, "COPY links /srv/");
    let links = build.context.path().join("links");
    fs_err::create_dir(&links).unwrap();
    symlink("../../outside", links.join("l")).unwrap();
    symlink("x", links.join("new")).unwrap();
    let expected = ["srv/l 777 0:0 -> ../../outside", "srv/new 777 0:0 -> x"];
    assert_eq!(machine.top(&build).await.unwrap(), expected);
}

#[tokio::test]
async fn names_of_one_file_in_the_context_stay_names_of_one_file() {
    let machine = Machine::new();
    for (text, expected) in [
        ("COPY tree /srv/", vec!["srv/h 644 0:0 H", "srv/i 644 0:0 => srv/h"]),
        ("COPY --chmod=600 tree /srv/", vec!["srv/h 600 0:0 H", "srv/i 600 0:0 => srv/h"]),
        // Each source is copied by itself, and what it does not select is no name of the file.
        ("COPY tree/h tree/i /srv/", vec!["srv/h 644 0:0 H", "srv/i 644 0:0 H"]),
    ] {
        let build = upon(&machine, text);
        let tree = build.context.path().join("tree");
        fs_err::remove_dir_all(tree.join("sub")).unwrap();
        fs_err::hard_link(tree.join("h"), tree.join("i")).unwrap();
        assert_eq!(machine.top(&build).await.unwrap(), expected, "{text}");
    }
}

/// What `COPY --from=src SOURCE /d/` takes of an image of two layers.
async fn from(machine: &Machine, words: &str) -> Result<Vec<String>, String> {
    let lower = [
        ("a", "A"),
        ("b", "=> a"),
        ("c", "=> b"),
        ("dir/", ""),
        ("dir/gone", "g"),
        ("dir/kept", "k"),
        ("dir/one", "=> a"),
        ("dir/two", "=> a"),
        ("ld", "-> dir"),
        ("lf", "-> dir/kept"),
        ("out", "-> ../../dir"),
        ("s", "-> a"),
        ("t", "=> s"),
    ];
    let upper = [("dir/kept", "K2"), ("implied/x", "x"), ("a", "A2")];
    let layers = [machine.layer(&lower), machine.layer(&upper)];
    let text = format!("FROM scratch\nCOPY --from=src {words}");
    machine.top(&build(&text).layered("src", &layers)).await.map_err(whole)
}

#[tokio::test]
async fn files_of_other_images_come_with_their_owners() {
    let machine = Machine::new();
    for (words, expected) in [
        ("/a /x", vec!["x 644 7:7 A2"]),
        ("a b /x/", vec!["x/ 755 0:0", "x/a 644 7:7 A2", "x/b 644 7:7 A"]),
        ("/c /x", vec!["x 644 7:7 A"]),
        ("/t /x", vec!["x 644 7:7 A2"]),
        ("/lf /x/", vec!["x/ 755 0:0", "x/lf 644 7:7 K2"]),
        ("/ld/kept /x", vec!["x 644 7:7 K2"]),
        ("/out/../a /x", vec!["x 644 7:7 A2"]),
        ("/implied /x", vec!["x/ 755 0:0", "x/x 644 7:7 x"]),
        ("--chown=1:2 /implied /x", vec!["x/ 755 1:2", "x/x 644 1:2 x"]),
        (
            "/dir /x",
            vec![
                "x/ 755 0:0",
                "x/gone 644 7:7 g",
                "x/kept 644 7:7 K2",
                "x/one 644 7:7 A",
                "x/two 644 7:7 => x/one",
            ],
        ),
        (
            "/ld /x",
            vec![
                "x/ 755 0:0",
                "x/gone 644 7:7 g",
                "x/kept 644 7:7 K2",
                "x/one 644 7:7 A",
                "x/two 644 7:7 => x/one",
            ],
        ),
        ("/d*/[kg]* /x/", vec!["x/ 755 0:0", "x/gone 644 7:7 g", "x/kept 644 7:7 K2"]),
    ] {
        let words = match words.strip_prefix("--chown=1:2 ") {
            Some(rest) => format!("{rest} --chown"),
            None => words.to_owned(),
        };
        let found = match words.strip_suffix(" --chown") {
            Some(rest) => from_owned(&machine, rest).await,
            None => from(&machine, &words).await,
        };
        assert_eq!(found, Ok(expected.map_to_strings()), "{words}");
    }
}

async fn from_owned(machine: &Machine, words: &str) -> Result<Vec<String>, String> {
    let layer = machine.layer(&[("implied/x", "x")]);
    let text = format!("FROM scratch\nCOPY --from=src --chown=1:2 {words}");
    machine.top(&build(&text).layered("src", &[layer])).await.map_err(whole)
}

#[tokio::test]
async fn the_whole_of_an_image_keeps_its_links() {
    let machine = Machine::new();
    let all = from(&machine, "/ /").await.unwrap();
    for line in [
        "a 644 7:7 A2",
        "b 644 7:7 A",
        "c 644 7:7 => b",
        "dir/two 644 7:7 => b",
        "s 777 7:7 -> a",
        "dir/ 700 7:7",
    ] {
        assert!(all.contains(&line.to_owned()), "{line}: {all:#?}");
    }
    assert!(all.iter().any(|line| line.starts_with("t 777 7:7 ")), "{all:#?}");
}

#[tokio::test]
async fn an_absent_source_of_another_image_is_refused() {
    let machine = Machine::new();
    for words in ["/none /x", "/a/below /x", "/n* /x/"] {
        let error = from(&machine, words).await.unwrap_err();
        assert!(error.contains("Dockerfile:2:1\n"), "{words}: {error}");
    }
}

#[tokio::test]
async fn files_of_another_stage_are_copied_without_running_anything() {
    let machine = Machine::new();
    let text = "FROM scratch AS s\nCOPY f /deep/er/\nFROM scratch\nCOPY --from=s /deep /";
    let top = machine.top(&build(text).file("f", "F")).await.unwrap();
    assert_eq!(top, ["er/ 755 0:0", "er/f 644 0:0 F"]);
}
