//! Contexts that are no directory on disk: tar archives, and git repositories elsewhere.

use std::path::{Path, PathBuf};

use crate::support::command::{Outcome, Run};
use crate::support::fake_registry::{deserted_address, silent_address};
use crate::support::flat::Kind;
use crate::support::git_server::{GitServer, Manners, daemon, fake_ssh};
use crate::support::registry::certificates;
use crate::support::sandbox::{set_mode, write};
use crate::support::{Git, Image, Sandbox, built_reference, executor, longshore};

const DOCKERFILE: &str = "FROM scratch\nCOPY . /all/\n";
/// A time before every file's.
const EPOCH: &str = "1000000000";
const TOKEN: &str = "gl-s3cret-t0ken";
/// What sshd does with a command.
const SSHD: &str = "exec sh -c \"$last\"";

/// One project in every form: a directory outside git, and a repository to be served.
struct Project {
    sandbox: Sandbox,
    /// Outside the checkout that the tests themselves lie in.
    outside: tempfile::TempDir,
    commit: String,
}

impl Project {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let outside = tempfile::tempdir().expect("mkdir");
        let files = outside.path().join("project");
        for (path, text, mode) in [
            ("Dockerfile", DOCKERFILE, 0o644),
            (".dockerignore", "*.log\nlongshore.yaml\napp/Dockerfile\n", 0o644),
            ("words", "words\n", 0o644),
            ("skipped.log", "not for the image\n", 0o644),
            ("app/run", "#!/bin/sh\n", 0o755),
            ("app/Dockerfile", "FROM scratch\nCOPY run /only/\n", 0o644),
        ] {
            write(&files.join(path), text);
            set_mode(&files.join(path), mode);
        }
        fs_err::os::unix::fs::symlink("words", files.join("link")).expect("a new name");
        set_mode(&files.join("app"), 0o755);
        let origin = sandbox.path("origin");
        Run::new("cp").arg("-a").arg(&files).arg(&origin).succeed();
        let git = Git::init(&origin);
        let first = git.commit("first");
        sandbox.write("origin/words", "later\n");
        git.commit("second");
        git.run(&["tag", "--annotate", "--message", "tagged", "v1", &first]);
        git.run(&["branch", "older", &first]);
        let bare = sandbox.path("srv/team/app.git").display().to_string();
        git.run(&["clone", "--quiet", "--bare", ".", &bare]);
        Self { sandbox, outside, commit: first }
    }

    fn files(&self) -> PathBuf {
        self.outside.path().join("project")
    }

    fn served(&self) -> PathBuf {
        self.sandbox.path("srv")
    }

    fn serve(&self, manners: Manners) -> GitServer {
        GitServer::start(&self.served(), manners)
    }

    /// The directory as a tar archive.
    fn archive(&self, name: &str, flags: &[&str]) -> PathBuf {
        let path = self.sandbox.path(name);
        let run = Run::new("tar").args(flags).arg("-cf").arg(&path);
        run.arg("-C").arg(self.files()).arg(".").succeed();
        path
    }

    /// A setting of the served repository.
    fn set(&self, name: &str, value: &str) {
        let bare = self.served().join("team/app.git");
        Run::new("git").arg("-C").arg(bare).args(["config", name, value]).succeed();
    }
}

fn archived(
    sandbox: &Sandbox,
    entries: impl FnOnce(&mut crate::support::tarball::Tarball),
) -> PathBuf {
    let mut tarball = crate::support::tarball::Tarball::new();
    entries(&mut tarball);
    sandbox.write("made.tar", tarball.finish())
}

/// `longshore build` of a context in a pod of its own, without anything from an earlier one.
fn build(pod: &Sandbox, context: &str) -> Run {
    longshore(pod).args(["build", "--tag", "v1", context]).env("SOURCE_DATE_EPOCH", EPOCH)
}

fn image(pod: &Sandbox) -> Image {
    Image::local(pod, &format!("oci:{}:v1", pod.path("state/layouts/default").display()))
}

fn digest(outcome: &Outcome) -> String {
    let reference = built_reference(outcome);
    reference.split_once('@').expect("it is pinned").1.to_owned()
}

fn said(outcome: &Outcome, part: &str) {
    assert!(outcome.stderr.contains(part), "no {part:?}\n{}", outcome.report());
}

#[test]
fn a_directory_its_archives_and_its_commit_give_the_same_image() {
    let project = Project::new();
    let plain = Sandbox::new();
    let directory = build(&plain, &project.files().display().to_string()).outcome().success();
    let expected = digest(&directory);
    let tree = image(&plain).tree();
    let paths: Vec<&str> = tree.iter().map(|(path, _)| path).collect();
    let all = ["all", "all/.dockerignore", "all/Dockerfile", "all/app", "all/app/run", "all/link"];
    assert_eq!(paths, [&all[..], &["all/words"]].concat());

    for (name, flags) in [
        ("c.tar", &[][..]),
        ("c.tar.gz", &["--gzip"]),
        ("c.tar.xz", &["--xz"]),
        ("c.pax", &["--format=pax"]),
    ] {
        let pod = Sandbox::new();
        let run = build(&pod, "-").input(project.archive(name, flags));
        assert_eq!(digest(&run.outcome().success()), expected, "{name}");
    }

    let server = project.serve(Manners::default());
    let old = project.serve(Manners { old: true, ..Manners::default() });
    let daemon = daemon(&project.served());
    let (path, _) = fake_ssh(&project.sandbox, SSHD);
    let place = project.served().join("team/app.git").display().to_string();
    for (context, revision) in [
        (server.url("team/app.git"), "v1"),
        (server.url("team/app.git"), "refs/heads/older"),
        (server.url("team/app.git"), &project.commit),
        (old.url("team/app.git"), "v1"),
        (old.url("team/app.git"), "older"),
        (old.url("team/app.git"), &project.commit),
        (format!("git://{daemon}/team/app.git"), "older"),
        (format!("ssh://git@example.org:2222{place}"), "v1"),
        (format!("git@example.org:{place}"), &project.commit),
    ] {
        let pod = Sandbox::new();
        let context = format!("{context}#{revision}");
        let outcome = build(&pod, &context).env("PATH", &path).outcome().success();
        assert_eq!(digest(&outcome), expected, "{context}");
    }
}

#[test]
fn nothing_but_one_commit_is_fetched() {
    let project = Project::new();
    let server = project.serve(Manners::default());
    let pod = Sandbox::new();
    let context = format!("{}#{}", server.url("team/app.git"), project.commit);
    let outcome = build(&pod, &context).arg("--log-verbose").outcome().success();
    said(&outcome, &format!("the context is commit {} of http://", project.commit));
    let asked: Vec<String> = server.asked().into_iter().map(|asked| asked.line).collect();
    let get = "GET /team/app.git/info/refs?service=git-upload-pack";
    assert_eq!(asked, [get, "POST /team/app.git/git-upload-pack?"], "no list of references");
    assert_eq!(fs_err::read_dir(pod.path("work/builds")).expect("it is there").count(), 0);
}

#[test]
fn an_archive_keeps_modes_times_and_links() {
    use crate::support::tarball::Meta;
    let sandbox = Sandbox::new();
    let archive = archived(&sandbox, |tar| {
        let meta = |mode| Meta::mode(mode).owner(1234, 5678).mtime(1_234_567_890);
        tar.file("Dockerfile", meta(0o644), DOCKERFILE);
        tar.file("secret", meta(0o640), "x");
        tar.hard_link("other", "secret", meta(0o640));
        tar.directory("closed", meta(0o500));
        tar.file("closed/tool", meta(0o4755), "x");
        tar.symlink("away", "/etc/passwd");
    });
    let run = longshore(&sandbox).args(["build", "--tag", "v1", "-"]).input(archive);
    run.outcome().success();
    let tree = image(&sandbox).tree();
    let node = |path: &str| tree.get(path).unwrap_or_else(|| panic!("{path} is not there"));
    assert_eq!((node("all/secret").mode, node("all/secret").mtime), (0o640, 1_234_567_890));
    assert_eq!(node("all/secret").owner, (0, 0));
    assert_eq!(tree.names_of("all/secret"), ["all/other", "all/secret"]);
    assert_eq!((node("all/closed").mode, node("all/closed/tool").mode), (0o500, 0o4755));
    assert!(matches!(&node("all/away").kind, Kind::Symlink(target) if target == "/etc/passwd"));
}

#[test]
fn an_archive_has_its_dockerfile_inside() {
    let project = Project::new();
    let archive = project.archive("c.tar", &[]);
    let pod = Sandbox::new();
    let run = build(&pod, "-").args(["-f", "app/Dockerfile"]).input(&archive);
    let outcome = run.outcome().exits(10);
    said(&outcome, "\"run\" is not in the build context\n --> app/Dockerfile:2:6");
    // A Dockerfile of the working directory does not count.
    pod.write("Dockerfile", "FROM scratch\nLABEL wrong=1\n");
    build(&pod, "-").input(&archive).outcome().success();
    assert!(image(&pod).tree().get("all/words").is_some());
    let outcome = build(&pod, "-").args(["-f", "none"]).input(&archive).outcome().exits(10);
    said(&outcome, "there is no Dockerfile none");
    said(&outcome, "-f names a file in the context");
    for wrong in [["-f", "/etc/passwd"], ["-f", "../Dockerfile"], ["--commit", "HEAD"]] {
        build(&pod, "-").args(wrong).input(&archive).outcome().exits(2);
    }
}

#[test]
fn a_project_file_in_an_archive_names_its_images() {
    let project = Project::new();
    let yaml = "images: [{ name: web, context: app, dockerfile: app/Dockerfile }]\n";
    write(&project.files().join("longshore.yaml"), yaml);
    let run = build(&project.sandbox, "-").input(project.archive("c.tar", &[]));
    assert!(run.outcome().success().stdout.starts_with("web: "));
    assert!(image(&project.sandbox).tree().get("only/run").is_some());
}

#[test]
fn no_link_of_an_archive_leads_out_of_it() {
    use crate::support::tarball::Meta;
    let sandbox = Sandbox::new();
    sandbox.write("secret/Dockerfile", "FROM scratch\nLABEL secret=1\n");
    sandbox.write("secret/ignore", "[\n");
    let secret = sandbox.path("secret").display().to_string();
    let file = Meta::mode(0o644);
    type Entries<'a> = &'a dyn Fn(&mut crate::support::tarball::Tarball);
    let cases: [(Entries<'_>, &str); 3] = [
        (&|tar| tar.symlink("Dockerfile", &format!("{secret}/Dockerfile")), "Dockerfile"),
        (
            &|tar| {
                tar.file("Dockerfile", file, DOCKERFILE);
                tar.symlink("Dockerfile.dockerignore", &format!("{secret}/ignore"));
            },
            "Dockerfile.dockerignore",
        ),
        (
            &|tar| {
                tar.file("longshore.yaml", file, "images: [{ name: a, context: out }]\n");
                tar.file("Dockerfile", file, DOCKERFILE);
                tar.symlink("out", &secret);
            },
            "out",
        ),
    ];
    for (entries, name) in cases {
        let run = build(&sandbox, "-").input(archived(&sandbox, entries));
        let outcome = run.outcome().exits(11);
        said(&outcome, &format!("{name} lies outside the build context"));
    }
    let archive = archived(&sandbox, |tar| tar.symlink("sub", &secret));
    let context = format!("tar://{}", archive.display());
    let run = executor(&sandbox).args(["--no-push", "-c", &context, "--context-sub-path", "sub"]);
    said(&run.outcome().exits(1), "sub lies outside the build context");
}

#[test]
fn what_is_no_archive_on_standard_input_is_said() {
    let project = Project::new();
    let sandbox = &project.sandbox;
    let whole = fs_err::read(project.archive("c.tar.gz", &["--gzip"])).expect("it was made");
    let plain = fs_err::read(project.archive("c.tar", &[])).expect("it was made");
    for (bytes, code, part) in [
        (&b""[..], 11, "from standard input is empty"),
        (DOCKERFILE.as_bytes(), 11, "is no tar archive but text, as of a Dockerfile"),
        (b"\x7fELF\x02\x01\x01", 11, "is no tar archive"),
        (&whole[..whole.len() / 2], 11, "is truncated"),
        (&plain[..2048], 11, "is truncated"),
    ] {
        let input = sandbox.write("input", bytes);
        let outcome = build(sandbox, "-").input(input).outcome().exits(code);
        said(&outcome, part);
        let left = fs_err::read_dir(sandbox.path("work/builds")).expect("it is there").count();
        assert_eq!(left, 0, "{}", outcome.report());
    }
    // A terminal, as `script` makes one for its program.
    let program = env!("CARGO_BIN_EXE_longshore");
    let line = format!("{program} build -");
    let run = Run::new("script").args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    let outcome = sandbox.at_home(run).env("LONGSHORE_WORK_DIR", sandbox.path("work")).outcome();
    assert_eq!(outcome.code, 2, "{}", outcome.report());
    assert!(outcome.stdout.contains("standard input, a terminal"), "{}", outcome.report());
}

#[test]
fn kaniko_takes_archives_from_standard_input_and_files() {
    let project = Project::new();
    let archive = project.archive("c.tar.gz", &["--gzip"]);
    let run = |context: &str| {
        let out = project.sandbox.path("layout");
        let run = executor(&project.sandbox).args(["--no-push", "--oci-layout-path"]).arg(&out);
        run.args(["--context", context]).env("SOURCE_DATE_EPOCH", EPOCH)
    };
    let file = format!("tar://{}", archive.display());
    let digests = [
        digest(&run("tar://stdin").input(&archive).outcome().success()),
        digest(&run(&file).outcome().success()),
        digest(&run(&format!("dir://{}", project.files().display())).outcome().success()),
    ];
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    let below = run(&file).args(["--context-sub-path", "app"]).outcome().success();
    assert_ne!(digest(&below), digests[0]);
    said(&run(&file).arg("--context-sub-path=words").outcome().exits(1), "no directory words");
    said(&run("tar:///nowhere.tar").outcome().exits(1), "/nowhere.tar");
}

#[test]
fn a_token_opens_a_private_repository() {
    let project = Project::new();
    let login = Some(format!("oauth2:{TOKEN}"));
    let server = project.serve(Manners { login, ..Manners::default() });
    let url = server.url("team/app.git");
    let with_token = format!("http://oauth2:{TOKEN}@{}/team/app.git#older", server.address());
    let pods = [Sandbox::new(), Sandbox::new(), Sandbox::new()];
    let mut outcomes = vec![build(&pods[0], &with_token).arg("--log-debug").outcome().success()];
    let run = build(&pods[1], &url).env("GIT_USERNAME", "oauth2");
    outcomes.push(run.env("GIT_PASSWORD", TOKEN).arg("--log-debug").outcome().success());
    let run = executor(&pods[2]).args(["--no-push", "--verbosity=trace", "--context"]);
    let run = run.arg(format!("git://{}/team/app.git#refs/heads/older", server.address()));
    let run = run.env("GIT_PULL_METHOD", "http").env("GIT_USERNAME", "oauth2");
    outcomes.push(run.env("GIT_PASSWORD", TOKEN).outcome().success());

    let outcome = build(&pods[0], &url).outcome().exits(20);
    said(&outcome, &format!("{url} refused to be read without credentials: status 401"));
    said(&outcome, "GIT_TOKEN");
    let wrong = format!("http://oauth2:wrong-{TOKEN}@{}/team/app.git", server.address());
    let outcome = build(&pods[0], &wrong).outcome().exits(20);
    said(&outcome, "refused to be read with the credentials from the address");
    outcomes.push(outcome);
    let outcome = build(&pods[0], &url).env("GIT_TOKEN", TOKEN).outcome().exits(20);
    said(&outcome, "with the credentials from GIT_TOKEN");
    outcomes.push(outcome);
    for outcome in outcomes {
        let all = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(!all.contains(TOKEN), "{}", outcome.report());
    }
}

#[test]
fn credentials_do_not_follow_a_redirect_to_another_host() {
    let project = Project::new();
    let other = project.serve(Manners::default());
    let redirects_to = Some(format!("http://{}", other.address()));
    let first = project.serve(Manners { redirects_to, ..Manners::default() });
    let context = format!("http://me:{TOKEN}@{}/team/app.git", first.address());
    build(&project.sandbox, &context).outcome().success();
    assert!(first.asked().iter().all(|asked| asked.authorization.is_some()));
    let asked = other.asked();
    assert!(asked.iter().all(|asked| asked.authorization.is_none()), "{asked:?}");
    assert_eq!(asked.len(), 3, "{asked:?}");

    let circle = project.serve(Manners { redirects_to: Some(String::new()), ..Manners::default() });
    let outcome = build(&project.sandbox, &circle.url("team/app.git")).outcome().exits(21);
    said(&outcome, "it redirects more than 5 times");
}

#[test]
fn a_part_of_a_repository_is_a_context() {
    let project = Project::new();
    let server = project.serve(Manners::default());
    let url = server.url("team/app.git");
    build(&project.sandbox, &format!("{url}#older:app")).outcome().success();
    assert!(image(&project.sandbox).tree().get("only/run").is_some());
    let kaniko = |below: &str| {
        let context = format!("git://{}/team/app.git", server.address());
        let run = executor(&project.sandbox).args(["--no-push", "-c", &context]);
        run.args(["--context-sub-path", below]).env("GIT_PULL_METHOD", "http").outcome()
    };
    kaniko("app").success();
    said(&kaniko("app/run").exits(1), "has no directory app/run");
    let outcome = build(&project.sandbox, &format!("{url}#older:missing")).outcome().exits(22);
    said(&outcome, "has no directory missing");
    let run = build(&project.sandbox, &format!("{url}#older")).args(["-f", "none"]);
    said(&run.outcome().exits(10), "there is no Dockerfile none\n");
    let run = build(&project.sandbox, &url).args(["--commit", "older"]);
    said(&run.outcome().exits(2), "#REF behind the address names it");
}

#[test]
fn a_project_file_in_a_repository_names_its_images() {
    let project = Project::new();
    let yaml = "images: [{ name: web, context: app, dockerfile: app/Dockerfile }]\n";
    project.sandbox.write("origin/longshore.yaml", yaml);
    let origin = Git::init(project.sandbox.path("origin"));
    origin.commit("a project file");
    let place = project.served().join("team/app.git").display().to_string();
    origin.run(&["push", "--quiet", &place, "HEAD:main"]);
    let server = project.serve(Manners::default());
    let outcome = build(&project.sandbox, &server.url("team/app.git")).outcome().success();
    assert!(outcome.stdout.starts_with("web: "), "{}", outcome.report());
    assert!(image(&project.sandbox).tree().get("only/run").is_some());
}

#[test]
fn what_a_repository_does_not_have_is_said() {
    let project = Project::new();
    let server = project.serve(Manners::default());
    let daemon = daemon(&project.served());
    let absent = "1".repeat(40);
    for (context, part) in [
        (server.url("team/none.git"), "there is no repository http://"),
        (server.url("team/app.git#nowhere"), "has no branch or tag \"nowhere\""),
        (server.url("team/app.git#1111111"), "a commit is named by all its 40 digits"),
        (server.url(&format!("team/app.git#{absent}")), "does not give the commit 1111"),
        (format!("git://{daemon}/team/app.git#nowhere"), "has no branch or tag \"nowhere\""),
        (format!("git://{daemon}/team/none.git"), "/team/none.git"),
    ] {
        let outcome = build(&project.sandbox, &context).outcome().exits(22);
        said(&outcome, part);
    }
    let empty = project.sandbox.path("srv/empty.git");
    Run::new("git").args(["init", "--quiet", "--bare"]).arg(empty).succeed();
    for manners in [Manners::default(), Manners { old: true, ..Manners::default() }] {
        let server = project.serve(manners);
        said(
            &build(&project.sandbox, &server.url("empty.git")).outcome().exits(22),
            "has no commit",
        );
    }
}

#[test]
fn an_old_server_gives_a_commit_that_it_does_not_name_only_if_it_may() {
    let project = Project::new();
    let origin = Git::init(project.sandbox.path("origin"));
    let place = project.served().join("team/app.git").display().to_string();
    // The first commit stays reachable, but no reference is at it any more.
    origin.run(&["push", "--quiet", &place, "--delete", "older", "v1"]);
    let server = project.serve(Manners { old: true, ..Manners::default() });
    let context = server.url(&format!("team/app.git#{}", project.commit));
    let outcome = build(&project.sandbox, &context).outcome().exits(22);
    said(&outcome, "does not give the commit");
    said(&outcome, "uploadpack.allowReachableSHA1InWant");
    project.set("uploadpack.allowReachableSHA1InWant", "true");
    build(&project.sandbox, &context).outcome().success();
}

#[test]
fn servers_that_fail_are_told_from_each_other() {
    let project = Project::new();
    let noise = (0..3 << 20).scan(1_u32, |state, _| {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((*state >> 24) as u8)
    });
    project.sandbox.write("origin/noise", noise.collect::<Vec<u8>>());
    let origin = Git::init(project.sandbox.path("origin"));
    origin.commit("something to send");
    let place = project.served().join("team/app.git").display().to_string();
    origin.run(&["push", "--quiet", &place, "HEAD:main"]);
    for after in [0, 5, 400, 1 << 20] {
        let server = project.serve(Manners { hangs_up_after: Some(after), ..Manners::default() });
        let outcome = build(&project.sandbox, &server.url("team/app.git")).outcome().exits(21);
        said(&outcome, "ended the connection in the middle of an answer");
    }
    // The checksum of the pack, and the last object in it.
    for changes in [5, 60] {
        let server = project.serve(Manners { changes: Some(changes), ..Manners::default() });
        let outcome = build(&project.sandbox, &server.url("team/app.git")).outcome().exits(21);
        said(&outcome, "the pack that http://");
        said(&outcome, "sent is damaged");
    }
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello";
    let sick = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    for (says, code, part) in [
        (html, 21, "what answers there is no git server"),
        (sick, 22, "refused: status 503"),
        ("SSH-2.0-x\r\n", 21, "cannot be reached"),
    ] {
        let server = project.serve(Manners { says: Some(says), ..Manners::default() });
        let outcome = build(&project.sandbox, &server.url("a.git")).outcome().exits(code);
        said(&outcome, part);
    }
    for scheme in ["http", "git"] {
        let context = format!("{scheme}://{}/a.git", deserted_address());
        said(&build(&project.sandbox, &context).outcome().exits(21), "cannot be reached");
    }
}

#[test]
fn a_signal_does_not_wait_for_a_silent_server_or_pipe() {
    let sandbox = Sandbox::new();
    let pipe = sandbox.path("pipe");
    Run::new("mkfifo").arg(&pipe).succeed();
    let silent = format!("git://{}/a.git", silent_address());
    for (context, part) in [(silent.as_str(), "connecting"), ("-", "unpacking")] {
        let mut running = build(&sandbox, context).arg("--log-debug").input(&pipe).start();
        running.until(part);
        running.signal("TERM");
        running.outcome().exits(143);
        let left = fs_err::read_dir(sandbox.path("work/builds")).expect("it is there").count();
        assert_eq!(left, 0, "{context}");
    }
}

#[test]
fn a_private_authority_is_trusted_where_it_is_named() {
    let project = Project::new();
    let directory = project.sandbox.path("tls");
    fs_err::create_dir(&directory).expect("mkdir");
    certificates(&directory);
    let manners = Manners { certificates: Some(directory.clone()), ..Manners::default() };
    let server = project.serve(manners);
    let context = format!("https://{}/team/app.git#older", server.address());
    let outcome = build(&project.sandbox, &context).outcome().exits(21);
    said(&outcome, "UnknownIssuer");
    said(&outcome, "--registry-certificate");
    let trust = format!("{}={}", server.address(), directory.join("ca.crt").display());
    let run = build(&project.sandbox, &context).args(["--registry-certificate", &trust]);
    run.outcome().success();
    let context = format!("git://{}/team/app.git", server.address());
    let kaniko =
        |flag: &str| executor(&project.sandbox).args(["--no-push", "-c", &context, flag]).outcome();
    kaniko("--git=insecure-skip-tls=true").success();
    kaniko("--skip-tls-verify-pull").exits(1);
}

#[test]
fn ssh_gets_what_it_needs_and_nothing_else() {
    let project = Project::new();
    let (path, program) = fake_ssh(&project.sandbox, SSHD);
    let place = project.served().join("team/app.git").display().to_string();
    let context = format!("ssh://git@example.org:2222{place}#older");
    let run = build(&project.sandbox, &context).env("PATH", &path).env("GIT_TOKEN", TOKEN);
    run.env("SSH_AUTH_SOCK", "/run/agent").outcome().success();
    let beside = |name: &str| {
        let path = format!("{}.{name}", program.display());
        fs_err::read_to_string(path).expect("ssh was started")
    };
    let command = format!("git-upload-pack '{place}'");
    let expected = ["-o", "BatchMode=yes", "-o", "SendEnv=GIT_PROTOCOL", "-p", "2222", "--"];
    let expected = [&expected[..], &["git@example.org", &command]].concat();
    assert_eq!(beside("arguments").lines().collect::<Vec<_>>(), expected);
    let environment = beside("environment");
    let names: Vec<&str> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    let shells_own = |name: &&str| !matches!(*name, "PWD" | "OLDPWD" | "SHLVL" | "_");
    let names: Vec<&str> = names.into_iter().filter(shells_own).collect();
    assert_eq!(names, ["GIT_PROTOCOL", "HOME", "PATH", "SSH_AUTH_SOCK"]);

    // A server that does not take the variable over speaks version 0.
    let old = Sandbox::new();
    let (path, _) = fake_ssh(&old, "unset GIT_PROTOCOL; exec sh -c \"$last\"");
    build(&old, &context).env("PATH", path).outcome().success();
}

#[test]
fn what_ssh_says_is_said() {
    let project = Project::new();
    let place = project.served().join("team/none.git").display().to_string();
    let context = format!("git@example.org:{place}");
    for (script, code, part) in [
        (SSHD, 22, "does not appear to be a git repository"),
        ("echo 'git@example.org: Permission denied (publickey).' >&2; exit 255", 20, "publickey"),
        ("echo 'Host key verification failed.' >&2; exit 255", 21, "Host key verification failed"),
        ("echo 'ssh: Could not resolve hostname' >&2; exit 255", 21, "Could not resolve"),
        ("echo Welcome to this machine; exit 0", 21, "not git's protocol"),
        ("exit 1", 21, "ended the connection"),
    ] {
        let pod = Sandbox::new();
        let (path, _) = fake_ssh(&pod, script);
        said(&build(&pod, &context).env("PATH", path).outcome().exits(code), part);
    }
    let pod = Sandbox::new();
    let nothing: &Path = &pod.path("empty");
    fs_err::create_dir(nothing).expect("mkdir");
    let program = Run::new("/usr/bin/env").args(["-i", &format!("PATH={}", nothing.display())]);
    let program = program.arg(format!("LONGSHORE_WORK_DIR={}", pod.path("work").display()));
    let outcome = program.arg(env!("CARGO_BIN_EXE_longshore")).args(["build", &context]).outcome();
    assert_eq!(outcome.code, 50, "{}", outcome.report());
    said(&outcome, "cannot start ssh");
}

#[test]
fn kanikos_git_flags_count() {
    let project = Project::new();
    let server = project.serve(Manners::default());
    let run = |context: &str, git: &[&str]| {
        let out = project.sandbox.path("layout");
        let run = executor(&project.sandbox).args(["--no-push", "--oci-layout-path"]).arg(out);
        let run = run.arg(format!("--context=git://{}/team/app.git{context}", server.address()));
        run.args(git).env("GIT_PULL_METHOD", "http").env("SOURCE_DATE_EPOCH", EPOCH).outcome()
    };
    let latest = digest(&run("", &[]).success());
    let older = digest(&run("#refs/heads/older", &[]).success());
    assert_ne!(latest, older);
    let pinned = format!("#refs/heads/main#{}", project.commit);
    assert_eq!(digest(&run(&pinned, &[]).success()), older);
    let flags = ["--git", "branch=older,single-branch=true,recurse-submodules=false"];
    assert_eq!(digest(&run("", &flags).success()), older);
    let outcome = run("", &["--git=recurse-submodules=true"]).exits(1);
    said(&outcome, "submodules are not fetched");
}
