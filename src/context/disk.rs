//! What plain directories and work trees have in common: parts of a directory are looked at when
//! they are asked for, and listed once.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::identity::{Identity, of_entries};
use super::listing::Listing;
use super::read::{join, parents_are_directories};
use super::walk::{Tracker, Walk, special_kind};
use super::{At, ContextError};
use crate::ignore_rules::IgnoreRules;

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

/// What was listed so far.
#[derive(Debug, Default)]
struct Seen {
    /// By where the listing starts; nothing if no part of the context is there.
    listings: Vec<(Vec<u8>, Option<Listing>)>,
    notes: Vec<String>,
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

    /// What is at and below `path`, walked once however often it is asked for; `tracker` is asked
    /// for only when there is something to walk.
    pub(super) fn listing<'a>(
        &self,
        path: &[u8],
        tracker: impl FnOnce() -> Result<Option<&'a dyn Tracker>, ContextError>,
    ) -> Result<Option<Listing>, ContextError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (start, listing) in &seen.listings {
            if start == path {
                return Ok(listing.clone());
            }
            if super::path::is_below(path, start) {
                return Ok(listing.as_ref().and_then(|listing| listing.part(path)));
            }
        }
        let listing = match self.find(path)? {
            None => None,
            Some(_) => {
                let walk = Walk {
                    root: &self.root,
                    start: path,
                    ignore: &self.ignore,
                    tracker: tracker()?,
                    drop_git: self.drop_git,
                    times: self.times,
                };
                let (listing, notes) = walk.list()?;
                seen.notes.extend(notes);
                listing.part(path)
            }
        };
        seen.listings.push((path.to_vec(), listing.clone()));
        Ok(listing)
    }

    /// What identifies what [`Self::listing`] gives.
    pub(super) fn identity(path: &[u8], listing: Option<&Listing>) -> Option<Identity> {
        listing.map(|listing| of_entries(path, listing.entries()))
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut notes = seen.notes.clone();
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
