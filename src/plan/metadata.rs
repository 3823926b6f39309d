//! Instructions that only change an image's config, and what the config means for steps.
//!
//! The semantics are BuildKit's: ENTRYPOINT resets an inherited CMD, `scratch` starts with
//! Docker's default PATH, relative WORKDIRs add up.

use std::time::Duration;

use serde_json::Value;

use super::lower::Cursor;
use super::scope::{DEFAULT_PATH, Scope};
use crate::dockerfile::{
    Assignment, Command, HealthTest, Healthcheck, Instruction, InstructionKind, ParseError, Span,
    Spanned, expand_words, exposed_ports,
};
use crate::image::{self, ImageConfig};
use crate::model::Platform;

/// Expands a word in a scope.
type Expand<'a> = dyn Fn(&Scope, &Spanned<String>) -> Result<String, ParseError> + 'a;

/// Makes an error at a place.
type Refuse<'a> = dyn Fn(Span, String) -> ParseError + 'a;

/// The config of an image from nothing.
pub(super) fn scratch(platform: &Platform) -> ImageConfig {
    let mut image = ImageConfig::scratch(platform);
    image.config.env = vec![format!("PATH={DEFAULT_PATH}")];
    image.config.working_dir = "/".to_owned();
    image
}

/// The config that an image built upon `base` starts with: without the base's own layers, history
/// and date.
pub(super) fn inherited(base: &ImageConfig) -> ImageConfig {
    let mut image = base.clone();
    image.rootfs.diff_ids.clear();
    image.history.clear();
    image.created = None;
    if !image.config.env.iter().any(|entry| entry.starts_with("PATH=")) {
        image.config.env.push(format!("PATH={DEFAULT_PATH}"));
    }
    image
}

/// Applies one instruction that makes no layer.
pub(super) fn apply(
    cursor: &mut Cursor,
    instruction: &Instruction,
    expand: &Expand<'_>,
    refuse: &Refuse<'_>,
) -> Result<(), ParseError> {
    match &instruction.kind {
        InstructionKind::Env(pairs) => env(cursor, pairs, expand),
        InstructionKind::Label(pairs) => {
            for (name, value) in assignments(cursor, pairs, expand)? {
                cursor.image.config.labels.insert(name, value);
            }
            Ok(())
        }
        InstructionKind::User(user) => {
            cursor.image.config.user = expand(&cursor.scope, user)?;
            Ok(())
        }
        InstructionKind::Cmd(command) => {
            cursor.image.config.cmd = Some(argv(&cursor.image, command));
            cursor.cmd_is_own = true;
            Ok(())
        }
        InstructionKind::Entrypoint(command) => {
            cursor.image.config.entrypoint = Some(argv(&cursor.image, command));
            if !cursor.cmd_is_own {
                cursor.image.config.cmd = None;
            }
            Ok(())
        }
        InstructionKind::Expose(words) => expose(cursor, words, refuse),
        InstructionKind::Volume(words) => {
            for word in words {
                let path = expand(&cursor.scope, word)?;
                cursor.image.config.volumes.insert(path, empty_object());
            }
            Ok(())
        }
        InstructionKind::StopSignal(signal) => {
            cursor.image.config.stop_signal = expand(&cursor.scope, signal)?;
            Ok(())
        }
        InstructionKind::Shell(words) => {
            cursor.image.config.shell = Some(words.clone());
            Ok(())
        }
        InstructionKind::Healthcheck(check) => {
            cursor.image.config.healthcheck = Some(healthcheck(check));
            Ok(())
        }
        InstructionKind::OnBuild(trigger) => {
            cursor.image.config.on_build.push(trigger.text.value.clone());
            Ok(())
        }
        InstructionKind::Maintainer(author) => {
            cursor.image.author.clone_from(&author.value);
            Ok(())
        }
        InstructionKind::Run { .. }
        | InstructionKind::Copy(_)
        | InstructionKind::Add(_)
        | InstructionKind::Workdir(_)
        | InstructionKind::Arg(_) => Ok(()),
    }
}

/// The argument vector of a command: exec form as it is, shell form through the stage's SHELL.
pub(super) fn argv(image: &ImageConfig, command: &Command) -> Vec<String> {
    match command {
        Command::Exec(words) => words.clone(),
        Command::Shell(text) => {
            let mut words = image.config.shell.clone().unwrap_or_else(default_shell);
            words.push(text.clone());
            words
        }
    }
}

/// The working directory in force.
pub(super) fn workdir(image: &ImageConfig) -> String {
    join("/", &image.config.working_dir)
}

/// Joins a path to a directory, cleaned: no `.`, no `..`, no double or trailing slash.
pub(super) fn join(directory: &str, path: &str) -> String {
    let start = if path.starts_with('/') { "" } else { directory };
    let mut parts: Vec<&str> = Vec::new();
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Whether a destination is a directory by the way it is written.
pub(super) fn names_directory(destination: &str) -> bool {
    destination.is_empty()
        || destination.ends_with('/')
        || matches!(destination.rsplit('/').next(), Some("." | ".."))
}

fn default_shell() -> Vec<String> {
    vec!["/bin/sh".to_owned(), "-c".to_owned()]
}

/// All words of one instruction see the scope from before it.
fn assignments(
    cursor: &Cursor,
    pairs: &[Assignment],
    expand: &Expand<'_>,
) -> Result<Vec<(String, String)>, ParseError> {
    let expanded = pairs
        .iter()
        .map(|pair| Ok((expand(&cursor.scope, &pair.name)?, expand(&cursor.scope, &pair.value)?)));
    expanded.collect()
}

fn env(cursor: &mut Cursor, pairs: &[Assignment], expand: &Expand<'_>) -> Result<(), ParseError> {
    for (name, value) in assignments(cursor, pairs, expand)? {
        cursor.scope.set_env(&name, value);
    }
    cursor.image.config.env = cursor.scope.env();
    Ok(())
}

fn expose(
    cursor: &mut Cursor,
    words: &[Spanned<String>],
    refuse: &Refuse<'_>,
) -> Result<(), ParseError> {
    for word in words {
        let escape = '\\';
        let expanded = expand_words(&word.value, escape, &|name| cursor.scope.lookup(name))
            .map_err(|error| refuse(word.span, error.to_string()))?;
        for text in expanded.words {
            let ports =
                exposed_ports(&text).map_err(|error| refuse(word.span, error.to_string()))?;
            let ports = ports.into_iter().map(|port| (port, empty_object()));
            cursor.image.config.exposed_ports.extend(ports);
        }
    }
    Ok(())
}

fn healthcheck(check: &Healthcheck) -> image::Healthcheck {
    match check {
        Healthcheck::None => {
            image::Healthcheck { test: vec!["NONE".to_owned()], ..Default::default() }
        }
        Healthcheck::Check(test) => image::Healthcheck {
            test: health_test(test),
            interval: nanoseconds(test.interval),
            timeout: nanoseconds(test.timeout),
            start_period: nanoseconds(test.start_period),
            start_interval: nanoseconds(test.start_interval),
            retries: test.retries.map_or(0, i64::from),
            ..Default::default()
        },
    }
}

/// The shell form is `CMD-SHELL`: the engine puts the image's SHELL in front when it runs it.
fn health_test(test: &HealthTest) -> Vec<String> {
    let (kind, words) = match &test.command {
        Command::Exec(words) => ("CMD", words.clone()),
        Command::Shell(text) => ("CMD-SHELL", vec![text.clone()]),
    };
    std::iter::once(kind.to_owned()).chain(words).collect()
}

fn nanoseconds(duration: Option<Duration>) -> i64 {
    duration.map_or(0, |duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// The value of a set that is kept as a map.
fn empty_object() -> Value {
    Value::Object(serde_json::Map::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_join_and_clean() {
        for (directory, path, joined) in [
            ("/", "a", "/a"),
            ("/app", "b/../c/", "/app/c"),
            ("/app", "/etc//x", "/etc/x"),
            ("/app", ".", "/app"),
            ("/app", "../../..", "/"),
            ("/app", "", "/app"),
        ] {
            assert_eq!(join(directory, path), joined, "{directory} {path}");
        }
    }

    #[test]
    fn a_destination_shows_whether_it_is_a_directory() {
        for (destination, directory) in
            [("a/", true), (".", true), ("a/.", true), ("./", true), ("a", false), ("a.b", false)]
        {
            assert_eq!(names_directory(destination), directory, "{destination}");
        }
    }
}
