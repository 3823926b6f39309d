//! The entries of a part of a context, in the order of path components.

use std::ops::Range;
use std::sync::Arc;

use super::ContextEntry;
use super::path::{by_components, is_below};

/// The entry at a path, if it is not the context's root, and all entries below it: a directory comes
/// right before what it holds. Cheap to clone; parts of a listing share its entries.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    all: Arc<Vec<ContextEntry>>,
    range: Range<usize>,
}

impl Listing {
    /// A listing of entries that are in order already.
    pub(super) fn new(entries: Vec<ContextEntry>) -> Self {
        let range = 0..entries.len();
        Self { all: Arc::new(entries), range }
    }

    /// The entries.
    pub fn entries(&self) -> &[ContextEntry] {
        &self.all[self.range.clone()]
    }

    /// The part at and below `path`; nothing if there is no such entry.
    pub(super) fn part(&self, path: &[u8]) -> Option<Self> {
        if path.is_empty() {
            return Some(self.clone());
        }
        let entries = self.entries();
        let at = entries.binary_search_by(|entry| by_components(&entry.path, path)).ok()?;
        let below = entries[at + 1..].partition_point(|entry| is_below(&entry.path, path));
        let start = self.range.start + at;
        Some(Self { all: Arc::clone(&self.all), range: start..start + 1 + below })
    }
}

/// Something that was found, and when it is part of the context.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) entry: ContextEntry,
    pub(super) presence: Presence,
}

/// When something that was found is part of the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Always.
    Always,
    /// When an entry is below it: an excluded directory with an exception in it.
    Parent,
}

/// Sorts what was found, and leaves out what is not part of the context.
pub(super) fn arrange(mut found: Vec<Found>) -> Listing {
    found.sort_unstable_by(|a, b| by_components(&a.entry.path, &b.entry.path));
    let mut entries: Vec<ContextEntry> = Vec::with_capacity(found.len());
    // From the end, a directory's content comes right before it.
    for Found { entry, presence } in found.into_iter().rev() {
        let is_parent = entries.last().is_some_and(|last| is_below(&last.path, &entry.path));
        if presence == Presence::Always || is_parent {
            entries.push(entry);
        }
    }
    entries.reverse();
    Listing::new(entries)
}
