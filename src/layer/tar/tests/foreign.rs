//! Other programs read what the writer wrote, and the reader reads what they wrote.
//!
//! Skipped, with a line that says so, where the program is not installed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Output;

use super::*;

/// Runs a program; none when it is not installed.
#[expect(clippy::disallowed_methods, reason = "these tests compare with other programs")]
fn run(program: &str, arguments: &[&OsStr]) -> Option<Output> {
    let mut command = std::process::Command::new(program);
    match command.args(arguments).env("LC_ALL", "C").env("TZ", "UTC").output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {program} is not installed");
            None
        }
        Err(error) => panic!("cannot run {program}: {error}"),
    }
}

fn success(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap()
}

/// One of everything that is hard.
fn sample() -> Vec<Entry> {
    let long = format!("d/{}", "l".repeat(200));
    let mut attributes = file("d/x", 5);
    attributes.xattrs.insert(b"user.a".to_vec(), b"1\n20 path=smuggled\n".to_vec());
    (attributes.uid, attributes.gid) = (3_000_000, 4_000_000_000);
    let mut entries = vec![
        directory("d"),
        Entry::new("d/.fifo", Kind::Fifo, 0o600, 0),
        Entry::new("d/gone", Kind::Whiteout, 0, 0),
        Entry::new("d/link", Kind::Symlink { target: "t".repeat(150).into() }, 0o777, 0),
        file(&long, 600),
        Entry::new(format!("{long}z"), Kind::HardLink { target: long.into() }, 0o644, 0),
        Entry::new("d/null", Kind::CharDevice { major: 1, minor: 3 }, 0o666, 0),
        attributes,
        file(&format!("{}/{}", "p".repeat(120), "n".repeat(90)), 1),
        Entry::new("z\u{e9}", Kind::File { size: 0 }, 0o4755, -5),
    ];
    entries.sort_by(|a, b| crate::layer::path_order(&a.path, &b.path));
    entries
}

fn stored(dir: &Path, bytes: &[u8]) -> std::path::PathBuf {
    let path = dir.join("sample.tar");
    fs_err::write(&path, bytes).unwrap();
    path
}

#[test]
fn gnu_tar_lists_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = stored(dir.path(), &write(&sample()));
    let arguments = ["--quoting-style=literal", "--numeric-owner", "-tf"].map(OsStr::new);
    let Some(output) = run("tar", &[&arguments[..], &[path.as_os_str()]].concat()) else { return };
    let listed = success(output);
    let expected: Vec<String> = sample()
        .iter()
        .map(|entry| match entry.kind {
            Kind::Directory => format!("{}/", str::from_utf8(&entry.path).unwrap()),
            Kind::Whiteout => "d/.wh.gone".to_owned(),
            _ => str::from_utf8(&entry.path).unwrap().to_owned(),
        })
        .collect();
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn python_reads_the_fields_that_were_written() {
    const SCRIPT: &str = "import sys, tarfile\n\
        for m in tarfile.open(sys.argv[1]):\n \
        print(m.name, m.type.decode(), oct(m.mode), m.uid, m.gid, m.size, m.mtime, m.linkname, \
        m.devmajor, m.devminor, repr(m.pax_headers.get('SCHILY.xattr.user.a')), sep='|')\n";
    let dir = tempfile::tempdir().unwrap();
    let path = stored(dir.path(), &write(&sample()));
    let script = ["-X", "utf8", "-c", SCRIPT].map(OsStr::new);
    let Some(output) = run("python3", &[&script[..], &[path.as_os_str()]].concat()) else { return };
    let listed = success(output);
    let lines: Vec<&str> = listed.lines().collect();
    assert_eq!(lines.len(), sample().len(), "{listed}");
    let long = "l".repeat(200);
    for expected in [
        "d|5|0o755|0|0|0|1700000000||0|0|None".to_owned(),
        "d/null|3|0o666|0|0|0|0||1|3|None".to_owned(),
        format!("d/link|2|0o777|0|0|0|0|{}|0|0|None", "t".repeat(150)),
        format!("d/{long}z|1|0o644|0|0|0|0|d/{long}|0|0|None"),
        "d/x|0|0o644|3000000|4000000000|5|1700000000||0|0|'1\\n20 path=smuggled\\n'".to_owned(),
        "z\u{e9}|0|0o4755|0|0|0|-5.0||0|0|None".to_owned(),
    ] {
        assert!(lines.contains(&expected.as_str()), "{expected} is not in\n{listed}");
    }
}

#[test]
fn archives_of_gnu_tar_are_read_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    fs_err::create_dir_all(tree.join("d".repeat(90))).unwrap();
    fs_err::write(tree.join(&long), "content").unwrap();
    std::os::unix::fs::symlink("t".repeat(80), tree.join("link")).unwrap();
    fs_err::hard_link(tree.join(&long), tree.join("second")).unwrap();
    for format in ["v7", "oldgnu", "gnu", "ustar", "posix"] {
        let archive = dir.path().join(format);
        let option = format!("--format={format}");
        let arguments = [
            OsStr::new("-cf"),
            archive.as_os_str(),
            OsStr::new(&option),
            OsStr::new("--sort=name"),
            OsStr::new("-C"),
            tree.as_os_str(),
            OsStr::new("."),
        ];
        let Some(output) = run("tar", &arguments) else { return };
        let short = matches!(format, "v7" | "ustar");
        if short {
            // Not every name or link fits: what is left still has to be readable.
            assert!(!output.status.success());
        } else {
            success(output);
        }
        let entries = read(&fs_err::read(&archive).unwrap(), Names::Archive).unwrap();
        let found = |path: &str| entries.iter().find(|(entry, _)| entry.path == path.as_bytes());
        let target = "t".repeat(80).into_bytes();
        assert_eq!(found("link").unwrap().0.kind, Kind::Symlink { target }, "{format}");
        assert_eq!(found("").unwrap().0.kind, Kind::Directory, "{format}");
        if !short {
            assert_eq!(found(&long).unwrap().1, b"content", "{format}");
            let target = long.clone().into_bytes();
            assert_eq!(found("second").unwrap().0.kind, Kind::HardLink { target }, "{format}");
        }
    }
}
