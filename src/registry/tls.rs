//! HTTP clients, one for each way of trusting and reaching a host.
//!
//! Roots: the system's bundle (`rustls-native-certs`, which follows `SSL_CERT_FILE` and
//! `SSL_CERT_DIR`), the embedded Mozilla roots where the system has none, and the certificates of
//! the options that name the host. They are loaded when the first client is built; a missing
//! bundle is never an error. The clients differ by host, so that a host whose certificate is not
//! verified does not weaken another, and redirects change the client with the host.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::options::{is_loopback, names_host};
use super::{RegistryError, RegistryOptions, Side};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The clients built so far.
#[derive(Debug, Default)]
pub(super) struct Clients {
    roots: OnceLock<RootCertStore>,
    // Guards the map only; never held across an await.
    built: Mutex<BTreeMap<ClientKey, reqwest::Client>>,
}

/// What makes two hosts need different clients.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ClientKey {
    verify: bool,
    /// Indexes into the options' certificates.
    certificates: Vec<usize>,
    /// Index into the options' client certificates.
    identity: Option<usize>,
    /// Without any proxy: this machine is never reached through one.
    direct: bool,
}

impl ClientKey {
    fn new(options: &RegistryOptions, authority: &str, side: Side) -> Self {
        let every = match side {
            Side::Pull => options.skip_tls_verify_pull,
            Side::Push => options.skip_tls_verify_push,
        };
        let named = options.skip_tls_verify.iter().any(|host| names_host(host, authority));
        let applies = |(at, host): (usize, &str)| names_host(host, authority).then_some(at);
        let hosts = options.certificates.iter().map(|(host, _)| host.as_str());
        let identities = options.client_certificates.iter().map(|one| one.host.as_str());
        Self {
            verify: !every && !named,
            certificates: hosts.enumerate().filter_map(applies).collect(),
            identity: identities.enumerate().find_map(applies),
            direct: is_loopback(authority),
        }
    }
}

impl Clients {
    /// The client to speak with `authority` by.
    pub(super) fn get(
        &self,
        options: &RegistryOptions,
        authority: &str,
        side: Side,
    ) -> Result<reqwest::Client, RegistryError> {
        let key = ClientKey::new(options, authority, side);
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = built.get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(options, &key)?;
        built.insert(key, client.clone());
        Ok(client)
    }

    fn build(
        &self,
        options: &RegistryOptions,
        key: &ClientKey,
    ) -> Result<reqwest::Client, RegistryError> {
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls(options, key)?)
            .user_agent(&options.user_agent)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(KEEPALIVE);
        let builder = if key.direct { builder.no_proxy() } else { builder };
        builder.build().map_err(|error| RegistryError::Option {
            option: "HTTP client".to_owned(),
            reason: error.without_url().to_string(),
        })
    }

    fn tls(
        &self,
        options: &RegistryOptions,
        key: &ClientKey,
    ) -> Result<ClientConfig, RegistryError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring supports the default protocol versions");
        let builder = if key.verify {
            let mut roots = self.roots.get_or_init(load_roots).clone();
            for &at in &key.certificates {
                add_certificates(&mut roots, &options.certificates[at].1)?;
            }
            builder.with_root_certificates(roots)
        } else {
            let any = Arc::new(TrustAny(ring::default_provider()));
            builder.dangerous().with_custom_certificate_verifier(any)
        };
        let Some(at) = key.identity else { return Ok(builder.with_no_client_auth()) };
        let identity = &options.client_certificates[at];
        let chain = read_certificates(&identity.certificate)?;
        let refuse = |path: &Path, reason: String| RegistryError::Certificate {
            path: path.to_owned(),
            reason,
        };
        let pem =
            fs_err::read(&identity.key).map_err(|error| RegistryError::io(&identity.key, error))?;
        let private = PrivateKeyDer::from_pem_slice(&pem)
            .map_err(|_| refuse(&identity.key, "it has no private key in PEM form".to_owned()))?;
        builder
            .with_client_auth_cert(chain, private)
            .map_err(|error| refuse(&identity.certificate, error.to_string()))
    }
}

fn load_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::debug!(%error, "a certificate of the system cannot be loaded");
    }
    let (taken, ignored) = roots.add_parsable_certificates(native.certs);
    tracing::debug!(taken, ignored, "loaded the system's root certificates");
    if roots.is_empty() {
        roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    }
    roots
}

fn add_certificates(roots: &mut RootCertStore, path: &Path) -> Result<(), RegistryError> {
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|error| RegistryError::Certificate {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    let refuse = |reason: String| RegistryError::Certificate { path: path.to_owned(), reason };
    let pem = fs_err::read(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => refuse("it is not there".to_owned()),
        kind => refuse(format!("it cannot be read ({kind})")),
    })?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refuse(format!("it is not in PEM form: {error}")))?;
    if certificates.is_empty() {
        return Err(refuse("it has no certificate in PEM form".to_owned()));
    }
    Ok(certificates)
}

/// Takes any certificate, also odd ones that cannot be parsed: the user named the host.
#[derive(Debug)]
struct TrustAny(CryptoProvider);

impl ServerCertVerifier for TrustAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_hosts_go_unverified() {
        let options = RegistryOptions {
            skip_tls_verify: ["bad.example".to_owned()].into(),
            skip_tls_verify_push: false,
            ..RegistryOptions::default()
        };
        assert!(!ClientKey::new(&options, "bad.example", Side::Pull).verify);
        assert!(ClientKey::new(&options, "good.example", Side::Pull).verify);
        let options = RegistryOptions { skip_tls_verify_push: true, ..options };
        assert!(!ClientKey::new(&options, "good.example", Side::Push).verify);
        assert!(ClientKey::new(&options, "good.example", Side::Pull).verify);
    }

    #[test]
    fn hosts_alike_share_a_client() {
        let options = RegistryOptions {
            certificates: vec![("ca.example".into(), "/none".into()), (String::new(), "/x".into())],
            ..RegistryOptions::default()
        };
        let key = |host| ClientKey::new(&options, host, Side::Pull);
        assert_eq!(key("a.example"), key("b.example"));
        assert_eq!(key("ca.example").certificates, [0, 1]);
        assert_eq!(key("a.example").certificates, [1]);
        assert!(key("127.0.0.1:5000").direct && !key("a.example").direct);
    }

    #[test]
    fn certificate_files_without_certificates_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        fs_err::write(&path, "nothing here").unwrap();
        let error = read_certificates(&path).unwrap_err().to_string();
        assert!(error.contains("ca.pem"), "{error}");
        let error = read_certificates(&directory.path().join("gone.pem")).unwrap_err();
        assert!(matches!(error, RegistryError::Certificate { .. }), "{error:?}");
        assert!(error.to_string().ends_with("gone.pem cannot be used: it is not there"), "{error}");
    }

    #[test]
    fn there_are_roots_whatever_the_machine_has() {
        assert!(!load_roots().is_empty());
    }
}
