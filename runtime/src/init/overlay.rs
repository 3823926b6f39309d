//! Overlay mounts, put together from short names in the current directory.
//!
//! Short names, so that a hundred layers fit the page of mount options and no character in their
//! paths means something to the overlay.

use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, mount};

/// Empty directories in the current directory, for overlays of fewer layers than the kernel wants:
/// one, or two where there is no upper directory.
const EMPTY: [&str; 2] = ["e0", "e1"];

/// What an overlay is made of; names in the current directory.
#[derive(Debug)]
pub(super) struct Overlay {
    /// The layers, topmost first.
    pub(super) lowers: Vec<String>,
    /// The upper and the work directory; without them it is read-only.
    pub(super) upper: Option<(String, String)>,
}

impl Overlay {
    /// Mounts it on the directory `at`.
    pub(super) fn mount(&self, at: &str) -> rustix::io::Result<()> {
        let least = if self.upper.is_some() { 1 } else { 2 };
        let lacking = EMPTY.iter().take(least).skip(self.lowers.len());
        let lowers: Vec<&str> =
            self.lowers.iter().map(String::as_str).chain(lacking.copied()).collect();
        let lowers = lowers.join(":");
        let (options, flags) = match &self.upper {
            Some((upper, work)) => (
                format!(
                    "lowerdir={lowers},upperdir={upper},workdir={work},userxattr,index=off,volatile"
                ),
                MountFlags::empty(),
            ),
            None => (format!("lowerdir={lowers},userxattr"), MountFlags::RDONLY),
        };
        let options = std::ffi::CString::new(options).expect("short names have no NUL");
        mount("overlay", at, "overlay", flags, options.as_c_str())
    }
}

/// Makes the empty directories.
pub(super) fn make_empty() -> io::Result<()> {
    EMPTY.iter().try_for_each(std::fs::create_dir)
}

/// Makes links to `layers` (bottom first) in the current directory and returns their names, topmost
/// first; `prefix` keeps them apart from others.
pub(super) fn link(prefix: &str, layers: &[PathBuf]) -> io::Result<Vec<String>> {
    let link = |(at, layer): (usize, &PathBuf)| {
        let name = format!("{prefix}{at}");
        std::os::unix::fs::symlink(Path::new(layer), &name)?;
        Ok(name)
    };
    layers.iter().enumerate().rev().map(link).collect()
}
