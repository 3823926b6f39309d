//! Layers of stages: written to the place of the build, and sent to a repository meanwhile.
//!
//! Every layer has a file, and an upload that follows it once it is large. As long as the layer is
//! not longer than `--spool-limit`, the file is the whole of it, and an upload that fails costs
//! nothing but time: the layer is put from the file. The file of a longer layer is only a window,
//! so its upload is waited for here, and when it fails the layer is made once more from its
//! source, which gives the same bytes.
//!
//! What a layer consists of is decided elsewhere, and so is what stands in a manifest.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use longshore_runtime::entry::EntrySink;
use tokio::task::JoinHandle;

use super::engine::Shared;
use super::error::BuildError;
use super::indexes::WrittenIndex;
use crate::blocking::{Interrupt, blocking};
use crate::layer::{LayerBlob, LayerError, LayerFile};
use crate::model::Digest;
use crate::output::Event;
use crate::plan::StageId;
use crate::registry::{Pushed, RegistryError};
use crate::ring::RingReader;
use crate::storage::{Layer, Origin, RepoStorage, StageStorage as _};

/// How often a layer that is not kept is made before its upload counts as impossible.
const ATTEMPTS: u32 = 3;
/// How often a waiting thread looks whether the build is to end.
const LOOK: Duration = Duration::from_millis(100);

/// What pushes the entries of a layer, any number of times the same.
pub(super) type Produce<'a> = dyn FnMut(&mut dyn EntrySink) -> io::Result<()> + 'a;

/// Uploads that began with their layers and are not waited for yet.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    pending: Mutex<BTreeMap<Digest, Upload>>,
    /// The repository wants no blob of unknown length, so that trying it again is in vain.
    refused: AtomicBool,
}

/// A layer on its way.
#[derive(Debug)]
struct Upload {
    task: JoinHandle<()>,
    done: Receiver<Result<Option<Pushed>, RegistryError>>,
}

/// How an upload ended.
enum Sent {
    Arrived,
    /// Nothing was begun.
    Small,
    Failed(RegistryError),
}

impl Upload {
    fn start(outlet: &RepoStorage, blob: RingReader) -> Self {
        let (said, done) = channel();
        let outlet = outlet.clone();
        let task = tokio::spawn(async move {
            let sent = outlet.stream_layer(blob).await;
            // Nobody listens when the layer failed.
            let _ = said.send(sent);
        });
        Self { task, done }
    }

    /// Waits on this thread for the end of the upload, or of the build.
    fn wait(self, interrupt: &Interrupt) -> Result<Sent, BuildError> {
        loop {
            match self.done.recv_timeout(LOOK) {
                Ok(Ok(Some(pushed))) => {
                    tracing::debug!(?pushed, "a layer was sent while it was made");
                    return Ok(Sent::Arrived);
                }
                Ok(Ok(None)) => return Ok(Sent::Small),
                Ok(Err(error)) => return Ok(Sent::Failed(error)),
                Err(RecvTimeoutError::Timeout) if !interrupt.is_set() => {}
                Err(_) => {
                    self.task.abort();
                    return Err(BuildError::Interrupted);
                }
            }
        }
    }
}

impl Uploads {
    fn pending(&self) -> MutexGuard<'_, BTreeMap<Digest, Upload>> {
        self.pending.lock().expect("no holder of this lock panics")
    }
}

impl Shared {
    /// Where the layer of a stage is sent while it is made: what keeps the stages, or else a
    /// destination of the images that it is part of.
    fn outlet(&self, stage: StageId) -> Option<&RepoStorage> {
        let goes = self.storage.is_some() || self.delivered.contains(&stage);
        self.outlet.as_ref().filter(|_| goes)
    }

    /// What a stage's layer is to the stages after it.
    pub(super) fn layer(&self, blob: &LayerBlob) -> Layer {
        let origin = match (&blob.path, &self.outlet) {
            (Some(path), _) => Origin::File(path.clone()),
            (None, Some(outlet)) => outlet.origin(&blob.digest),
            (None, None) => unreachable!("only what was sent is not kept"),
        };
        Layer {
            digest: blob.digest,
            diff_id: blob.diff_id,
            size: blob.size,
            media_type: blob.media_type.to_owned(),
            origin,
        }
    }

    fn now_present(&self, place: String, digest: Digest) {
        self.present.lock().expect("no holder of this lock panics").insert((place, digest));
    }
}

/// Writes the layer that `produce` pushes, on this thread, and sends it meanwhile.
///
/// # Errors
/// When the layer cannot be written; when it is longer than what may be kept, and there is no
/// repository for it or the repository does not take it.
pub(super) fn write(
    shared: &Shared,
    stage: StageId,
    produce: &mut Produce<'_>,
) -> Result<LayerBlob, BuildError> {
    let mut attempt = 1;
    loop {
        let error = match write_once(shared, stage, produce)? {
            Ok(blob) => return Ok(blob),
            Err(error) => error,
        };
        let limit = shared.options.spool_limit.unwrap_or(u64::MAX);
        if attempt == ATTEMPTS || !error.may_stream_again() {
            return Err(BuildError::NotTaken { limit, attempt, source: error });
        }
        attempt += 1;
        let label = &shared.plan.stage(stage).label;
        let message =
            format!("[{label}] the layer is made again, because its upload failed: {error}");
        shared.voice.say(&Event::Warning { message });
    }
}

/// Writes a layer once; the inner error is that of the upload of a layer that is not kept.
fn write_once(
    shared: &Shared,
    stage: StageId,
    produce: &mut Produce<'_>,
) -> Result<Result<LayerBlob, RegistryError>, BuildError> {
    let options = &shared.options;
    let file = LayerFile::create(&shared.place, options.spool_limit, shared.interrupt.clone())?;
    let in_vain = options.spool_limit.is_none() && shared.uploads.refused.load(Ordering::Relaxed);
    let outlet = shared.outlet(stage).filter(|_| !in_vain);
    let upload = outlet.map(|outlet| (Upload::start(outlet, file.reader()), outlet.place()));
    let flag = shared.interrupt.flag();
    let mut index = WrittenIndex::default();
    let mut indexed = |sink: &mut dyn EntrySink| index.of(sink, |sink| produce(sink));
    let written = file.write(options.compression, options.threads, flag, &mut indexed);
    if let Ok(blob) = &written {
        shared.layers.keep_index(blob, index);
    }
    match (written, upload) {
        (Ok(blob), upload) if blob.path.is_some() => {
            if let Some((upload, _)) = upload {
                shared.uploads.pending().insert(blob.digest, upload);
            }
            Ok(Ok(blob))
        }
        (Ok(blob), Some((upload, place))) => match upload.wait(&shared.interrupt)? {
            Sent::Arrived => {
                shared.now_present(place, blob.digest);
                Ok(Ok(blob))
            }
            Sent::Failed(error) => Ok(Err(error)),
            Sent::Small => unreachable!("the limit is above what counts as small"),
        },
        (Err(error @ LayerError::TooLong { .. }), Some((upload, _))) => {
            match upload.wait(&shared.interrupt)? {
                Sent::Failed(error) => Ok(Err(error)),
                Sent::Arrived | Sent::Small => Err(error.into()),
            }
        }
        (Ok(_), None) => unreachable!("a layer that nobody reads is not longer than its file"),
        (Err(error), _) => Err(error.into()),
    }
}

/// Whether a layer has arrived in `place` by the upload that began with it. The uploads go to one
/// repository only.
pub(super) async fn has_arrived(
    shared: &Shared,
    place: &str,
    digest: &Digest,
) -> Result<bool, BuildError> {
    if shared.outlet.as_ref().is_none_or(|outlet| outlet.place() != place) {
        return Ok(false);
    }
    let Some(upload) = shared.uploads.pending().remove(digest) else { return Ok(false) };
    let interrupt = shared.interrupt.clone();
    match blocking(move || upload.wait(&interrupt)).await? {
        Sent::Arrived => Ok(true),
        Sent::Small => Ok(false),
        Sent::Failed(error) => {
            let refused = matches!(error, RegistryError::Refused { .. });
            shared.uploads.refused.fetch_or(refused, Ordering::Relaxed);
            tracing::debug!(%error, %digest, "the upload is begun anew from the file");
            Ok(false)
        }
    }
}
