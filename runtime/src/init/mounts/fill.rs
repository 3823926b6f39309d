//! Copies a tree with everything that a layer would keep: owners, modes, times, links, attributes.
//!
//! Both trees belong to this process alone. Directories are walked with a list, not with the stack,
//! so no depth is too much; names of one file stay names of one file.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, Stat, Uid, chownat, fchmod, fchown, futimens, mknodat, open,
    statat, utimensat,
};

use super::super::metadata::{self, copy_directory, times_of};
use super::super::tree::directory_flags;

/// Copies what is in the directory `from` into the empty directory `to`.
pub(in super::super) fn fill(from: &Path, to: &Path) -> io::Result<()> {
    let mut names = BTreeMap::new();
    let mut directories = vec![(from.to_owned(), to.to_owned())];
    let mut at = 0;
    while at < directories.len() {
        let (from, to) = directories[at].clone();
        at += 1;
        for entry in fs::read_dir(&from)? {
            let name = entry?.file_name();
            let (from, to) = (from.join(&name), to.join(&name));
            let stat = statat(CWD, &from, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                fs::DirBuilder::new().mode(0o700).create(&to)?;
                directories.push((from, to));
            } else {
                copy(&from, &to, &stat, &mut names)?;
            }
        }
    }
    // What is in a directory decides its time, so the outer ones come last.
    for (from, to) in directories.iter().skip(1).rev() {
        let open = |path: &Path| open(path, directory_flags(), Mode::empty());
        copy_directory(open(from)?.as_fd(), open(to)?.as_fd())?;
    }
    Ok(())
}

/// Copies anything but a directory.
fn copy(from: &Path, to: &Path, stat: &Stat, names: &mut BTreeMap<u64, PathBuf>) -> io::Result<()> {
    if stat.st_nlink > 1 {
        if let Some(first) = names.get(&stat.st_ino) {
            return fs::hard_link(first, to);
        }
        names.insert(stat.st_ino, to.to_owned());
    }
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return file(from, to, stat),
        FileType::Symlink => symlink(fs::read_link(from)?, to)?,
        kind => {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            // Without the right to make devices there are none in the image either.
            mknodat(CWD, to, kind, mode, stat.st_rdev)?;
        }
    }
    chownat(CWD, to, Some(uid), Some(gid), flags)?;
    Ok(utimensat(CWD, to.as_os_str().as_bytes(), &times_of(stat), flags)?)
}

fn file(from: &Path, to: &Path, stat: &Stat) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut copy = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(to)?;
    io::copy(&mut source, &mut copy)?;
    let copy: BorrowedFd<'_> = copy.as_fd();
    fchown(copy, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(copy, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    for (name, value) in metadata::read(source.as_fd())?.0 {
        metadata::set(copy, &name, &value)?;
    }
    Ok(futimens(copy, &times_of(stat))?)
}
