//! Layers on this machine: fetched, each at most once a work directory. What is in them is the
//! business of `indexes`; directories are made of them in `unpacking`.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use super::error::BuildError;
use super::indexes::Indexes;
use super::unpacking::Unpacking;
use super::work_dir::WorkDir;
use crate::blocking::{Interrupt, blocking};
use crate::model::Digest;
use crate::registry::Registry;
use crate::storage::{Layer, Origin};

/// The layers of this machine; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Layers(pub(super) Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) work: WorkDir,
    registry: Registry,
    pub(super) interrupt: Interrupt,
    files: Once<Digest, PathBuf>,
    indexes: Indexes,
    pub(super) unpacking: Unpacking,
}

/// Values that are made once for a key, however many ask at the same time.
#[derive(Debug)]
pub(super) struct Once<K, V>(Mutex<BTreeMap<K, Arc<OnceCell<V>>>>);

impl<K: Ord + Hash, V> Once<K, V> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    pub(super) fn cell(&self, key: K) -> Arc<OnceCell<V>> {
        let mut cells = self.0.lock().expect("no holder of this lock panics");
        Arc::clone(cells.entry(key).or_default())
    }
}

impl Layers {
    pub(super) fn new(
        work: WorkDir,
        registry: Registry,
        interrupt: Interrupt,
        indexes: Indexes,
    ) -> Self {
        let (files, unpacking) = (Once::new(), Unpacking::new());
        Self(Arc::new(Shared { work, registry, interrupt, files, indexes, unpacking }))
    }

    pub(super) fn work(&self) -> &WorkDir {
        &self.0.work
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub(super) fn interrupt(&self) -> &Interrupt {
        &self.0.interrupt
    }

    pub(super) fn indexes(&self) -> &Indexes {
        &self.0.indexes
    }

    /// Returns a file with the compressed bytes of `layer`, fetching them if need be.
    pub(super) async fn file(&self, layer: &Layer) -> Result<PathBuf, BuildError> {
        let repository = match &layer.origin {
            Origin::File(path) => return Ok(path.clone()),
            Origin::Registry(repository) => repository,
        };
        let cell = self.0.files.cell(layer.digest);
        let fetched = cell.get_or_try_init(|| async {
            let path = self.0.work.blob(&layer.digest.hex());
            if !self.has_file(layer).await {
                let blob = (&layer.digest, layer.size);
                let arrival = self.0.unpacking.arrival(layer.digest);
                self.0.registry.fetch_blob_seen(repository, blob, &path, &arrival).await?;
            }
            Ok::<_, BuildError>(path)
        });
        fetched.await.cloned()
    }

    /// Whether the work directory has the compressed bytes of `layer`.
    pub(super) async fn has_file(&self, layer: &Layer) -> bool {
        let (path, size) = (self.0.work.blob(&layer.digest.hex()), layer.size);
        blocking(move || fs_err::metadata(path).is_ok_and(|meta| meta.len() == size)).await
    }
}

/// Keeps a file for later builds; a work directory that cannot take it costs time, not the build.
pub(super) fn keep(path: &Path, bytes: &[u8]) {
    let written = || {
        let directory = path.parent().expect("kept files lie in a directory");
        let file = tempfile::NamedTempFile::new_in(directory)?;
        fs_err::write(file.path(), bytes)?;
        file.persist(path).map_err(|error| error.error)
    };
    if let Err(error) = written() {
        tracing::debug!("cannot keep {}: {error}", path.display());
    }
}
