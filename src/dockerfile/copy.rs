//! `COPY` and `ADD`.

use super::ast::{AddFiles, CopyFiles, Heredoc, InstructionKind};
use super::diagnostics::{Complaints, Spanned};
use super::flags::{self, Flags, Known};
use super::instruction::Statement;
use super::words::plain_words;
use super::{heredoc, json_form};

/// What a source of `ADD` that lies outside of the context is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteSource {
    /// A file behind an `http` or `https` URL.
    Url,
    /// A git repository.
    Git,
}

/// Returns what an expanded source of `ADD` names outside of the context; `None` for a local path.
pub fn remote_source(source: &str) -> Option<RemoteSource> {
    let lower = source.to_ascii_lowercase();
    let web = lower.starts_with("http://") || lower.starts_with("https://");
    if web {
        let repository = lower.split(['#', '?']).next().unwrap_or_default();
        let git = repository.trim_end_matches('/').ends_with(".git");
        return Some(if git { RemoteSource::Git } else { RemoteSource::Url });
    }
    let git_scheme = ["git://", "ssh://"].iter().any(|scheme| lower.starts_with(scheme));
    (git_scheme || is_scp_like(source)).then_some(RemoteSource::Git)
}

/// Returns the mode that an expanded value of `--chmod` means; `None` if it is not octal.
pub fn octal_mode(text: &str) -> Option<u32> {
    let octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    u32::from_str_radix(text, 8).ok().filter(|&mode| octal && mode <= 0o7777)
}

pub(super) fn copy(
    statement: &Statement<'_>,
    complaints: &mut Complaints,
) -> Option<InstructionKind> {
    let parts = Parts::read(statement, flags::COPY, complaints)?;
    for source in &parts.sources {
        if remote_source(&source.value) == Some(RemoteSource::Url) {
            let message = "a source of COPY can't be a URL";
            return complaints.add(source.span, message, "download it in a RUN");
        }
    }
    let Parts { mut flags, chmod, sources, heredocs, destination } = parts;
    let (from, chown) = (flags.take("from"), flags.take("chown"));
    if let Some(variable) = from.as_ref().filter(|from| from.value.contains('$')) {
        return complaints.add(
            variable.span,
            "--from does not expand variables",
            "name the stage in a FROM, which does: FROM $IMAGE AS name",
        );
    }
    Some(InstructionKind::Copy(CopyFiles { from, chown, chmod, sources, heredocs, destination }))
}

pub(super) fn add(
    statement: &Statement<'_>,
    complaints: &mut Complaints,
) -> Option<InstructionKind> {
    let parts = Parts::read(statement, flags::ADD, complaints)?;
    for source in &parts.sources {
        let what = match remote_source(&source.value) {
            None => continue,
            Some(RemoteSource::Url) => "a URL",
            Some(RemoteSource::Git) => "a git repository",
        };
        let message = format!("ADD of {what} is not supported yet");
        return complaints.add(source.span, message, "fetch it in a RUN, or put it in the context");
    }
    let Parts { mut flags, chmod, sources, heredocs, destination } = parts;
    let chown = flags.take("chown");
    Some(InstructionKind::Add(AddFiles { chown, chmod, sources, heredocs, destination }))
}

struct Parts {
    flags: Flags,
    chmod: Option<Spanned<String>>,
    sources: Vec<Spanned<String>>,
    heredocs: Vec<Heredoc>,
    destination: Spanned<String>,
}

impl Parts {
    fn read(
        statement: &Statement<'_>,
        known: &'static [Known],
        complaints: &mut Complaints,
    ) -> Option<Self> {
        let flags = Flags::read(statement.flags, known, complaints);
        let mut sources = match statement.heredocs.as_slice() {
            [] => json_form::list(statement.arguments, complaints)?,
            bodies => {
                let parts = heredoc::around(statement.arguments, bodies);
                parts.into_iter().flat_map(plain_words).collect()
            }
        };
        let heredocs: Vec<Heredoc> = statement.heredocs.iter().map(heredoc::Body::file).collect();
        if let Some(late) = sources.iter().skip(1).find(|word| is_flag(&word.value, known)) {
            let message = format!("the flag {:?} comes after an argument", late.value);
            let hint = "flags stand between the keyword and the first source";
            return complaints.add(late.span, message, hint);
        }
        let ends_in_heredoc = statement
            .heredocs
            .last()
            .is_some_and(|body| body.range.end == statement.arguments.text().len());
        let destination = sources.pop().filter(|_| !ends_in_heredoc);
        let Some(destination) = destination.filter(|_| !sources.is_empty() || !heredocs.is_empty())
        else {
            let message = format!("{} requires at least two arguments", statement.name);
            let hint = "the last argument is the destination";
            return complaints.add(statement.keyword.span(), message, hint);
        };
        let mut flags = flags?;
        let chmod = flags.take("chmod");
        if let Some(mode) = chmod.as_ref().filter(|mode| !is_mode(&mode.value)) {
            let message = format!("invalid mode {:?} for --chmod", mode.value);
            let hint = "this release takes octal modes from 0 to 7777, as in --chmod=0755";
            return complaints.add(mode.span, message, hint);
        }
        heredoc::check_names(&heredocs, complaints)?;
        Some(Self { flags, chmod, sources, heredocs, destination })
    }
}

fn is_mode(text: &str) -> bool {
    text.contains('$') || octal_mode(text).is_some()
}

fn is_flag(word: &str, known: &[Known]) -> bool {
    let name = word.strip_prefix("--").and_then(|body| body.split('=').next());
    name.is_some_and(|name| known.iter().any(|known| known.name() == name))
}

/// `user@host:path`, the form of git's ssh addresses without a scheme.
fn is_scp_like(source: &str) -> bool {
    let Some((user, rest)) = source.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let word = |text: &str, extra: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
    };
    word(user, "-_") && word(host, "-.")
}
