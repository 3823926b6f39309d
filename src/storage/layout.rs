//! Storage in an OCI layout directory (OCI image spec, "image-layout").
//!
//! `index.json` names each tag in the annotation `org.opencontainers.image.ref.name`. Files are
//! written beside their place and renamed into it, the index under a lock of the directory, so
//! that builders of one host can share a layout and a killed one leaves nothing torn.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Layer, Origin, StageStorage, StorageError, StoredManifest};
use crate::blocking::blocking;
use crate::hashing::sha256;
use crate::model::Digest;

const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Locked while the index or the layout itself is written; it stays in the directory.
const LOCK: &str = ".lock";
const VERSION: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// A layout directory.
#[derive(Clone, Debug)]
pub struct LayoutStorage {
    directory: PathBuf,
}

/// `index.json`; what other tools wrote into it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    #[serde(default)]
    manifests: Vec<Row>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

impl Row {
    fn is_named(&self, tag: &str) -> bool {
        self.annotations.get(REF_NAME).is_some_and(|name| name == tag)
    }
}

impl LayoutStorage {
    /// Opens the layout in `directory`, which is made if it is absent or empty.
    ///
    /// # Errors
    /// When the directory cannot be made, or holds something that is not a layout.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let layout = Self { directory: directory.into() };
        layout.initialise()?;
        Ok(layout)
    }

    /// The layout's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn initialise(&self) -> Result<(), StorageError> {
        let failed = |source| self.failed("make", source);
        fs_err::create_dir_all(&self.directory).map_err(failed)?;
        if let Some(version) = self.version()? {
            return self.check_version(&version);
        }
        // Builders that start at the same time make it once, and what a killed one began is ended.
        self.refuse_foreign()?;
        let _lock = self.lock()?;
        if let Some(version) = self.version()? {
            return self.check_version(&version);
        }
        fs_err::create_dir_all(self.directory.join("blobs/sha256")).map_err(failed)?;
        let index = Index { schema_version: 2, manifests: Vec::new(), unknown: BTreeMap::new() };
        self.replace("index.json", &index_bytes(&index)).map_err(failed)?;
        self.replace("oci-layout", VERSION.as_bytes()).map_err(failed)
    }

    /// Refuses a directory that has something in it, unless it is one that is being made a layout.
    fn refuse_foreign(&self) -> Result<(), StorageError> {
        let failed = |source| self.failed("make", source);
        let mut entries = fs_err::read_dir(&self.directory).map_err(failed)?;
        if entries.next().is_none() || self.directory.join(LOCK).exists() {
            return Ok(());
        }
        let reason = "it has no file oci-layout and is not empty".to_owned();
        Err(StorageError::NotALayout { directory: self.directory.clone(), reason })
    }

    /// Keeps other builders from changing the layout until the file is dropped.
    fn lock(&self) -> Result<fs_err::File, StorageError> {
        let failed = |source| self.failed("write to", source);
        let lock = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.directory.join(LOCK))
            .map_err(failed)?;
        lock.file().lock().map_err(failed)?;
        Ok(lock)
    }

    /// The text of the file that makes a directory a layout; nothing if it is not there.
    fn version(&self) -> Result<Option<String>, StorageError> {
        match fs_err::read_to_string(self.directory.join("oci-layout")) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("read", error)),
        }
    }

    fn check_version(&self, text: &str) -> Result<(), StorageError> {
        let version: Option<Value> = serde_json::from_str(text).ok();
        let version = version.as_ref().and_then(|value| value["imageLayoutVersion"].as_str());
        match version {
            Some("1.0.0") => Ok(()),
            other => Err(StorageError::NotALayout {
                directory: self.directory.clone(),
                reason: format!("its version is {other:?}, not 1.0.0"),
            }),
        }
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs/sha256").join(digest.hex())
    }

    fn read_index(&self) -> Result<Index, StorageError> {
        let text = fs_err::read(self.directory.join("index.json"))
            .map_err(|source| self.failed("read", source))?;
        serde_json::from_slice(&text).map_err(|error| StorageError::NotALayout {
            directory: self.directory.clone(),
            reason: format!("its index.json is wrong: {error}"),
        })
    }

    fn find(&self, selector: &str) -> Result<Option<Row>, StorageError> {
        let digest: Option<Digest> = selector.parse().ok();
        let rows = self.read_index()?.manifests;
        let wanted = |row: &Row| digest.map_or_else(|| row.is_named(selector), |d| row.digest == d);
        Ok(rows.into_iter().find(wanted))
    }

    fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, StorageError> {
        match fs_err::read(self.blob_path(digest)) {
            Ok(bytes) if sha256(&bytes) == *digest => Ok(bytes),
            Ok(_) => Err(StorageError::NotALayout {
                directory: self.directory.clone(),
                reason: format!("its blob {digest} has other content"),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StorageError::BlobMissing { place: self.place(), digest: *digest })
            }
            Err(source) => Err(self.failed("read", source)),
        }
    }

    /// Writes `bytes` to `name` below the directory so that a reader sees all or nothing.
    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.directory.join(name);
        let parent = path.parent().unwrap_or(&self.directory);
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        file.write_all(bytes)?;
        fs_err::set_permissions(file.path(), readable())?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    }

    fn write_blob(&self, bytes: &[u8]) -> Result<Digest, StorageError> {
        let digest = sha256(bytes);
        // What is there may be torn by a full disk or a crash; writing it again heals it.
        if !fs_err::read(self.blob_path(&digest)).is_ok_and(|kept| kept == bytes) {
            let name = format!("blobs/sha256/{}", digest.hex());
            self.replace(&name, bytes).map_err(|source| self.failed("write to", source))?;
        }
        Ok(digest)
    }

    fn copy_layer(&self, digest: &Digest, from: &Path) -> Result<(), StorageError> {
        let to = self.blob_path(digest);
        if to.exists() {
            return Ok(());
        }
        let copied = || {
            let mut target = tempfile::NamedTempFile::new_in(self.directory.join("blobs/sha256"))?;
            io::copy(&mut fs_err::File::open(from)?, target.as_file_mut())?;
            fs_err::set_permissions(target.path(), readable())?;
            target.persist(&to).map_err(|error| error.error)?;
            Ok(())
        };
        // A hard link costs nothing; it fails across file systems.
        fs_err::hard_link(from, &to)
            .or_else(|_| copied())
            .map_err(|source| self.failed("write to", source))
    }

    fn name_manifest(
        &self,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, StorageError> {
        let digest = self.write_blob(bytes)?;
        let failed = |source| self.failed("write to", source);
        let _lock = self.lock()?;
        let mut index = self.read_index()?;
        index.manifests.retain(|row| !row.is_named(tag));
        index.manifests.push(Row {
            media_type: media_type.to_owned(),
            digest,
            size: bytes.len() as u64,
            annotations: BTreeMap::from([(REF_NAME.to_owned(), tag.to_owned())]),
            unknown: BTreeMap::new(),
        });
        self.replace("index.json", &index_bytes(&index)).map_err(failed)?;
        Ok(digest)
    }

    fn failed(&self, action: &'static str, source: io::Error) -> StorageError {
        StorageError::Layout { action, directory: self.directory.clone(), source }
    }
}

fn index_bytes(index: &Index) -> Vec<u8> {
    serde_json::to_vec(index).expect("an index has only string keys")
}

/// Layouts are read by other tools and other users; the default of temporary files is 0600.
fn readable() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

impl StageStorage for LayoutStorage {
    fn place(&self) -> String {
        format!("the OCI layout {}", self.directory.display())
    }

    fn reference(&self, tag: &str) -> String {
        format!("oci:{}:{tag}", self.directory.display())
    }

    async fn head(&self, tag: &str) -> Result<Option<Digest>, StorageError> {
        let (layout, tag) = (self.clone(), tag.to_owned());
        blocking(move || {
            let found = layout.find(&tag)?.filter(|row| layout.blob_path(&row.digest).exists());
            Ok(found.map(|row| row.digest))
        })
        .await
    }

    async fn manifest(&self, selector: &str) -> Result<Option<StoredManifest>, StorageError> {
        let (layout, selector) = (self.clone(), selector.to_owned());
        blocking(move || {
            let Some(row) = layout.find(&selector)? else { return Ok(None) };
            match layout.read_blob(&row.digest) {
                Ok(bytes) => Ok(Some(StoredManifest {
                    digest: row.digest,
                    media_type: row.media_type,
                    bytes,
                })),
                Err(StorageError::BlobMissing { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, StorageError> {
        let (layout, digest) = (self.clone(), *digest);
        blocking(move || {
            let size = fs_err::metadata(layout.blob_path(&digest)).map_or(0, |meta| meta.len());
            if size > limit {
                let reason = format!("its blob {digest} has {size} bytes, more than {limit}");
                return Err(StorageError::NotALayout { directory: layout.directory, reason });
            }
            layout.read_blob(&digest)
        })
        .await
    }

    async fn adopt(&self, layer: &Layer) -> Result<bool, StorageError> {
        Ok(self.blob_path(&layer.digest).exists())
    }

    async fn put_layer(&self, layer: &Layer, from: &Path) -> Result<(), StorageError> {
        let (layout, digest, from) = (self.clone(), layer.digest, from.to_owned());
        blocking(move || layout.copy_layer(&digest, &from)).await
    }

    async fn put_blob(&self, bytes: &[u8]) -> Result<Digest, StorageError> {
        let (layout, bytes) = (self.clone(), bytes.to_owned());
        blocking(move || layout.write_blob(&bytes)).await
    }

    async fn put_manifest(
        &self,
        tag: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, StorageError> {
        let (layout, tag) = (self.clone(), tag.to_owned());
        let (media_type, bytes) = (media_type.to_owned(), bytes.to_owned());
        blocking(move || layout.name_manifest(&tag, &media_type, &bytes)).await
    }

    fn origin(&self, digest: &Digest) -> Origin {
        Origin::File(self.blob_path(digest))
    }
}
