//! Events as plain lines for a person or a CI log.

use super::event::{Event, Outcome};

/// Returns the text of `event`, without a final newline.
pub(super) fn line(event: &Event) -> String {
    match event {
        Event::Started { version, storage, synchronization } => {
            format!("longshore {version}: stages in {storage}, synchronization {synchronization}")
        }
        Event::Resolved { reference, digest } => format!("base {reference} is {digest}"),
        Event::StageStarted { stage, instruction, rung: Some(rung) } => {
            format!("[{stage}] {instruction} (rung {rung})")
        }
        Event::StageStarted { stage, instruction, rung: None } => {
            format!("[{stage}] {instruction}")
        }
        Event::Descended { rung, reason, climb } => {
            let climb =
                climb.as_ref().map_or(String::new(), |climb| format!("; to climb, {climb}"));
            format!("RUN is executed on the rung {rung}; not on {reason}{climb}")
        }
        Event::StepOutput { stage, line, .. } => format!("[{stage}] | {line}"),
        Event::StageDone { stage, instruction, outcome: Outcome::Reused, .. } => {
            format!("[{stage}] {instruction}: reused")
        }
        Event::StageDone { stage, outcome, bytes, seconds, .. } => {
            format!("[{stage}] {outcome}, {bytes}, {seconds:.1} s")
        }
        Event::ImageDone { image, outcome: Outcome::Reused, .. } => {
            format!("[{image}] nothing to build: the image is up to date")
        }
        Event::ImageDone { image, outcome, .. } => format!("[{image}] image {outcome}"),
        Event::Warning { message } => format!("warning: {message}"),
        Event::Detail { message } => message.clone(),
        Event::Failed { message, hints, .. } => {
            // A build file's errors are blocks that each say so themselves.
            let prefix = if message.starts_with("error: ") { "" } else { "error: " };
            let mut text = format!("{prefix}{message}");
            for hint in hints {
                text.push_str("\nhint: ");
                text.push_str(hint);
            }
            text
        }
    }
}
