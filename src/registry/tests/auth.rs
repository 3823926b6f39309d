//! Tokens: what is asked for, kept, renewed, and what a refusal says.

use std::sync::Arc;

use serde_json::json;

use super::super::{RegistryError, RegistryOptions, Secret, Side};
use super::{Reply, Request, Script, client, quick, repository};
use crate::hashing::sha256;

/// What a token service answers, by the number of the token request.
type Issue = dyn Fn(&Request, usize) -> Reply + Send + Sync;

/// A registry whose token service is itself, below `/token`; `accepts` decides which token opens.
async fn token_registry(
    issue: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    accepts: impl Fn(&str, usize) -> bool + Send + Sync + 'static,
) -> Script {
    let issue: Arc<Issue> = Arc::new(issue);
    let issued = std::sync::atomic::AtomicUsize::new(0);
    Script::start(move |request, before| {
        if request.line().ends_with(" /token") {
            let number = issued.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            return issue(request, number);
        }
        let token = request.header("authorization").unwrap_or_default();
        if accepts(token, before) {
            return Reply::status(404);
        }
        let host = request.header("host").unwrap();
        let challenge = format!("Bearer realm=\"http://{host}/token\",service=\"svc\"");
        Reply::refusal(401, "UNAUTHORIZED", "authentication required")
            .header("WWW-Authenticate", challenge)
    })
    .await
}

fn token(text: &str) -> Reply {
    Reply::json(200, &json!({"token": text, "expires_in": 300}))
}

fn credentials(authority: &str, entry: &serde_json::Value) -> RegistryOptions {
    let text = json!({"auths": {authority: entry}}).to_string();
    RegistryOptions { auth_env: Some(Secret::new(text)), ..quick() }
}

fn token_requests(script: &Script) -> Vec<Request> {
    script.requests().into_iter().filter(|request| request.line().ends_with(" /token")).collect()
}

#[tokio::test]
async fn one_token_serves_all_requests_of_one_scope() {
    let script = token_registry(|_, _| token("t"), |token, _| token == "Bearer t").await;
    let registry = client(quick());
    let place = repository(&script.authority, "team/app");
    for side in [Side::Pull, Side::Pull, Side::Push, Side::Push] {
        assert!(!registry.has_blob(&place, &sha256(b""), side).await.unwrap());
    }
    let asked = token_requests(&script);
    let scopes: Vec<String> = asked.iter().map(|one| one.query()["scope"].clone()).collect();
    assert_eq!(scopes, ["repository:team/app:pull", "repository:team/app:pull,push"]);
    assert!(asked.iter().all(|one| one.query()["service"] == "svc"));
    assert!(asked.iter().all(|one| one.header("authorization").is_none()));
    // One 401 taught the host's ways.
    assert_eq!(script.requests().len(), 4 + 2 + 1);
}

#[tokio::test]
async fn concurrent_first_requests_fetch_one_token() {
    let script = token_registry(|_, _| token("t"), |token, _| token == "Bearer t").await;
    let registry = client(quick());
    let place = repository(&script.authority, "team/app");
    let requests: Vec<_> = (0..8)
        .map(|_| {
            let (registry, place) = (registry.clone(), place.clone());
            tokio::spawn(async move { registry.has_blob(&place, &sha256(b""), Side::Pull).await })
        })
        .collect();
    for request in requests {
        request.await.unwrap().unwrap();
    }
    assert_eq!(token_requests(&script).len(), 1);
}

#[tokio::test]
async fn a_token_without_life_is_used_once() {
    let brief = |_: &Request, _| Reply::json(200, &json!({"access_token": "t", "expires_in": 0}));
    let script = token_registry(brief, |token, _| token == "Bearer t").await;
    let registry = client(quick());
    let place = repository(&script.authority, "team/app");
    for _ in 0..3 {
        registry.has_blob(&place, &sha256(b""), Side::Pull).await.unwrap();
    }
    assert_eq!(token_requests(&script).len(), 3);
}

#[tokio::test]
async fn a_token_refused_during_the_build_is_renewed_once() {
    let script = token_registry(
        |_, number| token(&format!("t{number}")),
        |token, before| if before < 4 { token == "Bearer t0" } else { token == "Bearer t1" },
    )
    .await;
    let registry = client(quick());
    let place = repository(&script.authority, "team/app");
    for _ in 0..4 {
        registry.has_blob(&place, &sha256(b""), Side::Pull).await.unwrap();
    }
    assert_eq!(token_requests(&script).len(), 2);
}

#[tokio::test]
async fn passwords_and_identity_tokens_go_to_the_token_service() {
    let script = token_registry(|_, _| token("t"), |token, _| token == "Bearer t").await;
    let place = repository(&script.authority, "team/app");
    let entry = json!({"username": "me", "password": "s3cret"});
    let registry = client(credentials(&script.authority, &entry));
    registry.has_blob(&place, &sha256(b""), Side::Pull).await.unwrap();
    let asked = token_requests(&script).pop().unwrap();
    assert_eq!(asked.header("authorization"), Some("Basic bWU6czNjcmV0"));
    assert_eq!(asked.query()["account"], "me");

    let entry = json!({"identitytoken": "refresh me"});
    let registry = client(credentials(&script.authority, &entry));
    registry.has_blob(&place, &sha256(b""), Side::Push).await.unwrap();
    let asked = token_requests(&script).pop().unwrap();
    assert_eq!(asked.line(), "POST /token");
    assert_eq!(
        String::from_utf8(asked.body).unwrap(),
        "grant_type=refresh_token&refresh_token=refresh+me&client_id=longshore\
         &scope=repository%3Ateam%2Fapp%3Apull%2Cpush&service=svc"
    );
    let opened = script.requests().into_iter().filter(|one| one.line().contains("/v2/"));
    assert!(
        opened
            .filter_map(|one| one.headers.get("authorization").cloned())
            .all(|sent| { sent == "Bearer t" })
    );
}

#[tokio::test]
async fn a_wrong_password_is_tried_once_and_never_shown() {
    let refuse = |_: &Request, _| Reply::json(401, &json!({"details": "incorrect password"}));
    let script = token_registry(refuse, |_, _| false).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.json");
    let text = json!({"auths": {&script.authority: {"username": "me", "password": "hunter2"}}});
    fs_err::write(&file, text.to_string()).unwrap();
    let registry = client(RegistryOptions { credentials: vec![file.clone()], ..quick() });
    let place = repository(&script.authority, "team/app");
    for _ in 0..3 {
        let error = registry.has_blob(&place, &sha256(b""), Side::Push).await.unwrap_err();
        let RegistryError::Unauthorized { .. } = &error else { panic!("{error:?}") };
        let text = error.to_string();
        for part in [&script.authority, file.to_str().unwrap(), "incorrect password"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!format!("{error:?} {registry:?}").contains("hunter2"));
    }
    assert_eq!(token_requests(&script).len(), 1);
}

#[tokio::test]
async fn a_token_that_does_not_open_is_an_error_after_one_renewal() {
    let script = token_registry(|_, _| token("t"), |_, _| false).await;
    let registry = client(quick());
    let place = repository(&script.authority, "team/app");
    let error = registry.has_blob(&place, &sha256(b""), Side::Pull).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error:?}");
    assert_eq!(script.lines().iter().filter(|line| line.contains("/v2/")).count(), 2);
}

#[tokio::test]
async fn a_busy_token_service_is_asked_again() {
    let busy = |_: &Request, number| match number {
        0 => Reply::status(503),
        1 => Reply::HangUp,
        _ => token("t"),
    };
    let script = token_registry(busy, |token, _| token == "Bearer t").await;
    let place = repository(&script.authority, "team/app");
    client(quick()).has_blob(&place, &sha256(b""), Side::Pull).await.unwrap();
    assert_eq!(token_requests(&script).len(), 3);
}

#[tokio::test]
async fn helpers_are_an_error_only_where_nothing_opens_without_them() {
    let options = || RegistryOptions {
        auth_env: Some(Secret::new(json!({"credsStore": "ecr-login"}).to_string())),
        ..quick()
    };
    let open = token_registry(|_, _| token("t"), |token, _| token == "Bearer t").await;
    let place = repository(&open.authority, "public/app");
    client(options()).has_blob(&place, &sha256(b""), Side::Pull).await.unwrap();

    let closed = token_registry(|_, _| Reply::status(401), |_, _| false).await;
    let place = repository(&closed.authority, "private/app");
    let error = client(options()).has_blob(&place, &sha256(b""), Side::Pull).await.unwrap_err();
    let RegistryError::Helper { helper, .. } = &error else { panic!("{error:?}") };
    assert_eq!(helper, "ecr-login");
}

#[tokio::test]
async fn a_broken_entry_is_an_error_only_where_it_is_needed() {
    let script = token_registry(|_, _| token("t"), |token, _| token == "Bearer t").await;
    let place = repository(&script.authority, "team/app");
    let registry = client(credentials(&script.authority, &json!({"auth": "%%"})));
    let error = registry.has_blob(&place, &sha256(b""), Side::Pull).await.unwrap_err();
    assert!(error.to_string().contains("not base64"), "{error}");
    let registry = client(credentials("other.example", &json!({"auth": "%%"})));
    registry.has_blob(&place, &sha256(b""), Side::Pull).await.unwrap();
}

#[tokio::test]
async fn a_mount_asks_for_the_right_to_pull_from_its_source() {
    let script = token_registry(|_, _| token("t"), |token, _| token == "Bearer t").await;
    let place = repository(&script.authority, "team/app");
    let base = repository(&script.authority, "library/base");
    let there = client(quick()).mount_or_has(&place, &sha256(b""), &[base]).await.unwrap();
    assert!(!there);
    let asked = token_requests(&script).pop().unwrap().target;
    for scope in ["repository%3Ateam%2Fapp%3Apull%2Cpush", "repository%3Alibrary%2Fbase%3Apull"] {
        assert!(asked.contains(&format!("scope={scope}")), "{asked}");
    }
}
