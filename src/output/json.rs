//! Events as JSON, one object a line; every object has `event` and, where known, the fields of
//! the event under their own names.

use serde_json::{Value, json};

use super::event::{Event, StepStream};

/// Returns `event` as one line of JSON, without a final newline.
pub(super) fn line(event: &Event) -> String {
    object(event).to_string()
}

fn object(event: &Event) -> Value {
    match event {
        Event::Started { version, storage, synchronization } => json!({
            "event": "started", "version": version, "storage": storage,
            "synchronization": synchronization,
        }),
        Event::Resolved { reference, digest } => {
            json!({"event": "resolved", "reference": reference, "digest": digest})
        }
        Event::StageStarted { stage, instruction, rung } => json!({
            "event": "stage-started", "stage": stage, "instruction": instruction, "rung": rung,
        }),
        Event::Descended { rung, reason, climb } => {
            json!({"event": "descended", "rung": rung, "reason": reason, "climb": climb})
        }
        Event::StepOutput { stage, stream, line } => {
            let stream = match stream {
                StepStream::Out => "stdout",
                StepStream::Err => "stderr",
            };
            json!({"event": "step-output", "stage": stage, "stream": stream, "line": line})
        }
        Event::StageDone { stage, instruction, outcome, bytes, seconds } => json!({
            "event": "stage-done", "stage": stage, "instruction": instruction,
            "outcome": outcome.to_string(), "bytes": bytes.0, "seconds": seconds,
        }),
        Event::ImageDone { image, reference, digest, outcome } => json!({
            "event": "image-done", "image": image, "reference": reference, "digest": digest,
            "outcome": outcome.to_string(),
        }),
        Event::Warning { message } => json!({"event": "warning", "message": message}),
        Event::Detail { message } => json!({"event": "detail", "message": message}),
        Event::Failed { message, hints, exit_code } => json!({
            "event": "failed", "message": message, "hints": hints, "exit_code": exit_code,
        }),
    }
}
