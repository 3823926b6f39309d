//! What the user can decide about registries; plain values, read from flags by the settings.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::{Mirror, Secret};

/// Everything that configures a [`Registry`](super::Registry).
///
/// Hosts are compared as written, `HOST` or `HOST:PORT`; `docker.io`, `index.docker.io` and
/// `registry-1.docker.io` are one host.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Docker `config.json` or containers' `auth.json` files, in falling precedence. A file that
    /// does not exist is skipped.
    pub credentials: Vec<PathBuf>,
    /// The text of a Docker `config.json` that goes before the files (`DOCKER_AUTH_CONFIG`).
    pub auth_env: Option<Secret>,
    /// Hosts that may be spoken to over plain HTTP when they do not answer in TLS.
    pub insecure: BTreeSet<String>,
    /// The same for every host that is pulled from.
    pub insecure_pull: bool,
    /// The same for every host that is pushed to.
    pub insecure_push: bool,
    /// Hosts whose certificate is not verified.
    pub skip_tls_verify: BTreeSet<String>,
    /// The same for every host while pulling.
    pub skip_tls_verify_pull: bool,
    /// The same for every host while pushing.
    pub skip_tls_verify_push: bool,
    /// Additional CA certificates: the host (empty for all hosts) and a PEM file.
    pub certificates: Vec<(String, PathBuf)>,
    /// Certificates that this client shows to a host.
    pub client_certificates: Vec<ClientCertificate>,
    /// Where to pull from instead, tried in order before the original.
    pub mirrors: Vec<Mirror>,
    /// Never ask the original registry when a mirror is configured for it.
    pub no_mirror_fallback: bool,
    /// How often a request is repeated after a passing failure.
    pub retries: u32,
    /// The pause before the first repetition; it doubles each time, with jitter.
    pub retry_pause: Duration,
    /// What the client calls itself.
    pub user_agent: String,
}

/// A certificate and key for mutual TLS with one host.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The host; empty for all hosts.
    pub host: String,
    /// A PEM file with the certificate chain.
    pub certificate: PathBuf,
    /// A PEM file with the private key.
    pub key: PathBuf,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            credentials: Vec::new(),
            auth_env: None,
            insecure: BTreeSet::new(),
            insecure_pull: false,
            insecure_push: false,
            skip_tls_verify: BTreeSet::new(),
            skip_tls_verify_pull: false,
            skip_tls_verify_push: false,
            certificates: Vec::new(),
            client_certificates: Vec::new(),
            mirrors: Vec::new(),
            no_mirror_fallback: false,
            retries: 5,
            retry_pause: Duration::from_millis(250),
            user_agent: concat!("longshore/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Returns the one name under which a host's aliases are compared.
pub(super) fn canonical_host(host: &str) -> &str {
    match host {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        other => other,
    }
}

/// Whether a configured host names `authority`; the empty host names all.
pub(super) fn names_host(configured: &str, authority: &str) -> bool {
    configured.is_empty()
        || canonical_host(configured).eq_ignore_ascii_case(canonical_host(authority))
}

/// Whether `authority` is this machine, by name or address.
pub(super) fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => authority.split(':').next().unwrap_or(authority),
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts_are_known_by_name_and_address() {
        for (authority, loopback) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:80", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("10.0.0.1:5000", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:5000", false),
            ("[2001:db8::1]:5000", false),
        ] {
            assert_eq!(is_loopback(authority), loopback, "{authority}");
        }
    }

    #[test]
    fn hosts_are_compared_as_written_but_for_docker_hub() {
        for (configured, authority, same) in [
            ("", "any.example", true),
            ("reg.example", "reg.example", true),
            ("Reg.Example", "reg.example", true),
            ("reg.example", "reg.example:5000", false),
            ("docker.io", "registry-1.docker.io", true),
            ("index.docker.io", "docker.io", true),
            ("example", "reg.example", false),
        ] {
            assert_eq!(names_host(configured, authority), same, "{configured} {authority}");
        }
    }
}
