//! ARG, ENV and what they mean where.

use super::build;

/// The environment of the last RUN, `PATH` left out.
fn env(build: &super::Build) -> Vec<String> {
    let step = build.runs().pop().unwrap();
    let env = step.env.into_iter().filter(|(name, _)| name != "PATH");
    env.map(|(name, value)| format!("{name}={value}")).collect()
}

#[test]
fn arguments_and_environment_follow_their_precedence() {
    for (text, expected) in [
        ("FROM scratch\nARG A=1\nRUN x", vec!["A=1"]),
        ("FROM scratch\nARG A\nRUN x", vec![]),
        ("FROM scratch\nARG A=1\nENV A=2\nRUN x", vec!["A=2"]),
        ("FROM scratch\nENV A=2\nARG A=1\nRUN x", vec!["A=2"]),
        ("FROM scratch\nARG A=1 B=$A\nRUN x", vec!["A=1", "B=1"]),
        ("FROM scratch\nARG A=1\nARG A=2\nRUN x", vec!["A=2"]),
        ("FROM scratch\nRUN x\nARG A=1", vec![]),
        ("ARG A=1\nFROM scratch\nRUN x", vec![]),
        ("ARG A=1\nFROM scratch\nARG A\nRUN x", vec!["A=1"]),
        ("ARG A=1\nFROM scratch\nARG A=2\nRUN x", vec!["A=2"]),
        ("ARG A=1\nARG B=${A}b\nFROM scratch\nARG B\nRUN x", vec!["B=1b"]),
        ("ARG B=${TARGETARCH}b\nFROM scratch\nARG B\nRUN x", vec!["B=amd64b"]),
        ("FROM scratch AS a\nARG A=1\nFROM a\nRUN x", vec!["A=1"]),
        ("FROM scratch AS a\nARG A=1\nFROM scratch\nRUN x", vec![]),
        (
            "FROM scratch\nARG TARGETARCH BUILDOS TARGETVARIANT\nRUN x",
            vec!["BUILDOS=linux", "TARGETARCH=amd64", "TARGETVARIANT="],
        ),
        ("FROM scratch\nARG G=dflt\nRUN x", vec!["G=given"]),
        ("FROM scratch\nARG G\nRUN x", vec!["G=given"]),
        ("FROM scratch\nARG G=${NONE:?is missing}\nRUN x", vec!["G=given"]),
        ("ARG G=${NONE:?is missing}\nFROM scratch\nARG G\nRUN x", vec!["G=given"]),
        ("ARG G=global\nFROM scratch\nARG G=own\nRUN x", vec!["G=given"]),
        ("FROM scratch\nENV E=${A:-none} F=${G:+set}\nRUN x", vec!["E=none", "F="]),
        ("FROM scratch\nARG G\nENV E=${G} F=${G:+set}\nRUN x", vec!["E=given", "F=set", "G=given"]),
    ] {
        assert_eq!(env(&build(text).arg("G", "given")), expected, "{text:?}");
    }
}

#[test]
fn an_argument_never_enters_the_config() {
    let config = build("FROM scratch\nARG A=1\nENV B=$A").config();
    let env = config["config"]["Env"].as_array().unwrap();
    assert_eq!(env.last().unwrap(), "B=1");
    assert!(!env.iter().any(|entry| entry.as_str().unwrap().starts_with("A=")));
}

#[test]
fn proxies_reach_a_step_beside_its_environment() {
    let given = build("FROM scratch\nRUN x").arg("http_proxy", "http://p");
    let step = given.runs().pop().unwrap();
    assert_eq!(step.proxies.get("http_proxy").map(String::as_str), Some("http://p"));
    assert!(!step.env.contains_key("http_proxy"));

    let declared = build("FROM scratch\nARG no_proxy=localhost\nRUN x").runs().pop().unwrap();
    assert_eq!(declared.proxies.get("no_proxy").map(String::as_str), Some("localhost"));

    let set = build("FROM scratch\nENV no_proxy=mine\nRUN x").arg("no_proxy", "given");
    let step = set.runs().pop().unwrap();
    assert_eq!(step.env.get("no_proxy").map(String::as_str), Some("mine"));
    assert!(step.proxies.is_empty(), "ENV wins");
}

#[test]
fn from_sees_global_arguments_and_the_platform() {
    for (text, reference) in [
        ("ARG V=12\nFROM debian:$V", "docker.io/library/debian:12"),
        ("ARG V\nFROM debian:${V:-13}", "docker.io/library/debian:13"),
        ("ARG G\nFROM debian:$G", "docker.io/library/debian:given"),
        ("FROM me/app:$TARGETARCH", "docker.io/me/app:amd64"),
        ("ARG A=x\nARG N=$A/y\nFROM $N", "docker.io/x/y:latest"),
    ] {
        let plan = build(text).arg("G", "given").plan().unwrap();
        assert_eq!(plan.bases[0].reference, reference, "{text:?}");
    }
    let pinned = format!("FROM debian@sha256:{}", "0".repeat(64));
    let plan = build(&pinned).plan().unwrap();
    assert!(plan.bases[0].reference.ends_with(&"0".repeat(64)));
    let error = build("ARG V\nFROM $V").error();
    assert!(error.contains("empty after expansion"), "{error}");
    let error = build("FROM scratch AS a\nARG B=a\nFROM $B").error();
    assert!(error.contains("empty after expansion"), "an argument of a stage: {error}");
}
