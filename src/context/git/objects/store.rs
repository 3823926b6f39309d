//! Finding objects, and putting together those that are stored as deltas.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use super::bases::{Base, Recent};
use super::delta::{Patched, Sizes};
use super::error::malformed;
use super::inflate::Inflated;
use super::loose::{self, Loose};
use super::pack::{Ahead, Pack, PackEntry, Stored};
use super::pack_index;
use super::reader::{Content, Found, ObjectReader};
use super::{ObjectError, ObjectKind};
use crate::context::ObjectId;

/// How many deltas may follow each other; git makes 4095 at most.
const CHAIN_LIMIT: usize = 4096;

/// The objects of a repository; threads may share it.
#[derive(Debug)]
pub(in crate::context::git) struct Store {
    directories: Vec<PathBuf>,
    scratch: Option<PathBuf>,
    packs: RwLock<Arc<Packs>>,
    recent: Recent,
}

/// The packs as they were listed.
#[derive(Debug)]
struct Packs {
    list: Vec<Arc<Pack>>,
    /// When the directories were changed before they were listed.
    seen: Vec<Option<SystemTime>>,
    /// Whether a pack is marked as coming from a partial clone's remote.
    promised: bool,
    /// Which pack had the last object; it probably has the next.
    last: AtomicUsize,
    /// How much of their indexes may still be held in memory.
    room: Arc<AtomicU64>,
}

/// The packs that there were at some time.
#[derive(Debug)]
pub(in crate::context::git) struct Snapshot(Arc<Packs>);

impl Packs {
    /// The pack that had the last object; written only when it changes, since threads share it.
    fn remember(&self, number: usize) {
        if self.last.load(Ordering::Relaxed) != number {
            self.last.store(number, Ordering::Relaxed);
        }
    }

    /// The size of an object of these packs; nothing if that takes a longer look.
    fn size(&self, id: ObjectId, ahead: &mut Ahead) -> Option<u64> {
        let count = self.list.len();
        let last = self.last.load(Ordering::Relaxed);
        for number in (0..count).map(|step| (last + step) % count) {
            let pack = &self.list[number];
            let Some(at) = pack.find(id).ok()? else { continue };
            self.remember(number);
            let entry = pack.entry_ahead(at, ahead).ok()?;
            return match entry.stored {
                Stored::Whole(_) => Some(entry.size),
                Stored::OffsetDelta(_) | Stored::NamedDelta(_) => {
                    pack.delta_sizes(&entry).ok().map(|sizes| sizes.result)
                }
            };
        }
        None
    }
}

/// Where an object is.
enum Location {
    Loose(PathBuf, Arc<File>),
    Packed(Arc<Pack>, u64),
}

/// An object and the deltas that lead to it.
struct Chain {
    /// The last one comes first.
    deltas: Vec<Delta>,
    whole: Whole,
}

struct Delta {
    pack: Arc<Pack>,
    at: u64,
    entry: PackEntry,
}

/// An object that is stored as a whole.
enum Whole {
    Loose(Box<Loose>),
    Packed { pack: Arc<Pack>, at: u64, kind: ObjectKind, entry: PackEntry },
    Recent(ObjectKind, Base),
}

impl Store {
    /// The objects in `directories`; those that must be written out while they are put together go
    /// to `scratch`, or else where temporary files go.
    pub(in crate::context::git) fn new(
        directories: Vec<PathBuf>,
        scratch: Option<PathBuf>,
    ) -> Self {
        let packs = Packs::list(&directories, &Packs::none());
        let packs = RwLock::new(Arc::new(packs));
        Self { directories, scratch, packs, recent: Recent::default() }
    }

    /// Has all pack indexes stay on disk.
    #[cfg(test)]
    pub(super) fn without_room(self) -> Self {
        self.packs().room.store(0, Ordering::Relaxed);
        self
    }

    /// Opens an object; its end comes only after its id was checked.
    pub(in crate::context::git) fn open(&self, id: ObjectId) -> Result<ObjectReader, ObjectError> {
        let location = self.find(id)?;
        let path = location.path().to_owned();
        let opened = self.chain(location).and_then(|chain| self.content(chain));
        match opened {
            Ok((kind, size, content)) => {
                Ok(ObjectReader::new(Found { id, path, kind, size }, content))
            }
            Err(source) => Err(ObjectError::Unreadable { id, path, source }),
        }
    }

    /// What an object is and how long, from headers alone.
    pub(in crate::context::git) fn header(
        &self,
        id: ObjectId,
    ) -> Result<(ObjectKind, u64), ObjectError> {
        let location = self.find(id)?;
        let path = location.path().to_owned();
        self.chain(location)
            .and_then(|chain| Ok((chain.whole.kind(), chain.size()?)))
            .map_err(|source| ObjectError::Unreadable { id, path, source })
    }

    /// How long an object is, whatever it is, from its own header alone.
    pub(in crate::context::git) fn size(&self, id: ObjectId) -> Result<u64, ObjectError> {
        let location = self.find(id)?;
        let size = match &location {
            Location::Loose(_, file) => loose::open(Arc::clone(file)).map(|loose| loose.size),
            Location::Packed(pack, at) => pack.entry(*at).and_then(|entry| match entry.stored {
                Stored::Whole(_) => Ok(entry.size),
                Stored::OffsetDelta(_) | Stored::NamedDelta(_) => {
                    pack.delta_sizes(&entry).map(|sizes| sizes.result)
                }
            }),
        };
        let path = location.path();
        size.map_err(|source| ObjectError::Unreadable { id, path: path.to_owned(), source })
    }

    /// What is there now, for many questions in a row.
    pub(in crate::context::git) fn snapshot(&self) -> Snapshot {
        Snapshot(self.packs())
    }

    /// As [`Self::size`], but quicker for what is in the packs of the snapshot: threads that ask
    /// side by side share nothing that is written to.
    pub(in crate::context::git) fn size_from(
        &self,
        snapshot: &Snapshot,
        id: ObjectId,
        ahead: &mut Ahead,
    ) -> Result<u64, ObjectError> {
        match snapshot.0.size(id, ahead) {
            Some(size) => Ok(size),
            None => self.size(id),
        }
    }

    fn find(&self, id: ObjectId) -> Result<Location, ObjectError> {
        let packs = self.packs();
        if let Some(location) = self.locate(id, &packs)? {
            return Ok(location);
        }
        // Packing may have moved the object between the looks.
        let fresh = self.refresh(&packs);
        let found = match fresh {
            Some(fresh) => self.locate(id, &fresh)?,
            None => None,
        };
        found.ok_or(match self.packs().promised {
            true => ObjectError::Promised { id },
            false => ObjectError::Missing { id },
        })
    }

    fn packs(&self) -> Arc<Packs> {
        Arc::clone(&self.packs.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lists the packs again if directories changed since.
    fn refresh(&self, known: &Packs) -> Option<Arc<Packs>> {
        if Packs::changes(&self.directories) == known.seen {
            return None;
        }
        let fresh = Arc::new(Packs::list(&self.directories, known));
        *self.packs.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        Some(fresh)
    }

    fn locate(&self, id: ObjectId, packs: &Packs) -> Result<Option<Location>, ObjectError> {
        let count = packs.list.len();
        let last = packs.last.load(Ordering::Relaxed);
        let mut failed = None;
        for number in (0..count).map(|step| (last + step) % count) {
            let pack = &packs.list[number];
            match pack.find(id) {
                Ok(Some(at)) => {
                    packs.remember(number);
                    return Ok(Some(Location::Packed(Arc::clone(pack), at)));
                }
                Ok(None) => {}
                // It was removed after it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Another may have the object.
                Err(source) => {
                    let path = pack.path.clone();
                    failed.get_or_insert(ObjectError::Unreadable { id, path, source });
                }
            }
        }
        for directory in &self.directories {
            let path = loose::place(directory, id);
            match fs_err::File::open(&path) {
                Ok(file) => return Ok(Some(Location::Loose(path, Arc::new(file.into_file())))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(ObjectError::Unreadable { id, path, source }),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Follows the deltas that lead to an object.
    fn chain(&self, location: Location) -> io::Result<Chain> {
        let mut deltas = Vec::new();
        let mut location = location;
        loop {
            let (pack, at) = match location {
                Location::Loose(_, file) => {
                    return Ok(Chain { deltas, whole: Whole::Loose(Box::new(loose::open(file)?)) });
                }
                Location::Packed(pack, at) => (pack, at),
            };
            if let Some((kind, base)) = self.recent(&pack, at, deltas.len()) {
                return Ok(Chain { deltas, whole: Whole::Recent(kind, base) });
            }
            let entry = pack.entry(at)?;
            location = match entry.stored {
                Stored::Whole(kind) => {
                    return Ok(Chain { deltas, whole: Whole::Packed { pack, at, kind, entry } });
                }
                Stored::OffsetDelta(base) => Location::Packed(Arc::clone(&pack), base),
                Stored::NamedDelta(base) => match pack.find(base)? {
                    Some(base) => Location::Packed(Arc::clone(&pack), base),
                    None => self.find(base).map_err(io::Error::other)?,
                },
            };
            if deltas.len() == CHAIN_LIMIT {
                return Err(malformed("it is stored as a chain of deltas that has no end"));
            }
            deltas.push(Delta { pack, at, entry });
        }
    }

    /// A base that is still in memory; the object itself is always read.
    fn recent(&self, pack: &Pack, at: u64, depth: usize) -> Option<(ObjectKind, Base)> {
        (depth > 0).then(|| self.recent.get((pack.number, at))).flatten()
    }

    /// Puts an object together.
    fn content(&self, chain: Chain) -> io::Result<(ObjectKind, u64, Content)> {
        let size = chain.size()?;
        let kind = chain.whole.kind();
        let Chain { mut deltas, whole } = chain;
        if deltas.is_empty() {
            return Ok((kind, size, Content::Whole(Box::new(whole.content()?))));
        }
        let mut base = self.collect(whole)?;
        while let Some(delta) = deltas.pop() {
            let sizes = delta.pack.delta_sizes(&delta.entry)?;
            let patched = Patched::new(base, delta.pack.content(&delta.entry)?, sizes)?;
            if deltas.is_empty() {
                return Ok((kind, size, Content::Patched(Box::new(patched))));
            }
            base = self.keep(patched, sizes, kind, (&delta.pack, delta.at))?;
        }
        Err(malformed("its chain of deltas is empty"))
    }

    fn keep(
        &self,
        patched: Patched,
        sizes: Sizes,
        kind: ObjectKind,
        (pack, at): (&Pack, u64),
    ) -> io::Result<Base> {
        let base = Base::collect(patched, sizes.result, self.scratch.as_deref())?;
        self.recent.put((pack.number, at), kind, &base);
        Ok(base)
    }

    fn collect(&self, whole: Whole) -> io::Result<Base> {
        let scratch = self.scratch.as_deref();
        match whole {
            Whole::Recent(_, base) => Ok(base),
            Whole::Loose(loose) => Base::collect(loose.content, loose.size, scratch),
            Whole::Packed { pack, at, kind, entry } => {
                let base = Base::collect(pack.content(&entry)?, entry.size, scratch)?;
                self.recent.put((pack.number, at), kind, &base);
                Ok(base)
            }
        }
    }
}

impl Packs {
    fn none() -> Self {
        let (list, seen, last) = (Vec::new(), Vec::new(), AtomicUsize::new(0));
        let room = Arc::new(AtomicU64::new(pack_index::HELD));
        Self { list, seen, promised: false, last, room }
    }

    /// Lists the packs in `directories`; those that are known stay open.
    fn list(directories: &[PathBuf], known: &Self) -> Self {
        let (seen, room) = (Self::changes(directories), Arc::clone(&known.room));
        let mut packs = Self { seen, room, ..Self::none() };
        let mut number = known.list.iter().map(|pack| pack.number + 1).max().unwrap_or(0);
        for directory in directories {
            let Ok(names) = fs_err::read_dir(directory.join("pack")) else {
                continue; // There are only loose objects.
            };
            let mut paths: Vec<PathBuf> = names.flatten().map(|entry| entry.path()).collect();
            paths.sort_unstable();
            for path in paths {
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("promisor") => packs.promised = true,
                    Some("idx") => {
                        let path = path.with_extension("pack");
                        let same = known.list.iter().find(|pack| pack.path == path);
                        packs.list.push(same.map_or_else(
                            || Arc::new(Pack::new(number, path.clone(), &known.room)),
                            Arc::clone,
                        ));
                        number += 1;
                    }
                    _ => {}
                }
            }
        }
        packs
    }

    fn changes(directories: &[PathBuf]) -> Vec<Option<SystemTime>> {
        let change = |directory: &PathBuf| {
            fs_err::metadata(directory.join("pack")).and_then(|found| found.modified()).ok()
        };
        directories.iter().map(change).collect()
    }
}

impl Location {
    fn path(&self) -> &Path {
        match self {
            Self::Loose(path, _) => path,
            Self::Packed(pack, _) => &pack.path,
        }
    }
}

impl Chain {
    /// The size of the object at the end.
    fn size(&self) -> io::Result<u64> {
        match self.deltas.first() {
            Some(delta) => delta.pack.delta_sizes(&delta.entry).map(|sizes| sizes.result),
            None => Ok(self.whole.size()),
        }
    }
}

impl Whole {
    fn kind(&self) -> ObjectKind {
        match self {
            Self::Loose(loose) => loose.kind,
            Self::Packed { kind, .. } | Self::Recent(kind, _) => *kind,
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Loose(loose) => loose.size,
            Self::Packed { entry, .. } => entry.size,
            Self::Recent(_, base) => base.size(),
        }
    }

    fn content(self) -> io::Result<Inflated> {
        match self {
            Self::Loose(loose) => Ok(loose.content),
            Self::Packed { pack, entry, .. } => pack.content(&entry),
            Self::Recent(..) => Err(malformed("a base is not the object itself")),
        }
    }
}
