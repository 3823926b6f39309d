//! The only writer of standard output and standard error.

use std::io::{self, Write};

use super::event::Event;
use super::{human, json};

/// How events are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Plain lines.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Warnings, failures and the result.
    Quiet,
    /// Also a line for each stage and the output of RUN steps.
    #[default]
    Normal,
    /// Also details.
    Verbose,
    /// Also what the libraries log.
    Debug,
}

/// Says events; cheap to copy, usable from every thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct Voice {
    /// How events are written.
    pub format: Format,
    /// How much is said.
    pub level: Level,
}

impl Voice {
    /// Says `event` if the level lets it through. A closed standard error is no failure of the
    /// build, so write errors are ignored here and only here.
    pub fn say(&self, event: &Event) {
        if self.level < level_of(event) {
            return;
        }
        let mut text = match self.format {
            Format::Text => human::line(event),
            Format::Json => json::line(event),
        };
        text.push('\n');
        let _ignored = io::stderr().lock().write_all(text.as_bytes());
    }

    /// Prints one line of result on standard output.
    ///
    /// # Errors
    /// When standard output cannot be written; a closed pipe counts as written.
    pub fn result(&self, line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        let written = writeln!(out, "{line}").and_then(|()| out.flush());
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }
}

/// Lets the libraries log to standard error (`--log-debug`), in the form of `voice`.
pub fn log_libraries(voice: Voice) {
    let filter = tracing_subscriber::EnvFilter::new("info,longshore=debug,reqwest=debug");
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    // A second call finds the first one's subscriber in place.
    let _ignored = match voice.format {
        Format::Text => subscriber.with_writer(io::stderr).try_init(),
        Format::Json => subscriber.without_time().with_writer(move || Said(voice)).try_init(),
    };
}

/// Says what is written as details. The subscriber hands over whole lines.
struct Said(Voice);

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for line in String::from_utf8_lossy(bytes).lines() {
            self.0.say(&Event::Detail { message: line.trim().to_owned() });
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn level_of(event: &Event) -> Level {
    match event {
        Event::Warning { .. } | Event::Failed { .. } => Level::Quiet,
        Event::Detail { .. } | Event::Resolved { .. } => Level::Verbose,
        Event::Started { .. }
        | Event::StageStarted { .. }
        | Event::Descended { .. }
        | Event::StepOutput { .. }
        | Event::StageDone { .. }
        | Event::ImageDone { .. } => Level::Normal,
    }
}
