use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::*;
use crate::context::checksum::of_identity;
use crate::context::{ContextOptions, EntryKind, ObjectId, RepositoryUse, load_ignore_rules};
use crate::model::StageDigest;

fn write(root: &Path, path: &str, content: &str) {
    let place = root.join(path);
    fs_err::create_dir_all(place.parent().unwrap()).unwrap();
    fs_err::write(place, content).unwrap();
}

fn chmod(root: &Path, path: &str, mode: u32) {
    fs_err::set_permissions(root.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
}

fn open(root: &Path, ignore: &str) -> Box<dyn ContextSource> {
    let ignore = IgnoreRules::parse(".dockerignore", ignore.as_bytes()).unwrap();
    let repository = RepositoryUse::Ignore;
    let options = ContextOptions { ignore, repository, ..ContextOptions::default() };
    crate::context::open(root, options).unwrap()
}

/// Everything that a context has.
fn all(context: &dyn ContextSource) -> Listing {
    context.listing(b"").unwrap().unwrap()
}

fn whole(context: &dyn ContextSource) -> StageDigest {
    of_identity(b"", &context.identity(b"").unwrap().unwrap())
}

fn paths(context: &dyn ContextSource) -> Vec<String> {
    let listing = all(context);
    listing
        .entries()
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
        .collect()
}

fn read(context: &dyn ContextSource, path: &str) -> std::io::Result<Vec<u8>> {
    let listing = all(context);
    let entry = listing.entries().iter().find(|entry| entry.path == path.as_bytes()).unwrap();
    let mut content = Vec::new();
    context.open(entry).map_err(std::io::Error::other)?.read_to_end(&mut content)?;
    Ok(content)
}

#[test]
fn a_directory_is_listed_as_it_lies() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    write(root, "b/x", "x");
    write(root, "b.txt", "hello\n");
    write(root, ".git/HEAD", "ref: refs/heads/main\n");
    fs_err::create_dir(root.join("empty")).unwrap();
    symlink("../outside", root.join("link")).unwrap();
    chmod(root, "b.txt", 0o4751);
    chmod(root, "empty", 0o700);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs_err::OpenOptions::new()
        .write(true)
        .open(root.join("b.txt"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    let context = open(root, "");
    assert_eq!(paths(&*context), [".git", ".git/HEAD", "b", "b/x", "b.txt", "empty", "link"]);
    let listing = all(&*context);
    let entries = listing.entries();
    let file = &entries[4];
    assert_eq!((file.mode, file.size, file.mtime), (0o4751, 6, Some(1_000_000_000)));
    assert_eq!(file.object, ObjectId::of_blob(b"hello\n"));
    assert_eq!((entries[5].mode, &entries[5].kind), (0o700, &EntryKind::Directory));
    assert_eq!(entries[6].kind, EntryKind::Symlink { target: b"../outside".to_vec() });
    assert_eq!(read(&*context, "b.txt").unwrap(), b"hello\n");
    assert_eq!((context.commit(), context.has_git_dir()), (None, false));
}

#[test]
fn ignore_rules_leave_out_and_take_back() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    for path in ["a/deep/keep", "a/deep/drop", "a/other/x", "c/x", "d/e"] {
        write(root, path, "");
    }
    for (ignore, expected) in [
        ("a\n!a/deep/keep\nc", vec!["a", "a/deep", "a/deep/keep", "d", "d/e"]),
        ("*\n!c", vec!["c", "c/x"]),
        ("d/*\na\nc", vec!["d"]),
        ("*", vec![]),
    ] {
        assert_eq!(paths(&*open(root, ignore)), expected, "{ignore:?}");
    }
    let context = open(root, "c");
    assert_eq!(context.why_absent(b"c/x").unwrap(), ".dockerignore:1 excludes it (c)");
    assert_eq!(context.why_absent(b"q"), None);
}

#[test]
fn changes_change_the_checksum_and_moves_do_not() {
    let root = tempfile::tempdir().unwrap();
    let first = root.path().join("first");
    write(&first, "a", "1");
    write(&first, "d/b", "2");
    let sum = |root: &Path| whole(&*open(root, ""));
    let mut seen = vec![sum(&first)];
    let second = root.path().join("elsewhere");
    fs_err::rename(&first, &second).unwrap();
    assert_eq!(sum(&second), seen[0]);
    let steps: [&dyn Fn(); 6] = [
        &|| write(&second, "a", "3"),
        &|| chmod(&second, "a", 0o755),
        &|| fs_err::rename(second.join("a"), second.join("c")).unwrap(),
        &|| fs_err::create_dir(second.join("empty")).unwrap(),
        &|| symlink("c", second.join("link")).unwrap(),
        &|| fs_err::remove_file(second.join("d/b")).unwrap(),
    ];
    for step in steps {
        step();
        let now = sum(&second);
        assert!(!seen.contains(&now), "{}", seen.len());
        seen.push(now);
    }
}

#[test]
fn a_file_that_changed_after_the_listing_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let large = "x".repeat(600 << 10);
    for path in ["small", "large", "shrunk", "linked", "gone", "dir/file"] {
        write(root, path, &large[..if path == "small" { 10 } else { large.len() }]);
    }
    write(root, "secret", &large);
    let context = open(root, "secret");
    all(&*context);
    write(root, "small", "yyyyyyyyyy");
    write(root, "large", &large.replace('x', "y"));
    write(root, "shrunk", &large[1..]);
    fs_err::remove_file(root.join("linked")).unwrap();
    symlink("secret", root.join("linked")).unwrap();
    fs_err::remove_file(root.join("gone")).unwrap();
    fs_err::rename(root.join("dir"), root.join("moved")).unwrap();
    symlink("moved", root.join("dir")).unwrap();
    for path in ["small", "large", "shrunk", "linked", "dir/file"] {
        let error = read(&*context, path).unwrap_err().to_string();
        assert!(error.ends_with(&format!("{path} changed during the build")), "{error}");
    }
    assert!(read(&*context, "gone").is_err());
}

#[test]
fn whoever_reads_no_further_than_the_size_learns_of_a_change() {
    let root = tempfile::tempdir().unwrap();
    let large = "x".repeat(600 << 10);
    write(root.path(), "large", &large);
    let context = open(root.path(), "");
    let entry = all(&*context).entries()[0].clone();
    let read = || {
        let mut content = Vec::new();
        context.open(&entry).unwrap().take(entry.size).read_to_end(&mut content).map(|_| content)
    };
    assert_eq!(read().unwrap(), large.as_bytes());
    write(root.path(), "large", &(large[1..].to_owned() + "y"));
    let error = read().unwrap_err().to_string();
    assert!(error.ends_with("large changed during the build"), "{error}");
}

#[test]
fn a_pointer_to_a_file_in_lfs_is_no_file_outside_git_either() {
    let root = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    write(root.path(), "big.bin", pointer);
    write(root.path(), "text", &pointer[1..]);
    let context = open(root.path(), "");
    let error = read(&*context, "big.bin").unwrap_err().to_string();
    assert_eq!(error, "big.bin is a Git LFS pointer, not the file itself");
    assert_eq!(read(&*context, "text").unwrap(), &pointer.as_bytes()[1..]);
}

#[test]
fn special_files_are_left_out_with_a_note() {
    let root = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("s")).unwrap();
    let context = open(root.path(), "");
    assert_eq!(paths(&*context), [""; 0]);
    assert_eq!(context.notes(), ["s is a socket and is left out of the context"]);
    assert_eq!(context.why_absent(b"s").unwrap(), "s is a socket and is left out of the context");
    let ignoring = open(root.path(), "s");
    assert_eq!(paths(&*ignoring), [""; 0]);
    assert_eq!(ignoring.notes(), [""; 0]);
}

#[test]
fn names_need_not_be_utf8() {
    let root = tempfile::tempdir().unwrap();
    fs_err::write(root.path().join(OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
    let context = open(root.path(), "");
    let entry = &all(&*context).entries()[0].clone();
    assert_eq!(entry.path, b"caf\xe9");
    let mut content = String::new();
    context.open(entry).unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "x");
    assert!(all(&*open(root.path(), "caf?")).entries().is_empty());
}

#[test]
fn small_files_are_read_inside_the_context_only() {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("context");
    write(&root, "deploy/Dockerfile", "FROM scratch\n");
    write(outer.path(), "secret", "");
    symlink("deploy/Dockerfile", root.join("Dockerfile")).unwrap();
    symlink("../secret", root.join("escape")).unwrap();
    let context = open(&root, "**");
    assert_eq!(context.read_small(b"Dockerfile", 100).unwrap(), b"FROM scratch\n");
    assert!(context.read_small(b"none", 100).unwrap_err().is_not_found());
    for (path, limit, reason) in [
        ("escape", 100, "lies outside the build context"),
        ("../secret", 100, "lies outside the build context"),
        ("Dockerfile", 3, "is larger than 3 bytes"),
        ("deploy", 3, "cannot read"),
    ] {
        let error = context.read_small(path.as_bytes(), limit).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn the_dockerfiles_own_ignore_file_goes_first() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    let dockerfile = root.join("other/app.Dockerfile");
    let load = || load_ignore_rules(&root.join("context"), &dockerfile);
    write(root, "other/app.Dockerfile", "");
    fs_err::create_dir(root.join("context")).unwrap();
    assert_eq!(load().unwrap(), (IgnoreRules::none(), None));
    write(root, "context/.dockerignore", "a\n");
    let (rules, file) = load().unwrap();
    assert_eq!((rules.is_excluded(b"a"), file), (true, Some(root.join("context/.dockerignore"))));
    write(root, "other/app.Dockerfile.dockerignore", "b\n");
    let (rules, file) = load().unwrap();
    assert_eq!((rules.is_excluded(b"a"), rules.is_excluded(b"b")), (false, true));
    assert_eq!(file, Some(root.join("other/app.Dockerfile.dockerignore")));
    write(root, "other/app.Dockerfile.dockerignore", "\n[\n");
    let error = load().unwrap_err().to_string();
    assert!(error.contains("app.Dockerfile.dockerignore:2: pattern \"[\""), "{error}");
}

#[test]
fn what_is_no_directory_is_refused() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "file", "");
    for (path, reason) in [("file", "is not a directory"), ("none", "cannot read")] {
        let error = crate::context::open(&root.path().join(path), ContextOptions::default());
        assert!(error.unwrap_err().to_string().contains(reason));
    }
}
