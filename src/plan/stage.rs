//! The plan: stages, bases and images, as values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::digest::Inputs;
use super::mount::StepMount;
use super::resolve::Base;
use crate::context::{ContextSource, Selected};
use crate::dockerfile::{Dockerfile, ParseError, RunNetwork, Span};
use crate::image::ImageConfig;
use crate::model::{Platform, StageDigest};

/// A stage's place in [`Plan::stages`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StageId(pub usize);

/// A base's place in [`Plan::bases`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BaseId(pub usize);

/// What a stage or image stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// No layer at all.
    Scratch,
    /// A resolved image.
    Base(BaseId),
    /// Another stage.
    Stage(StageId),
}

/// Everything that is to be there at the end, and what it takes.
#[derive(Debug, Default)]
pub struct Plan {
    /// The stages; a stage's inputs come before it.
    pub stages: Vec<StageSpec>,
    /// The images that stages stand on or copy from.
    pub bases: Vec<Base>,
    /// The images to deliver.
    pub images: Vec<ImagePlan>,
    /// Stages by digest: the same work is planned once.
    pub(super) known: BTreeMap<StageDigest, StageId>,
}

/// One step that makes a layer, with everything that decides how it comes out.
#[derive(Debug)]
pub struct StageSpec {
    /// What it is built upon.
    pub parent: Parent,
    /// The base that its layers start with, through all stages below it.
    pub base: Parent,
    /// What is done.
    pub step: Step,
    /// For which platform.
    pub platform: Platform,
    /// The image's and the stage's place in the log, as in `api 3/7`.
    pub label: String,
    /// The instruction on one line.
    pub instruction: String,
    /// Where the instruction stands, for errors that show only while building.
    pub place: Place,
    /// Which times its files get; not part of the digest, but for the epoch.
    pub times: Times,
    /// What enters the digest.
    pub inputs: Inputs,
    /// The digest of `inputs`.
    pub digest: StageDigest,
    /// The config at this point, stored with the stage.
    pub config: ImageConfig,
    /// The history at this point.
    pub history: Vec<HistoryStep>,
}

/// Which times the files of an image get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// SOURCE_DATE_EPOCH, if it was given (seconds since 1970).
    pub epoch: Option<i64>,
    /// The time of the context's commit.
    pub commit: Option<i64>,
    /// The start of the build.
    pub now: i64,
    /// What decides the times of files.
    pub files: FileTimes,
}

/// A place in a Dockerfile.
#[derive(Clone)]
pub struct Place {
    /// The file.
    pub dockerfile: Arc<Dockerfile>,
    /// Where in it.
    pub span: Span,
}

/// What a stage does.
#[derive(Debug)]
pub enum Step {
    /// Runs a command.
    Run(RunStep),
    /// Copies files or unpacks archives.
    Copy(CopyStep),
    /// Makes the working directory if it is absent.
    Workdir(WorkdirStep),
}

/// A RUN step.
#[derive(Clone, Debug)]
pub struct RunStep {
    /// The argument vector; the shell is part of it.
    pub argv: Vec<String>,
    /// The environment, by name; proxies are left out.
    pub env: BTreeMap<String, String>,
    /// Proxy settings, which reach the environment but not the digest.
    pub proxies: BTreeMap<String, String>,
    /// The working directory, absolute.
    pub cwd: String,
    /// The USER in force; empty for root.
    pub user: String,
    /// The network.
    pub network: RunNetwork,
    /// What it sees besides the image.
    pub mounts: Vec<StepMount>,
}

/// COPY or ADD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyKind {
    /// Archives are files like others.
    Copy,
    /// Local tar archives are unpacked.
    Add,
}

/// A COPY or ADD step.
#[derive(Debug)]
pub struct CopyStep {
    /// Which of the two.
    pub kind: CopyKind,
    /// What is copied.
    pub source: CopySource,
    /// What is copied besides: files that stand in the Dockerfile.
    pub inline: Vec<InlineFile>,
    /// The destination, absolute, without a trailing slash.
    pub destination: String,
    /// Whether the destination is a directory by the way it is written: a trailing slash or dot,
    /// or several sources.
    pub into_directory: bool,
    /// `--chown`, expanded.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<u32>,
}

/// A file of a COPY or ADD whose content stands in the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InlineFile {
    /// Its name in a directory.
    pub name: String,
    /// Its content, expanded.
    pub text: String,
}

/// Where a COPY takes its files from.
pub enum CopySource {
    /// Entries of the build context.
    Context {
        /// The context.
        context: Arc<dyn ContextSource>,
        /// What each source matched.
        selected: Vec<Selected>,
    },
    /// Paths in another stage or image.
    Image {
        /// The stage or image.
        from: Parent,
        /// The sources: absolute patterns.
        sources: Vec<String>,
    },
}

/// A WORKDIR step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkdirStep {
    /// The directory, absolute.
    pub path: String,
    /// The USER in force, who will own it; empty for root.
    pub user: String,
}

/// One instruction in an image's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryStep {
    /// The instruction on one line.
    pub text: String,
    /// The stage that may have made a layer for it.
    pub stage: Option<StageId>,
}

/// An image to deliver.
#[derive(Debug)]
pub struct ImagePlan {
    /// Its name in the project.
    pub name: String,
    /// What holds its layers.
    pub top: Parent,
    /// The base that its layers start with, through all its stages.
    pub base: Parent,
    /// For which platform.
    pub platform: Platform,
    /// Its config, without layers and history of its own.
    pub config: ImageConfig,
    /// The instructions since the base.
    pub history: Vec<HistoryStep>,
    /// When it counts as made.
    pub times: Times,
    /// The digest of everything that decides how the image comes out.
    pub digest: StageDigest,
}

/// What decides the times of files that are copied from a context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileTimes {
    /// That of SOURCE_DATE_EPOCH or the commit; outside of git their own.
    #[default]
    Commit,
    /// One for each layer, derived from its digest: a layer that is made again without a cache is
    /// the same one, whatever commit it is made for.
    Content,
    /// This one, in seconds since 1970.
    Fixed(i64),
}

/// How far behind [`EARLIEST`] a time that stands for content can be: 40 years.
const CONTENT_TIMES: u32 = 40 * 365 * 24 * 3600;

/// 1980-02-01: the earliest time that every archive format and file system can hold.
const EARLIEST: i64 = 318_211_200;

impl Times {
    /// The time of a file of the context whose own time is `own` (only outside of git), or of a
    /// directory made on the way.
    pub fn of_context(&self, own: Option<i64>) -> i64 {
        let asked = match self.files {
            FileTimes::Fixed(seconds) => Some(seconds),
            FileTimes::Commit | FileTimes::Content => self.epoch,
        };
        match asked {
            // Asked for, so the same on every day, also one before it.
            Some(epoch) => epoch.max(EARLIEST),
            None => {
                let time = self.commit.or(own).unwrap_or(self.now);
                time.clamp(EARLIEST, self.now.max(EARLIEST))
            }
        }
    }

    /// The times of the files of the stage with that digest.
    pub(super) fn of_stage(self, digest: &StageDigest) -> Self {
        let files = match self.files {
            FileTimes::Content => {
                let start = digest.as_bytes().first_chunk().expect("a digest has 28 bytes");
                FileTimes::Fixed(EARLIEST + i64::from(u32::from_be_bytes(*start) % CONTENT_TIMES))
            }
            files => files,
        };
        Self { files, ..self }
    }

    /// When the image counts as made.
    pub fn created(&self) -> i64 {
        self.epoch.or(self.commit).unwrap_or(self.now)
    }
}

impl Plan {
    /// A stage by id.
    pub fn stage(&self, id: StageId) -> &StageSpec {
        &self.stages[id.0]
    }

    /// A base by id.
    pub fn base(&self, id: BaseId) -> &Base {
        &self.bases[id.0]
    }

    /// The stages and images whose files a stage takes besides its parent's, as it names them.
    pub fn sources(&self, id: StageId) -> Vec<Parent> {
        match &self.stage(id).step {
            Step::Run(step) => step.mounts.iter().filter_map(StepMount::from).collect(),
            Step::Copy(CopyStep { source: CopySource::Image { from, .. }, .. }) => vec![*from],
            Step::Copy(_) | Step::Workdir(_) => Vec::new(),
        }
    }

    /// What identifies the content of a parent in digests.
    pub fn content(&self, parent: Parent) -> String {
        match parent {
            Parent::Scratch => "scratch".to_owned(),
            Parent::Base(id) => self.base(id).manifest.to_string(),
            Parent::Stage(id) => self.stage(id).digest.to_string(),
        }
    }
}

impl Place {
    /// An error at this place, shown like the parser's own.
    pub fn error(&self, message: impl Into<String>, hint: Option<String>) -> ParseError {
        self.dockerfile.error(self.span, message, hint)
    }
}

/// `FILE:LINE:COLUMN`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.dockerfile.place(self.span))
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for CopySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Context { selected, .. } => {
                f.debug_struct("Context").field("selected", selected).finish_non_exhaustive()
            }
            Self::Image { from, sources } => {
                f.debug_struct("Image").field("from", from).field("sources", sources).finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_get_the_epoch_else_the_commits_time_else_their_own() {
        let now = 1_800_000_000;
        let times = |epoch, commit| Times { epoch, commit, now, files: FileTimes::Commit };
        for (times, own, time) in [
            (times(Some(1_600_000_000), Some(1_700_000_000)), Some(5), 1_600_000_000),
            (times(Some(1_900_000_000), None), None, 1_900_000_000),
            (times(Some(0), None), None, EARLIEST),
            (times(None, Some(1_700_000_000)), Some(5), 1_700_000_000),
            (times(None, Some(1_900_000_000)), None, now),
            (times(None, None), Some(1_500_000_000), 1_500_000_000),
            (times(None, None), Some(5), EARLIEST),
            (times(None, None), None, now),
        ] {
            assert_eq!(times.of_context(own), time, "{times:?} {own:?}");
        }
        assert_eq!(times(Some(0), Some(1)).created(), 0);
        let files = FileTimes::Fixed(1_234_567_890);
        let fixed = Times { files, ..times(Some(1_600_000_000), Some(1)) };
        assert_eq!((fixed.of_context(Some(5)), fixed.created()), (1_234_567_890, 1_600_000_000));
    }
}
