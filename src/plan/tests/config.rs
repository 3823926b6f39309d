//! What instructions make of the image's config.

use serde_json::{Value, json};

use super::build;

/// Checks members of the image's `config`; `null` means absent.
#[track_caller]
fn check(text: &str, expected: &Value) {
    check_upon(&json!({}), text, expected);
}

#[track_caller]
fn check_upon(base: &Value, text: &str, expected: &Value) {
    let config = build(text).base("base", base.clone()).config();
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&config["config"][name], value, "{name} after {text:?} upon {base}");
    }
}

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[test]
fn the_environment_keeps_the_order_of_setting() {
    check("FROM scratch\nENV B=1 A=2\nENV B=3 C=4", &json!({"Env": [PATH, "B=3", "A=2", "C=4"]}));
    let base = json!({"Env": ["PATH=/bin", "Z=1"]});
    check_upon(&base, "FROM base\nENV A=$Z", &json!({"Env": ["PATH=/bin", "Z=1", "A=1"]}));
    check("FROM base\nENV PATH=/x:$PATH", &json!({"Env": [PATH.replace("PATH=", "PATH=/x:")]}));
    check("FROM scratch\nENV A=1\nENV A=2 B=$A", &json!({"Env": [PATH, "A=2", "B=1"]}));
    check("FROM scratch\nENV A one  two", &json!({"Env": [PATH, "A=one  two"]}));
}

#[test]
fn an_entrypoint_resets_an_inherited_command() {
    let base = json!({"Cmd": ["bash"], "Entrypoint": ["/init"]});
    let own = json!({"Cmd": null, "Entrypoint": ["/x"]});
    check_upon(&base, "FROM base\nENTRYPOINT [\"/x\"]", &own);
    check_upon(&base, "FROM base AS a\nFROM a\nENTRYPOINT [\"/x\"]", &own);
    let both = json!({"Cmd": ["y"], "Entrypoint": ["/x"]});
    check_upon(&base, "FROM base\nCMD [\"y\"]\nENTRYPOINT [\"/x\"]", &both);
    check_upon(&base, "FROM base\nENTRYPOINT [\"/x\"]\nCMD [\"y\"]", &both);
    check_upon(&base, "FROM base AS a\nCMD [\"y\"]\nFROM a\nENTRYPOINT [\"/x\"]", &own);
    check_upon(&base, "FROM base", &base);
    check_upon(&base, "FROM base\nCMD []", &json!({"Cmd": [], "Entrypoint": ["/init"]}));
}

#[test]
fn the_shell_form_uses_the_shell_in_force() {
    check("FROM scratch\nCMD a b", &json!({"Cmd": ["/bin/sh", "-c", "a b"], "Shell": null}));
    let text = "FROM scratch\nCMD a\nSHELL [\"/bin/bash\", \"-ec\"]\nENTRYPOINT b $HOME";
    let expected = json!({
        "Cmd": ["/bin/sh", "-c", "a"],
        "Entrypoint": ["/bin/bash", "-ec", "b $HOME"],
        "Shell": ["/bin/bash", "-ec"],
    });
    check(text, &expected);
    let base = json!({"Shell": ["/bin/ash", "-c"]});
    check_upon(&base, "FROM base\nCMD a", &json!({"Cmd": ["/bin/ash", "-c", "a"]}));
}

#[test]
fn ports_are_ranges_and_protocols() {
    let text = "FROM scratch\nENV P=90-91\nEXPOSE 80 53/udp 8000-8002 $P/TCP";
    let ports = json!({
        "53/udp": {}, "80/tcp": {}, "8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {},
        "90/tcp": {}, "91/tcp": {},
    });
    check(text, &json!({"ExposedPorts": ports}));
    let base = json!({"ExposedPorts": {"1/tcp": {}}});
    let both = json!({"ExposedPorts": {"1/tcp": {}, "2/tcp": {}}});
    check_upon(&base, "FROM base\nEXPOSE 2", &both);
    let text = "# escape=`\nFROM scratch\nENV P=7\nEXPOSE 8`$P";
    assert!(build(text).error().contains("8$P"), "the escape character is the file's");
}

#[test]
fn paths_and_users_are_taken_as_they_are() {
    check("FROM scratch", &json!({"WorkingDir": "/", "User": null}));
    check("FROM scratch\nWORKDIR a\nWORKDIR ../b\nWORKDIR c/", &json!({"WorkingDir": "/b/c"}));
    check("FROM scratch\nENV D=/d\nWORKDIR $D/e\nWORKDIR /", &json!({"WorkingDir": "/"}));
    let base = json!({"WorkingDir": "/srv", "User": "app:app"});
    check_upon(&base, "FROM base\nWORKDIR x", &json!({"WorkingDir": "/srv/x", "User": "app:app"}));
    check_upon(
        &base,
        "FROM base\nARG U=0\nUSER $U:1",
        &json!({"User": "0:1", "WorkingDir": "/srv"}),
    );
    check("FROM scratch\nVOLUME /a /b", &json!({"Volumes": {"/a": {}, "/b": {}}}));
    check("FROM scratch\nVOLUME [\"/a\", \"/b c\"]", &json!({"Volumes": {"/a": {}, "/b c": {}}}));
    assert!(build("FROM scratch\nVOLUME [\"$NONE\"]").error().contains("VOLUME is empty"));
    check("FROM scratch\nENV S=SIGQUIT\nSTOPSIGNAL $S", &json!({"StopSignal": "SIGQUIT"}));
}

#[test]
fn labels_are_merged() {
    let base = json!({"Labels": {"a": "base", "b": "base"}});
    let mut build = build("FROM base\nARG V=1\nLABEL a=own \"c d\"=\"x $V\"").base("base", base);
    build.labels.insert("e".to_owned(), "given".to_owned());
    let labels = json!({"a": "own", "b": "base", "c d": "x 1", "e": "given"});
    assert_eq!(build.config()["config"]["Labels"], labels);
}

#[test]
fn a_health_check_replaces_the_inherited_one() {
    let base = json!({"Healthcheck": {"Test": ["CMD", "x"], "Interval": 5}});
    check_upon(&base, "FROM base", &base);
    let none = json!({"Healthcheck": {"Test": ["NONE"]}});
    check_upon(&base, "FROM base\nHEALTHCHECK NONE", &none);
    let text = "FROM base\nSHELL [\"/bin/bash\",\"-c\"]\n\
                HEALTHCHECK --interval=1m30s --timeout=2s --retries=4 CMD curl $X";
    let own = json!({"Healthcheck": {
        "Test": ["CMD-SHELL", "curl $X"],
        "Interval": 90_000_000_000_i64, "Timeout": 2_000_000_000_i64, "Retries": 4,
    }});
    check_upon(&base, text, &own);
    let exec = json!({"Healthcheck": {"Test": ["CMD", "a", "b"]}});
    check("FROM base\nHEALTHCHECK CMD [\"a\", \"b\"]", &exec);
}

#[test]
fn triggers_run_once_and_are_forgotten() {
    let base = json!({"OnBuild": ["ENV A=1", "RUN make $A", "WORKDIR /t"], "WorkingDir": "/w"});
    let own = build("FROM base AS a\nONBUILD ENV B=2\nRUN own\nFROM a\nENV C=3").base("base", base);
    assert_eq!(own.instructions(), ["RUN make $A", "WORKDIR /t", "RUN own"]);
    let config = &own.config()["config"];
    assert_eq!(config["OnBuild"], Value::Null);
    assert_eq!(config["Env"], json!([PATH, "A=1", "B=2", "C=3"]));
    assert_eq!(config["WorkingDir"], "/t");
    check(
        "FROM scratch\nONBUILD RUN a  $b\nONBUILD copy x /",
        &json!({"OnBuild": ["RUN a  $b", "copy x /"]}),
    );
}

#[test]
fn the_config_of_a_base_is_kept_but_for_its_layers() {
    let mut build = build("FROM base\nMAINTAINER me");
    let whole = json!({
        "os": "linux", "architecture": "arm64", "variant": "v8", "created": "2020-01-01T00:00:00Z",
        "config": {"Labels": {"x": "y"}, "Unheard": [1]}, "other": true,
        "rootfs": {"type": "layers", "diff_ids": []}, "history": [{"created_by": "them"}],
    });
    build.bases.insert("docker.io/library/base:latest".to_owned(), whole);
    let config = build.config();
    assert_eq!((&config["architecture"], &config["variant"]), (&json!("arm64"), &json!("v8")));
    assert_eq!((&config["config"]["Unheard"], &config["other"]), (&json!([1]), &json!(true)));
    assert_eq!((&config["created"], &config["history"]), (&Value::Null, &Value::Null));
    assert_eq!(config["author"], "me");
}
