//! What a build starts from: the project file, and each image's Dockerfile and context.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::context::{
    self, Commit, ContextError, ContextOptions, ContextSource, GitDirectory, RepositoryUse,
};
use crate::dockerfile::{self, Dockerfile};
use crate::failure::{Failure, Kind, Outcome};
use crate::project::{self, Project, ProjectName};
use crate::settings::{BuildSettings, Door};

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

/// Reads the inputs of a build; blocking.
pub(super) fn read(settings: &BuildSettings) -> Outcome<Inputs> {
    if !settings.context.is_dir() {
        let path = settings.context.clone();
        return Err(ContextError::NotADirectory { path }.into());
    }
    let mut reader = Reader { settings, contexts: BTreeMap::new(), warnings: Vec::new() };
    let Some((project, file)) = project_file(settings)? else {
        if !settings.images.is_empty() {
            let place = settings.context.display();
            return Err(Failure::usage(format!("--image needs a {PROJECT_FILE} in {place}")));
        }
        let named = settings.dockerfile.clone();
        let place = Place {
            name: "image".to_owned(),
            dockerfile: named.unwrap_or_else(|| settings.context.join("Dockerfile")),
            context: settings.context.clone(),
        };
        let args = settings.build_args.clone();
        let image = reader.image(place, settings.target.clone(), args)?;
        return Ok(Inputs { project: None, images: vec![image], warnings: reader.warnings });
    };
    let mut images = Vec::new();
    for spec in chosen(&project, &file, &settings.images)? {
        let place = Place {
            name: spec.name.to_string(),
            dockerfile: settings.context.join(spec.dockerfile.as_str()),
            context: settings.context.join(spec.context.as_str()),
        };
        let target = settings.target.clone().or_else(|| spec.target.clone());
        let mut args = spec.args.clone();
        args.extend(settings.build_args.clone());
        images.push(reader.image(place, target, args)?);
    }
    Ok(Inputs { project: project.project, images, warnings: reader.warnings })
}

/// Where an image's inputs are.
struct Place {
    name: String,
    dockerfile: PathBuf,
    context: PathBuf,
}

/// The project file, unless a Dockerfile was named or there is none.
fn project_file(settings: &BuildSettings) -> Outcome<Option<(Project, PathBuf)>> {
    let path = settings.context.join(PROJECT_FILE);
    if settings.dockerfile.is_some() || settings.door == Door::Executor || !path.exists() {
        return Ok(None);
    }
    let project = project::parse(&path.display().to_string(), &text(&path)?)?;
    Ok(Some((project, path)))
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
    names.iter().map(find).collect()
}

/// Reads the inputs of one image after the other.
struct Reader<'a> {
    settings: &'a BuildSettings,
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
        let name = place.dockerfile.display().to_string();
        let text = dockerfile_text(self.settings, &place)?;
        let dockerfile = Arc::new(dockerfile::parse(&name, &text)?);
        let context = self.context(&place)?;
        Ok(ImageInputs { name: place.name, dockerfile, context, target, build_args })
    }

    fn context(&mut self, place: &Place) -> Outcome<Arc<dyn ContextSource>> {
        let (ignore, file) = context::load_ignore_rules(&place.context, &place.dockerfile)?;
        let key = (place.context.clone(), file);
        if let Some(context) = self.contexts.get(&key) {
            return Ok(Arc::clone(context));
        }
        let executor = self.settings.door == Door::Executor;
        let options = ContextOptions {
            ignore,
            repository: match self.settings.worktree {
                true => RepositoryUse::Worktree,
                false => RepositoryUse::Revision("HEAD".to_owned()),
            },
            git_directory: if executor { GitDirectory::Keep } else { GitDirectory::Drop },
            ..ContextOptions::default()
        };
        let context: Arc<dyn ContextSource> = context::open(&place.context, options)?.into();
        if executor && context.has_git_dir() {
            self.warnings.push(
                ".git is part of the context, as with kaniko: a COPY that takes it is never found \
                 in the cache; exclude it in .dockerignore"
                    .to_owned(),
            );
        }
        self.contexts.insert(key, Arc::clone(&context));
        Ok(context)
    }
}

fn dockerfile_text(settings: &BuildSettings, place: &Place) -> Outcome<String> {
    let path = &place.dockerfile;
    if path.is_file() {
        return text(path);
    }
    let missing = anyhow::anyhow!("there is no Dockerfile {}", path.display());
    let failure = Failure::new(Kind::BuildFile, missing);
    Err(match (settings.door, &settings.dockerfile) {
        (Door::Executor, _) => {
            failure.hint("--dockerfile is looked for in the working directory and in the context")
        }
        (Door::Build, Some(_)) => {
            failure.hint("-f is relative to the working directory, not to the context")
        }
        (Door::Build, None) => failure.hint(format!(
            "give the directory of a Dockerfile or {PROJECT_FILE}, or the Dockerfile with -f"
        )),
    })
}

fn text(path: &Path) -> Outcome<String> {
    let bytes = context::read_limited(path, FILE_LIMIT)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let message = format!("{} is not UTF-8 at byte {at}", path.display());
        Failure::new(Kind::BuildFile, anyhow::anyhow!(message))
    })
}
