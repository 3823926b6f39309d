//! What several layers do to one path: replaced, deleted, made again, reached through links.

use super::{directory, file, gone, hard_link, index, link, merged, opaque, tree};
use crate::layer::index::{IndexKind, LayerIndex, MergedIndex};

type Layers = Vec<Vec<(longshore_runtime::entry::Entry, &'static str)>>;

fn stack(layers: &Layers) -> MergedIndex {
    let layers: Vec<&[_]> = layers.iter().map(Vec::as_slice).collect();
    merged(&layers)
}

/// What is done, the layers that do it, and the tree that comes out.
type Case = (&'static str, Layers, Vec<&'static str>);

fn check(cases: Vec<Case>) {
    for (what, layers, expected) in cases {
        assert_eq!(tree(&stack(&layers)), expected, "{what}");
    }
}

#[test]
fn what_is_deleted_stays_away_until_a_layer_makes_it_again() {
    check(vec![
        (
            "a directory is deleted and made again",
            vec![
                vec![directory("d"), file("d/a", ""), directory("d/s"), file("d/s/b", "")],
                vec![gone("d")],
                vec![directory("d"), file("d/c", "")],
            ],
            vec!["2d d", "2f d/c"],
        ),
        (
            "the same in one layer",
            vec![
                vec![directory("d"), file("d/a", "")],
                vec![gone("d"), directory("d"), file("d/c", "")],
            ],
            vec!["1d d", "1f d/c"],
        ),
        ("the root is deleted", vec![vec![file("a", "")], vec![gone("")]], vec!["0f a"]),
    ]);
}

#[test]
fn opaque_directories_hide_the_layers_below_them() {
    check(vec![
        (
            "an opaque directory hides all layers below, not those above",
            vec![
                vec![directory("d"), file("d/a", "")],
                vec![file("d/b", "")],
                vec![directory("d"), opaque("d"), file("d/c", "")],
                vec![file("d/e", "")],
            ],
            vec!["2d d", "2f d/c", "3f d/e"],
        ),
        (
            "an opaque directory over a file, a link and nothing",
            vec![
                vec![file("f", ""), link("l", "d"), directory("d"), file("d/a", "")],
                vec![
                    directory("f"),
                    opaque("f"),
                    directory("l"),
                    opaque("l"),
                    file("l/x", ""),
                    directory("n"),
                    opaque("n"),
                ],
            ],
            vec!["0d d", "0f d/a", "1d f", "1d l", "1f l/x", "1d n"],
        ),
        (
            "a nested opaque directory",
            vec![
                vec![directory("d"), directory("d/s"), file("d/s/a", ""), file("d/b", "")],
                vec![directory("d/s"), opaque("d/s")],
            ],
            vec!["0d d", "0f d/b", "1d d/s"],
        ),
    ]);
}

#[test]
fn links_and_directories_take_each_others_place() {
    check(vec![
        (
            "a whiteout does not go through a linked parent",
            vec![vec![directory("d"), file("d/a", ""), link("l", "d")], vec![gone("l/a")]],
            vec!["0d d", "0f d/a", "0l l"],
        ),
        (
            "a linked parent is deleted, its target stays",
            vec![
                vec![directory("d"), file("d/a", ""), link("l", "d")],
                vec![gone("l")],
                vec![file("l/x", "")],
            ],
            vec!["0d d", "0f d/a", "2d l", "2f l/x"],
        ),
        (
            "a file becomes a directory and a file again",
            vec![
                vec![file("p", "1")],
                vec![directory("p"), file("p/x", "")],
                vec![file("p", "3")],
                vec![file("p/y", "")],
            ],
            vec!["3d p", "3f p/y"],
        ),
        (
            "a directory becomes a link and a directory again",
            vec![
                vec![directory("p"), file("p/x", ""), directory("q")],
                vec![link("p", "q")],
                vec![directory("p")],
            ],
            vec!["2d p", "0d q"],
        ),
        (
            "a hard link outlives its first name",
            vec![vec![file("a", "1"), hard_link("b", "a")], vec![gone("a")]],
            vec!["0h b"],
        ),
        (
            "a hard link keeps its own file when its first name is replaced",
            vec![vec![file("a", "1"), hard_link("b", "a")], vec![file("a", "2")]],
            vec!["1f a", "0h b"],
        ),
    ]);
}

#[test]
fn links_lead_through_all_layers_and_loops_are_noticed() {
    let layers: Layers = vec![
        vec![directory("usr"), directory("usr/bin"), link("bin", "usr/bin"), link("one", "two")],
        vec![link("two", "three"), link("usr/local", "/opt")],
        vec![link("three", "one"), directory("opt"), link("opt/up", "../bin")],
        vec![gone("one"), link("bin", "opt/up")],
        vec![gone("bin"), directory("one"), link("deep", "usr/local/up")],
    ];
    let reached = |count: usize, path: &str| {
        let merged = stack(&layers[..count].to_vec());
        let resolved = merged.resolve(path.as_bytes());
        resolved.map_or_else(|_| "loop".to_owned(), |it| String::from_utf8(it).unwrap())
    };
    for (count, path, expected) in [
        (1, "bin/x", "usr/bin/x"),
        (1, "one/x", "two/x"),
        (2, "one/x", "three/x"),
        // Each of the three links is in another layer.
        (3, "one/x", "loop"),
        (3, "two", "loop"),
        (3, "usr/local/up/x", "usr/bin/x"),
        (4, "one/x", "one/x"),
        (4, "two/x", "one/x"),
        // The upper link of /bin leads to a link that leads to /bin.
        (4, "bin/x", "loop"),
        (4, "usr/local/up", "loop"),
        (5, "deep/x", "bin/x"),
        (5, "three/x", "one/x"),
    ] {
        assert_eq!(reached(count, path), expected, "{path} in {count} layers");
    }
}

#[test]
fn second_names_of_links_are_links_whatever_their_order() {
    // Sorted, the second name comes before the first; the archive had them the other way round.
    let layers: Layers = vec![
        vec![directory("z")],
        vec![link("y", "usr"), hard_link("x", "y"), hard_link("w", "x"), hard_link("z/v", "lost")],
    ];
    let merged = stack(&layers);
    for name in ["w", "x", "y"] {
        let found = merged.lookup(name.as_bytes()).unwrap();
        assert_eq!(found.entry.kind, IndexKind::Symlink { target: b"usr".to_vec() }, "{name}");
    }
    assert_eq!(merged.resolve(b"w/bin").unwrap(), b"usr/bin");
    let lost = merged.lookup(b"z/v").unwrap();
    assert_eq!(lost.entry.kind, IndexKind::HardLink { target: b"lost".to_vec() });
}

fn targets<'a>(index: &'a LayerIndex, path: &str) -> Vec<&'a [u8]> {
    index.link_targets(path.as_bytes()).collect()
}

#[test]
fn hard_links_lead_to_what_their_layer_has() {
    let made = index(&[
        file("a", "1"),
        hard_link("b", "a"),
        hard_link("c", "b"),
        hard_link("lost", "gone"),
        hard_link("ping", "pong"),
        hard_link("pong", "ping"),
    ]);
    for (path, expected) in
        [("a", &[][..]), ("b", &["a"]), ("c", &["b", "a"]), ("lost", &["gone"]), ("none", &[])]
    {
        let expected: Vec<&[u8]> = expected.iter().map(|path| path.as_bytes()).collect();
        assert_eq!(targets(&made, path), expected, "{path}");
    }
    // No archive that was read has such links, but an index may say so.
    assert_eq!(targets(&made, "ping").len(), 64);
}
