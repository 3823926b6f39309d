//! What a `longshore.yaml` says.

use std::collections::BTreeMap;

use super::name::{ImageName, ProjectName};
use super::path::ProjectPath;

/// A project: a name and its images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The project's name, if the file gives one.
    pub project: Option<ProjectName>,
    /// The images in the order of the file; at least one, each name once.
    pub images: Vec<ImageSpec>,
}

/// How one image is built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSpec {
    /// The image's name in the project.
    pub name: ImageName,
    /// The Dockerfile.
    pub dockerfile: ProjectPath,
    /// The directory that `COPY` and `ADD` see.
    pub context: ProjectPath,
    /// The stage to build; the last one if absent.
    pub target: Option<String>,
    /// Values for the `ARG`s of the Dockerfile.
    pub args: BTreeMap<String, String>,
}

impl Project {
    /// Returns the image with this name.
    pub fn image(&self, name: &str) -> Option<&ImageSpec> {
        self.images.iter().find(|image| image.name.as_str() == name)
    }
}
