//! Bodies of answers: bounded reading, and what a refusal says.
//!
//! Error bodies are `{"errors":[{"code":…,"message":…}]}` (the spec, "Error Codes"); token services
//! answer with the same or with `{"details":…}`, `{"message":…}` or `{"error_description":…}`.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use serde_json::Value;

use super::error::is_transient_status;
use super::transport::{PATIENCE, Place, network, stalled};
use super::{Answer, RegistryError};

const MAX_ERROR_BODY: usize = 64 * 1024;
const MAX_DETAIL: usize = 300;

/// Reads the next piece of a body; `None` at its end.
pub(super) async fn piece(
    place: &Place,
    response: &mut Response,
) -> Result<Option<Bytes>, RegistryError> {
    match tokio::time::timeout(PATIENCE, response.chunk()).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(error)) => Err(network(place, response.url(), error)),
        Err(_) => Err(stalled(place, response.url(), PATIENCE)),
    }
}

/// Reads a whole body of at most `limit` bytes; `what` names it in the error.
pub(super) async fn body(
    place: &Place,
    response: &mut Response,
    limit: u64,
    what: &str,
) -> Result<Bytes, RegistryError> {
    let mut whole = BytesMut::new();
    while let Some(piece) = piece(place, response).await? {
        if (whole.len() + piece.len()) as u64 > limit {
            return Err(RegistryError::TooLarge { what: what.to_owned(), limit });
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// Reads what there is of an error's body; its own failures and excess are ignored.
pub(super) async fn error_body(place: &Place, response: &mut Response) -> Vec<u8> {
    let mut whole = Vec::new();
    while whole.len() < MAX_ERROR_BODY {
        let Ok(Some(piece)) = piece(place, response).await else { break };
        whole.extend_from_slice(&piece);
    }
    whole.truncate(MAX_ERROR_BODY);
    whole
}

/// Turns an unexpected answer into an error.
pub(super) async fn refuse(place: &Place, mut response: Response) -> RegistryError {
    let status = response.status().as_u16();
    let bytes = error_body(place, &mut response).await;
    let (codes, detail) = parse(&bytes);
    let is_registry = response.headers().contains_key("docker-distribution-api-version");
    let host = super::location::authority(response.url());
    match status {
        // Docker Hub says with 401 that a right is missing, and what the code means.
        401 if codes.iter().any(|code| code == "DENIED") && place.login.is_some() => {
            place.unauthorized(host, 403, said(detail, &codes, ""))
        }
        401 => place.unauthorized(host, 401, said(detail, &codes, "authentication required")),
        403 => place.unauthorized(host, 403, said(detail, &codes, "access forbidden")),
        _ if is_html(response.headers()) && !is_registry && !is_transient_status(status) => {
            place.garbage(&response, "an HTML page")
        }
        _ if response.status().is_success() => {
            place.garbage(&response, "something that was not asked for")
        }
        _ => {
            let retry_after = retry_after(response.headers());
            let answer = Box::new(Answer { status, codes, detail, retry_after });
            RegistryError::Refused { host, action: place.action(), answer }
        }
    }
}

pub(super) fn said(detail: String, codes: &[String], otherwise: &str) -> String {
    match (detail.is_empty(), codes.is_empty()) {
        (false, _) => detail,
        (true, false) => codes.join(", "),
        (true, true) => otherwise.to_owned(),
    }
}

/// Whether the body is a web page, which no registry sends on success.
pub(super) fn is_html(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

/// Reads codes and messages of an error body; both are empty when it has another form.
pub(super) fn parse(body: &[u8]) -> (Vec<String>, String) {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return (Vec::new(), String::new());
    };
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(clean);
    let errors = value.get("errors").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let codes = errors.iter().filter_map(|error| text(error, "code"));
    let codes: Vec<String> = codes.map(|code| code.to_ascii_uppercase()).collect();
    let mut messages: Vec<String> = Vec::new();
    for message in errors.iter().filter_map(|error| text(error, "message")) {
        if !message.is_empty() && !messages.contains(&message) {
            messages.push(message);
        }
    }
    if errors.is_empty() {
        let keys = ["details", "message", "error_description", "error"];
        messages.extend(keys.iter().find_map(|key| text(&value, key)));
    }
    (codes, clean(&messages.join("; ")))
}

/// Shortens a foreign text and takes out what could disturb a terminal or a log.
fn clean(text: &str) -> String {
    let visible = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    visible.take(MAX_DETAIL).collect::<String>().trim().to_owned()
}

/// Reads `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Duration::try_from(date.duration_since(jiff::Timestamp::now())).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn error_bodies_are_read_in_every_form() {
        for (body, codes, detail) in [
            (
                r#"{"errors":[{"code":"denied","message":"no"},{"code":"X","message":"no"}]}"#,
                vec!["DENIED", "X"],
                "no",
            ),
            (
                r#"{"errors":[{"code":"A","message":"one"},{"message":"two"}]}"#,
                vec!["A"],
                "one; two",
            ),
            (
                r#"{"details":"incorrect username or password"}"#,
                vec![],
                "incorrect username or password",
            ),
            (r#"{"message":"rate \u001b[31m limited\n"}"#, vec![], "rate  [31m limited"),
            (r#"{"errors":"x"}"#, vec![], ""),
            ("<html>", vec![], ""),
            ("", vec![], ""),
        ] {
            let parsed = parse(body.as_bytes());
            assert_eq!(
                (parsed.0.iter().map(String::as_str).collect(), parsed.1.as_str()),
                (codes, detail)
            );
        }
    }

    proptest! {
        #[test]
        fn any_body_gives_a_short_clean_text(message in ".*") {
            let body = serde_json::json!({"errors": [{"code": "X", "message": message}]});
            let (_, detail) = parse(body.to_string().as_bytes());
            prop_assert!(detail.chars().count() <= MAX_DETAIL);
            prop_assert!(!detail.chars().any(char::is_control));
        }
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
            retry_after(&headers)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:00 GMT"), None);
        assert!(read("Fri, 21 Oct 2095 07:28:00 GMT").unwrap() > Duration::from_secs(1_000_000));
        for text in ["", "-1", "soon"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
