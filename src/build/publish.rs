//! Publishing a stage: blobs without a lock, then lock, look again, write or discard, read back.
//!
//! The lock is held for a look-up and two manifests only. Two builders that race both end with what
//! the pointer names; a builder that dies between the two writes leaves a stage that nobody finds,
//! which costs a rebuild and nothing else.

use std::time::{SystemTime, UNIX_EPOCH};

use super::deliver::{Finished, Outline, finish};
use super::engine::{Built, Shared};
use super::error::BuildError;
use super::sending;
use crate::image::{ImageConfig, ImageFormat, Manifest, parse_manifest};
use crate::model::{StageName, pointer_tag};
use crate::output::{Event, Outcome};
use crate::plan::{Parent, StageId, StageSpec};
use crate::storage::{Layer, Origin, StageStorage, Storage, StorageError};
use crate::sync::Locks;

/// Configs above this are not read (bytes).
const CONFIG_LIMIT: u64 = 4 << 20;

/// The label that says how many layers each stage since the base made: numbers, joined by commas.
const MADE: &str = "longshore.stage-layers";
/// werf's label of a project's stages.
const PROJECT: &str = "werf";
/// werf's label of a stage's content.
const CONTENT: &str = "werf-stage-content-digest";

/// Looks a stage up. One that is damaged counts as absent, with a warning.
pub(super) async fn find(shared: &Shared, spec: &StageSpec) -> Result<Option<Built>, BuildError> {
    let Some(storage) = &shared.storage else { return Ok(None) };
    let Some(stored) = storage.manifest(&pointer_tag(&spec.digest)).await? else {
        return Ok(None);
    };
    let Ok(Manifest::Image(manifest)) = parse_manifest(Some(&stored.media_type), &stored.bytes)
    else {
        return Ok(reject(shared, spec, "its manifest is not an image's"));
    };
    let config = match storage.blob(&manifest.config.digest, CONFIG_LIMIT).await {
        Ok(bytes) => match ImageConfig::from_bytes(&bytes) {
            Ok(config) => config,
            Err(_) => return Ok(reject(shared, spec, "its config is not an image's")),
        },
        Err(error) if is_damaged(&error) => {
            return Ok(reject(shared, spec, "its config is gone or damaged"));
        }
        Err(error) => return Err(error.into()),
    };
    let labels = &config.config.labels;
    let ours = labels.get(CONTENT).is_some_and(|digest| *digest == spec.digest.to_string());
    let diff_ids = &config.rootfs.diff_ids;
    let (Some(made), true, true) =
        (labels.get(MADE), ours, diff_ids.len() == manifest.layers.len())
    else {
        return Ok(reject(shared, spec, "its labels are not those of the stage"));
    };
    let layers = manifest.layers.iter().zip(diff_ids).map(|(layer, diff_id)| Layer {
        digest: layer.digest,
        diff_id: *diff_id,
        size: layer.size,
        media_type: layer.media_type.clone(),
        origin: storage.origin(&layer.digest),
    });
    // A number that is none leaves too few of them.
    let made: Vec<usize> = made.split(',').map_while(|count| count.parse().ok()).collect();
    let own = made.iter().fold(0, |sum: usize, count| sum.saturating_add(*count));
    let expected = base_layers(shared, spec).saturating_add(own);
    if made.len() != depth(spec) || layers.len() != expected {
        return Ok(reject(shared, spec, "its layers are not those of the stage"));
    }
    Ok(Some(Built { layers: layers.collect(), made, outcome: Outcome::Reused }))
}

/// Publishes a stage that was built here, and returns the one that is selected now.
pub(super) async fn publish(
    shared: &Shared,
    spec: &StageSpec,
    built: Built,
) -> Result<Built, BuildError> {
    let Some(storage) = &shared.storage else { return Ok(built) };
    for layer in &built.layers {
        store_layer(shared, storage, layer).await?;
    }
    let finished = stage_image(shared, spec, &built)?;
    storage.put_blob(&finished.config).await?;

    let name = format!("{}.{}", shared.options.project, spec.digest);
    let held = shared.locks.acquire(&name).await?;
    if let Some(theirs) = find(shared, spec).await? {
        return Ok(Built { outcome: Outcome::Discarded, ..theirs });
    }
    let name = StageName { digest: spec.digest, millis: now_millis() }.to_string();
    let (media_type, bytes) = (finished.media_type, &finished.manifest);
    storage.put_manifest(&name, media_type, bytes).await?;
    let pointer = pointer_tag(&spec.digest);
    let ours = storage.put_manifest(&pointer, media_type, bytes).await?;
    let selected = storage.head(&pointer).await?;
    drop(held);
    if selected == Some(ours) {
        return Ok(built);
    }
    // Somebody wrote the pointer without our lock; what it says now is the stage.
    Ok(match find(shared, spec).await? {
        Some(theirs) => Built { outcome: Outcome::Discarded, ..theirs },
        None => built,
    })
}

/// Makes a layer present in `storage`: without its bytes if possible, else by sending them. Every
/// stage names the layers below it too, so what this build found or put there is not asked again.
pub(super) async fn store_layer(
    shared: &Shared,
    storage: &Storage,
    layer: &Layer,
) -> Result<(), BuildError> {
    let key = (storage.place(), layer.digest);
    if shared.present.lock().expect("no holder of this lock panics").contains(&key) {
        return Ok(());
    }
    if sending::has_arrived(shared, &key.0, &layer.digest).await? {
        shared.present.lock().expect("no holder of this lock panics").insert(key);
        return Ok(());
    }
    // A layer made here can only be there already, which putting it finds out as well.
    let elsewhere = matches!(layer.origin, Origin::Registry(_));
    if !(elsewhere && storage.adopt(layer).await?) {
        let file = shared.layers.file(layer).await?;
        storage.put_layer(layer, &file).await?;
    }
    shared.present.lock().expect("no holder of this lock panics").insert(key);
    Ok(())
}

/// The image that a stage is stored as: runnable, with bookkeeping labels.
fn stage_image(shared: &Shared, spec: &StageSpec, built: &Built) -> Result<Finished, BuildError> {
    let mut config = spec.config.clone();
    let made: Vec<String> = built.made.iter().map(usize::to_string).collect();
    config.config.labels.extend([
        (PROJECT.to_owned(), shared.options.project.clone()),
        (CONTENT.to_owned(), spec.digest.to_string()),
        (MADE.to_owned(), made.join(",")),
    ]);
    // The last instruction is the stage's own, which is not in the history before it.
    let mut history = spec.history.clone();
    let own = stage_id(shared, spec);
    history.push(crate::plan::HistoryStep { text: spec.instruction.clone(), stage: own });
    let outline = Outline {
        config,
        steps: &history,
        base: spec.base,
        times: spec.times,
        format: ImageFormat::Oci,
    };
    finish(&shared.plan, outline, built)
}

fn stage_id(shared: &Shared, spec: &StageSpec) -> Option<StageId> {
    shared.plan.stages.iter().position(|known| known.digest == spec.digest).map(StageId)
}

fn reject(shared: &Shared, spec: &StageSpec, reason: &str) -> Option<Built> {
    let message = format!("the stored stage {} is not used and built again: {reason}", spec.digest);
    shared.voice.say(&Event::Warning { message });
    None
}

/// How many stages there are since the base, this one included.
fn depth(spec: &StageSpec) -> usize {
    1 + spec.history.iter().filter(|step| step.stage.is_some()).count()
}

fn base_layers(shared: &Shared, spec: &StageSpec) -> usize {
    match spec.base {
        Parent::Base(base) => shared.plan.base(base).layers.len(),
        Parent::Scratch | Parent::Stage(_) => 0,
    }
}

/// Whether a blob is gone or damaged, as opposed to the storage failing.
fn is_damaged(error: &StorageError) -> bool {
    use crate::registry::RegistryError;
    matches!(
        error,
        StorageError::BlobMissing { .. }
            | StorageError::NotALayout { .. }
            | StorageError::Registry(RegistryError::BlobNotFound { .. })
    )
}

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
