//! What the RUN instructions of a Dockerfile need.

use longshore_runtime::Needs;

use crate::dockerfile::{Dockerfile, Instruction, InstructionKind};

/// A RUN instruction, with what a rung has to give it.
pub(super) struct Step<'a> {
    pub(super) line: usize,
    pub(super) instruction: &'a Instruction,
    pub(super) needs: Needs,
}

/// All RUN instructions, in order; also those of stages that a target may leave out.
pub(super) fn steps(file: &Dockerfile) -> impl Iterator<Item = Step<'_>> {
    let instructions = file.stages.iter().flat_map(|stage| &stage.instructions);
    instructions.filter_map(|instruction| {
        let needs = needs(&instruction.kind)?;
        let (line, _) = file.line_column(instruction.span.start);
        Some(Step { line, instruction, needs })
    })
}

/// What an instruction needs, if it is a step at all.
fn needs(kind: &InstructionKind) -> Option<Needs> {
    match kind {
        InstructionKind::Run { .. } => Some(Needs::none()),
        _ => None,
    }
}
