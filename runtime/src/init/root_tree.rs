//! The root of a step that runs without mounts: a *materialised* tree, which is the merged view of
//! the step's layers, made by copying.
//!
//! A tree is in `tree/` of the scratch directory of one step:
//! ```text
//! tree/root       what the step sees as /
//! tree/layers     the layer directories that the tree is the view of, each followed by NUL
//! tree/snapshot   what was in the tree when it was last gone through
//! tree/drift      how much was changed since
//! aside/          what the image has where the step's /dev, /proc, ... are
//! upper/          the step's changes as a layer directory, made while they are read
//! ```
//! The builder may have put a tree there that an earlier step left: then only the layers that it
//! lacks are applied. `layers` is written by whoever knows that the tree is that view and nothing
//! else: it is taken away here before anything is done to the tree.
//!
//! A snapshot stays good for the steps that take the tree over: what is not touched since then is
//! what the layers below have there, as it was then, and what was touched is compared with the
//! layers below anyway. As comparing costs, a new one is made when much was touched.
//!
//! Nothing is shared between a tree and the layers that it was made of: what a step writes stays in
//! its tree.

use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, open};

use super::changes::Walked;
use super::copying::Copier;
use super::furnishing::ignored;
use super::layering::apply;
use super::lowers::{Layers, Seen};
use super::new_layer::NewLayer;
use super::tree::{directory_flags, inherit};
use super::{LAYERS, TREE, UPPER, changes, removal};
use crate::step::ChangeStats;
use crate::wire::{EntryWriter, Failure, OrFail as _, RunOrder};

/// Name of the snapshot beside a tree.
const SNAPSHOT: &str = "snapshot";
/// Name of the file with a number that says how good the snapshot still is.
const DRIFT: &str = "drift";
/// How much may be compared in each step rather than going through the tree once more (bytes).
const MOST_DRIFT: u64 = 1 << 20;
/// What to compare one entry is worth, and what a step is that was not seen to change anything.
const ENTRY_DRIFT: u64 = MOST_DRIFT / 64;

/// Makes the tree of a step, or what is missing of it, and writes down what it is; returns its
/// root.
pub(super) fn prepare(order: &RunOrder) -> Result<PathBuf, Failure> {
    let tree = order.scratch.join(TREE);
    let root = tree.join("root");
    let missing = match read_list(&tree.join(LAYERS)) {
        Ok(there) => {
            let missing = order.lowers.strip_prefix(there.as_slice()).map(<[PathBuf]>::to_vec);
            let error = || io::Error::other("it is made of other layers");
            missing.ok_or_else(error).or_fail(|| format!("cannot use {}", tree.display()))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(&tree, &root).or_fail(|| format!("cannot create {}", root.display()))?;
            order.lowers.clone()
        }
        Err(error) => return Err(Failure::new(format!("cannot read {}", tree.display()), error)),
    };
    let action = || format!("cannot write {}", tree.display());
    remove_file(&tree.join(LAYERS)).or_fail(action)?;
    let mut copier = Copier::new();
    for layer in &missing {
        apply(layer, &root, &mut copier)?;
    }
    if !missing.is_empty() || !has_good_snapshot(&tree) {
        remove_file(&tree.join(DRIFT)).or_fail(action)?;
        let layers = Layers::from_bottom(order.lowers.clone());
        let ignored =
            ignored(&layers).or_fail(|| format!("cannot look into {}", tree.display()))?;
        changes::take_snapshot(&root, &ignored, &tree.join(SNAPSHOT))?;
    }
    Ok(root)
}

/// Emits what a step has changed in its tree, and makes the same into a layer directory.
pub(super) fn emit(
    scratch: &Path,
    lowers: Vec<PathBuf>,
    clamp_mtime: Option<i64>,
    writer: &mut EntryWriter<impl io::Write>,
) -> Result<ChangeStats, Failure> {
    let (tree, upper) = (scratch.join(TREE), scratch.join(UPPER));
    let root = tree.join("root");
    let action = || format!("cannot read the changes in {}", root.display());
    // They may be read a second time.
    removal::remove(&upper)?;
    let layers = Layers::from_bottom(lowers.clone());
    let ignored = ignored(&layers).or_fail(action)?;
    let walked = Walked {
        root: &root,
        snapshot: &tree.join(SNAPSHOT),
        ignored: &ignored,
        lowers: lowers.clone(),
        clamp_mtime,
    };
    let mut sink = NewLayer::create(&upper, &lowers, writer);
    let mut stats = changes::emit_walked(walked, &mut sink)?;
    add_drift(&tree, stats.entries, sink.bytes).or_fail(action)?;
    stats.reusable &= sink.finish(&upper, &lowers);
    if stats.entries == 0 {
        removal::remove(&upper)?;
    }
    // The root's own entry is not emitted, so it stays what it was.
    let restored = layers.look(b"").and_then(|seen| restore_root(&root, &seen));
    restored.or_fail(action)?;
    Ok(stats)
}

fn create(tree: &Path, root: &Path) -> io::Result<()> {
    for dir in [tree, root] {
        fs::create_dir(dir)?;
        restore_root(dir, &Seen::Absent)?;
    }
    Ok(())
}

fn restore_root(root: &Path, like: &Seen) -> io::Result<()> {
    inherit(open(root, directory_flags(), Mode::empty())?.as_fd(), like)
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn has_good_snapshot(tree: &Path) -> bool {
    tree.join(SNAPSHOT).exists() && drift(tree) < MOST_DRIFT
}

/// How much was changed since the snapshot; a file that cannot be understood means too much.
fn drift(tree: &Path) -> u64 {
    match fs::read_to_string(tree.join(DRIFT)) {
        Ok(text) => text.parse().unwrap_or(MOST_DRIFT),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(_) => MOST_DRIFT,
    }
}

/// Adds what a step has changed.
fn add_drift(tree: &Path, entries: u64, bytes: u64) -> io::Result<()> {
    let own = entries.saturating_add(1).saturating_mul(ENTRY_DRIFT).saturating_add(bytes);
    fs::write(tree.join(DRIFT), drift(tree).saturating_add(own).to_string())
}

/// Reads the layers that a tree is the view of, bottom first.
pub(crate) fn read_list(path: &Path) -> io::Result<Vec<PathBuf>> {
    let text = fs::read(path)?;
    let layers = text.split_inclusive(|byte| *byte == 0).map(|path| {
        let path = path.strip_suffix(b"\0").ok_or(io::ErrorKind::InvalidData)?;
        Ok(PathBuf::from(std::ffi::OsString::from_vec(path.to_vec())))
    });
    layers.collect()
}

/// Writes down the layers that a tree is the view of.
pub(crate) fn write_list(path: &Path, layers: &[PathBuf]) -> io::Result<()> {
    let mut text = Vec::new();
    for layer in layers {
        text.extend_from_slice(layer.as_os_str().as_bytes());
        text.push(0);
    }
    fs::write(path, text)
}
