//! An image as one tar that `docker load` reads ("Docker Image Specification v1.2", "Combined
//! Image JSON + Filesystem Changeset Format"): `manifest.json`, the config, the layers as they
//! are compressed.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use longshore_runtime::entry::{Entry, EntrySink as _, Kind};
use serde_json::json;

use super::deliver::Finished;
use super::engine::Shared;
use super::error::BuildError;
use crate::blocking::blocking;
use crate::hashing::sha256;
use crate::layer::{TarWriter, path_order};

/// A member of the archive.
enum Member {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// Writes the archive to `path`, by a temporary file beside it.
pub(super) async fn write(
    shared: &Shared,
    image: &Finished,
    path: &Path,
    names: &[String],
) -> Result<(), BuildError> {
    let config = format!("{}.json", sha256(&image.config).hex());
    let mut members = vec![(config.clone(), Member::Bytes(image.config.clone()))];
    let mut layers = Vec::new();
    for layer in &image.layers {
        let name = format!("{}.tar.gz", layer.digest.hex());
        if !layers.contains(&name) {
            members.push((name.clone(), Member::File(shared.layers.file(layer).await?)));
        }
        layers.push(name);
    }
    let manifest = json!([{"Config": config, "RepoTags": names, "Layers": layers}]);
    members.push(("manifest.json".to_owned(), Member::Bytes(manifest.to_string().into_bytes())));
    members.sort_by(|(a, _), (b, _)| path_order(a.as_bytes(), b.as_bytes()));
    let target = path.to_owned();
    blocking(move || write_members(&target, &members))
        .await
        .map_err(|source| BuildError::File { path: path.to_owned(), source })
}

fn write_members(path: &Path, members: &[(String, Member)]) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(directory.unwrap_or(Path::new(".")))?;
    let mut tar = TarWriter::new(io::BufWriter::new(file));
    for (name, member) in members {
        let (size, mut content): (u64, Box<dyn Read>) = match member {
            Member::Bytes(bytes) => (bytes.len() as u64, Box::new(bytes.as_slice())),
            Member::File(path) => {
                (fs_err::metadata(path)?.len(), Box::new(fs_err::File::open(path)?))
            }
        };
        let entry = Entry::new(name.as_bytes(), Kind::File { size }, 0o644, 0);
        tar.entry(&entry, &mut content)?;
    }
    let file = tar.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
