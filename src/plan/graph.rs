//! Which stages of a Dockerfile a target needs, and what they are built from.
//!
//! Pure: names are expanded with the `ARG`s before the first `FROM`, stage names are looked up,
//! cycles are refused. Reaching out for the images is `resolve`'s business.

use std::collections::BTreeMap;

use crate::dockerfile::{
    CopyFiles, Dockerfile, Instruction, InstructionKind, MountFlag, ParseError, Span, Spanned,
    expand,
};
use crate::model::{Platform, Reference};

use super::scope::{Given, Scope};

/// What a stage starts from, or what a `COPY --from` reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nothing.
    Scratch,
    /// An earlier stage, by its index.
    Stage(usize),
    /// An image for a platform.
    Image(Box<ImageSource>),
}

/// An image that has to be resolved.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageSource {
    /// The image, normalised.
    pub reference: Reference,
    /// For which platform.
    pub platform: Platform,
}

/// The stages that a target needs.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The target's index.
    pub target: usize,
    /// The scope of the `ARG`s before the first `FROM`.
    pub global: Scope,
    /// What every stage starts from, by the stage's index; `None` for stages that are not needed.
    pub from: Vec<Option<Source>>,
    /// The platform of every stage.
    pub platforms: Vec<Platform>,
}

/// Reads the graph below `target` (the last stage if `None`).
///
/// # Errors
/// With the place in the Dockerfile: an unknown target, a name that is no reference, a cycle.
pub fn graph(
    dockerfile: &Dockerfile,
    target: Option<&str>,
    given: &Given,
    platform: &Platform,
) -> Result<Graph, ParseError> {
    let target = find_target(dockerfile, target)?;
    let global = global_scope(dockerfile, given)?;
    let count = dockerfile.stages.len();
    let mut graph =
        Graph { target, global, from: vec![None; count], platforms: vec![platform.clone(); count] };
    let mut path = Vec::new();
    graph.visit(dockerfile, target, given, &mut path)?;
    Ok(graph)
}

impl Graph {
    /// The images to be resolved: bases and the sources of `COPY --from` and `RUN --mount` in
    /// needed stages, each
    /// with what tells a reader where it comes from.
    ///
    /// # Errors
    /// When a `--from` is no reference.
    pub fn images(
        &self,
        dockerfile: &Dockerfile,
    ) -> Result<BTreeMap<ImageSource, String>, ParseError> {
        let mut images = BTreeMap::new();
        for (index, from) in self.from.iter().enumerate() {
            let Some(from) = from else { continue };
            if let Source::Image(image) = from {
                let place = dockerfile.place(dockerfile.stages[index].from.span);
                images
                    .entry((**image).clone())
                    .or_insert_with(|| format!("{place} asks for this image"));
            }
            for instruction in instructions(dockerfile, index, from) {
                for (source, from) in self.sources(dockerfile, index, instruction)? {
                    if let Source::Image(image) = source {
                        images.entry(*image).or_insert_with(|| taken_for_image(dockerfile, from));
                    }
                }
            }
        }
        Ok(images)
    }

    /// What a `COPY --from` of stage `index` reads; `None` for every other instruction.
    ///
    /// # Errors
    /// When the value is no stage and no reference.
    pub fn copy_source(
        &self,
        dockerfile: &Dockerfile,
        index: usize,
        instruction: &Instruction,
    ) -> Result<Option<Source>, ParseError> {
        let InstructionKind::Copy(copy) = &instruction.kind else { return Ok(None) };
        let Some(from) = &copy.from else { return Ok(None) };
        self.source(dockerfile, index, from).map(Some)
    }

    /// What the `from` of a `RUN --mount` in stage `index` names; `None` without one.
    ///
    /// # Errors
    /// As [`Graph::copy_source`].
    pub fn mount_source(
        &self,
        dockerfile: &Dockerfile,
        index: usize,
        mount: &MountFlag,
    ) -> Result<Option<Source>, ParseError> {
        match mount.from() {
            None => Ok(None),
            Some(from) if from.value == "scratch" => Ok(Some(Source::Scratch)),
            Some(from) => self.source(dockerfile, index, from).map(Some),
        }
    }

    /// All that an instruction of stage `index` takes files from, and the words that name it.
    fn sources<'d>(
        &self,
        dockerfile: &Dockerfile,
        index: usize,
        instruction: &'d Instruction,
    ) -> Result<Vec<(Source, &'d Spanned<String>)>, ParseError> {
        let mut sources = Vec::new();
        match &instruction.kind {
            InstructionKind::Copy(CopyFiles { from: Some(from), .. }) => {
                sources.push((self.source(dockerfile, index, from)?, from));
            }
            InstructionKind::Run { options, .. } => {
                for mount in &options.mounts {
                    let source = self.mount_source(dockerfile, index, mount)?;
                    sources.extend(source.zip(mount.from()));
                }
            }
            _ => {}
        }
        Ok(sources)
    }

    fn source(
        &self,
        dockerfile: &Dockerfile,
        index: usize,
        from: &Spanned<String>,
    ) -> Result<Source, ParseError> {
        if let Some(stage) = dockerfile.stage_by_reference(&from.value) {
            return Ok(Source::Stage(stage));
        }
        if from.value.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = format!("there is no stage number {}", from.value);
            let count = dockerfile.stages.len();
            let hint = format!("the file has the stages 0 to {}", count - 1);
            return Err(dockerfile.error(from.span, message, Some(hint)));
        }
        let platform = self.platforms[index].clone();
        reference(dockerfile, &from.value, from.span, platform)
    }

    fn visit(
        &mut self,
        dockerfile: &Dockerfile,
        index: usize,
        given: &Given,
        path: &mut Vec<usize>,
    ) -> Result<(), ParseError> {
        let stage = &dockerfile.stages[index];
        if path.contains(&index) {
            let names: Vec<String> =
                path.iter().chain([&index]).map(|&at| stage_name(dockerfile, at)).collect();
            let message = format!("the stages need each other: {}", names.join(" -> "));
            return Err(dockerfile.error(stage.span, message, None));
        }
        if self.from[index].is_some() {
            return Ok(());
        }
        path.push(index);
        if let Some(platform) = &stage.platform {
            self.platforms[index] = self.platform(dockerfile, platform, given)?;
        }
        let from = self.base(dockerfile, index, given)?;
        let mut needed = Vec::new();
        if let Source::Stage(parent) = from {
            needed.push(parent);
        }
        for instruction in instructions(dockerfile, index, &from) {
            for (source, _) in self.sources(dockerfile, index, instruction)? {
                if let Source::Stage(source) = source {
                    needed.push(source);
                }
            }
        }
        for stage in needed {
            self.visit(dockerfile, stage, given, path)?;
        }
        path.pop();
        self.from[index] = Some(from);
        Ok(())
    }

    fn platform(
        &self,
        dockerfile: &Dockerfile,
        platform: &Spanned<String>,
        given: &Given,
    ) -> Result<Platform, ParseError> {
        let text = self.expand(dockerfile, platform, given)?;
        text.parse().map_err(|error| dockerfile.error(platform.span, format!("{error}"), None))
    }

    fn base(
        &self,
        dockerfile: &Dockerfile,
        index: usize,
        given: &Given,
    ) -> Result<Source, ParseError> {
        let from = &dockerfile.stages[index].from;
        let text = self.expand(dockerfile, from, given)?;
        if text.is_empty() {
            let message = format!("the base image {:?} is empty after expansion", from.value);
            let hint = "give the ARG a default before the first FROM, or a value by --build-arg";
            return Err(dockerfile.error(from.span, message, Some(hint.to_owned())));
        }
        if text == "scratch" {
            return Ok(Source::Scratch);
        }
        // FROM sees only the names of earlier stages; a later one of the same name is an image.
        let earlier = dockerfile.stage_by_name(&text).filter(|&stage| stage < index);
        match earlier {
            Some(stage) => Ok(Source::Stage(stage)),
            None => reference(dockerfile, &text, from.span, self.platforms[index].clone()),
        }
    }

    /// Expands a word of a `FROM`, which sees the global arguments and the platform's.
    fn expand(
        &self,
        dockerfile: &Dockerfile,
        word: &Spanned<String>,
        given: &Given,
    ) -> Result<String, ParseError> {
        let lookup = |name: &str| {
            self.global.lookup(name).or_else(|| given.platform_args.get(name).cloned())
        };
        expand(&word.value, dockerfile.directives.escape, &lookup)
            .map(|expansion| expansion.text)
            .map_err(|error| dockerfile.error(word.span, error.to_string(), None))
    }
}

/// What a stage carries out: the triggers that its parent stage leaves, and its own instructions.
/// The triggers of an image are not known here.
fn instructions<'d>(
    dockerfile: &'d Dockerfile,
    index: usize,
    from: &Source,
) -> impl Iterator<Item = &'d Instruction> {
    let parent: &[Instruction] = match from {
        Source::Stage(parent) => &dockerfile.stages[*parent].instructions,
        Source::Scratch | Source::Image(_) => &[],
    };
    let triggers = parent.iter().filter_map(|instruction| match &instruction.kind {
        InstructionKind::OnBuild(trigger) => Some(&trigger.instruction),
        _ => None,
    });
    triggers.chain(&dockerfile.stages[index].instructions)
}

/// Where a `from` that names an image is, and whether a stage may have been meant.
fn taken_for_image(dockerfile: &Dockerfile, from: &Spanned<String>) -> String {
    let place = dockerfile.place(from.span);
    let names = dockerfile.stages.iter().filter_map(|stage| stage.name.as_ref());
    let names: Vec<&str> = names.map(|name| name.value.as_str()).collect();
    if names.is_empty() || from.value.contains(['/', ':', '.', '@']) {
        return format!("{place} asks for this image");
    }
    format!(
        "{place} asks for this image, for there is no stage {:?}; the stages are: {}",
        from.value,
        names.join(", ")
    )
}

fn find_target(dockerfile: &Dockerfile, target: Option<&str>) -> Result<usize, ParseError> {
    let Some(target) = target else { return Ok(dockerfile.stages.len() - 1) };
    dockerfile.stage_by_reference(target).ok_or_else(|| {
        let names: Vec<String> =
            (0..dockerfile.stages.len()).map(|at| stage_name(dockerfile, at)).collect();
        let message = format!("there is no stage {target:?} to build");
        let hint = format!("the stages are: {}", names.join(", "));
        let last = dockerfile.stages.last().expect("a Dockerfile has a stage");
        dockerfile.error(last.span, message, Some(hint))
    })
}

fn global_scope(dockerfile: &Dockerfile, given: &Given) -> Result<Scope, ParseError> {
    let mut global = Scope::default();
    let none = Scope::default();
    for declaration in &dockerfile.global_args {
        let name = &declaration.name.value;
        let lookup =
            |name: &str| global.lookup(name).or_else(|| given.platform_args.get(name).cloned());
        let default = match &declaration.default {
            // A default that a given value replaces may be wrong, as in `${A:?give me}`.
            Some(word) if !given.build_args.contains_key(name) => Some(
                expand(&word.value, dockerfile.directives.escape, &lookup)
                    .map(|expansion| expansion.text)
                    .map_err(|error| dockerfile.error(word.span, error.to_string(), None))?,
            ),
            _ => None,
        };
        global.set_arg(name, given.value(name, default, &none));
    }
    Ok(global)
}

fn reference(
    dockerfile: &Dockerfile,
    text: &str,
    span: Span,
    platform: Platform,
) -> Result<Source, ParseError> {
    let reference: Reference = text.parse().map_err(|error| {
        let hint = "it is neither a stage of this file nor the name of an image";
        dockerfile.error(span, format!("{error}"), Some(hint.to_owned()))
    })?;
    Ok(Source::Image(Box::new(ImageSource { reference, platform })))
}

/// What a stage is called in messages: its name, else its number.
pub fn stage_name(dockerfile: &Dockerfile, index: usize) -> String {
    let name = dockerfile.stages[index].name.as_ref();
    name.map_or_else(|| index.to_string(), |name| name.value.clone())
}
