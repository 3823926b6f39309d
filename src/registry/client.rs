//! The registry client that the rest of the program holds.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use reqwest::{Method, Url};
use tokio::sync::OnceCell;

use super::auth::Auth;
use super::keyring::Keyring;
use super::options::{canonical_host, is_loopback, names_host};
use super::retry::Schedule;
use super::tls::Clients;
use super::transport::{Call, Place, Wire};
use super::upload::Content;
use super::{
    Arrival, BlobFile, BlobWriter, ManifestHead, Pushed, RawManifest, RegistryError,
    RegistryOptions, Resolved, ResolvedHead, download, manifests, pipe, resolve, stream, upload,
};
use crate::hashing;
use crate::model::{Digest, Reference, Repository};
use crate::ring::RingReader;

/// Whether a request belongs to pulling or to pushing; it decides on rights and TLS settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Base images, and stages that are only read.
    Pull,
    /// Destinations; look-ups there too, so that one token serves them all.
    Push,
}

/// A client of all registries; cheap to clone, and clones share connections and tokens.
#[derive(Clone, Debug)]
pub struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    wire: Wire,
    // Guards the map only; never held across an await.
    roots: Mutex<BTreeMap<(String, Side), Root>>,
}

/// The root URL of a host that may be insecure, found out once.
type Root = Arc<OnceCell<Url>>;

impl Registry {
    /// Reads the credentials and makes a client; nothing is sent yet.
    ///
    /// # Errors
    /// When a credentials file cannot be read or parsed.
    pub fn new(options: RegistryOptions) -> Result<Self, RegistryError> {
        let keyring = Keyring::load(&options)?;
        let (clients, auth) = (Clients::default(), Auth::default());
        let wire = Wire { options, clients, keyring, auth };
        Ok(Self { inner: Arc::new(Inner { wire, roots: Mutex::default() }) })
    }

    /// Asks for a manifest's digest; `None` when there is none. `selector` is a tag or a digest.
    ///
    /// # Errors
    /// When the registry cannot be asked or refuses.
    pub async fn head_manifest(
        &self,
        repository: &Repository,
        selector: &str,
        side: Side,
    ) -> Result<Option<ManifestHead>, RegistryError> {
        let place = self.place(repository, side).await?;
        manifests::head(self.wire(), &place, selector).await
    }

    /// Gets a manifest of at most 4 MiB, verified; `None` when there is none.
    ///
    /// # Errors
    /// When the registry cannot be asked or refuses, or the bytes have another digest.
    pub async fn get_manifest(
        &self,
        repository: &Repository,
        selector: &str,
        side: Side,
    ) -> Result<Option<RawManifest>, RegistryError> {
        let place = self.place(repository, side).await?;
        manifests::get(self.wire(), &place, selector).await
    }

    /// Stores a manifest's exact bytes under a tag or its digest.
    ///
    /// # Errors
    /// When the registry cannot be asked or refuses, or `selector` is another digest.
    pub async fn put_manifest(
        &self,
        repository: &Repository,
        selector: &str,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<Digest, RegistryError> {
        let place = self.place(repository, Side::Push).await?;
        manifests::put(self.wire(), &place, selector, media_type, bytes.into()).await
    }

    /// Asks whether the repository has a blob.
    ///
    /// # Errors
    /// When the registry cannot be asked or refuses.
    pub async fn has_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        side: Side,
    ) -> Result<bool, RegistryError> {
        let place = self.place(repository, side).await?;
        upload::exists(self.wire(), &place, digest).await
    }

    /// Streams a blob to the file `to`, which is there only when size and digest were verified.
    ///
    /// A broken connection is gone on with where it stopped, also when it was another call, or
    /// another process, that had begun: what has come lies in `TO.part`. While somebody else
    /// fetches the blob to the same file, the call waits for it.
    ///
    /// # Errors
    /// When the blob is not there, is another one, cannot be got, or the file cannot be written.
    pub async fn fetch_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        to: &Path,
    ) -> Result<(), RegistryError> {
        self.fetch_blob_seen(repository, (digest, size), to, &Arrival::new()).await
    }

    /// Like [`Registry::fetch_blob`], with readers that do not wait for the whole; `blob` is its
    /// digest and size.
    ///
    /// # Errors
    /// As [`Registry::fetch_blob`].
    pub async fn fetch_blob_seen(
        &self,
        repository: &Repository,
        blob: (&Digest, u64),
        to: &Path,
        arrival: &Arrival,
    ) -> Result<(), RegistryError> {
        let place = self.place(repository, Side::Pull).await?;
        download::to_file(self.wire(), &place, blob, (to, arrival)).await
    }

    /// Streams a blob into a pipe, verifying size and digest on the way, and going on where it
    /// stopped after a broken connection. The pipe's end comes only after the digest was right.
    ///
    /// # Errors
    /// When the blob is not there, is another one or cannot be got, or nobody reads any more.
    pub async fn pipe_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        size: u64,
        into: BlobWriter,
    ) -> Result<(), RegistryError> {
        let place = self.place(repository, Side::Pull).await?;
        pipe::pour(self.wire(), &place, (digest, size), into).await
    }

    /// Gets a blob of at most `limit` bytes, verified; for configs.
    ///
    /// # Errors
    /// When the blob is not there, is larger or another one, or cannot be got.
    pub async fn read_blob(
        &self,
        repository: &Repository,
        digest: &Digest,
        limit: u64,
    ) -> Result<Bytes, RegistryError> {
        let place = self.place(repository, Side::Pull).await?;
        download::to_memory(self.wire(), &place, digest, limit).await
    }

    /// Makes the repository have a blob: looks, else mounts it from one of `mount_from`, else
    /// uploads the file.
    ///
    /// # Errors
    /// When the file is not as described, or the registry cannot be asked or refuses.
    pub async fn push_blob(
        &self,
        repository: &Repository,
        blob: &BlobFile,
        mount_from: &[Repository],
    ) -> Result<Pushed, RegistryError> {
        let place = self.place(repository, Side::Push).await?;
        upload::push(self.wire(), &place, &Content::File(blob), mount_from).await
    }

    /// Uploads a blob while it is written. `None` when it turned out to be small, which
    /// [`push_blob`](Self::push_blob) sends with fewer requests, or when its writer gave up.
    ///
    /// # Errors
    /// When the registry cannot be asked or refuses; [`RegistryError::Broken`] when a connection
    /// broke and what must be sent again is not kept.
    pub async fn stream_blob(
        &self,
        repository: &Repository,
        blob: RingReader,
    ) -> Result<Option<Pushed>, RegistryError> {
        let place = self.place(repository, Side::Push).await?;
        stream::stream(self.wire(), &place, blob).await
    }

    /// Makes the repository have a blob without its bytes, by looking or mounting; `false` when
    /// that is not possible and the blob must be pushed.
    ///
    /// # Errors
    /// When the registry cannot be asked or refuses.
    pub async fn mount_or_has(
        &self,
        repository: &Repository,
        digest: &Digest,
        from: &[Repository],
    ) -> Result<bool, RegistryError> {
        let place = self.place(repository, Side::Push).await?;
        upload::mount_or_has(self.wire(), &place, digest, from).await
    }

    /// Makes the repository have a small blob, and returns its digest.
    ///
    /// # Errors
    /// When the registry cannot be asked or refuses.
    pub async fn push_bytes(
        &self,
        repository: &Repository,
        bytes: impl Into<Bytes>,
    ) -> Result<Digest, RegistryError> {
        let bytes = bytes.into();
        let digest = hashing::sha256(&bytes);
        let place = self.place(repository, Side::Push).await?;
        upload::push(self.wire(), &place, &Content::Bytes(bytes, digest), &[]).await?;
        Ok(digest)
    }

    /// Finds out whether pushing is allowed, by starting an upload and cancelling it.
    ///
    /// # Errors
    /// When it is not, or the registry cannot be asked.
    pub async fn check_push(&self, repository: &Repository) -> Result<(), RegistryError> {
        let place = self.place(repository, Side::Push).await?;
        upload::check(self.wire(), &place).await
    }

    /// Gets the manifest of a base image from the mirrors in order, then from the original.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] with every place that was asked, or the last place's error.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved, RegistryError> {
        resolve::manifest(self, reference).await
    }

    /// Asks for the digest of a base image, like [`resolve`](Self::resolve) but by HEAD.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] with every place that was asked, or the last place's error.
    pub async fn head_resolve(&self, reference: &Reference) -> Result<ResolvedHead, RegistryError> {
        resolve::head(self, reference).await
    }

    /// Whether a mirror is asked before `repository` itself.
    pub fn is_mirrored(&self, repository: &Repository) -> bool {
        let mirrors = &self.inner.wire.options.mirrors;
        mirrors.iter().any(|mirror| mirror.rewrite(repository).is_some())
    }

    pub(super) fn wire(&self) -> &Wire {
        &self.inner.wire
    }

    fn root(&self, authority: &str, side: Side) -> Root {
        let mut roots = self.inner.roots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(roots.entry((authority.to_owned(), side)).or_default())
    }

    pub(super) async fn place(
        &self,
        repository: &Repository,
        side: Side,
    ) -> Result<Place, RegistryError> {
        self.place_within(repository, side, self.wire().options.retries).await
    }

    /// Finds out how a repository is reached, with at most `retries` repetitions of any request.
    pub(super) async fn place_within(
        &self,
        repository: &Repository,
        side: Side,
        retries: u32,
    ) -> Result<Place, RegistryError> {
        let wire = self.wire();
        let first_pause = wire.options.retry_pause;
        let authority = api_host(&repository.registry);
        let mut place = Place {
            repository: repository.clone(),
            side,
            root: root_url("https", authority)?,
            login: wire.keyring.find(repository),
            schedule: Schedule { retries, first_pause },
        };
        if wire.may_be_insecure(authority, side) {
            let root = self.root(authority, side);
            place.root = root.get_or_try_init(|| wire.probe(&place, authority)).await?.clone();
        }
        Ok(place)
    }
}

impl Wire {
    /// Whether the options (or Docker's rule for loopback hosts) allow plain HTTP.
    pub(super) fn may_be_insecure(&self, authority: &str, side: Side) -> bool {
        let every = match side {
            Side::Pull => self.options.insecure_pull,
            Side::Push => self.options.insecure_push,
        };
        every
            || is_loopback(authority)
            || self.options.insecure.iter().any(|host| names_host(host, authority))
    }

    /// Chooses HTTPS or plain HTTP by asking the API's root, as the spec's end-1 allows.
    async fn probe(&self, place: &Place, authority: &str) -> Result<Url, RegistryError> {
        let mut attempts = place.attempts();
        loop {
            let first = match self.probe_by("https", place, authority).await {
                Ok(root) => return Ok(root),
                Err(error) if error.allows_plain_http() => error,
                Err(error) => return Err(error),
            };
            match self.probe_by("http", place, authority).await {
                Ok(root) => {
                    tracing::debug!(host = authority, "speaking plain http");
                    return Ok(root);
                }
                Err(_) => attempts.after(first).await?,
            }
        }
    }

    async fn probe_by(
        &self,
        scheme: &str,
        place: &Place,
        authority: &str,
    ) -> Result<Url, RegistryError> {
        let root = root_url(scheme, authority)?;
        let mut url = root.clone();
        url.set_path("/v2/");
        self.exchange(&Call::new(place, Method::GET, url), None).await.map(|_| root)
    }
}

/// The host that serves the API of a registry.
fn api_host(registry: &str) -> &str {
    match canonical_host(registry) {
        "docker.io" => "registry-1.docker.io",
        other => other,
    }
}

fn root_url(scheme: &str, authority: &str) -> Result<Url, RegistryError> {
    Url::parse(&format!("{scheme}://{authority}/")).map_err(|error| RegistryError::Option {
        option: authority.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hub_has_its_own_api_host() {
        for (registry, host) in [
            ("docker.io", "registry-1.docker.io"),
            ("index.docker.io", "registry-1.docker.io"),
            ("reg.example:5000", "reg.example:5000"),
        ] {
            assert_eq!(api_host(registry), host);
        }
        assert!(root_url("https", "bad host").is_err());
    }
}
