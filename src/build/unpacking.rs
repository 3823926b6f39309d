//! Layers as directories, for RUN: each once a work directory, all layers of an image at once.
//!
//! A layer is unpacked while it is still being fetched, and before the layers below it are there:
//! into scratch space, from where it is moved to its place when its compressed digest and its diff
//! id were verified and everything below it is in place. What it takes from the layers below (the
//! metadata of directories that it implies) it gets then, see [`Sandbox::settle`]. An unpacked
//! layer depends on those below it only in that, so it is kept by chain id (OCI image spec, "Layer
//! ChainID"), and images that share layers at the bottom share their directories.
//!
//! The compressed bytes go to a file as well, which the unpacking reads along (and not past it into
//! the unpacking alone): a broken download can be gone on with only from bytes that were kept, a
//! slow disk does not hold up the network, and the file is what makes the layer's index, and what
//! is pushed where a registry cannot mount it. Reading it back costs no disk while it is cached.
//!
//! Several builders on one work directory: whoever unpacks a layer holds a flock(2) on `PLACE.lock`;
//! others wait and take the result. The kernel frees the lock of a killed builder; its scratch is
//! removed by the next build. Locks only save work: a rename decides whose layer is taken.
//!
//! Who waits for whom: a layer's lock is held while waiting for the layers *below* it, and nothing
//! that a lower layer needs is held by one above, so chains of several builders cannot wait in a
//! circle. Permits to unpack are held while unpacking only.

mod apart;
mod place_lock;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use longshore_runtime::Sandbox;
use tokio::sync::{Semaphore, watch};

use self::apart::{Apart, Source};
use self::place_lock::{PlaceLock, Taken};
use super::error::BuildError;
use super::layers::{Layers, Once};
use crate::blocking::{Interrupt, blocking};
use crate::hashing::sha256;
use crate::model::Digest;
use crate::registry::Arrival;
use crate::storage::Layer;

/// Layers that are fetched at a time: more connections seldom make the network faster.
const DOWNLOADS: usize = 4;
/// How often is looked whether another builder has a layer now.
const LOOK: Duration = Duration::from_millis(50);

/// What the unpacking of all stages of a build shares.
#[derive(Debug)]
pub(super) struct Unpacking {
    made: Once<Digest, ()>,
    arrivals: Mutex<BTreeMap<Digest, Arrival>>,
    downloads: Semaphore,
    unpackers: Semaphore,
}

/// One layer of a chain.
struct Job<'a> {
    layer: &'a Layer,
    place: &'a Path,
    /// The places of the layers below, bottom first.
    lowers: &'a [PathBuf],
    /// Tells when they are all filled.
    below: watch::Receiver<bool>,
    sandbox: &'a Arc<Sandbox>,
    /// Set when another layer of the chain has failed.
    stop: &'a Interrupt,
}

impl Unpacking {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            made: Once::new(),
            arrivals: Mutex::default(),
            downloads: Semaphore::new(DOWNLOADS),
            // Those that wait for the network do not use a core.
            unpackers: Semaphore::new(cores.max(DOWNLOADS)),
        }
    }

    /// The download of a blob, for those who want to read along.
    pub(super) fn arrival(&self, blob: Digest) -> Arrival {
        let mut arrivals = self.arrivals.lock().expect("no holder of this lock panics");
        arrivals.entry(blob).or_default().clone()
    }
}

impl Layers {
    /// Returns the unpacked directories of `layers`, bottom first.
    pub(super) async fn unpacked(
        &self,
        layers: &[Layer],
        sandbox: &Arc<Sandbox>,
    ) -> Result<Vec<PathBuf>, BuildError> {
        let chain = chain_ids(layers);
        let places: Vec<PathBuf> =
            chain.iter().map(|chain| self.0.work.layer(&chain.hex())).collect();
        let stop = Interrupt::default();
        let mut jobs = Vec::new();
        let (_, mut below) = watch::channel(true);
        for (at, layer) in layers.iter().enumerate() {
            let (place, lowers) = (&places[at], &places[..at]);
            let (filled, above) = watch::channel(false);
            let below = std::mem::replace(&mut below, above);
            let job = Job { layer, place, lowers, below, sandbox, stop: &stop };
            jobs.push(self.fill(chain[at], job, filled));
        }
        // All are waited for, also when one fails: nothing may go on behind the build's back.
        let mut failure = None;
        for filled in join_all(jobs).await {
            match (filled, &failure) {
                (Ok(()), _) | (Err(_), Some(_)) => {}
                (Err(BuildError::Interrupted), None) => {}
                (Err(error), None) => failure = Some(error),
            }
        }
        match failure {
            Some(error) => Err(error),
            None if *below.borrow() => Ok(places),
            None => Err(BuildError::Interrupted),
        }
    }

    /// Where the unpacked top of `layers` is kept.
    pub(super) fn unpacked_path(&self, layers: &[Layer]) -> PathBuf {
        let chain = chain_ids(layers).last().map(|chain| chain.hex()).unwrap_or_default();
        self.0.work.layer(&chain)
    }

    /// Fills the place of one layer once a build, and tells the layer above.
    async fn fill(
        &self,
        chain: Digest,
        job: Job<'_>,
        filled: watch::Sender<bool>,
    ) -> Result<(), BuildError> {
        let cell = self.0.unpacking.made.cell(chain);
        let made = cell.get_or_try_init(|| self.make(&job)).await;
        made.inspect_err(|_| job.stop.set())?;
        wait_below(&job).await?;
        filled.send_replace(true);
        Ok(())
    }

    /// Fills the place of one layer, unless another builder does or has done so.
    async fn make(&self, job: &Job<'_>) -> Result<(), BuildError> {
        let Some(lock) = self.lock(job).await? else { return Ok(()) };
        let apart = self.apart(job).await?;
        if let Err(error) = wait_below(job).await {
            blocking(move || apart.remove()).await;
            return Err(error);
        }
        let (place, lowers) = (job.place.to_owned(), job.lowers.to_vec());
        blocking(move || apart.settle(&lowers, &place)).await?;
        drop(lock);
        Ok(())
    }

    /// Waits until nobody else fills the place; `None` when it is filled.
    async fn lock(&self, job: &Job<'_>) -> Result<Option<PlaceLock>, BuildError> {
        loop {
            let place = job.place.to_owned();
            match blocking(move || PlaceLock::take(&place)).await {
                Taken::Filled => return Ok(None),
                Taken::Locked(lock) => return Ok(Some(lock)),
                Taken::Busy => tokio::time::sleep(LOOK).await,
            }
            if self.0.interrupt.is_set() || job.stop.is_set() {
                return Err(BuildError::Interrupted);
            }
        }
    }

    /// Unpacks a layer while it is fetched, or from its file. It is verified by both digests when
    /// this returns.
    async fn apart(&self, job: &Job<'_>) -> Result<Apart, BuildError> {
        let turn = self.0.unpacking.downloads.acquire().await.expect("it is never closed");
        let arrival = self.0.unpacking.arrival(job.layer.digest);
        let restarts = arrival.restarts();
        let mut file = Box::pin(self.file(job.layer));
        let path = tokio::select! {
            biased;
            () = self.ended(job) => return Err(BuildError::Interrupted),
            path = &mut file => {
                drop(turn);
                path?
            }
            () = arrival.begun() => {
                // A download that is dropped frees its file, for those who go on with it.
                let fetch = async {
                    let path = tokio::select! {
                        path = file => path,
                        () = self.ended(job) => Err(BuildError::Interrupted),
                    };
                    drop(turn);
                    path
                };
                let unpack = self.unpack(job, Source::Arriving(arrival.follow()));
                match tokio::join!(fetch, unpack) {
                    (Ok(_), Ok(apart)) => return Ok(apart),
                    (Ok(path), Err(error)) if arrival.restarts() == restarts => {
                        tracing::debug!("cannot unpack {} on its way", path.display());
                        return Err(error);
                    }
                    // What was read was overwritten; now everything is there.
                    (Ok(path), Err(_)) => path,
                    (Err(error), Ok(apart)) => {
                        blocking(move || apart.remove()).await;
                        return Err(error);
                    }
                    (Err(error), Err(_)) => return Err(error),
                }
            }
        };
        self.unpack(job, Source::File(path)).await
    }

    /// Waits until the build, or another layer of the chain, has failed.
    async fn ended(&self, job: &Job<'_>) {
        while !self.0.interrupt.is_set() && !job.stop.is_set() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Unpacks a layer into scratch space and compares its diff id.
    async fn unpack(&self, job: &Job<'_>, source: Source) -> Result<Apart, BuildError> {
        let _permit = self.0.unpacking.unpackers.acquire().await.expect("it is never closed");
        let (sandbox, diff_id) = (Arc::clone(job.sandbox), job.layer.diff_id);
        let ends = [self.0.interrupt.clone(), job.stop.clone()];
        blocking(move || Apart::unpack(sandbox, source, diff_id, ends)).await
    }
}

async fn wait_below(job: &Job<'_>) -> Result<(), BuildError> {
    let mut below = job.below.clone();
    // Whoever fails does not say so here, but goes away.
    below.wait_for(|filled| *filled).await.map(drop).map_err(|_| BuildError::Interrupted)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DiffId;
    use crate::storage::Origin;

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
