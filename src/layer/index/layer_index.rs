//! The index of one layer, and the sink that makes it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

use longshore_runtime::entry::{Entry, EntrySink, Kind};

use crate::model::DiffId;

/// The most entries that [`IndexTee`] keeps: some 16 MiB.
pub(super) const TEE_LIMIT: usize = 100_000;

/// The largest accounts file that is kept.
pub(super) const ACCOUNTS_LIMIT: u64 = 1 << 20;

/// How many hard links to hard links are followed.
const LINKS: usize = 64;

/// Paths of the files whose content is kept.
pub(super) const PASSWD: &[u8] = b"etc/passwd";
pub(super) const GROUP: &[u8] = b"etc/group";

/// What one layer changes, without the content of its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerIndex {
    /// What the layer has, by path.
    pub entries: BTreeMap<Vec<u8>, IndexEntry>,
    /// Paths of lower layers that it deletes.
    pub whiteouts: BTreeSet<Vec<u8>>,
    /// Directories in which it deletes everything of lower layers.
    pub opaque: BTreeSet<Vec<u8>>,
    /// Content of `etc/passwd`, where it is a file of at most 1 MiB.
    pub passwd: Option<Vec<u8>>,
    /// Content of `etc/group`, where it is a file of at most 1 MiB.
    pub group: Option<Vec<u8>>,
}

/// One path of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// What it is.
    pub kind: IndexKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What an [`IndexEntry`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink {
        /// Where it points, verbatim.
        target: Vec<u8>,
    },
    /// Another name of a file of the same layer.
    HardLink {
        /// That file's path.
        target: Vec<u8>,
    },
    /// A device or named pipe.
    Other,
}

impl LayerIndex {
    /// Whether the layer changes nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.whiteouts.is_empty() && self.opaque.is_empty()
    }

    /// The other names through which the hard link at `path` leads to a file or link of this layer,
    /// the last one being what it is a name of; nothing for what is no hard link.
    pub fn link_targets<'a>(&'a self, path: &[u8]) -> impl Iterator<Item = &'a [u8]> {
        let next = |path: &[u8]| match &self.entries.get(path)?.kind {
            IndexKind::HardLink { target } => Some(target.as_slice()),
            _ => None,
        };
        // Links of an archive point to entries before them, so this ends; the bound is for an
        // index that lies.
        std::iter::successors(next(path), move |path| next(path)).take(LINKS)
    }

    /// Serialises the index of the layer `diff_id`; equal indexes have equal bytes.
    pub fn to_bytes(&self, diff_id: DiffId) -> Vec<u8> {
        super::format::encode(self, diff_id)
    }

    fn add(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        let kind = match &entry.kind {
            Kind::Whiteout => {
                self.whiteouts.insert(entry.path.clone());
                return Ok(());
            }
            Kind::Opaque => {
                self.opaque.insert(entry.path.clone());
                return Ok(());
            }
            Kind::Directory => IndexKind::Directory,
            Kind::File { .. } => IndexKind::File,
            Kind::Symlink { target } => IndexKind::Symlink { target: target.clone() },
            Kind::HardLink { target } => IndexKind::HardLink { target: target.clone() },
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => IndexKind::Other,
        };
        let accounts = match entry.path.as_slice() {
            PASSWD => Some(&mut self.passwd),
            GROUP => Some(&mut self.group),
            _ => None,
        };
        if let Some(kept) = accounts {
            // Of a path that comes twice the last one counts.
            *kept = match entry.kind {
                Kind::File { size } if size <= ACCOUNTS_LIMIT => {
                    let mut bytes = Vec::new();
                    content.read_to_end(&mut bytes)?;
                    Some(bytes)
                }
                _ => None,
            };
        }
        // As the entry is in the archive, which has no room for more.
        let mode = entry.mode & 0o7777;
        let indexed = IndexEntry { kind, mode, uid: entry.uid, gid: entry.gid };
        self.entries.insert(entry.path.clone(), indexed);
        Ok(())
    }
}

/// Makes an index from the entries that pass.
#[derive(Debug, Default)]
pub struct IndexSink(LayerIndex);

impl IndexSink {
    /// A sink that nothing has passed.
    pub fn new() -> Self {
        Self::default()
    }

    /// The index of what has passed.
    pub fn finish(self) -> LayerIndex {
        self.0
    }
}

impl EntrySink for IndexSink {
    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        self.0.add(entry, content)
    }
}

/// Makes an index from the entries that pass on their way to somebody else.
///
/// The index of a huge layer is given up, so that writing a layer never needs more memory than that
/// of `TEE_LIMIT` entries for something that may never be asked for.
pub struct IndexTee<'a> {
    index: Option<LayerIndex>,
    next: &'a mut dyn EntrySink,
}

impl std::fmt::Debug for IndexTee<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let entries = self.index.as_ref().map(|index| index.entries.len());
        f.debug_struct("IndexTee").field("entries", &entries).finish_non_exhaustive()
    }
}

impl<'a> IndexTee<'a> {
    /// Hands every entry on to `next`.
    pub fn new(next: &'a mut dyn EntrySink) -> Self {
        Self { index: Some(LayerIndex::default()), next }
    }

    /// The index of what has passed; `None` if that was too much.
    pub fn finish(self) -> Option<LayerIndex> {
        self.index
    }
}

impl EntrySink for IndexTee<'_> {
    fn entry(&mut self, entry: &Entry, content: &mut dyn Read) -> io::Result<()> {
        self.index.take_if(|index| index.entries.len() >= TEE_LIMIT);
        let Some(index) = &mut self.index else { return self.next.entry(entry, content) };
        let accounts = matches!(entry.path.as_slice(), PASSWD | GROUP);
        let small = matches!(entry.kind, Kind::File { size } if size <= ACCOUNTS_LIMIT);
        if accounts && small {
            // Both sides need the content, which is small.
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            index.add(entry, &mut bytes.as_slice())?;
            return self.next.entry(entry, &mut bytes.as_slice());
        }
        index.add(entry, &mut io::empty())?;
        self.next.entry(entry, content)
    }
}
