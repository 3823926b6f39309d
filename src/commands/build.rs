//! `longshore build` and `longshore executor`: parse, resolve, plan, obtain, publish, report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::future::{join, join_all, try_join_all};

use super::inputs::{self, ImageInputs, Inputs};
use super::{lending, outside, places};
use crate::blocking::{Interrupt, blocking};
use crate::build::{
    BuildDir, BuildError, Delivered, Delivery, Engine, EngineOptions, Surroundings, WorkDir,
    deliver,
};
use crate::context::GitDirectory;
use crate::failure::{Failure, Kind, Outcome};
use crate::image::ImageFormat;
use crate::layer::Compression;
use crate::model::Platform;
use crate::output::Event;
use crate::plan::{
    Ahead, Base, BaseCache, BaseId, BindSource, CopySource, CopyStep, Given, Graph, ImagePlan,
    ImageRequest, ImageSource, Parent, Plan, StageSpec, Step, StepMountKind, Times, graph, lower,
    resolve,
};
use crate::registry::Registry;
use crate::report::{make_directory, report, write_file};
use crate::settings::{BuildSettings, Door};
use crate::storage::{StageStorage as _, Storage};

/// Said where a COPY or a mount takes everything but what many expect to be there.
const NO_GIT: &str = "the image has no .git, which is not part of a git context: --keep-git-dir \
                      takes it, and a line .git in the ignore file ends this message";

/// Builds what `settings` ask for.
pub(super) async fn build(mut settings: BuildSettings, interrupt: Interrupt) -> Outcome<()> {
    let work = places::work_dir(&settings).await?;
    let place = start(&work).await?;
    let leftovers = work.clone();
    let brought = outside::bring(&mut settings, &place, &interrupt).await?;
    let settings = Arc::new(settings);
    let (reading, scratch) = (Arc::clone(&settings), place.path().to_owned());
    let flag = interrupt.clone();
    let inputs = blocking(move || inputs::read(&reading, &scratch, &flag)).await?;
    let reading = Arc::clone(&settings);
    let lent = blocking(move || lending::read(&reading.steps)).await?;
    check_single(&settings, &inputs)?;
    check_files(&settings)?;
    let registry = Registry::new(settings.registry.clone())?;
    let project = places::project(&settings, inputs.project.clone());
    let storage = places::storage(&settings, &registry, &project).await?;
    let (locks, address) = places::locks(&settings);
    settings.voice.say(&Event::Started {
        version: env!("CARGO_PKG_VERSION"),
        storage: storage.as_ref().map_or_else(|| "no storage".to_owned(), |s| s.place()),
        synchronization: address.to_string(),
    });
    for message in settings.warnings.iter().chain(&inputs.warnings).cloned() {
        settings.voice.say(&Event::Warning { message });
    }
    let destinations = places::destinations(&settings, &registry, storage.as_ref()).await?;
    let records = storage.clone().filter(|storage| matches!(storage, Storage::Repo(_)));
    let bases = BaseCache::new(work.root().join("blobs/sha256"), records);
    let plan = plan(&settings, inputs, &registry, &bases).await?;
    check_compression(&settings, &plan)?;

    let voice = settings.voice;
    let destination = places::repository(&destinations);
    let around =
        Surroundings { storage, destination, locks, registry, work, voice, interrupt, lent };
    let engine = Engine::new(plan, around, options(&settings, project), &place);
    let formats = engine.plan().images.iter().map(|image| format(&settings, engine.plan(), image));
    let deliveries: Vec<Delivery> = formats
        .map(|format| Delivery {
            format,
            keep: settings.door == Door::Build,
            destinations: destinations.clone(),
        })
        .collect();
    let images = engine.plan().images.iter().zip(&deliveries);
    let delivered =
        join_all(images.map(|(image, delivery)| deliver(&engine, image, delivery))).await;
    let delivered = first_error(delivered)?;
    if let Err(error) = bases.record().await {
        let message = format!("what was fetched of bases cannot be recorded: {error}");
        settings.voice.say(&Event::Detail { message });
    }
    if let Err(error) = engine.store_indexes().await {
        let message = format!("layer indexes cannot be stored: {error}");
        settings.voice.say(&Event::Detail { message });
    }
    brought.leave();
    drop(place);
    // A process that a killed builder was just starting may have held its locks at the start.
    blocking(move || clean(&leftovers)).await;
    finish(&settings, &delivered, engine.rung().as_deref())
}

/// Options that name one thing need one image.
fn check_single(settings: &BuildSettings, inputs: &Inputs) -> Outcome<()> {
    if inputs.images.len() == 1 {
        return Ok(());
    }
    let single = [
        ("--tag", !settings.targets.is_empty()),
        ("--digest-file", settings.files.digest.is_some()),
        ("--target", settings.target.is_some()),
    ];
    match single.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => {
            let count = inputs.images.len();
            Err(Failure::usage(format!("{flag} is for one image, but {count} are to be built"))
                .hint("choose one with --image NAME"))
        }
    }
}

/// Files that are written in the end need a place, which is made at once.
fn check_files(settings: &BuildSettings) -> Outcome<()> {
    let files = &settings.files;
    for path in [&files.digest, &files.names, &files.tagged_names, &files.report] {
        let Some(path) = path else { continue };
        make_directory(path).map_err(|error| {
            Failure::new(Kind::Usage, error)
                .hint(format!("{} is to be written when the image is published", path.display()))
        })?;
    }
    Ok(())
}

async fn plan(
    settings: &BuildSettings,
    inputs: Inputs,
    registry: &Registry,
    cache: &BaseCache,
) -> Outcome<Plan> {
    let times = times(settings, &inputs);
    let host = Platform::host();
    let mut requests = Vec::new();
    let mut sources = BTreeMap::new();
    for image in inputs.images {
        let (given, graph) = read_graph(settings, &image, &host)?;
        for (source, place) in graph.images(&image.dockerfile)? {
            sources.entry(source).or_insert(place);
        }
        requests.push(ImageRequest {
            name: image.name,
            dockerfile: image.dockerfile,
            graph,
            context: image.context,
            given,
            times,
            labels: settings.labels.clone(),
            format: match settings.door {
                Door::Build => "oci".to_owned(),
                Door::Executor => "inherited".to_owned(),
            },
        });
    }
    // The files are looked at while the registry answers; what comes of it is asked for again below.
    let ahead: Vec<_> = requests.iter().map(Ahead::of).collect();
    let looking = blocking(move || ahead.iter().for_each(Ahead::look));
    let (resolved, ()) = join(resolve_all(settings, sources, registry, cache), looking).await;
    let (plan, bases) = resolved?;
    let voice = settings.voice;
    let keeps_git = settings.git_directory == GitDirectory::Keep;
    blocking(move || {
        let mut plan = plan;
        let mut notes = BTreeSet::new();
        for request in &requests {
            lower(&mut plan, &bases, request)?;
            notes.extend(request.context.notes());
        }
        if !keeps_git && plan.stages.iter().any(leaves_git_out) {
            notes.insert(NO_GIT.to_owned());
        }
        for message in notes {
            voice.say(&Event::Warning { message });
        }
        Ok(plan)
    })
    .await
}

/// Whether a step would take the `.git` of its context, if that was part of it.
fn leaves_git_out(stage: &StageSpec) -> bool {
    match &stage.step {
        Step::Copy(CopyStep { source: CopySource::Context { context, selected }, .. }) => {
            selected.iter().any(|selected| selected.root.is_empty()) && context.has_git_dir()
        }
        Step::Run(step) => step.mounts.iter().any(|mount| match &mount.kind {
            StepMountKind::Bind { source: BindSource::Context { context, selected }, .. } => {
                selected.root.is_empty() && context.has_git_dir()
            }
            _ => false,
        }),
        Step::Copy(_) | Step::Workdir(_) => false,
    }
}

fn read_graph(
    settings: &BuildSettings,
    image: &ImageInputs,
    host: &Platform,
) -> Outcome<(Given, Graph)> {
    let given = Given::new(image.build_args.clone(), &settings.platform, host);
    let target = image.target.as_deref();
    let graph = graph(&image.dockerfile, target, &given, &settings.platform)?;
    Ok((given, graph))
}

async fn resolve_all(
    settings: &BuildSettings,
    sources: BTreeMap<ImageSource, String>,
    registry: &Registry,
    cache: &BaseCache,
) -> Outcome<(Plan, BTreeMap<ImageSource, BaseId>)> {
    let resolved = sources.iter().map(async |(source, place)| {
        let resolved = resolve(registry, cache, source).await;
        resolved.map_err(|error| Failure::from(error).hint(place.clone()))
    });
    let resolved: Vec<Base> = try_join_all(resolved).await?;
    let mut plan = Plan::default();
    let mut ids = BTreeMap::new();
    for (source, base) in sources.into_keys().zip(resolved) {
        say_foreign(settings, &source, &base);
        let (reference, digest) = (base.reference.clone(), base.manifest.to_string());
        settings.voice.say(&Event::Resolved { reference, digest });
        ids.insert(source, BaseId(plan.bases.len()));
        plan.bases.push(base);
    }
    Ok((plan, ids))
}

/// A single manifest is taken whatever it is for, as other builders do.
fn say_foreign(settings: &BuildSettings, source: &ImageSource, base: &Base) {
    let (wanted, found) = (&source.platform, &base.config);
    if !found.architecture.is_empty() && found.architecture != wanted.architecture {
        let reference = &base.reference;
        let message =
            format!("{reference} is for {}/{}, not for {wanted}", found.os, found.architecture);
        settings.voice.say(&Event::Warning { message });
    }
}

fn times(settings: &BuildSettings, inputs: &Inputs) -> Times {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let commit = inputs.commit().map(|commit| commit.time);
    Times { epoch: settings.epoch, commit, now, files: settings.file_times }
}

fn options(settings: &BuildSettings, project: String) -> EngineOptions {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    EngineOptions {
        compression: settings.compression,
        threads,
        runtime: settings.runtime,
        project,
        host: Platform::host(),
        spool_limit: settings.spool_limit,
        run_timeout: settings.steps.timeout,
    }
}

/// `build` makes OCI images; `executor` keeps the format of the base, as kaniko does.
fn format(settings: &BuildSettings, plan: &Plan, image: &ImagePlan) -> ImageFormat {
    match (settings.door, image.base) {
        (Door::Executor, Parent::Base(base)) => plan.base(base).format,
        (Door::Executor, _) => ImageFormat::Docker,
        (Door::Build, _) => ImageFormat::Oci,
    }
}

/// Docker's format has no zstd layers, which must not come out only when they are to be pushed.
fn check_compression(settings: &BuildSettings, plan: &Plan) -> Outcome<()> {
    let refuses = |image: &&ImagePlan| format(settings, plan, image) == ImageFormat::Docker;
    let refused = plan.images.iter().find(refuses);
    let (Compression::Zstd { .. }, Some(image)) = (settings.compression, refused) else {
        return Ok(());
    };
    let of = match image.base {
        Parent::Base(base) => format!("as its base {} has it", plan.base(base).reference),
        _ => "as of every image from scratch".to_owned(),
    };
    let message =
        format!("--compression zstd: the image is in docker's format, {of}, without zstd");
    Err(Failure::usage(message).hint(
        "use --compression gzip, a base image in OCI format, or `longshore build`, which makes OCI \
         images",
    ))
}

/// Removes what killed builders left behind, and makes the place of this build.
async fn start(work: &WorkDir) -> Outcome<BuildDir> {
    let work = work.clone();
    blocking(move || {
        clean(&work);
        Ok(work.start_build()?)
    })
    .await
}

/// Removes what killed builders left behind; what cannot be removed is in the way of nothing.
fn clean(work: &WorkDir) {
    let builds = work.leftovers().unwrap_or_else(|error| {
        tracing::debug!("cannot look for what killed builds left behind: {error}");
        Vec::new()
    });
    for leftover in builds {
        if let Err(error) = WorkDir::remove(&leftover) {
            tracing::debug!("cannot remove what a killed build left behind: {error}");
        }
    }
    if let Err(error) = longshore_runtime::clean_leftovers(work.root()) {
        tracing::debug!("cannot remove what a killed step left behind: {error}");
    }
}

/// The first error that is a cause: others are only interrupted by it.
fn first_error(images: Vec<Result<Delivered, BuildError>>) -> Outcome<Vec<Delivered>> {
    let mut delivered = Vec::new();
    let mut errors = Vec::new();
    for image in images {
        match image {
            Ok(image) => delivered.push(image),
            Err(error) => errors.push(error),
        }
    }
    let cause = errors.iter().position(|error| !matches!(error, BuildError::Interrupted));
    match (cause, errors.is_empty()) {
        (_, true) => Ok(delivered),
        (Some(cause), _) => Err(errors.swap_remove(cause).into()),
        (None, _) => Err(errors.swap_remove(0).into()),
    }
}

/// Says and writes what came out; digest files only now, when everything is published.
fn finish(settings: &BuildSettings, images: &[Delivered], rung: Option<&str>) -> Outcome<()> {
    let files = &settings.files;
    let lines = |name: &dyn Fn(&(String, String)) -> String| -> String {
        let tags = images.iter().flat_map(|image| image.tags.iter().map(move |tag| (image, tag)));
        tags.map(|(image, tag)| format!("{}@{}\n", name(tag), image.digest)).collect()
    };
    let digest = images.first().map(|image| image.digest.to_string()).unwrap_or_default();
    for (path, bytes) in [
        (&files.digest, digest.into_bytes()),
        (&files.names, lines(&|(repository, _)| repository.clone()).into_bytes()),
        (&files.tagged_names, lines(&|(repo, tag)| format!("{repo}:{tag}")).into_bytes()),
        (&files.report, report(images, rung)),
    ] {
        let Some(path) = path else { continue };
        write_file(path, &bytes).map_err(|error| Failure::new(Kind::Unable, error))?;
    }
    for image in images {
        let Delivered { name, reference, digest, outcome, .. } = image.clone();
        let digest = digest.to_string();
        let line = match reference.as_str() {
            "" => format!("{name}: {digest}"),
            reference => format!("{name}: {reference}@{digest}"),
        };
        settings.voice.say(&Event::ImageDone { image: name, reference, digest, outcome });
        settings.voice.result(&line).map_err(|error| Failure::new(Kind::Unable, error))?;
    }
    Ok(())
}
