//! Layers on this machine: fetched, indexed; each at most once a work directory. Directories are
//! made of them in `unpacking`.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use super::error::BuildError;
use super::unpacking::Unpacking;
use super::work_dir::WorkDir;
use crate::blocking::{Interrupt, blocking};
use crate::layer::{IndexSink, LayerIndex, MergedIndex, read_layer};
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
    indexes: Once<Digest, Arc<LayerIndex>>,
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
    pub(super) fn new(work: WorkDir, registry: Registry, interrupt: Interrupt) -> Self {
        let (files, indexes, unpacking) = (Once::new(), Once::new(), Unpacking::new());
        Self(Arc::new(Shared { work, registry, interrupt, files, indexes, unpacking }))
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
            let kept = path.clone();
            let size = blocking(move || fs_err::metadata(kept).map(|meta| meta.len()).ok()).await;
            if size != Some(layer.size) {
                let blob = (&layer.digest, layer.size);
                let arrival = self.0.unpacking.arrival(layer.digest);
                self.0.registry.fetch_blob_seen(repository, blob, &path, &arrival).await?;
            }
            Ok::<_, BuildError>(path)
        });
        fetched.await.cloned()
    }

    /// Returns the index of one layer: from the work directory, else by reading the layer.
    pub(super) async fn index(&self, layer: &Layer) -> Result<Arc<LayerIndex>, BuildError> {
        let cell = self.0.indexes.cell(layer.diff_id.0);
        let index = cell.get_or_try_init(|| async {
            let path = self.0.work.index(&layer.diff_id.0.hex());
            let (cached, diff_id) = (path.clone(), layer.diff_id);
            let read = move || {
                let bytes = fs_err::read(cached).ok()?;
                LayerIndex::from_bytes(&bytes, diff_id).ok()
            };
            if let Some(index) = blocking(read).await {
                return Ok(Arc::new(index));
            }
            let file = self.file(layer).await?;
            let index = blocking(move || {
                let mut sink = IndexSink::new();
                read_layer(&file, Some(diff_id), &mut sink)?;
                let index = sink.finish();
                keep(&path, &index.to_bytes(diff_id));
                Ok::<_, BuildError>(index)
            });
            index.await.map(Arc::new)
        });
        index.await.cloned()
    }

    /// Returns the file system that `layers` make, without the content of files.
    pub(super) async fn merged(&self, layers: &[Layer]) -> Result<MergedIndex, BuildError> {
        let mut merged = MergedIndex::new();
        for layer in layers {
            merged.push_layer(self.index(layer).await?.as_ref().clone());
        }
        Ok(merged)
    }
}

/// Keeps a file for later builds; a work directory that cannot take it costs time, not the build.
fn keep(path: &Path, bytes: &[u8]) {
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
