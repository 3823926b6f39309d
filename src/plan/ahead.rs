//! A first look at the files that an image will copy, while the registry is asked for its bases.
//!
//! Only sources that are written out are looked at; those with variables have to wait for the ARGs
//! and for the ENVs of bases. A context remembers what it listed, so the second look costs nothing;
//! mistakes are left for the second look, which can say where they are.

use std::sync::Arc;

use super::lower::ImageRequest;
use crate::context::{ContextSource, Wildcards, select};
use crate::dockerfile::{InstructionKind, Spanned, remote_source};

/// What there is to look at.
#[derive(Debug)]
pub struct Ahead {
    context: Arc<dyn ContextSource>,
    /// The sources of one COPY each.
    sources: Vec<Vec<Vec<u8>>>,
}

impl Ahead {
    /// What the stages that an image needs copy from its context.
    pub fn of(request: &ImageRequest) -> Self {
        let needed = request.graph.from.iter().zip(&request.dockerfile.stages);
        let stages = needed.filter(|(from, _)| from.is_some()).map(|(_, stage)| stage);
        let sources = stages
            .flat_map(|stage| &stage.instructions)
            .filter_map(|instruction| match &instruction.kind {
                InstructionKind::Copy(copy) if copy.from.is_none() => Some(&copy.sources),
                InstructionKind::Add(add) => Some(&add.sources),
                _ => None,
            })
            .filter_map(|sources| literal(sources))
            .collect();
        Self { context: Arc::clone(&request.context), sources }
    }

    /// Looks; blocking.
    pub fn look(&self) {
        for sources in &self.sources {
            if let Err(error) = select(self.context.as_ref(), sources, Wildcards::default()) {
                tracing::debug!(%error, "seen while looking ahead");
            }
        }
    }
}

/// The words, if no variable, quote or escape is in any of them.
fn literal(sources: &[Spanned<String>]) -> Option<Vec<Vec<u8>>> {
    let plain = |word: &Spanned<String>| {
        let text = &word.value;
        let is_plain = !text.contains(['$', '\\', '"', '\'']) && remote_source(text).is_none();
        is_plain.then(|| text.clone().into_bytes())
    };
    sources.iter().map(plain).collect()
}
