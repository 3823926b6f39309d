use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;

use tar::{Builder, EntryType, Header};

use super::*;

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(1_000_000_000);
    header.set_size(size);
    header
}

struct Archive(Builder<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// A name as it is, whatever the crate thinks of it.
    fn raw(mut self, kind: EntryType, name: &str, target: &str, content: &str) -> Self {
        let mut header = header(kind, 0o644, content.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        self.0.append(&header, content.as_bytes()).unwrap();
        self
    }

    fn file(self, name: &str, content: &str) -> Self {
        self.raw(EntryType::Regular, name, "", content)
    }

    fn directory(mut self, name: &str, mode: u32) -> Self {
        let mut header = header(EntryType::Directory, mode, 0);
        self.0.append_data(&mut header, name, &[][..]).unwrap();
        self
    }

    fn link(self, kind: EntryType, name: &str, target: &str) -> Self {
        self.raw(kind, name, target, "")
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

struct Fixture(tempfile::TempDir);

impl Fixture {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn root(&self) -> PathBuf {
        self.0.path().join("context")
    }

    fn unpack_within(
        &self,
        bytes: &[u8],
        limits: ArchiveLimits,
    ) -> Result<ContextArchive, ContextArchiveError> {
        fs_err::create_dir(self.root()).unwrap();
        ContextArchive::unpack(bytes, "a test", &self.root(), limits, &Interrupt::default())
    }

    fn unpack(&self, bytes: &[u8]) -> Result<ContextArchive, ContextArchiveError> {
        self.unpack_within(bytes, ArchiveLimits::default())
    }

    fn text(&self, path: &str) -> String {
        fs_err::read_to_string(self.root().join(path)).unwrap()
    }
}

fn refused(bytes: &[u8]) -> String {
    let fixture = Fixture::new();
    let error = fixture.unpack(bytes).unwrap_err();
    assert!(!fixture.0.path().join("outside").exists());
    crate::failure::Failure::from(error).message()
}

fn sample() -> Vec<u8> {
    Archive::new()
        .directory("./", 0o700)
        .directory("dir", 0o555)
        .file("dir/file", "content\n")
        .link(EntryType::Link, "dir/other", "./dir/file")
        .link(EntryType::Symlink, "link", "/etc/passwd")
        .file("/implied/deep/file", "x")
        .bytes()
}

#[test]
fn contents_modes_times_and_links_are_kept() {
    let fixture = Fixture::new();
    let archive = fixture.unpack(&sample()).unwrap();
    assert_eq!(archive.notes(), <[String; 0]>::default());
    let look = |path: &str| fs_err::symlink_metadata(fixture.root().join(path)).unwrap();
    assert_eq!(fixture.text("dir/file"), "content\n");
    assert_eq!(look("dir/file").ino(), look("dir/other").ino());
    assert_eq!(look("dir").mode() & 0o7777, 0o555);
    assert_eq!(look("dir/file").mode() & 0o7777, 0o644);
    for path in ["dir", "dir/file", "link", "implied", "implied/deep", "implied/deep/file"] {
        assert_eq!(look(path).mtime(), 1_000_000_000, "{path}");
    }
    assert_eq!(look("implied/deep").mode() & 0o7777, 0o755);
    let target = fs_err::read_link(fixture.root().join("link")).unwrap();
    assert_eq!(target, Path::new("/etc/passwd"));
    drop(archive);
    assert_eq!(look("dir").mode() & 0o7777, 0o700, "it can be removed by its owner");
}

#[test]
fn every_compression_is_taken() {
    let plain = sample();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&plain).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&plain).unwrap();
    let forms = [
        gzip.finish().unwrap(),
        zstd::encode_all(&plain[..], 1).unwrap(),
        xz.finish().unwrap(),
        bzip2.finish().unwrap(),
        plain,
    ];
    for form in forms {
        let fixture = Fixture::new();
        fixture.unpack(&form).unwrap();
        assert_eq!(fixture.text("implied/deep/file"), "x");
        // Cut anywhere, it is no archive; the first bytes only tell what it is.
        for length in [100, form.len() / 2, form.len() - 7] {
            let cut = &form[..length.min(form.len() - 7)];
            let message = refused(cut);
            let known = ["is truncated", "no tar archive", "cannot be read"];
            assert!(known.iter().any(|text| message.contains(text)), "{length}: {message}");
        }
    }
}

#[test]
fn an_archive_without_an_end_mark_is_truncated() {
    let whole = Archive::new().file("a", "x").bytes();
    for (length, works) in [(1024, false), (1024 + 511, false), (1024 + 512, true), (2048, true)] {
        let fixture = Fixture::new();
        let outcome = fixture.unpack(&whole[..length]);
        assert_eq!(outcome.is_ok(), works, "{length}");
        if let Err(error) = outcome {
            assert!(matches!(error, ContextArchiveError::Truncated { .. }), "{length}: {error}");
        }
    }
}

#[test]
fn later_entries_replace_earlier_ones_and_do_not_write_through_them() {
    let fixture = Fixture::new();
    let bytes = Archive::new()
        .file("a", "first")
        .link(EntryType::Link, "b", "a")
        .file("a", "second")
        .link(EntryType::Symlink, "c", "a")
        .file("c", "third")
        .bytes();
    fixture.unpack(&bytes).unwrap();
    assert_eq!((fixture.text("a"), fixture.text("b")), ("second".into(), "first".into()));
    assert_eq!(fixture.text("c"), "third");
}

#[test]
fn nothing_is_made_outside() {
    use EntryType::{Link, Symlink};
    for (archive, reason) in [
        (Archive::new().file("../outside", "x"), "`..`"),
        (Archive::new().file("a/../../outside", "x"), "`..`"),
        (
            Archive::new().link(Symlink, "a", "..").file("a/outside", "x"),
            "a on its way is a symbolic",
        ),
        (
            Archive::new().link(Symlink, "a", "/").link(Symlink, "b", "a").file("b/tmp/x", "x"),
            "b on",
        ),
        (Archive::new().link(Link, "a", "../outside"), "`..`"),
        (Archive::new().link(Symlink, "a", "/etc").link(Link, "b", "a/passwd"), "a on its way is"),
        (Archive::new().link(Link, "a", "/etc/passwd"), "links to etc/passwd, which did not come"),
        (Archive::new().link(Link, "a", "b").file("b", "x"), "links to b, which did not come"),
        (Archive::new().directory("d", 0o755).link(Link, "a", "d"), "a directory"),
        (Archive::new().directory("d", 0o755).file("d", "x"), "a directory is there already"),
        (Archive::new().file("f", "x").file("f/g", "x"), "f on its way is a file"),
        (Archive::new().link(Symlink, "d", "..").directory("d/outside", 0o755), "d on its way is"),
    ] {
        let message = refused(&archive.bytes());
        assert!(message.contains(reason), "{reason}: {message}");
    }
}

#[test]
fn a_directory_in_the_place_of_a_link_is_a_directory() {
    let fixture = Fixture::new();
    let archive =
        Archive::new().link(EntryType::Symlink, "d", "..").directory("d", 0o755).file("d/a", "x");
    fixture.unpack(&archive.bytes()).unwrap();
    assert!(!fixture.0.path().join("a").exists());
    assert_eq!(fixture.text("d/a"), "x");
}

#[test]
fn devices_and_pipes_are_left_out_with_a_note() {
    let fixture = Fixture::new();
    let mut archive = Archive::new().link(EntryType::Fifo, "pipe", "").file("a", "x");
    let mut device = header(EntryType::Char, 0o666, 0);
    device.set_device_major(1).unwrap();
    device.set_device_minor(3).unwrap();
    archive.0.append_data(&mut device, "null", &[][..]).unwrap();
    let archive = fixture.unpack(&archive.bytes()).unwrap();
    let expected = ["pipe is left out: it is a named pipe", "null is left out: it is a device"];
    assert_eq!(archive.notes(), expected);
    assert!(!fixture.root().join("null").exists());
}

#[test]
fn what_is_no_archive_is_said() {
    let zeros = [0_u8; 700];
    let mut gzipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzipped.write_all(b"FROM scratch\n").unwrap();
    let gzipped = gzipped.finish().unwrap();
    for (bytes, message) in [
        (&b""[..], "is empty: not a single byte came"),
        (b"FROM scratch\nCOPY . /\n", "no tar archive but text, as of a Dockerfile"),
        ("# \u{e9}\nFROM scratch\n".repeat(60).as_bytes(), "but text, as of a Dockerfile"),
        (b"PK\x03\x04\x14\0\0\0rest of a zip archive", "but a zip archive"),
        (&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0].repeat(100), "is no tar archive"),
        (&gzipped, "is no tar archive"),
        (&zeros[..100], "is no tar archive"),
    ] {
        let said = refused(bytes);
        assert!(said.contains(message) && said.contains("from a test"), "{said}");
    }
}

#[test]
fn what_an_archive_becomes_is_bounded() {
    let mut bomb = Archive::new();
    for at in 0..20 {
        bomb = bomb.file(&format!("f{at}"), "x");
    }
    let bytes = bomb.bytes();
    let limits = |bytes, entries| ArchiveLimits { bytes, entries };
    for (limits, part) in [
        (limits(1 << 20, 19), "more than 19 entries"),
        (limits(9000, 100), "more than 9000 bytes when decompressed"),
    ] {
        let error = Fixture::new().unpack_within(&bytes, limits).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    let compressed = zstd::encode_all(&vec![0_u8; 32 << 20][..], 1).unwrap();
    let error = Fixture::new().unpack_within(&compressed, limits(1 << 20, 100)).unwrap_err();
    assert!(matches!(error, ContextArchiveError::TooLarge { .. }), "{error}");
    assert!(Fixture::new().unpack_within(&bytes, limits(1 << 20, 20)).is_ok());
}

#[test]
fn an_interrupt_ends_it() {
    let fixture = Fixture::new();
    fs_err::create_dir(fixture.root()).unwrap();
    let interrupt = Interrupt::default();
    interrupt.set();
    let bytes = sample();
    let limits = ArchiveLimits::default();
    let error = ContextArchive::unpack(&bytes[..], "a test", &fixture.root(), limits, &interrupt)
        .unwrap_err();
    assert!(matches!(error, ContextArchiveError::Interrupted), "{error}");
}
