//! A project as a value: a context, an ignore file, a Dockerfile, build arguments. It can be
//! written to a directory, kept as JSON and taken apart by the shrinker.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};

use crate::support::sandbox::{set_mode, write};
use crate::support::tarball::{Meta, Tarball};

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    /// True when git can hold the context as it is: usual modes, no empty directory, no second
    /// name of a file.
    pub(crate) fits_git: bool,
    /// What lies in the context, parents before children.
    pub(crate) entries: Vec<Entry>,
    /// The lines of `.dockerignore`; no file when empty.
    pub(crate) ignore: Vec<String>,
    /// The build arguments.
    pub(crate) arguments: Vec<(String, String)>,
    /// The stages of the Dockerfile.
    pub(crate) stages: Vec<Stage>,
}

/// Something in the context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Relative to the context.
    pub(crate) path: String,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// A directory with a mode.
    Directory(u32),
    /// A file with a mode and a content.
    File(u32, String),
    /// A symbolic link with a target.
    Symlink(String),
    /// Another name of an earlier file.
    HardLink(String),
    /// A tar archive with a few entries, compressed with gzip or not.
    Archive(bool),
}

/// A stage of the Dockerfile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stage {
    /// The name after `AS`.
    pub(crate) name: String,
    /// What it starts from.
    pub(crate) base: Base,
    /// Its instructions, each as text of one or more lines.
    pub(crate) steps: Vec<String>,
}

/// What a stage starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Base {
    /// Nothing.
    Scratch,
    /// The busybox image.
    Busybox,
    /// The image with everything that builders get wrong.
    Crafted,
    /// An earlier stage.
    Stage(String),
}

/// The references of the base images, which depend on the registry's port.
#[derive(Clone, Debug)]
pub(crate) struct Bases {
    /// [`Base::Busybox`].
    pub(crate) busybox: String,
    /// [`Base::Crafted`].
    pub(crate) crafted: String,
}

impl Case {
    /// Whether `fits_git` is still true of it: parts may have been left out.
    pub(crate) fn is_sound(&self) -> bool {
        let is_filled = |directory: &Entry| {
            let below = format!("{}/", directory.path);
            self.entries.iter().any(|entry| entry.path.starts_with(&below))
        };
        let mut directories =
            self.entries.iter().filter(|entry| matches!(entry.kind, Kind::Directory(_)));
        !self.fits_git || directories.all(is_filled)
    }

    /// The Dockerfile's text.
    pub(crate) fn dockerfile(&self, bases: &Bases) -> String {
        let mut text = String::new();
        for stage in &self.stages {
            let base = match &stage.base {
                Base::Scratch => "scratch",
                Base::Busybox => &bases.busybox,
                Base::Crafted => &bases.crafted,
                Base::Stage(name) => name,
            };
            writeln!(text, "FROM {base} AS {}", stage.name).expect("strings take text");
            for step in &stage.steps {
                text += step;
                text.push('\n');
            }
        }
        text
    }

    /// Writes the context with `Dockerfile` and `.dockerignore` into `directory`.
    pub(crate) fn write(&self, directory: &Path, bases: &Bases) {
        fs_err::create_dir_all(directory).expect("mkdir");
        for entry in &self.entries {
            entry.write(directory);
        }
        // Writing into a directory without the right to write is left to root; modes come last.
        for entry in &self.entries {
            if let Kind::Directory(mode) = entry.kind {
                set_mode(&directory.join(&entry.path), mode);
            }
        }
        write(&directory.join("Dockerfile"), self.dockerfile(bases));
        if !self.ignore.is_empty() {
            write(&directory.join(".dockerignore"), self.ignore.join("\n") + "\n");
        }
    }
}

impl Entry {
    fn write(&self, directory: &Path) {
        let path = directory.join(&self.path);
        // The shrinker may have left out what an entry lies in or points to.
        fs_err::create_dir_all(path.parent().expect("it has a parent")).expect("mkdir");
        match &self.kind {
            Kind::Directory(_) => fs_err::create_dir_all(&path).expect("mkdir"),
            Kind::File(mode, content) => {
                write(&path, content);
                set_mode(&path, *mode);
            }
            Kind::Symlink(target) => fs_err::os::unix::fs::symlink(target, &path).expect("link"),
            Kind::HardLink(target) => {
                let target = directory.join(target);
                if target.exists() {
                    fs_err::hard_link(target, &path).expect("link");
                }
            }
            Kind::Archive(compressed) => write(&path, archive(*compressed)),
        }
    }
}

/// An archive with a bit of everything that ADD has to unpack.
fn archive(compressed: bool) -> Vec<u8> {
    let mut tar = Tarball::new();
    tar.directory("packed", Meta::mode(0o750).owner(7, 8));
    tar.file("packed/file", Meta::mode(0o640).owner(1000, 50), "packed\n");
    tar.file("packed/program", Meta::mode(0o4755), "setuid\n");
    tar.hard_link("packed/again", "packed/file", Meta::mode(0o640).owner(1000, 50));
    tar.symlink("packed/link", "../packed/file");
    tar.file("loose", Meta::mode(0o600), "loose\n");
    let tar = tar.finish();
    if !compressed {
        return tar;
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&tar).expect("memory takes everything");
    gzip.finish().expect("memory takes everything")
}
