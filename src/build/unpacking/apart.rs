//! One layer in scratch space: unpacked and compared with its diff id, but in nobody's way yet.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use longshore_runtime::entry::EntrySink;
use longshore_runtime::{Sandbox, Scratch};

use super::super::error::BuildError;
use super::{remove, take};
use crate::blocking::Interrupt;
use crate::layer::{LayerError, read_layer_from};
use crate::model::DiffId;
use crate::registry::Follower;

/// A layer in scratch space; not removed when dropped.
pub(super) struct Apart {
    sandbox: Arc<Sandbox>,
    scratch: Scratch,
    layer: PathBuf,
}

/// Where the bytes of a layer come from.
pub(super) enum Source {
    File(PathBuf),
    Arriving(Follower),
}

impl Apart {
    /// Unpacks `source`, unless one of `ends` is set meanwhile.
    pub(super) fn unpack(
        sandbox: Arc<Sandbox>,
        source: Source,
        diff_id: DiffId,
        ends: [Interrupt; 2],
    ) -> Result<Self, BuildError> {
        let apart = Self::new(sandbox)?;
        let unpacked = source.open().and_then(|reader| {
            let mut reader = Some(Watched { reader, ends: &ends });
            apart.fill(&mut |sink| {
                let reader = reader.take().expect("the sandbox asks for the entries once");
                read_layer_from(reader, Some(diff_id), sink).map(drop)
            })
        });
        let error = match unpacked {
            // That the reader was ended is said in many ways.
            _ if ends.iter().any(Interrupt::is_set) => BuildError::Interrupted,
            Ok(()) => return Ok(apart),
            Err(error) => error,
        };
        apart.remove();
        Err(error)
    }

    /// Gives the layer what it takes from the finished `lowers`, and moves it to its place.
    pub(super) fn settle(self, lowers: &[PathBuf], place: &Path) -> Result<(), BuildError> {
        let settled = take(place, || self.sandbox.settle(&self.layer, lowers, place));
        self.remove();
        settled
    }

    fn new(sandbox: Arc<Sandbox>) -> Result<Self, BuildError> {
        let scratch = sandbox.scratch().map_err(BuildError::of_sandbox)?;
        let layer = scratch.path().join("layer");
        Ok(Self { sandbox, scratch, layer })
    }

    fn fill(
        &self,
        read: &mut dyn FnMut(&mut dyn EntrySink) -> Result<(), LayerError>,
    ) -> Result<(), BuildError> {
        let mut failure = None;
        let unpacked = self.sandbox.unpack_apart(&self.layer, &mut |sink| {
            read(sink).map_err(|error| {
                let text = error.to_string();
                failure = Some(error);
                io::Error::other(text)
            })
        });
        match (unpacked, failure) {
            // The archive's own error says more than that the sandbox was left alone.
            (Err(longshore_runtime::Error::Entries(_)), Some(error)) => Err(error.into()),
            (Err(error), _) => Err(BuildError::of_sandbox(error)),
            (Ok(_), Some(error)) => Err(error.into()),
            (Ok(_), None) => Ok(()),
        }
    }

    /// Removes what there is of it.
    pub(super) fn remove(self) {
        remove(&self.sandbox, self.scratch.path());
    }
}

impl Source {
    fn open(self) -> Result<Box<dyn Read + Send>, BuildError> {
        Ok(match self {
            Self::Arriving(follower) => Box::new(follower),
            Self::File(path) => match fs_err::File::open(&path) {
                Ok(file) => Box::new(file),
                Err(source) => return Err(LayerError::Open { path, source }.into()),
            },
        })
    }
}

/// A reader that fails when the work is to end.
struct Watched<'a, R> {
    reader: R,
    ends: &'a [Interrupt; 2],
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.ends.iter().any(Interrupt::is_set) {
                return Err(io::Error::other("interrupted"));
            }
            match self.reader.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}
