use super::*;
use crate::cli::{self, Verb};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn environment() -> Environment {
    Environment::from([("HOME", "/root"), ("PATH", "/bin"), ("GIT_TOKEN", "t0ken"), ("X", "y")])
}

fn build(context: &str) -> Result<RemoteOrigin, String> {
    match of_build(Path::new(context), &environment()) {
        Ok((Origin::Remote(remote), directory)) => {
            assert_eq!(directory, PathBuf::new(), "the address may hold secrets");
            Ok(*remote)
        }
        Ok((origin, _)) => Err(format!("{origin:?}")),
        Err(failure) => Err(failure.message()),
    }
}

fn executor(line: &str, environment: &Environment) -> Result<Origin, String> {
    let words = ["executor", "--no-push"].into_iter().chain(line.split_whitespace());
    let words: Vec<_> = words.map(std::ffi::OsString::from).collect();
    let Ok(Verb::Executor(args)) = cli::parse(&words) else { panic!("{line}") };
    let origin = of_executor(&args, environment);
    origin.map(|(origin, _)| origin).map_err(|failure| failure.message())
}

fn remote(line: &str, environment: &Environment) -> RemoteContext {
    match executor(line, environment) {
        Ok(Origin::Remote(remote)) => remote.context,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_fragment_names_revision_and_directory() {
    let name = |name: &str| Revision::Name(name.to_owned());
    for (text, revision, below) in [
        ("https://example.org/a.git", Revision::Head, None),
        ("https://example.org/a.git#", Revision::Head, None),
        ("https://example.org/a.git#main", name("main"), None),
        ("https://example.org/a.git#:docker/app", Revision::Head, Some("docker/app")),
        ("git@example.org:a#refs/tags/v1:./app/", name("refs/tags/v1"), Some("app")),
        ("ssh://example.org/a#main:.", name("main"), None),
    ] {
        let context = build(text).unwrap().context;
        assert_eq!((context.revision, context.below.as_deref()), (revision, below), "{text}");
    }
    let commit = build(&format!("git://example.org/a#{COMMIT}")).unwrap().context;
    assert_eq!(commit.revision, Revision::Commit(COMMIT.to_owned()));
    for (text, part) in [
        ("https://example.org/a.git#a b", "cannot be a branch"),
        ("https://example.org/a.git#main:../x", "leaves the directory"),
        ("https://example.org/a.tar.gz", "is not taken for a git repository"),
        ("ftp://me:s3cret@example.org/a.git", "a context from ftp:// is not supported"),
        ("file:///srv/a.git", "a context from file:// is not supported"),
        ("./dir#x", "Directory"),
        ("./a://b", "Directory"),
        ("a b://c", "Directory"),
        ("-", "Stdin"),
    ] {
        let error = build(text).unwrap_err();
        assert!(error.contains(part) && !error.contains("s3cret"), "{text}: {error}");
    }
}

#[test]
fn credentials_are_for_http_and_those_of_the_address_go_first() {
    let own = build("https://me:s3cret@example.org/a.git").unwrap();
    assert_eq!(own.context.credentials, Some(Credentials::new("me", "s3cret", "the address")));
    let token = build("https://example.org/a.git").unwrap();
    assert_eq!(token.context.credentials, Some(Credentials::new("t0ken", "", "GIT_TOKEN")));
    let ssh = build("git@example.org:a").unwrap();
    assert_eq!(ssh.context.credentials, None);
    let names: Vec<&str> = ssh.ssh_environment.keys().map(String::as_str).collect();
    assert_eq!(names, ["HOME", "PATH"], "and nothing else of the environment");
    for origin in [own, token] {
        let shown = format!("{origin:?}");
        assert!(!shown.contains("s3cret") && !shown.contains("t0ken"), "{shown}");
    }
}

#[test]
fn kanikos_git_contexts_are_taken() {
    let none = Environment::default();
    let name = |name: &str| Revision::Name(name.to_owned());
    let commit = format!("--context=git://example.org/a#refs/heads/x#{COMMIT}");
    for (line, revision) in [
        ("--context git://example.org/a.git", Revision::Head),
        ("--context=git://example.org/a.git#refs/heads/x", name("refs/heads/x")),
        ("--context=git://example.org/a --git branch=x,single-branch=true", name("x")),
        ("--context=git://example.org/a --git depth=1 --git=branch=x", name("x")),
        ("--context=git://example.org/a#refs/heads/x --git branch=x", name("refs/heads/x")),
        (commit.as_str(), Revision::Commit(COMMIT.to_owned())),
    ] {
        let context = remote(line, &none);
        assert_eq!(context.revision, revision, "{line}");
        assert!(context.address.to_string().starts_with("https://example.org/a"), "{line}");
    }
    let http = Environment::from([("GIT_PULL_METHOD", "http")]);
    let context = remote("--context=git://example.org/a --context-sub-path=b/c", &http);
    assert_eq!(context.address.to_string(), "http://example.org/a");
    assert_eq!(context.below.as_deref(), Some("b/c"));
    let address = remote("--context git@example.org:a", &http).address.to_string();
    assert_eq!(address, "ssh://example.org/a");
    let insecure = executor("-c git://example.org/a --git insecure-skip-tls=true", &none);
    assert!(matches!(insecure, Ok(Origin::Remote(remote)) if remote.skip_tls_verify));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (line, part) in [
        ("-c git://example.org/a --git recurse-submodules=true", "submodules are not fetched"),
        ("-c git://example.org/a --git branch", "write KEY=VALUE"),
        ("-c git://example.org/a --git single-branch=yes", "write true or false"),
        ("-c git://example.org/a --git speed=9", "the keys are branch"),
        ("-c git://example.org/a#x --git branch=y", "names x, but --git the branch y"),
        ("-c git://example.org/a#x#1234", "names no commit"),
        ("-c git://example.org/a#x#y#z", "more than #REF#COMMIT"),
        ("-c s3://bucket/a.tar.gz", "from s3:// is not supported yet"),
        ("-c tar://", "names no file"),
        ("-c tar:///a.tar --context-sub-path=/abs", "is absolute"),
    ] {
        let error = executor(line, &Environment::default()).unwrap_err();
        assert!(error.contains(part), "{line}: {error}");
    }
}

#[test]
fn kanikos_archives_are_taken() {
    let none = Environment::default();
    for (line, place) in [
        ("-c tar://stdin", ArchivePlace::Stdin),
        ("-c tar:///a/b.tar.gz", ArchivePlace::File(PathBuf::from("/a/b.tar.gz"))),
        ("-c tar://b.tar", ArchivePlace::File(PathBuf::from("b.tar"))),
    ] {
        let below = Some(PathBuf::from("x"));
        let line = format!("{line} --context-sub-path ./x/");
        assert_eq!(executor(&line, &none), Ok(Origin::Archive { place, below }), "{line}");
    }
}
