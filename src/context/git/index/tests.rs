use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use sha1::{Digest as _, Sha1};

use super::paths::Paths;
use super::{Files, IndexError, Near, Stat, State, read};
use crate::context::ObjectId;
use crate::context::git::objects::tests::Git;
use crate::context::git::repository::object_id;

/// An index with everything that an index can hold.
fn repository() -> Git {
    let git = Git::new();
    let write = |name: &str, content: &str| {
        let place = git.path().join(name);
        fs_err::create_dir_all(place.parent().unwrap()).unwrap();
        fs_err::write(place, content).unwrap();
    };
    for number in 0..40 {
        write(&format!("dir/file-{number}"), &"x".repeat(number));
        write(&format!("dir/sub/deep/file{number}.txt"), "y");
        write(&format!("dir.d/{}", "n".repeat(number + 1)), "z");
    }
    write("run.sh", "#!/bin/sh\n");
    write("later", "not yet");
    write("caf\u{e9}", "x");
    std::os::unix::fs::symlink("run.sh", git.path().join("link")).unwrap();
    git.run(&["add", ".", ":!later"], b"");
    git.run(&["update-index", "--chmod=+x", "run.sh"], b"");
    git.run(&["commit", "-q", "-m", "first"], b"");
    let commit = git.text(&["rev-parse", "HEAD"], b"");
    let blob = git.text(&["rev-parse", "HEAD:run.sh"], b"");
    let info =
        format!("160000 {commit} 0\tlib/module\n100644 {blob} 1\tmerge\n100755 {blob} 3\tmerge\n");
    git.run(&["update-index", "--index-info"], info.as_bytes());
    git
}

fn place(git: &Git) -> std::path::PathBuf {
    git.path().join(".git/index")
}

/// Compares what is read with what libgit2 reads.
fn assert_same(place: &Path, prefix: &str) {
    let index = read(place, prefix.as_bytes()).unwrap();
    let theirs = git2::Index::open(place).unwrap();
    let mut paths = BTreeSet::new();
    let mut submodules = Vec::new();
    for entry in theirs.iter() {
        let Some(path) = entry.path.strip_prefix(prefix.as_bytes()) else { continue };
        let path = match prefix {
            "" => path,
            _ => path.strip_prefix(b"/").unwrap_or(path),
        };
        if entry.mode == 0o160_000 {
            submodules.push((path.to_vec(), object_id(entry.id)));
            continue;
        }
        let low = |seconds: i32| u32::from_ne_bytes(seconds.to_ne_bytes());
        let stat = Stat {
            size: entry.file_size,
            modified: (low(entry.mtime.seconds()), entry.mtime.nanoseconds()),
            changed: (low(entry.ctime.seconds()), entry.ctime.nanoseconds()),
            inode: entry.ino,
        };
        let settled = entry.flags & 0x3000 == 0 && entry.flags_extended & 0x2000 == 0;
        let has_stat = settled && entry.mode & 0o170_000 == 0o100_000;
        let state = index.files.get(path, &mut Near::default()).unwrap();
        assert_eq!(state.stat, has_stat.then_some(stat), "{:?}", path.escape_ascii().to_string());
        assert_eq!(state.object, object_id(entry.id));
        assert!(!settled || state.executable == (entry.mode & 0o100 != 0));
        paths.insert(path.to_vec());
    }
    assert!(paths.len() > 30 && paths.len() == index.files.len(), "{}", paths.len());
    assert_eq!(index.submodules, submodules);
    assert_eq!(index.files.get(b"nowhere", &mut Near::default()), None);
    assert_eq!(index.files.get(b"", &mut Near::default()), None);
}

#[test]
fn indexes_of_all_versions_read_as_libgit2_reads_them() {
    let git = repository();
    for version in ["2", "3", "4", "2"] {
        git.run(&["update-index", "--force-write-index", "--index-version", version], b"");
        let written = fs_err::read(place(&git)).unwrap()[7];
        assert!(version == "3" || written.to_string() == version, "{written}");
        assert_same(&place(&git), "");
        assert_same(&place(&git), "dir/sub");
    }
    // Extended flags take version 3.
    git.run(&["add", "-N", "later"], b"");
    git.run(&["update-index", "--skip-worktree", "dir/file-7"], b"");
    for version in ["3", "4"] {
        git.run(&["update-index", "--force-write-index", "--index-version", version], b"");
        assert_eq!(fs_err::read(place(&git)).unwrap()[7].to_string(), version);
        assert_same(&place(&git), "");
        assert_eq!(
            read(&place(&git), b"")
                .unwrap()
                .files
                .get(b"later", &mut Near::default())
                .unwrap()
                .stat,
            None
        );
    }
    git.run(&["-c", "index.skipHash=true", "update-index", "--force-write-index"], b"");
    assert!(fs_err::read(place(&git)).unwrap().ends_with(&[0; 20]));
    assert_same(&place(&git), "");
}

#[test]
fn paths_whose_length_does_not_fit_are_read() {
    let git = repository();
    let blob = git.text(&["rev-parse", "HEAD:run.sh"], b"");
    // 4095 stands for that length and all above.
    let long = format!("{}names", "d/".repeat(2045));
    let lengths = [4091, 4093, 4095];
    let line = |length: usize| format!("100644 {blob} 0\t{}\n", &long[long.len() - length..]);
    git.run(&["update-index", "--index-info"], lengths.map(line).concat().as_bytes());
    for version in ["2", "4"] {
        git.run(&["update-index", "--force-write-index", "--index-version", version], b"");
        let files = read(&place(&git), b"").unwrap().files;
        for length in lengths {
            let path = &long.as_bytes()[long.len() - length..];
            let state = files.get(path, &mut Near::default()).unwrap();
            assert_eq!(state.object.to_string(), blob);
        }
        assert!(files.get(b"run.sh", &mut Near::default()).unwrap().executable);
    }
}

#[test]
fn split_and_sparse_indexes_are_not_supported() {
    let git = repository();
    git.run(&["update-index", "--split-index"], b"");
    let error = read(&place(&git), b"").unwrap_err();
    assert!(matches!(&error, IndexError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("a split index"), "{error}");
    let git = repository();
    git.run(&["read-tree", "HEAD"], b"");
    git.run(&["sparse-checkout", "set", "--cone", "--sparse-index", "dir/sub"], b"");
    let error = read(&place(&git), b"").unwrap_err();
    assert!(matches!(&error, IndexError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("a sparse index"), "{error}");
    let error = read(&git.path().join("nowhere"), b"").unwrap_err();
    assert!(matches!(error, IndexError::Read { .. }));
}

/// An entry of version 2.
fn entry(path: &[u8], flags: u16, mode: u32) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    bytes.extend_from_slice(&mode.to_be_bytes());
    bytes.resize(60, 0);
    bytes.extend_from_slice(&flags.to_be_bytes());
    bytes.extend_from_slice(path);
    bytes.resize(bytes.len() + 8 - bytes.len() % 8, 0);
    bytes
}

fn index(version: u8, count: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = [b"DIRC\0\0\0", [version].as_slice()].concat();
    bytes.extend_from_slice(&count.to_be_bytes());
    bytes.extend_from_slice(content);
    let checksum: [u8; 20] = Sha1::digest(&bytes).into();
    [bytes, checksum.to_vec()].concat()
}

fn read_bytes(bytes: &[u8]) -> Result<usize, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs_err::write(file.path(), bytes).unwrap();
    read(file.path(), b"").map(|index| index.files.len()).map_err(|error| {
        let text = error.to_string();
        assert!(text.contains(&file.path().display().to_string()), "{text}");
        text
    })
}

#[test]
fn damaged_indexes_are_errors_that_say_what_is_wrong() {
    let file = 0o100_644;
    let a = entry(b"a", 1, file);
    let b = entry(b"b", 1, file);
    let both = [a.clone(), b.clone()].concat();
    let with = |rest: &[u8]| index(2, 2, &[both.as_slice(), rest].concat());
    let mut other = with(b"");
    *other.last_mut().unwrap() ^= 1;
    for (bytes, outcome) in [
        (with(b""), Ok(2)),
        (with(b"TREE\0\0\0\x02xx"), Ok(2)),
        (index(2, 0, b""), Ok(0)),
        (with(b"TREE\0\0\0\x03xx"), Err("it ends early")),
        (with(b"TREE\0"), Err("it ends early")),
        (with(b"linkxxxx"), Err("a split index")),
        (with(b"sdir\0\0\0\0"), Err("a sparse index")),
        (with(b"new!\0\0\0\0"), Err("the extension new!")),
        (other, Err("its checksum is another")),
        (index(2, u32::MAX, &both), Err("it ends early")),
        (index(2, 1, &a[..50]), Err("it ends early")),
        (index(2, 2, &[b.clone(), a.clone()].concat()), Err("not in order")),
        (index(2, 2, &[a.clone(), a.clone()].concat()), Err("not in order")),
        (index(2, 1, &entry(b"a", 2, file)), Err("the length of a path")),
        (index(2, 1, &entry(b"", 0, file)), Err("an entry without a path")),
        (index(2, 1, &entry(&[b'x'; 5000], 0xFFF, file)), Err("too long")),
        (index(2, 1, &entry(b"a", 0x4001, file)), Err("no extended flags")),
        (index(2, 1, &entry(b"a/", 2, 0o040_000)), Err("a sparse index")),
        (index(5, 0, b""), Err("version 5")),
        (index(4, 1, &[&a[..62], b"\x01a\0"].concat()), Err("shares more with the last")),
        (index(4, 1, &[&a[..62], &[0xFF; 30]].concat()), Err("shares more with the last")),
        (b"DIRC".to_vec(), Err("shorter than an empty one")),
        ([b"CRID".as_slice(), &[0; 40]].concat(), Err("it is not an index")),
    ] {
        match (read_bytes(&bytes), outcome) {
            (Ok(found), Ok(count)) => assert_eq!(found, count),
            (Err(text), Err(reason)) => assert!(text.contains(reason), "{reason}: {text}"),
            (found, wanted) => panic!("{found:?} instead of {wanted:?}"),
        }
    }
}

#[test]
fn a_file_takes_few_bytes() {
    let mut files = Files::default();
    let object = ObjectId::of_blob(b"");
    let count = 20_000;
    for number in 0..count {
        let path = format!("services/area-{:03}/src/component_{number:06}.rs", number / 100);
        files.push(path.as_bytes(), State { object, executable: false, stat: None });
    }
    files.finish();
    let each = files.memory() / count;
    assert!(each <= 64, "{each}");
    let state = State { object, executable: true, stat: None };
    let mut files = Files::default();
    let stat = |nanoseconds| Stat {
        size: 1,
        modified: (2, nanoseconds),
        changed: (3, u32::MAX),
        inode: u32::MAX,
    };
    let known = State { stat: Some(stat(999_999_999)), ..state };
    files.push(b"a", known);
    files.push(b"b", State { stat: Some(stat(1 << 31)), ..state });
    let near = &mut Near::default();
    assert_eq!((files.get(b"a", near), files.get(b"b", near)), (Some(known), Some(state)));
}

proptest! {
    #[test]
    fn paths_are_found_and_no_others(
        paths in prop::collection::btree_set("[a-c/]{1,6}(\u{e9}|[x-z]{0,200})", 0..150),
        others in prop::collection::vec("[a-c/]{0,7}[x-z]{0,3}", 0..50),
    ) {
        let mut found = Paths::default();
        paths.iter().for_each(|path| found.push(path.as_bytes()));
        found.finish();
        // Wherever the last one was, in order or not.
        let near = &mut Near::default();
        for (number, path) in paths.iter().enumerate() {
            prop_assert_eq!(found.find(path.as_bytes(), near), Some(number));
        }
        for other in others {
            let number = paths.iter().position(|path| *path == other);
            prop_assert_eq!(found.find(other.as_bytes(), near), number);
            prop_assert_eq!(found.find(other.as_bytes(), &mut Near::default()), number);
        }
    }

    #[test]
    fn random_indexes_never_panic(
        version in 2..5_u8,
        count in any::<u32>(),
        entries in prop::collection::vec((any::<[u8; 4]>(), any::<u16>(), "[a-b/]{0,9}"), 0..8),
        rest in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut content = Vec::new();
        for (mode, flags, path) in entries {
            content.extend(entry(path.as_bytes(), flags, u32::from_be_bytes(mode)));
        }
        content.extend(rest);
        let _ = read_bytes(&index(version, count, &content));
        let _ = read_bytes(&index(version, count % 10, &content));
    }

    #[test]
    fn damage_is_noticed(at in any::<prop::sample::Index>(), bits in 1..=255_u8) {
        let entries = (b'a'..=b'y').flat_map(|name| entry(&[name; 20], 20, 0o100_644));
        let mut bytes = index(2, 25, &entries.collect::<Vec<u8>>());
        prop_assert_eq!(read_bytes(&bytes), Ok(25));
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        prop_assert!(read_bytes(&bytes).is_err());
    }
}
