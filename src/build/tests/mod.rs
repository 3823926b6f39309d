//! Stages and images, from a Dockerfile to layers and storage; no step is run.

mod adding;
mod copying;
mod delivering;
mod failing;
mod indexing;
mod publishing;

use std::path::Path;
use std::sync::Arc;

use longshore_runtime::Choice;
use longshore_runtime::entry::{Entry, Kind};

use super::*;
use crate::blocking::Interrupt;
use crate::layer::{Compression, path_order, read_layer, write_layer};
use crate::model::Platform;
use crate::output::{Level, Voice};
use crate::plan::Plan;
use crate::plan::tests::Build;
use crate::registry::{Registry, RegistryOptions};
use crate::storage::{Layer, LayoutStorage, Origin, Storage};
use crate::sync::{LocalLocks, Synchronization};

/// A machine with a work directory and a layout.
struct Machine {
    root: tempfile::TempDir,
    work: WorkDir,
}

/// An engine and the place that it builds in.
struct Site {
    engine: Engine,
    interrupt: Interrupt,
    _place: BuildDir,
    /// Has the context.
    _build: Option<Build>,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let work = WorkDir::open(&root.path().join("work")).unwrap();
        Self { root, work }
    }

    fn layout(&self) -> Storage {
        Storage::Layout(LayoutStorage::open(self.root.path().join("layout")).unwrap())
    }

    fn blob(&self, hex: &str) -> std::path::PathBuf {
        self.root.path().join("layout/blobs/sha256").join(hex)
    }

    fn site(&self, plan: Plan, storage: Option<Storage>) -> Site {
        let place = self.work.start_build().unwrap();
        let interrupt = Interrupt::default();
        let voice = Voice { level: Level::Quiet, ..Voice::default() };
        let around = Surroundings {
            storage,
            destination: None,
            locks: Synchronization::Local(LocalLocks::new(self.root.path().join("locks"))),
            registry: Registry::new(RegistryOptions::default()).unwrap(),
            work: self.work.clone(),
            voice,
            interrupt: interrupt.clone(),
            lent: Lent::default(),
        };
        let options = EngineOptions {
            compression: Compression::default(),
            threads: 2,
            runtime: Choice::Auto,
            project: "project".to_owned(),
            host: Platform::host(),
            spool_limit: None,
            run_timeout: None,
        };
        Site {
            engine: Engine::new(plan, around, options, &place),
            interrupt,
            _place: place,
            _build: None,
        }
    }

    fn site_of(&self, build: Build, storage: Option<Storage>) -> Site {
        let site = self.site(build.plan().unwrap(), storage);
        Site { _build: Some(build), ..site }
    }

    /// Builds without storage and lists the entries of the topmost layer.
    async fn top(&self, build: &Build) -> Result<Vec<String>, BuildError> {
        let site = self.site(build.plan().unwrap(), None);
        let built = site.engine.layers_of(site.engine.plan().images[0].top).await?;
        Ok(listed(built.layers.last().unwrap()))
    }

    /// A layer of a base; see [`entry`].
    fn layer(&self, entries: &[(&str, &str)]) -> Layer {
        let mut entries: Vec<(Entry, &str)> =
            entries.iter().map(|(path, content)| entry(path, content)).collect();
        entries.sort_by(|(a, _), (b, _)| path_order(&a.path, &b.path));
        let never = Interrupt::default();
        let blob =
            write_layer(self.root.path(), Compression::default(), 1, never.flag(), &mut |sink| {
                entries
                    .iter()
                    .try_for_each(|(entry, content)| sink.entry(entry, &mut content.as_bytes()))
            });
        let blob = blob.unwrap();
        Layer {
            digest: blob.digest,
            diff_id: blob.diff_id,
            size: blob.size,
            media_type: blob.media_type.to_owned(),
            origin: Origin::File(blob.path.unwrap()),
        }
    }
}

/// An entry of user 7: `a/` is a directory, `-> x` makes a link, `=> x` a hard link, anything else
/// is the content of a file.
fn entry<'c>(path: &str, content: &'c str) -> (Entry, &'c str) {
    let (kind, mode, content) = match (path.strip_suffix('/'), content.split_once("> ")) {
        (Some(_), _) => (Kind::Directory, 0o700, ""),
        (_, Some(("-", target))) => (Kind::Symlink { target: target.into() }, 0o777, ""),
        (_, Some(("=", target))) => (Kind::HardLink { target: target.into() }, 0o644, ""),
        _ => (Kind::File { size: content.len() as u64 }, 0o644, content),
    };
    let mut entry = Entry::new(path.trim_end_matches('/'), kind, mode, 5);
    (entry.uid, entry.gid) = (7, 7);
    (entry, content)
}

/// The entries of a layer, as in `usr/bin/x 644 0:0 content`.
fn listed(layer: &Layer) -> Vec<String> {
    let Origin::File(path) = &layer.origin else { panic!("a layer of this machine") };
    listed_file(path)
}

fn listed_file(path: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut sink = |entry: &Entry, content: &mut dyn std::io::Read| {
        let mut text = String::new();
        content.read_to_string(&mut text)?;
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (path, end) = match &entry.kind {
            Kind::Directory => (shown(&entry.path) + "/", String::new()),
            Kind::Symlink { target } => (shown(&entry.path), format!(" -> {}", shown(target))),
            Kind::HardLink { target } => (shown(&entry.path), format!(" => {}", shown(target))),
            Kind::File { .. } => (shown(&entry.path), format!(" {text}")),
            other => (shown(&entry.path), format!(" {other:?}")),
        };
        lines.push(format!("{path} {:o} {}:{}{end}", entry.mode, entry.uid, entry.gid));
        Ok(())
    };
    read_layer(path, None, &mut sink).unwrap();
    lines
}

/// What is said about an error, with its causes.
fn whole(error: BuildError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

fn arc(built: &Arc<Built>) -> Vec<crate::model::Digest> {
    built.layers.iter().map(|layer| layer.digest).collect()
}
