use super::*;
use crate::context::ObjectId;
use crate::context::entry::Content;

/// Entries from `path`, `path/` for a directory, and `path -> target` for a link.
fn context(lines: &[&str]) -> Vec<ContextEntry> {
    let mut entries: Vec<ContextEntry> = lines
        .iter()
        .map(|line| {
            let (path, kind) = match line.split_once(" -> ") {
                Some((path, target)) => {
                    (path, EntryKind::Symlink { target: target.as_bytes().to_vec() })
                }
                None => match line.strip_suffix('/') {
                    Some(path) => (path, EntryKind::Directory),
                    None => (*line, EntryKind::File),
                },
            };
            let path = path.as_bytes().to_vec();
            let object = ObjectId::default();
            ContextEntry {
                path,
                kind,
                mode: 0o644,
                size: 0,
                object,
                mtime: None,
                inode: None,
                content: Content::None,
            }
        })
        .collect();
    entries.sort_by(|a, b| by_components(&a.path, &b.path));
    entries
}

/// What a source selects, as `matched=root:all,entries`.
fn selected(entries: &[ContextEntry], source: &str, wildcards: Wildcards) -> Vec<String> {
    let sources = [source.as_bytes().to_vec()];
    select(entries, &sources, wildcards)
        .unwrap()
        .into_iter()
        .map(|one| {
            let paths: Vec<_> = one.entries().map(|at| shown(&entries[at].path)).collect();
            format!("{}={}:{}", shown(&one.matched), shown(&one.root), paths.join(","))
        })
        .collect()
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
        assert_eq!(all[0].split(',').count(), entries.len(), "{everything:?}");
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
    let mut entries =
        context(&["Makefile", "loop -> loop", "dangling -> gone", "lib/", "lib/sub/"]);
    let submodule = entries.iter_mut().find(|entry| entry.path == b"lib/sub").unwrap();
    submodule.kind = EntryKind::Submodule;
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
