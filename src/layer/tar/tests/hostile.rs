//! Archives that lie: about sizes, about what follows, about how much of a header there is. And
//! old archives, which look as if they did.

use tar::Header;

use super::archives::{Hand, header, names_of, refusal};
use super::*;

/// Records as bytes, without any check.
fn raw_records(records: &[u8]) -> Vec<u8> {
    Hand::default().member(b'x', "x", records).member(b'0', "a", b"").end()
}

fn with_attributes(attributes: &[(String, usize)]) -> Vec<u8> {
    let mut records = pax::Records::new();
    for (name, bytes) in attributes {
        records.insert(format!("SCHILY.xattr.{name}").into_bytes(), vec![b'v'; *bytes]);
    }
    raw_records(&pax::encode(&records))
}

#[test]
fn records_whose_length_lies_are_refused() {
    for (records, problem) in [
        (&b"8 path=a\n"[..], "there is no newline at the end"),
        (b"11 path=a\n", "the length is not that of the record"),
        (b"9 path=a\0", "there is no newline at the end"),
        (b"9 path=a", "the length is not that of the record"),
        (b"-9 path=a\n", "the length is not that of the record"),
        (b"9path=a\n", "the length is not that of the record"),
        (b" 9 path=a\n", "the length is not that of the record"),
        (b"18446744073709551625 path=a\n", "the length is not that of the record"),
        (b"9 path=a\n\0\0\0", "the length is not that of the record"),
    ] {
        let expected = format!("entry / at byte 0: malformed extended header: {problem}");
        assert_eq!(refusal(&raw_records(records)), expected, "{}", records.escape_ascii());
    }
    // A length with zeros in front is a length.
    assert_eq!(names_of(&raw_records(b"011 path=b\n"), Names::Layer)[0].0, "b");
}

#[test]
fn numbers_that_are_too_big_are_refused() {
    for (record, what) in [
        (&b"28 size=9223372036854775808\n"[..], "size"),
        (b"29 size=18446744073709551616\n", "size"),
        (b"18 uid=4294967296\n", "uid"),
        (b"10 gid=-1\n", "gid"),
        (b"29 mtime=9223372036854775808\n", "time"),
        (b"30 mtime=-9223372036854775809\n", "time"),
        (b"11 size=1\0\n", "size"),
        (b"11 size= 1\n", "size"),
        (b"12 size=0x1\n", "size"),
    ] {
        let problem = format!("entry a at byte 1024: the {what} is no valid number");
        assert_eq!(refusal(&raw_records(record)), problem, "{}", record.escape_ascii());
    }
}

#[test]
fn sizes_that_lie_are_detected() {
    let whole = Hand::default().member(b'0', "a", &[7; 1000]).end();
    let mut sink = |_: &Entry, _: &mut dyn Read| Ok(());
    // Whether the sink reads the content or not, what is missing is missed.
    for length in [512, 513, 1511, 1512, 1535] {
        assert!(read(&whole[..length], Names::Layer).is_err(), "{length}");
        assert!(read_tar(&whole[..length], Names::Layer, &mut sink).is_err(), "{length}");
    }
    // A field that is larger than the content takes the next header for content, and misses an end.
    let mut larger = header(b'0', "a", 2000);
    larger.set_cksum();
    let mut lying = larger.as_bytes().to_vec();
    lying.extend_from_slice(&whole[512..1536]);
    assert!(refusal_of_any(&lying), "content ends early");
    // One that is smaller makes content a header.
    let mut smaller = header(b'0', "a", 512);
    smaller.set_cksum();
    let mut lying = smaller.as_bytes().to_vec();
    lying.extend_from_slice(&whole[512..]);
    assert!(refusal(&lying).ends_with("(the checksum does not fit)"));
    // The record counts and not the field, as in every other reader.
    let content = Hand::default().member(b'0', "inner", b"").0;
    let mut archive = Hand::default().pax(&[("size", b"512")]);
    let mut outer = header(b'0', "outer", 0);
    outer.set_cksum();
    archive.0.extend_from_slice(outer.as_bytes());
    archive.0.extend_from_slice(&content);
    assert_eq!(
        names_of(&archive.end(), Names::Layer),
        [("outer".to_owned(), Kind::File { size: 512 })]
    );
}

fn refusal_of_any(bytes: &[u8]) -> bool {
    read(bytes, Names::Layer).is_err()
}

#[test]
fn two_headers_of_a_kind_are_refused() {
    let twice = |flag: u8, content: &[u8]| {
        let hand = Hand::default().member(flag, "h", content).member(flag, "h", content);
        refusal(&hand.member(b'0', "a", b"").end())
    };
    for (flag, content, what) in [
        (b'x', &b"9 path=b\n"[..], "extended headers"),
        (b'x', b"", "extended headers"),
        (b'L', b"name\0", "long names"),
        (b'K', b"name\0", "long link targets"),
    ] {
        assert!(twice(flag, content).ends_with(&format!("two {what} in front of one entry")));
    }
    // One of each is what GNU tar itself writes.
    let all = Hand::default()
        .member(b'K', "h", b"target\0")
        .member(b'L', "h", b"name\0")
        .member(b'x', "h", b"20 mtime=1234567890\n")
        .link(b'2', "a", "b")
        .end();
    let target = Kind::Symlink { target: b"target".to_vec() };
    assert_eq!(names_of(&all, Names::Layer), [("name".to_owned(), target)]);
}

#[test]
fn headers_are_bounded() {
    for (flag, size) in [(b'x', 1 << 20), (b'g', 1 << 20), (b'L', 64 << 10), (b'K', 64 << 10)] {
        // The bound is looked at before the content is, of which there is none.
        let mut hand = Hand::default();
        hand.push(header(flag, "h", size + 1), b"");
        let problem = format!("entry / at byte 0: a header of {} bytes is too large", size + 1);
        assert_eq!(refusal(&hand.0), problem);
        let mut hand = Hand::default();
        hand.push(header(flag, "h", size), b"");
        assert_eq!(refusal(&hand.0), "entry / at byte 0: the archive is truncated");
    }
    // Base-256 can say more than octal.
    let mut huge = header(b'x', "h", 0);
    huge.as_old_mut().size.copy_from_slice(b"\x80\0\0\0\x3f\xff\xff\xff\xff\xff\xff\xff");
    let mut hand = Hand::default();
    hand.push(huge, b"");
    assert!(refusal(&hand.0).ends_with("bytes is too large"));
}

#[test]
fn attributes_beyond_what_linux_stores_are_refused() {
    let name = |length: usize| format!("user.{}", "n".repeat(length - 5));
    let many = |count: usize, length: usize| -> Vec<(String, usize)> {
        (0..count).map(|at| (format!("user.{at:0width$}", width = length - 5), 0)).collect()
    };
    for (attributes, expected) in [
        (vec![(name(255), 65_536)], Ok(1)),
        (vec![(name(256), 1)], Err("beyond what Linux can store")),
        (vec![(name(10), 65_537)], Err("attribute user.nnnnn of 65537 bytes is beyond")),
        (many(256, 255), Ok(256)),
        (many(257, 255), Err("65792 bytes of names of extended attributes")),
    ] {
        let archive = with_attributes(&attributes);
        match expected {
            Ok(count) => {
                assert_eq!(read(&archive, Names::Layer).unwrap()[0].0.xattrs.len(), count);
            }
            Err(part) => assert!(refusal(&archive).contains(part), "{}", refusal(&archive)),
        }
    }
}

#[test]
fn sparse_files_are_refused_in_every_format() {
    let pax =
        |records: &[(&str, &[u8])]| Hand::default().pax(records).member(b'0', "a", b"x").end();
    for (name, archive) in [
        ("GNU", Hand::default().member(b'S', "a", b"").end()),
        ("PAX 0.0", pax(&[("GNU.sparse.size", b"9"), ("GNU.sparse.numblocks", b"0")])),
        ("PAX 0.1", pax(&[("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"9")])),
        ("PAX 1.0", pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0")])),
        ("star", pax(&[("SCHILY.realsize", b"9")])),
    ] {
        let problem = "sparse files are not supported; pack the archive without --sparse";
        assert!(refusal(&archive).ends_with(problem), "{name}: {}", refusal(&archive));
    }
    for record in ["GNU.sparse.major", "SCHILY.realsize"] {
        let records = pax::encode(&[(record.into(), b"1".to_vec())].into());
        let archive = Hand::default().member(b'g', "g", &records).end();
        let problem = format!("a global extended header sets \"{record}\"");
        assert!(refusal(&archive).ends_with(&problem), "{}", refusal(&archive));
    }
}

#[test]
fn content_after_a_directory_by_name_is_refused() {
    for flag in [0, b'0', b'7'] {
        let empty = Hand::default().member(flag, "a/", b"").end();
        assert_eq!(names_of(&empty, Names::Layer), [("a".to_owned(), Kind::Directory)]);
        let full = Hand::default().member(flag, "a/", b"123").end();
        assert_eq!(
            refusal(&full),
            "entry a/ at byte 0: a directory with 3 bytes of content",
            "some readers take a file"
        );
    }
}

/// A header with no magic, as before POSIX; `sum` adds up the bytes.
fn v7(name: &[u8], sum: impl Fn(u8) -> i64) -> Vec<u8> {
    let mut header = Header::new_old();
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name);
    // Blanks in front and behind, as old archivers have it.
    old.mode.copy_from_slice(b"100644 \0");
    old.uid.copy_from_slice(b"    12 \0");
    old.gid.copy_from_slice(b"    34 \0");
    old.size.copy_from_slice(b"          0 ");
    old.mtime.copy_from_slice(b"14524770400 ");
    old.cksum.fill(b' ');
    let total: i64 = header.as_bytes().iter().map(|&byte| sum(byte)).sum();
    header.as_old_mut().cksum.copy_from_slice(format!("{total:6o}\0 ").as_bytes());
    [header.as_bytes().as_slice(), &[0; 1024]].concat()
}

#[test]
fn archives_from_before_posix_are_read() {
    for sum in [i64::from as fn(u8) -> i64, |byte| i64::from(byte.cast_signed())] {
        let entries = read(&v7(b"caf\xe9", sum), Names::Layer).unwrap();
        let entry = &entries[0].0;
        assert_eq!(entry.path, b"caf\xe9");
        assert_eq!((entry.mode, entry.uid, entry.gid), (0o644, 0o12, 0o34));
        assert_eq!(entry.mtime, 1_700_000_000);
    }
    let wrong = v7(b"caf\xe9", |byte| i64::from(byte) + 1);
    assert!(refusal(&wrong).ends_with("(the checksum does not fit)"));
}

#[test]
fn numbers_in_base_256_are_read() {
    let mut header = header(b'0', "a", 0);
    let old = header.as_old_mut();
    old.uid.copy_from_slice(b"\x80\0\0\0\xee\x6b\x28\0");
    old.gid.copy_from_slice(b"\x80\0\0\0\0\x20\0\0");
    old.mtime.copy_from_slice(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfb");
    let mut hand = Hand::default();
    hand.push(header.clone(), b"");
    let entry = &read(&hand.end(), Names::Layer).unwrap()[0].0;
    assert_eq!((entry.uid, entry.gid, entry.mtime), (4_000_000_000, 2_097_152, -5));
    // Below zero, or beyond what a system has.
    for uid in [b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\x80\0\0\x01\0\0\0\0"] {
        header.as_old_mut().uid.copy_from_slice(uid);
        let mut hand = Hand::default();
        hand.push(header.clone(), b"");
        assert!(refusal(&hand.end()).ends_with("the uid is no valid number"));
    }
}

#[test]
fn order_and_repetition_are_for_the_receiver() {
    // Layers of other builders have a path twice, and links in front of what they name.
    let archive = Hand::default()
        .link(b'1', "early", "a")
        .member(b'0', "a", b"1")
        .member(b'0', "a", b"22")
        .member(b'5', "a/", b"")
        .end();
    let names: Vec<String> =
        names_of(&archive, Names::Layer).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["early", "a", "a", "a"]);
}
