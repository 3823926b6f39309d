//! Inputs of the cases: repositories with made-up files, and a base image.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::measure::run;
use crate::registry::Registry;

/// The program under test.
pub(crate) const LONGSHORE: &str = env!("CARGO_BIN_EXE_longshore");

/// How well a made-up file compresses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Texture {
    /// Lines of words.
    Text,
    /// Noise.
    Noise,
}

/// Writes a file of `size` bytes; the same `seed` gives the same bytes.
pub(crate) fn write_file(path: &Path, size: u64, texture: Texture, seed: u64) {
    const PIECE: usize = 64 << 10;
    let file = fs_err::File::create(path).expect("the repository is writable");
    let mut file = io::BufWriter::new(file);
    let (mut state, mut left) = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, size);
    let mut piece = Vec::with_capacity(PIECE + 64);
    while left > 0 {
        piece.clear();
        while piece.len() < PIECE {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match texture {
                Texture::Noise => piece.extend_from_slice(&state.to_le_bytes()),
                Texture::Text => {
                    let line = format!("let value_{} = compute({});\n", state % 977, state % 31);
                    piece.extend_from_slice(line.as_bytes());
                }
            }
        }
        let take = left.min(piece.len() as u64);
        file.write_all(&piece[..take as usize]).expect("the disk has room");
        left -= take;
    }
    file.flush().expect("the disk has room");
}

/// Makes `directory` with the given files a repository with one commit.
pub(crate) fn commit(directory: &Path, files: &[(&str, String)]) {
    for (name, text) in files {
        fs_err::write(directory.join(name), text).expect("the repository is writable");
    }
    // A tidy directory: packing in the background would disturb what is measured.
    let git = |words: &[&str]| {
        let settings = ["git", "-c", "gc.auto=0", "-c", "core.compression=1"];
        let author = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"];
        run(directory, &[&settings, &author[..], words].concat());
    };
    git(&["init", "-q", "-b", "main"]);
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "files"]);
    // As after a clone: one pack.
    git(&["-c", "pack.window=0", "repack", "-a", "-d", "-q"]);
}

/// Pushes a small base image with a shell to `HOST/base:latest`.
pub(crate) fn push_base(directory: &Path, registry: &Registry) {
    let place = directory.join("base");
    fs_err::create_dir_all(place.join("root/bin")).expect("the directory is writable");
    fs_err::create_dir_all(place.join("root/etc")).expect("the directory is writable");
    fs_err::copy("/bin/busybox", place.join("root/bin/busybox")).expect("busybox is installed");
    for name in ["sh", "echo", "mkdir", "cat", "true", "seq"] {
        symlink("busybox", place.join("root/bin").join(name)).expect("the link is new");
    }
    let passwd = "root:x:0:0:root:/:/bin/sh\n";
    fs_err::write(place.join("root/etc/passwd"), passwd).expect("the directory is writable");
    let dockerfile = "FROM scratch\nCOPY root /\nENV PATH=/bin\n".to_owned();
    commit(&place, &[("Dockerfile", dockerfile)]);
    let (repo, work) = (format!("{}/base", registry.host), directory.join("base-work"));
    let work = work.to_str().expect("temporary paths are text");
    run(&place, &[LONGSHORE, "build", "--repo", &repo, "-t", "latest", "--work-dir", work]);
}

/// A Dockerfile upon the base image.
pub(crate) fn dockerfile(registry: &Registry, lines: impl IntoIterator<Item = String>) -> String {
    let mut text = format!("FROM {}/base:latest\n", registry.host);
    for line in lines {
        writeln!(text, "{line}").expect("text can be extended");
    }
    text
}
