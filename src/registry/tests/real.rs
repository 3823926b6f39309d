//! Push, pull, mount and look-up against Debian's `docker-registry`: plain, with a password file,
//! and over TLS with a CA of its own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::super::{ClientCertificate, Pushed, RegistryError, RegistryOptions, Secret, Side};
use super::stream::write;
use super::{blob_file, client, pattern, quick, repository, ring};
use crate::hashing::sha256;

/// `alice` with the password `s3cret!`, by `htpasswd -Bbn`.
const PASSWORD_LINE: &str = "alice:$2y$05$yCdUotvD94HP70GoQuvcBeL1Kn9duqQlm.ITAlEyZ6Ta084w7fnhO";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// A running registry with its files; it ends with this value.
struct RealRegistry {
    authority: String,
    directory: tempfile::TempDir,
    process: Child,
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        // It may be gone already; nothing else can be done in a drop.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "tests start the real registry")]
fn command(program: &str) -> Command {
    Command::new(program)
}

/// Starts the registry with lines below `http:` and at the top of its configuration; `None` when
/// it is not installed.
fn start(http: &str, top: &str, prepare: impl FnOnce(&Path)) -> Option<RealRegistry> {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    let root = directory.path().display();
    let (http, top) =
        (http.replace("DIR", &root.to_string()), top.replace("DIR", &root.to_string()));
    let text = format!(
        "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}}}\n\
         http:\n  addr: 127.0.0.1:0\n{http}\n{top}\n"
    );
    let config = directory.path().join("config.yml");
    fs_err::write(&config, text).unwrap();
    let spawned = command("docker-registry")
        .arg("serve")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut process) = spawned else {
        println!("skipped: docker-registry is not installed");
        return None;
    };
    let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let authority = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
            Some(rest[..end.unwrap_or(rest.len())].to_owned())
        })
        .expect("the registry tells its address");
    // Its log must be read, or it stops when the pipe is full.
    std::thread::spawn(move || lines.for_each(drop));
    Some(RealRegistry { authority, directory, process })
}

fn plain() -> Option<RealRegistry> {
    start("", "", |_| {})
}

#[tokio::test]
async fn blobs_and_manifests_go_there_and_back() {
    let Some(real) = plain() else { return };
    let registry = client(quick());
    let place = repository(&real.authority, "team/app");
    registry.check_push(&place).await.unwrap();
    for size in [0, 1, 100_000, 9 * 1024 * 1024] {
        let bytes = pattern(size);
        let blob = blob_file(&real.directory, &bytes);
        assert!(!registry.has_blob(&place, &blob.digest, Side::Pull).await.unwrap());
        assert_eq!(registry.push_blob(&place, &blob, &[]).await.unwrap(), Pushed::Uploaded);
        assert_eq!(registry.push_blob(&place, &blob, &[]).await.unwrap(), Pushed::Existed);
        let to = real.directory.path().join("pulled");
        registry.fetch_blob(&place, &blob.digest, blob.size, &to).await.unwrap();
        assert!(fs_err::read(&to).unwrap() == bytes, "{size} bytes came back as others");
    }
    let config = registry.push_bytes(&place, "{}").await.unwrap();
    assert_eq!(registry.read_blob(&place, &config, 10).await.unwrap(), "{}");

    let layer = sha256(&pattern(100_000));
    let manifest = manifest(&[(config, 2), (layer, 100_000)]);
    let digest =
        registry.put_manifest(&place, "v1", MANIFEST_TYPE, manifest.clone()).await.unwrap();
    assert_eq!(digest, sha256(manifest.as_bytes()));
    let head = registry.head_manifest(&place, "v1", Side::Pull).await.unwrap().unwrap();
    assert_eq!((head.digest, head.size), (digest, Some(manifest.len() as u64)));
    assert_eq!(head.media_type, MANIFEST_TYPE);
    for selector in ["v1".to_owned(), digest.to_string()] {
        let raw = registry.get_manifest(&place, &selector, Side::Pull).await.unwrap().unwrap();
        assert_eq!((raw.digest, raw.bytes.as_ref()), (digest, manifest.as_bytes()));
    }
    let resolved = registry.resolve(&place.tagged("v1")).await.unwrap();
    assert_eq!((resolved.repository, resolved.manifest.digest), (place, digest));
}

#[tokio::test]
async fn a_blob_is_pushed_while_it_is_made() {
    let Some(real) = plain() else { return };
    let registry = client(quick());
    let place = repository(&real.authority, "team/app");
    let bytes = pattern(70 << 20);
    let blob = blob_file(&real.directory, &bytes);
    for expected in [Pushed::Uploaded, Pushed::Existed] {
        // A third of the blob is kept at any time.
        let (writer, reader) = ring(24 << 20);
        let writing = write(writer, bytes.clone());
        assert_eq!(registry.stream_blob(&place, reader).await.unwrap(), Some(expected));
        assert!(!writing.join().unwrap());
    }
    let to = real.directory.path().join("fetched");
    registry.fetch_blob(&place, &blob.digest, blob.size, &to).await.unwrap();
    assert!(fs_err::read(&to).unwrap() == bytes);
}

fn manifest(blobs: &[(crate::model::Digest, u64)]) -> String {
    let descriptor = |(digest, size): &(crate::model::Digest, u64)| serde_json::json!({"mediaType": "application/octet-stream", "digest": digest, "size": size});
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": descriptor(&blobs[0]),
        "layers": blobs[1..].iter().map(descriptor).collect::<Vec<_>>(),
    })
    .to_string()
}

#[tokio::test]
async fn blobs_are_mounted_from_repositories_of_the_same_registry() {
    let Some(real) = plain() else { return };
    let registry = client(quick());
    let (base, empty) = (repository(&real.authority, "base"), repository(&real.authority, "empty"));
    let elsewhere = repository("elsewhere.example", "base");
    let blob = blob_file(&real.directory, &pattern(5_000));
    registry.push_blob(&base, &blob, &[]).await.unwrap();
    let app = repository(&real.authority, "app");
    let from = [elsewhere, empty.clone(), base.clone()];
    assert!(!registry.mount_or_has(&app, &blob.digest, &from[..2]).await.unwrap());
    assert!(registry.mount_or_has(&app, &blob.digest, &from).await.unwrap());
    assert!(registry.has_blob(&app, &blob.digest, Side::Push).await.unwrap());
    let second = repository(&real.authority, "second");
    assert_eq!(registry.push_blob(&second, &blob, &from).await.unwrap(), Pushed::Mounted);
    let third = repository(&real.authority, "third");
    assert_eq!(registry.push_blob(&third, &blob, &[empty]).await.unwrap(), Pushed::Uploaded);
}

#[tokio::test]
async fn what_is_missing_is_told_by_type() {
    let Some(real) = plain() else { return };
    let registry = client(quick());
    let place = repository(&real.authority, "nothing");
    let digest = sha256(b"absent");
    assert_eq!(registry.head_manifest(&place, "v1", Side::Pull).await.unwrap(), None);
    assert_eq!(registry.get_manifest(&place, "v1", Side::Pull).await.unwrap(), None);
    let to = real.directory.path().join("absent");
    let error = registry.fetch_blob(&place, &digest, 6, &to).await.unwrap_err();
    assert!(matches!(error, RegistryError::BlobNotFound { .. }), "{error}");
    assert!(!to.exists());
    let error = registry.resolve(&place.tagged("v1")).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{place}:v1 was not found (asked {place})"));
    let lacking = manifest(&[(digest, 6)]);
    let error = registry.put_manifest(&place, "v1", MANIFEST_TYPE, lacking).await.unwrap_err();
    let RegistryError::Refused { answer, .. } = &error else { panic!("{error}") };
    assert!(answer.has_code(&["MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"]), "{answer:?}");
}

fn password_options(user: &str, password: &str, authority: &str) -> RegistryOptions {
    let entry = serde_json::json!({"username": user, "password": password});
    let text = serde_json::json!({"auths": {authority: entry}}).to_string();
    RegistryOptions { auth_env: Some(Secret::new(text)), ..quick() }
}

#[tokio::test]
async fn a_password_opens_the_registry_and_a_wrong_one_is_named_not_shown() {
    let auth = "auth: {htpasswd: {realm: test, path: DIR/htpasswd}}";
    let write = |directory: &Path| {
        fs_err::write(directory.join("htpasswd"), format!("{PASSWORD_LINE}\n")).unwrap();
    };
    let Some(real) = start("", auth, write) else { return };
    let place = repository(&real.authority, "private/app");
    let registry = client(password_options("alice", "s3cret!", &real.authority));
    registry.check_push(&place).await.unwrap();
    let blob = blob_file(&real.directory, &pattern(9 * 1024 * 1024));
    assert_eq!(registry.push_blob(&place, &blob, &[]).await.unwrap(), Pushed::Uploaded);

    let registry = client(password_options("alice", "wr0ng!", &real.authority));
    let error = registry.check_push(&place).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("DOCKER_AUTH_CONFIG") && text.contains(&real.authority), "{text}");
    assert!(!text.contains("wr0ng!"), "{text}");

    let error = client(quick()).check_push(&place).await.unwrap_err().to_string();
    assert!(error.contains("without credentials"), "{error}");
}

/// Makes a CA, a certificate for 127.0.0.1 and one for a client.
fn make_certificates(directory: &Path) {
    fs_err::write(directory.join("san"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    for line in [
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=registry -keyout server.key -out server.csr",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san \
         -out server.pem",
        "req -newkey rsa:2048 -nodes -subj /CN=client -keyout client.key -out client.csr",
        "x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san \
         -out client.pem",
    ] {
        let status = command("openssl")
            .args(line.split_whitespace())
            .current_dir(directory)
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "openssl {line}");
    }
}

#[tokio::test]
async fn tls_is_verified_unless_a_ca_or_the_user_says_otherwise() {
    let tls = "  tls: {certificate: DIR/server.pem, key: DIR/server.key}";
    let Some(real) = start(tls, "", make_certificates) else { return };
    let place = repository(&real.authority, "app");
    let ca: PathBuf = real.directory.path().join("ca.pem");
    let host = || real.authority.clone();
    let good = [
        RegistryOptions { certificates: vec![(host(), ca.clone())], ..quick() },
        RegistryOptions { certificates: vec![(String::new(), ca.clone())], ..quick() },
        RegistryOptions { skip_tls_verify: [host()].into(), ..quick() },
        RegistryOptions { skip_tls_verify_push: true, ..quick() },
    ];
    for options in good {
        client(options).push_bytes(&place, "hello").await.unwrap();
    }
    let bad = [
        quick(),
        RegistryOptions { insecure: [host()].into(), ..quick() },
        RegistryOptions { skip_tls_verify: ["other.example".to_owned()].into(), ..quick() },
        RegistryOptions { skip_tls_verify_pull: true, ..quick() },
        RegistryOptions { certificates: vec![("other.example".into(), ca)], ..quick() },
    ];
    for options in bad {
        let error = client(options).push_bytes(&place, "hello").await.unwrap_err();
        assert!(matches!(error, RegistryError::Untrusted { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_registry_that_wants_a_client_certificate_gets_it() {
    let tls = "  tls: {certificate: DIR/server.pem, key: DIR/server.key, clientcas: [DIR/ca.pem]}";
    let Some(real) = start(tls, "", make_certificates) else { return };
    let place = repository(&real.authority, "app");
    let file = |name: &str| real.directory.path().join(name);
    let trusting =
        RegistryOptions { certificates: vec![(String::new(), file("ca.pem"))], ..quick() };
    let identity = |host: &str| ClientCertificate {
        host: host.to_owned(),
        certificate: file("client.pem"),
        key: file("client.key"),
    };
    let shown = vec![identity(&real.authority)];
    let options = RegistryOptions { client_certificates: shown, ..trusting.clone() };
    client(options).push_bytes(&place, "hello").await.unwrap();
    for others in [vec![], vec![identity("other.example")]] {
        let options = RegistryOptions { client_certificates: others, ..trusting.clone() };
        let error = client(options).push_bytes(&place, "hello").await.unwrap_err();
        assert!(matches!(error, RegistryError::Unreachable { .. }), "{error:?}");
    }
}
