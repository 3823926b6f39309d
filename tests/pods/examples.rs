//! The pod specifications in `examples/pods` are the kinds of pods that README says they are.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::pods::{self, Environment};

/// File, the kind of pod that it asks for, and the rung that it gets.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("unconfined.yaml", "E1", "overlay-full"),
    ("userns-unconfined.yaml", "E5un", "overlay-full"),
    ("subordinate-ids.yaml", "E3b", "overlay-full"),
    ("default.yaml", "E2", "chroot"),
    ("userns-default.yaml", "E5", "chroot"),
    ("restricted.yaml", "E4", "none"),
];

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &str) -> String {
    fs_err::read_to_string(at(path)).expect("a file of the repository")
}

/// The security context as the kubelet and a runtime would carry it out, with fields in the order
/// of [`facts`].
fn asked(pod: &Value) -> [Value; 6] {
    let spec = &pod["spec"];
    let container = &spec["containers"][0];
    let context = &container["securityContext"];
    let profile = context["seccompProfile"]["type"].as_str().unwrap_or("Unconfined");
    let drops_all = context["capabilities"]["drop"][0] == "ALL";
    [
        context["runAsUser"].clone(),
        profile.into(),
        (context["allowPrivilegeEscalation"] == false).into(),
        (spec["hostUsers"] == false).into(),
        drops_all.into(),
        spec["securityContext"]["fsGroup"].clone(),
    ]
}

fn facts(environment: &Environment) -> [Value; 6] {
    let profile = match environment.filter {
        pods::Filter::Unconfined => "Unconfined",
        pods::Filter::RuntimeDefault => "RuntimeDefault",
        pods::Filter::NoMounts => "AppArmor",
    };
    [
        environment.user.0.into(),
        profile.into(),
        environment.no_new_privileges.into(),
        environment.user_namespace.into(),
        environment.bounding.is_empty().into(),
        environment.volume_group.map_or(Value::Null, Value::from),
    ]
}

#[test]
fn each_example_is_a_kind_of_pod_with_the_rung_of_the_readme() {
    let readme = text("README.md");
    for (file, name, rung) in EXAMPLES {
        let path = format!("examples/pods/{file}");
        let pod: Value = serde_saphyr::from_str(&text(&path)).expect("YAML");
        assert_eq!(asked(&pod), facts(&Environment::named(name)), "{file} is no {name}");
        let answer: Value =
            serde_json::from_str(&text(&format!("tests/fixtures/doctor/{name}.json")))
                .expect("JSON");
        assert_eq!(answer["rung"], *rung, "{file}");
        let mount = &pod["spec"]["containers"][0]["volumeMounts"][0];
        assert_eq!(mount["name"], pod["spec"]["volumes"][0]["name"]);
        let row = readme.lines().find(|line| line.contains(&format!("({path})")));
        let row = row.unwrap_or_else(|| panic!("README does not name {path}"));
        assert!(row.contains(&format!("| {rung} |")), "{row}");
    }
    let files = fs_err::read_dir(at("examples/pods")).expect("a directory").count();
    assert_eq!(files, EXAMPLES.len(), "every file is an example");
}
