//! A stack of layer indexes as one file system.
//!
//! Layers are applied as they are pushed, bottom first (OCI image spec, "Applying Changesets"):
//! whiteouts and opaque directories act on lower layers only, a directory on a directory changes
//! its metadata, anything else replaces what was there with all below it. A parent that a layer
//! does not list, or that is no directory, becomes a directory of root with mode 0755, as when each
//! layer is unpacked by itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::layer_index::{GROUP, IndexEntry, IndexKind, LayerIndex, PASSWD};
use super::resolve::LoopError;
use crate::layer::path::{components, split_last};

/// The file system that a stack of layers makes, without the content of files.
#[derive(Clone, Debug)]
pub struct MergedIndex {
    /// The root is the first. What was deleted stays behind unreachable.
    nodes: Vec<Node>,
    /// The layers themselves, bottom first; shared with whoever keeps them.
    layers: Vec<Arc<LayerIndex>>,
}

/// A path that exists, and the layer that it is from (0 is the bottom).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// What is there.
    pub entry: &'a IndexEntry,
    /// The layer that put it there.
    pub layer: usize,
}

/// What is known of `/etc/passwd` or `/etc/group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountsFile<'a> {
    /// There is no such file.
    Absent,
    /// Its content.
    Known(&'a [u8]),
    /// It is (or links to) a file whose content is not in the index.
    Elsewhere(Vec<u8>),
}

/// One path. Nodes refer to each other by number, so that no depth of nesting, which a layer is free
/// to choose, needs a deep stack.
#[derive(Clone, Debug)]
struct Node {
    entry: IndexEntry,
    layer: usize,
    children: BTreeMap<Box<[u8]>, usize>,
}

impl Node {
    fn new(entry: IndexEntry, layer: usize) -> Self {
        Self { entry, layer, children: BTreeMap::new() }
    }

    fn directory(layer: usize) -> Self {
        let kind = IndexKind::Directory;
        Self::new(IndexEntry { kind, mode: 0o755, uid: 0, gid: 0 }, layer)
    }
}

impl Default for MergedIndex {
    fn default() -> Self {
        Self::new()
    }
}

impl MergedIndex {
    /// An empty file system: just the root.
    pub fn new() -> Self {
        Self { nodes: vec![Node::directory(0)], layers: Vec::new() }
    }

    /// The layers that were pushed, bottom first.
    pub fn layers(&self) -> &[Arc<LayerIndex>] {
        &self.layers
    }

    /// Puts a layer on top.
    pub fn push_layer(&mut self, index: impl Into<Arc<LayerIndex>>) {
        let (index, layer) = (index.into(), self.layers.len());
        for path in &index.opaque {
            if let Some(at) = self.find(path) {
                self.nodes[at].children.clear();
            }
        }
        for path in &index.whiteouts {
            let (parent, name) = split_last(path);
            if let Some(at) = self.find(parent) {
                self.nodes[at].children.remove(name);
            }
        }
        // Bytewise order has every parent before its children, which is all that is needed.
        for (path, entry) in &index.entries {
            self.put(path, unlinked(&index, path, entry), layer);
        }
        self.layers.push(index);
    }

    /// What is at `path`, without following links.
    pub fn lookup(&self, path: &[u8]) -> Option<Found<'_>> {
        self.find(path).map(|at| self.found(at))
    }

    /// The names in a directory, sorted bytewise, without following links.
    pub fn list(&self, directory: &[u8]) -> impl Iterator<Item = (&[u8], Found<'_>)> {
        let children = self.find(directory).map(|at| &self.nodes[at].children);
        children.into_iter().flatten().map(|(name, &child)| (name.as_ref(), self.found(child)))
    }

    /// `/etc/passwd` as a process in the image would read it.
    ///
    /// # Errors
    /// When its links go round in a circle.
    pub fn passwd(&self) -> Result<AccountsFile<'_>, LoopError> {
        self.accounts(PASSWD)
    }

    /// `/etc/group` as a process in the image would read it.
    ///
    /// # Errors
    /// When its links go round in a circle.
    pub fn group(&self) -> Result<AccountsFile<'_>, LoopError> {
        self.accounts(GROUP)
    }

    fn accounts(&self, name: &'static [u8]) -> Result<AccountsFile<'_>, LoopError> {
        let path = self.resolve(name)?;
        let Some(found) = self.lookup(&path) else {
            return Ok(AccountsFile::Absent);
        };
        let layer = self.layers.get(found.layer);
        let content = layer.and_then(|layer| match name {
            PASSWD => layer.passwd.as_deref(),
            _ => layer.group.as_deref(),
        });
        Ok(match (&found.entry.kind, content) {
            (IndexKind::File, Some(content)) if path == name => AccountsFile::Known(content),
            (IndexKind::File | IndexKind::HardLink { .. }, _) => AccountsFile::Elsewhere(path),
            _ => AccountsFile::Absent,
        })
    }

    fn find(&self, path: &[u8]) -> Option<usize> {
        components(path).try_fold(0, |at, name| self.nodes[at].children.get(name).copied())
    }

    fn found(&self, at: usize) -> Found<'_> {
        Found { entry: &self.nodes[at].entry, layer: self.nodes[at].layer }
    }

    fn put(&mut self, path: &[u8], entry: IndexEntry, layer: usize) {
        let (parent, name) = split_last(path);
        if path.is_empty() {
            (self.nodes[0].entry, self.nodes[0].layer) = (entry, layer);
            return;
        }
        let directory = components(parent).fold(0, |at, name| self.directory(at, name, layer));
        let old = self.nodes[directory].children.get(name).copied();
        match old.filter(|&old| self.is_directory(old)) {
            Some(old) if entry.kind == IndexKind::Directory => {
                (self.nodes[old].entry, self.nodes[old].layer) = (entry, layer);
            }
            _ => self.attach(directory, name, Node::new(entry, layer)),
        }
    }

    /// The directory `name` in the directory `at`, made where it is missing.
    fn directory(&mut self, at: usize, name: &[u8], layer: usize) -> usize {
        match self.nodes[at].children.get(name) {
            Some(&child) if self.is_directory(child) => child,
            _ => {
                self.attach(at, name, Node::directory(layer));
                self.nodes.len() - 1
            }
        }
    }

    fn is_directory(&self, at: usize) -> bool {
        self.nodes[at].entry.kind == IndexKind::Directory
    }

    fn attach(&mut self, directory: usize, name: &[u8], node: Node) {
        let at = self.nodes.len();
        self.nodes.push(node);
        self.nodes[directory].children.insert(name.into(), at);
    }
}

/// A second name of a symbolic link is a symbolic link. Its first name is in the same layer.
fn unlinked(index: &LayerIndex, path: &[u8], entry: &IndexEntry) -> IndexEntry {
    let first = index.link_targets(path).last().and_then(|first| index.entries.get(first));
    match first.map(|first| &first.kind) {
        Some(kind @ IndexKind::Symlink { .. }) => {
            IndexEntry { kind: kind.clone(), ..entry.clone() }
        }
        _ => entry.clone(),
    }
}
