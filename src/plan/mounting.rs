//! Lowering of `RUN --mount`: targets, sources, names (pure).
//!
//! Defaults are BuildKit's: a cache is named by its target as it is written, a secret is
//! `/run/secrets/ID`, the agents are `/run/buildkit/ssh_agent.0` and so on.

use std::sync::Arc;

use super::lower::{Cursor, Line, Lowering, PlanError};
use super::metadata;
use super::mount::{BindSource, StepMount, StepMountKind};
use super::stage::Parent;
use crate::context::{SelectError, Wildcards, select};
use crate::dockerfile::{
    Diagnostic, MountFlag, MountKey, ParseError, RunMount, RunMountKind, RunOptions, Span, Spanned,
    expand,
};

impl Lowering<'_> {
    /// The mounts of a RUN in Dockerfile stage `index`.
    pub(super) fn mounts(
        &mut self,
        index: usize,
        cursor: &Cursor,
        line: &Line<'_>,
        options: &RunOptions,
    ) -> Result<Vec<StepMount>, PlanError> {
        let mut mounts: Vec<StepMount> = Vec::new();
        let mut agents = 0;
        for flag in &options.mounts {
            let read = self.read_mount(cursor, line, flag)?;
            let target = target(&read, cursor, &mut agents);
            let span = line.at.unwrap_or(flag.span);
            if let Some(target) = &target {
                self.check_target(span, target, &mounts)?;
            }
            let from = self.request.graph.mount_source(&self.request.dockerfile, index, flag)?;
            let from = from.map(|from| self.parent_of(from, line)).transpose()?;
            let kind = self.mount_kind(read, from, line, flag)?;
            mounts.push(StepMount { target, kind, span });
        }
        Ok(mounts)
    }

    fn read_mount(
        &self,
        cursor: &Cursor,
        line: &Line<'_>,
        flag: &MountFlag,
    ) -> Result<RunMount, ParseError> {
        let escape = self.request.dockerfile.directives.escape;
        let expand = |word: &Spanned<String>| {
            expand(&word.value, escape, &|name| cursor.scope.lookup(name))
                .map(|expansion| expansion.text)
                .map_err(|error| Diagnostic {
                    span: word.span,
                    message: error.to_string(),
                    hint: None,
                })
        };
        flag.read(&expand).map_err(|Diagnostic { span, message, hint }| {
            self.request.dockerfile.error(line.at.unwrap_or(span), message, hint)
        })
    }

    fn check_target(
        &self,
        span: Span,
        target: &str,
        others: &[StepMount],
    ) -> Result<(), ParseError> {
        let message = if target == "/" {
            "a mount cannot cover the root of the image".to_owned()
        } else if others.iter().any(|other| other.target.as_deref() == Some(target)) {
            format!("another mount of this RUN has the target {target}")
        } else {
            return Ok(());
        };
        Err(self.request.dockerfile.error(span, message, None))
    }

    fn mount_kind(
        &mut self,
        read: RunMount,
        from: Option<Parent>,
        line: &Line<'_>,
        flag: &MountFlag,
    ) -> Result<StepMountKind, PlanError> {
        Ok(match read.kind {
            RunMountKind::Bind { source, readwrite } => {
                let source = source.unwrap_or_default();
                let source = match from {
                    Some(from) => BindSource::Image { from, source: rooted(&source) },
                    None => self.bound_context(line, flag, &source)?,
                };
                StepMountKind::Bind { source, readwrite }
            }
            RunMountKind::Cache { id, sharing, source, readonly, owner } => StepMountKind::Cache {
                id: id.or_else(|| read.target.map(|target| cleaned(&target))).unwrap_or_default(),
                sharing,
                initial: from.map(|from| (from, rooted(&source.unwrap_or_default()))),
                readonly,
                owner,
            },
            RunMountKind::Tmpfs { size } => StepMountKind::Tmpfs { size },
            RunMountKind::Secret { id, env, required, owner } => {
                StepMountKind::Secret { id, env, required, owner }
            }
            RunMountKind::Ssh { id, required, owner } => StepMountKind::Ssh { id, required, owner },
        })
    }

    /// A file or directory of the build context; its path is no pattern.
    fn bound_context(
        &self,
        line: &Line<'_>,
        flag: &MountFlag,
        source: &str,
    ) -> Result<BindSource, PlanError> {
        let option = flag.options.iter().find(|option| option.key == MountKey::Source);
        let span = line.at.unwrap_or_else(|| option.map_or(flag.span, |option| option.span));
        let context = Arc::clone(&self.request.context);
        let sources = [literal(source)];
        let missing = |message: String| {
            let hint = context.why_absent(source.as_bytes());
            PlanError::from(self.request.dockerfile.error(span, message, hint))
        };
        let selected = match select(context.as_ref(), &sources, Wildcards::default()) {
            Ok(selected) => selected,
            Err(SelectError::Context(error)) => return Err(error.into()),
            Err(error) => return Err(missing(error.to_string())),
        };
        match selected.into_iter().next() {
            Some(selected) => Ok(BindSource::Context { context, selected }),
            None => Err(missing(format!("{source:?} is not in the build context"))),
        }
    }
}

/// Where a mount goes; nothing for a secret that is a variable only.
fn target(read: &RunMount, cursor: &Cursor, agents: &mut usize) -> Option<String> {
    let default = match &read.kind {
        RunMountKind::Secret { env: Some(_), .. } => None,
        RunMountKind::Secret { id, .. } => {
            let name = id.trim_end_matches('/').rsplit('/').next().unwrap_or(id);
            Some(format!("/run/secrets/{name}"))
        }
        RunMountKind::Ssh { .. } => Some(format!("/run/buildkit/ssh_agent.{agents}")),
        _ => None,
    };
    if matches!(read.kind, RunMountKind::Ssh { .. }) {
        *agents += 1;
    }
    let written = read.target.as_deref();
    let workdir = metadata::workdir(&cursor.image);
    written.map(|target| metadata::join(&workdir, target)).or(default)
}

/// A path from the root of what it is in.
fn rooted(path: &str) -> String {
    metadata::join("/", path)
}

/// A path without what does not matter, relative if it was.
fn cleaned(path: &str) -> String {
    let rooted = rooted(path);
    if path.starts_with('/') { rooted } else { rooted[1..].to_owned() }
}

/// A source that stands for itself, whatever it would mean as a pattern.
fn literal(source: &str) -> Vec<u8> {
    let mut literal = Vec::with_capacity(source.len());
    for byte in source.bytes() {
        if b"*?[\\".contains(&byte) {
            literal.push(b'\\');
        }
        literal.push(byte);
    }
    literal
}
