//! `longshore doctor` in every kind of pod, and where one mechanism is missing.
//!
//! `tests/fixtures/doctor` has the answer for each kind. `LONGSHORE_TEST_BLESS=1` writes what is
//! answered now, to be looked at before it is committed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{in_each, in_every_pod};
use crate::support::pods::{CONTEXT, Denial, Environment, LONGSHORE, Pod};
use crate::support::{Sandbox, variables};

/// What `doctor --json` says in the pod.
pub(super) fn ask(pod: &Pod<'_>, arguments: &[&str]) -> Value {
    let command = [&[LONGSHORE, "doctor", "--json"], arguments].concat();
    let outcome = pod.run(&command);
    let answer = serde_json::from_str(&outcome.stdout);
    let answer: Value = answer.unwrap_or_else(|error| panic!("{error}: {}", outcome.report()));
    assert_eq!(outcome.code, if answer["possible"] == true { 0 } else { 50 }, "{answer:#}");
    answer
}

fn golden(environment: &Environment) -> PathBuf {
    let name = format!("tests/fixtures/doctor/{}.json", environment.name);
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Takes out what depends on the kernel and on the run.
fn normalized(mut answer: Value) -> Value {
    answer["longshore"] = json!("VERSION");
    answer["landlock_abi"] = json!("KERNEL");
    if let Some(note) = answer["note"].as_str() {
        let process = regex::Regex::new("/proc/[0-9]+/").expect("a valid pattern");
        answer["note"] = json!(process.replace_all(note, "/proc/PID/"));
    }
    answer
}

#[test]
fn every_kind_of_pod_is_known() {
    in_every_pod(|environment| {
        let sandbox = Sandbox::new();
        let answer = normalized(ask(&Pod::new(&sandbox, *environment), &[]));
        let text = format!("{answer:#}\n");
        let golden = golden(environment);
        if variables::text("LONGSHORE_TEST_BLESS").is_some() {
            return fs_err::write(golden, text).expect("write");
        }
        assert_eq!(text, fs_err::read_to_string(golden).expect("a golden file"));
    });
}

/// What is taken away, where, what is found instead, and the rung that is left.
type Loss =
    (&'static str, &'static [Denial], &'static [(&'static str, &'static str)], &'static str);

const UNTRIED: &str = "not tried";
const REFUSED: &str = "EPERM";
const LOSSES: &[Loss] = &[
    (
        "E1",
        &[Denial::UserNamespace],
        &[
            ("fresh-proc", UNTRIED),
            ("mount", UNTRIED),
            ("network-namespace", UNTRIED),
            ("overlay-upper", UNTRIED),
            ("pivot-root", UNTRIED),
            ("user-namespace", REFUSED),
        ],
        "chroot",
    ),
    (
        "E1",
        &[Denial::Mount],
        &[("mount", REFUSED), ("overlay-upper", REFUSED), ("pivot-root", REFUSED)],
        "chroot",
    ),
    ("E1", &[Denial::Chroot], &[("chroot", REFUSED)], "overlay-full"),
    ("E1", &[Denial::Notify], &[("add-fd", UNTRIED), ("seccomp-notify", REFUSED)], "overlay-full"),
    ("E1", &[Denial::AddFd], &[("add-fd", REFUSED)], "overlay-full"),
    ("E1", &[Denial::Mknod], &[("mknod", REFUSED)], "overlay-full"),
    (
        "E1",
        &[Denial::Chroot, Denial::Mount],
        &[
            ("chroot", REFUSED),
            ("mount", REFUSED),
            ("overlay-upper", REFUSED),
            ("pivot-root", REFUSED),
        ],
        "none",
    ),
    ("E2", &[Denial::Chroot], &[("chroot", REFUSED)], "none"),
    ("E2", &[Denial::Notify], &[("add-fd", UNTRIED), ("seccomp-notify", REFUSED)], "chroot"),
    ("E2", &[Denial::AddFd], &[("add-fd", REFUSED)], "chroot"),
    ("E2", &[Denial::Mknod], &[("mknod", REFUSED)], "chroot"),
    ("E2", &[Denial::Mknod, Denial::AddFd], &[("add-fd", REFUSED), ("mknod", REFUSED)], "none"),
    ("E5", &[Denial::Notify], &[("add-fd", UNTRIED), ("seccomp-notify", REFUSED)], "none"),
    (
        "E3b",
        &[Denial::Mount],
        &[("mount", REFUSED), ("overlay-upper", REFUSED), ("pivot-root", REFUSED)],
        "none",
    ),
];

#[test]
fn one_mechanism_less_changes_the_answer_and_no_other() {
    in_each(LOSSES, |(name, denied, changed, rung)| {
        let environment = Environment::named(name);
        let sandbox = Sandbox::new();
        let pod =
            denied.iter().fold(Pod::new(&sandbox, environment), |pod, denial| pod.without(*denial));
        let answer = ask(&pod, &[]);
        let whole = fs_err::read_to_string(golden(&environment)).expect("a golden file");
        let whole: Value = serde_json::from_str(&whole).expect("JSON");
        let (before, after) = (&whole["mechanisms"], &answer["mechanisms"]);
        let differs: BTreeMap<&str, &str> = after
            .as_object()
            .expect("an object")
            .iter()
            .filter(|(name, answer)| before[name.as_str()] != **answer)
            .map(|(name, answer)| (name.as_str(), answer.as_str().expect("a text")))
            .collect();
        assert_eq!(differs, changed.iter().copied().collect(), "{name} without {denied:?}");
        assert_eq!(answer["rung"], *rung, "{name} without {denied:?}: {answer:#}");
    });
}

const DOCKERFILE: &str = "FROM scratch\nCOPY a /\nRUN make \\\n  all\nRUN [\"/bin/true\"]\n";

#[test]
fn the_steps_of_a_dockerfile_are_judged_one_by_one() {
    in_each(&["E1", "E4"], |name| {
        let sandbox = Sandbox::new();
        let runs = *name == "E1";
        sandbox.write("context/Dockerfile", DOCKERFILE);
        sandbox.write("context/plain", "FROM scratch\nCOPY a /\n");
        let pod = Pod::new(&sandbox, Environment::named(name)).context(sandbox.path("context"));
        let file = format!("{CONTEXT}/Dockerfile");
        let answer = ask(&pod, &["-f", &file]);
        assert_eq!(answer["possible"], runs);
        let steps = answer["dockerfile"]["steps"].as_array().expect("a list");
        let lines: Vec<_> = steps.iter().map(|step| (&step["line"], &step["works"])).collect();
        assert_eq!(lines, [(&json!(3), &json!(runs)), (&json!(5), &json!(runs))]);
        assert_eq!(answer["dockerfile"]["steps"][0]["instruction"], "RUN make   all");
        let plain = ask(&pod, &[&format!("{CONTEXT}/plain")]);
        assert_eq!(plain["possible"], true, "no step, nothing that could fail");
        let pinned = ask(&pod, &["--runtime", "none", &file]);
        assert_eq!((&pinned["possible"], &pinned["rung"]), (&json!(false), &json!("none")));
        let text = pod.run(&[LONGSHORE, "doctor", &file]);
        assert_eq!(text.code, if runs { 0 } else { 50 }, "{}", text.report());
        let expected = if runs {
            "RUN is executed on the rung overlay-full (--runtime auto)."
        } else {
            "  line 3: RUN make   all: user namespaces are refused; only one user id can be mapped"
        };
        assert!(text.stdout.contains(expected), "{}", text.report());
    });
}

#[test]
fn an_overlay_as_work_directory_is_told_from_a_volume() {
    in_each(&["E1", "E3b"], |name| {
        let sandbox = Sandbox::new();
        let pod = Pod::new(&sandbox, Environment::named(name));
        let answer = ask(&pod, &["--work-dir", "/tmp/work"]);
        assert_eq!(answer["work_dir"]["unfit"], true);
        assert_eq!(answer["climb"][0]["changes"], json!(["empty-dir"]), "{answer:#}");
        assert_eq!(answer["rung"], if *name == "E1" { "chroot" } else { "none" });
        let memory = ask(&pod, &["--work-dir", "/shm/work"]);
        assert_eq!(memory["rung"], "overlay-full");
    });
}
