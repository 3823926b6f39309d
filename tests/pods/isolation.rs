//! What a step can reach of the builder and of its pod.
//!
//! In each kind of pod where RUN is executed the same attempts are made twice: by a process of the
//! builder's user beside the builder, on another process of that user, where every one has to
//! succeed; and by a step on the builder and on its own supervisor, where none may. So an attempt
//! that is merely made wrongly, or that the pod refuses to everybody, is no proof of anything.

use std::collections::BTreeMap;

use super::doctor::ask;
use super::in_each;
use crate::support::command::Run;
use crate::support::pods::{DOCKER_CONFIG, Environment, LONGSHORE, Pod, TOKEN_PATH};
use crate::support::{Access, Registry, Sandbox, base};

const SOURCE: &str = "tests/fixtures/isolation/attempts.c";
const ATTEMPTS: &str = "/context/attempts";
/// The first version of Landlock that keeps signals in.
const SCOPES_SINCE: u64 = 6;
/// Pods and the rung that each has for RUN.
const CELLS: &[(&str, &str)] = &[
    ("E1", "overlay"),
    ("E1np", "overlay"),
    ("E3b", "overlay"),
    ("E5un", "overlay"),
    ("E5u", "overlay"),
    ("E5a", "overlay"),
    ("E6", "overlay"),
    ("E1", "chroot"),
    ("E2", "chroot"),
    ("E5", "chroot"),
    ("E7", "chroot"),
];

/// Arguments: what builds, then the paths. The builder takes the place of the shell, process 1.
const SCRIPT: &str = r#"attempts=$1 runtime=$2 builder=$3; shift 3
"$attempts" victim &
exec 7</etc/passwd
"$attempts" control $! "$@"
exec 7<&-
exec "$builder" build --runtime "$runtime" /context"#;

/// Who tried what, and what came of it.
type Answers = BTreeMap<(String, String), String>;

/// Reads the lines of the attempts out of everything that was said.
fn answers(text: &str) -> Answers {
    let lines = text.lines().filter_map(|line| line.split_once('@'));
    lines
        .filter_map(|(_, line)| {
            let mut words = line.split_whitespace().map(str::to_owned);
            Some(((words.next()?, words.next()?), words.next()?))
        })
        .collect()
}

fn paths() -> [String; 5] {
    let below_root = |path: &str| format!("/proc/1/root{path}");
    [
        TOKEN_PATH.to_owned(),
        DOCKER_CONFIG.to_owned(),
        below_root(TOKEN_PATH),
        below_root(DOCKER_CONFIG),
        "/proc/1/cwd/credentials/config.json".to_owned(),
    ]
}

#[test]
fn steps_reach_nothing_of_the_builder() {
    in_each(CELLS, |(name, runtime)| {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, Access::Plain);
        let base = registry.push(&sandbox, &base::busybox(), "busybox:1");
        let words = paths().map(|path| format!("\"{path}\"")).join(",");
        let step = |label: &str| format!("RUN [\"/attempts\",\"{label}\",\"1\",{words}]\n");
        sandbox.write(
            "context/Dockerfile",
            format!(
                "FROM {base}\nCOPY attempts /attempts\n{}USER app\n{}",
                step("root"),
                step("user")
            ),
        );
        let program = sandbox.path("context/attempts");
        Run::new("cc").args(["-O2", "-static", "-o"]).arg(&program).arg(SOURCE).succeed();
        let pod = Pod::new(&sandbox, Environment::named(name))
            .context(sandbox.path("context"))
            .env("REGISTRY_PASSWORD", "sekret-of-the-environment")
            .on_the_nodes_network();
        let doctor = ask(&pod, &["--runtime", runtime]);
        let paths = paths();
        let mut command = vec!["sh", "-c", SCRIPT, "sh", ATTEMPTS, runtime, LONGSHORE];
        command.extend(paths.iter().map(String::as_str));
        let outcome = pod.run(&command).success();
        let answers = answers(&format!("{}{}", outcome.stdout, outcome.stderr));
        eprintln!("{name} {runtime}: {answers:#?}");
        let of = |label: &str| -> BTreeMap<&str, &str> {
            let of_label = answers.iter().filter(|((who, _), _)| who == label);
            of_label.map(|((_, attempt), answer)| (attempt.as_str(), answer.as_str())).collect()
        };
        let control = of("control");
        let failed: Vec<_> = control.iter().filter(|(_, answer)| **answer != "reached").collect();
        assert!(failed.is_empty(), "{name}: a control fails: {failed:?}");
        let own_processes = doctor["mechanisms"]["fresh-proc"] == "ok";
        let scoped = doctor["landlock_abi"].as_u64().is_some_and(|abi| abi >= SCOPES_SINCE);
        for label in ["root", "user"] {
            let tried = of(label);
            let attempts = |map: &BTreeMap<&str, &str>| {
                map.keys().map(|name| (*name).to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(attempts(&tried), attempts(&control), "{}", outcome.report());
            let reached: Vec<_> = tried
                .iter()
                .filter(|(_, answer)| **answer == "reached")
                // Nothing older keeps signals in without a process namespace.
                .filter(|(attempt, _)| scoped || own_processes || !attempt.ends_with(":kill"))
                .collect();
            assert!(reached.is_empty(), "{name} {runtime}: {label} reached {reached:?}");
        }
        assert!(!outcome.stderr.contains("sekret-of-the"), "{}", outcome.report());
    });
}
