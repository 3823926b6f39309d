//! What longshore says when it cannot do what it is asked: the exit code and the whole text on
//! standard error, with what differs from run to run replaced.
//!
//! A mismatch prints the real text ready to be pasted. All cases of a table are tried before the
//! test fails.

use regex::Regex;

use crate::support::command::{Outcome, Run};
use crate::support::fake_registry::{answering, deserted_address};
use crate::support::normal::Normal;
use crate::support::{Access, Registry, Sandbox, base, longshore, longshore_on_tmpfs};

/// A build that must fail.
struct Case {
    /// What is wrong.
    name: &'static str,
    /// The Dockerfile, where `BASE` stands for a busybox; none when empty.
    dockerfile: &'static str,
    /// Arguments after the context.
    arguments: &'static [&'static str],
    /// The exit code.
    code: i32,
    /// Standard error, normalised.
    stderr: &'static str,
}

const BUILD_FILES: &[Case] = &[
    Case {
        name: "no Dockerfile",
        dockerfile: "",
        arguments: &[],
        code: 10,
        stderr: r#"error: there is no Dockerfile context/Dockerfile
hint: give the directory of a Dockerfile or longshore.yaml, or the Dockerfile with -f
"#,
    },
    Case {
        name: "a Dockerfile elsewhere that is not there",
        dockerfile: "FROM scratch\n",
        arguments: &["-f", "other/Dockerfile"],
        code: 10,
        stderr: r#"error: there is no Dockerfile other/Dockerfile
hint: -f is relative to the working directory, not to the context
"#,
    },
    Case {
        name: "an unfinished list of words",
        dockerfile: "FROM scratch\nCOPY file\n",
        arguments: &[],
        code: 10,
        stderr: r#"error: COPY requires at least two arguments
 --> context/Dockerfile:2:1
  |
2 | COPY file
  | ^^^^
  |
  = help: the last argument is the destination
"#,
    },
    Case {
        name: "an unknown instruction",
        dockerfile: "FROM scratch\nCOPPY file /\n",
        arguments: &[],
        code: 10,
        stderr: r#"error: unknown instruction: COPPY
 --> context/Dockerfile:2:1
  |
2 | COPPY file /
  | ^^^^^
  |
  = help: did you mean COPY?
"#,
    },
    Case {
        name: "an unknown flag of an instruction",
        dockerfile: "FROM scratch\nCOPY --chwon=1 file /\n",
        arguments: &[],
        code: 10,
        stderr: r#"error: unknown flag: --chwon
 --> context/Dockerfile:2:6
  |
2 | COPY --chwon=1 file /
  |      ^^^^^^^^^
  |
  = help: did you mean --chown?
"#,
    },
    Case {
        name: "a COPY source that matches nothing",
        dockerfile: "FROM scratch\nCOPY file /\nCOPY missing/*.txt /\n",
        arguments: &[],
        code: 10,
        stderr: r#"longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/bad, synchronization :local
error: no file of the build context matches missing/*.txt
 --> context/Dockerfile:3:6
  |
3 | COPY missing/*.txt /
  |      ^^^^^^^^^^^^^
"#,
    },
    Case {
        name: "a COPY source that is ignored",
        dockerfile: "FROM scratch\nCOPY hidden /\n",
        arguments: &[],
        code: 10,
        stderr: r#"longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/bad, synchronization :local
error: "hidden" is not in the build context
 --> context/Dockerfile:2:6
  |
2 | COPY hidden /
  |      ^^^^^^
  |
  = help: context/.dockerignore:1 excludes it (hidden)
"#,
    },
    Case {
        name: "an unknown target",
        dockerfile: "FROM scratch AS one\nCOPY file /\n",
        arguments: &["--target", "two"],
        code: 10,
        stderr: r#"longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/bad, synchronization :local
error: there is no stage "two" to build
 --> context/Dockerfile:1:1
  |
1 | FROM scratch AS one
  | ^^^^^^^^^^^^^^^^^^^
  |
  = help: the stages are: one
"#,
    },
    Case {
        name: "stages in a circle",
        dockerfile: "FROM scratch AS one\nCOPY --from=two /a /\n\
                     FROM scratch AS two\nCOPY --from=one /a /\n",
        arguments: &[],
        code: 10,
        stderr: r#"longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/bad, synchronization :local
error: the stages need each other: two -> one -> two
 --> context/Dockerfile:3:1
  |
3 | FROM scratch AS two
  | ^^^^^^^^^^^^^^^^^^^
"#,
    },
    Case {
        name: "several faults at once",
        dockerfile: "FROM scratch\nCOPPY a /\nEXPOSE nothing\nUSER\n",
        arguments: &[],
        code: 10,
        stderr: r#"error: unknown instruction: COPPY
 --> context/Dockerfile:2:1
  |
2 | COPPY a /
  | ^^^^^
  |
  = help: did you mean COPY?

error: invalid port "nothing" in EXPOSE: a port is a number from 0 to 65535
 --> context/Dockerfile:3:8
  |
3 | EXPOSE nothing
  |        ^^^^^^^
  |
  = help: write PORT or FIRST-LAST, with /tcp, /udp or /sctp behind it

error: USER requires exactly one argument
 --> context/Dockerfile:4:1
  |
4 | USER
  | ^^^^
"#,
    },
];

const COMMAND_LINES: &[Case] = &[
    Case {
        name: "an unknown flag",
        dockerfile: "FROM scratch\nCOPY file /\n",
        arguments: &["--tags", "v1"],
        code: 2,
        stderr: r#"error: unexpected argument '--tags' found

  tip: a similar argument exists: '--tag'

Usage: longshore build --project <NAME> --insecure-registry <HOST[:PORT]> --tag <REF> <CONTEXT>

For more information, try '--help'.
"#,
    },
    Case {
        name: "a repository with a tag",
        dockerfile: "FROM scratch\nCOPY file /\n",
        arguments: &["--repo", "example.org/app:v1"],
        code: 2,
        stderr: r#"error: "example.org/app:v1" is not an image reference: a repository has no tag or digest
"#,
    },
    Case {
        name: "a tag that is none",
        dockerfile: "FROM scratch\nCOPY file /\n",
        arguments: &["--tag", "not a tag"],
        code: 2,
        stderr: r#"error: --tag "not a tag" is neither a tag (letters, digits, '_', '.', '-', at most 128) nor a reference
"#,
    },
    Case {
        name: "a build argument without a name",
        dockerfile: "FROM scratch\nCOPY file /\n",
        arguments: &["--build-arg", "=value"],
        code: 2,
        stderr: r#"error: --build-arg "=value" has no name before the =
"#,
    },
];

const COMMANDS: &[Case] = &[
    Case {
        name: "a RUN that exits 3",
        dockerfile: "FROM BASE\nRUN (echo first; echo last) >&2; exit 3\n",
        arguments: &[],
        code: 30,
        stderr: r#"longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/bad, synchronization :local
[image 1] RUN (echo first; echo last) >&2; exit 3 (rung [RUNG])
[image 1] | first
[image 1] | last
error: RUN (echo first; echo last) >&2; exit 3 failed with exit code 3
  | first
  | last
"#,
    },
    Case {
        name: "a RUN that is killed",
        dockerfile: "FROM BASE\nRUN kill -9 $$\n",
        arguments: &[],
        code: 30,
        stderr: r#"longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/bad, synchronization :local
[image 1] RUN kill -9 $$ (rung [RUNG])
error: RUN kill -9 $$ failed with exit code 137
hint: the command was killed: if nothing in it did that, the pod ran out of memory; raise its resources.limits.memory, or let the step do less at a time
"#,
    },
    Case {
        name: "a RUN of a program that is not there",
        dockerfile: "FROM BASE\nRUN [\"/no/such/program\"]\n",
        arguments: &[],
        code: 30,
        stderr: r#"longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/bad, synchronization :local
[image 1] RUN ["/no/such/program"] (rung [RUNG])
[image 1] | cannot run /no/such/program: no such file
error: RUN ["/no/such/program"] failed with exit code 127
  | cannot run /no/such/program: no such file
"#,
    },
    Case {
        name: "an unknown stage",
        dockerfile: "FROM BASE AS one\nFROM scratch\nCOPY --from=oen /a /\n",
        arguments: &["--registry-mirror", "REGISTRY", "--skip-default-registry-fallback"],
        code: 22,
        stderr: r#"longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/bad, synchronization :local
error: docker.io/library/oen:latest was not found (asked [REGISTRY]/library/oen)
hint: are name and tag right, and is it the right registry?
hint: context/Dockerfile:3:6 asks for this image, for there is no stage "oen"; the stages are: one
"#,
    },
    Case {
        name: "a user that the image does not have",
        dockerfile: "FROM BASE\nUSER somebody\nRUN true\n",
        arguments: &[],
        code: 10,
        stderr: r#"longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/bad, synchronization :local
[image 1] RUN true (rung [RUNG])
error: RUN true cannot be run as "somebody": /etc/passwd has no user somebody
hint: add the user in a RUN step before USER, or give USER a number
"#,
    },
    Case {
        name: "a build argument that nothing takes",
        dockerfile: "FROM BASE\nARG VERSION\nRUN exit 3\n",
        arguments: &["--build-arg", "VERSON=1"],
        code: 30,
        stderr: r#"longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/bad, synchronization :local
warning: no ARG takes --build-arg VERSON
[image 1] RUN exit 3 (rung [RUNG])
error: RUN exit 3 failed with exit code 3
"#,
    },
    Case {
        name: "a base image that is not there",
        dockerfile: "FROM BASE-missing\nCOPY file /\n",
        arguments: &[],
        code: 22,
        stderr: r#"longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/bad, synchronization :local
error: [REGISTRY]/busybox-missing:latest was not found (asked [REGISTRY]/busybox-missing)
hint: are name and tag right, and is it the right registry?
hint: context/Dockerfile:1:6 asks for this image
"#,
    },
];

#[test]
fn faults_of_the_build_file_are_named() {
    check_all(BUILD_FILES);
}

#[test]
fn faults_of_the_command_line_are_named() {
    check_all(COMMAND_LINES);
}

#[test]
fn failed_commands_and_missing_bases_are_named() {
    check_all(COMMANDS);
}

#[test]
fn files_that_are_no_files_are_named() {
    let bench = Bench::new(Access::Plain);
    Run::new("mkfifo").arg(bench.sandbox.path("context/pipe")).succeed();
    let mut wrong = String::new();
    for (name, dockerfile, code, stderr) in [
        (
            "taken",
            "FROM scratch\nCOPY pipe /\n",
            10,
            r#"longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/bad, synchronization :local
error: "pipe" is not in the build context; there is "file"
 --> context/Dockerfile:2:6
  |
2 | COPY pipe /
  |      ^^^^
  |
  = help: pipe is a named pipe and is left out of the context
"#,
        ),
        (
            "beside",
            "FROM scratch\nCOPY . /\n",
            0,
            r#"longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/bad, synchronization :local
warning: pipe is a named pipe and is left out of the context
[image 1] COPY . /
[image 1] built, [SIZE], [DURATION]
[image] image built
"#,
        ),
    ] {
        let case = Case { name, dockerfile, arguments: &[], code, stderr };
        let outcome = bench.build(&case, longshore(&bench.sandbox)).outcome();
        wrong.extend(bench.mismatch(&case, &outcome, |normal| normal));
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_digest_file_without_a_place_is_named_before_anything_is_built() {
    let bench = Bench::new(Access::Plain);
    let case = Case {
        name: "no directory",
        dockerfile: "FROM scratch\nCOPY file /\n",
        arguments: &["--digest-file", "context/file/digest"],
        code: 2,
        stderr: r#"error: failed to create directory `context/file`: File exists (os error 17)
hint: context/file/digest is to be written when the image is published
"#,
    };
    let outcome = bench.build(&case, longshore(&bench.sandbox)).outcome();
    let wrong = bench.mismatch(&case, &outcome, |normal| normal);
    assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
    let case = Case { arguments: &["--digest-file", "new/directory/digest"], ..case };
    bench.build(&case, longshore(&bench.sandbox)).outcome().success();
    assert!(bench.sandbox.path("new/directory/digest").exists());
}

#[test]
fn what_a_project_names_and_does_not_have_is_named() {
    let bench = Bench::new(Access::Plain);
    let mut wrong = String::new();
    for (name, image, code, stderr) in [
        (
            "a Dockerfile",
            "{ name: api, dockerfile: gone }",
            10,
            r#"error: there is no Dockerfile context/gone
hint: longshore.yaml names it for the image "api"
"#,
        ),
        (
            "a context",
            "{ name: api, context: gone }",
            11,
            r#"error: cannot read context/gone of the build context
  caused by: failed to canonicalize path `context/gone`: No such file or directory (os error 2)
hint: context/longshore.yaml names it for the image "api"
"#,
        ),
    ] {
        bench.sandbox.write("context/longshore.yaml", format!("images: [{image}]\n"));
        let dockerfile = "FROM scratch\nCOPY file /\n";
        let case = Case { name, dockerfile, arguments: &[], code, stderr };
        let outcome = bench.build(&case, longshore(&bench.sandbox)).outcome();
        wrong.extend(bench.mismatch(&case, &outcome, |normal| normal));
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_wrong_password_is_named_but_not_shown() {
    let bench = Bench::new(Access::Password);
    let docker = bench.sandbox.path("docker");
    bench.registry.write_docker_config(&docker, "wrong-secret");
    let case = Case {
        name: "a wrong password",
        dockerfile: "FROM BASE\nCOPY file /\n",
        arguments: &[],
        code: 20,
        stderr: r#"longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/bad, synchronization :local
error: [REGISTRY] refused the pull from [REGISTRY]/busybox with the credentials from [SANDBOX]/docker/config.json ([REGISTRY]): authentication required
hint: credentials are read from $REGISTRY_AUTH_FILE, and from config.json in $DOCKER_CONFIG or ~/.docker
hint: context/Dockerfile:1:6 asks for this image
"#,
    };
    let outcome =
        bench.build(&case, longshore(&bench.sandbox)).env("DOCKER_CONFIG", docker).outcome();
    assert!(!outcome.stderr.contains("wrong-secret"), "{}", outcome.report());
    let wrong = bench.mismatch(&case, &outcome, |normal| normal);
    assert!(wrong.is_none(), "{}", wrong.unwrap_or_default());
}

#[test]
fn registries_that_do_not_answer_as_registries_are_named() {
    let answers = [
        (
            "nobody",
            deserted_address(),
            21,
            r#"longshore 0.1.0: stages in [ADDRESS]/app, synchronization :local
error: [ADDRESS] cannot be reached for the push to [ADDRESS]/app
  caused by: error sending request
  caused by: client error (Connect)
  caused by: tcp connect error
  caused by: Connection refused (os error 111)
hint: is the name right, and the registry up? --insecure-registry HOST speaks plain HTTP
"#,
        ),
        (
            "garbage",
            answering("220 mail.example.org ESMTP\r\n"),
            21,
            r#"longshore 0.1.0: stages in [ADDRESS]/app, synchronization :local
error: [ADDRESS] cannot be reached for the push to [ADDRESS]/app
  caused by: error sending request
  caused by: client error (Connect)
  caused by: received corrupt message of type InvalidContentType
hint: is the name right, and the registry up? --insecure-registry HOST speaks plain HTTP
"#,
        ),
        (
            "a page",
            answering("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"),
            21,
            r#"longshore 0.1.0: stages in [ADDRESS]/app, synchronization :local
error: [ADDRESS]/v2/app/manifests/at-[STAGE] answered status 200 with something that is no manifest; is this a container registry?
hint: what answers there may not be a container registry, or a proxy is in between
"#,
        ),
    ];
    let mut wrong = String::new();
    for (name, address, code, stderr) in answers {
        let bench = Bench::new(Access::Plain);
        let case =
            Case { name, dockerfile: "FROM scratch\nCOPY file /\n", arguments: &[], code, stderr };
        let repository = format!("{address}/app");
        let run = bench.build(&case, longshore(&bench.sandbox));
        let outcome = run.args(["--insecure-registry", &address, "--repo", &repository]).outcome();
        let named = |normal: Normal| normal.literal(&address, "[ADDRESS]");
        wrong.extend(bench.mismatch(&case, &outcome, named));
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn work_directories_without_room_or_right_are_named() {
    let cases = [
        (
            "full",
            "size=400k",
            50,
            r#"longshore 0.1.0: stages in the OCI layout [SANDBOX]/state/layouts/bad, synchronization :local
[image 1] RUN true (rung [RUNG])
error: [SANDBOX]/work/blobs/sha256/[HEX].part: file cannot be read or written
  caused by: No space left on device (os error 28)
hint: --work-dir names a directory with more room
"#,
        ),
        (
            "read-only",
            "ro",
            50,
            r#"error: cannot use the work directory [SANDBOX]/work
  caused by: failed to create directory `[SANDBOX]/work/blobs/sha256`: Read-only file system (os error 30)
hint: name a directory that can be written with --work-dir; in a pod, one on an emptyDir volume
"#,
        ),
    ];
    let mut wrong = String::new();
    for (name, options, code, stderr) in cases {
        let bench = Bench::new(Access::Plain);
        let dockerfile = "FROM BASE\nRUN true\n";
        let case = Case { name, dockerfile, arguments: &[], code, stderr };
        let outcome = bench.build(&case, longshore_on_tmpfs(&bench.sandbox, options)).outcome();
        wrong.extend(bench.mismatch(&case, &outcome, |normal| normal));
    }
    assert!(wrong.is_empty(), "{wrong}");
}

struct Bench {
    sandbox: Sandbox,
    registry: Registry,
    base: String,
}

impl Bench {
    fn new(access: Access) -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, access);
        let base = registry.push(&sandbox, &base::busybox(), "busybox");
        sandbox.write("context/file", "content\n");
        sandbox.write("context/hidden", "content\n");
        sandbox.write("context/.dockerignore", "hidden\n");
        Self { sandbox, registry, base }
    }

    /// The build of `case` by `program`, without a repository unless the caller adds one.
    fn build(&self, case: &Case, program: Run) -> Run {
        let dockerfile = self.sandbox.path("context/Dockerfile");
        if case.dockerfile.is_empty() {
            // The case before has left one.
            let _ = fs_err::remove_file(&dockerfile);
        } else {
            let text = case.dockerfile.replace("BASE", &self.base);
            self.sandbox.write(&dockerfile, text);
        }
        program
            .args(["build", "context", "--project", "bad"])
            .args(["--insecure-registry", self.registry.address()])
            .args(
                case.arguments.iter().map(|word| word.replace("REGISTRY", self.registry.address())),
            )
    }

    fn mismatch(
        &self,
        case: &Case,
        outcome: &Outcome,
        more: impl FnOnce(Normal) -> Normal,
    ) -> Option<String> {
        let normal = more(Normal::new(&self.sandbox).registry(&self.registry));
        let stderr = normal.apply(&outcome.stderr);
        let left = self.left_behind();
        let nothing = case.code == 0 || (left.is_empty() && outcome.stdout.is_empty());
        if outcome.code == case.code && stderr == case.stderr && nothing {
            return None;
        }
        let (name, wanted, got) = (case.name, case.code, outcome.code);
        let stdout = &outcome.stdout;
        Some(format!(
            "{name}: code {got}, expected {wanted}; left {left:?}; stdout {stdout:?}; stderr: \
             r#\"{stderr}\"#,\n"
        ))
    }

    /// What a failed build must not leave: its place in the work directory, and an image. (Stages
    /// that were finished before the fault are kept.)
    fn left_behind(&self) -> Vec<String> {
        let places = ["builds", "scratch"].map(|name| self.sandbox.path("work").join(name));
        let places = places.iter().filter_map(|place| fs_err::read_dir(place).ok()).flatten();
        let places = places.map(|entry| entry.expect("an entry").path().display().to_string());
        let index = self.sandbox.path("state/layouts/bad/index.json");
        let index = fs_err::read_to_string(index).unwrap_or_default();
        // An image is named by a pointer only, a stage also by DIGEST-MILLIS.
        let pointers = index.matches("\"at-").count();
        let stages = Regex::new("\"[0-9a-f]{56}-[0-9]{13}\"").expect("a valid pattern");
        let images = pointers.saturating_sub(stages.find_iter(&index).count());
        places.chain((images > 0).then(|| format!("{images} images"))).collect()
    }
}

fn check_all(cases: &[Case]) {
    let bench = Bench::new(Access::Plain);
    let mut wrong = String::new();
    for case in cases {
        let outcome = bench.build(case, longshore(&bench.sandbox)).outcome();
        wrong.extend(bench.mismatch(case, &outcome, |normal| normal));
    }
    assert!(wrong.is_empty(), "{wrong}");
}
