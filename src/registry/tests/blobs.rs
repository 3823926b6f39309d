//! Downloads that break, lie or lead elsewhere.

use serde_json::json;

use super::super::{Arrival, RegistryError, RegistryOptions, Secret};
use super::{Reply, Request, Script, client, pattern, quick, repository};
use crate::hashing::sha256;

const SIZE: usize = 300_000;

/// Where a ranged request starts.
fn asked_from(request: &Request) -> Option<usize> {
    request.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

fn rest(bytes: &[u8], from: usize) -> Reply {
    let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
    Reply::status(206).header("Content-Range", range).body(&bytes[from..])
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_stopped() {
    let bytes = pattern(SIZE);
    let whole = bytes.clone();
    // Every connection breaks after 30 KB: more often than there are retries.
    let script = Script::start(move |request, _| match asked_from(request) {
        None => Reply::status(200).body(whole.clone()).cut_after(30_000),
        Some(from) => rest(&whole, from).cut_after(30_000),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("blob");
    let place = repository(&script.authority, "a");
    client(quick()).fetch_blob(&place, &sha256(&bytes), SIZE as u64, &to).await.unwrap();
    assert!(fs_err::read(&to).unwrap() == bytes);
    assert!(script.requests().len() >= SIZE / 30_000);
}

#[tokio::test]
async fn a_registry_without_ranges_is_read_from_the_start() {
    let bytes = pattern(SIZE);
    for odd in [200, 206, 416] {
        let whole = bytes.clone();
        let script = Script::start(move |request, before| match (before, asked_from(request)) {
            (0, _) => Reply::status(200).body(whole.clone()).cut_after(100_000),
            (_, Some(_)) if odd == 206 => rest(&whole, 7),
            (_, Some(_)) if odd == 416 => Reply::status(416),
            _ => Reply::status(200).body(whole.clone()),
        })
        .await;
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("blob");
        let place = repository(&script.authority, "a");
        client(quick()).fetch_blob(&place, &sha256(&bytes), SIZE as u64, &to).await.unwrap();
        assert!(fs_err::read(&to).unwrap() == bytes, "{odd}");
    }
}

#[tokio::test]
async fn wrong_bytes_are_refused_and_removed() {
    let bytes = pattern(SIZE);
    let served = bytes.clone();
    let script = Script::start(move |_, _| Reply::status(200).body(served.clone())).await;
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("blob");
    let place = repository(&script.authority, "a");
    let registry = client(quick());
    let right = sha256(&bytes);
    for (digest, size, mismatch) in [
        (sha256(b"other"), SIZE as u64, "digest"),
        (right, SIZE as u64 - 1, "size"),
        (right, SIZE as u64 + 1, "size"),
    ] {
        let error = registry.fetch_blob(&place, &digest, size, &to).await.unwrap_err();
        let kind = match error {
            RegistryError::DigestMismatch { .. } => "digest",
            RegistryError::SizeMismatch { .. } => "size",
            _ => "other",
        };
        assert_eq!(kind, mismatch, "{error}");
        assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 0);
    }
    let error = registry.read_blob(&place, &sha256(b"other"), 1 << 20).await.unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
    let error = registry.read_blob(&place, &right, 1000).await.unwrap_err();
    assert!(matches!(error, RegistryError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn what_a_given_up_download_got_is_gone_on_with() {
    let bytes = pattern(SIZE);
    let whole = bytes.clone();
    // Nothing but the first 100 KB comes, until a second builder asks.
    let script = Script::start(move |request, before| match (before, asked_from(request)) {
        (0, None) => Reply::status(200).body(whole.clone()).cut_after(100_000),
        (1..=3, _) => Reply::status(503),
        (_, Some(from)) => rest(&whole, from),
        (_, None) => Reply::status(500),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("blob");
    let place = repository(&script.authority, "a");
    let (digest, registry) = (sha256(&bytes), client(quick()));
    while script.requests().len() < 4 {
        registry.fetch_blob(&place, &digest, SIZE as u64, &to).await.unwrap_err();
        assert!(!to.exists());
        assert_eq!(fs_err::metadata(directory.path().join("blob.part")).unwrap().len(), 100_000);
    }
    registry.fetch_blob(&place, &digest, SIZE as u64, &to).await.unwrap();
    assert!(fs_err::read(&to).unwrap() == bytes);
    assert_eq!(asked_from(script.requests().last().unwrap()), Some(100_000));
    assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn what_an_earlier_builder_left_is_never_trusted() {
    let bytes = pattern(SIZE);
    let mut bent = bytes.clone();
    bent[7] ^= 1;
    let long = [bytes.clone(), vec![0]].concat();
    for (left, asked) in [
        (&bytes[..1000], vec![Some(1000)]),
        (&bytes[..], vec![]),
        (&bent[..1000], vec![Some(1000), None]),
        (&bent[..], vec![None]),
        (&long[..], vec![None]),
        (b"", vec![None]),
    ] {
        let whole = bytes.clone();
        let script = Script::start(move |request, _| match asked_from(request) {
            None => Reply::status(200).body(whole.clone()),
            Some(from) => rest(&whole, from),
        })
        .await;
        let directory = tempfile::tempdir().unwrap();
        let to = directory.path().join("blob");
        fs_err::write(directory.path().join("blob.part"), left).unwrap();
        let place = repository(&script.authority, "a");
        client(quick()).fetch_blob(&place, &sha256(&bytes), SIZE as u64, &to).await.unwrap();
        assert!(fs_err::read(&to).unwrap() == bytes);
        assert_eq!(script.requests().iter().map(asked_from).collect::<Vec<_>>(), asked);
    }
    // Once is enough: a registry that keeps sending something else is wrong itself.
    let script = Script::start(move |request, _| match asked_from(request) {
        None => Reply::status(200).body(bent.clone()),
        Some(from) => rest(&bent, from),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("blob");
    fs_err::write(directory.path().join("blob.part"), [0; 9]).unwrap();
    let place = repository(&script.authority, "a");
    let got = client(quick()).fetch_blob(&place, &sha256(&bytes), SIZE as u64, &to).await;
    assert!(matches!(got, Err(RegistryError::DigestMismatch { .. })), "{got:?}");
    assert_eq!(script.requests().len(), 2);
    assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn two_downloads_to_one_file_are_one() {
    let bytes = pattern(SIZE);
    let whole = bytes.clone();
    let script = Script::start(move |_, _| Reply::status(200).body(whole.clone())).await;
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("blob");
    let place = repository(&script.authority, "a");
    // Two clients, as of two builders; the file's lock does not know that it is one process.
    let (one, other) = (client(quick()), client(quick()));
    let digest = sha256(&bytes);
    let (one, other) = tokio::join!(
        one.fetch_blob(&place, &digest, SIZE as u64, &to),
        other.fetch_blob(&place, &digest, SIZE as u64, &to)
    );
    one.unwrap();
    other.unwrap();
    assert!(fs_err::read(&to).unwrap() == bytes);
    assert_eq!(script.requests().len(), 1);
    assert_eq!(fs_err::read_dir(directory.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_download_that_is_dropped_frees_its_file() {
    let bytes = pattern(SIZE);
    let whole = bytes.clone();
    let script = Script::start(move |request, before| match (before, asked_from(request)) {
        (0, _) => Reply::status(200)
            .body(whole[..200_000].to_vec())
            .header("Content-Length", whole.len().to_string()),
        (_, None) => Reply::status(200).body(whole.clone()),
        (_, Some(from)) => rest(&whole, from),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("blob");
    let place = repository(&script.authority, "a");
    let (digest, registry) = (sha256(&bytes), client(quick()));
    let arrival = Arrival::new();
    tokio::select! {
        biased;
        () = arrival.begun() => {}
        got = registry.fetch_blob_seen(&place, (&digest, SIZE as u64), &to, &arrival) => {
            panic!("{got:?}")
        }
    }
    registry.fetch_blob(&place, &digest, SIZE as u64, &to).await.unwrap();
    assert!(fs_err::read(&to).unwrap() == bytes);
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_named() {
    let script = Script::start(|_, _| Reply::status(200)).await;
    let place = repository(&script.authority, "a");
    let to = std::path::Path::new("/nonexistent/blob");
    let error = client(quick()).fetch_blob(&place, &sha256(b""), 0, to).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/blob"), "{error}");
}

fn basic(authority: &str) -> RegistryOptions {
    let text = json!({"auths": {authority: {"username": "me", "password": "s3cret"}}});
    RegistryOptions { auth_env: Some(Secret::new(text.to_string())), ..quick() }
}

#[tokio::test]
async fn redirects_take_no_authorization_to_another_host() {
    let store = Script::start(|request, _| {
        let signed = request.target.contains("signature=hidden");
        if signed { Reply::status(200).body("hello") } else { Reply::status(403) }
    })
    .await;
    let target = format!("http://{}/store?signature=hidden", store.authority);
    let registry = Script::start(move |request, _| match request.header("authorization") {
        Some(_) => Reply::status(307).header("Location", target.clone()),
        None => Reply::status(401).header("WWW-Authenticate", "Basic realm=\"x\""),
    })
    .await;
    let place = repository(&registry.authority, "a");
    let bytes =
        client(basic(&registry.authority)).read_blob(&place, &sha256(b"hello"), 10).await.unwrap();
    assert_eq!(bytes, "hello");
    let stored = store.requests();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].header("authorization"), None);
}

#[tokio::test]
async fn errors_never_show_queries() {
    let store =
        Script::start(|_, _| Reply::status(400).header("Content-Type", "text/html").body("<html>"))
            .await;
    let target = format!("http://{}/store?signature=hidden", store.authority);
    let registry =
        Script::start(move |_, _| Reply::status(307).header("Location", target.clone())).await;
    let place = repository(&registry.authority, "a");
    let client = client(quick());
    let error = client.read_blob(&place, &sha256(b"hello"), 10).await.unwrap_err();
    assert!(error.to_string().contains(&store.authority), "{error}");
    assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
    drop(store);
    let error = client.read_blob(&place, &sha256(b"hello"), 10).await.unwrap_err();
    assert!(!format!("{error:?}").contains("hidden"), "{error:?}");
}

#[tokio::test]
async fn redirects_in_a_circle_end() {
    let script =
        Script::start(|request, _| Reply::status(302).header("Location", request.target.clone()))
            .await;
    let place = repository(&script.authority, "a");
    let error = client(quick()).read_blob(&place, &sha256(b""), 10).await.unwrap_err();
    assert!(matches!(error, RegistryError::Garbage { .. }), "{error:?}");
    assert_eq!(script.requests().len(), 6);
}
