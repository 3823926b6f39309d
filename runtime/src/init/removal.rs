//! Removes trees of any depth, whoever owns what in them.
//!
//! Root of the user namespace passes closed directories of all mapped owners. One descriptor is
//! open at a time, whatever the depth: the way back is `..`, which is safe because nobody else
//! changes the tree.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, openat, statat, unlinkat};
use rustix::io::Errno;

use super::tree::directory_flags;
use crate::wire::{Failure, OrFail as _};

/// Removes the tree or file at `path`; that there is none is fine.
pub(super) fn remove(path: &Path) -> Result<(), Failure> {
    let action = || format!("cannot remove {}", path.display());
    use std::os::unix::ffi::OsStrExt as _;
    match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Failure::new(action(), errno)),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
            remove_at(CWD, path.as_os_str().as_bytes()).or_fail(action)
        }
        Ok(_) => unlinkat(CWD, path, AtFlags::empty()).or_fail(action),
    }
}

/// Removes the directory `name` in `dir` with everything in it.
pub(super) fn remove_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let mut here = openat(dir, name, directory_flags(), Mode::empty())?;
    let mut pending: Vec<Vec<CString>> = vec![empty(here.as_fd())?];
    // The names of the directories between `dir` and `here`, without the first.
    let mut names: Vec<CString> = Vec::new();
    while let Some(subdirectories) = pending.last_mut() {
        if let Some(next) = subdirectories.pop() {
            here = openat(&here, &next, directory_flags(), Mode::empty())?;
            pending.push(empty(here.as_fd())?);
            names.push(next);
            continue;
        }
        pending.pop();
        if let Some(done) = names.pop() {
            here = openat(&here, "..", directory_flags(), Mode::empty())?;
            unlinkat(&here, &done, AtFlags::REMOVEDIR)?;
        }
    }
    drop(here);
    Ok(unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

/// Removes everything in the open directory `dir`.
pub(super) fn clear_directory(dir: BorrowedFd<'_>) -> io::Result<()> {
    empty(dir)?.into_iter().try_for_each(|name| remove_at(dir, name.to_bytes()))
}

/// Removes everything but the subdirectories, and returns their names.
fn empty(dir: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut subdirectories = Vec::new();
    for item in Dir::read_from(dir)? {
        let item = item?;
        let name = item.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR | Errno::PERM) => subdirectories.push(name.to_owned()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(subdirectories)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn deep_and_wide_trees_go() {
        let work = tempfile::tempdir().unwrap();
        let root = work.path().join("tree");
        for wide in 0..50 {
            fs::create_dir_all(root.join(format!("{wide}/a/b"))).unwrap();
            fs::write(root.join(format!("{wide}/a/file")), "").unwrap();
        }
        let mut deep = root.clone();
        for _ in 0..1500 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        std::os::unix::fs::symlink("/", root.join("link")).unwrap();
        remove(&root).unwrap();
        assert!(!root.exists());
        remove(&root).unwrap();
    }
}
