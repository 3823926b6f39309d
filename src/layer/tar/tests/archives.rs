//! Archives made by hand: what is taken, what is refused, and by which name.

use tar::Header;

use super::*;

/// An archive in parts.
#[derive(Default)]
pub(super) struct Hand(pub(super) Vec<u8>);

impl Hand {
    pub(super) fn member(mut self, flag: u8, name: &str, content: &[u8]) -> Self {
        self.push(header(flag, name, content.len() as u64), content);
        self
    }

    pub(super) fn link(mut self, flag: u8, name: &str, target: &str) -> Self {
        let mut header = header(flag, name, 0);
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        self.push(header, b"");
        self
    }

    /// Records in front of the next member.
    pub(super) fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let records = records.iter().map(|(key, value)| ((*key).into(), value.to_vec())).collect();
        self.member(b'x', "pax", &pax::encode(&records))
    }

    pub(super) fn push(&mut self, mut header: Header, content: &[u8]) {
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

pub(super) fn header(flag: u8, name: &str, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkflag[0] = flag;
    header.set_mode(0o100_644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header
}

pub(super) fn names_of(bytes: &[u8], names: Names) -> Vec<(String, Kind)> {
    let entries = read(bytes, names).unwrap();
    entries
        .into_iter()
        .map(|(entry, _)| (String::from_utf8(entry.path).unwrap(), entry.kind))
        .collect()
}

/// The problem an archive is refused for.
pub(super) fn refusal(bytes: &[u8]) -> String {
    let error = read(bytes, Names::Layer).unwrap_err();
    match error {
        LayerError::Archive(error) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_entry_hidden_behind_a_newline_in_an_attribute_stays_hidden() {
    // The attribute's value looks like the beginning of another record to a reader of lines; the
    // size that follows is then lost, and the file's content taken for the next header.
    let inner = Hand::default().member(b'0', "smuggled", b"").0;
    let value = b"a\n13 size=0\n";
    let size = inner.len().to_string();
    let mut outer = header(b'0', "outer", 0);
    outer.set_cksum();
    let mut archive = Hand::default().pax(&[
        ("SCHILY.xattr.user.x", value),
        ("path", b"renamed"),
        ("size", size.as_bytes()),
    ]);
    archive.0.extend_from_slice(outer.as_bytes());
    archive.0.extend_from_slice(&inner);
    let entries = read(&archive.member(b'0', "last", b"").end(), Names::Layer).unwrap();
    let paths: Vec<&[u8]> = entries.iter().map(|(entry, _)| entry.path.as_slice()).collect();
    assert_eq!(paths, [b"renamed".as_slice(), b"last"]);
    assert_eq!(entries[0].1, inner);
    assert_eq!(entries[0].0.xattrs[b"user.x".as_slice()], value);
}

#[test]
fn capabilities_with_a_newline_byte_survive() {
    let value = b"\x01\0\0\x02\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
    let mut entry = file("bin", 0);
    entry.xattrs.insert(b"security.capability".to_vec(), value.clone());
    let back = read(&write(&[entry]), Names::Layer).unwrap();
    assert_eq!(back[0].0.xattrs[b"security.capability".as_slice()], value);
}

fn with_prefix(magic: &[u8; 8], prefix: &[u8]) -> Vec<u8> {
    let mut header = header(b'0', "name", 0);
    header.as_mut_bytes()[257..265].copy_from_slice(magic);
    header.as_mut_bytes()[345..345 + prefix.len()].copy_from_slice(prefix);
    let mut hand = Hand::default();
    hand.push(header, b"");
    hand.end()
}

/// A header of star's, with a prefix without a NUL and a time right behind it.
fn star() -> Vec<u8> {
    let mut header = header(b'0', "name", 0);
    let bytes = header.as_mut_bytes();
    bytes[345..476].fill(b'p');
    bytes[476..487].copy_from_slice(b"14524770400");
    bytes[508..512].copy_from_slice(b"tar\0");
    let mut hand = Hand::default();
    hand.push(header, b"");
    hand.end()
}

#[test]
fn names_are_taken_from_all_their_places() {
    let file = |size| Kind::File { size };
    let prefixed = {
        let mut header = header(b'0', "name", 0);
        header.as_ustar_mut().unwrap().prefix[..6].copy_from_slice(b"prefix");
        let mut hand = Hand::default();
        hand.push(header, b"");
        hand.end()
    };
    for (bytes, path, kind) in [
        (Hand::default().member(b'0', "/./a//b", b"1").end(), "a/b", file(1)),
        (Hand::default().member(b'5', "./", b"").end(), "", Kind::Directory),
        (Hand::default().member(0, "v7/", b"").end(), "v7", Kind::Directory),
        (Hand::default().member(b'7', "c", b"12").end(), "c", file(2)),
        (prefixed, "prefix/name", file(0)),
        (
            Hand::default().member(b'L', "l", b"long/name\0").member(b'0', "short", b"").end(),
            "long/name",
            file(0),
        ),
        (
            Hand::default().pax(&[("path", b"pax/name")]).member(b'0', "short", b"").end(),
            "pax/name",
            file(0),
        ),
        (Hand::default().pax(&[("path", b"")]).member(b'0', "short", b"").end(), "short", file(0)),
        (
            Hand::default().member(b'g', "g", b"17 comment=abcde\n").member(b'0', "a", b"").end(),
            "a",
            file(0),
        ),
        (
            Hand::default().link(b'1', "a", "/x//./y").end(),
            "a",
            Kind::HardLink { target: b"x/y".to_vec() },
        ),
        (
            Hand::default().link(b'2', "a", "../../x").end(),
            "a",
            Kind::Symlink { target: b"../../x".to_vec() },
        ),
        // Only the magic tells whether there is a prefix, whatever the version says.
        (with_prefix(b"ustar\0  ", b"prefix"), "prefix/name", file(0)),
        (with_prefix(b"ustar  \0", b"prefix"), "name", file(0)),
        (with_prefix(b"\0\0\0\0\0\0\0\0", b"prefix"), "name", file(0)),
        (star(), &format!("{}/name", "p".repeat(131)), file(0)),
        // Sizes of anything but files mean nothing.
        (
            {
                let mut hand = Hand::default();
                hand.push(header(b'5', "d/", 512), b"");
                hand.end()
            },
            "d",
            Kind::Directory,
        ),
    ] {
        assert_eq!(names_of(&bytes, Names::Layer), [(path.to_owned(), kind)]);
    }
}

#[test]
fn whiteouts_have_a_meaning_in_layers_only() {
    let archive = Hand::default()
        .member(b'0', "d/.wh..wh..opq", b"")
        .member(b'0', "d/.wh.gone", b"")
        .member(b'0', ".wh..wh.plnk/1.2", b"")
        .member(b'0', ".wh..wh.aufs", b"")
        .end();
    assert_eq!(
        names_of(&archive, Names::Layer),
        [("d".to_owned(), Kind::Opaque), ("d/gone".to_owned(), Kind::Whiteout)]
    );
    let names: Vec<String> =
        names_of(&archive, Names::Archive).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["d/.wh..wh..opq", "d/.wh.gone", ".wh..wh.plnk/1.2", ".wh..wh.aufs"]);
}

#[test]
fn what_is_refused_is_named() {
    let file = |name: &str| Hand::default().member(b'0', name, b"").end();
    let pax =
        |key: &str, value: &[u8]| Hand::default().pax(&[(key, value)]).member(b'0', "a", b"").end();
    let typed = |flag| Hand::default().member(flag, "a", b"").end();
    let whiteout = "not a valid whiteout";
    for (bytes, problem) in [
        (file("a/../../b"), "entry a/../../b at byte 0: the path has a `..` component"),
        (file(".wh.."), &format!("entry .wh.. at byte 0: {whiteout}")),
        (file("a/.wh..."), &format!("entry a/.wh... at byte 0: {whiteout}")),
        (file(".wh."), &format!("entry .wh. at byte 0: {whiteout}")),
        (file(".wh.a/b"), &format!("entry .wh.a/b at byte 0: {whiteout}")),
        (pax("path", b"a\0b"), "entry a\\u{0}b at byte 1024: the path has a NUL byte"),
        (pax("size", b"-1"), "entry a at byte 1024: the size is no valid number"),
        (pax("uid", b"4294967296"), "entry a at byte 1024: the uid is no valid number"),
        (pax("mtime", b"now"), "entry a at byte 1024: the time is no valid number"),
        (
            pax("GNU.sparse.major", b"1"),
            "entry a at byte 1024: sparse files are not supported; pack the archive without \
             --sparse",
        ),
        (
            typed(b'S'),
            "entry a at byte 0: sparse files are not supported; pack the archive without --sparse",
        ),
        (typed(b'V'), "entry a at byte 0: unsupported entry type 'V'"),
        (typed(b'2'), "entry a at byte 0: the link has no target"),
        (
            Hand::default().link(b'1', "a", "../x").end(),
            "entry a at byte 0: link target: the path has a `..` component",
        ),
        (
            Hand::default().member(b'g', "g", b"9 size=0\n").end(),
            "entry / at byte 0: a global extended header sets \"size\"",
        ),
        (
            Hand::default().member(b'x', "x", b"path=a\n").end(),
            "entry / at byte 0: malformed extended header: the length is not that of the record",
        ),
        (
            {
                let mut hand = Hand::default();
                hand.push(header(b'x', "x", (1 << 20) + 1), b"");
                hand.end()
            },
            "entry / at byte 0: a header of 1048577 bytes is too large",
        ),
        (
            {
                let mut hand = Hand::default();
                hand.push(header(b'L', "x", 65_537), b"");
                hand.end()
            },
            "entry / at byte 0: a header of 65537 bytes is too large",
        ),
    ] {
        assert_eq!(refusal(&bytes), problem);
    }
}

#[test]
fn the_end_of_an_archive_is_checked() {
    let whole = Hand::default().member(b'0', "a", b"123").end();
    assert!(read(&[], Names::Layer).unwrap().is_empty());
    assert_eq!(read(&whole[..1024], Names::Layer).unwrap().len(), 1, "no end mark at all");
    assert_eq!(read(&whole[..1536], Names::Layer).unwrap().len(), 1, "half an end mark");
    assert!(refusal(&whole[..1000]).ends_with("the archive is truncated"));
    assert!(refusal(&whole[..100]).ends_with("the archive is truncated"));
    assert!(refusal(b"x".repeat(512).as_slice()).ends_with("(the checksum does not fit)"));
    let mut after = whole[..1536].to_vec();
    after.extend_from_slice(&whole[..1024]);
    assert!(refusal(&after).ends_with("data after the end of the archive"));
    let dangling = Hand::default().pax(&[("path", b"a")]).0;
    assert!(refusal(&dangling).ends_with("the archive is truncated"));
    let cut = read(&whole[..514], Names::Layer).unwrap_err();
    assert_eq!(cut.to_string(), "cannot take a");
}

#[test]
fn what_a_sink_leaves_unread_is_skipped() {
    let archive = Hand::default().member(b'0', "a", &[1; 3000]).member(b'0', "b", b"12").end();
    let mut paths = Vec::new();
    let mut sink = |entry: &Entry, _: &mut dyn Read| {
        paths.push(entry.path.clone());
        Ok(())
    };
    let stats = read_tar(archive.as_slice(), Names::Layer, &mut sink).unwrap();
    assert_eq!((stats.entries, stats.content), (2, 3002));
    assert_eq!(paths, [b"a", b"b"]);
}
