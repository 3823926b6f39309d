//! Layer indexes: where they come from, and which ones storage gets.

use super::{Machine, arc};
use crate::build::work_dir::WorkDir;
use crate::layer::{LayerIndex, index_tag};
use crate::plan::tests::{Build, build};
use crate::storage::{Origin, StageStorage as _, Storage};

/// Two layers upon a base; the base and the lower of the two are looked into.
fn example(machine: &Machine) -> Build {
    let base = machine.layer(&[("bin", "-> usr/bin"), ("usr/", ""), ("usr/bin/", "")]);
    let text = "FROM base\nCOPY f /bin/a\nCOPY g /bin/b";
    build(text).layered("base", &[base]).file("f", "F").file("g", "G")
}

async fn has_index(storage: &Storage, layer: &crate::storage::Layer) -> bool {
    storage.head(&index_tag(layer.diff_id)).await.unwrap().is_some()
}

#[tokio::test]
async fn storage_gets_the_indexes_that_were_asked_for() {
    let machine = Machine::new();
    let site = machine.site_of(example(&machine), Some(machine.layout()));
    let built = site.engine.layers_of(site.engine.plan().images[0].top).await.unwrap();
    site.engine.store_indexes().await.unwrap();
    let mut stored = Vec::new();
    for layer in &built.layers {
        stored.push(has_index(&machine.layout(), layer).await);
        let kept = fs_err::read(machine.work.index(&layer.diff_id.0.hex())).unwrap();
        LayerIndex::from_bytes(&kept, layer.diff_id).expect("the work directory has them all");
    }
    assert_eq!(stored, [true, true, false], "nobody has looked into the topmost layer");
}

#[tokio::test]
async fn a_build_without_storage_keeps_its_indexes_to_itself() {
    let machine = Machine::new();
    let layout = machine.layout();
    let site = machine.site_of(example(&machine), None);
    let built = site.engine.layers_of(site.engine.plan().images[0].top).await.unwrap();
    site.engine.store_indexes().await.unwrap();
    for layer in &built.layers {
        assert!(!has_index(&layout, layer).await);
    }
}

#[tokio::test]
async fn a_layer_is_read_once_on_a_machine() {
    let machine = Machine::new();
    let first = example(&machine);
    let site = machine.site(first.plan().unwrap(), None);
    let built = site.engine.layers_of(site.engine.plan().images[0].top).await.unwrap();
    // What is in the base is known now.
    let Origin::File(path) = &built.layers[0].origin else { panic!("a layer of this machine") };
    fs_err::remove_file(path).unwrap();
    let site = machine.site(first.plan().unwrap(), None);
    let again = site.engine.layers_of(site.engine.plan().images[0].top).await.unwrap();
    assert_eq!(arc(&built), arc(&again));
}

#[tokio::test]
async fn a_damaged_index_of_the_work_directory_is_made_anew() {
    let machine = Machine::new();
    let first = example(&machine);
    let site = machine.site(first.plan().unwrap(), None);
    let built = site.engine.layers_of(site.engine.plan().images[0].top).await.unwrap();
    let kept = machine.work.index(&built.layers[0].diff_id.0.hex());
    let good = fs_err::read(&kept).unwrap();
    for damage in [b"garbage".as_slice(), b"", &good[..good.len() - 1]] {
        fs_err::write(&kept, damage).unwrap();
        let site = machine.site(first.plan().unwrap(), None);
        let again = site.engine.layers_of(site.engine.plan().images[0].top).await.unwrap();
        assert_eq!(arc(&built), arc(&again));
        assert_eq!(fs_err::read(&kept).unwrap(), good);
    }
}

#[tokio::test]
async fn storage_answers_for_layers_that_are_elsewhere() {
    let machine = Machine::new();
    let site = machine.site_of(example(&machine), Some(machine.layout()));
    let built = site.engine.layers_of(site.engine.plan().images[0].top).await.unwrap();
    site.engine.store_indexes().await.unwrap();
    // The same base, but where nobody answers, and a machine that knows nothing.
    let nowhere = crate::model::Repository { registry: "localhost:1".into(), path: "a".into() };
    let mut layer = built.layers[0].clone();
    layer.origin = Origin::Registry(nowhere);
    let fresh = tempfile::tempdir().unwrap();
    let work = WorkDir::open(fresh.path()).unwrap();
    let other = Machine { work, ..Machine::new() };
    let site = other.site_of(example(&machine), Some(machine.layout()));
    let index = site.engine.0.layers.index(&layer).await.unwrap();
    assert_eq!(index.entries.len(), 3);
}
