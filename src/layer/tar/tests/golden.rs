//! The canonical bytes. A change here changes every layer's digest: it must be a decision.

use super::*;
use crate::hashing::sha256;

/// The fields of one block that are not zero, as `offset:text`.
fn dump(block: &[u8]) -> String {
    let mut fields = Vec::new();
    let mut at = 0;
    for field in block.split(|&byte| byte == 0) {
        if !field.is_empty() {
            fields.push(format!("{at}:{}", field.escape_ascii()));
        }
        at += field.len() + 1;
    }
    fields.join(" ")
}

/// The blocks of one entry, without the end of the archive.
fn blocks(entry: &Entry) -> String {
    let bytes = write(std::slice::from_ref(entry));
    assert!(bytes.ends_with(&[0; 1024]));
    dump_all(&bytes[..bytes.len() - 1024])
}

/// All blocks, with long runs of the letter n as `<n*COUNT>`.
fn dump_all(bytes: &[u8]) -> String {
    let blocks: Vec<String> = bytes.chunks(512).map(dump).collect();
    let mut text = blocks.join(" | ");
    for count in (50..=155).rev() {
        text = text.replace(&"n".repeat(count), &format!("<n*{count}>"));
    }
    text
}

#[test]
fn each_kind_has_its_golden_header() {
    let target = || b"z/x".to_vec();
    let numbers = "100:0004755 108:0000010 116:0000011 124:00000000000 136:14524770400";
    for (path, kind, name, rest) in [
        ("", Kind::Directory, "0:./", "148:0006153 156:5 257:ustar 263:00"),
        ("a/b", Kind::Directory, "0:a/b/", "148:0006457 156:5 257:ustar 263:00"),
        ("a", Kind::File { size: 0 }, "0:a", "148:0006152 156:0 257:ustar 263:00"),
        ("a", Kind::Symlink { target: target() }, "0:a", "148:0006615 156:2z/x 257:ustar 263:00"),
        ("a", Kind::HardLink { target: target() }, "0:a", "148:0006614 156:1z/x 257:ustar 263:00"),
        (
            "a",
            Kind::CharDevice { major: 1, minor: 3 },
            "0:a",
            "148:0007421 156:3 257:ustar 263:00 329:0000001 337:0000003",
        ),
        (
            "a",
            Kind::BlockDevice { major: 8, minor: 1 },
            "0:a",
            "148:0007420 156:4 257:ustar 263:00 329:0000010 337:0000001",
        ),
        ("a", Kind::Fifo, "0:a", "148:0006160 156:6 257:ustar 263:00"),
    ] {
        let entry = Entry { uid: 8, gid: 9, ..Entry::new(path, kind, 0o4755, 1_700_000_000) };
        assert_eq!(blocks(&entry), format!("{name} {numbers} {rest}"), "{entry:?}");
    }
}

#[test]
fn deletions_have_golden_headers_whatever_their_fields() {
    let zeros = "100:0000000 108:0000000 116:0000000 124:00000000000 136:00000000000";
    for (path, kind, name, rest) in [
        ("a", Kind::Whiteout, "0:.wh.a", "148:0006553 156:0 257:ustar 263:00"),
        ("d/a", Kind::Whiteout, "0:d/.wh.a", "148:0006776 156:0 257:ustar 263:00"),
        ("", Kind::Opaque, "0:.wh..wh..opq", "148:0007703 156:0 257:ustar 263:00"),
        ("d", Kind::Opaque, "0:d/.wh..wh..opq", "148:0010126 156:0 257:ustar 263:00"),
    ] {
        let mut entry = Entry { uid: 8, gid: 9, ..Entry::new(path, kind, 0o4755, 1_700_000_000) };
        entry.xattrs.insert(b"user.a".to_vec(), b"b".to_vec());
        assert_eq!(blocks(&entry), format!("{name} {zeros} {rest}"), "{entry:?}");
    }
}

#[test]
fn content_is_padded_to_blocks() {
    let golden = "0:a 100:0000644 108:0000000 116:0000000 124:00000001001 136:14524770400 \
                  148:0006142 156:0 257:ustar 263:00 | 0:<x*512> | 0:x";
    assert_eq!(blocks(&file("a", 513)).replace(&"x".repeat(512), "<x*512>"), golden);
}

#[test]
fn what_does_not_fit_goes_into_a_golden_pax_header() {
    let long = |length: usize| "n".repeat(length);
    let mut with_xattr = file("a", 0);
    with_xattr.xattrs.insert(b"user.b".to_vec(), b"1\n2=\xff".to_vec());
    with_xattr.xattrs.insert(b"security.capability".to_vec(), b"\x01\0\0\x02".to_vec());
    let mut huge = file("a", 0);
    (huge.uid, huge.gid, huge.mtime) = (2_097_152, u32::MAX, -1);
    for (entry, golden) in [
        (
            file(&long(100), 0),
            r"0:<n*100>0000644 108:0000000 116:0000000 124:00000000000 136:14524770400 148:0033367 156:0 257:ustar 263:00",
        ),
        (
            file(&long(101), 0),
            r"0:././@PaxHeader 100:0000644 108:0000000 116:0000000 124:00000000157 136:00000000000 148:0010236 156:x 257:ustar 263:00 | 0:111 path=<n*101>\n | 0:<n*100>0000644 108:0000000 116:0000000 124:00000000000 136:14524770400 148:0033367 156:0 257:ustar 263:00",
        ),
        (
            file(&format!("{}/{}", long(155), long(100)), 0),
            r"0:<n*100>0000644 108:0000000 116:0000000 124:00000000000 136:14524770400 148:0074621 156:0 257:ustar 263:00 345:<n*155>",
        ),
        (
            directory(&format!("{}/b", long(100))),
            r"0:b/ 100:0000755 108:0000000 116:0000000 124:00000000000 136:14524770400 148:0033620 156:5 257:ustar 263:00 345:<n*100>",
        ),
        (
            Entry::new("a", Kind::Symlink { target: long(101).into() }, 0o777, 0),
            r"0:././@PaxHeader 100:0000644 108:0000000 116:0000000 124:00000000163 136:00000000000 148:0010233 156:x 257:ustar 263:00 | 0:115 linkpath=<n*101>\n | 0:a 100:0000777 108:0000000 116:0000000 124:00000000000 136:00000000000 148:0033477 156:2<n*100>ustar 263:00",
        ),
        (
            Entry::new(
                "a",
                Kind::Symlink { target: [b"\xff".as_slice(), &[b'n'; 100]].concat() },
                0o777,
                0,
            ),
            r"0:././@PaxHeader 100:0000644 108:0000000 116:0000000 124:00000000210 136:00000000000 148:0010224 156:x 257:ustar 263:00 | 0:21 hdrcharset=BINARY\n115 linkpath=\xff<n*100>\n | 0:a 100:0000777 108:0000000 116:0000000 124:00000000000 136:00000000000 148:0033720 156:2\xff<n*99>ustar 263:00",
        ),
        (
            Entry::new(
                [b"\xff".as_slice(), &[b'n'; 99]].concat(),
                Kind::Symlink { target: b"\xfe".to_vec() },
                0o777,
                0,
            ),
            r"0:\xff<n*99>0000777 108:0000000 116:0000000 124:00000000000 136:00000000000 148:0034155 156:2\xfe 257:ustar 263:00",
        ),
        (
            with_xattr,
            r"0:././@PaxHeader 100:0000644 108:0000000 116:0000000 124:00000000106 136:00000000000 148:0010230 156:x 257:ustar 263:00 | 0:41 SCHILY.xattr.security.capability=\x01 39:\x02\n29 SCHILY.xattr.user.b=1\n2=\xff\n | 0:a 100:0000644 108:0000000 116:0000000 124:00000000000 136:14524770400 148:0006140 156:0 257:ustar 263:00",
        ),
        (
            huge,
            r"0:././@PaxHeader 100:0000644 108:0000000 116:0000000 124:00000000055 136:00000000000 148:0010233 156:x 257:ustar 263:00 | 0:18 gid=4294967295\n12 mtime=-1\n15 uid=2097152\n | 0:a 100:0000644 108:0000000 116:0000000 124:00000000000 136:00000000000 148:0006076 156:0 257:ustar 263:00",
        ),
    ] {
        assert_eq!(blocks(&entry), golden, "{entry:?}");
    }
}

#[test]
fn an_archive_of_everything_has_its_golden_digest() {
    assert_eq!(sha256(&write(&[])), sha256(&[0; 1024]));
    let mut attributes = file("c", 600);
    attributes.xattrs.insert(b"user.x".to_vec(), b"y".to_vec());
    let archive = write(&[
        directory(""),
        directory("a"),
        Entry::new("a", Kind::Opaque, 0, 0),
        file("a/b", 513),
        Entry::new("b", Kind::Whiteout, 0o7777, 99),
        attributes,
        Entry::new("d", Kind::HardLink { target: b"a/b".to_vec() }, 0o644, 0),
    ]);
    assert_eq!(
        sha256(&archive).hex(),
        "5cb4e57fd9c268fc23338761f4feaec587dc0438b0de7e43608b226abd5491ce"
    );
}

#[test]
fn files_beyond_octal_have_their_size_in_a_record() {
    // Only the header: the writer fails on the missing content after it.
    let mut bytes = Vec::new();
    let mut tar = TarWriter::new(&mut bytes);
    let error = tar.entry(&file("a", 8 << 30), &mut std::io::empty()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a has 0 bytes instead of 8589934592: it changed while it was read"
    );
    drop(tar);
    let golden = r"0:././@PaxHeader 100:0000644 108:0000000 116:0000000 124:00000000023 136:00000000000 148:0010226 156:x 257:ustar 263:00 | 0:19 size=8589934592\n | 0:a 100:0000644 108:0000000 116:0000000 124:00000000000 136:14524770400 148:0006140 156:0 257:ustar 263:00";
    assert_eq!(dump_all(&bytes), golden);
}

/// Content that costs nothing: as many bytes as are asked for, whatever they are.
struct Anything;

impl Read for Anything {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        Ok(buffer.len())
    }
}

/// Keeps the first bytes and counts all of them.
#[derive(Default)]
struct Beginning {
    kept: Vec<u8>,
    bytes: u64,
}

impl std::io::Write for Beginning {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let room = 2048_usize.saturating_sub(self.kept.len()).min(bytes.len());
        self.kept.extend_from_slice(&bytes[..room]);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_beyond_octal_is_written_and_read_whole() {
    let size = (8 << 30) + 1;
    let mut tar = TarWriter::new(Beginning::default());
    tar.entry(&file("a", size), &mut Anything).unwrap();
    tar.entry(&file("b", 0), &mut std::io::empty()).unwrap();
    let written = tar.finish().unwrap();
    // Extended header, its content, header, content in whole blocks; header of b; end.
    assert_eq!(written.bytes, 3 * 512 + (8 << 30) + 512 + 512 + 1024);

    let last = write(&[file("b", 0)]);
    let archive = written.kept[..1536].chain(Anything.take((8 << 30) + 512)).chain(last.as_slice());
    let mut entries = Vec::new();
    let mut sink = |entry: &Entry, _: &mut dyn Read| {
        entries.push(entry.clone());
        Ok(())
    };
    let stats = read_tar(archive, Names::Layer, &mut sink).unwrap();
    assert_eq!((stats.entries, stats.content), (2, size));
    assert_eq!(entries, [file("a", size), file("b", 0)]);
}

#[test]
fn a_file_with_holes_is_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (holes, dense) = (dir.path().join("holes"), dir.path().join("dense"));
    let sparse = fs_err::File::create(&holes).unwrap();
    sparse.set_len(1 << 20).unwrap();
    fs_err::write(&dense, vec![0; 1 << 20]).unwrap();
    let [holes, dense] = [holes, dense].map(|path| {
        let mut tar = TarWriter::new(Vec::new());
        tar.entry(&file("a", 1 << 20), &mut fs_err::File::open(path).unwrap()).unwrap();
        tar.finish().unwrap()
    });
    assert!(holes == dense);
}

#[test]
fn more_attributes_than_readers_take_are_refused() {
    let mut entry = file("a", 0);
    for at in 0..17 {
        entry.xattrs.insert(format!("user.{at:02}").into(), vec![0; 65_536]);
    }
    let error = TarWriter::new(std::io::sink()).entry(&entry, &mut std::io::empty());
    let text = error.unwrap_err().to_string();
    assert_eq!(text, "the extended header of a has 1114588 bytes, more than readers take");
}

#[test]
fn entries_out_of_order_are_refused() {
    for (entries, refused) in [
        (vec![file("a", 0), file("a", 0)], true),
        (vec![file("a.b", 0), file("a/b", 0)], true),
        (vec![directory("a"), file("a/b", 0), file("a.b", 0)], false),
        (vec![directory("a"), Entry::new("a", Kind::Opaque, 0, 0)], false),
        (vec![file("a", 0), Entry::new("a", Kind::Opaque, 0, 0)], true),
        (vec![directory("a"), Entry::new("a", Kind::Whiteout, 0, 0)], true),
        (vec![directory("a"), file("a/b", 0), Entry::new("a", Kind::Opaque, 0, 0)], true),
    ] {
        let mut tar = TarWriter::new(std::io::sink());
        let result: std::io::Result<()> =
            entries.iter().try_for_each(|entry| tar.entry(entry, &mut std::io::empty()));
        assert_eq!(result.is_err(), refused, "{entries:?}");
    }
}

#[test]
fn what_tar_cannot_express_is_refused() {
    let with = |name: &[u8]| {
        let mut entry = file("a", 0);
        entry.xattrs.insert(name.to_vec(), Vec::new());
        entry
    };
    for (entry, text) in [
        (
            file("d/.wh.a", 0),
            "d/.wh.a cannot be in a layer: names that start with `.wh.` mean deletions there",
        ),
        (file("", 0), "the root of a layer can only be a directory"),
        (file("/a", 0), "/a is not a path, or its link target is none, that a layer can have"),
        (file("a/..", 0), "a/.. is not a path, or its link target is none, that a layer can have"),
        (
            Entry::new("a", Kind::HardLink { target: b"../a".to_vec() }, 0, 0),
            "a is not a path, or its link target is none, that a layer can have",
        ),
        (with(b"user.a=b"), "extended attribute user.a=b of a cannot be written to a tar"),
        (with(b""), "extended attribute / of a cannot be written to a tar"),
        (
            Entry::new("a", Kind::CharDevice { major: 1 << 21, minor: 0 }, 0, 0),
            "the device numbers of a do not fit a tar",
        ),
    ] {
        let error = TarWriter::new(std::io::sink()).entry(&entry, &mut std::io::empty());
        assert_eq!(error.unwrap_err().to_string(), text);
    }
}
