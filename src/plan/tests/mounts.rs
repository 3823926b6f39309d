//! Mounts of RUN: what they become, what they depend on, what enters digests.

use serde_json::json;

use super::{Build, build, write};
use crate::plan::{BindSource, Parent, StageId, StepMount, StepMountKind};

fn mounts(text: &str) -> Vec<StepMount> {
    let runs = build(text).base("base", json!({})).file("a/b", "b").file("c*", "c").runs();
    runs.into_iter().flat_map(|run| run.mounts).collect()
}

fn targets(flags: &str) -> Vec<Option<String>> {
    let text = format!("FROM base\nARG A=arg\nWORKDIR /w\nRUN {flags} make\n");
    mounts(&text).into_iter().map(|mount| mount.target).collect()
}

#[test]
fn targets_have_defaults_and_start_at_the_working_directory() {
    for (flags, expected) in [
        ("--mount=target=.", vec![Some("/w")]),
        ("--mount=target=x/../$A/", vec![Some("/w/arg")]),
        ("--mount=type=tmpfs,target=/t", vec![Some("/t")]),
        ("--mount=type=secret,id=a", vec![Some("/run/secrets/a")]),
        ("--mount=type=secret,id=a/b", vec![Some("/run/secrets/b")]),
        ("--mount=type=secret,id=a,target=k", vec![Some("/w/k")]),
        ("--mount=type=secret,id=a,env=A", vec![None]),
        ("--mount=type=secret,id=a,env=A,target=/a", vec![Some("/a")]),
        (
            "--mount=type=ssh --mount=type=ssh,id=b --mount=type=ssh,id=c,target=/c",
            vec![Some("/run/buildkit/ssh_agent.0"), Some("/run/buildkit/ssh_agent.1"), Some("/c")],
        ),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|path| path.map(str::to_owned)).collect();
        assert_eq!(targets(flags), expected, "{flags}");
    }
}

#[test]
fn sources_are_the_context_a_stage_or_an_image() {
    let text = "FROM base AS s\nRUN one\nFROM base\n\
                RUN --mount=source=a,target=/a --mount=source=c*,target=/c \
                --mount=from=s,source=x/..,target=/s --mount=from=0,target=/n \
                --mount=from=other:1,target=/o,source=p --mount=from=scratch,target=/e \
                --mount=type=cache,target=m/x/,from=s,source=q --mount=type=cache,target=/m,id=i two\n";
    let shown = mounts(text).into_iter().map(|mount| match mount.kind {
        StepMountKind::Bind { source: BindSource::Context { selected, .. }, .. } => {
            format!("context {}", String::from_utf8(selected.root).unwrap())
        }
        StepMountKind::Bind { source: BindSource::Image { from, source }, .. } => {
            format!("{from:?} {source}")
        }
        StepMountKind::Cache { id, initial, .. } => format!("cache {id} {initial:?}"),
        other => panic!("{other:?}"),
    });
    let stage = Parent::Stage(StageId(0));
    let expected = [
        "context a".to_owned(),
        "context c*".to_owned(),
        format!("{stage:?} /"),
        format!("{stage:?} /"),
        "Base(BaseId(1)) /p".to_owned(),
        "Scratch /".to_owned(),
        format!("cache m/x {:?}", Some((stage, "/q"))),
        "cache i None".to_owned(),
    ];
    assert!(shown.eq(expected));
    let plan = build(text).base("base", json!({})).file("a/b", "b").file("c*", "c").plan().unwrap();
    assert_eq!(plan.sources(StageId(1)).len(), 5, "its inputs are known");
}

#[test]
fn mistakes_have_places() {
    for (flags, message) in [
        ("--mount=source=none,target=/x", "\"none\" is not in the build context"),
        ("--mount=target=/,source=a", "a mount cannot cover the root of the image"),
        (
            "--mount=type=tmpfs,target=/x --mount=type=tmpfs,target=x/../../x/.",
            "another mount of this RUN has the target /x",
        ),
        ("--mount=type=$NONE,target=/x", "unknown type of mount: "),
        ("--mount=target=${A:?missing}", "missing"),
        ("--mount=from=9,target=/x", "there is no stage number 9"),
        ("--mount=from=late,target=/x", "the stages need each other"),
    ] {
        let text = format!("FROM base AS first\nRUN {flags} make\nFROM first AS late\n");
        let error = build(&text).base("base", json!({})).file("a", "a").error();
        assert!(error.contains(message), "{flags}: {error}");
    }
}

fn digest(text: &str, change: impl FnOnce(&mut Build)) -> String {
    let mut build = build(text).base("base", json!({})).file("a/b", "b").file("other", "o");
    change(&mut build);
    build.plan().unwrap().stages.last().unwrap().digest.to_string()
}

const ALL: &str = "FROM base AS s\nRUN s\nFROM base\n\
     RUN --network=none --mount=source=a,target=/a --mount=from=s,source=/x,target=/s \
     --mount=type=cache,target=/c,id=c,sharing=locked,mode=0700 --mount=type=tmpfs,target=/t,size=1m \
     --mount=type=secret,id=k,required --mount=type=ssh make\n";

#[test]
fn a_digest_depends_on_what_mounts_declare_and_bind() {
    let start = digest(ALL, |_| {});
    for (from, to, changes) in [
        ("--network=none", "--network=host", true),
        ("--network=none ", "", true),
        ("source=a,target=/a", "target=/a,src=a/", false),
        ("source=a,target=/a", "source=a,target=/b", true),
        ("source=a,target=/a", "source=a,target=/a,rw", true),
        ("source=a,target=/a", "source=a,target=/a,ro", false),
        ("source=/x,target=/s", "source=/y,target=/s", true),
        ("RUN s\n", "RUN other\n", true),
        ("id=c,", "id=d,", true),
        ("mode=0700", "mode=0755", true),
        ("mode=0700", "mode=700", false),
        ("sharing=locked,", "", false),
        ("size=1m", "size=1024k", false),
        ("size=1m", "size=2m", true),
        ("id=k,required", "id=k", false),
        ("id=k,required", "id=l,target=/run/secrets/k", true),
        ("id=k,required", "id=k,env=K", true),
        ("id=k,required", "id=k,mode=0444", true),
        (" --mount=type=ssh", "", true),
        ("--mount=type=ssh", "--mount=type=ssh,required", false),
    ] {
        assert!(ALL.contains(from), "{from}");
        let other = digest(&ALL.replacen(from, to, 1), |_| {});
        assert_eq!(start != other, changes, "{from:?} -> {to:?}");
    }
    let touched = |path: &str| digest(ALL, |build| write(build.context.path(), path, "new"));
    assert_ne!(touched("a/b"), start);
    assert_eq!(touched("other"), start);
}

#[test]
fn a_step_without_mounts_has_the_digest_that_it_always_had() {
    let text = "FROM base\nRUN make\n";
    let start = digest(text, |_| {});
    assert_eq!(digest("FROM base\nRUN --network=default --security=sandbox make\n", |_| {}), start);
    let stage = &build(text).base("base", json!({})).plan().unwrap().stages[0];
    let names: Vec<&str> = stage.inputs.iter().map(|(name, _)| name).collect();
    let expected = ["instruction", "parent", "platform", "epoch", "argv", "env", "cwd", "user"];
    assert_eq!(names, expected);
}

#[test]
fn triggers_of_a_base_have_mounts_as_well() {
    let base = json!({"OnBuild": ["RUN --mount=target=/src,source=a make"]});
    let runs = build("FROM base\n").base("base", base).file("a", "a").runs();
    assert_eq!(runs[0].mounts[0].target.as_deref(), Some("/src"));
    let base = json!({"OnBuild": ["RUN --mount=from=tools,target=/x make"]});
    let error = build("FROM base\n").base("base", base).error();
    assert!(error.contains("RUN from an image is not supported in an ONBUILD trigger"), "{error}");
}
