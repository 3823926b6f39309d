//! Decides which candidates are changes, and emits those.
//!
//! What decides is the merged view of the layers below, so it does not matter how candidates were
//! found. Memory: one entry for each directory on the way down, as directories are emitted with the
//! first thing below them, and the names of files that have several.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Mode, Stat, fremovexattr, fstat, makedev, mknodat, openat, unlinkat,
    utimensat,
};

use super::candidates::{CandidateReader, Links, What};
use super::descent::is_below;
use super::groups::{Groups, Verdict};
use super::object::{Object, clamped, same, same_directories, settle};
use crate::entry::{Entry, EntrySink, Kind};
use crate::init::lowers::{Found, Layers, Merged, is_whiteout};
use crate::init::metadata::{self, Xattrs, is_acl, times_of};
use crate::init::tree::{directory_flags, inherit, join, split};
use crate::step::ChangeStats;

/// What kind of tree is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// An upper directory: what is no change is removed from it, whiteouts are deletions.
    Upper,
    /// A whole tree.
    Whole,
}

/// Judges one tree.
pub(super) struct Judge<'a> {
    pub(super) subject: Subject,
    pub(super) layers: Layers,
    pub(super) clamp_mtime: Option<i64>,
    pub(super) sink: &'a mut dyn EntrySink,
    pub(super) stats: ChangeStats,
    groups: Groups,
    levels: Vec<Level>,
    /// The directory of the last level.
    here: Rc<OwnedFd>,
    /// What is being read, for errors.
    pub(super) path: Vec<u8>,
}

/// A directory on the way down.
struct Level {
    path: Vec<u8>,
    /// What the parent's tree has here, if that is a directory.
    base: Option<Merged>,
    /// The directory's own entry, until it is emitted.
    pending: Option<Entry>,
    before: Stat,
    /// The time that it has in the parent's tree, if it is the same there.
    unchanged_mtime: Option<i64>,
}

impl<'a> Judge<'a> {
    /// A judge of the tree in `root`.
    pub(super) fn new(
        subject: Subject,
        root: OwnedFd,
        layers: Layers,
        clamp_mtime: Option<i64>,
        sink: &'a mut dyn EntrySink,
    ) -> io::Result<Self> {
        let base = match layers.root() {
            Found::Directory(merged) => Some(merged),
            Found::Absent | Found::Other(_) => None,
        };
        let before = fstat(&root)?;
        let top = Level { path: Vec::new(), base, pending: None, before, unchanged_mtime: None };
        Ok(Self {
            subject,
            layers,
            clamp_mtime,
            sink,
            stats: ChangeStats { reusable: true, ..ChangeStats::default() },
            groups: Groups::new(Links::new()),
            levels: vec![top],
            here: Rc::new(root),
            path: Vec::new(),
        })
    }

    /// Judges all candidates. The root's own entry is not emitted, so it becomes what it was.
    pub(super) fn judge(&mut self, mut from: CandidateReader, links: Links) -> io::Result<()> {
        self.groups = Groups::new(links);
        let judged = self.all(&mut from);
        if judged.is_err() {
            self.back_out();
        }
        judged?;
        inherit(self.here.as_fd(), &self.layers.look(b"")?)
    }

    fn all(&mut self, from: &mut CandidateReader) -> io::Result<()> {
        while let Some((path, what)) = from.next()? {
            self.path.clear();
            self.path.extend_from_slice(path);
            let (parent, name) = split(path);
            self.go_to(parent)?;
            let base = self.base_of(name)?;
            match what {
                What::Gone => self.gone(base)?,
                What::There => self.there(name, base)?,
            }
        }
        while self.levels.len() > 1 {
            self.leave()?;
        }
        Ok(())
    }

    fn top(&self) -> &Level {
        self.levels.last().expect("the root is never left")
    }

    fn base_of(&self, name: &[u8]) -> io::Result<Found> {
        self.top().base.as_ref().map_or(Ok(Found::Absent), |merged| merged.child(name))
    }

    /// Makes `path` the directory that is open.
    fn go_to(&mut self, path: &[u8]) -> io::Result<()> {
        while self.top().path != path && !is_below(path, &self.top().path) {
            self.leave()?;
        }
        while self.top().path != path {
            let from = if self.levels.len() > 1 { self.top().path.len() + 1 } else { 0 };
            let name = path[from..].split(|byte| *byte == b'/').next().expect("one at least");
            let base = self.base_of(name)?;
            self.enter(name, base)?;
        }
        Ok(())
    }

    fn there(&mut self, name: &[u8], base: Found) -> io::Result<()> {
        let here = Rc::clone(&self.here);
        let object = Object::at(here.as_fd(), name)?;
        // Overlay links all its whiteouts together, so they come before hard links.
        if self.subject == Subject::Upper && is_whiteout(&object.stat) {
            if matches!(base, Found::Absent) {
                // There was a mount point, or nothing any more.
                return Ok(unlinkat(object.dir, name, AtFlags::empty())?);
            }
            return self.gone(base);
        }
        match object.file_type() {
            FileType::Directory => self.enter(name, base),
            FileType::Socket => self.socket(&object, base),
            _ => self.leaf(&object, base),
        }
    }

    fn gone(&mut self, base: Found) -> io::Result<()> {
        match base {
            Found::Absent => Ok(()),
            Found::Directory(_) | Found::Other(_) => {
                self.send(&Entry::new(self.path.clone(), Kind::Whiteout, 0, 0), None)
            }
        }
    }

    /// No layer can hold a socket, so there is nothing.
    fn socket(&mut self, object: &Object<'_>, base: Found) -> io::Result<()> {
        self.stats.skipped_sockets += 1;
        let mut removed = unlinkat(object.dir, object.name, AtFlags::empty());
        if self.subject == Subject::Upper && !matches!(base, Found::Absent) {
            let (kind, device) = (FileType::CharacterDevice, makedev(0, 0));
            removed = removed
                .and_then(|()| mknodat(object.dir, object.name, kind, Mode::empty(), device));
        }
        self.stats.reusable &= removed.is_ok();
        self.gone(base)
    }

    fn leaf(&mut self, object: &Object<'_>, base: Found) -> io::Result<()> {
        let base = match &base {
            Found::Other(leaf) => Some(Object::of(leaf)),
            Found::Absent | Found::Directory(_) => None,
        };
        let layers = &self.layers;
        let verdict = match self.groups.verdict(object, &self.path, layers, self.clamp_mtime)? {
            Some(verdict) => verdict,
            None => match &base {
                Some(base) if same(object, base, self.clamp_mtime)? => Verdict::Same,
                Some(_) | None => Verdict::Changed,
            },
        };
        match (verdict, base) {
            (Verdict::LinkTo(target), _) => {
                let entry = self.entry(Kind::HardLink { target }, &object.stat, Xattrs::new());
                self.send(&entry, None)
            }
            (Verdict::Same, Some(base)) => self.no_change(object, &base.stat),
            (Verdict::Same | Verdict::Changed, _) => self.change(object),
        }
    }

    fn change(&mut self, object: &Object<'_>) -> io::Result<()> {
        let mtime = clamped(object.stat.st_mtime, self.clamp_mtime);
        if object.file_type() != FileType::RegularFile {
            let entry = self.entry(object.special()?, &object.stat, Xattrs::new());
            self.send(&entry, None)?;
            return object.settle(mtime);
        }
        let fd = object.open()?;
        let xattrs = self.xattrs(fd.as_fd())?;
        match object.stood_for(fd.as_fd())? {
            Some(device) => self.send(&self.entry(device, &object.stat, xattrs), None)?,
            None => {
                let kind = Kind::File { size: object.size()? };
                self.send(&self.entry(kind, &object.stat, xattrs), Some(fd))?;
            }
        }
        object.settle(mtime)
    }

    fn no_change(&mut self, object: &Object<'_>, base: &Stat) -> io::Result<()> {
        if self.subject == Subject::Upper {
            return Ok(unlinkat(object.dir, object.name, AtFlags::empty())?);
        }
        if object.file_type() == FileType::RegularFile {
            self.xattrs(object.open()?.as_fd())?;
        }
        // It may have been a name of another file of the parent's tree, which this layer will not
        // say.
        self.stats.reusable &= object.stat.st_nlink >= base.st_nlink;
        object.settle(base.st_mtime)
    }

    /// Opens the directory `name` and emits it if it is a change itself.
    fn enter(&mut self, name: &[u8], base: Found) -> io::Result<()> {
        let fd = openat(&self.here, name, directory_flags(), Mode::empty())?;
        let before = fstat(&fd)?;
        let xattrs = self.xattrs(fd.as_fd())?;
        let base = match base {
            Found::Directory(merged) => Some(merged),
            Found::Absent | Found::Other(_) => None,
        };
        let mut unchanged_mtime = None;
        if let Some(merged) = &base {
            let base_fd = merged.open()?;
            let stat = fstat(&base_fd)?;
            let pair = ((fd.as_fd(), &before), (base_fd.as_fd(), &stat));
            if same_directories(pair.0, pair.1, self.clamp_mtime)? {
                unchanged_mtime = Some(stat.st_mtime);
            }
        }
        let path = join(&self.top().path, name);
        let mut entry = self.entry(Kind::Directory, &before, xattrs);
        entry.path.clone_from(&path);
        self.here = Rc::new(fd);
        self.levels.push(Level { path, base, pending: Some(entry), before, unchanged_mtime });
        if unchanged_mtime.is_none() { self.emit_directories() } else { Ok(()) }
    }

    /// Leaves the directory that is open, with the time that it shall have.
    fn leave(&mut self) -> io::Result<()> {
        let done = self.levels.pop().expect("only what was entered is left");
        // What was removed from it has changed its time.
        let now = fstat(&self.here)?;
        self.here = Rc::new(openat(&self.here, "..", directory_flags(), Mode::empty())?);
        let (_, name) = split(&done.path);
        match (done.pending, done.unchanged_mtime) {
            (Some(_), Some(mtime)) => {
                if self.subject == Subject::Upper
                    && unlinkat(&self.here, name, AtFlags::REMOVEDIR).is_ok()
                {
                    return Ok(());
                }
                settle(self.here.as_fd(), name, &now, mtime)
            }
            _ => {
                let mtime = clamped(done.before.st_mtime, self.clamp_mtime);
                settle(self.here.as_fd(), name, &now, mtime)
            }
        }
    }

    /// After a failure: gives the directories on the way down the times that they had, so that
    /// another try finds them as they were.
    fn back_out(&mut self) {
        while self.levels.len() > 1 {
            let done = self.levels.pop().expect("there are two at least");
            let Ok(above) = openat(&self.here, "..", directory_flags(), Mode::empty()) else {
                return;
            };
            self.here = Rc::new(above);
            let (_, name) = split(&done.path);
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            // The failure that led here is what is worth telling.
            let _ = utimensat(&self.here, name, &times_of(&done.before), flags);
        }
    }

    fn emit_directories(&mut self) -> io::Result<()> {
        for level in &mut self.levels {
            if let Some(entry) = level.pending.take() {
                self.stats.entries += 1;
                self.sink.entry(&entry, &mut io::empty())?;
            }
        }
        Ok(())
    }

    /// Reads the attributes that a layer keeps; lists that it does not are removed.
    fn xattrs(&mut self, fd: BorrowedFd<'_>) -> io::Result<Xattrs> {
        let (kept, dropped) = metadata::read(fd)?;
        for name in dropped {
            self.stats.dropped_xattrs += 1;
            if is_acl(&name) {
                self.stats.reusable &= fremovexattr(fd, name.as_slice()).is_ok();
            }
        }
        Ok(kept)
    }

    fn entry(&self, kind: Kind, stat: &Stat, xattrs: Xattrs) -> Entry {
        Entry {
            path: self.path.clone(),
            kind,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: clamped(stat.st_mtime, self.clamp_mtime),
            xattrs,
        }
    }

    fn send(&mut self, entry: &Entry, content: Option<OwnedFd>) -> io::Result<()> {
        self.emit_directories()?;
        self.stats.entries += 1;
        match content {
            Some(fd) => self.sink.entry(entry, &mut File::from(fd)),
            None => self.sink.entry(entry, &mut io::empty()),
        }
    }
}
