use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use git2::{IndexEntry, IndexTime, Signature, Time};

use super::repository::object_id;
use crate::context::checksum::of_identity;
use crate::context::entry::Content;
use crate::context::{
    ContextEntry, ContextError, ContextOptions, ContextSource, EntryKind, GitDirectory,
    LfsPointers, Listing, ObjectId, RepositoryUse, Wildcards, open, select,
};
use crate::ignore_rules::IgnoreRules;
use crate::model::StageDigest;

const COMMIT_TIME: i64 = 1_700_000_000;
const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";

/// A repository in a directory of its own, with whatever a test puts there.
struct Fixture {
    _directory: tempfile::TempDir,
    root: PathBuf,
    git: git2::Repository,
}

impl Fixture {
    /// A repository with one commit of a few files.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap().join("repository");
        let git = git2::Repository::init(&root).unwrap();
        let fixture = Self { _directory: directory, root, git };
        fixture.write("a.txt", "hello\n");
        fixture.write("src/main.rs", "fn main() {}\n");
        fixture.write("src/run.sh", "#!/bin/sh\n");
        fixture.chmod("src/run.sh", 0o755);
        fixture.write(".gitignore", "*.log\n");
        symlink("a.txt", fixture.root.join("link")).unwrap();
        fixture.commit();
        fixture
    }

    fn write(&self, path: &str, content: &str) {
        let place = self.root.join(path);
        fs_err::create_dir_all(place.parent().unwrap()).unwrap();
        fs_err::write(place, content).unwrap();
    }

    fn chmod(&self, path: &str, mode: u32) {
        let permissions = std::fs::Permissions::from_mode(mode);
        fs_err::set_permissions(self.root.join(path), permissions).unwrap();
    }

    /// Sets the time of a file far back, so that no index written now is racy about it.
    fn age(&self, path: &str) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let file = fs_err::OpenOptions::new().write(true).open(self.root.join(path)).unwrap();
        file.set_modified(time).unwrap();
    }

    /// Has the index know the file as it is now.
    fn refresh(&self, path: &str) {
        let mut index = self.git.index().unwrap();
        index.add_path(Path::new(path)).unwrap();
        index.write().unwrap();
    }

    /// Adds everything to the index and commits it.
    fn commit(&self) -> git2::Oid {
        let mut index = self.git.index().unwrap();
        index.add_all(["*"], git2::IndexAddOption::DEFAULT, None).unwrap();
        index.update_all(["*"], None).unwrap();
        index.write().unwrap();
        let tree = self.git.find_tree(index.write_tree().unwrap()).unwrap();
        let who = Signature::new("A", "a@example.com", &Time::new(COMMIT_TIME, 0)).unwrap();
        let parents: Vec<_> =
            self.git.head().and_then(|head| head.peel_to_commit()).into_iter().collect();
        let parents: Vec<_> = parents.iter().collect();
        self.git.commit(Some("HEAD"), &who, &who, "message", &tree, &parents).unwrap()
    }

    fn context(&self) -> Box<dyn ContextSource> {
        open(&self.root, ContextOptions::default()).unwrap()
    }

    fn checksum(&self) -> StageDigest {
        whole(&*self.context())
    }
}

/// Everything that a context has.
fn all(context: &dyn ContextSource) -> Listing {
    context.listing(b"").unwrap().unwrap()
}

fn whole(context: &dyn ContextSource) -> StageDigest {
    of_identity(b"", &context.identity(b"").unwrap().unwrap())
}

fn with(change: impl FnOnce(&mut ContextOptions)) -> ContextOptions {
    let mut options = ContextOptions::default();
    change(&mut options);
    options
}

fn paths(context: &dyn ContextSource) -> Vec<String> {
    let listing = all(context);
    listing
        .entries()
        .iter()
        .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
        .collect()
}

fn entry(context: &dyn ContextSource, path: &str) -> ContextEntry {
    let listing = all(context);
    listing.entries().iter().find(|entry| entry.path == path.as_bytes()).unwrap().clone()
}

fn content(context: &dyn ContextSource, path: &str) -> Result<String, ContextError> {
    let mut text = String::new();
    context.open(&entry(context, path))?.read_to_string(&mut text).unwrap();
    Ok(text)
}

const FILES: [&str; 6] = [".gitignore", "a.txt", "link", "src", "src/main.rs", "src/run.sh"];

#[test]
fn a_clean_checkout_has_gits_ids_modes_and_time() {
    let fixture = Fixture::new();
    let context = fixture.context();
    assert_eq!(paths(&*context), FILES);
    let commit = context.commit().unwrap();
    let head = fixture.git.head().unwrap().target().unwrap();
    assert_eq!((commit.id.as_str(), commit.time), (head.to_string().as_str(), COMMIT_TIME));
    let modes: Vec<u32> = all(&*context).entries().iter().map(|entry| entry.mode).collect();
    assert_eq!(modes, [0o644, 0o644, 0o777, 0o755, 0o644, 0o755]);
    let file = entry(&*context, "a.txt");
    assert_eq!(file.object.to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
    assert_eq!((file.size, file.mtime), (6, None));
    let link = EntryKind::Symlink { target: b"a.txt".to_vec() };
    assert_eq!(entry(&*context, "link").kind, link);
    assert_eq!(content(&*context, "a.txt").unwrap(), "hello\n");
}

#[test]
fn the_index_serves_ids_of_unchanged_files_only() {
    let fixture = Fixture::new();
    fixture.age("a.txt");
    fixture.refresh("a.txt");
    assert_eq!(entry(&*fixture.context(), "a.txt").content, Content::WorktreeAndGit);
    // The same size, and the same time again: the time of the change tells.
    fixture.write("a.txt", "HELLO\n");
    fixture.age("a.txt");
    let context = fixture.context();
    let file = entry(&*context, "a.txt");
    assert_eq!((file.content, file.object), (Content::Worktree, ObjectId::of_blob(b"HELLO\n")));
}

#[test]
fn a_write_right_after_the_index_is_noticed() {
    let fixture = Fixture::new();
    for round in 0..50 {
        fixture.write("a.txt", &format!("{round:06}\n"));
        fixture.refresh("a.txt");
        let text = format!("{round:06}!");
        fixture.write("a.txt", &text);
        let context = fixture.context();
        assert_eq!(entry(&*context, "a.txt").object, ObjectId::of_blob(text.as_bytes()));
    }
}

#[test]
fn every_change_of_the_work_tree_changes_the_checksum() {
    let fixture = Fixture::new();
    let mut seen = vec![fixture.checksum()];
    let root = &fixture.root;
    let steps: [(&str, &dyn Fn()); 8] = [
        ("modify", &|| fixture.write("a.txt", "HELLO\n")),
        ("add", &|| fixture.write("new", "x")),
        ("add a git-ignored file", &|| fixture.write("src/x.log", "x")),
        ("chmod", &|| fixture.chmod("a.txt", 0o755)),
        ("rename", &|| fs_err::rename(root.join("a.txt"), root.join("b.txt")).unwrap()),
        ("delete", &|| fs_err::remove_file(root.join("src/main.rs")).unwrap()),
        ("retarget", &|| {
            fs_err::remove_file(root.join("link")).unwrap();
            symlink("b.txt", root.join("link")).unwrap();
        }),
        ("file for link", &|| {
            fs_err::remove_file(root.join("link")).unwrap();
            fixture.write("link", "b.txt");
        }),
    ];
    for (name, step) in steps {
        step();
        let now = fixture.checksum();
        assert!(!seen.contains(&now), "{name}");
        seen.push(now);
    }
}

#[test]
fn what_does_not_belong_to_the_content_keeps_the_checksum() {
    let fixture = Fixture::new();
    let before = fixture.checksum();
    fixture.chmod("a.txt", 0o664);
    fixture.chmod("src/run.sh", 0o700);
    fixture.chmod("src", 0o777);
    fixture.age("a.txt");
    assert_eq!(fixture.checksum(), before, "umask and times");
    fs_err::create_dir(fixture.root.join("empty")).unwrap();
    assert_eq!(fixture.checksum(), before, "empty directory");
    fixture.commit();
    assert_eq!(fixture.checksum(), before, "commit");
    fs_err::remove_file(fixture.root.join(".git/index")).unwrap();
    assert_eq!(fixture.checksum(), before, "no index");
    fixture.chmod("a.txt", 0o600);
    fs_err::write(fixture.root.join(".git/index"), "DIRCrubbish").unwrap();
    assert_eq!(fixture.checksum(), before, "unreadable index");
    let moved = fixture.root.with_file_name("moved");
    fs_err::rename(&fixture.root, &moved).unwrap();
    let context = open(&moved, ContextOptions::default()).unwrap();
    assert_eq!(whole(&*context), before, "moved");
}

#[test]
fn a_directory_whose_files_are_all_excluded_stays() {
    let fixture = Fixture::new();
    fixture.write("out/kept/file", "1\n");
    fixture.write("gone/file", "1\n");
    fixture.commit();
    fs_err::create_dir(fixture.root.join("empty")).unwrap();
    let rules = b"out/*/*\ngone\n";
    for repository in [RepositoryUse::Worktree, RepositoryUse::Revision("HEAD".to_owned())] {
        let ignore = IgnoreRules::parse(".dockerignore", rules).unwrap();
        let options = ContextOptions { ignore, repository, ..ContextOptions::default() };
        let context = open(&fixture.root, options).unwrap();
        let listing = all(&*context);
        let directories = listing.entries().iter().filter(|entry| entry.is_directory());
        let paths: Vec<&[u8]> = directories.map(|entry| entry.path.as_slice()).collect();
        assert_eq!(paths, [b"out".as_slice(), b"out/kept", b"src"]);
    }
}

#[test]
fn untracked_files_keep_their_permissions_and_git_its_modes() {
    let fixture = Fixture::new();
    fixture.write("new", "x");
    fixture.chmod("new", 0o640);
    fixture.write("src/main.rs", "changed");
    fixture.chmod("src/main.rs", 0o775);
    let context = fixture.context();
    assert_eq!(entry(&*context, "new").mode, 0o640);
    assert_eq!(entry(&*context, "src/main.rs").mode, 0o755);
    fixture.git.config().unwrap().set_bool("core.filemode", false).unwrap();
    assert_eq!(entry(&*fixture.context(), "src/main.rs").mode, 0o644);
}

#[test]
fn a_part_of_the_repository_is_a_context_of_its_own() {
    let fixture = Fixture::new();
    fixture.write("src/new", "x");
    let context = open(&fixture.root.join("src"), ContextOptions::default()).unwrap();
    assert_eq!(paths(&*context), ["main.rs", "new", "run.sh"]);
    assert_eq!(entry(&*context, "run.sh").mode, 0o755);
    assert!(context.commit().is_some() && !context.has_git_dir());
    let committed = with(|options| options.repository = RepositoryUse::Revision("HEAD".into()));
    let context = open(&fixture.root.join("src"), committed).unwrap();
    assert_eq!(paths(&*context), ["main.rs", "run.sh"]);
}

#[test]
fn the_git_directory_is_left_out_unless_kept() {
    let fixture = Fixture::new();
    fixture.write("nested/.git/HEAD", "ref: refs/heads/main\n");
    fixture.write("nested/file", "x");
    let context = fixture.context();
    assert!(paths(&*context).ends_with(&["src/run.sh".to_owned()]));
    assert!(paths(&*context).contains(&"nested/file".to_owned()));
    assert!(context.has_git_dir());
    assert_eq!(
        context.why_absent(b".git/HEAD").unwrap(),
        "a git context has no .git unless --keep-git-dir is given"
    );
    let keep = with(|options| options.git_directory = GitDirectory::Keep);
    let context = open(&fixture.root, keep).unwrap();
    assert!(paths(&*context).contains(&".git/HEAD".to_owned()) && context.has_git_dir());
    let ignored = with(|options| options.ignore = IgnoreRules::parse("i", b".git\nsrc").unwrap());
    let context = open(&fixture.root, ignored).unwrap();
    assert_eq!(paths(&*context), [".gitignore", "a.txt", "link", "nested", "nested/file"]);
    assert!(!context.has_git_dir());
    assert_eq!(context.why_absent(b"src/x").unwrap(), "i:2 excludes it (src)");
}

#[test]
fn a_revision_is_read_without_a_checkout() {
    let fixture = Fixture::new();
    let worktree = fixture.checksum();
    let revision = |name: &str| {
        let name = name.to_owned();
        with(|options| options.repository = RepositoryUse::Revision(name))
    };
    let bare = fixture.root.with_file_name("bare.git");
    fs_err::rename(fixture.root.join(".git"), &bare).unwrap();
    let context = open(&bare, revision("HEAD")).unwrap();
    assert_eq!(paths(&*context), FILES);
    assert_eq!(whole(&*context), worktree);
    assert_eq!(content(&*context, "src/main.rs").unwrap(), "fn main() {}\n");
    assert_eq!(entry(&*context, "src/main.rs").size, 13);
    assert_eq!(context.read_small(b"a.txt", 10).unwrap(), b"hello\n");
    assert!(context.read_small(b"none", 10).unwrap_err().is_not_found());
    assert!(context.read_small(b"src/main.rs", 10).is_err());
    let mut ignoring = revision("HEAD");
    ignoring.ignore = IgnoreRules::parse("i", b"*\n!src/*.rs").unwrap();
    assert_eq!(paths(&*open(&bare, ignoring).unwrap()), ["src", "src/main.rs"]);
    let error = open(&bare, revision("nowhere")).unwrap_err().to_string();
    assert!(error.contains("\"nowhere\" names no commit here"), "{error}");
    let outside = tempfile::tempdir().unwrap();
    assert!(open(outside.path(), revision("HEAD")).is_err());
}

#[test]
fn revisions_are_named_in_the_ways_that_git_has() {
    let fixture = Fixture::new();
    let first = fixture.git.head().unwrap().target().unwrap();
    let object = fixture.git.find_object(first, None).unwrap();
    let who = Signature::new("A", "a@example.com", &Time::new(COMMIT_TIME, 0)).unwrap();
    fixture.git.tag("v1", &object, &who, "annotated", false).unwrap();
    fixture.git.tag_lightweight("light", &object, false).unwrap();
    fixture.write("a.txt", "second\n");
    let second = fixture.commit();
    let branch = fixture.git.head().unwrap().name().unwrap().to_owned();
    let packed = format!("# pack-refs with: peeled\n{first} refs/tags/packed\n^{first}\n");
    fixture.write(".git/packed-refs", &packed);
    let (long, short) = (first.to_string(), first.to_string()[..8].to_owned());
    let head = branch.rsplit('/').next().unwrap();
    for (name, id) in [
        ("HEAD", second),
        ("v1", first),
        ("light", first),
        ("packed", first),
        ("refs/tags/v1", first),
        (head, second),
        (branch.as_str(), second),
        (long.as_str(), first),
        (short.as_str(), first),
    ] {
        let repository = RepositoryUse::Revision(name.to_owned());
        let context = open(&fixture.root, with(|options| options.repository = repository)).unwrap();
        assert_eq!(context.commit().unwrap().id, id.to_string(), "{name}");
    }
    for name in ["", "nothing", "refs/tags/nothing", "../config", "ffffffff"] {
        let repository = RepositoryUse::Revision(name.to_owned());
        let error =
            open(&fixture.root, with(|options| options.repository = repository)).unwrap_err();
        assert!(error.to_string().contains("names no commit here"), "{name}: {error}");
    }
}

#[test]
fn configuration_is_not_read_and_borrowed_objects_are() {
    let fixture = Fixture::new();
    fixture.write(".git/config", "[include]\npath = /\n[extensions]\nunknown = x\nrubbish");
    assert_eq!(paths(&*fixture.context()), FILES);
    let lender = fixture.root.with_file_name("lender");
    fs_err::create_dir(&lender).unwrap();
    fs_err::rename(fixture.root.join(".git/objects"), lender.join("objects")).unwrap();
    fixture.write(".git/objects/info/alternates", "# lent\n../../../lender/objects\n");
    assert!(fixture.context().commit().is_some());
}

#[test]
fn before_the_first_commit_files_keep_their_times() {
    let directory = tempfile::tempdir().unwrap();
    git2::Repository::init(directory.path()).unwrap();
    fs_err::write(directory.path().join("a"), "x").unwrap();
    let context = open(directory.path(), ContextOptions::default()).unwrap();
    assert_eq!((paths(&*context), context.commit()), (vec!["a".to_owned()], None));
    assert!(entry(&*context, "a").mtime.is_some());
}

#[test]
fn a_checkout_of_another_user_is_read() {
    let fixture = Fixture::new();
    let before = fixture.checksum();
    let mut pending = vec![fixture.root.clone()];
    while let Some(place) = pending.pop() {
        if let Err(error) = std::os::unix::fs::lchown(&place, Some(4242), Some(4242)) {
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            return; // Only root can give files away.
        }
        if place.is_dir() && !place.is_symlink() {
            pending.extend(fs_err::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(git2::Repository::open(&fixture.root).is_err(), "libgit2 would refuse it");
    assert_eq!(fixture.checksum(), before);
    assert!(fixture.context().commit().is_some());
}

#[test]
fn linked_work_trees_and_shallow_clones_are_read() {
    let fixture = Fixture::new();
    let first = fixture.git.head().unwrap().target().unwrap();
    fixture.write("a.txt", "second\n");
    let second = fixture.commit();
    let linked = fixture.root.with_file_name("linked");
    fixture.git.worktree("linked", &linked, None).unwrap();
    fixture.write("a.txt", "third\n");
    fixture.commit();
    let context = open(&linked, ContextOptions::default()).unwrap();
    assert_eq!(context.commit().unwrap().id, second.to_string());
    assert_eq!(content(&*context, "a.txt").unwrap(), "second\n");
    assert_eq!(paths(&*context), FILES);
    assert!(context.has_git_dir());

    // What a clone of depth one has: the parent's object is absent and `shallow` says so.
    let hex = first.to_string();
    let object = fixture.root.join(".git/objects").join(&hex[..2]).join(&hex[2..]);
    fs_err::remove_file(object).unwrap();
    fixture.write(".git/shallow", &format!("{second}\n"));
    assert!(fixture.context().commit().is_some());
    assert_eq!(paths(&*fixture.context()), FILES);
}

#[test]
fn unusable_repositories_are_errors_that_say_why() {
    for (file, text, reason) in [
        ("sub/.git", "gitdir: ../nowhere\n", "nowhere is not here"),
        ("sub/.git", "rubbish", "names no git directory"),
        (".git/HEAD", "rubbish", "HEAD cannot be read: it holds no object id"),
        (".git/HEAD", "ref: refs/heads/../../x", "is not the name of a reference"),
        (".git/HEAD", "ref: HEAD", "HEAD leads in a circle"),
        (".git/HEAD", "ref: refs/heads/.invalid\n", "reftable format is not supported"),
        (".git/HEAD", "0".repeat(64).as_str(), "SHA-256 repositories are not supported"),
        (".git/HEAD", "1".repeat(40).as_str(), "\"HEAD\" names no commit here"),
    ] {
        let fixture = Fixture::new();
        fixture.write(file, text);
        let context = fixture.root.join(file).parent().unwrap().to_owned();
        let context = if context.ends_with(".git") { fixture.root.clone() } else { context };
        let error = open(&context, ContextOptions::default()).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        let ignoring = with(|options| options.repository = RepositoryUse::Ignore);
        assert!(open(&context, ignoring).is_ok());
    }
    // An empty directory named .git is none, as for git.
    let fixture = Fixture::new();
    fs_err::create_dir(fixture.root.join("src/.git")).unwrap();
    assert!(open(&fixture.root.join("src"), ContextOptions::default()).unwrap().commit().is_some());
}

/// Puts an entry for a file into the index whose blob is not the file's content.
fn add_converted(fixture: &Fixture, path: &str, blob: &str) {
    let mut index = fixture.git.index().unwrap();
    index.add_path(Path::new(path)).unwrap();
    let entry = index.get_path(Path::new(path), 0).unwrap();
    let id = fixture.git.blob(blob.as_bytes()).unwrap();
    index.add(&IndexEntry { id, ..entry }).unwrap();
    index.write().unwrap();
}

#[test]
fn files_converted_at_checkout_count_as_they_are() {
    let fixture = Fixture::new();
    fixture.write("big.bin", "what LFS fetched");
    fixture.age("big.bin");
    add_converted(&fixture, "big.bin", POINTER);
    let context = fixture.context();
    let file = entry(&*context, "big.bin");
    assert_eq!((file.object, file.size), (ObjectId::of_blob(b"what LFS fetched"), 16));
    assert_eq!(content(&*context, "big.bin").unwrap(), "what LFS fetched");
}

#[test]
fn an_lfs_pointer_is_refused_unless_kept() {
    let fixture = Fixture::new();
    fixture.write("big.bin", POINTER);
    fixture.commit();
    let error = content(&*fixture.context(), "big.bin").unwrap_err().to_string();
    assert!(error.starts_with("big.bin is a Git LFS pointer"), "{error}");
    let keep = with(|options| options.lfs_pointers = LfsPointers::Keep);
    let context = open(&fixture.root, keep).unwrap();
    assert_eq!(content(&*context, "big.bin").unwrap(), POINTER);
}

#[test]
fn a_clean_file_that_changes_later_is_read_from_the_repository() {
    let fixture = Fixture::new();
    fixture.age("a.txt");
    fixture.refresh("a.txt");
    let context = fixture.context();
    all(&*context);
    fixture.write("a.txt", "other\n");
    assert_eq!(content(&*context, "a.txt").unwrap(), "hello\n");
    fs_err::remove_file(fixture.root.join("a.txt")).unwrap();
    assert_eq!(content(&*context, "a.txt").unwrap(), "hello\n");
}

#[test]
fn submodules_count_by_content_or_are_refused_when_selected() {
    let fixture = Fixture::new();
    fs_err::create_dir_all(fixture.root.join("lib/sub")).unwrap();
    let commit = fixture.git.head().unwrap().target().unwrap();
    let mut index = fixture.git.index().unwrap();
    let zero = IndexTime::new(0, 0);
    index
        .add(&IndexEntry {
            ctime: zero,
            mtime: zero,
            dev: 0,
            ino: 0,
            mode: 0o160_000,
            uid: 0,
            gid: 0,
            file_size: 0,
            id: commit,
            flags: 0,
            flags_extended: 0,
            path: b"lib/sub".to_vec(),
        })
        .unwrap();
    index.write().unwrap();
    let context = fixture.context();
    let submodule = entry(&*context, "lib/sub");
    assert_eq!((&submodule.kind, submodule.object), (&EntryKind::Submodule, object_id(commit)));
    let takes = |context: &dyn ContextSource, path: &[u8]| {
        select(context, &[path.to_vec()], Wildcards::OneLevel).is_ok()
    };
    assert!(!takes(&*context, b"lib") && takes(&*context, b"src"));

    fixture.write("lib/sub/.git", "gitdir: ../../.git/modules/sub\n");
    fixture.write("lib/sub/file", "x");
    fixture.chmod("lib/sub/file", 0o664);
    let context = fixture.context();
    assert_eq!(entry(&*context, "lib/sub/file").mode, 0o644);
    assert_eq!(entry(&*context, "lib/sub").kind, EntryKind::Directory);
    assert!(!paths(&*context).contains(&"lib/sub/.git".to_owned()));
    assert!(takes(&*context, b"lib"));
}

#[test]
fn names_need_not_be_utf8() {
    use std::os::unix::ffi::OsStrExt as _;
    let fixture = Fixture::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    fs_err::write(fixture.root.join(name), "x").unwrap();
    let before = fixture.checksum();
    fixture.chmod("a.txt", 0o644);
    fixture.commit();
    let context = fixture.context();
    assert!(all(&*context).entries().iter().any(|entry| entry.path == b"caf\xe9"));
    assert_eq!(whole(&*context), before);
}
