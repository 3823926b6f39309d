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
        let needs = needs(&instruction.kind)?;
        let (line, _) = file.line_column(instruction.span.start);
        Some(Step { line, instruction, needs })
    })
}

/// What an instruction needs, if it is a step at all.
fn needs(kind: &InstructionKind) -> Option<Needs> {
    match kind {
        InstructionKind::Run { options, .. } => Some(of_run(options)),
        _ => None,
    }
}

/// What the flags of a RUN ask for, as far as it can be told before variables are expanded: a type
/// that is a variable counts as none.
fn of_run(options: &RunOptions) -> Needs {
    let network = (options.network == RunNetwork::None).then_some(Need::OwnNetwork);
    network.into_iter().chain(options.mounts.iter().filter_map(of_mount)).collect()
}

fn of_mount(mount: &MountFlag) -> Option<Need> {
    let value = |key| {
        let option = mount.options.iter().find(|option| option.key == key)?;
        option.value.as_ref().map(|word| word.value.as_str())
    };
    match value(MountKey::Type).unwrap_or("bind") {
        "bind" => Some(Need::BindMount),
        "cache" => Some(Need::CacheMount),
        "tmpfs" => Some(Need::TmpfsMount),
        "ssh" => Some(Need::SshAgent),
        // In the environment it is no mount.
        "secret" if value(MountKey::Env).is_some() && value(MountKey::Target).is_none() => None,
        "secret" => Some(Need::SecretFile),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::parse;

    #[test]
    fn flags_of_a_run_are_needs() {
        for (flags, expected) in [
            ("", vec![]),
            ("--network=host", vec![]),
            ("--network=none", vec![Need::OwnNetwork]),
            ("--mount=target=/x", vec![Need::BindMount]),
            ("--mount=type=cache,target=/x --mount=type=tmpfs,target=/y", {
                vec![Need::CacheMount, Need::TmpfsMount]
            }),
            ("--mount=type=secret,id=a", vec![Need::SecretFile]),
            ("--mount=type=secret,id=a,env=A", vec![]),
            ("--mount=type=secret,id=a,env=A,target=/a", vec![Need::SecretFile]),
            ("--mount=type=ssh", vec![Need::SshAgent]),
            ("--mount=type=$T,target=/x", vec![]),
        ] {
            let file = parse("Dockerfile", &format!("FROM a\nRUN {flags} x\nUSER b\n")).unwrap();
            let found: Vec<Vec<Need>> =
                steps(&file).map(|step| step.needs.iter().collect()).collect();
            assert_eq!(found, [expected], "{flags}");
        }
    }
}
