//! Which stages are planned, and from what.

use serde_json::json;

use super::{Parent, Plan, Step, build};
use crate::plan::CopySource;

#[test]
fn only_what_the_target_needs_is_planned() {
    let text = "FROM one AS a\nRUN a\nFROM two AS b\nRUN b\nFROM three AS c\nRUN c\n\
                COPY --from=a /x /\nFROM c AS d\nRUN d";
    for (target, instructions, bases) in [
        ("a", vec!["RUN a"], 1),
        ("B", vec!["RUN b"], 1),
        ("1", vec!["RUN b"], 1),
        ("c", vec!["RUN c", "RUN a", "COPY --from=a /x /"], 2),
        ("d", vec!["RUN c", "RUN a", "COPY --from=a /x /", "RUN d"], 2),
    ] {
        let build = build(text).target(target);
        assert_eq!(build.instructions(), instructions, "{target}");
        assert_eq!(build.plan().unwrap().bases.len(), bases, "{target}");
    }
}

fn from_of(plan: &Plan) -> Parent {
    let from = plan.stages.iter().find_map(|stage| match &stage.step {
        Step::Copy(step) => match &step.source {
            CopySource::Image { from, .. } => Some(*from),
            CopySource::Context { .. } => None,
        },
        _ => None,
    });
    from.unwrap()
}

#[test]
fn from_names_a_stage_a_number_or_an_image() {
    let stage = |name: &str| {
        format!(
            "FROM scratch AS base\nRUN x\nFROM scratch\nCOPY --from={name} /a /\nFROM scratch AS later\nRUN y"
        )
    };
    for (name, content) in
        [("base", "RUN x"), ("BASE", "RUN x"), ("0", "RUN x"), ("later", "RUN y"), ("2", "RUN y")]
    {
        let plan = build(&stage(name)).target("1").plan().unwrap();
        let Parent::Stage(id) = from_of(&plan) else { panic!("{name}: {:?}", from_of(&plan)) };
        assert_eq!(plan.stage(id).instruction, content, "{name}");
        let copying = plan.stages.iter().position(|stage| stage.instruction.starts_with("COPY"));
        assert!(id.0 < copying.unwrap(), "inputs come first");
    }
    let plan = build(&stage("busybox")).target("1").plan().unwrap();
    let Parent::Base(id) = from_of(&plan) else { panic!("an image") };
    assert_eq!(plan.base(id).reference, "docker.io/library/busybox:latest");
}

#[test]
fn a_later_stage_is_no_base() {
    let plan = build("FROM later\nRUN x\nFROM scratch AS later").target("0").plan().unwrap();
    assert_eq!(plan.bases[0].reference, "docker.io/library/later:latest");
}

#[test]
fn the_same_work_is_planned_once() {
    let shared = "FROM scratch AS s\nRUN one\n";
    let mut plan = Plan::default();
    build(&format!("{shared}RUN a")).add_to(&mut plan, "a").unwrap();
    build(&format!("# other file\n{shared}LABEL x=y\nRUN b")).add_to(&mut plan, "b").unwrap();
    let instructions: Vec<&str> =
        plan.stages.iter().map(|stage| stage.instruction.as_str()).collect();
    assert_eq!(instructions, ["RUN one", "RUN a", "RUN b"]);
    assert_eq!(plan.stages[2].parent, plan.stages[1].parent);
    assert_ne!(plan.images[0].digest, plan.images[1].digest);
}

#[test]
fn history_has_every_instruction_and_the_stage_of_those_that_make_one() {
    let plan = build("FROM scratch\nENV A=1\nWORKDIR /\nWORKDIR /w\nRUN x\nCMD y").plan().unwrap();
    let history: Vec<(String, bool)> = plan.images[0]
        .history
        .iter()
        .map(|step| (step.text.clone(), step.stage.is_some()))
        .collect();
    let expected = [
        ("ENV A=1", false),
        ("WORKDIR /", false),
        ("WORKDIR /w", true),
        ("RUN x", true),
        ("CMD y", false),
    ];
    assert_eq!(history, expected.map(|(text, stage)| (text.to_owned(), stage)));
}

#[test]
fn platforms_go_down_to_the_stages() {
    let text = "FROM --platform=linux/arm64 scratch AS a\nRUN x\nFROM --platform=$BUILDPLATFORM scratch\nCOPY --from=a /x /";
    let mut build = build(text);
    build.platform = "linux/s390x".to_owned();
    let plan = build.plan().unwrap();
    let platforms: Vec<String> =
        plan.stages.iter().map(|stage| stage.platform.to_string()).collect();
    assert_eq!(platforms, ["linux/arm64", "linux/amd64"]);
}

#[test]
fn a_trigger_of_a_stage_may_copy_from_another() {
    let text = "FROM scratch AS tools\nRUN t\nFROM scratch AS base\nONBUILD COPY --from=tools /t /\n\
                ONBUILD COPY --from=busybox /b /\nFROM base";
    let instructions = ["RUN t", "COPY --from=tools /t /", "COPY --from=busybox /b /"];
    assert_eq!(build(text).instructions(), instructions);
}

#[test]
fn a_trigger_of_an_image_copies_only_from_what_is_there() {
    let upon =
        |text: &str| build(text).base("base", json!({"OnBuild": ["COPY --from=tools /t /"]}));
    let needed = upon("FROM scratch AS tools\nRUN t\nFROM base\nCOPY --from=tools /u /");
    assert_eq!(
        needed.instructions(),
        ["RUN t", "COPY --from=tools /t /", "COPY --from=tools /u /"]
    );
    for text in [
        "FROM scratch AS tools\nRUN t\nFROM base",
        "FROM base AS tools\nRUN t",
        "FROM base AS one\nFROM one AS tools",
    ] {
        let error = upon(text).error();
        assert!(error.contains("ONBUILD trigger"), "{text:?}: {error}");
    }
}
