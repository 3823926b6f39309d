//! Reads the upper directory of an overlay as the entries of a layer.
//!
//! Format of the upper directory: overlayfs.rst with `userxattr`. Every name in it may be a change:
//! the kernel copies up what is merely opened for writing.
//!
//! Before a directory that hides everything below it is read, that is spelled out as whiteouts, and
//! after all is read the upper directory holds changes only: it is what unpacking the emitted layer
//! would make. At every point in between it shows the same merged view.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, fremovexattr, fstat, futimens, makedev, mknodat, openat, statat,
};
use rustix::io::Errno;

use super::candidates::{CandidateReader, Candidates, Links, What};
use super::descent::{Descent, Ignored};
use super::judge::{Judge, Subject};
use crate::entry::EntrySink;
use crate::init::lowers::{Found, Layers, Merged, is_whiteout};
use crate::init::metadata::{self, OPAQUE, times_of};
use crate::init::tree::directory_flags;
use crate::step::ChangeStats;
use crate::wire::{Failure, OrFail as _};

/// Emits what the upper directory `upper` changes of what `lowers` (bottom first) show. For a moment
/// there is a file `UPPER.candidates` beside it.
pub(in crate::init) fn emit(
    upper: &Path,
    lowers: Vec<PathBuf>,
    clamp_mtime: Option<i64>,
    sink: &mut dyn EntrySink,
) -> Result<ChangeStats, Failure> {
    let action = || format!("cannot read {}", upper.display());
    let layers = Layers::from_bottom(lowers);
    let (from, links) = candidates(upper, &layers).or_fail(action)?;
    let root = rustix::fs::open(upper, directory_flags(), Mode::empty()).or_fail(action)?;
    let mut judge = Judge::new(Subject::Upper, root, layers, clamp_mtime, sink).or_fail(action)?;
    let judged = judge.judge(from, links);
    judged.or_fail(|| {
        let path = String::from_utf8_lossy(&judge.path);
        format!("cannot read the change of {path:?} in {}", upper.display())
    })?;
    Ok(judge.stats)
}

fn candidates(upper: &Path, layers: &Layers) -> io::Result<(CandidateReader, Links)> {
    let mut place = upper.as_os_str().to_owned();
    place.push(".candidates");
    let mut candidates = Candidates::create(Path::new(&place))?;
    let nothing = Ignored::default();
    let mut descent = Descent::new(upper, &nothing)?;
    while let Some(file_type) = descent.next()? {
        candidates.add(descent.path(), What::There)?;
        match file_type {
            FileType::Directory => {
                descent.enter()?;
                if metadata::internal(descent.dir(), OPAQUE)?.as_deref() == Some(b"y")
                    && let Found::Directory(hidden) = layers.find(descent.path())?
                {
                    spell_out(descent.dir(), &hidden)?;
                }
                descent.list()?;
            }
            FileType::Socket => {}
            _ => {
                let stat = statat(descent.dir(), descent.name(), AtFlags::SYMLINK_NOFOLLOW)?;
                if stat.st_nlink > 1 && !is_whiteout(&stat) {
                    candidates.link((stat.st_dev, stat.st_ino), descent.path());
                }
            }
        }
    }
    candidates.finish()
}

/// Makes a directory that hides all of `hidden` into one that hides each name by itself.
fn spell_out(dir: BorrowedFd<'_>, hidden: &Merged) -> io::Result<()> {
    let before = fstat(dir)?;
    for name in hidden.names()? {
        match statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {
                let (kind, device) = (FileType::CharacterDevice, makedev(0, 0));
                mknodat(dir, &name, kind, Mode::empty(), device)?;
            }
            Err(errno) => return Err(errno.into()),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                if matches!(hidden.child(&name)?, Found::Directory(_)) {
                    let below = openat(dir, &name, directory_flags(), Mode::empty())?;
                    metadata::set(below.as_fd(), OPAQUE.as_bytes(), b"y")?;
                }
            }
            Ok(_) => {}
        }
    }
    fremovexattr(dir, OPAQUE)?;
    Ok(futimens(dir, &times_of(&before))?)
}
