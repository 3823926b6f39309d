//! What is in layers: from the work directory, else from storage, else from the layer itself.
//!
//! A fresh pod has no work directory, and reading a base once more only to learn that `/bin` is a
//! link would cost a download of the base. So an index that this build had to make is put into the
//! storage of the stages, where the next build finds it. Only indexes that somebody asked for are
//! put there, since the next build of the same Dockerfile asks for the same ones; a build with
//! nothing to do asks for none.
//!
//! Storage is a shortcut and never a reason to fail: an artifact that is missing, damaged or of
//! another layer is made anew and replaced, and one that cannot be written is made again next time.
//!
//! A layer that is read only for its index is not written to disk where nothing else can need its
//! bytes: the registry mounts it, no RUN unpacks it, nothing is copied out of it. A registry that
//! turns out to refuse the mount costs a second download, once a repository.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use longshore_runtime::entry::EntrySink;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::error::BuildError;
use super::layers::{Layers, Once, keep};
use crate::blocking::{Interrupt, blocking};
use crate::layer::{
    ARTIFACT_MANIFEST, ArtifactBlob, EMPTY_CONFIG, IndexArtifact, IndexSink, IndexTee, LayerBlob,
    LayerError, LayerIndex, MergedIndex, STORED_LIMIT, index_tag, read_artifact, read_layer,
    read_layer_from,
};
use crate::model::{DiffId, Digest, Repository};
use crate::plan::{CopySource, CopyStep, Plan, Step};
use crate::registry::{RegistryError, blob_pipe};
use crate::storage::{Layer, Origin, StageStorage as _, Storage, StorageError};

/// How many indexes are fetched or made at a time, and how many are stored at a time.
const SIDE_BY_SIDE: usize = 4;

/// The indexes of a build.
#[derive(Debug)]
pub(super) struct Indexes {
    storage: Option<Storage>,
    /// Whether a stage may need the bytes of layers, not only their indexes.
    bytes_needed: bool,
    known: Once<Digest, Arc<LayerIndex>>,
    /// Layers that this build wrote, whose indexes storage does not have yet.
    own: Mutex<BTreeSet<DiffId>>,
    making: Semaphore,
    outbox: Outbox,
}

/// Indexes on their way to storage.
#[derive(Debug)]
struct Outbox {
    permits: Arc<Semaphore>,
    /// Set when storage refused one: it would refuse the others too.
    closed: Arc<AtomicBool>,
    sending: Mutex<JoinSet<Result<(), StorageError>>>,
}

/// The index of a layer that is being written; see [`Layers::keep_index`].
#[derive(Debug, Default)]
pub(super) struct WrittenIndex(Option<LayerIndex>);

impl Indexes {
    /// The indexes of a build of `plan`, whose stages are kept in `storage`.
    pub(super) fn new(plan: &Plan, storage: Option<Storage>) -> Self {
        let needs_bytes = |step: &Step| match step {
            Step::Run(_) => true,
            Step::Copy(CopyStep { source, .. }) => matches!(source, CopySource::Image { .. }),
            Step::Workdir(_) => false,
        };
        Self {
            storage,
            bytes_needed: plan.stages.iter().any(|stage| needs_bytes(&stage.step)),
            known: Once::new(),
            own: Mutex::default(),
            making: Semaphore::new(SIDE_BY_SIDE),
            outbox: Outbox {
                permits: Arc::new(Semaphore::new(SIDE_BY_SIDE)),
                closed: Arc::default(),
                sending: Mutex::default(),
            },
        }
    }

    /// Returns the index of a layer that storage has. Nothing that goes wrong here is an error.
    async fn recall(&self, diff_id: DiffId) -> Option<LayerIndex> {
        let storage = self.storage.as_ref()?;
        match stored(storage, diff_id).await {
            Ok(found) => found,
            Err(error) => {
                let place = storage.place();
                tracing::debug!(%diff_id, %place, "the stored layer index is not used: {error:#}");
                None
            }
        }
    }

    /// Puts an index into storage, behind the build's back.
    fn send(&self, index: Arc<LayerIndex>, diff_id: DiffId) {
        let Some(storage) = self.storage.clone() else { return };
        let (permits, closed) = (Arc::clone(&self.outbox.permits), Arc::clone(&self.outbox.closed));
        let mut sending = self.outbox.sending.lock().expect("no holder of this lock panics");
        sending.spawn(async move {
            let _permit = permits.acquire().await.expect("the semaphore is never closed");
            if closed.load(Ordering::Relaxed) {
                return Ok(());
            }
            let sent = store(&storage, index, diff_id).await;
            sent.inspect_err(|_| closed.store(true, Ordering::Relaxed))
        });
    }

    /// Whether the bytes of a layer are of use after its index was made.
    fn keeps_bytes(&self, from: &Repository, layer: &Layer) -> bool {
        let mounted = match &self.storage {
            Some(storage @ Storage::Repo(_)) => match storage.origin(&layer.digest) {
                Origin::Registry(own) => own.registry == from.registry,
                Origin::File(_) => false,
            },
            _ => false,
        };
        self.bytes_needed || !mounted
    }
}

impl Layers {
    /// Returns the index of one layer.
    pub(super) async fn index(&self, layer: &Layer) -> Result<Arc<LayerIndex>, BuildError> {
        let cell = self.indexes().known.cell(layer.diff_id.0);
        cell.get_or_try_init(|| self.find_index(layer)).await.cloned()
    }

    /// Returns the file system that `layers` make, without the content of files.
    pub(super) async fn merged(&self, layers: &[Layer]) -> Result<MergedIndex, BuildError> {
        let indexes = layers.iter().map(|layer| self.index(layer));
        let indexes = futures_util::future::try_join_all(indexes).await?;
        let merge = move || {
            let mut merged = MergedIndex::new();
            indexes.into_iter().for_each(|index| merged.push_layer(index));
            merged
        };
        Ok(blocking(merge).await)
    }

    /// Keeps the index of a layer that was written here; blocking. It goes to storage only when
    /// somebody asks for it.
    pub(super) fn keep_index(&self, blob: &LayerBlob, written: WrittenIndex) {
        let (Some(index), false) = (written.0, blob.is_empty()) else { return };
        keep(&self.index_path(blob.diff_id), &index.to_bytes(blob.diff_id));
        let mut own = self.indexes().own.lock().expect("no holder of this lock panics");
        own.insert(blob.diff_id);
    }

    /// Waits until storage has the indexes that were made.
    ///
    /// # Errors
    /// The first error of storage; builds work without stored indexes.
    pub(super) async fn store_indexes(&self) -> Result<(), StorageError> {
        let outbox = &self.indexes().outbox.sending;
        let sending = std::mem::take(&mut *outbox.lock().expect("no holder of this lock panics"));
        sending.join_all().await.into_iter().collect()
    }

    async fn find_index(&self, layer: &Layer) -> Result<Arc<LayerIndex>, BuildError> {
        let (indexes, diff_id) = (self.indexes(), layer.diff_id);
        let path = self.index_path(diff_id);
        let kept = path.clone();
        if let Some(index) = blocking(move || kept_index(&kept, diff_id)).await {
            let index = Arc::new(index);
            let own = indexes.own.lock().expect("no holder of this lock panics").remove(&diff_id);
            if own {
                indexes.send(Arc::clone(&index), diff_id);
            }
            return Ok(index);
        }
        let _permit = indexes.making.acquire().await.expect("the semaphore is never closed");
        let elsewhere = matches!(layer.origin, Origin::Registry(_));
        let recalled = if elsewhere { indexes.recall(diff_id).await } else { None };
        let made = recalled.is_none();
        let index = match recalled {
            Some(index) => index,
            None => self.read_index(layer).await?,
        };
        let index = Arc::new(index);
        let kept = Arc::clone(&index);
        blocking(move || keep(&path, &kept.to_bytes(diff_id))).await;
        if made {
            indexes.send(Arc::clone(&index), diff_id);
        }
        Ok(index)
    }

    /// Makes the index of a layer by reading it.
    async fn read_index(&self, layer: &Layer) -> Result<LayerIndex, BuildError> {
        if let Origin::Registry(repository) = &layer.origin
            && !self.indexes().keeps_bytes(repository, layer)
            && !self.has_file(layer).await
        {
            return self.stream_index(repository, layer).await;
        }
        let (file, diff_id) = (self.file(layer).await?, layer.diff_id);
        let read = move || {
            let mut sink = IndexSink::new();
            read_layer(&file, Some(diff_id), &mut sink)?;
            Ok(sink.finish())
        };
        blocking(read).await
    }

    /// Makes the index of a layer while it is downloaded; its bytes are not kept. The index is
    /// used only after both digests of the layer were right.
    async fn stream_index(
        &self,
        repository: &Repository,
        layer: &Layer,
    ) -> Result<LayerIndex, BuildError> {
        let (writer, reader) = blob_pipe();
        let (diff_id, interrupt) = (layer.diff_id, self.interrupt().clone());
        let reading = blocking(move || index_of(Watched { reader, interrupt }, diff_id));
        let download = self.registry().pipe_blob(repository, &layer.digest, layer.size, writer);
        match tokio::join!(download, reading) {
            (Ok(()), read) => Ok(read?),
            // The download was abandoned because the reader could not go on.
            (Err(RegistryError::Abandoned), Err(error)) => Err(error.into()),
            (Err(error), _) => Err(error.into()),
        }
    }

    fn index_path(&self, diff_id: DiffId) -> PathBuf {
        self.work().index(&diff_id.0.hex())
    }
}

impl WrittenIndex {
    /// Hands the entries that `produce` pushes on to `sink`, and makes their index on the way.
    pub(super) fn of(
        &mut self,
        sink: &mut dyn EntrySink,
        produce: impl FnOnce(&mut dyn EntrySink) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut tee = IndexTee::new(sink);
        produce(&mut tee)?;
        self.0 = tee.finish();
        Ok(())
    }
}

async fn stored(storage: &Storage, diff_id: DiffId) -> Result<Option<LayerIndex>, anyhow::Error> {
    let Some(manifest) = storage.manifest(&index_tag(diff_id)).await? else { return Ok(None) };
    let bytes = match read_artifact(&manifest.bytes)? {
        ArtifactBlob::Inline(bytes) => bytes,
        ArtifactBlob::Stored(digest) => storage.blob(&digest, STORED_LIMIT).await?,
    };
    let index = blocking(move || LayerIndex::from_bytes(&bytes, diff_id)).await;
    Ok(Some(index?))
}

async fn store(
    storage: &Storage,
    index: Arc<LayerIndex>,
    diff_id: DiffId,
) -> Result<(), StorageError> {
    let Some(artifact) = blocking(move || IndexArtifact::new(&index, diff_id)).await else {
        tracing::debug!(%diff_id, "the layer index is too large to be stored");
        return Ok(());
    };
    storage.put_blob(EMPTY_CONFIG).await?;
    storage.put_blob(&artifact.blob).await?;
    storage.put_manifest(&index_tag(diff_id), ARTIFACT_MANIFEST, &artifact.manifest).await?;
    Ok(())
}

/// The index in a file of the work directory; a damaged one is the same as none.
fn kept_index(path: &Path, diff_id: DiffId) -> Option<LayerIndex> {
    let bytes = fs_err::read(path).ok()?;
    let read = LayerIndex::from_bytes(&bytes, diff_id);
    read.inspect_err(|error| tracing::debug!("{} is not used: {error}", path.display())).ok()
}

fn index_of(mut layer: impl Read + Send, diff_id: DiffId) -> Result<LayerIndex, LayerError> {
    let mut sink = IndexSink::new();
    read_layer_from(&mut layer, Some(diff_id), &mut sink)?;
    // What comes after the compressed tar belongs to the layer's digest.
    io::copy(&mut layer, &mut io::sink())
        .map_err(|source| LayerError::Read { offset: 0, source })?;
    Ok(sink.finish())
}

/// Reads until the build is to end.
struct Watched<R> {
    reader: R,
    interrupt: Interrupt,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.interrupt.is_set() {
            true => Err(io::Error::other("interrupted")),
            false => self.reader.read(buffer),
        }
    }
}
