//! Invariant I7: a digest changes when any input changes, and stays when only others do.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use proptest::prelude::*;
use serde_json::json;

use super::{Build, Times, build, write};
use crate::hashing::sha256;
use crate::plan::{Inputs, Plan};

const TEXT: &str = "ARG BASE=base\nFROM $BASE\nARG USED=1\nARG UNUSED=1\nENV E=1\nWORKDIR /w\nUSER app\n\
                    COPY a b /d/\nCOPY --chown=1:2 --chmod=640 tree /t\nRUN make $USED\nCMD x\n";
/// With files and a script that stand in the Dockerfile.
const HEREDOCS: &str = "FROM base\nARG USED=1\nCOPY <<A <<'B' /d/\na $USED\nA\nb $USED\nB\n\
                        RUN <<EOF\nmake $USED\nEOF\n";

fn start(text: &str) -> Build {
    build(text)
        .base("base", json!({"Env": ["PATH=/bin"]}))
        .file("a", "a")
        .file("b", "b")
        .file("tree/x", "x")
        .file("tree/y", "y")
        .file("other", "other")
}

/// Stage and image digests.
fn digests(plan: &Plan) -> (Vec<String>, String) {
    let stages = plan.stages.iter().map(|stage| stage.digest.to_string()).collect();
    (stages, plan.images[0].digest.to_string())
}

/// What a change reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Nothing.
    None,
    /// The image, but none of its stages.
    Image,
    /// The stages from this one on, and the image.
    From(usize),
}

fn reach(text: &str, change: impl FnOnce(&mut Build)) -> Reach {
    let (stages, image) = digests(&start(TEXT).plan().unwrap());
    let mut changed = start(text);
    change(&mut changed);
    let (new, new_image) = digests(&changed.plan().unwrap());
    match stages.iter().zip(&new).position(|(old, new)| old != new) {
        Some(first) => {
            assert!(stages[first..].iter().all(|old| !new.contains(old)), "all that follow change");
            assert_ne!(image, new_image);
            Reach::From(first)
        }
        None if image != new_image => Reach::Image,
        None => Reach::None,
    }
}

#[test]
fn changes_of_the_dockerfile() {
    let with = |from: &str, to: &str| {
        assert!(TEXT.contains(from), "{from}");
        reach(&TEXT.replacen(from, to, 1), |_| {})
    };
    for (from, to, expected) in [
        ("ENV E=1", "# a comment\nENV E=1", Reach::None),
        ("COPY a b", "COPY  a \\\n  b", Reach::None),
        ("RUN make", "run make", Reach::None),
        ("USED=1\nARG UNUSED=1", "USED=1\nARG UNUSED=2", Reach::From(3)),
        ("ARG USED=1", "ARG USED=2", Reach::From(3)),
        ("ENV E=1", "ENV E=2", Reach::From(3)),
        ("WORKDIR /w", "WORKDIR /v", Reach::From(0)),
        ("WORKDIR /w", "WORKDIR w", Reach::None),
        ("USER app", "USER 1", Reach::From(3)),
        ("WORKDIR /w\nUSER app", "USER app\nWORKDIR /w", Reach::From(0)),
        ("COPY a b /d/", "COPY a b /e/", Reach::From(1)),
        ("COPY a b /d/", "COPY b a /d/", Reach::From(1)),
        ("COPY a b /d/", "ADD a b /d/", Reach::From(1)),
        ("--chown=1:2", "--chown=1:3", Reach::From(2)),
        ("--chmod=640", "--chmod=641", Reach::From(2)),
        ("--chmod=640", "--chmod=0640", Reach::None),
        ("tree /t", "tree /t/", Reach::From(2)),
        ("RUN make $USED", "RUN make  $USED", Reach::From(3)),
        ("RUN make $USED", "RUN [\"make\", \"$USED\"]", Reach::From(3)),
        ("RUN make", "SHELL [\"/bin/bash\", \"-c\"]\nRUN make", Reach::From(3)),
        ("CMD x", "CMD y", Reach::Image),
        ("CMD x", "CMD x\nLABEL a=b", Reach::Image),
        ("CMD x", "CMD x\nONBUILD RUN x", Reach::Image),
        ("CMD x", "CMD x\nARG LATE=1", Reach::None),
        ("CMD x\n", "CMD x\nRUN more\n", Reach::Image),
    ] {
        assert_eq!(with(from, to), expected, "{from:?} -> {to:?}");
    }
}

#[test]
fn changes_of_heredocs() {
    let stages = |text: &str| digests(&start(text).plan().unwrap()).0;
    let before = stages(HEREDOCS);
    for (from, to, changed) in [
        ("a $USED", "A $USED", [true, true]),
        ("b $USED", "b ${USED}", [true, true]),
        ("a $USED", "a ${USED}", [false, false]),
        ("ARG USED=1", "ARG USED=2", [true, true]),
        ("<<A", "<<'A'", [true, true]),
        ("<<A <<'B' /d/\na $USED\nA\n", "<<C <<'B' /d/\na $USED\nC\n", [true, true]),
        ("make $USED\n", "make $USED\n\n", [false, true]),
        ("RUN <<EOF\nmake $USED\nEOF", "RUN <<END\nmake $USED\nEND", [false, false]),
    ] {
        assert!(HEREDOCS.contains(from), "{from}");
        let after = stages(&HEREDOCS.replacen(from, to, 1));
        let found = [0, 1].map(|at| before[at] != after[at]);
        assert_eq!(found, changed, "{from:?} -> {to:?}");
    }
}

#[test]
fn changes_of_scripts() {
    let text = "FROM base\nARG USED=1\nRUN <<A\n#!/bin/python\nprint($USED)\nA\n";
    let stages = |text: &str| digests(&start(text).plan().unwrap()).0;
    let before = stages(text);
    for (from, to, changed) in [
        ("print", "write", true),
        ("#!/bin/python", "#!/bin/perl", true),
        ("A\n#!/bin/python\nprint($USED)\nA\n", "B\n#!/bin/python\nprint($USED)\nB\n", true),
        ("<<A", "<<'A'", false),
        ("#!/bin/python\nprint($USED)\n", "/dev/pipes/A\n", true),
    ] {
        assert!(text.contains(from), "{from}");
        assert_eq!(stages(&text.replacen(from, to, 1)) != before, changed, "{from:?} -> {to:?}");
    }
}

#[test]
fn changes_of_the_context() {
    type Change = fn(&std::path::Path);
    let changes: [(&str, Change, Reach); 9] = [
        ("content", |root| write(root, "a", "A"), Reach::From(1)),
        ("content below", |root| write(root, "tree/x", "X"), Reach::From(2)),
        (
            "mode",
            |root| {
                let mode = std::fs::Permissions::from_mode(0o755);
                fs_err::set_permissions(root.join("tree/x"), mode).unwrap();
            },
            Reach::From(2),
        ),
        (
            "rename",
            |root| fs_err::rename(root.join("tree/x"), root.join("tree/z")).unwrap(),
            Reach::From(2),
        ),
        (
            "swap",
            |root| {
                write(root, "tree/x", "y");
                write(root, "tree/y", "x");
            },
            Reach::From(2),
        ),
        (
            "a file to a link",
            |root| {
                fs_err::remove_file(root.join("tree/x")).unwrap();
                symlink("x", root.join("tree/x")).unwrap();
            },
            Reach::From(2),
        ),
        (
            "an empty directory",
            |root| fs_err::create_dir(root.join("tree/e")).unwrap(),
            Reach::From(2),
        ),
        ("another file", |root| write(root, "other", "OTHER"), Reach::None),
        (
            "time",
            |root| {
                let file = fs_err::OpenOptions::new().write(true).open(root.join("a")).unwrap();
                file.file().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
            },
            Reach::None,
        ),
    ];
    for (name, change, expected) in changes {
        assert_eq!(reach(TEXT, |build| change(build.context.path())), expected, "{name}");
    }
}

#[test]
fn changes_of_everything_else() {
    type Change = fn(&mut Build);
    let changes: [(&str, Change, Reach); 17] = [
        ("nothing, in another directory", |_| {}, Reach::None),
        ("the Dockerfile's name", |build| build.file = "other/File".to_owned(), Reach::None),
        (
            "an argument that is used",
            |b| drop(b.args.insert("USED".into(), "2".into())),
            Reach::From(3),
        ),
        (
            "an argument that is not",
            |b| drop(b.args.insert("NEVER".into(), "2".into())),
            Reach::None,
        ),
        ("a proxy", |b| drop(b.args.insert("https_proxy".into(), "x".into())), Reach::None),
        ("the base's content", |b| b.manifest = Some(sha256(b"x")), Reach::From(0)),
        ("platform", |b| b.platform = "linux/arm64".to_owned(), Reach::From(0)),
        (
            "trigger",
            |b| {
                b.bases.values_mut().for_each(|base| base["config"]["OnBuild"] = json!(["RUN t"]));
            },
            Reach::From(0),
        ),
        ("epoch", |b| b.times.epoch = Some(1), Reach::From(0)),
        ("commit", |b| b.times = Times { commit: Some(9), now: 10, ..b.times }, Reach::None),
        ("label", |b| drop(b.labels.insert("a".into(), "b".into())), Reach::Image),
        ("ignoring a file", |b| b.ignore = "tree/x".to_owned(), Reach::From(2)),
        ("ignoring nothing of it", |b| b.ignore = "other\nnone".to_owned(), Reach::None),
        ("another base", |b| drop(b.args.insert("BASE".into(), "other".into())), Reach::From(0)),
        (
            "the same base by another argument",
            |b| drop(b.args.insert("BASE".into(), "base:latest".into())),
            Reach::None,
        ),
        (
            "an earlier stage",
            |b| b.text = b.text.replace("FROM $BASE", "FROM base AS s\nRUN s\nFROM base"),
            Reach::None,
        ),
        (
            "a stage in between",
            |b| {
                b.text = b
                    .text
                    .replace("WORKDIR", "FROM base AS s\nENV E=1\nARG USED=1 UNUSED=1\nWORKDIR");
            },
            Reach::None,
        ),
    ];
    for (name, change, expected) in changes {
        assert_eq!(reach(TEXT, change), expected, "{name}");
    }
}

#[test]
fn a_copy_from_a_stage_depends_on_what_the_stage_is() {
    let digest = |run: &str, source: &str| {
        let text = format!("FROM scratch AS a\nRUN {run}\nFROM scratch\nCOPY --from=a {source} /d");
        digests(&build(&text).plan().unwrap()).1
    };
    assert_eq!(digest("x", "/p"), digest("x", "/p"));
    assert_ne!(digest("x", "/p"), digest("y", "/p"));
    assert_ne!(digest("x", "/p"), digest("x", "/q"));
}

/// Names are static in the product; these stand for any.
const NAMES: [&str; 3] = ["a", "b", "ab"];

fn inputs() -> impl Strategy<Value = Vec<(usize, Vec<Vec<u8>>)>> {
    // Few letters and short values, so that concatenations of different lists often agree.
    let value = prop::collection::vec(prop::sample::select(vec![b'a', b'b', 0, 1]), 0..3);
    prop::collection::vec((0..NAMES.len(), prop::collection::vec(value, 0..3)), 0..3)
}

fn digest_of(list: &[(usize, Vec<Vec<u8>>)]) -> String {
    let mut inputs = Inputs::default();
    for (name, values) in list {
        inputs.add(NAMES[*name], values);
    }
    inputs.digest("stage").to_string()
}

proptest! {
    #[test]
    fn different_inputs_never_have_the_same_frame(one in inputs(), other in inputs()) {
        prop_assert_eq!(one == other, digest_of(&one) == digest_of(&other));
    }
}
