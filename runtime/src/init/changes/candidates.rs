//! Paths that may have changed, in order, on their way from those who find them to the judge.
//!
//! They lie in a file, as nothing in memory may grow with a layer; it has no name any more when the
//! first path is written, so nothing of it outlives the process. In memory are the names of files
//! that have several.
//!
//! Format, private to one process: for each path one byte for [`What`], the number of bytes that
//! it has in common with the path before and the number of its other bytes (32 bits each,
//! little-endian), and those bytes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, Write as _};
use std::path::Path;

/// How much of the file is in memory.
const BUFFER: usize = 64 << 10;

/// The names of each file that has several, by device and inode.
pub(super) type Links = BTreeMap<(u64, u64), Vec<Vec<u8>>>;

/// What is known of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Something is there.
    There,
    /// What was there is gone.
    Gone,
}

/// Takes candidates.
#[derive(Debug)]
pub(super) struct Candidates {
    file: BufWriter<File>,
    last: Vec<u8>,
    links: Links,
}

impl Candidates {
    /// Keeps them in a file that is at `place` for a moment.
    pub(super) fn create(place: &Path) -> io::Result<Self> {
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(place)?;
        std::fs::remove_file(place)?;
        Ok(Self {
            file: BufWriter::with_capacity(BUFFER, file),
            last: Vec::new(),
            links: Links::new(),
        })
    }

    /// Takes the next path.
    pub(super) fn add(&mut self, path: &[u8], what: What) -> io::Result<()> {
        let shared = shared(&self.last, path);
        self.file.write_all(&[u8::from(what == What::Gone)])?;
        for number in [shared, path.len() - shared] {
            let number = u32::try_from(number).map_err(io::Error::other)?;
            self.file.write_all(&number.to_le_bytes())?;
        }
        self.file.write_all(&path[shared..])?;
        self.last.truncate(shared);
        self.last.extend_from_slice(&path[shared..]);
        Ok(())
    }

    /// Notes that `path`, which was just added, is a name of a file that has others.
    pub(super) fn link(&mut self, identity: (u64, u64), path: &[u8]) {
        self.links.entry(identity).or_default().push(path.to_vec());
    }

    /// Ends the taking.
    pub(super) fn finish(self) -> io::Result<(CandidateReader, Links)> {
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok((
            CandidateReader { file: BufReader::with_capacity(BUFFER, file), path: Vec::new() },
            self.links,
        ))
    }
}

/// Gives candidates back, in order.
#[derive(Debug)]
pub(super) struct CandidateReader {
    file: BufReader<File>,
    path: Vec<u8>,
}

impl CandidateReader {
    /// The next path, until the next call.
    pub(super) fn next(&mut self) -> io::Result<Option<(&[u8], What)>> {
        let mut what = [0];
        if self.file.read(&mut what)? == 0 {
            return Ok(None);
        }
        let (shared, more) = (self.number()?, self.number()?);
        self.path.truncate(shared);
        self.path.resize(shared + more, 0);
        self.file.read_exact(&mut self.path[shared..])?;
        let what = if what == [0] { What::There } else { What::Gone };
        Ok(Some((&self.path, what)))
    }

    fn number(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 4];
        self.file.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes) as usize)
    }
}

/// How many bytes two paths have in common at their beginning.
pub(super) fn shared(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}
