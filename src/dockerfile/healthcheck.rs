//! `HEALTHCHECK`: how the container is probed.

use std::time::Duration;

use super::ast::{Command, HealthTest, Healthcheck, InstructionKind};
use super::diagnostics::{Complaints, Spanned};
use super::flags::{self, Flags};
use super::fragment::Fragment;
use super::instruction::Statement;
use super::{duration, json_form};

pub(super) fn read(
    statement: &Statement<'_>,
    complaints: &mut Complaints,
) -> Option<InstructionKind> {
    let flags = Flags::read(statement.flags, flags::HEALTHCHECK, complaints);
    if statement.arguments.is_empty() {
        return statement.missing(complaints, "at least one argument");
    }
    let (kind, rest) = statement.arguments.split_first_word();
    match kind.text().to_ascii_uppercase().as_str() {
        "NONE" if rest.is_empty() => flags.map(|_| InstructionKind::Healthcheck(Healthcheck::None)),
        "NONE" => complaints.add(rest.span(), "HEALTHCHECK NONE takes no arguments", None),
        "CMD" => {
            let command = command(statement, rest, complaints);
            let options = flags.and_then(|flags| Options::read(flags, complaints));
            let (command, options) = command.zip(options)?;
            Some(InstructionKind::Healthcheck(Healthcheck::Check(options.test(command))))
        }
        _ => complaints.add(
            kind.span(),
            format!("unknown type {:?} in HEALTHCHECK", kind.text()),
            "write HEALTHCHECK CMD command, or HEALTHCHECK NONE",
        ),
    }
}

fn command(
    statement: &Statement<'_>,
    rest: Fragment<'_>,
    complaints: &mut Complaints,
) -> Option<Command> {
    let missing = "a command after CMD";
    if rest.is_empty() {
        return statement.missing(complaints, missing);
    }
    let command = json_form::command(rest, complaints)?;
    if command == Command::Exec(Vec::new()) {
        return statement.missing(complaints, missing);
    }
    Some(command)
}

struct Options {
    interval: Option<Duration>,
    timeout: Option<Duration>,
    start_period: Option<Duration>,
    start_interval: Option<Duration>,
    retries: Option<u32>,
}

impl Options {
    /// Reads all options, so that all errors are noted.
    fn read(mut flags: Flags, complaints: &mut Complaints) -> Option<Self> {
        let mut time = |name| match flags.take(name) {
            Some(flag) => interval(name, &flag, complaints),
            None => Some(None),
        };
        let [interval, timeout, start_period, start_interval] =
            ["interval", "timeout", "start-period", "start-interval"].map(&mut time);
        let retries = match flags.take("retries") {
            Some(flag) => retries(&flag, complaints),
            None => Some(None),
        };
        Some(Self {
            interval: interval?,
            timeout: timeout?,
            start_period: start_period?,
            start_interval: start_interval?,
            retries: retries?,
        })
    }

    fn test(self, command: Command) -> HealthTest {
        HealthTest {
            command,
            interval: self.interval,
            timeout: self.timeout,
            start_period: self.start_period,
            start_interval: self.start_interval,
            retries: self.retries,
        }
    }
}

/// The engine takes zero for "not given", and nothing between zero and a millisecond.
fn interval(
    name: &str,
    flag: &Spanned<String>,
    complaints: &mut Complaints,
) -> Option<Option<Duration>> {
    let Some(duration) = duration::parse(&flag.value) else {
        let message = format!("invalid duration {:?} for --{name}", flag.value);
        return complaints.add(flag.span, message, "durations look like 30s, 1m30s or 500ms");
    };
    if duration.is_zero() {
        return Some(None);
    }
    if duration < Duration::from_millis(1) {
        let message = format!("--{name} cannot be less than 1ms");
        return complaints.add(flag.span, message, None);
    }
    Some(Some(duration))
}

fn retries(flag: &Spanned<String>, complaints: &mut Complaints) -> Option<Option<u32>> {
    let count = flag.value.parse::<i32>().ok().and_then(|count| u32::try_from(count).ok());
    match count {
        Some(0) => Some(None),
        Some(count) => Some(Some(count)),
        None => {
            let message = format!("invalid number {:?} for --retries", flag.value);
            complaints.add(flag.span, message, None)
        }
    }
}
