//! What can go wrong with a registry.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::model::{Digest, Repository};

/// Why a registry operation failed. No variant ever carries a secret or a URL's query.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The options cannot be used.
    #[error("registry option {option} cannot be used: {reason}")]
    Option {
        /// The option's value or name.
        option: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A credentials file (or one entry that is needed) cannot be used.
    #[error("credentials in {origin} cannot be used: {reason}")]
    Credentials {
        /// The file, and the key in it if one entry is at fault.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A host wants credentials that only a credential helper could give.
    #[error(
        "{host} needs credentials, and credential helper {helper} (named in {origin}) is not \
         supported yet: put the credentials of {host} into \"auths\""
    )]
    Helper {
        /// The host that asked for credentials.
        host: String,
        /// The helper's short name, as in `ecr-login`.
        helper: String,
        /// The file that names the helper.
        origin: String,
    },
    /// A certificate or key file cannot be used.
    #[error("certificate file {} cannot be used: {reason}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The host's certificate is not trusted.
    #[error("the certificate of {host} is not trusted")]
    Untrusted {
        /// The host.
        host: String,
        /// What the verifier found.
        source: NetworkError,
    },
    /// The credentials were refused, or there were none.
    #[error("{host} refused the {action} {credentials}: {detail}")]
    Unauthorized {
        /// The registry, or its token service.
        host: String,
        /// What was tried, as in `pull of docker.io/library/debian`.
        action: String,
        /// `without credentials`, or `with the credentials from FILE (KEY)`.
        credentials: String,
        /// What the host said.
        detail: String,
    },
    /// The credentials were accepted but do not allow the action.
    #[error("{host} denied the {action} {credentials}: {detail}")]
    Denied {
        /// The registry, or its token service.
        host: String,
        /// What was tried.
        action: String,
        /// `without credentials`, or `with the credentials from FILE (KEY)`.
        credentials: String,
        /// What the host said.
        detail: String,
    },
    /// No registry that was asked has the manifest.
    #[error("{reference} was not found (asked {})", tried.join(", "))]
    NotFound {
        /// What was asked for.
        reference: String,
        /// Every repository that was asked, in order, with the reason where it was another one.
        tried: Vec<String>,
    },
    /// The repository has no blob with this digest.
    #[error("{repository} has no blob {digest}")]
    BlobNotFound {
        /// The repository.
        repository: Repository,
        /// The blob.
        digest: Digest,
    },
    /// No connection came about, or it broke and repetitions did not help.
    #[error("{host} cannot be reached for the {action}")]
    Unreachable {
        /// The host.
        host: String,
        /// What was tried.
        action: String,
        /// What the network said.
        source: NetworkError,
    },
    /// The host took the connection and then was silent for too long.
    #[error("{host} was silent for {seconds} s during the {action}")]
    Stalled {
        /// The host.
        host: String,
        /// What was tried.
        action: String,
        /// How long nothing came.
        seconds: u64,
    },
    /// The registry answered with an error.
    #[error("{host} refused the {action} with status {}{}", answer.status, answer.said())]
    Refused {
        /// The registry.
        host: String,
        /// What was tried.
        action: String,
        /// The answer.
        answer: Box<Answer>,
    },
    /// A stream broke, and what the registry did not get is not kept any more.
    #[error("{host} did not get all of the {action}: {reason}")]
    Broken {
        /// The registry.
        host: String,
        /// What was tried.
        action: String,
        /// How it broke.
        reason: String,
    },
    /// The answer is not one that a registry gives.
    #[error("{place} answered status {status} with {reason}; is this a container registry?")]
    Garbage {
        /// Host and path, without the query.
        place: String,
        /// The HTTP status.
        status: u16,
        /// What was odd.
        reason: String,
    },
    /// Content does not have the digest it was asked or announced by.
    #[error("{what} has digest {actual} instead of {expected}")]
    DigestMismatch {
        /// The manifest or blob and its repository.
        what: String,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// Content does not have the size it should have.
    #[error("{what} has {actual} bytes instead of {expected}")]
    SizeMismatch {
        /// The blob or file.
        what: String,
        /// The size it should have.
        expected: u64,
        /// The size found; for a download, at least this many.
        actual: u64,
    },
    /// Content that must fit in memory is too large.
    #[error("{what} has more than {limit} bytes")]
    TooLarge {
        /// The manifest, blob or answer.
        what: String,
        /// How many bytes are taken.
        limit: u64,
    },
    /// Whoever read a blob stopped before its end.
    #[error("a blob is not read any more")]
    Abandoned,
    /// A local file cannot be read or written.
    #[error("{}: file cannot be read or written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An error answer of a registry (the spec, "Error Codes").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The registry's error codes, as in `MANIFEST_BLOB_UNKNOWN`; upper case.
    pub codes: Vec<String>,
    /// The registry's messages, shortened, without control characters; may be empty.
    pub detail: String,
    /// How long the registry asks to wait.
    pub retry_after: Option<Duration>,
}

/// A failure below HTTP; its message and sources name no URL.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct NetworkError(Box<dyn StdError + Send + Sync>);

impl NetworkError {
    pub(super) fn new(error: reqwest::Error) -> Self {
        Self(Box::new(error.without_url()))
    }

    /// Whether the other side's certificate is what failed.
    pub(super) fn is_certificate(&self) -> bool {
        matches!(tls_error(self.0.as_ref()), Some(rustls::Error::InvalidCertificate(_)))
    }

    /// Whether the other side answered TLS with something else, as a server of plain HTTP does.
    fn is_from_plain_peer(&self) -> bool {
        matches!(tls_error(self.0.as_ref()), Some(rustls::Error::InvalidMessage(_)))
    }

    /// Whether the other side spoke TLS, so that plain HTTP is no explanation of the failure.
    pub(super) fn is_from_tls_peer(&self) -> bool {
        let error = tls_error(self.0.as_ref());
        error.is_some_and(|error| !matches!(error, rustls::Error::InvalidMessage(_)))
    }
}

/// Finds the TLS library's error among the causes. An `io::Error` must be opened by hand, for its
/// `source` leaves out the error that it wraps, and it may wrap another of its kind.
fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref::<rustls::Error>() {
        return Some(found);
    }
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let found = wrapped.and_then(|inner| tls_error(inner));
    found.or_else(|| error.source().and_then(tls_error))
}

impl Answer {
    fn said(&self) -> String {
        match (self.detail.is_empty(), self.codes.is_empty()) {
            (false, _) => format!(": {}", self.detail),
            (true, false) => format!(": {}", self.codes.join(", ")),
            (true, true) => String::new(),
        }
    }

    /// Whether the registry gave one of these error codes.
    pub fn has_code(&self, codes: &[&str]) -> bool {
        self.codes.iter().any(|code| codes.contains(&code.as_str()))
    }
}

impl RegistryError {
    /// Whether a host that may be insecure could be reached by plain HTTP after this.
    pub(super) fn allows_plain_http(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => !source.is_from_tls_peer(),
            Self::Stalled { .. } => true,
            _ => false,
        }
    }

    /// Whether the same request may succeed a little later: no connection, a broken one, silence,
    /// or one of the statuses 408, 429, 500, 502, 503 and 504.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => !source.is_from_plain_peer(),
            Self::Stalled { .. } => true,
            Self::Refused { answer, .. } => is_transient_status(answer.status),
            _ => false,
        }
    }

    /// Whether a stream that ended so may come through when its bytes are made once more.
    pub fn may_stream_again(&self) -> bool {
        const CODES: [&str; 2] = ["DIGEST_INVALID", "SIZE_INVALID"];
        match self {
            Self::Broken { .. } => true,
            Self::Refused { answer, .. } if answer.has_code(&CODES) => true,
            other => other.is_transient(),
        }
    }

    /// How long the registry asks to wait before the next attempt.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { answer, .. } => answer.retry_after,
            _ => None,
        }
    }

    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}

/// Whether a repetition may help after this status.
pub(super) fn is_transient_status(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}
