//! Manifests and configs of bases, by digest: in the work directory, and as records in storage.
//!
//! A fresh pod has no work directory, and a look-up that ends in "nothing to do" must not fetch
//! blobs. So what was fetched of a base is recorded where the stages are, once: an OCI artifact
//! under the tag `base-DIGEST`, whose annotations are the documents themselves, named by their
//! digests. A record is only a shorter way: every document is verified against its digest, and
//! the digest of the first was asked of the base's own registry.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::graph::ImageSource;
use crate::blocking::blocking;
use crate::hashing::{framed, sha256};
use crate::image::OCI_MANIFEST;
use crate::model::Digest;
use crate::storage::{StageStorage as _, Storage, StorageError};

/// What an artifact without content refers to (OCI image spec, "Guidance for an empty descriptor").
const EMPTY: &[u8] = b"{}";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The type of a record.
const RECORD_TYPE: &str = "application/vnd.longshore.base.v1";

/// Documents by digest.
type Documents = BTreeMap<Digest, Vec<u8>>;

/// Manifests and configs by digest; see the module text.
#[derive(Debug)]
pub struct BaseCache {
    directory: PathBuf,
    records: Option<Storage>,
    /// What was fetched from the bases' registries, by the record it belongs to.
    fetched: Mutex<BTreeMap<String, Documents>>,
}

impl BaseCache {
    /// The cache in `directory`, which exists, and in `records`.
    pub fn new(directory: impl Into<PathBuf>, records: Option<Storage>) -> Self {
        Self { directory: directory.into(), records, fetched: Mutex::default() }
    }

    /// Records in storage what was fetched in this build.
    ///
    /// # Errors
    /// When storage refuses; builds work without records.
    pub async fn record(&self) -> Result<(), StorageError> {
        let Some(storage) = &self.records else { return Ok(()) };
        let fetched = std::mem::take(&mut *self.fetched.lock().expect("no holder panics"));
        for (tag, documents) in fetched {
            storage.put_blob(EMPTY).await?;
            storage.put_manifest(&tag, OCI_MANIFEST, &encode(&documents)).await?;
        }
        Ok(())
    }

    /// Returns a document from the work directory.
    pub(super) async fn get(&self, digest: &Digest) -> Option<Vec<u8>> {
        let (path, digest) = (self.directory.join(digest.hex()), *digest);
        // A damaged file is the same as none: it is fetched and written again.
        blocking(move || fs_err::read(path).ok().filter(|bytes| sha256(bytes) == digest)).await
    }

    /// Takes what the record of `image` has into the work directory.
    pub(super) async fn recall(&self, image: &ImageSource, digest: &Digest) {
        let Some(storage) = &self.records else { return };
        let found = match storage.manifest(&tag(image, digest)).await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!("cannot look a base's record up: {error}");
                None
            }
        };
        let Some(record) = found else { return };
        for (digest, bytes) in decode(&record.bytes) {
            self.put(&digest, bytes).await;
        }
    }

    /// Keeps a document that was fetched for `image`, whose first document is `top`.
    pub(super) async fn keep(
        &self,
        image: &ImageSource,
        top: &Digest,
        digest: &Digest,
        bytes: &[u8],
    ) {
        self.remember(tag(image, top), *digest, bytes);
        self.put(digest, bytes.to_vec()).await;
    }

    fn remember(&self, tag: String, digest: Digest, bytes: &[u8]) {
        let mut fetched = self.fetched.lock().expect("no holder panics");
        fetched.entry(tag).or_default().insert(digest, bytes.to_vec());
    }

    async fn put(&self, digest: &Digest, bytes: Vec<u8>) {
        let (directory, name) = (self.directory.clone(), digest.hex());
        let written = blocking(move || {
            let file = tempfile::NamedTempFile::new_in(&directory)?;
            fs_err::write(file.path(), bytes)?;
            file.persist(directory.join(name)).map_err(|error| error.error)
        });
        if let Err(error) = written.await {
            tracing::debug!("cannot keep {digest} in the work directory: {error}");
        }
    }
}

/// The tag of the record of a base; an index has one for each platform.
fn tag(image: &ImageSource, digest: &Digest) -> String {
    format!("base-{}", framed("base", [digest.to_string(), image.platform.to_string()]))
}

fn encode(documents: &Documents) -> Vec<u8> {
    let empty = json!({
        "mediaType": EMPTY_TYPE, "digest": sha256(EMPTY), "size": EMPTY.len(),
    });
    let annotations: BTreeMap<String, String> = documents
        .iter()
        .filter_map(|(digest, bytes)| {
            Some((digest.to_string(), String::from_utf8(bytes.clone()).ok()?))
        })
        .collect();
    let record = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": RECORD_TYPE,
        "config": empty, "layers": [empty], "annotations": annotations,
    });
    record.to_string().into_bytes()
}

/// The documents of a record whose bytes have the digest they are named by.
fn decode(record: &[u8]) -> Documents {
    let record: Value = serde_json::from_slice(record).unwrap_or_default();
    let annotations = record["annotations"].as_object().into_iter().flatten();
    let documents = annotations.filter_map(|(name, text)| {
        let (digest, bytes) = (name.parse::<Digest>().ok()?, text.as_str()?.as_bytes());
        (sha256(bytes) == digest).then(|| (digest, bytes.to_vec()))
    });
    documents.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_gives_back_what_has_its_digest() {
        let text = br#"{"schemaVersion":2}"#.to_vec();
        let documents = Documents::from([(sha256(&text), text)]);
        let record = encode(&documents);
        assert_eq!(decode(&record), documents);
        let forged = String::from_utf8(record).unwrap().replace("Version\\\":2", "Version\\\":3");
        assert_eq!(decode(forged.as_bytes()), Documents::new());
        assert_eq!(decode(b"garbage"), Documents::new());
    }
}
