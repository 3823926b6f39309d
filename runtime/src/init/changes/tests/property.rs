//! Any step upon any layers: what it left is what the layers show with the emitted one on top, and
//! an overlay and a plain tree give the same.

use std::fs;
use std::path::PathBuf;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult, TestRunner};

use super::ground::{Ground, in_own_mounts, unpacked};
use super::listing::{linked_files, list, unlinked};
use super::script::{CLAMP, Content, Op, layer, op};
use crate::entry::Kind;

/// Runs a test for generated layers and steps; the usual number of cases of proptest, which
/// `PROPTEST_CASES` changes, is for tests without mounts.
fn for_generated(
    test: impl Fn(&Ground, &[PathBuf], &[Op]) -> TestCaseResult + Sync,
    is_wanted: impl Fn(&Kind) -> bool + Sync,
) {
    in_own_mounts(|| {
        let default = Config::default();
        let cases = (default.cases / 16).max(1);
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..default });
        let input = (vec(layer(), 1..4), vec(op(), 0..16));
        let result = runner.run(&input, |(mut layers, ops)| {
            for layer in &mut layers {
                layer.retain(|(entry, _)| is_wanted(&entry.kind));
            }
            let ground = Ground::new();
            let lowers = make(&ground, &layers);
            test(&ground, &lowers, &ops)
        });
        if let Err(error) = result {
            panic!("{error}");
        }
    });
}

#[test]
fn both_readers_emit_the_same_and_all_of_it() {
    for_generated(
        |ground, lowers, ops| {
            let (done, of_overlay) = upon_overlay(ground, lowers, ops, true)?;
            let of_tree = in_tree(ground, lowers, &done)?;
            prop_assert_eq!(of_overlay, of_tree);
            Ok(())
        },
        |kind| !matches!(kind, Kind::HardLink { .. }),
    );
}

#[test]
fn trees_with_hard_links_come_back() {
    for_generated(
        |ground, lowers, ops| {
            upon_overlay(ground, lowers, ops, false)?;
            in_tree(ground, lowers, ops)?;
            Ok(())
        },
        |_| true,
    );
}

/// Unpacks layers, without the entries that cannot be.
fn make(ground: &Ground, layers: &[Vec<Content>]) -> Vec<PathBuf> {
    let mut lowers = vec![ground.at("empty")];
    for layer in layers {
        let place = ground.at(&format!("layer{}", lowers.len()));
        let mut entries = layer.clone();
        while let Err(failure) = unpacked(&place, &lowers, &entries) {
            let before = entries.len();
            entries.retain(|(entry, _)| {
                let path = String::from_utf8_lossy(&entry.path);
                !failure.contains(&format!("{path:?}"))
            });
            assert!(entries.len() < before, "{failure}");
            fs::remove_dir_all(&place).unwrap();
        }
        lowers.push(place);
    }
    lowers
}

/// Returns what could be done, and what was emitted.
fn upon_overlay(
    ground: &Ground,
    lowers: &[PathBuf],
    ops: &[Op],
    compare_links: bool,
) -> Result<(Vec<Op>, Vec<Content>), TestCaseError> {
    let mut done = ops.to_vec();
    let emitted = ground.overlay(lowers, |root| done.retain(|op| op.apply(root).is_ok()));
    prop_assert!(emitted.stats.reusable);
    prop_assert_eq!(&emitted.entries, &emitted.again);
    let from_layer = ground.with_layer(lowers, &emitted.entries, "overlaid");
    prop_assert_eq!(&from_layer, &ground.with_top(lowers, &ground.at("upper")));
    if compare_links {
        prop_assert_eq!(linked_files(from_layer), linked_files(emitted.left));
    } else {
        prop_assert_eq!(unlinked(from_layer), unlinked(emitted.left));
    }
    Ok((done, emitted.entries))
}

/// Returns what was emitted.
fn in_tree(ground: &Ground, lowers: &[PathBuf], ops: &[Op]) -> Result<Vec<Content>, TestCaseError> {
    let emitted = ground.tree(lowers, ops.len().is_multiple_of(2), |root| {
        for op in ops {
            // What cannot be done is not done.
            let _ = op.apply(root);
        }
    });
    prop_assert_eq!(&emitted.entries, &emitted.again);
    prop_assert_eq!(&list(&ground.at("tree"), CLAMP), &emitted.left);
    let from_layer = ground.with_layer(lowers, &emitted.entries, "walked");
    if emitted.stats.reusable {
        prop_assert_eq!(from_layer, emitted.left);
    } else {
        prop_assert_eq!(unlinked(from_layer), unlinked(emitted.left));
    }
    Ok(emitted.entries)
}
