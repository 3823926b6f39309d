//! From YAML to a checked project.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::error::{Problem, ProjectError};
use super::name::ImageName;
use super::path::ProjectPath;
use super::spec::{ImageSpec, Project};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProject {
    project: Option<Spanned<String>>,
    images: Spanned<Vec<RawImage>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawImage {
    name: Spanned<String>,
    dockerfile: Option<Spanned<String>>,
    context: Option<Spanned<String>>,
    target: Option<Spanned<String>>,
    #[serde(default)]
    args: HashMap<Spanned<String>, String>,
}

/// Parses the text of a `longshore.yaml`. The name is used in messages only.
///
/// # Errors
/// When the text is not YAML of the right shape (the first such problem), or else all values that
/// are not valid.
pub fn parse(name: &str, text: &str) -> Result<Project, ProjectError> {
    let fail = |problems| ProjectError { name: name.to_owned(), problems };
    let options = serde_saphyr::options! { with_snippet: false };
    let raw: RawProject = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| fail(vec![Problem::of_yaml(&error)]))?;
    let mut problems = Vec::new();
    let project = raw.project.and_then(|project| checked(&project, &mut problems));
    if raw.images.value.is_empty() {
        problems.push(
            Problem::at(raw.images.referenced, "the project has no images")
                .hint("give at least one image under \"images\""),
        );
    }
    let mut lines = BTreeMap::new();
    let mut images = Vec::new();
    for image in raw.images.value {
        note_duplicate(&image.name, &mut lines, &mut problems);
        images.extend(image_spec(image, &mut problems));
    }
    problems.sort_by_key(|problem| (problem.line, problem.column));
    if problems.is_empty() { Ok(Project { project, images }) } else { Err(fail(problems)) }
}

fn note_duplicate(
    name: &Spanned<String>,
    lines: &mut BTreeMap<String, u64>,
    problems: &mut Vec<Problem>,
) {
    if let Some(line) = lines.get(&name.value) {
        let message = format!("the image {:?} is already defined in line {line}", name.value);
        problems.push(Problem::at(name.referenced, message));
    } else {
        lines.insert(name.value.clone(), name.referenced.line());
    }
}

fn image_spec(raw: RawImage, problems: &mut Vec<Problem>) -> Option<ImageSpec> {
    let name: Option<ImageName> = checked(&raw.name, problems);
    let mut path = |path: Option<Spanned<String>>, default: &str| match path {
        Some(path) => checked(&path, problems),
        None => Some(default.parse::<ProjectPath>().expect("the defaults are valid paths")),
    };
    let dockerfile = path(raw.dockerfile, "Dockerfile");
    let context = path(raw.context, ".");
    if let Some(target) = raw.target.as_ref().filter(|target| target.value.is_empty()) {
        problems.push(
            Problem::at(target.referenced, "the target is empty")
                .hint("leave the key out to build the last stage"),
        );
    }
    let mut args = BTreeMap::new();
    for (key, value) in raw.args {
        if key.value.is_empty() || key.value.contains('=') {
            let message = format!("{:?} is not the name of a build argument", key.value);
            problems.push(Problem::at(key.referenced, message));
        }
        args.insert(key.value, value);
    }
    Some(ImageSpec {
        name: name?,
        dockerfile: dockerfile?,
        context: context?,
        target: raw.target.map(|target| target.value),
        args,
    })
}

/// Reads a value that was written as text.
fn checked<T: FromStr<Err: std::fmt::Display>>(
    text: &Spanned<String>,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    match text.value.parse() {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(Problem::at(text.referenced, error.to_string()));
            None
        }
    }
}
