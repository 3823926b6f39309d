//! What a build starts from: the project file, and each image's Dockerfile and context.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::blocking::Interrupt;
use crate::context::{
    self, Commit, ContextError, ContextOptions, ContextSource, GitDirectory, LfsPointers,
    LfsProgram, RepositoryUse,
};
use crate::dockerfile::{self, Dockerfile};
use crate::failure::{Failure, Kind, Outcome};
use crate::ignore_rules::IgnoreRules;
use crate::plan::Given;
use crate::project::{self, Project, ProjectName};
use crate::settings::{BuildSettings, Door, Origin, StorageChoice};

/// Build files above this are not read (bytes).
const FILE_LIMIT: u64 = 4 << 20;
const PROJECT_FILE: &str = "longshore.yaml";

/// One image's inputs, read.
#[derive(Debug)]
pub(super) struct ImageInputs {
    pub(super) name: String,
    pub(super) dockerfile: Arc<Dockerfile>,
    pub(super) context: Arc<dyn ContextSource>,
    pub(super) target: Option<String>,
    pub(super) build_args: BTreeMap<String, String>,
}

/// Everything a build starts from.
#[derive(Debug)]
pub(super) struct Inputs {
    pub(super) project: Option<ProjectName>,
    pub(super) images: Vec<ImageInputs>,
    pub(super) warnings: Vec<String>,
}

impl Inputs {
    /// The commit that the first image's context belongs to.
    pub(super) fn commit(&self) -> Option<&Commit> {
        self.images.first().and_then(|image| image.context.commit())
    }
}

/// Reads the inputs of a build; blocking. Large objects are put together in `scratch`.
pub(super) fn read(
    settings: &BuildSettings,
    scratch: &Path,
    interrupt: &Interrupt,
) -> Outcome<Inputs> {
    let committed = match &settings.revision {
        Some(revision) => Some(Committed::open(&settings.context, revision)?),
        None if settings.context.is_dir() => None,
        None => {
            let path = settings.context.clone();
            return Err(ContextError::NotADirectory { path }.into());
        }
    };
    let contexts = BTreeMap::new();
    let warnings = Vec::new();
    let mut reader = Reader { settings, scratch, interrupt, committed, contexts, warnings };
    let Some((project, file)) = reader.project_file()? else {
        if !settings.images.is_empty() {
            let place = settings.context.display();
            return Err(Failure::usage(format!("--image needs a {PROJECT_FILE} in {place}")));
        }
        let place = Place {
            name: "image".to_owned(),
            dockerfile: settings.inside.clone().unwrap_or_else(|| "Dockerfile".to_owned()),
            dockerfile_is_named: false,
            context: settings.context.clone(),
        };
        let args = settings.build_args.clone();
        let image = reader.image(place, settings.target.clone(), args)?;
        let images = vec![image];
        let warnings = reader.warnings(&images);
        return Ok(Inputs { project: None, images, warnings });
    };
    let mut images = Vec::new();
    for spec in chosen(&project, &file, &settings.images)? {
        let place = Place {
            name: spec.name.to_string(),
            dockerfile: spec.dockerfile.as_str().to_owned(),
            dockerfile_is_named: true,
            context: settings.context.join(spec.context.as_str()),
        };
        let target = settings.target.clone().or_else(|| spec.target.clone());
        let mut args = spec.args.clone();
        args.extend(settings.build_args.clone());
        let (name, named) = (place.name.clone(), file.display());
        let image = reader.image(place, target, args);
        let missing = |failure: &Failure| {
            let cause = failure.error.downcast_ref::<ContextError>();
            failure.hints.is_empty() && cause.is_some_and(ContextError::is_not_found)
        };
        images.push(image.map_err(|failure| match missing(&failure) {
            true => failure.hint(format!("{named} names it for the image {name:?}")),
            false => failure,
        })?);
    }
    let warnings = reader.warnings(&images);
    Ok(Inputs { project: project.project, images, warnings })
}

/// Where an image's inputs are.
struct Place {
    name: String,
    /// Below the directory that was given; not used when a Dockerfile was named.
    dockerfile: String,
    /// Whether it is the project file that says so.
    dockerfile_is_named: bool,
    context: PathBuf,
}

fn chosen<'a>(
    project: &'a Project,
    file: &Path,
    names: &[String],
) -> Outcome<Vec<&'a project::ImageSpec>> {
    if names.is_empty() {
        return Ok(project.images.iter().collect());
    }
    let find = |name: &String| {
        project.images.iter().find(|image| image.name.as_str() == name).ok_or_else(|| {
            let known: Vec<&str> = project.images.iter().map(|image| image.name.as_str()).collect();
            Failure::usage(format!("{} has no image {name:?}", file.display()))
                .hint(format!("its images are: {}", known.join(", ")))
        })
    };
    let mut seen = BTreeSet::new();
    names.iter().filter(|name| seen.insert(*name)).map(find).collect()
}

/// What is committed, all of it, when only that counts.
struct Committed {
    whole: Box<dyn ContextSource>,
    /// The commit, which stays the same while a branch moves on.
    repository: RepositoryUse,
}

impl Committed {
    fn open(directory: &Path, revision: &str) -> Outcome<Self> {
        let named = RepositoryUse::Revision(revision.to_owned());
        let whole = open_whole(directory, named.clone())?;
        let repository = match whole.commit() {
            Some(commit) => RepositoryUse::Revision(commit.id.clone()),
            None => named,
        };
        Ok(Self { whole, repository })
    }
}

/// Reads the inputs of one image after the other.
struct Reader<'a> {
    settings: &'a BuildSettings,
    /// A directory of this build.
    scratch: &'a Path,
    interrupt: &'a Interrupt,
    committed: Option<Committed>,
    /// By directory and ignore file: images that have both in common share the context, which is
    /// then listed once for all of them.
    contexts: BTreeMap<(PathBuf, Option<PathBuf>), Arc<dyn ContextSource>>,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn image(
        &mut self,
        place: Place,
        target: Option<String>,
        build_args: BTreeMap<String, String>,
    ) -> Outcome<ImageInputs> {
        let path = self.dockerfile_path(&place);
        let dockerfile =
            Arc::new(dockerfile::parse(&self.shown(&path), &self.dockerfile_text(&place, &path)?)?);
        let context = self.context(&place, &path)?;
        Ok(ImageInputs { name: place.name, dockerfile, context, target, build_args })
    }

    /// The project file, unless a Dockerfile was named or there is none.
    fn project_file(&self) -> Outcome<Option<(Project, PathBuf)>> {
        let path = self.settings.context.join(PROJECT_FILE);
        let named = self.settings.dockerfile.is_some() || self.settings.inside.is_some();
        if named || self.settings.door == Door::Executor {
            return Ok(None);
        }
        let text = match &self.committed {
            Some(committed) => committed_text(committed.whole.as_ref(), PROJECT_FILE, &path)?,
            None if self.is_unpacked() => unpacked_text(&self.settings.context, PROJECT_FILE)?,
            None if path.exists() => Some(text(&path)?),
            None => None,
        };
        let Some(text) = text else { return Ok(None) };
        let project = project::parse(&self.shown(&path), &text)?;
        Ok(Some((project, path)))
    }

    fn dockerfile_path(&self, place: &Place) -> PathBuf {
        let named = self.settings.dockerfile.clone();
        named.unwrap_or_else(|| self.settings.context.join(&place.dockerfile))
    }

    fn dockerfile_text(&self, place: &Place, path: &Path) -> Outcome<String> {
        let found = match &self.committed {
            Some(committed) if self.settings.dockerfile.is_none() => {
                committed_text(committed.whole.as_ref(), &place.dockerfile, path)?
            }
            None if self.is_unpacked() && self.settings.dockerfile.is_none() => {
                unpacked_text(&self.settings.context, &place.dockerfile)?
            }
            _ if path.is_file() => Some(text(path)?),
            _ => None,
        };
        found.ok_or_else(|| no_dockerfile(self.settings, place, &self.shown(path)))
    }

    /// The ignore rules of an image, and the file that they are from.
    fn ignore_rules(&self, place: &Place, path: &Path) -> Outcome<(IgnoreRules, Option<PathBuf>)> {
        let Some(committed) = &self.committed else {
            if self.is_unpacked() {
                self.confine(&place.context)?;
                if self.settings.dockerfile.is_none() {
                    self.confine(Path::new(&format!("{}.dockerignore", path.display())))?;
                }
            }
            return Ok(context::load_ignore_rules(&place.context, path)?);
        };
        let own = format!("{}.dockerignore", place.dockerfile);
        let at = self.settings.context.join(&own);
        if self.settings.dockerfile.is_none()
            && let Some(text) = committed_text(committed.whole.as_ref(), &own, &at)?
        {
            return Ok((IgnoreRules::parse(&self.shown(&at), text.as_bytes())?, Some(at)));
        }
        let whole = open_whole(&place.context, committed.repository.clone())?;
        let at = place.context.join(".dockerignore");
        match committed_text(whole.as_ref(), ".dockerignore", &at)? {
            Some(text) => Ok((IgnoreRules::parse(&self.shown(&at), text.as_bytes())?, Some(at))),
            None => Ok((IgnoreRules::none(), None)),
        }
    }

    /// Whether the context was unpacked from an archive: a directory outside git, and nothing
    /// that a link in it names counts unless it lies inside.
    fn is_unpacked(&self) -> bool {
        matches!(self.settings.origin, Origin::Archive { .. })
    }

    /// Refuses a path in an unpacked context that links lead out of it.
    fn confine(&self, path: &Path) -> Outcome<()> {
        let root = fs_err::canonicalize(&self.settings.context);
        let inside = match (root, fs_err::canonicalize(path)) {
            (Ok(root), Ok(real)) => real.starts_with(root),
            // What is not there leads nowhere; whoever reads it says so.
            _ => true,
        };
        let path = PathBuf::from(self.shown(path));
        if inside { Ok(()) } else { Err(ContextError::Outside { path }.into()) }
    }

    /// What messages call a file: what came from elsewhere, by its path in the context.
    fn shown(&self, path: &Path) -> String {
        let inside = match self.settings.origin {
            Origin::Directory => None,
            _ => path.strip_prefix(&self.settings.context).ok(),
        };
        inside.unwrap_or(path).display().to_string()
    }

    /// What was noticed, with the build arguments that no image takes.
    fn warnings(self, images: &[ImageInputs]) -> Vec<String> {
        let mut warnings = self.warnings;
        let taken = |name: &String| {
            Given::is_predefined(name) || images.iter().any(|image| image.dockerfile.declares(name))
        };
        let unknown = self.settings.build_args.keys().filter(|name| !taken(name));
        warnings.extend(unknown.map(|name| format!("no ARG takes --build-arg {name}")));
        warnings
    }

    fn context(&mut self, place: &Place, path: &Path) -> Outcome<Arc<dyn ContextSource>> {
        let (ignore, file) = self.ignore_rules(place, path)?;
        let key = (place.context.clone(), file);
        if let Some(context) = self.contexts.get(&key) {
            return Ok(Arc::clone(context));
        }
        let keeps_git = self.settings.git_directory == GitDirectory::Keep;
        let options = ContextOptions {
            ignore,
            repository: match &self.committed {
                None if self.is_unpacked() => RepositoryUse::Ignore,
                None => RepositoryUse::Worktree,
                Some(committed) => committed.repository.clone(),
            },
            git_directory: self.settings.git_directory,
            owners: self.settings.owners,
            lfs_pointers: match &self.settings.filters {
                None => LfsPointers::Refuse,
                Some(environment) => {
                    let variables = environment.variables().clone();
                    LfsPointers::Fetch(LfsProgram::new(variables, self.interrupt.clone()))
                }
            },
            scratch: Some(self.scratch.to_owned()),
        };
        let context: Arc<dyn ContextSource> = context::open(&place.context, options)?.into();
        if keeps_git && self.settings.storage != StorageChoice::None && context.has_git_dir() {
            let advice = match self.settings.door {
                Door::Executor => {
                    ", as with kaniko: a COPY that takes it is never found in the \
                                   cache; exclude it in .dockerignore"
                }
                Door::Build => ": a COPY that takes it is never found in the storage",
            };
            self.warnings.push(format!(".git is part of the context{advice}"));
        }
        self.contexts.insert(key, Arc::clone(&context));
        Ok(context)
    }
}

/// Opens a directory of a commit, with nothing left out.
fn open_whole(
    directory: &Path,
    repository: RepositoryUse,
) -> Result<Box<dyn ContextSource>, ContextError> {
    context::open(directory, ContextOptions { repository, ..ContextOptions::default() })
}

/// The text of a committed file, if there is one; `shown` is what messages call it.
fn committed_text(
    committed: &dyn ContextSource,
    path: &str,
    shown: &Path,
) -> Outcome<Option<String>> {
    match committed.read_small(path.as_bytes(), FILE_LIMIT) {
        Ok(bytes) => utf8(shown, bytes).map(Some),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The text of a file of an unpacked context, if there is one; links may not lead out of it.
fn unpacked_text(root: &Path, path: &str) -> Outcome<Option<String>> {
    match context::read_file(root, path.as_bytes(), FILE_LIMIT) {
        Ok(bytes) => utf8(Path::new(path), bytes).map(Some),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn no_dockerfile(settings: &BuildSettings, place: &Place, shown: &str) -> Failure {
    let failure = |message: String| Failure::new(Kind::BuildFile, anyhow::anyhow!(message));
    let missing = failure(format!("there is no Dockerfile {shown}"));
    match (settings.door, &settings.dockerfile, &settings.origin) {
        (Door::Executor, ..) => {
            missing.hint("--dockerfile is looked for in the working directory and in the context")
        }
        (Door::Build, ..) if settings.inside.is_some() => {
            missing.hint("-f names a file in the context, which comes from elsewhere")
        }
        (Door::Build, Some(_), _) => {
            missing.hint("-f is relative to the working directory, not to the context")
        }
        (Door::Build, None, _) if place.dockerfile_is_named => {
            missing.hint(format!("{PROJECT_FILE} names it for the image {:?}", place.name))
        }
        (Door::Build, None, Origin::Archive { .. }) => {
            failure("there is no Dockerfile at the top of the tar archive".to_owned()).hint(
                "pack what is in its directory, as in: tar -C DIR -c . | longshore build -; or \
                 name a file of the archive with -f",
            )
        }
        (Door::Build, None, Origin::Remote(_)) => failure(
            "there is no Dockerfile at the top of the context".to_owned(),
        )
        .hint("name its directory behind the address, as in #REF:DIR, or a file in it with -f"),
        (Door::Build, None, Origin::Directory) if is_bare(settings) => missing.hint(
            "this is a git directory: --no-worktree builds the commit of HEAD in it, --commit REV \
             any other",
        ),
        (Door::Build, None, Origin::Directory) => missing.hint(format!(
            "give the directory of a Dockerfile or {PROJECT_FILE}, or the Dockerfile with -f"
        )),
    }
}

/// Whether the worktree that is to be built is none but a git directory.
fn is_bare(settings: &BuildSettings) -> bool {
    let has = |name: &str| settings.context.join(name).exists();
    settings.revision.is_none() && has("HEAD") && has("objects") && has("refs")
}

/// Reads a build file that is on this machine.
pub(super) fn text(path: &Path) -> Outcome<String> {
    utf8(path, context::read_limited(path, FILE_LIMIT)?)
}

fn utf8(path: &Path, bytes: Vec<u8>) -> Outcome<String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let message = format!("{} is not UTF-8 at byte {at}", path.display());
        Failure::new(Kind::BuildFile, anyhow::anyhow!(message))
    })
}
