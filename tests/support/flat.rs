//! The file system that a pile of layers makes (image-spec 1.1, `layer.md`), as a table.
//!
//! Nothing is unpacked to make the table, so neither the privileges nor the file system of the
//! machine can change what a test sees. A directory that no layer mentions but that has entries
//! below it counts as root's with mode 0755, as unpackers make it. Links above an entry are not
//! followed: a layer that writes below a link differs from one that writes to its target.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};
use tar::{Entry, EntryType};

use super::image::Blob;

/// Paths without a leading slash to what lies there; bytes outside ASCII are escaped.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Node>,
}

/// One object of the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    pub(crate) mode: u32,
    /// Owner and group.
    pub(crate) owner: (u64, u64),
    /// Seconds since 1970.
    pub(crate) mtime: u64,
    /// Extended attributes.
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
    /// The entry that made it, as (layer, entry): names with the same origin are one file.
    origin: (usize, usize),
}

/// What a [`Node`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Length of the content.
        size: u64,
        /// SHA-256 of the content in hex.
        sha256: String,
    },
    /// A symbolic link.
    Symlink(String),
    /// A character device with its numbers.
    CharDevice(u32, u32),
    /// A block device with its numbers.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// An entry of one layer.
enum Change {
    Put(Node),
    Link { target: String },
    Whiteout,
    Opaque,
}

/// The entries of a layer in their order.
type Changes = Arc<Vec<(String, Change)>>;

impl Tree {
    /// Applies the layers in their order.
    pub(crate) fn flatten(layers: &[Blob]) -> Self {
        let mut tree = Self::default();
        for (at, layer) in layers.iter().enumerate() {
            tree.apply(at, &changes_of(layer));
        }
        tree.add_implied_directories();
        tree
    }

    /// What lies at `path`, written without a leading slash.
    pub(crate) fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// All paths with what lies there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Every name of the file at `path`, sorted; only its own where it has no other.
    pub(crate) fn names_of(&self, path: &str) -> Vec<&str> {
        let Some(Node { origin, kind: Kind::File { .. }, .. }) = self.get(path) else {
            return vec![];
        };
        self.iter().filter(|(_, node)| node.origin == *origin).map(|(name, _)| name).collect()
    }

    /// Unpacks the layers into `directory`, for programs that want real files.
    pub(crate) fn unpack(&self, layers: &[Blob], directory: &Path) {
        for (at, layer) in layers.iter().enumerate() {
            let mut archive = layer.archive();
            archive.set_preserve_permissions(true);
            archive.set_preserve_ownerships(true);
            for (number, entry) in archive.entries().expect("a tar").enumerate() {
                let mut entry = entry.expect("a tar");
                let node = self.get(&clean(&entry.path_bytes()));
                let is_link = entry.header().entry_type() == EntryType::Link;
                if node.is_some_and(|node| is_link || node.origin == (at, number)) {
                    entry.unpack_in(directory).expect("unpack");
                }
            }
        }
    }

    fn apply(&mut self, at: usize, changes: &[(String, Change)]) {
        // Deletions are about lower layers only, wherever they come in their own layer.
        for (path, change) in changes {
            match change {
                Change::Whiteout => self.remove(path),
                Change::Opaque => self.remove_below(path),
                Change::Put(_) | Change::Link { .. } => {}
            }
        }
        for (path, change) in changes {
            match change {
                Change::Put(node) => {
                    let origin = (at, node.origin.1);
                    self.put(path, Node { origin, ..node.clone() });
                }
                Change::Link { target } => {
                    let node = self.nodes.get(target).cloned();
                    let node = node.unwrap_or_else(|| panic!("{path} is a link to no {target}"));
                    self.put(path, node);
                }
                Change::Whiteout | Change::Opaque => {}
            }
        }
    }

    fn put(&mut self, path: &str, node: Node) {
        if node.kind != Kind::Directory {
            self.remove_below(path);
        }
        self.nodes.insert(path.to_owned(), node);
    }

    fn remove(&mut self, path: &str) {
        self.nodes.remove(path);
        self.remove_below(path);
    }

    fn remove_below(&mut self, path: &str) {
        if path.is_empty() {
            self.nodes.clear();
            return;
        }
        let prefix = format!("{path}/");
        self.nodes.retain(|name, _| !name.starts_with(&prefix));
    }

    fn add_implied_directories(&mut self) {
        let paths: Vec<String> = self.nodes.keys().cloned().collect();
        for path in paths {
            let ends = path.match_indices('/').map(|(at, _)| at);
            for parent in ends.map(|end| &path[..end]) {
                self.nodes.entry(parent.to_owned()).or_insert_with(implied_directory);
            }
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (uid, gid) = self.owner;
        write!(f, "{:?} mode {:04o} owner {uid}:{gid}", self.kind, self.mode)?;
        for (name, value) in &self.xattrs {
            write!(f, " {name}={}", value.escape_ascii())?;
        }
        Ok(())
    }
}

fn implied_directory() -> Node {
    Node {
        kind: Kind::Directory,
        mode: 0o755,
        owner: (0, 0),
        mtime: 0,
        xattrs: BTreeMap::new(),
        origin: (usize::MAX, 0),
    }
}

/// Returns the entries of a layer, read once for each digest: most images share their lower layers.
fn changes_of(layer: &Blob) -> Changes {
    static READ: Mutex<BTreeMap<String, Changes>> = Mutex::new(BTreeMap::new());
    let known = READ.lock().expect("no reader panics").get(&layer.digest).cloned();
    known.unwrap_or_else(|| {
        let changes = Arc::new(read_layer(layer));
        let mut read = READ.lock().expect("no reader panics");
        read.insert(layer.digest.clone(), Arc::clone(&changes));
        changes
    })
}

fn read_layer(layer: &Blob) -> Vec<(String, Change)> {
    let mut changes = Vec::new();
    for (number, entry) in layer.archive().entries().expect("a tar").enumerate() {
        let mut entry = entry.expect("a tar");
        let path = clean(&entry.path_bytes());
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == ".wh..wh..opq" {
            changes.push((parent.to_owned(), Change::Opaque));
        } else if let Some(name) = name.strip_prefix(".wh.") {
            let gone = if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") };
            changes.push((gone, Change::Whiteout));
        } else if entry.header().entry_type() == EntryType::Link {
            let target = clean(&entry.link_name_bytes().expect("a link has a target"));
            changes.push((path, Change::Link { target }));
        } else if !path.is_empty() {
            let node = read_node(&mut entry, (0, number));
            changes.push((path, Change::Put(node)));
        }
    }
    changes
}

fn read_node<R: Read>(entry: &mut Entry<'_, R>, origin: (usize, usize)) -> Node {
    let mut xattrs = BTreeMap::new();
    for extension in entry.pax_extensions().expect("pax").into_iter().flatten() {
        let extension = extension.expect("pax");
        let name = extension.key().expect("pax").strip_prefix("SCHILY.xattr.");
        if let Some(name) = name {
            xattrs.insert(name.to_owned(), extension.value_bytes().to_vec());
        }
    }
    let header = entry.header().clone();
    Node {
        kind: read_kind(entry),
        mode: header.mode().expect("a mode") & 0o7777,
        owner: (header.uid().expect("an owner"), header.gid().expect("a group")),
        mtime: header.mtime().expect("a time"),
        xattrs,
        origin,
    }
}

fn read_kind<R: Read>(entry: &mut Entry<'_, R>) -> Kind {
    let header = entry.header().clone();
    let number = |number: std::io::Result<Option<u32>>| number.expect("a device").unwrap_or(0);
    let (major, minor) = (header.device_major(), header.device_minor());
    match header.entry_type() {
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => {
            let target = entry.link_name_bytes().expect("a link has a target");
            Kind::Symlink(target.escape_ascii().to_string())
        }
        EntryType::Char => Kind::CharDevice(number(major), number(minor)),
        EntryType::Block => Kind::BlockDevice(number(major), number(minor)),
        EntryType::Fifo => Kind::Fifo,
        EntryType::Regular | EntryType::Continuous => read_file(entry),
        other => panic!("a layer has an entry of type {other:?}"),
    }
}

fn read_file(content: &mut impl Read) -> Kind {
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 16]);
    loop {
        let count = content.read(&mut buffer).expect("content");
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        size += count as u64;
    }
    let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Kind::File { size, sha256 }
}

/// Returns a path of an archive without `./` in front and `/` at either end.
fn clean(path: &[u8]) -> String {
    let text = path.escape_ascii().to_string();
    let text = text.strip_prefix("./").unwrap_or(&text).trim_matches('/');
    if text == "." { String::new() } else { text.to_owned() }
}
