//! Trees as tables: of entries, of an archive as Python reads it, of what a program unpacked.
//!
//! A row has everything that a layer can say. Names of one file are told by the first of them; the
//! times of symbolic links are left out, as not every program sets them.

use std::collections::BTreeMap;
use std::path::Path;

use longshore_runtime::entry::{Entry, Kind};
use sha2::{Digest as _, Sha256};

use crate::support::command::Run;

/// Path → what lies there; bytes that are not plain ASCII are escaped.
pub(crate) type Listing = BTreeMap<String, String>;

/// Entries with their content.
pub(crate) type Entries = Vec<(Entry, Vec<u8>)>;

/// What becomes of deletions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletions {
    /// They are files with odd names, as for every program that knows no layers.
    Files,
    /// They are done.
    Done,
}

const SCRIPT: &str = r#"
import hashlib, math, os, stat, sys, tarfile
def escape(b):
    return ''.join(chr(c) if 0x21 <= c < 0x7f and c != 0x5c else '\\x%02x' % c for c in b)
def row(path, kind, meta, mtime, xattrs):
    words = [kind, meta] + (['at %d' % mtime] if mtime is not None else [])
    words += ['%s=%s' % (escape(name), value.hex()) for name, value in sorted(xattrs)]
    print(escape(path) + '\t' + ' '.join(words))
def file(data, first):
    return 'file %d %s%s' % (len(data), hashlib.sha256(data).hexdigest(),
                             ' as ' + escape(first) if first else '')
def meta(mode, uid, gid):
    return '%04o %d:%d' % (mode, uid, gid)
def directory(top):
    paths, names = [], {}
    for place, below, files in os.walk(os.fsencode(top)):
        for name in below + files:
            path = os.path.join(place, name)
            paths.append(path)
            s = os.lstat(path)
            names.setdefault((s.st_dev, s.st_ino), []).append(os.path.relpath(path, os.fsencode(top)))
    for path in paths:
        s = os.lstat(path)
        name, mtime = os.path.relpath(path, os.fsencode(top)), math.floor(s.st_mtime)
        if stat.S_ISLNK(s.st_mode):
            row(name, 'link ' + escape(os.readlink(path)), '%d:%d' % (s.st_uid, s.st_gid), None, [])
            continue
        same = names[s.st_dev, s.st_ino]
        device = '%d,%d' % (os.major(s.st_rdev), os.minor(s.st_rdev))
        kind = {stat.S_IFDIR: 'directory', stat.S_IFIFO: 'fifo',
                stat.S_IFCHR: 'char ' + device, stat.S_IFBLK: 'block ' + device}.get(stat.S_IFMT(s.st_mode))
        kind = kind or file(open(path, 'rb').read(), min(same) if len(same) > 1 else None)
        xattrs = [(os.fsencode(n), os.getxattr(path, n)) for n in os.listxattr(path)
                  if n.startswith('user.') or n == 'security.capability']
        row(name, kind, meta(stat.S_IMODE(s.st_mode), s.st_uid, s.st_gid), mtime, xattrs)
def archive(path):
    tar = tarfile.open(path, encoding='utf-8', errors='surrogateescape')
    raw = lambda text: text.encode('utf-8', 'surrogateescape')
    members = [m for m in tar.getmembers() if m.name not in ('.', '')]
    linked = {}
    for m in members:
        if m.islnk():
            linked.setdefault(m.linkname, [m.linkname]).append(m.name)
    for m in members:
        xattrs = [(raw(k[13:]), raw(v)) for k, v in m.pax_headers.items() if k.startswith('SCHILY.xattr.')]
        if m.issym():
            row(raw(m.name), 'link ' + escape(raw(m.linkname)), '%d:%d' % (m.uid, m.gid), None, [])
            continue
        source = tar.getmember(m.linkname) if m.islnk() else m
        same = linked.get(source.name)
        device = '%d,%d' % (m.devmajor, m.devminor)
        kind = {tarfile.DIRTYPE: 'directory', tarfile.FIFOTYPE: 'fifo',
                tarfile.CHRTYPE: 'char ' + device, tarfile.BLKTYPE: 'block ' + device}.get(m.type)
        kind = kind or file(tar.extractfile(source).read(), raw(min(same)) if same else None)
        row(raw(m.name), kind, meta(m.mode, m.uid, m.gid), math.floor(m.mtime), xattrs)
{'directory': directory, 'archive': archive}[sys.argv[1]](sys.argv[2])
"#;

/// What lies below a directory.
pub(crate) fn of_directory(path: &Path) -> Listing {
    python("directory", path)
}

/// What Python's tarfile finds in an archive.
pub(crate) fn of_archive(path: &Path) -> Listing {
    python("archive", path)
}

fn python(mode: &str, path: &Path) -> Listing {
    let text = Run::new("python3").args(["-c", SCRIPT, mode]).arg(path).succeed();
    let rows = text.lines().filter_map(|line| line.split_once('\t'));
    rows.map(|(path, row)| (path.to_owned(), row.to_owned())).collect()
}

/// What the entries say; hard links are rows like those of their targets.
pub(crate) fn of_entries(entries: &Entries, deletions: Deletions) -> Listing {
    let listed = entries.iter().filter_map(|(entry, content)| {
        let path = raw_path(entry, deletions)?;
        Some((escape(&path), row(entries, entry, content)))
    });
    listed.collect()
}

/// The name in the archive; none for the root, and for deletions that are done.
fn raw_path(entry: &Entry, deletions: Deletions) -> Option<Vec<u8>> {
    let split = entry.path.iter().rposition(|&byte| byte == b'/').map_or(0, |at| at + 1);
    let (parent, name) = entry.path.split_at(split);
    match &entry.kind {
        Kind::Whiteout | Kind::Opaque if deletions == Deletions::Done => None,
        Kind::Whiteout => Some([parent, b".wh.", name].concat()),
        Kind::Opaque => Some([&entry.path[..], b"/.wh..wh..opq"].concat()),
        _ if entry.path.is_empty() => None,
        _ => Some(entry.path.clone()),
    }
}

fn row(entries: &Entries, entry: &Entry, content: &[u8]) -> String {
    let (content, first) = match &entry.kind {
        Kind::HardLink { target } => (content_of(entries, target), Some(target.clone())),
        _ => (content, None),
    };
    let original = first.as_ref().unwrap_or(&entry.path);
    let links = entries.iter().filter(
        |(other, _)| matches!(&other.kind, Kind::HardLink { target } if target == original),
    );
    let first = links.map(|(other, _)| &other.path).min().map(|other| other.min(original));
    let first = first.map(|name| format!(" as {}", escape(name))).unwrap_or_default();
    let kind = match &entry.kind {
        Kind::Symlink { target } => {
            return format!("link {} {}:{}", escape(target), entry.uid, entry.gid);
        }
        Kind::Directory => "directory".to_owned(),
        Kind::Fifo => "fifo".to_owned(),
        Kind::CharDevice { major, minor } => format!("char {major},{minor}"),
        Kind::BlockDevice { major, minor } => format!("block {major},{minor}"),
        Kind::File { .. } | Kind::HardLink { .. } | Kind::Whiteout | Kind::Opaque => {
            format!("file {} {}{first}", content.len(), hex(&Sha256::digest(content)))
        }
    };
    let Entry { mode, uid, gid, mtime, .. } = entry;
    let xattrs = entry.xattrs.iter();
    let xattrs = xattrs.map(|(name, value)| format!(" {}={}", escape(name), hex(value)));
    format!("{kind} {mode:04o} {uid}:{gid} at {mtime}{}", xattrs.collect::<String>())
}

fn content_of<'a>(entries: &'a Entries, path: &[u8]) -> &'a [u8] {
    let found = entries.iter().find(|(entry, _)| entry.path == path);
    &found.expect("a hard link's target is in the sample").1
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As the script does it.
fn escape(bytes: &[u8]) -> String {
    let letter = |&byte: &u8| match byte {
        b'\\' => "\\x5c".to_owned(),
        0x21..=0x7e => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(letter).collect()
}

/// Panics with the rows that differ.
pub(crate) fn assert_same(found: &Listing, expected: &Listing, reader: &str) {
    let only = |a: &Listing, b: &Listing| -> Vec<String> {
        let rows = a.iter().filter(|(path, row)| b.get(*path) != Some(row));
        rows.map(|(path, row)| format!("  {path}\t{row}")).collect()
    };
    let (more, less) = (only(found, expected), only(expected, found));
    assert!(
        more.is_empty() && less.is_empty(),
        "{reader} has\n{}\ninstead of\n{}",
        more.join("\n"),
        less.join("\n")
    );
}
