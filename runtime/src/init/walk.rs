//! Finds what a step changed in a tree by comparing everything with what was there before.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, StatxFlags, open, readlinkat, statx};

use super::metadata::{self, Xattrs, times};
use super::tree::join;
use crate::entry::{Entry, EntrySink, Kind};
use crate::step::ChangeStats;

type Facts = [i64; 11];
/// The children of each directory.
type Tree = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Facts>>;

/// What a tree is before a step.
#[derive(Debug)]
pub(super) struct Snapshot(Tree);

impl Snapshot {
    pub(super) fn take(root: &Path) -> io::Result<Self> {
        let mut tree = Tree::new();
        let mut open = vec![Vec::new()];
        let mut newest = (0, 0);
        while let Some(dir) = open.pop() {
            let children = list(root, &dir)?;
            for (name, facts) in &children {
                newest = newest.max((facts[2], facts[3]));
                if is_directory(facts) {
                    open.push(join(&dir, name));
                }
            }
            tree.insert(dir, children);
        }
        wait_for_tick(newest);
        Ok(Self(tree))
    }

    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        let mut file = io::BufWriter::new(File::create(path)?);
        for (dir, children) in &self.0 {
            put(&mut file, dir)?;
            file.write_all(&(children.len() as u64).to_le_bytes())?;
            for (name, facts) in children {
                put(&mut file, name)?;
                for fact in facts {
                    file.write_all(&fact.to_le_bytes())?;
                }
            }
        }
        file.flush()
    }

    pub(super) fn load(path: &Path) -> io::Result<Self> {
        let bytes = fs::read(path)?;
        let mut rest = bytes.as_slice();
        let mut tree = Tree::new();
        while !rest.is_empty() {
            let dir = get(&mut rest)?;
            let mut children = BTreeMap::new();
            for _ in 0..number(&mut rest)? {
                let name = get(&mut rest)?;
                let mut facts = Facts::default();
                for fact in &mut facts {
                    *fact = number(&mut rest)?;
                }
                children.insert(name, facts);
            }
            tree.insert(dir, children);
        }
        Ok(Self(tree))
    }
}

fn put(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(&(bytes.len() as u64).to_le_bytes())?;
    to.write_all(bytes)
}

fn number(from: &mut &[u8]) -> io::Result<i64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(i64::from_le_bytes(bytes))
}

fn get(from: &mut &[u8]) -> io::Result<Vec<u8>> {
    let length = usize::try_from(number(from)?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Times of change come from a clock with ticks: what changes after this has a later one.
fn wait_for_tick(newest: (i64, i64)) {
    loop {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        if (now.tv_sec, now.tv_nsec) > newest {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn at(root: &Path, path: &[u8]) -> PathBuf {
    root.join(OsStr::from_bytes(path))
}

fn is_directory(facts: &Facts) -> bool {
    FileType::from_raw_mode(facts[4] as u32) == FileType::Directory
}

fn list(root: &Path, dir: &[u8]) -> io::Result<BTreeMap<Vec<u8>, Facts>> {
    let mut children = BTreeMap::new();
    for item in fs::read_dir(at(root, dir))? {
        let name = item?.file_name().as_bytes().to_vec();
        let path = at(root, &join(dir, &name));
        let stat = statx(
            CWD,
            &path,
            AtFlags::SYMLINK_NOFOLLOW,
            StatxFlags::BASIC_STATS | StatxFlags::BTIME,
        )?;
        let facts = [
            stat.stx_ino as i64,
            stat.stx_btime.tv_sec * 1_000_000_000 + i64::from(stat.stx_btime.tv_nsec),
            stat.stx_ctime.tv_sec,
            i64::from(stat.stx_ctime.tv_nsec),
            i64::from(stat.stx_mode),
            i64::from(stat.stx_uid),
            i64::from(stat.stx_gid),
            stat.stx_size as i64,
            stat.stx_mtime.tv_sec,
            i64::from(stat.stx_mtime.tv_nsec),
            i64::from(stat.stx_nlink),
        ];
        children.insert(name, facts);
    }
    Ok(children)
}

/// Emits what differs from `before`.
pub(super) fn emit(
    before: &Snapshot,
    root: &Path,
    ignored: &[Vec<u8>],
    clamp: Option<i64>,
    sink: &mut dyn EntrySink,
) -> io::Result<ChangeStats> {
    let stats = ChangeStats { reusable: true, ..ChangeStats::default() };
    let mut walk =
        Walk { root, ignored, clamp, sink, stats, links: BTreeMap::new(), pending: Vec::new() };
    walk.directory(b"", Some(before), &before.0)?;
    Ok(walk.stats)
}

struct Walk<'a> {
    root: &'a Path,
    ignored: &'a [Vec<u8>],
    clamp: Option<i64>,
    sink: &'a mut dyn EntrySink,
    stats: ChangeStats,
    links: BTreeMap<i64, Vec<u8>>,
    /// Directories above that are not emitted yet.
    pending: Vec<(Vec<u8>, Facts)>,
}

impl Walk<'_> {
    fn directory(&mut self, dir: &[u8], before: Option<&Snapshot>, tree: &Tree) -> io::Result<()> {
        let empty = BTreeMap::new();
        let old = before.and_then(|_| tree.get(dir)).unwrap_or(&empty);
        let new = list(self.root, dir)?;
        let mut names: Vec<&Vec<u8>> = old.keys().chain(new.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let path = join(dir, name);
            if self.ignored.contains(&path) {
                continue;
            }
            match (old.get(name), new.get(name)) {
                (Some(_), None) => {
                    self.parents()?;
                    self.send(&Entry::new(path, Kind::Whiteout, 0, 0), None)?;
                }
                (old, Some(new)) if is_directory(new) => {
                    let same = old.is_some_and(|old| old[..2] == new[..2] && is_directory(old));
                    self.pending.push((path.clone(), *new));
                    let hides = old.is_some_and(is_directory) && !same;
                    if !same
                        || old.is_some_and(|old| old[4..7] != new[4..7] || old[8..10] != new[8..10])
                    {
                        self.parents()?;
                    }
                    if hides {
                        self.send(&Entry::new(path.clone(), Kind::Opaque, 0, 0), None)?;
                    }
                    self.directory(&path, before.filter(|_| same), tree)?;
                    if self.pending.last().is_some_and(|last| last.0 == path) {
                        self.pending.pop();
                    }
                    let mtime = self.clamped(new);
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    let _ = mtime;
                    let stat = rustix::fs::statat(CWD, at(self.root, &path), flags)?;
                    if stat.st_mtime_nsec != 0 || stat.st_mtime != mtime {
                        rustix::fs::utimensat(CWD, at(self.root, &path), &times(mtime), flags)?;
                    }
                }
                (old, Some(new)) if old != Some(new) => {
                    self.parents()?;
                    self.object(path, old, new)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn parents(&mut self) -> io::Result<()> {
        for (path, facts) in std::mem::take(&mut self.pending) {
            let xattrs = self.xattrs(&path, OFlags::DIRECTORY)?;
            let entry = self.entry(path, Kind::Directory, &facts, xattrs);
            self.send(&entry, None)?;
        }
        Ok(())
    }

    fn object(&mut self, path: Vec<u8>, old: Option<&Facts>, new: &Facts) -> io::Result<()> {
        let full = at(self.root, &path);
        let is_new = old.is_none_or(|old| old[..2] != new[..2]);
        if new[10] > 1 {
            if let Some(first) = self.links.get(&new[0]).filter(|_| is_new) {
                let kind = Kind::HardLink { target: first.clone() };
                let entry = self.entry(path, kind, new, Xattrs::new());
                return self.send(&entry, None);
            }
            self.links.entry(new[0]).or_insert_with(|| path.clone());
        }
        let rdev = rustix::fs::lstat(&full)?.st_rdev;
        let (major, minor) = (rustix::fs::major(rdev), rustix::fs::minor(rdev));
        let mut xattrs = Xattrs::new();
        let mut content = None;
        let kind = match FileType::from_raw_mode(new[4] as u32) {
            FileType::Socket => {
                self.stats.skipped_sockets += 1;
                return fs::remove_file(full);
            }
            FileType::RegularFile => {
                xattrs = self.xattrs(&path, OFlags::empty())?;
                let file = File::open(&full)?;
                let device = metadata::internal(file.as_fd(), metadata::STAND_IN)?;
                content = Some(file);
                match device.filter(|_| new[7] == 0).and_then(super::changes::stood_for) {
                    Some(kind) => kind,
                    None => Kind::File { size: new[7] as u64 },
                }
            }
            FileType::Symlink => {
                Kind::Symlink { target: readlinkat(CWD, &full, Vec::new())?.into_bytes() }
            }
            FileType::Fifo => Kind::Fifo,
            FileType::CharacterDevice => Kind::CharDevice { major, minor },
            _ => Kind::BlockDevice { major, minor },
        };
        let entry = self.entry(path, kind, new, xattrs);
        self.send(&entry, content)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::utimensat(CWD, full, &times(entry.mtime), flags)?)
    }

    fn xattrs(&mut self, path: &[u8], flags: OFlags) -> io::Result<Xattrs> {
        let fd = open(at(self.root, path), OFlags::RDONLY | flags, Mode::empty())?;
        let (kept, dropped) = metadata::read(fd.as_fd())?;
        for name in dropped {
            self.stats.dropped_xattrs += 1;
            if metadata::is_acl(&name) {
                rustix::fs::fremovexattr(&fd, name.as_slice())?;
            }
        }
        Ok(kept)
    }

    fn entry(&self, path: Vec<u8>, kind: Kind, facts: &Facts, xattrs: Xattrs) -> Entry {
        Entry {
            path,
            kind,
            mode: facts[4] as u32 & 0o7777,
            uid: facts[5] as u32,
            gid: facts[6] as u32,
            mtime: self.clamped(facts),
            xattrs,
        }
    }

    fn clamped(&self, facts: &Facts) -> i64 {
        self.clamp.map_or(facts[8], |latest| facts[8].min(latest))
    }

    fn send(&mut self, entry: &Entry, content: Option<File>) -> io::Result<()> {
        self.stats.entries += 1;
        match content {
            Some(mut file) => self.sink.entry(entry, &mut file),
            None => self.sink.entry(entry, &mut io::empty()),
        }
    }
}
