//! The log as JSON: whatever happens, every line on standard error is an object, and no secret is
//! in any of them.

use serde_json::Value;

use crate::support::command::Outcome;
use crate::support::registry::PASSWORD;
use crate::support::{Access, Registry, Sandbox, base, executor, longshore};

const PROXY: &str = "HTTP_PROXY=http://user:proxy-secret@127.0.0.1:9";

fn events(outcome: &Outcome) -> Vec<Value> {
    let parse = |line: &str| {
        serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("{line:?}: {error}\n{}", outcome.report()))
    };
    outcome.stderr.lines().map(parse).collect()
}

#[test]
fn every_line_of_a_build_is_an_object_without_secrets() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, Access::Password);
    let base = registry.push(&sandbox, &base::busybox(), "busybox:1");
    let docker = sandbox.path("docker");
    registry.write_docker_config(&docker, PASSWORD);
    for (command, code) in [("true", 0), ("echo last >&2; exit 3", 30)] {
        sandbox.write("context/Dockerfile", format!("FROM {base}\nARG TOKEN\nRUN {command}\n"));
        let outcome = longshore(&sandbox)
            .args(["build", "context", "--log-format", "json", "--log-debug"])
            .args(["--insecure-registry", registry.address()])
            .args(["--repo", &registry.reference("app"), "--build-arg", "TOKEN=token-secret"])
            .args(["--build-arg", PROXY])
            .env("DOCKER_CONFIG", &docker)
            .outcome()
            .exits(code);
        let events = events(&outcome);
        let count = |name: &str| events.iter().filter(|event| event["event"] == name).count();
        assert_eq!((count("started"), count("stage-started")), (1, 1), "{}", outcome.report());
        assert!(count("detail") > 0, "the libraries log: {}", outcome.report());
        assert_eq!(count("failed"), usize::from(code != 0));
        for secret in [PASSWORD, "proxy-secret", "token-secret"] {
            assert!(!outcome.stderr.contains(secret), "{}", outcome.report());
        }
    }
}

#[test]
fn wrong_arguments_and_settings_are_objects_too() {
    let sandbox = Sandbox::new();
    for (arguments, message) in [
        (&["--tags", "v1"][..], "unexpected argument '--tags' found"),
        (&["--runtime", "magic"], "--runtime \"magic\" is none of"),
        (&["elsewhere"], "build context elsewhere is not a directory"),
    ] {
        for form in [&["--log-format=json"][..], &["--log-format", "json"]] {
            let outcome = longshore(&sandbox).arg("build").args(form).args(arguments).outcome();
            let events = events(&outcome);
            assert_eq!(events.len(), 1, "{}", outcome.report());
            assert_eq!(events[0]["exit_code"], outcome.code);
            let text = events[0]["message"].as_str().expect("a failure has a message");
            assert!(text.starts_with(message), "{}", outcome.report());
        }
    }
    let outcome = executor(&sandbox).args(["--log-format=json", "--no-pusj"]).outcome().exits(1);
    assert_eq!(events(&outcome)[0]["exit_code"], 1);
}
