//! Reads a whole tree as the entries of a layer, by what was touched since a snapshot of it.
//!
//! Both are in the order of a layer, so one pass over both finds what is new, gone or touched. The
//! old content is not in the tree any more; it is in the layers below.
//!
//! To make, rename or remove a name changes its directory. So a directory that was not touched has
//! the names that the snapshot has, and is not listed; but each of them is looked at, because what
//! is written to a file changes nothing but the file.
//!
//! Of a file with several names all are touched when one is made, renamed or removed, because that
//! changes the inode, on all file systems of Linux that take layers; so all are candidates.

use std::cmp::Ordering;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode};

use super::candidates::{CandidateReader, Candidates, Links, What};
use super::descent::{Descent, Ignored, is_below, order};
use super::judge::{Judge, Subject};
use super::snapshot::{Mark, Snapshot, look};
use crate::entry::EntrySink;
use crate::init::lowers::Layers;
use crate::init::tree::directory_flags;
use crate::step::ChangeStats;
use crate::wire::{Failure, OrFail as _};

/// A tree after a step.
#[derive(Debug)]
pub(in crate::init) struct Walked<'a> {
    /// The tree.
    pub(in crate::init) root: &'a Path,
    /// What [`super::take_snapshot`] wrote before the step.
    pub(in crate::init) snapshot: &'a Path,
    /// What it ignored, or more.
    pub(in crate::init) ignored: &'a Ignored,
    /// The unpacked layers, bottom first, that show what the tree was at the snapshot; content
    /// that a layer cannot hold, as sockets, excepted.
    pub(in crate::init) lowers: Vec<PathBuf>,
    /// Later modification times are set to it.
    pub(in crate::init) clamp_mtime: Option<i64>,
}

/// Emits what a step changed in a tree. `reusable` means that the tree is now what the layers below
/// and the emitted one show together. For a moment there is a file `SNAPSHOT.candidates`.
pub(in crate::init) fn emit(
    walked: Walked<'_>,
    sink: &mut dyn EntrySink,
) -> Result<ChangeStats, Failure> {
    let action = || format!("cannot read {}", walked.root.display());
    let (from, links) = candidates(&walked).or_fail(action)?;
    let root = rustix::fs::open(walked.root, directory_flags(), Mode::empty()).or_fail(action)?;
    let layers = Layers::from_bottom(walked.lowers);
    let mut judge =
        Judge::new(Subject::Whole, root, layers, walked.clamp_mtime, sink).or_fail(action)?;
    let judged = judge.judge(from, links);
    judged.or_fail(|| {
        let path = String::from_utf8_lossy(&judge.path);
        format!("cannot read the change of {path:?} in {}", walked.root.display())
    })?;
    Ok(judge.stats)
}

fn candidates(walked: &Walked<'_>) -> io::Result<(CandidateReader, Links)> {
    let mut place = walked.snapshot.as_os_str().to_owned();
    place.push(".candidates");
    let mut past = Past {
        ignored: walked.ignored,
        candidates: Candidates::create(Path::new(&place))?,
        snapshot: Snapshot::open(walked.snapshot)?,
        covered: None,
    };
    let mut descent = Descent::new(walked.root, walked.ignored)?;
    loop {
        past.skip_covered()?;
        if descent.next_of(past.snapshot.current().map(|(old, _)| old))?.is_none() {
            break;
        }
        let stat = match look(&descent) {
            // There is a file system that does not tell when a directory changes.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                past.before(descent.path())?;
                continue;
            }
            looked => looked?,
        };
        let file_type = FileType::from_raw_mode(stat.stx_mode.into());
        let is_touched = past.is_touched(descent.path(), Mark::of(&stat))?;
        if is_touched {
            past.candidates.add(descent.path(), What::There)?;
            let may_have_names = !matches!(file_type, FileType::Directory | FileType::Socket);
            if stat.stx_nlink > 1 && may_have_names {
                let device = rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor);
                past.candidates.link((device, stat.stx_ino), descent.path());
            }
        }
        match (file_type, is_touched) {
            (FileType::Directory, true) => {
                descent.enter()?;
                descent.list()?;
            }
            (FileType::Directory, false) if past.is_next_below(descent.path()) => {
                descent.enter_known()?;
            }
            _ => {}
        }
    }
    past.rest()?;
    past.candidates.finish()
}

/// The snapshot, next to which the tree is gone through.
struct Past<'a> {
    ignored: &'a Ignored,
    candidates: Candidates,
    snapshot: Snapshot,
    /// A directory that is gone or something else now: what was below it needs no word.
    covered: Option<Vec<u8>>,
}

impl Past<'_> {
    /// Goes past what was below a directory that is gone.
    fn skip_covered(&mut self) -> io::Result<()> {
        while let (Some(covered), Some((old, _))) = (&self.covered, self.snapshot.current())
            && is_below(old, covered)
        {
            self.snapshot.advance()?;
        }
        Ok(())
    }

    /// Whether there was anything in the directory `path`, which was just compared.
    fn is_next_below(&self, path: &[u8]) -> bool {
        self.snapshot.current().is_some_and(|(old, _)| is_below(old, path))
    }

    /// Notes what was up to `path`, which is not there.
    fn before(&mut self, path: &[u8]) -> io::Result<()> {
        while let Some((old, _)) = self.snapshot.current()
            && order(old, path) != Ordering::Greater
        {
            self.gone()?;
        }
        Ok(())
    }

    /// Notes what was before `path` and is not any more; says whether `path` is a candidate.
    fn is_touched(&mut self, path: &[u8], now: Mark) -> io::Result<bool> {
        while let Some((old, then)) = self.snapshot.current() {
            match order(old, path) {
                Ordering::Less => self.gone()?,
                Ordering::Equal => {
                    if then.is_directory() && !now.is_directory() {
                        self.covered = Some(old.to_vec());
                    }
                    let is_touched = self.snapshot.is_touched(then, now);
                    self.snapshot.advance()?;
                    return Ok(is_touched);
                }
                Ordering::Greater => break,
            }
        }
        Ok(true)
    }

    /// Notes that the tree ends before the snapshot.
    fn rest(&mut self) -> io::Result<()> {
        while self.snapshot.current().is_some() {
            self.gone()?;
        }
        Ok(())
    }

    fn gone(&mut self) -> io::Result<()> {
        let Some((old, then)) = self.snapshot.current() else { return Ok(()) };
        if !self.covered.as_ref().is_some_and(|covered| is_below(old, covered))
            && !self.ignored.covers(old)
        {
            self.candidates.add(old, What::Gone)?;
            self.covered = then.is_directory().then(|| old.to_vec());
        }
        self.snapshot.advance()
    }
}
