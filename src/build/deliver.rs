//! Delivering an image: its config and manifest from the plan and the layers, and the places it
//! is published to.

use std::path::PathBuf;

use super::archive;
use super::engine::{Built, Engine, Shared};
use super::error::BuildError;
use super::publish::store_layer;
use crate::hashing::sha256;
use crate::image::{
    History, ImageConfig, ImageFormat, LayerDescriptor, Manifest, manifest, parse_manifest,
};
use crate::model::{Digest, pointer_tag};
use crate::output::Outcome;
use crate::plan::{HistoryStep, ImagePlan, Parent, Plan, Times};
use crate::storage::{Layer, StageStorage, Storage};
use crate::sync::Locks;

/// Configs above this are not read (bytes).
const CONFIG_LIMIT: u64 = 4 << 20;

/// Where an image goes besides the storage of its stages.
#[derive(Clone, Debug)]
pub enum Destination {
    /// A tag in a registry or layout.
    Tag {
        /// The registry repository or layout.
        storage: Storage,
        /// The tag.
        tag: String,
    },
    /// A file that `docker load` reads.
    Archive {
        /// The file.
        path: PathBuf,
        /// The references that it names the image by.
        names: Vec<String>,
    },
}

/// A delivered image.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// Its name in the project.
    pub name: String,
    /// What to pull: the first destination, else the content tag.
    pub reference: String,
    /// Repository and tag of each registry that it was published to.
    pub tags: Vec<(String, String)>,
    /// Digest of its manifest.
    pub digest: Digest,
    /// Whether anything had to be built.
    pub outcome: Outcome,
}

/// An image in bytes.
#[derive(Clone, Debug)]
pub(super) struct Finished {
    pub(super) config: Vec<u8>,
    pub(super) manifest: Vec<u8>,
    pub(super) media_type: &'static str,
    pub(super) layers: Vec<Layer>,
}

/// How one image is delivered.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its manifest's format.
    pub format: ImageFormat,
    /// Whether the image itself is kept in the storage of its stages, under its content tag.
    pub keep: bool,
    /// Where else it goes.
    pub destinations: Vec<Destination>,
}

/// Obtains an image of the engine's plan and publishes it everywhere.
///
/// # Errors
/// When a stage fails, or a place refuses the image.
pub async fn deliver(
    engine: &Engine,
    image: &ImagePlan,
    delivery: &Delivery,
) -> Result<Delivered, BuildError> {
    // One image that fails ends the others.
    obtain_and_place(engine, image, delivery).await.inspect_err(|_| engine.0.interrupt.set())
}

async fn obtain_and_place(
    engine: &Engine,
    image: &ImagePlan,
    delivery: &Delivery,
) -> Result<Delivered, BuildError> {
    let shared = &engine.0;
    let kept = match (&shared.storage, delivery.keep) {
        (Some(storage), true) => Some(storage),
        _ => None,
    };
    let pointer = pointer_tag(&image.digest);
    let found = match kept {
        Some(storage) => storage.head(&pointer).await?,
        None => None,
    };
    let mut delivered = match (kept, found) {
        (Some(storage), Some(digest)) => {
            let source = Source::Stored { storage, digest };
            place(shared, image, delivery, source).await?
        }
        _ => {
            let built = engine.layers_of(image.top).await?;
            let finished = image_bytes(&shared.plan, image, &built, delivery.format)?;
            let theirs = match kept {
                Some(storage) => keep(shared, storage, image, &finished).await?,
                None => None,
            };
            let source = match (kept, theirs) {
                (Some(storage), Some(digest)) => Source::Stored { storage, digest },
                _ => Source::Here { finished: &finished },
            };
            place(shared, image, delivery, source).await?
        }
    };
    if let (Some(storage), true) = (kept, delivery.destinations.is_empty()) {
        delivered.reference = storage.reference(&pointer);
    }
    Ok(delivered)
}

/// Keeps an image under its content tag, which never moves: returns the digest of the image that
/// another builder published before.
async fn keep(
    shared: &Shared,
    storage: &Storage,
    image: &ImagePlan,
    finished: &Finished,
) -> Result<Option<Digest>, BuildError> {
    put_blobs(shared, storage, finished).await?;
    let pointer = pointer_tag(&image.digest);
    let lock = format!("{}.{}", shared.options.project, image.digest);
    let held = shared.locks.acquire(&lock).await?;
    if let Some(theirs) = storage.head(&pointer).await? {
        return Ok(Some(theirs));
    }
    let ours = storage.put_manifest(&pointer, finished.media_type, &finished.manifest).await?;
    let selected = storage.head(&pointer).await?;
    drop(held);
    Ok(selected.filter(|selected| *selected != ours))
}

/// Where an image's bytes come from.
enum Source<'a> {
    Stored { storage: &'a Storage, digest: Digest },
    Here { finished: &'a Finished },
}

async fn place(
    shared: &Shared,
    image: &ImagePlan,
    delivery: &Delivery,
    source: Source<'_>,
) -> Result<Delivered, BuildError> {
    let (digest, outcome) = match &source {
        Source::Stored { digest, .. } => (*digest, Outcome::Reused),
        Source::Here { finished } => (sha256(&finished.manifest), Outcome::Built),
    };
    let (mut reference, mut tags) = (None, Vec::new());
    for destination in &delivery.destinations {
        match destination {
            Destination::Tag { storage, tag } => {
                if storage.head(tag).await? != Some(digest) {
                    let finished = bytes_of(&source).await?;
                    put_blobs(shared, storage, &finished).await?;
                    let lock = format!("{}.image/{}", shared.options.project, image.name);
                    let held = shared.locks.acquire(&lock).await?;
                    storage.put_manifest(tag, finished.media_type, &finished.manifest).await?;
                    drop(held);
                }
                reference.get_or_insert_with(|| storage.reference(tag));
                if let Storage::Repo(_) = storage {
                    tags.push((storage.place(), tag.clone()));
                }
            }
            Destination::Archive { path, names } => {
                archive::write(shared, &bytes_of(&source).await?, path, names).await?;
                reference.get_or_insert_with(|| format!("docker-archive:{}", path.display()));
            }
        }
    }
    let reference = reference.unwrap_or_default();
    Ok(Delivered { name: image.name.clone(), reference, tags, digest, outcome })
}

async fn bytes_of(source: &Source<'_>) -> Result<Finished, BuildError> {
    let (storage, digest) = match source {
        Source::Here { finished } => return Ok((*finished).clone()),
        Source::Stored { storage, digest } => (*storage, digest),
    };
    let missing =
        || crate::storage::StorageError::BlobMissing { place: storage.place(), digest: *digest };
    let stored = storage.manifest(&digest.to_string()).await?.ok_or_else(missing)?;
    let Manifest::Image(parsed) = parse_manifest(Some(&stored.media_type), &stored.bytes)? else {
        return Err(missing().into());
    };
    let config = storage.blob(&parsed.config.digest, CONFIG_LIMIT).await?;
    let diff_ids = ImageConfig::from_bytes(&config)?.rootfs.diff_ids;
    let layers = parsed.layers.iter().zip(diff_ids).map(|(layer, diff_id)| Layer {
        digest: layer.digest,
        diff_id,
        size: layer.size,
        media_type: layer.media_type.clone(),
        origin: storage.origin(&layer.digest),
    });
    let media_type = parsed.format.manifest();
    Ok(Finished { config, manifest: stored.bytes, media_type, layers: layers.collect() })
}

/// Makes the layers and the config of an image present, so that only its manifest is missing.
async fn put_blobs(shared: &Shared, storage: &Storage, image: &Finished) -> Result<(), BuildError> {
    for layer in &image.layers {
        store_layer(shared, storage, layer).await?;
    }
    storage.put_blob(&image.config).await?;
    Ok(())
}

fn image_bytes(
    plan: &Plan,
    image: &ImagePlan,
    built: &Built,
    format: ImageFormat,
) -> Result<Finished, BuildError> {
    let (config, steps) = (image.config.clone(), image.history.as_slice());
    let outline = Outline { config, steps, base: image.base, times: image.times, format };
    finish(plan, outline, built)
}

/// What is known of an image before its layers are.
#[derive(Debug)]
pub(super) struct Outline<'a> {
    pub(super) config: ImageConfig,
    /// The instructions since the base.
    pub(super) steps: &'a [HistoryStep],
    pub(super) base: Parent,
    pub(super) times: Times,
    pub(super) format: ImageFormat,
}

/// Completes a config with layers, history and date, and makes the manifest.
pub(super) fn finish(
    plan: &Plan,
    outline: Outline<'_>,
    built: &Built,
) -> Result<Finished, BuildError> {
    let Outline { mut config, steps, base, times, format } = outline;
    let created = rfc3339(times.created());
    config.rootfs.diff_ids = built.layers.iter().map(|layer| layer.diff_id).collect();
    config.history = base_history(plan, base);
    let mut made = built.made.iter().copied();
    for step in steps {
        let layers = step.stage.and_then(|_| made.next()).unwrap_or_default();
        let entry = History {
            created: Some(created.clone()),
            created_by: step.text.clone(),
            empty_layer: layers == 0,
            ..History::default()
        };
        // Tools want one entry for each layer.
        config.history.extend(std::iter::repeat_n(entry, layers.max(1)));
    }
    config.created = Some(created);
    let config = config.to_bytes();
    let descriptor =
        |layer: &Layer| LayerDescriptor::new(layer.media_type.clone(), layer.digest, layer.size);
    let layers: Vec<LayerDescriptor> = built.layers.iter().map(descriptor).collect();
    let size = config.len() as u64;
    let manifest = manifest(format, sha256(&config), size, &layers, &Default::default())?;
    let media_type = format.manifest();
    Ok(Finished { config, manifest, media_type, layers: built.layers.clone() })
}

/// The history of the base's layers; one that does not fit its layers is replaced, since tools
/// refuse an image whose history and layers disagree.
fn base_history(plan: &Plan, base: Parent) -> Vec<History> {
    let Parent::Base(base) = base else { return Vec::new() };
    let base = plan.base(base);
    let history = &base.config.history;
    if history.iter().filter(|entry| !entry.empty_layer).count() == base.layers.len() {
        return history.clone();
    }
    let entry = |_: &Layer| History {
        created_by: format!("a layer of {}", base.reference),
        ..History::default()
    };
    base.layers.iter().map(entry).collect()
}

fn rfc3339(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.to_string()
}
