//! The flags of RUN.

use proptest::prelude::*;

use super::super::{
    InstructionKind, MountFlag, MountKey, MountOwner, RunMount, RunMountKind, RunNetwork,
    RunOptions, Sharing, Spanned, parse,
};
use super::instruction;

fn options(flags: &str) -> RunOptions {
    match instruction(&format!("RUN {flags} make")) {
        InstructionKind::Run { options, .. } => options,
        other => panic!("{other:?}"),
    }
}

/// What a flag means when `$v` is `variable` and nothing else is set.
fn meaning(flag: &MountFlag, variable: &str) -> Result<RunMount, String> {
    let expand = |word: &Spanned<String>| Ok(word.value.replace("$v", variable));
    flag.read(&expand).map_err(|diagnostic| diagnostic.message)
}

fn mount(text: &str) -> RunMount {
    let options = options(&format!("--mount={text}"));
    let [flag] = options.mounts.as_slice() else { panic!("{options:?}") };
    meaning(flag, "").unwrap()
}

const FILE: MountOwner = MountOwner { uid: 0, gid: 0, mode: 0o400 };
const SOCKET: MountOwner = MountOwner { uid: 0, gid: 0, mode: 0o600 };
const CACHE: MountOwner = MountOwner { uid: 0, gid: 0, mode: 0o755 };

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

#[test]
fn files_are_bound() {
    for (written, target, source, readwrite) in [
        ("target=.", ".", "", false),
        ("type=bind,target=/x", "/x", "", false),
        ("TYPE=Bind,DST=/x,Source=a/b,RW", "/x", "a/b", true),
        ("destination=/x,src=/a,readwrite=true", "/x", "/a", true),
        ("target=/x,readwrite=0", "/x", "", false),
        ("target=/x,ro=false", "/x", "", true),
        ("target=/x,readonly,source=", "/x", "", false),
        ("\"target=/a,b\"", "/x", "", false),
    ] {
        // The shell-like quotes of a flag are taken off before the list is split.
        if written.starts_with('"') {
            assert_eq!(mount("'\"target=/a,b\"'").target.as_deref(), Some("/a,b"));
            continue;
        }
        let kind = RunMountKind::Bind { source: text(source), readwrite };
        assert_eq!(mount(written), RunMount { target: text(target), kind }, "{written}");
    }
}

#[test]
fn caches_have_names_owners_and_ways_of_sharing() {
    for (written, id, sharing, source, readonly, owner) in [
        ("target=/c", "", Sharing::Shared, "", false, CACHE),
        ("target=/c,id=x,sharing=locked", "x", Sharing::Locked, "", false, CACHE),
        ("target=/c,sharing=PRIVATE,ro", "", Sharing::Private, "", true, CACHE),
        ("target=/c,from=s,source=/a,rw=false", "", Sharing::Shared, "/a", true, CACHE),
        (
            "target=/c,mode=0700,uid=1000,gid=4294967294",
            "",
            Sharing::Shared,
            "",
            false,
            MountOwner { uid: 1000, gid: u32::MAX - 1, mode: 0o700 },
        ),
    ] {
        let expected =
            RunMountKind::Cache { id: text(id), sharing, source: text(source), readonly, owner };
        let read = mount(&format!("type=cache,{written}"));
        assert_eq!((read.target.as_deref(), read.kind), (Some("/c"), expected), "{written}");
    }
}

#[test]
fn sizes_are_read_as_docker_reads_them() {
    for (written, size) in [
        ("", None),
        (",size=1", Some(1)),
        (",size=4096b", Some(4096)),
        (",size=64k", Some(64 << 10)),
        (",size=64KB", Some(64 << 10)),
        (",size=1.5GiB", Some(3 << 29)),
        (",size=2t", Some(2 << 40)),
        (",rw,size=0.5m", Some(512 << 10)),
    ] {
        let kind = RunMountKind::Tmpfs { size };
        assert_eq!(mount(&format!("type=tmpfs,target=/t{written}")).kind, kind, "{written}");
    }
}

#[test]
fn secrets_and_agents_have_ids() {
    let secret = |id: &str, env: &str, required, owner| RunMountKind::Secret {
        id: id.to_owned(),
        env: text(env),
        required,
        owner,
    };
    for (written, target, kind) in [
        ("type=secret,id=a", "", secret("a", "", false, FILE)),
        ("type=secret,source=a", "", secret("a", "", false, FILE)),
        ("type=secret,target=/root/.netrc", "/root/.netrc", secret(".netrc", "", false, FILE)),
        ("type=secret,id=a,target=b,required", "b", secret("a", "", true, FILE)),
        ("type=secret,id=a,env=TOKEN,required=1", "", secret("a", "TOKEN", true, FILE)),
        (
            "type=secret,id=a,mode=0440,uid=1,gid=2",
            "",
            secret("a", "", false, MountOwner { uid: 1, gid: 2, mode: 0o440 }),
        ),
        (
            "type=ssh",
            "",
            RunMountKind::Ssh { id: "default".into(), required: false, owner: SOCKET },
        ),
        (
            "type=ssh,id=git,target=/agent,required=True",
            "/agent",
            RunMountKind::Ssh { id: "git".into(), required: true, owner: SOCKET },
        ),
    ] {
        assert_eq!(mount(written), RunMount { target: text(target), kind }, "{written}");
    }
}

#[test]
fn a_run_has_any_number_of_mounts_and_one_network() {
    let read = options(
        "--mount=target=/a --network=none \\\n  --mount=type=tmpfs,target=/b --security=sandbox",
    );
    assert_eq!((read.mounts.len(), read.network), (2, RunNetwork::None));
    assert_eq!(options("--network=host").network, RunNetwork::Host);
    assert_eq!(options("--network=default"), RunOptions::default());
    let from = options("--mount=from=build,target=/x").mounts[0].from().cloned();
    assert_eq!(from.map(|from| from.value), Some("build".to_owned()));
    let trigger = instruction("ONBUILD RUN --mount=type=cache,target=/c make");
    assert!(matches!(trigger, InstructionKind::OnBuild(_)));
}

/// The first error of a RUN with these flags: its message, its place, its hint.
fn error(flags: &str) -> (String, String, String) {
    let text = format!("FROM scratch\nRUN {flags} make\n");
    let error = parse("Dockerfile", &text).expect_err(flags);
    let first = &error.diagnostics[0];
    let place = text[first.span.start..first.span.end].to_owned();
    (first.message.clone(), place, first.hint.clone().unwrap_or_default())
}

/// Flags, and the first error about them: its message, its place, its hint.
const MISTAKES: &[(&str, &str, &str, &str)] = &[
    ("--mount", "the flag --mount needs a value", "--mount", "write --mount=VALUE without a space"),
    ("--mount=type=bnd,target=/x", "unknown type of mount: bnd", "type=bnd", "did you mean bind?"),
    (
        "--mount=type=volume,target=/x",
        "unknown type of mount: volume",
        "type=volume",
        "the types are: bind, cache, tmpfs, secret, ssh",
    ),
    (
        "--mount=target=/x,tipe=bind",
        "unknown option of --mount: tipe",
        "tipe=bind",
        "did you mean type?",
    ),
    ("--mount=target=/x,", "an option of --mount is empty", "", ""),
    ("--mount=target=/x,dst=/y", "--mount has the option target already", "dst=/y", ""),
    ("--mount=target=/x,rw,ro", "--mount has the option ro already", "ro", ""),
    ("--mount=target", "the option target needs a value", "target", "write target=VALUE"),
    ("--mount=target=/x,rw=maybe", "\"maybe\" is neither true nor false", "rw=maybe", ""),
    (
        "--mount=target=/x,from=$a",
        "from does not expand variables",
        "from=$a",
        "name the stage in a FROM, which does: FROM $IMAGE AS name",
    ),
    (
        "--mount=type=bind",
        "a mount of type bind needs a target",
        "--mount=type=bind",
        "target=. is the working directory",
    ),
    (
        "--mount=target=/x,id=a",
        "a mount of type bind has no option id",
        "id=a",
        "its options are: target, source, from, rw, ro",
    ),
    (
        "--mount=type=tmpfs,target=/x,size=0",
        "\"0\" is no size of a file system",
        "size=0",
        "a size is a number, as in 64m or 1g",
    ),
    (
        "--mount=type=tmpfs,target=/x,size=1x",
        "\"1x\" is no size of a file system",
        "size=1x",
        "a size is a number, as in 64m or 1g",
    ),
    (
        "--mount=type=cache,target=/x,sharing=all",
        "\"all\" is no way of sharing a cache",
        "sharing=all",
        "sharing is shared, private or locked",
    ),
    (
        "--mount=type=cache,target=/x,mode=rwx",
        "\"rwx\" is no mode",
        "mode=rwx",
        "a mode is octal, as in mode=0755",
    ),
    ("--mount=type=cache,target=/x,uid=app", "\"app\" is no number for uid", "uid=app", ""),
    (
        "--mount=type=cache,target=/x,gid=4294967295",
        "\"4294967295\" is no number for gid",
        "gid=4294967295",
        "",
    ),
    (
        "--mount=type=cache,target=/x,source=a",
        "a cache with a source needs a from",
        "source=a",
        "from names the stage or image that the source is in",
    ),
    (
        "--mount=type=secret",
        "a mount of type secret needs an id or a target",
        "--mount=type=secret",
        "",
    ),
    ("--mount=type=secret,id=a,source=b", "source is another word for id here", "source=b", ""),
    (
        "--mount=type=secret,id=a,env=A=B",
        "\"A=B\" is no name of an environment variable",
        "env=A=B",
        "",
    ),
    (
        "--network=bridge",
        "unknown network of RUN: bridge",
        "--network=bridge",
        "the networks are: default, none, host",
    ),
    ("--network=none --network=none", "duplicate flag: --network", "--network=none", ""),
    (
        "--security=insecure",
        "RUN --security=insecure is not supported: no step gets more rights than a container",
        "--security=insecure",
        "leave the flag out, or do what needs the rights outside of the build",
    ),
    ("--device=gpu", "the flag --device is not supported yet", "--device=gpu", ""),
];

#[test]
fn mistakes_are_named_with_their_places() {
    for (flags, message, place, hint) in MISTAKES.iter().copied() {
        let expected = (message.to_owned(), place.to_owned(), hint.to_owned());
        assert_eq!(error(flags), expected, "{flags}");
    }
    let flags = "--mount='type=cache,\"target=/x\" ,id=a'";
    assert_eq!(error(flags).0, "the quotes of --mount do not fit");
}

#[test]
fn what_variables_hold_is_checked_when_they_are_known() {
    let read = options("--mount=type=$v,target=/x,id=a --mount=type=cache,target=/$v,mode=$v");
    assert!(matches!(
        meaning(&read.mounts[0], "cache").unwrap().kind,
        RunMountKind::Cache { id: Some(id), .. } if id == "a"
    ));
    for (at, variable, message) in [
        (0, "bind", "a mount of type bind has no option id"),
        (0, "", "unknown type of mount: "),
        (1, "9", "\"9\" is no mode"),
    ] {
        assert_eq!(meaning(&read.mounts[at], variable), Err(message.to_owned()));
    }
    let cache = meaning(&read.mounts[1], "0700").unwrap();
    assert_eq!(cache.target.as_deref(), Some("/0700"));
}

#[test]
fn every_key_has_a_name() {
    use MountKey::{
        Env, From, Gid, Id, Mode, ReadOnly, ReadWrite, Required, Sharing, Size, Source,
    };
    for key in [Env, From, Gid, Id, Mode, ReadOnly, ReadWrite, Required, Sharing, Size, Source] {
        assert!(!key.name().is_empty());
    }
}

proptest! {
    #[test]
    fn reading_never_panics_and_places_lie_inside(
        value in "((type|target|src|id|mode|size|rw|required|sharing|env|from|é)(=(bind|cache|secret|tmpfs|ssh|/x|\\$v|1.5g|07|\"|'|\\\\| )?)?,?){0,6}",
        variable in any::<String>(),
    ) {
        let text = format!("FROM a\nRUN --mount={value} make\n");
        match parse("Dockerfile", &text) {
            Err(error) => for diagnostic in &error.diagnostics {
                let span = diagnostic.span;
                prop_assert!(text.get(span.start..span.end).is_some(), "{diagnostic:?}");
            },
            Ok(file) => for instruction in &file.stages[0].instructions {
                let InstructionKind::Run { options, .. } = &instruction.kind else { continue };
                for flag in &options.mounts {
                    let _ = meaning(flag, &variable);
                }
            },
        }
    }
}
