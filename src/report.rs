//! What is left behind for other programs: digest files and the JSON report.
//!
//! They are written after the push succeeded and never before. A regular file is replaced by
//! renaming, so that a reader sees all or nothing; anything else that is there (a pipe, a file
//! bind-mounted into a pod) is written in place.

use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::build::Delivered;

/// The version of the report's schema; raised when a field changes its meaning.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    /// On which RUN steps were executed; null where none was.
    rung: Option<&'a str>,
    images: Vec<Image<'a>>,
}

#[derive(Serialize)]
struct Image<'a> {
    name: &'a str,
    reference: &'a str,
    digest: String,
    outcome: String,
}

impl<'a> Image<'a> {
    fn of(image: &'a Delivered) -> Self {
        let Delivered { name, reference, digest, outcome, .. } = image;
        Self { name, reference, digest: digest.to_string(), outcome: outcome.to_string() }
    }
}

/// Returns the JSON report of a build whose RUN steps were executed on `rung`.
pub fn report(images: &[Delivered], rung: Option<&str>) -> Vec<u8> {
    let images = images.iter().map(Image::of).collect();
    let report = Report { schema: SCHEMA, rung, images };
    let mut bytes = serde_json::to_vec_pretty(&report).expect("a report has only string keys");
    bytes.push(b'\n');
    bytes
}

/// Makes the directory that `path` is to lie in, so that a mistake in it shows before anything is
/// built.
///
/// # Errors
/// When it cannot be made; the error names it.
pub fn make_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => fs_err::create_dir_all(parent),
        _ => Ok(()),
    }
}

/// Writes `bytes` to `path`; see the module text.
///
/// # Errors
/// When the file cannot be written; the error names it.
pub fn write_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let existing = fs_err::symlink_metadata(path).ok();
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    if existing.is_none_or(|meta| meta.is_file()) && replace(directory, path, bytes).is_ok() {
        return Ok(());
    }
    fs_err::write(path, bytes)
}

fn replace(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(directory)?;
    file.write_all(bytes)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hashing::sha256;
    use crate::output::Outcome;

    #[test]
    fn a_report_names_its_schema() {
        let image = Delivered {
            name: "api".to_owned(),
            reference: "reg.example/shop:v1".to_owned(),
            tags: Vec::new(),
            digest: sha256(b""),
            outcome: Outcome::Reused,
        };
        let report: serde_json::Value =
            serde_json::from_slice(&report(&[image], Some("chroot"))).unwrap();
        assert_eq!(
            (&report["schema"], &report["rung"], &report["images"][0]["outcome"]),
            (&1.into(), &"chroot".into(), &"reused".into())
        );
    }

    #[test]
    fn files_are_replaced_and_links_written_through() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("digest"), directory.path().join("link"));
        write_file(&file, b"one").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write_file(&link, b"two").unwrap();
        assert_eq!(fs_err::read(&file).unwrap(), b"two");
        assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
        assert!(write_file(&directory.path().join("no/such"), b"").is_err());
    }
}
