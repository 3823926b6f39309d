use std::io::{self, Read};
use std::path::PathBuf;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::entries::{decode, encode};
use super::*;
use crate::entry::{Entry, EntrySink as _, Kind};
use crate::mount::{Mount, MountKind, Owner, Secret, Tree};
use crate::step::{ChangeStats, StepExit, UnpackStats};

fn component() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>().prop_filter("no separators", |byte| !matches!(byte, 0 | b'/' | b'.')), 1..8)
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    vec(component(), 1..5).prop_map(|components| components.join(&b'/'))
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Directory),
        (0..3 * MAX_CHUNK as u64).prop_map(|size| Kind::File { size }),
        path().prop_map(|target| Kind::Symlink { target }),
        path().prop_map(|target| Kind::HardLink { target }),
        any::<(u32, u32)>().prop_map(|(major, minor)| Kind::CharDevice { major, minor }),
        any::<(u32, u32)>().prop_map(|(major, minor)| Kind::BlockDevice { major, minor }),
        Just(Kind::Fifo),
        Just(Kind::Whiteout),
        Just(Kind::Opaque),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let ids = (0_u32..0o10000, any::<u32>(), any::<u32>(), any::<i64>());
    let xattrs = btree_map(vec(any::<u8>(), 0..20), vec(any::<u8>(), 0..50), 0..4);
    (path(), kind(), ids, xattrs).prop_map(|(path, kind, (mode, uid, gid, mtime), xattrs)| Entry {
        path,
        kind,
        mode,
        uid,
        gid,
        mtime,
        xattrs,
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    (vec(os_path(), 0..3), os_path()).prop_map(|(layers, subpath)| Tree { layers, subpath })
}

fn os_path() -> impl Strategy<Value = PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    path().prop_map(|path| PathBuf::from(std::ffi::OsString::from_vec(path)))
}

fn owner() -> impl Strategy<Value = Owner> {
    any::<(u32, u32, u32)>().prop_map(|(uid, gid, mode)| Owner { uid, gid, mode })
}

fn mount() -> impl Strategy<Value = Mount> {
    let kind = prop_oneof![
        (tree(), any::<bool>()).prop_map(|(tree, readwrite)| MountKind::Bind { tree, readwrite }),
        (os_path(), owner(), option::of(tree()), any::<bool>()).prop_map(
            |(dir, owner, initial, readonly)| MountKind::Cache { dir, owner, initial, readonly }
        ),
        option::of(any::<u64>()).prop_map(|size| MountKind::Tmpfs { size }),
        (vec(any::<u8>(), 0..50), owner()).prop_map(|(content, owner)| MountKind::Secret {
            content: Secret::new(content),
            owner
        }),
        (os_path(), owner()).prop_map(|(socket, owner)| MountKind::SshAgent { socket, owner }),
        vec(any::<u8>(), 0..50).prop_map(|content| MountKind::Script { content }),
    ];
    (os_path(), kind).prop_map(|(target, kind)| Mount { target, kind })
}

fn size(entry: &Entry) -> u64 {
    match entry.kind {
        Kind::File { size } => size,
        _ => 0,
    }
}

proptest! {
    #[test]
    fn entries_come_back(entry in entry()) {
        prop_assert_eq!(decode(&encode(&entry)).unwrap(), entry);
    }

    #[test]
    fn a_layer_comes_back_whatever_is_read_of_it(layer in vec((entry(), 0..1000_u64), 0..5)) {
        let mut wire = Vec::new();
        let mut writer = EntryWriter::new(&mut wire);
        for (entry, _) in &layer {
            writer.entry(entry, &mut io::repeat(7)).unwrap();
        }
        writer.finish().unwrap();
        drop(writer);
        let mut reader = EntryReader::new(wire.as_slice());
        for (entry, read) in &layer {
            prop_assert_eq!(&reader.next().unwrap().unwrap(), entry);
            let mut content = Vec::new();
            (&mut reader).take(*read).read_to_end(&mut content).unwrap();
            prop_assert_eq!(content.len() as u64, size(entry).min(*read));
            prop_assert!(content.iter().all(|byte| *byte == 7));
        }
        prop_assert_eq!(reader.next().unwrap().unwrap_err().0, Tag::LayerEnd);
    }

    #[test]
    fn garbage_is_refused_or_read_but_never_panics(bytes in vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
        let _ = World::decode(&bytes);
        let _ = Reply::decode(&bytes);
        let mut reader = EntryReader::new(bytes.as_slice());
        while let Ok(Ok(_)) = reader.next() {}
    }

    #[test]
    fn a_cut_entry_is_refused(entry in entry(), cut in any::<prop::sample::Index>()) {
        let body = encode(&entry);
        let cut = cut.index(body.len());
        prop_assert!(decode(&body[..cut]).is_err());
    }

    #[test]
    fn runs_come_back(
        lowers in vec(path(), 0..4),
        argv in vec(vec(any::<u8>(), 0..20), 0..4),
        env in vec((vec(any::<u8>(), 0..9), vec(any::<u8>(), 0..9)), 0..4),
        secrets in vec((vec(any::<u8>(), 0..9), vec(any::<u8>(), 0..9)), 0..3),
        mounts in vec(mount(), 0..4),
        user in ".*",
        flags in any::<(bool, bool)>(),
    ) {
        use std::ffi::OsString;
        use std::os::unix::ffi::OsStringExt as _;
        let os = OsString::from_vec;
        let order = Order::Run(Box::new(RunOrder {
            lowers: lowers.into_iter().map(os).map(PathBuf::from).collect(),
            scratch: "/work/scratch/1".into(),
            argv: argv.into_iter().map(os).collect(),
            env: env.into_iter().map(|(name, value)| (os(name), os(value))).collect(),
            secret_env: secrets.into_iter().map(|(name, value)| (os(name), Secret::new(value))).collect(),
            mounts,
            cwd: "/".into(),
            user,
            hostname: "builder".into(),
            own_network: flags.0,
            fresh_proc: flags.1,
        }));
        prop_assert_eq!(Order::decode(&order.encode()).unwrap(), order);
    }

    #[test]
    fn changes_orders_come_back(clamp_mtime in option::of(any::<i64>())) {
        let order = Order::Changes { upper: "/u".into(), lowers: vec!["/l".into()], clamp_mtime };
        prop_assert_eq!(Order::decode(&order.encode()).unwrap(), order);
    }
}

#[test]
fn orders_and_replies_come_back() {
    for order in [
        Order::Probe { work_root: "/work".into() },
        Order::Unpack { dest: "/d".into(), lowers: Some(vec!["/a".into(), "/b".into()]) },
        Order::Unpack { dest: "/d".into(), lowers: Some(vec![]) },
        Order::Unpack { dest: "/d".into(), lowers: None },
        Order::Settle { from: "/a".into(), lowers: vec!["/b".into()], to: "/c".into() },
        Order::Remove { path: "/x".into() },
        Order::Move { from: "/a".into(), to: "/b".into() },
    ] {
        assert_eq!(Order::decode(&order.encode()).unwrap(), order);
    }
    let failure = Failure::new("cannot mount".into(), io::Error::from_raw_os_error(22));
    for reply in [
        Reply::Done,
        Reply::Unpacked(UnpackStats { entries: 1, skipped_xattrs: 2, stand_in_devices: 3 }),
        Reply::Exited(StepExit { code: -1, user_seconds: 0.5, system_seconds: 2.0, max_rss: 9 }),
        Reply::Changed(ChangeStats {
            entries: 4,
            dropped_xattrs: 5,
            skipped_sockets: 6,
            reusable: true,
        }),
        Reply::Probed { tried: vec![(0, 0), (3, 38)], landlock_abi: 7 },
        Reply::Failed(failure.clone()),
        Reply::Failed(Failure { kind: FailureKind::UnknownUser, ..failure.clone() }),
        Reply::Failed(Failure { kind: FailureKind::Mount, ..failure }),
    ] {
        assert_eq!(Reply::decode(&reply.encode()).unwrap(), reply);
    }
}

#[test]
fn what_is_no_plain_path_below_the_root_is_refused_on_both_sides() {
    let long = vec![b'a'; 40 << 10];
    for path in [b"/a".as_slice(), b"a/", b"a//b", b".", b"a/..", b"../a", b"a\0b", &long] {
        let file = Entry::new(path, Kind::Fifo, 0o644, 0);
        let linked = Entry::new("x", Kind::HardLink { target: path.to_vec() }, 0o644, 0);
        for entry in [file, linked] {
            let mut sent = Vec::new();
            assert!(EntryWriter::new(&mut sent).entry(&entry, &mut io::empty()).is_err());
            assert!(sent.is_empty());
            send(&mut sent, Tag::Entry, &encode(&entry)).unwrap();
            assert!(EntryReader::new(sent.as_slice()).next().is_err(), "{path:?}");
        }
    }
    for entry in [
        Entry::new("", Kind::Fifo, 0, 0),
        Entry::new("a", Kind::Fifo, 0o10000, 0),
        Entry::new("a", Kind::Symlink { target: Vec::new() }, 0, 0),
    ] {
        assert!(EntryWriter::new(io::sink()).entry(&entry, &mut io::empty()).is_err());
    }
}

#[test]
fn frames_over_the_limit_are_refused_before_memory_is_taken() {
    assert!(send(&mut io::sink(), Tag::Order, &vec![0; MAX_FRAME + 1]).is_err());
    let mut body = Vec::new();
    let header = [Tag::Entry as u8, 0xff, 0xff, 0xff, 0x7f];
    assert!(receive(&mut header.as_slice(), &mut body).is_err());
    // A length within the limit that nothing follows reserves nothing.
    let header = [Tag::Entry as u8, 0, 0, 0x40, 0];
    assert!(receive(&mut header.as_slice(), &mut body).is_err());
    assert!(body.capacity() < 1 << 20);
}

#[test]
fn content_must_have_the_length_that_its_entry_says() {
    let entry = Entry::new("f", Kind::File { size: 4 }, 0o644, 0);
    let layer = |chunks: &[&[u8]]| {
        let mut wire = Vec::new();
        send(&mut wire, Tag::Entry, &encode(&entry)).unwrap();
        for chunk in chunks {
            send(&mut wire, Tag::Chunk, chunk).unwrap();
        }
        send(&mut wire, Tag::LayerEnd, &[]).unwrap();
        let mut reader = EntryReader::new(wire.as_slice());
        reader.next().unwrap().unwrap();
        let mut content = Vec::new();
        reader.read_to_end(&mut content)?;
        reader.next().map(|_| content)
    };
    assert_eq!(layer(&[b"ab", b"cd"]).unwrap(), b"abcd");
    for chunks in [&[b"ab".as_slice()] as &[&[u8]], &[b"abcde"], &[b"", b"abcd"], &[]] {
        assert!(layer(chunks).is_err(), "{chunks:?}");
    }
    let short = EntryWriter::new(io::sink()).entry(&entry, &mut b"abc".as_slice()).unwrap_err();
    assert_eq!(short.to_string(), "the content of f ends 1 bytes early");
}

#[test]
fn what_is_secret_is_not_shown() {
    let owner = Owner { uid: 0, gid: 0, mode: 0o400 };
    let kind = MountKind::Secret { content: Secret::new("hunter2"), owner };
    let shown = format!("{:?}", Mount { target: "/run/secrets/a".into(), kind });
    assert!(shown.contains("/run/secrets/a") && !shown.contains("hunter2"), "{shown}");
    let bytes = format!("{:?}", b"hunter2");
    assert!(!shown.contains(&bytes), "{shown}");
}
