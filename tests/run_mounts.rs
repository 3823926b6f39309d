//! The flags of RUN, from the Dockerfile to the image: mounts, networks, secrets, agents, limits.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::support::command::{Outcome, Run};
use crate::support::flat::Tree;
use crate::support::{
    Access, Image, Registry, Sandbox, base, built_reference, executor, is_root, longshore,
    longshore_on_tmpfs,
};

/// The choices of a rung that the tests are run with: one that mounts, and one that cannot.
const CHOICES: [&str; 2] = ["auto", "chroot"];

struct Bench {
    sandbox: Sandbox,
    registry: Registry,
    base: String,
    /// The choice of a rung.
    runtime: &'static str,
}

/// A bench for each choice of a rung that the machine has.
fn benches() -> impl Iterator<Item = Bench> {
    let has = |choice: &&str| is_root() || *choice != "chroot";
    CHOICES.into_iter().filter(has).map(Bench::with)
}

impl Bench {
    fn new() -> Self {
        Self::with(CHOICES[0])
    }

    fn with(runtime: &'static str) -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, Access::Plain);
        let base = registry.push(&sandbox, &base::busybox(), "busybox:1");
        Self { sandbox, registry, base, runtime }
    }

    /// Whether there are mounts, rather than what takes their places in a tree.
    fn mounts(&self) -> bool {
        self.runtime != "chroot"
    }

    /// Builds a Dockerfile in which BASE is busybox.
    fn run(&self, dockerfile: &str, flags: &[&str]) -> Outcome {
        self.run_by(longshore(&self.sandbox).arg("build"), dockerfile, flags)
    }

    fn run_by(&self, program: Run, dockerfile: &str, flags: &[&str]) -> Outcome {
        self.sandbox.write("context/Dockerfile", dockerfile.replace("BASE", &self.base));
        let insecure = ["--insecure-registry", self.registry.address()];
        let program = program.arg(self.sandbox.path("context")).args(insecure);
        program.args(["--runtime", self.runtime]).args(flags).outcome()
    }

    /// Builds and returns what the steps printed, a line each.
    fn said(&self, dockerfile: &str, flags: &[&str]) -> Vec<String> {
        said(&self.run(dockerfile, flags).success())
    }

    fn tree(&self) -> Tree {
        self.image().tree()
    }

    fn image(&self) -> Image {
        let layout = self.sandbox.path("state/layouts/default");
        Image::local(&self.sandbox, &format!("oci:{}:v1", layout.display()))
    }
}

/// What steps printed, a line each; the instructions that are shown may have pipes as well.
fn said(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.stderr.lines().filter(|line| !line.contains(" (rung "));
    let lines = lines.filter_map(|line| line.split_once("| "));
    lines.map(|(_, said)| said.to_owned()).collect()
}

/// All files below `root` that hold `word`, but for `source`.
fn files_with(root: &Path, word: &str, source: &Path) -> Vec<PathBuf> {
    let (mut found, mut ahead) = (Vec::new(), vec![root.to_owned()]);
    while let Some(path) = ahead.pop() {
        let kind = fs_err::symlink_metadata(&path).expect("stat").file_type();
        if kind.is_dir() {
            let entries = fs_err::read_dir(&path).expect("list");
            ahead.extend(entries.map(|entry| entry.expect("an entry").path()));
        } else if kind.is_file() && path != source {
            let bytes = fs_err::read(&path).expect("read");
            if bytes.windows(word.len()).any(|window| window == word.as_bytes()) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn a_cache_is_kept_between_builds_and_out_of_images() {
    for bench in benches() {
        let dockerfile = "FROM BASE\nARG N\nRUN --mount=type=cache,target=/cached/x,id=x echo $N \
                      >> /cached/x/log; cat /cached/x/log; cp /cached/x/log /log\n";
        let build = |n: &str| bench.said(dockerfile, &["--tag", "v1", "--build-arg", n]);
        assert_eq!(build("N=1"), ["1"]);
        assert_eq!(build("N=2"), ["1", "2"]);
        assert_eq!(build("N=2"), [""; 0], "the content of a cache is no reason to build again");
        let tree = bench.tree();
        assert!(
            tree.get("log").is_some() && tree.get("cached").is_none(),
            "nor is its mount point"
        );
        let other = dockerfile.replace("id=x", "id=y");
        assert_eq!(bench.said(&other, &["--build-arg", "N=3"]), ["3"]);
        let other = dockerfile.replace("id=x", "id=x,uid=7");
        assert_eq!(
            bench.said(&other, &["--build-arg", "N=4"]),
            ["4"],
            "of another owner is another"
        );
        let caches = fs_err::read_dir(bench.sandbox.path("work/caches")).expect("list");
        let names: Vec<_> = caches.map(|entry| entry.expect("an entry").file_name()).collect();
        assert_eq!(names.len(), 6, "three with a lock each: {names:?}");
    }
}

#[test]
fn steps_of_one_build_wait_for_a_cache_that_is_locked() {
    for bench in benches() {
        // In trees, they have it one after the other in any case.
        let sharing = if bench.mounts() { "locked" } else { "shared" };
        let step = |name: &str| {
            format!(
                "FROM BASE AS {name}\n\
             RUN --mount=type=cache,target=/c,id=c,sharing={sharing} \
             --mount=type=cache,target=/d,id={name},sharing={sharing} \
             mkdir /c/busy && echo {name} >> /c/log && sleep 0.2 && rmdir /c/busy && touch /{name}\n"
            )
        };
        let names = ["one", "two", "three"];
        let stages: String = names.iter().map(|name| step(name)).collect();
        let copies: String =
            names.iter().map(|name| format!("COPY --from={name} /{name} /\n")).collect();
        let read = "RUN --mount=type=cache,target=/c,id=c cat /c/log | sort\n";
        let said = bench.said(&format!("{stages}FROM BASE\n{copies}{read}"), &[]);
        assert_eq!(said, ["one", "three", "two"]);
    }
}

#[test]
fn a_secret_is_seen_by_its_step_and_by_nothing_else() {
    for bench in benches() {
        let word = format!("s3cret-{}", std::process::id());
        let source = bench.sandbox.write("secret.txt", &word);
        let report = bench.sandbox.path("report.json");
        let dockerfile = "FROM BASE\n\
         RUN --mount=type=secret,id=file --mount=type=secret,id=var,env=TOKEN \
         --mount=type=secret,id=none \
         stat -c '%a %u:%g' /run/secrets/file; wc -c < /run/secrets/file; echo ${#TOKEN}; \
         [ \"$(cat /run/secrets/file)\" = \"$TOKEN\" ] && echo same; ls /run/secrets\n\
         RUN ls /run/secrets 2>/dev/null || echo gone; echo ${#TOKEN}\n";
        let length = word.len().to_string();
        let program = || longshore(&bench.sandbox).env("VARIABLE", &word).arg("build");
        let file = format!("id=file,src={}", source.display());
        let flags = ["--secret", file.as_str(), "--secret", "id=var,env=VARIABLE", "--tag", "v1"];
        let flags =
            [&flags[..], &["--report", report.to_str().expect("UTF-8"), "--log-debug"]].concat();
        let outcome = bench.run_by(program(), dockerfile, &flags).success();
        let expected = ["400 0:0", &length, &length, "same", "file", "gone", "0"];
        assert_eq!(said(&outcome), expected);
        assert!(!outcome.report().contains(&word), "{}", outcome.report());
        assert_eq!(files_with(bench.sandbox.root(), &word, &source), Vec::<PathBuf>::new());
        for layer in &bench.image().layers {
            let mut bytes = Vec::new();
            layer.archive().into_inner().read_to_end(&mut bytes).expect("a layer");
            assert!(!bytes.windows(word.len()).any(|window| window == word.as_bytes()));
        }
        assert!(bench.tree().get("run/secrets").is_none(), "nor is a trace of where it was");
        let first = built_reference(&outcome);
        bench.sandbox.write("secret.txt", "another value");
        let again = bench.run_by(program(), dockerfile, &flags).success();
        assert_eq!(built_reference(&again), first, "its value is no input");
    }
}

#[test]
fn what_is_required_and_not_given_is_named_with_its_line() {
    let bench = Bench::new();
    for (mount, message, hint) in [
        (
            "type=secret,id=token,required",
            "the secret \"token\" is required here, but was not given",
            "give it with --secret id=token,src=FILE or env=VARIABLE",
        ),
        (
            "type=ssh,required=true",
            "the ssh agent \"default\" is required here, but was not given",
            "give it with --ssh default=SOCKET",
        ),
    ] {
        let dockerfile = format!("FROM BASE\nRUN true\nRUN --mount={mount} true\n");
        let outcome = bench.run(&dockerfile, &[]).exits(10);
        for part in [message, "Dockerfile:3:5", hint] {
            assert!(outcome.stderr.contains(part), "{part}\n{}", outcome.report());
        }
    }
    let missing = bench.run("FROM BASE\n", &["--secret", "id=a,src=none"]).exits(2);
    assert!(missing.stderr.contains("--secret id=a:"), "{}", missing.report());
}

#[test]
fn files_are_bound_from_context_stage_and_image() {
    let mut layers = Vec::new();
    for bench in benches() {
        bench.sandbox.write("context/src/main", "code\n");
        bench.sandbox.write("context/src/sub/deep", "deep\n");
        bench.sandbox.write("context/other", "other\n");
        let dockerfile = "FROM BASE AS made\nRUN mkdir /out; echo built > /out/file; ln -s out /link\n\
         FROM BASE\nWORKDIR /app\n\
         RUN --mount=target=.,source=src --mount=type=bind,source=other,target=/one \
         --mount=from=made,source=link,target=/made,rw --mount=from=BASE,source=/bin,target=/b \
         --mount=type=tmpfs,target=/app/sub,size=1m \
         cat main /one /made/file; ls sub; stat -c '%a %u:%g %Y' main; \
         touch main 2>/dev/null || echo refused; echo x >> /made/file; cat /made/file; \
         /b/busybox echo from image; touch sub/tmp; echo kept > /kept\n\
         RUN --mount=from=made,source=/out,target=/made cat /made/file\n";
        let build = || {
            let program = longshore(&bench.sandbox).env("SOURCE_DATE_EPOCH", "1700000000");
            said(&bench.run_by(program.arg("build"), dockerfile, &["--tag", "v1"]).success())
        };
        let expected = [
            "code",
            "other",
            "built",
            "644 0:0 1700000000",
            if bench.mounts() { "refused" } else { "" },
            "built",
            "x",
            "from image",
            "built",
        ];
        // Nothing keeps root from writing to a copy, which is thrown away.
        let expected: Vec<&str> = expected.into_iter().filter(|line| !line.is_empty()).collect();
        assert_eq!(build(), expected);
        let tree = bench.tree();
        let new: Vec<&str> = tree
            .iter()
            .map(|(path, _)| path)
            .filter(|path| {
                ["app", "kept", "made", "one", "b"].iter().any(|top| path.starts_with(top))
            })
            .filter(|path| !path.starts_with("bin"))
            .collect();
        assert_eq!(new, ["app", "kept"]);
        let image = bench.image();
        let digests = image.layer_digests().into_iter().map(str::to_owned);
        layers.push(digests.collect::<Vec<_>>());
        assert_eq!(build(), [""; 0], "all is stored");
        bench.sandbox.write("context/unrelated", "");
        assert_eq!(build(), [""; 0], "what is not bound is no input");
        bench.sandbox.write("context/src/sub/deep", "changed\n");
        assert_eq!(build(), expected, "what is bound is");
    }
    assert!(layers.iter().all(|of_rung| *of_rung == layers[0]), "{layers:?}");
}

#[test]
fn mounts_that_cannot_be_are_shown_where_they_are_written() {
    for bench in benches() {
        bench.sandbox.write("context/file", "");
        for (mount, message, place) in [
            ("source=none,target=/x", "\"none\" is not in the build context", "Dockerfile:2:13"),
            ("target=/bin/busybox", "cannot mount /bin/busybox: it is a file of the image", ":2:5"),
            (
                "type=secret,id=a,target=/bin",
                "cannot mount /bin: it is a directory of the image",
                ":2:5",
            ),
            ("from=BASE,source=/none,target=/x", "its source /none does not exist", ":2:5"),
            ("type=tmpfs,target=/", "a mount cannot cover the root of the image", ":2:5"),
            ("type=bnd,target=/x", "unknown type of mount: bnd", "Dockerfile:2:13"),
        ] {
            let dockerfile = format!("FROM BASE\nRUN --mount={mount} true\n");
            let secret = ["--secret", "id=a,src=context/file"];
            let outcome = bench.run(&dockerfile, &secret).exits(10);
            for part in [message, place] {
                assert!(outcome.stderr.contains(part), "{part}\n{}", outcome.report());
            }
        }
    }
}

#[test]
fn an_agent_is_lent_to_a_step() {
    for bench in benches() {
        let program = Path::new("/usr/bin/ssh-add");
        if !program.exists() {
            eprintln!("skipped: {} is not installed", program.display());
            return;
        }
        let libraries = Run::new("ldd").arg(program).succeed();
        let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
        for file in libraries.chain(["/usr/bin/ssh-add"]) {
            let name = Path::new(file).file_name().expect("a file");
            let copy = bench
                .sandbox
                .write(Path::new("context").join(name), fs_err::read(file).expect("read"));
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs_err::set_permissions(copy, mode).expect("chmod");
        }
        let socket = bench.sandbox.path("agent.sock");
        let asked = agent(UnixListener::bind(&socket).expect("bind"));
        let dockerfile = "FROM BASE\nRUN --mount=target=/t --mount=type=ssh echo $SSH_AUTH_SOCK; \
                      /t/ld-linux-*.so.* --library-path /t /t/ssh-add -l; [ $? = 1 ]\n\
                      RUN echo \"[$SSH_AUTH_SOCK]\"; ls -d /run/buildkit 2>/dev/null || echo gone\n";
        let ssh = format!("default={}", socket.display());
        let said = bench.said(dockerfile, &["--ssh", &ssh]);
        let expected = ["/run/buildkit/ssh_agent.0", "The agent has no identities.", "[]", "gone"];
        assert_eq!(said, expected);
        assert!(asked.lock().expect("no panic").contains(&11));
        let without =
            bench.said("FROM BASE\nRUN --mount=type=ssh echo \"[$SSH_AUTH_SOCK]\"\n", &[]);
        assert_eq!(without, ["[]"], "one that is not required may be missing");
        let refused = bench.run(dockerfile, &["--ssh", "default=context/Dockerfile"]).exits(2);
        assert!(refused.stderr.contains("is no socket"), "{}", refused.report());
    }
}

/// Answers as an agent without keys; what is asked for is noted.
fn agent(listener: UnixListener) -> Arc<Mutex<Vec<u8>>> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut length) = (stream.expect("accept"), [0; 4]);
            while stream.read_exact(&mut length).is_ok() {
                let mut request = vec![0; u32::from_be_bytes(length) as usize];
                stream.read_exact(&mut request).expect("a request");
                notes.lock().expect("no panic").push(request[0]);
                let answer: &[u8] = match request[0] {
                    11 => &[0, 0, 0, 5, 12, 0, 0, 0, 0],
                    _ => &[0, 0, 0, 1, 5],
                };
                stream.write_all(answer).expect("an answer");
            }
        }
    });
    asked
}

#[test]
fn a_step_without_a_network_has_a_loopback_of_its_own() {
    let bench = Bench::new();
    let count = "grep -c : /proc/net/dev";
    let dockerfile = format!("FROM BASE\nRUN --network=none {count}; grep -o lo: /proc/net/dev\n");
    assert_eq!(bench.said(&dockerfile, &[]), ["1", "lo:"]);
    let host = bench.said(&format!("FROM BASE\nRUN --network=host {count}\n"), &[]);
    let own = fs_err::read_to_string("/proc/net/dev").expect("a file");
    let own = own.lines().filter(|line| line.contains(':')).count().to_string();
    assert_eq!(host, [own]);
}

#[test]
fn a_step_that_takes_too_long_is_ended() {
    let bench = Bench::new();
    let dockerfile = "FROM BASE\nRUN echo started; sleep 86398\n";
    let outcome = bench.run(dockerfile, &["--run-timeout", "1s"]).exits(30);
    let expected = "error: RUN echo started; sleep 86398 was ended because it took longer than 1 \
                    seconds\n  | started\nhint: --run-timeout says how long a RUN step may take\n";
    assert!(outcome.stderr.ends_with(expected), "{}", outcome.report());
    let context = bench.sandbox.path("context");
    let door = executor(&bench.sandbox).arg("--context").arg(context).args([
        "--no-push",
        "--run-timeout=1s",
        "--insecure-registry",
        bench.registry.address(),
    ]);
    door.outcome().exits(124);
    let wrong = bench.run(dockerfile, &["--run-timeout", "soon"]).exits(2);
    assert!(wrong.stderr.contains("is no duration"), "{}", wrong.report());
    let left = Run::new("pgrep").args(["-f", "^sleep 86398$"]).outcome();
    assert_eq!(left.stdout, "");
}

#[test]
fn a_step_that_fails_says_what_may_be_the_matter() {
    let bench = Bench::new();
    // The header of a program for another machine than any that this runs on.
    let mut foreign = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x2a\0\x01\0\0\0".to_vec();
    foreign.resize(4096, 0);
    bench.sandbox.write("context/foreign", &foreign);
    for (dockerfile, hint) in [
        ("FROM scratch\nRUN true\n", "hint: the image has no /bin/sh: write RUN [\"PROGRAM\""),
        ("FROM BASE\nRUN kill -9 $$\n", "hint: the command was killed: if nothing in it did that"),
        (
            "FROM BASE\nCOPY --chmod=755 foreign /\nRUN [\"/foreign\"]\n",
            "hint: the program is for another architecture than this machine's (linux/",
        ),
        (
            "FROM BASE\nRUN --mount=type=tmpfs,target=/t,size=64k dd if=/dev/zero of=/t/f bs=64k \
             count=2\n",
            "hint: the tmpfs at /t takes 65536 bytes; its option size= makes it larger",
        ),
    ] {
        let outcome = bench.run(dockerfile, &[]).exits(30);
        assert!(outcome.stderr.contains(hint), "{hint}\n{}", outcome.report());
    }
    let program = longshore_on_tmpfs(&bench.sandbox, "size=24m").arg("build");
    let dockerfile = "FROM BASE\nRUN dd if=/dev/zero of=/file bs=64k\n";
    let outcome = bench.run_by(program, dockerfile, &[]).exits(30);
    let hint = format!(
        "hint: the volume of the work directory {} is full; --work-dir names",
        bench.sandbox.path("work").display()
    );
    assert!(outcome.stderr.contains(&hint), "{}", outcome.report());
}
