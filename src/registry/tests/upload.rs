//! Uploads that break, are refused, or are sent elsewhere.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::super::{Pushed, RegistryError, RegistryOptions, Secret};
use super::{Reply, Request, Script, blob_file, client, pattern, quick, repository};
use crate::hashing::sha256;

/// A little more than what goes in one PUT, or in one chunk.
pub(super) const SIZE: usize = 8 * 1024 * 1024 + 50_000;
const SESSION: &str = "/v2/a/blobs/uploads/1?state=secret";

/// The upload half of a registry that keeps bytes, with one fault built in.
#[derive(Default)]
pub(super) struct Store {
    pub(super) received: Mutex<Vec<u8>>,
    pub(super) done: Mutex<bool>,
    faults: Mutex<u32>,
}

impl Store {
    pub(super) fn new(faults: u32) -> Arc<Self> {
        Arc::new(Self { faults: Mutex::new(faults), ..Self::default() })
    }

    /// Whether the fault is due; it is then used up.
    pub(super) fn fault(&self) -> bool {
        let mut faults = self.faults.lock().unwrap();
        let due = *faults > 0;
        *faults = faults.saturating_sub(1);
        due
    }

    pub(super) fn take(&self, bytes: &[u8]) {
        self.received.lock().unwrap().extend_from_slice(bytes);
    }

    fn range(&self) -> String {
        format!("0-{}", self.received.lock().unwrap().len().saturating_sub(1))
    }

    pub(super) fn answer(&self, request: &Request) -> Reply {
        let session = |status| Reply::status(status).header("Location", SESSION);
        match request.method.as_str() {
            "HEAD" => Reply::status(if *self.done.lock().unwrap() { 200 } else { 404 }),
            "POST" => {
                self.received.lock().unwrap().clear();
                session(202)
            }
            "PATCH" => {
                self.take(&request.body);
                session(202).header("Range", self.range())
            }
            "GET" => session(204).header("Range", self.range()),
            "PUT" => {
                self.take(&request.body);
                let digest = sha256(&self.received.lock().unwrap()).to_string();
                let right =
                    request.query()["digest"] == digest && request.query()["state"] == "secret";
                *self.done.lock().unwrap() = right;
                Reply::status(if right { 201 } else { 400 })
            }
            _ => Reply::status(204),
        }
    }
}

async fn push(
    script: &Script,
    size: usize,
    options: RegistryOptions,
) -> Result<Pushed, RegistryError> {
    let directory = tempfile::tempdir().unwrap();
    let blob = blob_file(&directory, &pattern(size));
    client(options).push_blob(&repository(&script.authority, "a"), &blob, &[]).await
}

pub(super) fn methods(script: &Script) -> String {
    let methods: Vec<String> = script.requests().into_iter().map(|one| one.method).collect();
    methods.join(" ")
}

#[tokio::test]
async fn small_blobs_go_in_one_put_and_large_ones_in_one_patch() {
    for (size, expected) in
        [(0, "HEAD POST PUT"), (1000, "HEAD POST PUT"), (SIZE, "HEAD POST PATCH PUT")]
    {
        let store = Store::new(0);
        let script = Script::start(move |request, _| store.answer(request)).await;
        assert_eq!(push(&script, size, quick()).await.unwrap(), Pushed::Uploaded);
        assert_eq!(methods(&script), expected, "{size}");
    }
}

#[tokio::test]
async fn a_broken_patch_goes_on_after_what_the_registry_has() {
    let store = Store::new(1);
    let script = Script::start(move |request, _| {
        if request.method == "PATCH" && store.fault() {
            store.take(&request.body[..5_000_000]);
            return Reply::HangUp;
        }
        store.answer(request)
    })
    .await;
    assert_eq!(push(&script, SIZE, quick()).await.unwrap(), Pushed::Uploaded);
    assert_eq!(methods(&script), "HEAD POST PATCH GET PATCH PUT");
    let resumed = &script.requests()[4];
    let range = format!("5000000-{}", SIZE - 1);
    assert_eq!(resumed.header("content-range"), Some(range.as_str()));
    assert_eq!(resumed.body.len(), SIZE - 5_000_000);
}

#[tokio::test]
async fn a_lost_session_is_started_anew() {
    for refusal in [
        Reply::refusal(404, "BLOB_UPLOAD_UNKNOWN", "gone"),
        Reply::refusal(400, "BLOB_UPLOAD_INVALID", "bad state"),
        Reply::status(416),
    ] {
        let store = Store::new(1);
        let script = Script::start(move |request, _| {
            let faulty = request.method == "PATCH" && store.fault();
            if faulty { refusal.clone() } else { store.answer(request) }
        })
        .await;
        assert_eq!(push(&script, SIZE, quick()).await.unwrap(), Pushed::Uploaded);
        assert_eq!(methods(&script), "HEAD POST PATCH HEAD POST PATCH PUT");
    }
    let store = Store::new(u32::MAX);
    let script = Script::start(move |request, _| {
        let faulty = request.method == "PATCH" && store.fault();
        if faulty { Reply::status(416) } else { store.answer(request) }
    })
    .await;
    assert!(push(&script, SIZE, quick()).await.is_err());
    assert_eq!(methods(&script).matches("POST").count(), 4);
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_counts() {
    for (size, expected) in [(1000, "HEAD POST PUT HEAD"), (SIZE, "HEAD POST PATCH PUT GET HEAD")] {
        let store = Store::new(1);
        let script = Script::start(move |request, _| {
            let done = *store.done.lock().unwrap();
            match request.method.as_str() {
                "PUT" if store.fault() => {
                    store.answer(request);
                    Reply::HangUp
                }
                "GET" if done => Reply::status(404),
                _ => store.answer(request),
            }
        })
        .await;
        assert_eq!(push(&script, size, quick()).await.unwrap(), Pushed::Uploaded);
        assert_eq!(methods(&script), expected, "{size}");
    }
}

#[tokio::test]
async fn a_proxy_that_takes_no_large_body_gets_chunks() {
    let store = Store::new(0);
    let script = Script::start(move |request, _| {
        if request.body.len() > 8 * 1024 * 1024 {
            return Reply::status(413).header("Content-Type", "text/html").body("<html>");
        }
        store.answer(request)
    })
    .await;
    assert_eq!(push(&script, SIZE, quick()).await.unwrap(), Pushed::Uploaded);
    assert_eq!(methods(&script), "HEAD POST PATCH HEAD POST PATCH PATCH PUT");
    let ranges: Vec<String> = script
        .requests()
        .iter()
        .filter_map(|one| one.header("content-range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, ["0-8388607", "8388608-8438607"]);
}

#[tokio::test]
async fn authorization_is_renewed_in_the_middle_of_an_upload() {
    let store = Store::new(1);
    let script = Script::start(move |request, before| {
        let authority = request.header("host").unwrap();
        if request.line() == "GET /token" {
            return Reply::json(200, &json!({"token": format!("t{before}"), "expires_in": 900}));
        }
        let unknown = request.header("authorization").is_none();
        if unknown || (request.method == "PATCH" && store.fault()) {
            let challenge = format!("Bearer realm=\"http://{authority}/token\"");
            return Reply::status(401).header("WWW-Authenticate", challenge);
        }
        store.answer(request)
    })
    .await;
    assert_eq!(push(&script, SIZE, quick()).await.unwrap(), Pushed::Uploaded);
    let lines: Vec<String> = script.lines();
    assert_eq!(lines.iter().filter(|line| line.ends_with("/token")).count(), 2);
    let tokens: Vec<Option<String>> = script
        .requests()
        .iter()
        .filter(|one| one.method == "PATCH")
        .map(|one| one.header("authorization").map(str::to_owned))
        .collect();
    assert_eq!(tokens.len(), 2);
    assert_ne!(tokens[0], tokens[1]);
}

#[tokio::test]
async fn an_upload_on_another_host_gets_no_authorization() {
    let store = Arc::new(Store::default());
    let kept = Arc::clone(&store);
    let bucket = Script::start(move |request, _| kept.answer(request)).await;
    let location = format!("http://{}{SESSION}", bucket.authority);
    let script = Script::start(move |request, _| {
        match (request.header("authorization"), request.method.as_str()) {
            (None, _) => Reply::status(401).header("WWW-Authenticate", "Basic"),
            (_, "POST") => Reply::status(202).header("Location", location.clone()),
            _ => Reply::status(404),
        }
    })
    .await;
    let text = json!({"auths": {&script.authority: {"username": "me", "password": "s3cret"}}});
    let options = RegistryOptions { auth_env: Some(Secret::new(text.to_string())), ..quick() };
    assert_eq!(push(&script, 1000, options).await.unwrap(), Pushed::Uploaded);
    assert_eq!(methods(&bucket), "PUT");
    assert_eq!(bucket.requests()[0].header("authorization"), None);
}

#[tokio::test]
async fn a_mount_that_becomes_an_upload_is_used() {
    let store = Store::new(0);
    let script = Script::start(move |request, _| store.answer(request)).await;
    let directory = tempfile::tempdir().unwrap();
    let blob = blob_file(&directory, &pattern(1000));
    let place = repository(&script.authority, "a");
    let from = [repository(&script.authority, "b")];
    let pushed = client(quick()).push_blob(&place, &blob, &from).await.unwrap();
    assert_eq!(pushed, Pushed::Uploaded);
    assert_eq!(methods(&script), "HEAD POST PUT");
    let query = script.requests()[1].query();
    assert_eq!(
        (query["mount"].as_str(), query["from"].as_str()),
        (blob.digest.to_string().as_str(), "b")
    );
}

#[tokio::test]
async fn the_push_check_starts_an_upload_and_cancels_it() {
    let store = Store::new(0);
    let script = Script::start(move |request, _| store.answer(request)).await;
    let place = repository(&script.authority, "a");
    client(quick()).check_push(&place).await.unwrap();
    assert_eq!(methods(&script), "POST DELETE");
    assert_eq!(script.requests()[1].target, SESSION);

    let denying = Script::start(|_, _| Reply::refusal(403, "DENIED", "read only")).await;
    let place = repository(&denying.authority, "a");
    let error = client(quick()).check_push(&place).await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("push to {place}")), "{error}");
}

#[tokio::test]
async fn a_file_that_changed_is_not_sent() {
    let script = Script::start(|_, _| Reply::status(404)).await;
    let directory = tempfile::tempdir().unwrap();
    let mut blob = blob_file(&directory, &pattern(1000));
    blob.size += 1;
    let place = repository(&script.authority, "a");
    let error = client(quick()).push_blob(&place, &blob, &[]).await.unwrap_err();
    assert!(matches!(error, RegistryError::SizeMismatch { .. }), "{error:?}");
    blob.path.push("none");
    let error = client(quick()).push_blob(&place, &blob, &[]).await.unwrap_err();
    assert!(matches!(error, RegistryError::Io { .. }), "{error:?}");
    assert!(script.requests().is_empty());
}

#[tokio::test]
async fn an_upload_that_never_works_ends() {
    let script = Script::start(|request, _| match request.method.as_str() {
        "HEAD" => Reply::status(404),
        "POST" => Reply::status(202).header("Location", SESSION),
        _ => Reply::status(503),
    })
    .await;
    let error = push(&script, 1000, quick()).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(methods(&script).matches("PUT").count(), 4);
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}
