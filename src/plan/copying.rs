//! Lowering of COPY and ADD: sources, destination, owner, mode (pure).

use std::sync::Arc;

use super::digest;
use super::graph::{Source, stage_name};
use super::lower::{Cursor, Line, Lowering, PlanError};
use super::metadata;
use super::stage::{CopyKind, CopySource, CopyStep, InlineFile, Parent, StageId, Step};
use crate::context::{SelectError, Wildcards, select};
use crate::dockerfile::{
    Heredoc, InstructionKind, ParseError, Spanned, expand_text, octal_mode, remote_source,
};

impl Lowering<'_> {
    pub(super) fn copy(
        &mut self,
        index: usize,
        cursor: &mut Cursor,
        line: &Line<'_>,
    ) -> Result<Option<StageId>, PlanError> {
        let dockerfile = &self.request.dockerfile;
        let (kind, (sources, heredocs), destination, chown, chmod) = match &line.instruction.kind {
            InstructionKind::Copy(c) => {
                (CopyKind::Copy, (&c.sources, &c.heredocs), &c.destination, &c.chown, &c.chmod)
            }
            InstructionKind::Add(a) => {
                (CopyKind::Add, (&a.sources, &a.heredocs), &a.destination, &a.chown, &a.chmod)
            }
            _ => return Ok(None),
        };
        let from = self.request.graph.copy_source(dockerfile, index, line.instruction)?;
        let words = self.sources(cursor, line, kind, sources)?;
        let inline = self.inline(cursor, line, heredocs)?;
        let target = self.expand(&cursor.scope, line, destination)?;
        let into_directory = words.len() + inline.len() > 1 || metadata::names_directory(&target);
        let chown = self.expand_option(cursor, line, chown)?.filter(|owner| !owner.is_empty());
        let chmod = self.mode(cursor, line, chmod)?;
        let source = self.copy_source(from, line, sources, &words)?;
        let destination = metadata::join(&metadata::workdir(&cursor.image), &target);
        let step = CopyStep { kind, source, inline, destination, into_directory, chown, chmod };
        let parent = self.plan.content(cursor.top);
        let inputs = digest::copy(self.common(cursor, &parent), self.plan, &step, &words);
        Ok(Some(self.add(cursor, line, Step::Copy(step), inputs)))
    }

    fn copy_source(
        &mut self,
        from: Option<Source>,
        line: &Line<'_>,
        sources: &[Spanned<String>],
        words: &[String],
    ) -> Result<CopySource, PlanError> {
        let from = match from {
            None => {
                let context = Arc::clone(&self.request.context);
                let bytes: Vec<Vec<u8>> =
                    words.iter().map(|word| word.clone().into_bytes()).collect();
                let selected =
                    select(context.as_ref(), &bytes, Wildcards::default()).map_err(|error| {
                        match error {
                            SelectError::Context(error) => PlanError::from(error),
                            error => self.nothing_matches(line, sources, words, &error).into(),
                        }
                    })?;
                if selected.is_empty() && !sources.is_empty() {
                    let span = sources.first().map_or(line.span(), |word| line.word(word));
                    let message =
                        format!("no file of the build context matches {}", words.join(" "));
                    return Err(self.request.dockerfile.error(span, message, None).into());
                }
                return Ok(CopySource::Context { context, selected });
            }
            Some(Source::Scratch) => Parent::Scratch,
            Some(Source::Stage(stage)) => {
                self.check_trigger(line, stage)?;
                self.stage(stage)?.top
            }
            Some(Source::Image(image)) => {
                Parent::Base(*self.bases.get(&*image).ok_or_else(|| {
                    let message = "COPY --from an image is not supported in an ONBUILD trigger yet";
                    self.request.dockerfile.error(line.span(), message, None)
                })?)
            }
        };
        Ok(CopySource::Image { from, sources: words.to_vec() })
    }

    /// Refuses what the graph could not know of: a stage that only a trigger of the base image
    /// names, or one that needs the stage that runs the trigger.
    fn check_trigger(&self, line: &Line<'_>, stage: usize) -> Result<(), ParseError> {
        if self.request.graph.from[stage].is_some() && !self.open.contains(&stage) {
            return Ok(());
        }
        let name = stage_name(&self.request.dockerfile, stage);
        let text = &line.instruction.text;
        let message = format!(
            "the base image has the ONBUILD trigger {text:?}, but the stage {name} cannot be built before this one"
        );
        let hint = "move the stage above this FROM, and let a COPY --from refer to it".to_owned();
        Err(self.request.dockerfile.error(line.span(), message, Some(hint)))
    }

    fn nothing_matches(
        &self,
        line: &Line<'_>,
        sources: &[Spanned<String>],
        words: &[String],
        error: &SelectError,
    ) -> ParseError {
        let word = match error {
            SelectError::NothingMatches { source_word, .. }
            | SelectError::Pattern { source_word, .. }
            | SelectError::DanglingLink { source_word, .. }
            | SelectError::Links { source_word } => Some(source_word),
            SelectError::Submodule { .. } | SelectError::Context(_) => None,
        };
        let at = word.and_then(|word| words.iter().position(|known| known == word));
        let span = at.and_then(|at| sources.get(at)).map_or(line.span(), |word| line.word(word));
        let context = &self.request.context;
        let hint = word.and_then(|word| context.why_absent(word.as_bytes()));
        self.request.dockerfile.error(span, error.to_string(), hint)
    }

    /// The sources of a COPY or ADD, expanded.
    fn sources(
        &self,
        cursor: &Cursor,
        line: &Line<'_>,
        kind: CopyKind,
        sources: &[Spanned<String>],
    ) -> Result<Vec<String>, PlanError> {
        let mut words = Vec::new();
        for source in sources {
            let word = self.expand(&cursor.scope, line, source)?;
            if kind == CopyKind::Add && remote_source(&word).is_some() {
                let message = format!(
                    "ADD of {word:?}, which is not a file of the context, is not supported yet"
                );
                let hint = "download it in a RUN step, or put it into the context".to_owned();
                return Err(self
                    .request
                    .dockerfile
                    .error(line.word(source), message, Some(hint))
                    .into());
            }
            words.push(word);
        }
        Ok(words)
    }

    /// The files that stand in the Dockerfile.
    fn inline(
        &self,
        cursor: &Cursor,
        line: &Line<'_>,
        heredocs: &[Heredoc],
    ) -> Result<Vec<InlineFile>, ParseError> {
        let expand = |heredoc: &Heredoc| {
            if !heredoc.expands {
                return Ok(heredoc.text.clone());
            }
            let expansion = expand_text(&heredoc.text, &|name| cursor.scope.lookup(name));
            expansion.map(|expansion| expansion.text).map_err(|error| {
                let span = line.word(&heredoc.name);
                self.request.dockerfile.error(span, error.to_string(), None)
            })
        };
        let file = |heredoc: &Heredoc| {
            Ok(InlineFile { name: heredoc.name.value.clone(), text: expand(heredoc)? })
        };
        heredocs.iter().map(file).collect()
    }

    fn mode(
        &self,
        cursor: &Cursor,
        line: &Line<'_>,
        chmod: &Option<Spanned<String>>,
    ) -> Result<Option<u32>, PlanError> {
        let Some(word) = chmod else { return Ok(None) };
        let text = self.expand(&cursor.scope, line, word)?;
        if text.is_empty() {
            return Ok(None);
        }
        match octal_mode(&text) {
            Some(mode) => Ok(Some(mode)),
            None => {
                let message = format!("--chmod={text} is not an octal mode such as 0755");
                Err(self.request.dockerfile.error(line.word(word), message, None).into())
            }
        }
    }
}
