//! What plain directories and work trees have in common: parts of a directory are looked at when
//! they are asked for, and listed once.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::identity::{Identity, of_entries};
use super::listing::Listing;
use super::path::is_below;
use super::read::{join, parents_are_directories};
use super::walk::{Tracker, Walk, Walked, special_kind};
use super::{At, ContextError};
use crate::ignore_rules::IgnoreRules;

/// How many entries are remembered when only their identity was asked for: what is built a while
/// later is then what was there at the start. Of more, a second walk must find the same.
const KEPT: usize = 30_000;

/// A context's directory on disk.
#[derive(Debug)]
pub(super) struct Disk {
    /// Canonical.
    pub(super) root: PathBuf,
    pub(super) ignore: IgnoreRules,
    /// Whether whatever is named `.git` is left out.
    pub(super) drop_git: bool,
    /// Whether entries carry the times on disk.
    pub(super) times: bool,
    seen: Mutex<Seen>,
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Seen {
    /// By path; nothing where no part of the context is there.
    identities: BTreeMap<Vec<u8>, Option<Identity>>,
    /// By where they start.
    listings: Vec<(Vec<u8>, Listing)>,
    notes: Vec<String>,
}

impl Seen {
    /// The listing of `path`, if it is (in) one that is there.
    fn listing(&self, path: &[u8]) -> Option<Listing> {
        let around = |start: &Vec<u8>| start == path || is_below(path, start);
        let (_, listing) = self.listings.iter().find(|(start, _)| around(start))?;
        listing.part(path)
    }
}

impl Disk {
    pub(super) fn new(root: PathBuf, ignore: IgnoreRules, drop_git: bool, times: bool) -> Self {
        Self { root, ignore, drop_git, times, seen: Mutex::default() }
    }

    /// What is at `path`, of which no component but the last may be a link.
    pub(super) fn find(&self, path: &[u8]) -> Result<Option<At>, ContextError> {
        if path.is_empty() {
            return Ok(Some(At::Directory));
        }
        if self.is_dropped(path) || !parents_are_directories(&self.root, path) {
            return Ok(None);
        }
        let place = join(&self.root, path);
        let metadata = match fs_err::symlink_metadata(&place) {
            Ok(metadata) => metadata,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(ContextError::read(&place, error)),
        };
        let excluded = self.ignore.is_excluded(path);
        if excluded && !(metadata.is_dir() && self.ignore.may_match_below(path)) {
            return Ok(None);
        }
        Ok(match metadata.file_type() {
            kind if kind.is_dir() => Some(At::Directory),
            kind if kind.is_file() => Some(At::File),
            kind if kind.is_symlink() => {
                let target =
                    fs_err::read_link(&place).map_err(|error| ContextError::read(&place, error))?;
                Some(At::Symlink { target: target.into_os_string().into_encoded_bytes() })
            }
            _ => None,
        })
    }

    /// The names in a directory that the ignore rules leave, sorted by their bytes.
    pub(super) fn names(&self, directory: &[u8]) -> Result<Vec<Vec<u8>>, ContextError> {
        let place = join(&self.root, directory);
        let fail = |error| ContextError::read(&place, error);
        let mut names = Vec::new();
        for child in fs_err::read_dir(&place).map_err(fail)? {
            let child = child.map_err(fail)?;
            let name = child.file_name().into_encoded_bytes();
            let path = super::path::join_names(directory, &name);
            let is_directory = child.file_type().map_err(fail)?.is_dir();
            let excluded = self.ignore.is_excluded(&path)
                && !(is_directory && self.ignore.may_match_below(&path));
            if !excluded && !self.is_dropped(&path) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// What identifies what is at and below `path`, walked once however often it is asked for;
    /// `tracker` is asked for only when there is something to walk.
    pub(super) fn identity<'a>(
        &self,
        path: &[u8],
        tracker: impl FnOnce() -> Result<Option<&'a dyn Tracker>, ContextError>,
    ) -> Result<Option<Identity>, ContextError> {
        let mut seen = self.seen();
        if let Some(known) = seen.identities.get(path) {
            return Ok(known.clone());
        }
        let identity = match seen.listing(path) {
            Some(listing) => Some(of_entries(path, listing.entries())),
            None => {
                let Walked { identity, listing, .. } = self.walk(path, &mut seen, KEPT, tracker)?;
                let kept = listing.filter(|_| identity.is_some());
                seen.listings.extend(kept.map(|listing| (path.to_vec(), listing)));
                identity
            }
        };
        seen.identities.insert(path.to_vec(), identity.clone());
        Ok(identity)
    }

    /// What is at and below `path`; it has the identity that was told before, if it was.
    pub(super) fn listing<'a>(
        &self,
        path: &[u8],
        tracker: impl FnOnce() -> Result<Option<&'a dyn Tracker>, ContextError>,
    ) -> Result<Option<Listing>, ContextError> {
        let mut seen = self.seen();
        if let Some(listing) = seen.listing(path) {
            return Ok(Some(listing));
        }
        let Walked { identity, listing, .. } = self.walk(path, &mut seen, usize::MAX, tracker)?;
        let known = seen.identities.entry(path.to_vec()).or_insert_with(|| identity.clone());
        if *known != identity {
            return Err(ContextError::Changed { path: join(&self.root, path) });
        }
        let listing = listing.filter(|_| identity.is_some());
        seen.listings.extend(listing.clone().map(|listing| (path.to_vec(), listing)));
        Ok(listing)
    }

    fn walk<'a>(
        &self,
        path: &[u8],
        seen: &mut Seen,
        keeps: usize,
        tracker: impl FnOnce() -> Result<Option<&'a dyn Tracker>, ContextError>,
    ) -> Result<Walked, ContextError> {
        if self.find(path)?.is_none() {
            return Ok(Walked::default());
        }
        let walk = Walk {
            root: &self.root,
            ignore: &self.ignore,
            tracker: tracker()?,
            drop_git: self.drop_git,
            times: self.times,
            keeps,
        };
        let walked = walk.run(path)?;
        seen.notes.extend(walked.notes.iter().cloned());
        Ok(walked)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = self.seen().notes.clone();
        notes.sort_unstable();
        notes.dedup();
        notes
    }

    /// Why there is nothing at `path` although something is on disk.
    pub(super) fn why_absent(&self, path: &[u8]) -> Option<String> {
        self.ignore.exclusion(path).or_else(|| special_note(&self.root, path))
    }

    fn is_dropped(&self, path: &[u8]) -> bool {
        self.drop_git && path.split(|&byte| byte == b'/').any(|name| name == b".git")
    }
}

/// Says that something is neither file, link nor directory.
fn special_note(root: &Path, path: &[u8]) -> Option<String> {
    let metadata = fs_err::symlink_metadata(join(root, path)).ok()?;
    let kind = metadata.file_type();
    let is_special =
        kind.is_socket() || kind.is_fifo() || kind.is_char_device() || kind.is_block_device();
    is_special.then(|| {
        let name = String::from_utf8_lossy(path);
        format!("{name} is {} and is left out of the context", special_kind(&metadata))
    })
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}
