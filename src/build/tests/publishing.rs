//! Stages in storage: found, raced for, damaged.

use super::{Machine, Site, arc};
use crate::build::deliver::{Outline, finish};
use crate::build::engine::Built;
use crate::build::publish::publish;
use crate::image::{ImageConfig, ImageFormat};
use crate::model::pointer_tag;
use crate::output::Outcome;
use crate::plan::StageId;
use crate::plan::tests::{Build, build};
use crate::storage::StageStorage as _;

fn example() -> Build {
    build("FROM scratch\nCOPY f /\nENV A=1\nCOPY g /").file("f", "F").file("g", "G")
}

fn site(machine: &Machine) -> Site {
    machine.site_of(example(), Some(machine.layout()))
}

const TOP: StageId = StageId(1);

#[tokio::test]
async fn a_stage_is_built_once_and_found_then() {
    let machine = Machine::new();
    let first = site(&machine).engine.obtain(TOP).await.unwrap();
    assert_eq!((first.outcome, &first.made), (Outcome::Built, &vec![1, 1]));
    let second = site(&machine).engine.obtain(TOP).await.unwrap();
    assert_eq!((second.outcome, &second.made), (Outcome::Reused, &vec![1, 1]));
    assert_eq!(arc(&first), arc(&second));
}

#[tokio::test]
async fn the_second_to_publish_discards_its_own() {
    let machine = Machine::new();
    let (one, other) = (site(&machine), site(&machine));
    let mine = one.engine.obtain(TOP).await.unwrap();
    let shared = &other.engine.0;
    let late = publish(shared, shared.plan.stage(TOP), (*mine).clone()).await.unwrap();
    assert_eq!(late.outcome, Outcome::Discarded);
    assert_eq!(arc(&mine), arc(&std::sync::Arc::new(late)));
}

#[tokio::test]
async fn racing_builders_end_with_one_stage() {
    let machine = Machine::new();
    let (one, other) = (site(&machine), site(&machine));
    let (mine, theirs) = tokio::join!(one.engine.obtain(TOP), other.engine.obtain(TOP));
    assert_eq!(arc(&mine.unwrap()), arc(&theirs.unwrap()));
}

#[tokio::test]
async fn a_damaged_stage_is_built_again_and_healed() {
    for damage in ["not JSON", "{}", ""] {
        let machine = Machine::new();
        let before = site(&machine);
        before.engine.obtain(TOP).await.unwrap();
        let pointer = pointer_tag(&before.engine.plan().stage(TOP).digest);
        let manifest = machine.layout().manifest(&pointer).await.unwrap().unwrap();
        let parsed: serde_json::Value = serde_json::from_slice(&manifest.bytes).unwrap();
        let config = parsed["config"]["digest"].as_str().unwrap();
        let config = machine.blob(config.strip_prefix("sha256:").unwrap());
        match damage {
            "" => fs_err::remove_file(config).unwrap(),
            damage => fs_err::write(config, damage).unwrap(),
        }
        let again = site(&machine).engine.obtain(TOP).await.unwrap();
        // Writing the config again healed the stage that is there, so ours is discarded.
        assert_eq!(again.outcome, Outcome::Discarded, "{damage:?}");
        let then = site(&machine).engine.obtain(TOP).await.unwrap();
        assert_eq!(then.outcome, Outcome::Reused, "healed after {damage:?}");
    }
}

#[tokio::test]
async fn a_pointer_to_another_stage_is_not_believed() {
    let machine = Machine::new();
    let before = site(&machine);
    before.engine.obtain(TOP).await.unwrap();
    let plan = before.engine.plan();
    let layout = machine.layout();
    let other =
        layout.manifest(&pointer_tag(&plan.stage(StageId(0)).digest)).await.unwrap().unwrap();
    let pointer = pointer_tag(&plan.stage(TOP).digest);
    layout.put_manifest(&pointer, &other.media_type, &other.bytes).await.unwrap();
    let again = site(&machine).engine.obtain(TOP).await.unwrap();
    assert_eq!((again.outcome, again.layers.len()), (Outcome::Built, 2));
}

#[tokio::test]
async fn a_layer_without_entries_is_no_layer() {
    let machine = Machine::new();
    let layer = machine.layer(&[("w/", "")]);
    let build = build("FROM base\nWORKDIR /w\nCOPY f .").layered("base", &[layer]).file("f", "F");
    for outcome in [Outcome::Built, Outcome::Reused] {
        let site = machine.site(build.plan().unwrap(), Some(machine.layout()));
        let built = site.engine.obtain(TOP).await.unwrap();
        assert_eq!((built.outcome, &built.made), (outcome, &vec![0, 1]));
        assert_eq!(built.layers.len(), 2);
    }
}

#[tokio::test]
async fn a_long_chain_of_stages_is_obtained() {
    let machine = Machine::new();
    let lines: String = (0..300).map(|at| format!("WORKDIR /w{at}\n")).collect();
    let build = build(&format!("FROM scratch\n{lines}"));
    let site = machine.site(build.plan().unwrap(), None);
    let built = site.engine.layers_of(site.engine.plan().images[0].top).await.unwrap();
    assert_eq!(built.layers.len(), 300);
}

#[tokio::test]
async fn a_stage_of_several_layers_is_found_and_has_a_history_entry_for_each() {
    let machine = Machine::new();
    let base = machine.layer(&[("w/", "")]);
    let build = build("FROM base\nWORKDIR /w\nCOPY f .")
        .layered("base", std::slice::from_ref(&base))
        .file("f", "F");
    let site = machine.site(build.plan().unwrap(), Some(machine.layout()));
    let shared = &site.engine.0;
    let own = [machine.layer(&[("w/f", "F")]), machine.layer(&[("w/g", "G")])];
    let layers = [&[base][..], &own].concat();
    let built = Built { layers, made: vec![0, 2], outcome: Outcome::Built };
    publish(shared, shared.plan.stage(TOP), built).await.unwrap();

    let found = site.engine.obtain(TOP).await.unwrap();
    assert_eq!((found.outcome, &found.made, found.layers.len()), (Outcome::Reused, &vec![0, 2], 3));
    let image = &shared.plan.images[0];
    let outline = Outline {
        config: image.config.clone(),
        steps: &image.history,
        base: image.base,
        times: image.times,
        format: ImageFormat::Oci,
    };
    let finished = finish(&shared.plan, outline, &found).unwrap();
    let config = ImageConfig::from_bytes(&finished.config).unwrap();
    let made = config.history.iter().filter(|entry| !entry.empty_layer).count();
    assert_eq!((made, config.rootfs.diff_ids.len()), (3, 3));
}
