//! The three kinds of contexts, compared.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use git2::{IndexAddOption, Repository, Signature, Time};
use proptest::prelude::*;

use super::*;
use crate::ignore_rules::IgnoreRules;

/// What a path of a generated tree is.
#[derive(Clone, Debug)]
enum Leaf {
    File(u8, bool),
    Link(u8),
}

fn tree() -> impl Strategy<Value = BTreeMap<Vec<String>, Leaf>> {
    let name = prop::sample::select(vec!["a", "b", "b.c", "b-c", "B", "é"]).prop_map(str::to_owned);
    let path = prop::collection::vec(name, 1..4);
    let leaf = prop_oneof![
        4 => (0..3u8, any::<bool>()).prop_map(|(content, x)| Leaf::File(content, x)),
        1 => (0..3u8).prop_map(Leaf::Link),
    ];
    prop::collection::btree_map(path, leaf, 1..12)
}

fn rules() -> impl Strategy<Value = Vec<&'static str>> {
    let rule = prop::sample::select(vec![
        "a", "b", "**/b.c", "a/b", "!a/b", "!b", "*", "!a", "*/b", "**/a/*", "!**/b-c", "b/**",
    ]);
    prop::collection::vec(rule, 0..4)
}

/// Writes the tree; what would lie below a file is passed over.
fn write(root: &Path, tree: &BTreeMap<Vec<String>, Leaf>) {
    for (path, leaf) in tree {
        let place = root.join(path.join("/"));
        let parent = place.parent().unwrap();
        if fs_err::create_dir_all(parent).is_err() || fs_err::symlink_metadata(&place).is_ok() {
            continue;
        }
        let inside = fs_err::canonicalize(parent).unwrap() == parent;
        match leaf {
            Leaf::Link(number) if inside => symlink(format!("to/{number}"), &place).unwrap(),
            Leaf::File(content, executable) if inside => {
                fs_err::write(&place, [*content; 3]).unwrap();
                let mode = if *executable { 0o755 } else { 0o644 };
                let permissions = std::fs::Permissions::from_mode(mode);
                fs_err::set_permissions(&place, permissions).unwrap();
            }
            _ => {}
        }
    }
}

fn commit(root: &Path) {
    let git = Repository::init(root).unwrap();
    let mut index = git.index().unwrap();
    index.add_all(["*"], IndexAddOption::FORCE, None).unwrap();
    index.write().unwrap();
    let tree = git.find_tree(index.write_tree().unwrap()).unwrap();
    let who = Signature::new("A", "a@example.com", &Time::new(1_700_000_000, 0)).unwrap();
    git.commit(Some("HEAD"), &who, &who, "message", &tree, &[]).unwrap();
}

/// The identity of every path that a context has, as `path kind`.
fn identities(context: &dyn ContextSource) -> BTreeMap<String, Identity> {
    let listing = context.listing(b"").unwrap().unwrap();
    let mut all = BTreeMap::new();
    all.insert(String::new(), context.identity(b"").unwrap().unwrap());
    for entry in listing.entries() {
        let path = String::from_utf8(entry.path.clone()).unwrap();
        let identity = context.identity(&entry.path).unwrap();
        all.insert(path, identity.expect("what is listed has an identity"));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_checkout_its_commit_and_a_copy_are_the_same(tree in tree(), rules in rules()) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap().join("context");
        fs_err::create_dir(&root).unwrap();
        write(&root, &tree);
        commit(&root);
        let text = [rules.join("\n"), ".git".to_owned()].join("\n");
        let open = |repository| {
            let ignore = IgnoreRules::parse("i", text.as_bytes()).unwrap();
            let options = ContextOptions { ignore, repository, ..ContextOptions::default() };
            open(&root, options).unwrap()
        };
        let committed = identities(&*open(RepositoryUse::Revision("HEAD".into())));
        prop_assert_eq!(&identities(&*open(RepositoryUse::Worktree)), &committed);
        prop_assert_eq!(&identities(&*open(RepositoryUse::Ignore)), &committed);
        // Looked at from the leaves up instead of out of one listing.
        let fresh = open(RepositoryUse::Worktree);
        for (path, identity) in committed.iter().rev() {
            let again = fresh.identity(path.as_bytes()).unwrap();
            prop_assert_eq!(again.as_ref(), Some(identity), "{}", path);
        }
    }
}

#[test]
fn where_no_rule_reaches_the_recorded_tree_counts() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let file = |path: &str| (path.split('/').map(str::to_owned).collect(), Leaf::File(1, false));
    write(&root, &["a/b/x", "a/y", "b/z"].map(file).into());
    commit(&root);
    let git = Repository::open(&root).unwrap();
    let recorded = git.head().unwrap().peel_to_tree().unwrap();
    let open = |rules: &str| {
        let ignore = IgnoreRules::parse("i", rules.as_bytes()).unwrap();
        let repository = RepositoryUse::Revision("HEAD".into());
        let options = ContextOptions { ignore, repository, ..ContextOptions::default() };
        open(&root, options).unwrap()
    };
    let id = |context: &dyn ContextSource, path: &str| {
        context.identity(path.as_bytes()).unwrap().unwrap().object.to_string()
    };
    assert_eq!(id(&*open(""), ""), recorded.id().to_string());
    // Whatever is below `a` could be gone and nobody would notice: its id is all that is read.
    let below = recorded.get_name("a").unwrap().id();
    let context = open("b");
    assert_eq!(id(&*context, "a"), below.to_string());
    let hex = below.to_string();
    fs_err::remove_file(root.join(".git/objects").join(&hex[..2]).join(&hex[2..])).unwrap();
    assert_eq!(id(&*open("b"), "a"), below.to_string());
    assert!(open("a/b").identity(b"a").is_err(), "a rule that reaches below has it read");
}
