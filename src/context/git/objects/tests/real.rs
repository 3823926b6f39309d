//! Repositories that git wrote.

use std::io::Read as _;

use super::{Git, id, noise, read, told};
use crate::context::ObjectId;
use crate::context::git::objects::{Ahead, ObjectKind, Store};

/// A history of files that resemble each other, with all kinds of objects.
fn history() -> Git {
    let git = Git::new();
    let mut lines: Vec<String> = (0..400).map(|line| format!("line {line} of a file")).collect();
    let noise = noise(7, 200_000);
    for round in 0..12 {
        lines[round * 30] = format!("changed in round {round}");
        lines.insert(round * 7, format!("new in round {round}"));
        let write = |name: &str, content: &[u8]| {
            let place = git.path().join(name);
            fs_err::create_dir_all(place.parent().unwrap()).unwrap();
            fs_err::write(place, content).unwrap();
        };
        write("text", lines.join("\n").as_bytes());
        write("dir/other", lines[round..].join("\n").as_bytes());
        write("binary", &[&noise[round * 1000..], b"end", &noise[..round * 100]].concat());
        write(&format!("dir/deep/{round}"), format!("{round}").as_bytes());
        write("empty", b"");
        git.run(&["add", "."], b"");
        git.run(&["commit", "-q", "-m", &format!("round {round}")], b"");
    }
    git.run(&["tag", "-a", "-m", "a tag", "v1"], b"");
    git
}

/// Compares what is read with what git reads, with pack indexes in memory and on disk.
fn assert_same(git: &Git, name: &str) {
    assert_store(git, &git.store(), name);
    assert_store(git, &git.store().without_room(), name);
}

fn assert_store(git: &Git, store: &Store, name: &str) {
    let objects = git.all();
    assert!(objects.len() > 80, "{name}");
    assert_sizes(store, &objects, name);
    for (id, kind, content) in objects {
        assert_eq!(store.size(id).unwrap(), content.len() as u64, "{name}: {id}");
        assert_eq!(store.header(id).unwrap(), (kind, content.len() as u64), "{name}: {id}");
        let found = read(store, id).unwrap_or_else(|error| panic!("{name}: {}", told(&error)));
        assert!(found == (kind, content), "{name}: {id}");
    }
}

/// Asks for sizes in the order of the packs and against it, and for some again.
fn assert_sizes(store: &Store, objects: &[(ObjectId, ObjectKind, Vec<u8>)], name: &str) {
    let (snapshot, mut ahead) = (store.snapshot(), Ahead::default());
    let forth = objects.iter().flat_map(|object| [object, &objects[0], object]);
    for (id, _, content) in objects.iter().chain(objects.iter().rev()).chain(forth) {
        let size = store.size_from(&snapshot, *id, &mut ahead).unwrap();
        assert_eq!(size, content.len() as u64, "{name}: {id}");
    }
}

/// How many deltas there are, and how long the longest chain is.
fn chains(git: &Git) -> (usize, usize) {
    let pack = fs_err::read_dir(git.objects().join("pack")).unwrap();
    let index = pack.map(|entry| entry.unwrap().path()).find(|path| is_index(path)).unwrap();
    let words = ["verify-pack", "-v", index.to_str().unwrap()];
    let text = git.text(&words, b"");
    let depths = text.lines().filter_map(|line| line.split_whitespace().nth(5)?.parse().ok());
    let depths: Vec<usize> = depths.collect();
    (depths.len(), depths.into_iter().max().unwrap_or(0))
}

fn is_index(path: &std::path::Path) -> bool {
    path.extension().is_some_and(|extension| extension == "idx")
}

#[test]
fn every_object_reads_as_git_reads_it() {
    let git = history();
    assert_same(&git, "loose");
    let repack = |settings: &[&str], rest: &[&str]| {
        let settings = settings.iter().flat_map(|setting| ["-c", setting]);
        let words: Vec<&str> = settings.chain(["repack", "-adfq"]).chain(rest.to_vec()).collect();
        git.run(&words, b"");
    };
    repack(&[], &["--depth=50", "--window=50"]);
    let (deltas, depth) = chains(&git);
    assert!(deltas > 15 && depth > 5, "{deltas} deltas, {depth} deep");
    assert_same(&git, "deltas");
    repack(&["repack.useDeltaBaseOffset=false"], &["--depth=50", "--window=50"]);
    assert_same(&git, "deltas by name");
    repack(&["pack.indexVersion=1"], &[]);
    assert_same(&git, "index version 1");
    repack(&[], &["--depth=0", "--window=0"]);
    assert_eq!(chains(&git).0, 0);
    assert_same(&git, "no deltas");
    repack(&["core.compression=0"], &["-F"]);
    assert_same(&git, "not compressed");
    git.blob(b"a loose one beside the packs");
    git.run(&["multi-pack-index", "write"], b"");
    assert_same(&git, "a multi-pack index");
}

#[test]
fn several_packs_and_long_positions_are_read() {
    let git = history();
    git.run(&["repack", "-adq"], b"");
    for round in 0..3 {
        git.blob(&noise(round, 1000));
        git.run(&["repack", "-dq"], b"");
        let all = git.text(&["rev-list", "--objects", "--all"], b"");
        let some = all.lines().skip(usize::try_from(round).unwrap()).step_by(3);
        let some: String = some.map(|line| format!("{}\n", &line[..40])).collect();
        git.run(&["pack-objects", "-q", ".git/objects/pack/pack"], some.as_bytes());
    }
    assert_same(&git, "several packs");
    for entry in fs_err::read_dir(git.objects().join("pack")).unwrap() {
        let path = entry.unwrap().path();
        if is_index(&path) {
            // Positions above 256 have eight bytes then.
            fs_err::remove_file(&path).unwrap();
            let pack = path.with_extension("pack");
            let words = ["index-pack", "--index-version=2,0x100", pack.to_str().unwrap()];
            git.run(&words, b"");
        }
    }
    assert_same(&git, "long positions");
}

#[test]
fn packing_while_the_store_is_open_loses_nothing() {
    let git = history();
    let blob = git.blob(b"loose at first");
    let store = git.store();
    let all = git.all();
    assert_eq!(store.size(blob).unwrap(), 14);
    git.run(&["config", "gc.auto", "0"], b"");
    git.run(&["repack", "-adq"], b"");
    git.run(&["prune-packed", "-q"], b"");
    for (id, kind, content) in all {
        assert!(read(&store, id).unwrap() == (kind, content), "{id}");
    }
}

#[test]
fn borrowed_objects_are_read() {
    let git = history();
    git.run(&["repack", "-adq"], b"");
    let own = tempfile::tempdir().unwrap();
    let directories = vec![own.path().to_owned(), git.objects()];
    assert_store(&git, &Store::new(directories, None), "borrowed");
}

#[test]
fn a_big_deltified_blob_goes_through_the_scratch_directory() {
    const SIZE: usize = 40 << 20;
    let git = Git::new();
    git.run(&["config", "core.compression", "1"], b"");
    let mut content = noise(1, SIZE);
    let first = git.blob(&content);
    content[SIZE / 2..][..5].copy_from_slice(b"other");
    content.extend_from_slice(b"and an end");
    let second = git.blob(&content);
    let names = format!("{first}\n{second}\n");
    let words = ["pack-objects", "-q", "--window=2", ".git/objects/pack/pack"];
    let pack = git.text(&words, names.as_bytes());
    git.run(&["prune-packed", "-q"], b"");
    let size =
        fs_err::metadata(git.objects().join(format!("pack/pack-{pack}.pack"))).unwrap().len();
    assert!(size < SIZE as u64 * 3 / 2, "one of the two is a delta");

    let scratch = tempfile::tempdir().unwrap();
    let store = Store::new(vec![git.objects()], Some(scratch.path().to_owned()));
    for (id, length) in [(first, SIZE), (second, SIZE + 10)] {
        assert_eq!(store.header(id).unwrap(), (ObjectKind::Blob, length as u64));
        let mut reader = store.open(id).unwrap();
        // The id is checked by the reader.
        let copied = std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
        assert_eq!(copied, length as u64);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    }
    assert_eq!(fs_err::read_dir(scratch.path()).unwrap().count(), 0, "nothing stays behind");
    let nowhere = scratch.path().join("nowhere");
    let store = Store::new(vec![git.objects()], Some(nowhere));
    let outcomes = [first, second].map(|id| store.open(id).is_ok());
    assert!(outcomes.contains(&false) && outcomes.contains(&true), "{outcomes:?}");
}

#[test]
fn absent_objects_are_errors_that_say_what_to_do() {
    let git = history();
    git.run(&["repack", "-adq"], b"");
    let absent = ObjectId::of_blob(b"never written");
    let told = |store: &Store| store.open(absent).unwrap_err().to_string();
    let text = told(&git.store());
    assert_eq!(
        text,
        format!(
            "object {absent} is missing; the repository is damaged or was not fetched completely"
        )
    );
    git.run(&["config", "uploadpack.allowFilter", "true"], b"");
    let clone = Git::new();
    let url = format!("file://{}", git.path().display());
    let words = ["clone", "-q", "--bare", "--filter=blob:none", &url, "partial.git"];
    clone.run(&words, b"");
    let bare = clone.path().join("partial.git");
    let blob = id(&git.text(&["rev-parse", "HEAD:text"], b""));
    let store = Store::new(vec![bare.join("objects")], None);
    let text = store.size(blob).unwrap_err().to_string();
    assert!(text.contains(&blob.to_string()) && text.contains("partial clone"), "{text}");
    // What the error advises helps, and the store that is open notices.
    let bare = bare.to_str().unwrap();
    clone.run(&["--git-dir", bare, "fetch", "-q", "--refetch", "--no-filter"], b"");
    assert!(store.size(blob).is_ok());
}
