//! The engine: everything a build shares, and the recursion through its stages.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use longshore_runtime::{Choice, Sandbox};
use tokio::sync::{OnceCell, Semaphore};

use super::bound::Bound;
use super::caches::Caches;
use super::copy;
use super::descent::descent;
use super::error::BuildError;
use super::indexes::Indexes;
use super::layers::{Layers, Once};
use super::mounting::{self, Beside, Lent};
use super::publish;
use super::run;
use super::sending::Uploads;
use super::work_dir::{BuildDir, WorkDir};
use crate::blocking::{Interrupt, blocking};
use crate::layer::{Compression, LayerBlob};
use crate::model::{Digest, Platform};
use crate::output::{Bytes, Event, Outcome, Voice};
use crate::plan::{Parent, Plan, StageId, Step};
use crate::registry::Registry;
use crate::storage::{Layer, RepoStorage, Storage, StorageError};
use crate::sync::Synchronization;

/// What decides how a build is carried out, but not what comes out.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How new layers are compressed.
    pub compression: Compression,
    /// Threads of one compressor; also how many stages are built at a time.
    pub threads: usize,
    /// How RUN steps are executed.
    pub runtime: Choice,
    /// The project, which names locks.
    pub project: String,
    /// This machine's platform.
    pub host: Platform,
    /// Compressed bytes of one layer that may lie in the work directory; `None` for all.
    pub spool_limit: Option<u64>,
    /// How long a RUN step may take.
    pub run_timeout: Option<Duration>,
}

/// A stage that is there.
#[derive(Clone, Debug)]
pub struct Built {
    /// All layers, bottom first.
    pub layers: Vec<Layer>,
    /// For each stage since the base, how many of them it made.
    pub made: Vec<usize>,
    /// How it came to be there.
    pub outcome: Outcome,
}

/// Builds the stages of one plan; cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine(pub(super) Arc<Shared>);

/// What all stages of a build share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) plan: Plan,
    pub(super) storage: Option<Storage>,
    /// Where layers are sent while they are made.
    pub(super) outlet: Option<RepoStorage>,
    /// The stages that images consist of.
    pub(super) delivered: BTreeSet<StageId>,
    pub(super) uploads: Uploads,
    pub(super) locks: Synchronization,
    pub(super) layers: Layers,
    pub(super) options: EngineOptions,
    pub(super) voice: Voice,
    pub(super) interrupt: Interrupt,
    /// What steps may use.
    pub(super) lent: Lent,
    /// What steps bind of the context.
    pub(super) bound: Once<String, Arc<Bound>>,
    /// Where this build spools.
    pub(super) place: PathBuf,
    pub(super) work: WorkDir,
    sandbox: OnceCell<Arc<Sandbox>>,
    cells: Vec<OnceCell<Arc<Built>>>,
    permits: Semaphore,
    /// Layers that this build knows to be in a storage, by its place.
    pub(super) present: Mutex<BTreeSet<(String, Digest)>>,
}

/// The surroundings of a build.
#[derive(Debug)]
pub struct Surroundings {
    /// Where stages are kept; `None` looks nothing up and keeps nothing.
    pub storage: Option<Storage>,
    /// A repository that every image goes to, if any.
    pub destination: Option<RepoStorage>,
    /// Locks around publishing.
    pub locks: Synchronization,
    /// The registries of bases.
    pub registry: Registry,
    /// Where layers are kept on this machine.
    pub work: WorkDir,
    /// What is said.
    pub voice: Voice,
    /// Ends the build early.
    pub interrupt: Interrupt,
    /// What steps may use.
    pub lent: Lent,
}

type Obtained<'a> = Pin<Box<dyn Future<Output = Result<Arc<Built>, BuildError>> + Send + 'a>>;

impl Engine {
    /// An engine for `plan`; `place` must outlive it.
    pub fn new(plan: Plan, around: Surroundings, options: EngineOptions, place: &BuildDir) -> Self {
        let Surroundings { storage, destination, locks, registry, work, .. } = around;
        let Surroundings { voice, interrupt, lent, .. } = around;
        let outlet = match &storage {
            Some(Storage::Repo(repo)) => Some(repo.clone()),
            // A layout needs the files.
            Some(Storage::Layout(_)) => None,
            None => destination,
        };
        let delivered = delivered(&plan);
        let cells = plan.stages.iter().map(|_| OnceCell::new()).collect();
        let permits = Semaphore::new(options.threads.max(1));
        let indexes = Indexes::new(&plan, storage.clone());
        let layers = Layers::new(work.clone(), registry, interrupt.clone(), indexes);
        let (sandbox, place) = (OnceCell::new(), place.path().to_owned());
        Self(Arc::new(Shared {
            plan,
            storage,
            outlet,
            delivered,
            uploads: Uploads::default(),
            locks,
            layers,
            options,
            voice,
            interrupt,
            lent,
            bound: Once::new(),
            place,
            work,
            sandbox,
            cells,
            permits,
            present: Mutex::default(),
        }))
    }

    /// The plan that is built.
    pub fn plan(&self) -> &Plan {
        &self.0.plan
    }

    /// The rung on which steps were executed, if any were.
    pub fn rung(&self) -> Option<String> {
        self.0.sandbox.get().map(|sandbox| sandbox.rung().to_string())
    }

    /// Returns the layers that `parent` stands for, obtaining its stage if it is one.
    ///
    /// # Errors
    /// When a stage fails, or the build is interrupted.
    pub async fn layers_of(&self, parent: Parent) -> Result<Arc<Built>, BuildError> {
        match parent {
            Parent::Scratch => Ok(Arc::new(Built::reused(Vec::new()))),
            Parent::Base(base) => {
                Ok(Arc::new(Built::reused(self.0.plan.base(base).layers.clone())))
            }
            Parent::Stage(stage) => self.obtain(stage).await,
        }
    }

    /// Waits until storage has the layer indexes that this build made.
    ///
    /// # Errors
    /// When storage refuses; builds work without stored indexes.
    pub async fn store_indexes(&self) -> Result<(), StorageError> {
        self.0.layers.store_indexes().await
    }

    /// Returns a stage: found in storage, or built and published. Every stage is obtained once.
    ///
    /// # Errors
    /// When the stage or one of its inputs fails, or the build is interrupted.
    pub fn obtain(&self, id: StageId) -> Obtained<'_> {
        Box::pin(async move {
            // Whoever waits for a stage that failed would try it again; the interrupt, which is set
            // before the cell is free, makes that an end.
            let once =
                || async { self.on_own_stack(id).await.inspect_err(|_| self.0.interrupt.set()) };
            self.0.cells[id.0].get_or_try_init(once).await.cloned()
        })
    }

    /// Obtains a stage as a task of its own, so that no chain of stages is too long for a stack.
    async fn on_own_stack(&self, id: StageId) -> Result<Arc<Built>, BuildError> {
        let engine = self.clone();
        match tokio::spawn(async move { engine.obtain_once(id).await }).await {
            Ok(obtained) => obtained,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(BuildError::Interrupted),
        }
    }

    async fn obtain_once(&self, id: StageId) -> Result<Arc<Built>, BuildError> {
        let shared = &self.0;
        let start = Instant::now();
        if shared.interrupt.is_set() {
            return Err(BuildError::Interrupted);
        }
        let spec = shared.plan.stage(id);
        if let Some(built) = publish::find(shared, spec).await? {
            self.say_done(id, &built, start);
            return Ok(Arc::new(built));
        }
        mounting::check(shared, spec)?;
        let (parent, from) = self.inputs(id).await?;
        let beside = Beside { from, caches: self.caches(id).await? };
        let permit = shared.permits.acquire().await.expect("the semaphore is never closed");
        if shared.interrupt.is_set() {
            return Err(BuildError::Interrupted);
        }
        let made = self.build(id, &parent.layers, beside).await.map_err(|error| match error {
            // Readers and writers of layers say in many ways that they were told to end.
            BuildError::Layer(_) if shared.interrupt.is_set() => BuildError::Interrupted,
            other => other,
        })?;
        drop(permit);
        let layers = made.iter().filter(|blob| !blob.is_empty()).map(|blob| shared.layer(blob));
        let built = parent.with(layers.collect());
        let built = publish::publish(shared, spec, built).await?;
        self.say_done(id, &built, start);
        Ok(Arc::new(built))
    }

    /// Obtains what a stage is built upon and what it takes files from, side by side.
    async fn inputs(&self, id: StageId) -> Result<(Arc<Built>, Vec<Arc<Built>>), BuildError> {
        let parent = self.0.plan.stage(id).parent;
        let needed = std::iter::once(parent).chain(self.0.plan.sources(id));
        let mut obtained = Vec::new();
        let mut failure = None;
        // All are waited for, also when one fails: nothing may go on behind the build's back.
        for result in join_all(needed.map(|needed| self.layers_of(needed))).await {
            match (result, &failure) {
                (Ok(built), _) => obtained.push(built),
                (Err(error), None | Some(BuildError::Interrupted)) => failure = Some(error),
                (Err(_), Some(_)) => {}
            }
        }
        match failure {
            Some(error) => Err(error),
            None => {
                let from = obtained.split_off(1);
                Ok((obtained.remove(0), from))
            }
        }
    }

    /// Makes the layers of a stage, bottom first: one, which may turn out empty. What is stored of a
    /// stage has room for several.
    async fn build(
        &self,
        id: StageId,
        parent: &[Layer],
        beside: Beside,
    ) -> Result<Vec<LayerBlob>, BuildError> {
        let shared = &self.0;
        let spec = shared.plan.stage(id);
        let rung = match &spec.step {
            Step::Run(_) => Some(self.sandbox().await?.rung().to_string()),
            _ => None,
        };
        shared.voice.say(&Event::StageStarted {
            stage: spec.label.clone(),
            instruction: spec.instruction.clone(),
            rung,
        });
        let layer = match &spec.step {
            Step::Run(step) => {
                let sandbox = self.sandbox().await?;
                run::run(shared, id, (step, beside), parent, &sandbox).await?
            }
            Step::Copy(_) => {
                let from = beside.from.first().map(|built| built.layers.as_slice());
                copy::copy(shared, id, parent, from).await?
            }
            Step::Workdir(step) => copy::workdir(shared, id, step, parent).await?,
        };
        Ok(vec![layer])
    }

    async fn caches(&self, id: StageId) -> Result<Caches, BuildError> {
        if !Caches::are_wanted(&self.0.plan, id) {
            return Ok(Caches::default());
        }
        let can_share = mounting::has_mounts(self.sandbox().await?.as_ref());
        Caches::lock(&self.0, id, can_share).await
    }

    async fn sandbox(&self) -> Result<Arc<Sandbox>, BuildError> {
        let open = || async {
            let (root, choice) = (self.0.work.root().to_owned(), self.0.options.runtime);
            let sandbox = blocking(move || Sandbox::open(&root, choice)).await;
            let sandbox = sandbox.map_err(BuildError::of_sandbox)?;
            if let Some(event) = descent(sandbox.capabilities(), sandbox.rung(), choice) {
                self.0.voice.say(&event);
            }
            Ok(Arc::new(sandbox))
        };
        self.0.sandbox.get_or_try_init(open).await.cloned()
    }

    fn say_done(&self, id: StageId, built: &Built, start: Instant) {
        let spec = self.0.plan.stage(id);
        let own = built.made.last().copied().unwrap_or_default();
        let bytes = built.layers.iter().rev().take(own).map(|layer| layer.size).sum();
        self.0.voice.say(&Event::StageDone {
            stage: spec.label.clone(),
            instruction: spec.instruction.clone(),
            outcome: built.outcome,
            bytes: Bytes(bytes),
            seconds: start.elapsed().as_secs_f64(),
        });
    }
}

impl Built {
    fn reused(layers: Vec<Layer>) -> Self {
        Self { layers, made: Vec::new(), outcome: Outcome::Reused }
    }

    /// The state after a stage upon this one that made `own` layers.
    fn with(&self, own: Vec<Layer>) -> Self {
        let (mut layers, mut made) = (self.layers.clone(), self.made.clone());
        made.push(own.len());
        layers.extend(own);
        Self { layers, made, outcome: Outcome::Built }
    }
}

/// The stages whose layers are in an image.
fn delivered(plan: &Plan) -> BTreeSet<StageId> {
    let mut delivered = BTreeSet::new();
    for image in &plan.images {
        let mut at = image.top;
        while let Parent::Stage(stage) = at {
            if !delivered.insert(stage) {
                break;
            }
            at = plan.stage(stage).parent;
        }
    }
    delivered
}
