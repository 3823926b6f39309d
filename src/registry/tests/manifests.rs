//! Manifests from registries that fail, hesitate or lie.

use super::super::{RegistryError, Side};
use super::{Reply, Script, client, quick, repository};
use crate::hashing::sha256;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[tokio::test]
async fn passing_failures_are_tried_again_up_to_the_cap() {
    for status in [408, 429, 500, 502, 503, 504] {
        let script = Script::start(move |_, before| match before {
            0 | 1 => Reply::status(status).header("Retry-After", "0"),
            2 => Reply::HangUp,
            _ => Reply::status(404),
        })
        .await;
        let place = repository(&script.authority, "a");
        let found = client(quick()).get_manifest(&place, "v1", Side::Pull).await.unwrap();
        assert_eq!((found, script.requests().len()), (None, 4));
    }
    let script = Script::start(|_, _| Reply::refusal(429, "TOOMANYREQUESTS", "slow down")).await;
    let place = repository(&script.authority, "a");
    let error = client(quick()).head_manifest(&place, "v1", Side::Pull).await.unwrap_err();
    assert!(error.is_transient());
    let error = client(quick()).get_manifest(&place, "v1", Side::Pull).await.unwrap_err();
    assert!(error.to_string().ends_with("with status 429: slow down"), "{error}");
    assert_eq!(script.requests().len(), 8);
}

#[tokio::test]
async fn the_pause_that_a_registry_asks_for_is_made() {
    let script = Script::start(|_, before| match before {
        0 => Reply::status(429).header("Retry-After", "1"),
        _ => Reply::status(404),
    })
    .await;
    let place = repository(&script.authority, "a");
    let begun = std::time::Instant::now();
    client(quick()).get_manifest(&place, "v1", Side::Pull).await.unwrap();
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1));
}

#[tokio::test]
async fn other_refusals_are_final() {
    for (status, kind) in [(400, "refused"), (403, "denied"), (405, "refused"), (501, "refused")] {
        let script = Script::start(move |_, _| Reply::refusal(status, "X", "no")).await;
        let place = repository(&script.authority, "a");
        let error = client(quick()).get_manifest(&place, "v1", Side::Pull).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(kind) && text.ends_with(": no"), "{text}");
        assert_eq!(script.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn web_pages_and_nonsense_are_called_garbage() {
    let page = || Reply::status(200).header("Content-Type", "text/html").body("<html>");
    let script = Script::start(move |request, _| match request.line().as_str() {
        "GET /v2/json/manifests/v1" => Reply::status(200).body("nonsense"),
        "GET /v2/bad/manifests/v1" => {
            Reply::status(400).header("Content-Type", "text/html; charset=utf-8").body("<html>")
        }
        _ => page(),
    })
    .await;
    let registry = client(quick());
    for path in ["json", "bad", "page"] {
        let place = repository(&script.authority, path);
        let error = registry.get_manifest(&place, "v1", Side::Pull).await.unwrap_err();
        assert!(matches!(error, RegistryError::Garbage { .. }), "{path}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(&format!("/v2/{path}/manifests/v1")), "{text}");
    }
    let place = repository(&script.authority, "page");
    for error in [
        registry.head_manifest(&place, "v1", Side::Pull).await.unwrap_err(),
        registry.has_blob(&place, &sha256(b""), Side::Pull).await.unwrap_err(),
        registry.read_blob(&place, &sha256(b""), 10).await.unwrap_err(),
        registry.check_push(&place).await.unwrap_err(),
    ] {
        assert!(matches!(error, RegistryError::Garbage { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn other_bytes_than_asked_for_or_announced_are_refused() {
    let script = Script::start(|request, _| {
        let reply = Reply::status(200).header("Content-Type", INDEX).body("{}");
        match request.line().as_str() {
            "GET /v2/announced/manifests/v1" => {
                reply.header("Docker-Content-Digest", sha256(b"other").to_string())
            }
            _ => reply,
        }
    })
    .await;
    let registry = client(quick());
    let announced = repository(&script.authority, "announced");
    let plain = repository(&script.authority, "plain");
    for (place, selector) in [(&announced, "v1".to_owned()), (&plain, sha256(b"x").to_string())] {
        let error = registry.get_manifest(place, &selector, Side::Pull).await.unwrap_err();
        assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error:?}");
    }
    let raw = registry.get_manifest(&plain, "v1", Side::Pull).await.unwrap().unwrap();
    assert_eq!((raw.digest, raw.media_type.as_str()), (sha256(b"{}"), INDEX));
    let error =
        registry.put_manifest(&plain, &sha256(b"x").to_string(), INDEX, "{}").await.unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error:?}");
}

#[tokio::test]
async fn a_head_without_digest_falls_back_to_the_whole() {
    let script = Script::start(|_, _| {
        Reply::status(200).header("Content-Type", INDEX).body("{\"mediaType\":\"x/y\"}")
    })
    .await;
    let place = repository(&script.authority, "a");
    let head = client(quick()).head_manifest(&place, "v1", Side::Pull).await.unwrap().unwrap();
    assert_eq!(head.digest, sha256(b"{\"mediaType\":\"x/y\"}"));
    assert_eq!((head.media_type.as_str(), head.size), ("x/y", Some(19)));
    assert_eq!(script.lines(), ["HEAD /v2/a/manifests/v1", "GET /v2/a/manifests/v1"]);
}

#[tokio::test]
async fn a_manifest_without_end_is_not_read_to_its_end() {
    let script = Script::start(|_, _| Reply::status(200).body(vec![b' '; 5 << 20])).await;
    let place = repository(&script.authority, "a");
    let error = client(quick()).get_manifest(&place, "v1", Side::Pull).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn a_selector_cannot_leave_its_path() {
    let place = repository("127.0.0.1:1", "a");
    let script = Script::start(|_, _| Reply::status(404)).await;
    let place = repository(&script.authority, &place.path);
    for selector in ["", "../x", "a/b", "a?b", ".hidden", "a#b"] {
        let error = client(quick()).get_manifest(&place, selector, Side::Pull).await.unwrap_err();
        assert!(matches!(error, RegistryError::Option { .. }), "{selector}: {error:?}");
    }
    assert!(script.requests().is_empty());
}
