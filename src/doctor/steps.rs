//! What the RUN instructions of a Dockerfile need.

use longshore_runtime::{Need, Needs};

use crate::dockerfile::{
    Dockerfile, Instruction, InstructionKind, MountFlag, MountKey, RunNetwork, RunOptions,
};

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
        let InstructionKind::Run { options, .. } = &instruction.kind else { return None };
        let (line, _) = file.line_column(instruction.span.start);
        Some(Step { line, instruction, needs: needs(options) })
    })
}

fn needs(options: &RunOptions) -> Needs {
    let network = (options.network == RunNetwork::None).then_some(Need::OwnNetwork);
    network.into_iter().chain(options.mounts.iter().map(need_of)).collect()
}

/// What a mount needs. A kind that is a variable is not known before the build; it is taken for
/// the plainest.
fn need_of(mount: &MountFlag) -> Need {
    let mut kinds = mount.options.iter().filter(|option| option.key == MountKey::Type);
    let kind = kinds.find_map(|option| option.value.as_ref());
    match kind.map(|kind| kind.value.as_str()) {
        Some("cache") => Need::CacheMount,
        Some("tmpfs") => Need::TmpfsMount,
        Some("secret") => Need::SecretFile,
        Some("ssh") => Need::SshAgent,
        _ => Need::BindMount,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_run_are_needs() {
        for (flags, expected) in [
            ("", vec![]),
            ("--network=host", vec![]),
            ("--network=none", vec![Need::OwnNetwork]),
            ("--mount=target=/a", vec![Need::BindMount]),
            ("--mount=type=cache,target=/a", vec![Need::CacheMount]),
            (
                "--mount=type=secret,id=a --mount=type=ssh --mount=type=tmpfs,target=/t",
                vec![Need::TmpfsMount, Need::SecretFile, Need::SshAgent],
            ),
        ] {
            let text = format!("FROM scratch\n\nRUN {flags} true\nCOPY a /\n");
            let file = crate::dockerfile::parse("Dockerfile", &text).unwrap();
            let found: Vec<_> = steps(&file).map(|step| (step.line, step.needs)).collect();
            assert_eq!(found, [(3, expected.into_iter().collect())], "{flags}");
        }
    }
}
