use std::io::Read;

use super::*;
use crate::context::entry::Content;
use crate::context::identity::of_entries;
use crate::context::path::by_components;
use crate::context::{Commit, ContextEntry, EntryKind, Listing, ObjectId};

/// A context of which only the names are there.
#[derive(Debug)]
struct Names(Listing);

/// A context from `path`, `path/` for a directory, `path -> target` for a link, and `path@` for a
/// submodule.
fn context(lines: &[&str]) -> Names {
    let entry = |line: &&str| {
        let (path, kind) = match line.split_once(" -> ") {
            Some((path, target)) => {
                (path, EntryKind::Symlink { target: target.as_bytes().to_vec() })
            }
            None => match (line.strip_suffix('/'), line.strip_suffix('@')) {
                (Some(path), _) => (path, EntryKind::Directory),
                (_, Some(path)) => (path, EntryKind::Submodule),
                (None, None) => (*line, EntryKind::File),
            },
        };
        ContextEntry {
            path: path.as_bytes().to_vec(),
            kind,
            mode: 0o644,
            size: 0,
            object: ObjectId::default(),
            mtime: None,
            inode: None,
            content: Content::None,
        }
    };
    let mut entries: Vec<ContextEntry> = lines.iter().map(entry).collect();
    entries.sort_by(|a, b| by_components(&a.path, &b.path));
    Names(Listing::new(entries))
}

impl ContextSource for Names {
    fn commit(&self) -> Option<&Commit> {
        None
    }

    fn find(&self, path: &[u8]) -> Result<Option<At>, ContextError> {
        let found = self.0.entries().iter().find(|entry| entry.path == path);
        Ok(match found.map(|entry| entry.kind.clone()) {
            None => path.is_empty().then_some(At::Directory),
            Some(EntryKind::File) => Some(At::File),
            Some(EntryKind::Directory) => Some(At::Directory),
            Some(EntryKind::Symlink { target }) => Some(At::Symlink { target }),
            Some(EntryKind::Submodule) => Some(At::Submodule),
        })
    }

    fn names(&self, directory: &[u8]) -> Result<Vec<Vec<u8>>, ContextError> {
        let paths = self.0.entries().iter().map(|entry| split_name(&entry.path));
        let here = paths.filter(|(parent, _)| *parent == directory);
        let mut names: Vec<Vec<u8>> = here.map(|(_, name)| name.to_vec()).collect();
        names.sort();
        Ok(names)
    }

    fn identity(&self, path: &[u8]) -> Result<Option<Identity>, ContextError> {
        let listing = self.listing(path)?;
        Ok(listing.map(|listing| of_entries(path, listing.entries())))
    }

    fn listing(&self, path: &[u8]) -> Result<Option<Listing>, ContextError> {
        Ok(self.0.part(path))
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    fn open(&self, _: &ContextEntry) -> Result<Box<dyn Read + Send>, ContextError> {
        Ok(Box::new(std::io::empty()))
    }

    fn read_small(&self, _: &[u8], _: u64) -> Result<Vec<u8>, ContextError> {
        Ok(Vec::new())
    }

    fn has_git_dir(&self) -> bool {
        false
    }

    fn why_absent(&self, _: &[u8]) -> Option<String> {
        None
    }
}

/// What a source selects, as `matched=root:all,entries`.
fn selected(context: &Names, source: &str, wildcards: Wildcards) -> Vec<String> {
    let sources = [source.as_bytes().to_vec()];
    let describe = |one: Selected| {
        let listing = context.listing(&one.root).unwrap().unwrap();
        let paths: Vec<_> = listing.entries().iter().map(|entry| shown(&entry.path)).collect();
        format!("{}={}:{}", shown(&one.matched), shown(&one.root), paths.join(","))
    };
    select(context, &sources, wildcards).unwrap().into_iter().map(describe).collect()
}

#[test]
fn sources_select_what_docker_copies() {
    let entries = context(&[
        "a.txt",
        "a-b",
        "a/",
        "a/b.txt",
        "a/c/",
        "a/c/d.txt",
        "a/c.txt",
        "z/",
        "z/e.txt",
        "[x]",
        "s*r",
        "link -> a/b.txt",
        "dirlink -> a",
        "a/up -> ../z",
        "abs -> /z/e.txt",
        "out -> ../../z",
    ]);
    for (source, expected) in [
        ("a.txt", vec!["a.txt=a.txt:a.txt"]),
        ("/a.txt", vec!["a.txt=a.txt:a.txt"]),
        ("./a.txt", vec!["a.txt=a.txt:a.txt"]),
        ("../a.txt", vec!["a.txt=a.txt:a.txt"]),
        ("z/../a.txt", vec!["a.txt=a.txt:a.txt"]),
        ("z", vec!["z=z:z,z/e.txt"]),
        ("z/", vec!["z=z:z,z/e.txt"]),
        ("a", vec!["a=a:a,a/b.txt,a/c,a/c/d.txt,a/c.txt,a/up"]),
        ("*.txt", vec!["a.txt=a.txt:a.txt"]),
        ("a/*.txt", vec!["a/b.txt=a/b.txt:a/b.txt", "a/c.txt=a/c.txt:a/c.txt"]),
        ("?/c", vec!["a/c=a/c:a/c,a/c/d.txt"]),
        ("[yz]", vec!["z=z:z,z/e.txt"]),
        ("a[^x]b.txt", vec!["a/b.txt=a/b.txt:a/b.txt"]),
        ("[[]x]", vec!["[x]=[x]:[x]"]),
        ("s\\*r", vec!["s*r=s*r:s*r"]),
        ("**/d.txt", vec![]),
        ("nothing*", vec![]),
        ("nowhere/*", vec![]),
        ("link", vec!["link=a/b.txt:a/b.txt"]),
        ("lin?", vec!["link=a/b.txt:a/b.txt"]),
        ("dirlink/b.txt", vec!["dirlink/b.txt=a/b.txt:a/b.txt"]),
        ("dirlink/*.txt", vec!["a/b.txt=a/b.txt:a/b.txt", "a/c.txt=a/c.txt:a/c.txt"]),
        ("a/up", vec!["a/up=z:z,z/e.txt"]),
        ("abs", vec!["abs=z/e.txt:z/e.txt"]),
        ("out", vec!["out=z:z,z/e.txt"]),
    ] {
        assert_eq!(selected(&entries, source, Wildcards::OneLevel), expected, "{source}");
    }
    for everything in [".", "/", "", "./", "a/.."] {
        let all = selected(&entries, everything, Wildcards::OneLevel);
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].split(',').count(), entries.0.entries().len(), "{everything:?}");
    }
}

#[test]
fn two_stars_reach_any_depth_where_asked() {
    let entries = context(&["a/", "a/b/", "a/b/x.rs", "a/x.rs", "x.rs", "x.c"]);
    for (source, expected) in [
        ("**/*.rs", vec!["a/b/x.rs", "a/x.rs", "x.rs"]),
        ("a/**/x.rs", vec!["a/b/x.rs", "a/x.rs"]),
        ("**/b/**/**/x.rs", vec!["a/b/x.rs"]),
    ] {
        let sources = [source.as_bytes().to_vec()];
        let found: Vec<String> = select(&entries, &sources, Wildcards::AnyDepth)
            .unwrap()
            .iter()
            .map(|one| shown(&one.matched))
            .collect();
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn unusable_sources_are_errors() {
    let entries = context(&["Makefile", "loop -> loop", "dangling -> gone", "lib/", "lib/sub@"]);
    for (source, expected) in [
        ("makefil", "\"makefil\" is not in the build context; there is \"Makefile\""),
        ("nothing-like-it", "\"nothing-like-it\" is not in the build context"),
        (
            "dang*",
            "source \"dang*\": link \"dangling\" leads to \"gone\", which is not in the build context",
        ),
        ("Makefile/x", "\"Makefile/x\" is not in the build context"),
        ("loop", "source \"loop\" leads through too many links"),
        ("[", "source \"[\" is not valid"),
        (
            "lib",
            "submodule \"lib/sub\" is not checked out; run git submodule update --init, or exclude it",
        ),
    ] {
        let error =
            select(&entries, &[source.as_bytes().to_vec()], Wildcards::OneLevel).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

proptest::proptest! {
    #[test]
    fn any_source_gives_an_answer(source in "[ab./*?\\[\\]\\\\]{0,12}") {
        let entries = context(&["a", "b/", "b/a", "b/b -> ../b"]);
        for wildcards in [Wildcards::OneLevel, Wildcards::AnyDepth] {
            let _ = select(&entries, &[source.as_bytes().to_vec()], wildcards);
        }
    }
}
