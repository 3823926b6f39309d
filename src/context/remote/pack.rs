//! Storing what arrives: a repository with one pack, made as it comes.
//!
//! libgit2's indexer computes the id of every object from its content, and refuses a pack whose
//! deltas have no base or whose checksum is wrong. An object that no tree here names is of no use
//! to anybody, so nothing is checked about which objects came: those that are missing show when
//! they are read.

use std::error::Error as StdError;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use git2::{ErrorClass, Indexer, Odb, Repository};
use tokio::sync::mpsc::Receiver;

/// The mode of packs and their indexes.
const PACK_MODE: u32 = 0o444;

/// A bare repository that is being made.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    directory: PathBuf,
}

/// Why a pack was not taken.
#[derive(Debug)]
pub(super) enum Untaken {
    /// It is not a sound pack.
    Unsound(Box<dyn StdError + Send + Sync>),
    /// It cannot be stored here.
    Unstored(Box<dyn StdError + Send + Sync>),
}

/// Why what arrived is not what was asked for.
#[derive(Debug)]
pub(super) enum Mismatch {
    /// The id is not here, or no commit's.
    NotACommit(Box<dyn StdError + Send + Sync>),
    /// The commit has no such directory.
    NoDirectory,
}

impl Incoming {
    /// Makes `directory` with an empty repository.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let incoming = Self { directory: directory.to_owned() };
        fs_err::create_dir_all(incoming.directory.join("objects/pack"))?;
        fs_err::create_dir_all(incoming.directory.join("refs"))?;
        Ok(incoming)
    }

    /// Takes a pack to its end; blocking.
    pub(super) fn take(&self, mut pieces: Receiver<Bytes>) -> Result<(), Untaken> {
        let place = self.directory.join("objects/pack");
        let mut indexer = Indexer::new(None, &place, PACK_MODE, false).map_err(untaken)?;
        while let Some(piece) = pieces.blocking_recv() {
            let taken = indexer.write_all(&piece);
            taken.map_err(|error| match error.downcast::<git2::Error>() {
                Ok(error) => untaken(error),
                Err(error) => Untaken::Unstored(error.into()),
            })?;
        }
        indexer.commit().map(drop).map_err(untaken)
    }

    /// Makes `id` (a commit, or a tag of one) the HEAD, once it is clear that it is here and has a
    /// directory `below`; gives the commit's id.
    pub(super) fn finish(
        &self,
        id: &str,
        below: Option<&str>,
    ) -> Result<Result<String, Mismatch>, Box<dyn StdError + Send + Sync>> {
        let commit = match self.verify(id, below) {
            Ok(commit) => commit,
            Err(mismatch) => return Ok(Err(mismatch)),
        };
        fs_err::write(self.directory.join("shallow"), format!("{commit}\n"))?;
        fs_err::write(self.directory.join("HEAD"), format!("{commit}\n"))?;
        Ok(Ok(commit))
    }

    fn verify(&self, id: &str, below: Option<&str>) -> Result<String, Mismatch> {
        let fail = |error: git2::Error| Mismatch::NotACommit(Box::new(error));
        let objects = self.directory.join("objects");
        let text = objects.to_str().ok_or_else(|| {
            Mismatch::NotACommit(format!("{} is not UTF-8", objects.display()).into())
        })?;
        let odb = Odb::new().map_err(fail)?;
        odb.add_disk_alternate(text).map_err(fail)?;
        let repository = Repository::from_odb(odb).map_err(fail)?;
        let object = repository.find_object_by_prefix(id, None).map_err(fail)?;
        let commit = object.peel_to_commit().map_err(fail)?;
        let tree = commit.tree().map_err(fail)?;
        if let Some(below) = below {
            let entry = tree.get_path(Path::new(below)).map_err(|_| Mismatch::NoDirectory)?;
            let is_tree = entry.kind() == Some(git2::ObjectType::Tree);
            is_tree.then_some(()).ok_or(Mismatch::NoDirectory)?;
        }
        Ok(commit.id().to_string())
    }
}

/// What libgit2 says of a pack, or of the disk.
fn untaken(error: git2::Error) -> Untaken {
    match error.class() {
        // It says what the system said in its own words only.
        ErrorClass::Os if error.message().contains("No space left") => {
            Untaken::Unstored(io::Error::from(io::ErrorKind::StorageFull).into())
        }
        ErrorClass::Os | ErrorClass::NoMemory | ErrorClass::Filesystem => {
            Untaken::Unstored(error.into())
        }
        _ => Untaken::Unsound(error.into()),
    }
}
