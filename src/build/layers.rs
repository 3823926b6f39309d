//! Layers on this machine: fetched, unpacked; each at most once a work directory. What is in them
//! is the business of `indexes`.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use longshore_runtime::Sandbox;
use tokio::sync::OnceCell;

use super::error::BuildError;
use super::indexes::Indexes;
use super::work_dir::WorkDir;
use crate::blocking::{Interrupt, blocking};
use crate::hashing::sha256;
use crate::layer::read_layer;
use crate::model::Digest;
use crate::registry::Registry;
use crate::storage::{Layer, Origin};

/// The layers of this machine; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Layers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    work: WorkDir,
    registry: Registry,
    interrupt: Interrupt,
    files: Once<Digest, PathBuf>,
    indexes: Indexes,
    unpacked: Once<Digest, PathBuf>,
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
        let (files, unpacked) = (Once::new(), Once::new());
        Self(Arc::new(Shared { work, registry, interrupt, files, indexes, unpacked }))
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
                let fetch =
                    self.0.registry.fetch_blob(repository, &layer.digest, layer.size, &path);
                fetch.await?;
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

    /// Returns the unpacked directories of `layers`, bottom first.
    ///
    /// An unpacked layer depends on the ones below it (directories it does not list keep the
    /// metadata they have there), so it is kept by chain id (OCI image spec, "Layer ChainID").
    pub(super) async fn unpacked(
        &self,
        layers: &[Layer],
        sandbox: &Arc<Sandbox>,
    ) -> Result<Vec<PathBuf>, BuildError> {
        let mut lowers: Vec<PathBuf> = Vec::new();
        for (layer, chain) in layers.iter().zip(chain_ids(layers)) {
            let cell = self.0.unpacked.cell(chain);
            let unpacked = cell.get_or_try_init(|| self.unpack(layer, chain, &lowers, sandbox));
            let path = unpacked.await?.clone();
            lowers.push(path);
        }
        Ok(lowers)
    }

    /// Where the unpacked top of `layers` is kept.
    pub(super) fn unpacked_path(&self, layers: &[Layer]) -> PathBuf {
        let chain = chain_ids(layers).last().map(|chain| chain.hex()).unwrap_or_default();
        self.0.work.layer(&chain)
    }

    async fn unpack(
        &self,
        layer: &Layer,
        chain: Digest,
        lowers: &[PathBuf],
        sandbox: &Arc<Sandbox>,
    ) -> Result<PathBuf, BuildError> {
        let path = self.0.work.layer(&chain.hex());
        let kept = path.clone();
        if blocking(move || kept.exists()).await {
            return Ok(path);
        }
        let file = self.file(layer).await?;
        let (sandbox, lowers, diff_id) = (Arc::clone(sandbox), lowers.to_vec(), layer.diff_id);
        let (interrupt, place) = (self.0.interrupt.clone(), path.clone());
        blocking(move || {
            let scratch = sandbox.scratch().map_err(BuildError::of_sandbox)?;
            let fresh = scratch.path().join("layer");
            let mut failure = None;
            let mut feed = |sink: &mut dyn longshore_runtime::entry::EntrySink| {
                read_layer(&file, Some(diff_id), sink).map(drop).map_err(|error| {
                    let text = error.to_string();
                    failure = Some(error);
                    std::io::Error::other(text)
                })
            };
            let unpacked = sandbox.unpack(&fresh, &lowers, &mut feed);
            let moved = match (unpacked, failure) {
                // The archive's own error says more than that the sandbox was left alone.
                (Err(longshore_runtime::Error::Entries(_)), Some(error)) => Err(error.into()),
                (Err(error), _) => Err(BuildError::of_sandbox(error)),
                (Ok(_), Some(error)) => Err(error.into()),
                (Ok(_), None) if interrupt.is_set() => Err(BuildError::Interrupted),
                (Ok(_), None) => take(&place, || sandbox.rename(&fresh, &place)),
            };
            remove(&sandbox, scratch.path());
            moved.map(|()| place)
        })
        .await
    }
}

/// Moves a finished directory to its place `to`; another builder may have been faster.
pub(super) fn take(
    to: &Path,
    rename: impl FnOnce() -> Result<(), longshore_runtime::Error>,
) -> Result<(), BuildError> {
    match rename() {
        Ok(()) => Ok(()),
        Err(_) if to.exists() => Ok(()),
        Err(error) => Err(BuildError::Sandbox(error)),
    }
}

/// Removes a scratch directory; what stays behind is removed by the next build.
pub(super) fn remove(sandbox: &Sandbox, path: &Path) {
    if let Err(error) = sandbox.remove(path) {
        tracing::debug!("cannot remove {}: {error}", path.display());
    }
}

/// The chain ids of a stack of layers (OCI image spec, "Layer ChainID").
fn chain_ids(layers: &[Layer]) -> Vec<Digest> {
    let mut chain: Option<Digest> = None;
    let next = |layer: &Layer| {
        let id = match chain {
            None => layer.diff_id.0,
            Some(below) => sha256(format!("{below} {}", layer.diff_id).as_bytes()),
        };
        chain = Some(id);
        id
    };
    layers.iter().map(next).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DiffId;

    #[test]
    fn chain_ids_are_those_of_the_image_spec() {
        let layer = |byte: u8| Layer {
            digest: Digest::from_bytes([byte; 32]),
            diff_id: DiffId(Digest::from_bytes([byte; 32])),
            size: 0,
            media_type: String::new(),
            origin: Origin::File(PathBuf::new()),
        };
        let layers = [layer(1), layer(2)];
        let text = format!("sha256:{} sha256:{}", "01".repeat(32), "02".repeat(32));
        assert_eq!(chain_ids(&layers), [layers[0].diff_id.0, sha256(text.as_bytes())]);
    }
}
