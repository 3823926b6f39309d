//! Mirrors, and hosts that cannot be reached.

use super::super::{Mirror, RegistryError, RegistryOptions, Side};
use super::{Reply, Script, client, quick, repository};
use crate::hashing::sha256;
use crate::model::Reference;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn serves(body: &'static str) -> impl Fn(&super::Request, usize) -> Reply + Send + Sync + 'static {
    move |_, _| {
        Reply::status(200)
            .header("Content-Type", MANIFEST)
            .header("Docker-Content-Digest", sha256(body.as_bytes()).to_string())
            .body(body)
    }
}

/// Rules for `hub.example`, as nothing here may speak to a public registry.
fn mirrored(targets: &[&str], no_mirror_fallback: bool) -> RegistryOptions {
    let rule = |target: &&str| Mirror::parse(&format!("hub.example={target}")).unwrap();
    let mirrors = targets.iter().map(rule).collect();
    RegistryOptions { mirrors, no_mirror_fallback, ..quick() }
}

/// An address where nothing listens.
async fn closed() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn the_first_mirror_that_has_the_image_gives_it() {
    let (dead, empty) = (closed().await, Script::start(|_, _| Reply::status(404)).await);
    let denying = Script::start(|_, _| Reply::refusal(403, "DENIED", "no")).await;
    let full = Script::start(serves("{\"a\":1}")).await;
    let targets = [&dead, &empty.authority, &denying.authority, &full.authority];
    let targets: Vec<&str> = targets.into_iter().map(String::as_str).collect();
    let registry = client(mirrored(&targets, true));
    let reference: Reference = "hub.example/team/app:v1".parse().unwrap();
    let resolved = registry.resolve(&reference).await.unwrap();
    assert_eq!(resolved.repository, repository(&full.authority, "team/app"));
    assert_eq!(resolved.manifest.bytes, "{\"a\":1}");
    let head = registry.head_resolve(&reference).await.unwrap();
    assert_eq!(head.head.digest, resolved.manifest.digest);
    assert_eq!(full.lines(), ["GET /v2/team/app/manifests/v1", "HEAD /v2/team/app/manifests/v1"]);
}

#[tokio::test]
async fn an_image_that_no_place_has_names_them_all() {
    let (one, two) = (
        Script::start(|_, _| Reply::status(404)).await,
        Script::start(|_, _| Reply::refusal(403, "DENIED", "no")).await,
    );
    let registry = client(mirrored(&[&one.authority, &format!("{}/x", two.authority)], true));
    let reference: Reference = "hub.example/app:v1".parse().unwrap();
    let error = registry.resolve(&reference).await.unwrap_err();
    let RegistryError::NotFound { reference, tried } = &error else { panic!("{error:?}") };
    assert_eq!(reference, "hub.example/app:v1");
    assert_eq!(tried[0], format!("{}/app", one.authority));
    assert!(tried[1].starts_with(&format!("{}/x/app: ", two.authority)), "{tried:?}");
}

#[tokio::test]
async fn a_digest_is_verified_whatever_the_mirror_says() {
    let lying = Script::start(serves("{\"evil\":1}")).await;
    let registry = client(mirrored(&[&lying.authority], true));
    let reference: Reference = format!("hub.example/app@{}", sha256(b"{}")).parse().unwrap();
    let error = registry.resolve(&reference).await.unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error:?}");
    let error = registry.head_resolve(&reference).await.unwrap_err();
    assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error:?}");
}

#[tokio::test]
async fn a_closed_port_is_unreachable_by_name() {
    let authority = closed().await;
    let place = repository(&authority, "a");
    let error = client(quick()).has_blob(&place, &sha256(b""), Side::Push).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error:?}");
    assert_eq!(error.to_string(), format!("{authority} cannot be reached for the push to {place}"));
    assert!(std::error::Error::source(&error).is_some());
}
