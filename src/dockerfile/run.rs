//! `RUN`: its command and its flags.

use super::ast::{Command, Heredoc, InstructionKind, RunNetwork, RunOptions};
use super::diagnostics::Complaints;
use super::flags::{self, Flags};
use super::instruction::{Statement, command, nearest};
use super::{heredoc, mount};

pub(super) fn read(
    statement: &Statement<'_>,
    complaints: &mut Complaints,
) -> Option<InstructionKind> {
    let options = Flags::read(statement.flags, flags::RUN, complaints)
        .and_then(|flags| options(flags, complaints));
    let (command, script) = command_of(statement, complaints)?;
    Some(InstructionKind::Run { command, script, options: options? })
}

fn command_of(
    statement: &Statement<'_>,
    complaints: &mut Complaints,
) -> Option<(Command, Option<Heredoc>)> {
    if !statement.heredocs.is_empty() {
        let (command, script) = heredoc::command(statement.arguments, &statement.heredocs);
        heredoc::check_names(script.as_slice(), complaints)?;
        return Some((command, script));
    }
    let command = command(statement, complaints)?;
    if command == Command::Exec(Vec::new()) {
        return statement.missing(complaints, "a command");
    }
    Some((command, None))
}

fn options(mut flags: Flags, complaints: &mut Complaints) -> Option<RunOptions> {
    let mut mounts = Some(Vec::new());
    for (span, fields) in flags.take_lists("mount") {
        let mount = mount::flag(span, &fields, complaints);
        mounts = mounts.zip(mount).map(|(mut mounts, mount)| {
            mounts.push(mount);
            mounts
        });
    }
    let network = network(&mut flags, complaints);
    let secure = security(&mut flags, complaints);
    secure?;
    Some(RunOptions { mounts: mounts?, network: network? })
}

fn network(flags: &mut Flags, complaints: &mut Complaints) -> Option<RunNetwork> {
    let Some(flag) = flags.take("network") else { return Some(RunNetwork::Default) };
    match flag.value.as_str() {
        "default" => Some(RunNetwork::Default),
        "none" => Some(RunNetwork::None),
        "host" => Some(RunNetwork::Host),
        other => {
            let hint = match nearest(other, ["default", "none", "host"]) {
                Some(known) => format!("did you mean {known}?"),
                None => "the networks are: default, none, host".to_owned(),
            };
            let message = format!("unknown network of RUN: {}", other.escape_debug());
            complaints.add_hinted(flag.span, message, Some(hint))
        }
    }
}

fn security(flags: &mut Flags, complaints: &mut Complaints) -> Option<()> {
    let Some(flag) = flags.take("security") else { return Some(()) };
    match flag.value.as_str() {
        "sandbox" => Some(()),
        "insecure" => complaints.add(
            flag.span,
            "RUN --security=insecure is not supported: no step gets more rights than a container",
            "leave the flag out, or do what needs the rights outside of the build",
        ),
        other => {
            let message = format!("unknown security mode of RUN: {}", other.escape_debug());
            complaints.add(flag.span, message, "the mode is sandbox")
        }
    }
}
