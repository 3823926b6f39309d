//! Generated trees and generated steps.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, XattrFlags};

use crate::entry::{Entry, Kind};
use crate::init::metadata::times;

/// Later times are clamped; every time of a step is later.
pub(super) const CLAMP: i64 = 1000;

/// An entry of a layer, with its content.
pub(super) type Content = (Entry, Vec<u8>);

/// One thing that a step does.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Write(String, Vec<u8>),
    Append(String),
    Truncate(String),
    OpenOnly(String),
    /// Other content of the same size, and the old time.
    Rewrite(String),
    Chmod(String, u32),
    Chown(String, u32),
    Touch(String, i64),
    Rename(String, String),
    Link(String, String),
    /// A link in place of another file.
    Relink(String, String),
    Symlink(String, String),
    Remove(String),
    Mkdir(String),
    Fifo(String),
    Xattr(String, u8),
    NoXattr(String),
    /// Another file with all that this one has.
    Remake(String),
    /// Another directory with the metadata of this one, into which most of its files move.
    RemakeDirectory(String),
}

/// One of few paths, so that generated things meet.
fn path() -> impl Strategy<Value = String> {
    vec(prop::sample::select(vec!["a", "b", "b-"]), 1..4).prop_map(|names| names.join("/"))
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec![b"".to_vec(), b"one".to_vec(), b"two".to_vec(), b"three".to_vec()])
}

fn mtime() -> impl Strategy<Value = i64> {
    prop::sample::select(vec![100, 200, 5000])
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (path(), content()).prop_map(|(path, content)| Op::Write(path, content)),
        1 => path().prop_map(Op::Append),
        1 => path().prop_map(Op::Truncate),
        2 => path().prop_map(Op::OpenOnly),
        3 => path().prop_map(Op::Rewrite),
        2 => (path(), prop::sample::select(vec![0o644, 0o4755, 0, 0o2711]))
            .prop_map(|(path, mode)| Op::Chmod(path, mode)),
        1 => (path(), 0..2_u32).prop_map(|(path, owner)| Op::Chown(path, owner)),
        3 => (path(), mtime()).prop_map(|(path, time)| Op::Touch(path, time)),
        3 => (path(), path()).prop_map(|(from, to)| Op::Rename(from, to)),
        2 => (path(), path()).prop_map(|(from, to)| Op::Link(from, to)),
        2 => (path(), path()).prop_map(|(from, to)| Op::Relink(from, to)),
        1 => (path(), path()).prop_map(|(target, to)| Op::Symlink(target, to)),
        3 => path().prop_map(Op::Remove),
        2 => path().prop_map(Op::Mkdir),
        1 => path().prop_map(Op::Fifo),
        1 => (path(), 0..2_u8).prop_map(|(path, value)| Op::Xattr(path, value)),
        1 => path().prop_map(Op::NoXattr),
        3 => path().prop_map(Op::Remake),
        2 => path().prop_map(Op::RemakeDirectory),
    ]
}

/// The entries of one layer; what cannot be unpacked is left out by the caller.
pub(super) fn layer() -> impl Strategy<Value = Vec<Content>> {
    let kind = prop_oneof![
        4 => Just(Kind::Directory),
        5 => content().prop_map(|content| Kind::File { size: content.len() as u64 }),
        1 => path().prop_map(|target| Kind::Symlink { target: target.into() }),
        1 => Just(Kind::Fifo),
        1 => Just(Kind::Whiteout),
        1 => Just(Kind::Opaque),
        2 => path().prop_map(|to| Kind::HardLink { target: to.into() }),
    ];
    let mode = prop::sample::select(vec![0o644, 0o755, 0o4711, 0o2750]);
    let entry = (path(), kind, mode, mtime(), 0..2_u32, any::<bool>());
    vec(
        entry.prop_map(|(path, kind, mode, mtime, uid, marked)| {
            let mut entry = Entry::new(path, kind, mode, mtime);
            entry.uid = uid;
            if marked && matches!(entry.kind, Kind::Directory | Kind::File { .. }) {
                entry.xattrs.insert(b"user.x".to_vec(), b"base".to_vec());
            }
            let content = match entry.kind {
                Kind::File { size: 0 } => b"".to_vec(),
                Kind::File { size: 3 } => b"one".to_vec(),
                Kind::File { .. } => b"three".to_vec(),
                _ => Vec::new(),
            };
            (entry, content)
        }),
        0..14,
    )
}

impl Op {
    /// Does it in the tree `root`.
    pub(super) fn apply(&self, root: &Path) -> io::Result<()> {
        let at = |path: &String| root.join(path);
        match self {
            Self::Write(path, content) => OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(at(path))?
                .write_all(content),
            Self::Append(path) => open(&at(path))?.write_all(b"+"),
            Self::Truncate(path) => open(&at(path))?.set_len(1),
            Self::OpenOnly(path) => open(&at(path)).map(drop),
            Self::Rewrite(path) => rewrite(&at(path)),
            Self::Chmod(path, mode) => {
                fs::set_permissions(at(path), fs::Permissions::from_mode(*mode))
            }
            Self::Chown(path, uid) => {
                let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*uid));
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                Ok(rustix::fs::chownat(CWD, at(path), Some(uid), Some(gid), flags)?)
            }
            Self::Touch(path, mtime) => set_time(&at(path), *mtime),
            Self::Rename(from, to) => fs::rename(at(from), at(to)),
            Self::Link(from, to) => fs::hard_link(at(from), at(to)),
            Self::Relink(from, to) => {
                // The same file stays, as there must be something to link to.
                if !fs::symlink_metadata(at(to))?.is_file()
                    || fs::canonicalize(at(from))? == fs::canonicalize(at(to))?
                {
                    return Err(io::ErrorKind::InvalidInput.into());
                }
                fs::hard_link(at(from), root.join("remade"))?;
                fs::rename(root.join("remade"), at(to))?;
                // A rename of one name of a file to another of it does nothing.
                fs::remove_file(root.join("remade")).or(Ok(()))
            }
            Self::Symlink(target, to) => std::os::unix::fs::symlink(target, at(to)),
            Self::Remove(path) => remove(&at(path)),
            Self::Mkdir(path) => fs::create_dir(at(path)),
            Self::Fifo(path) => {
                Ok(rustix::fs::mknodat(CWD, at(path), FileType::Fifo, Mode::RUSR, 0)?)
            }
            Self::Xattr(path, value) => {
                let file = File::open(regular_or_directory(&at(path))?)?;
                let value = if *value == 0 { "base" } else { "step" };
                let flags = XattrFlags::empty();
                Ok(rustix::fs::fsetxattr(&file, "user.x", value.as_bytes(), flags)?)
            }
            Self::NoXattr(path) => {
                let file = File::open(regular_or_directory(&at(path))?)?;
                Ok(rustix::fs::fremovexattr(&file, "user.x")?)
            }
            Self::Remake(path) => remake(&at(path), &root.join("remade")),
            Self::RemakeDirectory(path) => remake_directory(&at(path), &root.join("remade")),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).custom_flags(libc::O_NONBLOCK).open(path)
}

fn set_time(path: &Path, mtime: i64) -> io::Result<()> {
    Ok(rustix::fs::utimensat(CWD, path, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// Opening a pipe would wait for somebody.
fn regular_or_directory(path: &Path) -> io::Result<&Path> {
    let meta = fs::symlink_metadata(path)?;
    if meta.is_file() || meta.is_dir() { Ok(path) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

fn rewrite(path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_file() || meta.len() == 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(&vec![b'X'; usize::try_from(meta.len()).unwrap()])?;
    drop(file);
    set_time(path, meta.mtime())
}

/// As `rm -r` does: a name that is listed and not there, as whiteouts that hide nothing are in an
/// overlay, is fine.
fn remove(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    for item in fs::read_dir(path)? {
        match remove(&item?.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::remove_dir(path)
}

fn remake(path: &Path, new: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    fs::write(new, fs::read(path)?)?;
    copy_metadata(path, new, &meta)?;
    fs::rename(new, path)
}

fn remake_directory(path: &Path, new: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if !meta.is_dir() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    fs::create_dir(new)?;
    for item in fs::read_dir(path)? {
        let item = item?;
        let meta = fs::symlink_metadata(item.path());
        // An overlay does not move directories of the layers below it.
        if item.file_name() != "b-" && meta.is_ok_and(|meta| !meta.is_dir()) {
            fs::rename(item.path(), new.join(item.file_name()))?;
        }
    }
    remove(path)?;
    fs::rename(new, path)?;
    copy_metadata(path, path, &meta)
}

fn copy_metadata(from: &Path, to: &Path, meta: &fs::Metadata) -> io::Result<()> {
    let value = {
        let mut value = [0; 16];
        let length = rustix::fs::fgetxattr(File::open(from)?.as_fd(), "user.x", &mut value);
        length.ok().map(|length| value[..length].to_vec())
    };
    if let Some(value) = value {
        rustix::fs::fsetxattr(File::open(to)?, "user.x", &value, XattrFlags::empty())?;
    }
    std::os::unix::fs::chown(to, Some(meta.uid()), Some(meta.gid()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(meta.mode() & 0o7777))?;
    set_time(to, meta.mtime())
}
