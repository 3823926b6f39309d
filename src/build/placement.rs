//! Where the files of a COPY or ADD go (pure): the destination rules of the Dockerfile reference
//! in the reading of BuildKit.
//!
//! - A directory as a source means its content; the destination is made with the source
//!   directory's mode, an existing one keeps its own. Directories below it are overwritten.
//! - A file goes into the destination if that is (or must be) a directory, else becomes it.
//! - `--chown` also owns the directories that are made on the way; `--chmod` does not reach them.

use longshore_runtime::entry::{Entry, Kind};

use super::tree::{At, Content, Implied, PlaceError, Placed, Tree, file_name, parent, push};
use crate::layer::Owner;

/// One thing to be copied: a file, or a directory with everything below it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pick {
    /// The path that the source word matched; its last name is the file's in the destination.
    pub(super) matched: Vec<u8>,
    /// What is copied, a parent before its children; paths are relative to the matched one, which
    /// is the empty path itself.
    pub(super) items: Vec<Placed>,
}

/// How things are placed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placement<'a> {
    /// The destination, without the leading slash.
    pub(super) destination: &'a [u8],
    /// Whether the destination is written as a directory.
    pub(super) into_directory: bool,
    /// `--chown`.
    pub(super) owner: Option<Owner>,
    /// `--chmod`.
    pub(super) mode: Option<u32>,
    /// Time of directories made on the way.
    pub(super) mtime: i64,
}

impl Placement<'_> {
    /// Owner and time of directories that are made on the way.
    pub(super) fn implied(&self) -> Implied {
        let Owner { uid, gid } = self.owner.unwrap_or_default();
        Implied { uid, gid, mtime: self.mtime }
    }

    /// Places one pick.
    pub(super) fn place(&self, tree: &mut Tree<'_>, pick: &Pick) -> Result<(), PlaceError> {
        let destination = tree.resolve(self.destination)?;
        match pick.items.first() {
            Some(root) if root.entry.kind == Kind::Directory => {
                self.directory(tree, &destination, pick, root)
            }
            Some(root) => self.file(tree, &destination, &pick.matched, root),
            None => Ok(()),
        }
    }

    fn directory(
        &self,
        tree: &mut Tree<'_>,
        destination: &[u8],
        pick: &Pick,
        root: &Placed,
    ) -> Result<(), PlaceError> {
        if tree.at(destination) != At::Directory {
            tree.directories(parent(destination), self.implied())?;
            tree.copy(self.adapted(root, destination.to_vec()))?;
        }
        for item in &pick.items[1..] {
            let mut path = destination.to_vec();
            push(&mut path, &item.entry.path);
            tree.copy(self.adapted(item, path))?;
        }
        Ok(())
    }

    fn file(
        &self,
        tree: &mut Tree<'_>,
        destination: &[u8],
        matched: &[u8],
        item: &Placed,
    ) -> Result<(), PlaceError> {
        let mut path = destination.to_vec();
        if self.into_directory || tree.at(destination) == At::Directory {
            tree.directories(destination, self.implied())?;
            push(&mut path, file_name(matched));
        } else {
            tree.directories(parent(destination), self.implied())?;
        }
        tree.copy(self.adapted(item, path))
    }

    /// The item at its new path with `--chown` and `--chmod`.
    fn adapted(&self, item: &Placed, path: Vec<u8>) -> Placed {
        let mut entry = Entry { path, ..item.entry.clone() };
        if let Some(owner) = self.owner {
            (entry.uid, entry.gid) = (owner.uid, owner.gid);
        }
        if let (Some(mode), false) = (self.mode, matches!(entry.kind, Kind::Symlink { .. })) {
            entry.mode = mode;
        }
        Placed { entry, ..item.clone() }
    }
}

/// A directory that stands for the root of a context or image.
pub(super) fn root_directory(mtime: i64) -> Placed {
    let entry = Entry::new("", Kind::Directory, 0o755, mtime);
    Placed { entry, content: Content::None, group: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{IndexEntry, IndexKind, LayerIndex, MergedIndex};

    fn item(path: &str, kind: Kind, mode: u32) -> Placed {
        Placed { entry: Entry::new(path, kind, mode, 5), content: Content::None, group: None }
    }

    fn base() -> MergedIndex {
        let mut index = LayerIndex::default();
        let entry = |kind| IndexEntry { kind, mode: 0o700, uid: 9, gid: 9 };
        index.entries.insert(b"app".to_vec(), entry(IndexKind::Directory));
        index.entries.insert(b"app/sub".to_vec(), entry(IndexKind::Directory));
        let target = b"app".to_vec();
        index.entries.insert(b"link".to_vec(), entry(IndexKind::Symlink { target }));
        let mut merged = MergedIndex::new();
        merged.push_layer(index);
        merged
    }

    fn check(destination: &str, into_directory: bool, pick: &Pick, expected: &[&str]) {
        let base = base();
        let mut tree = Tree::new(&base);
        let owner = Some(Owner { uid: 1, gid: 2 });
        let placement = Placement {
            destination: destination.as_bytes(),
            into_directory,
            owner,
            mode: None,
            mtime: 7,
        };
        placement.place(&mut tree, pick).unwrap();
        let mut lines = Vec::new();
        let mut sink = |entry: &Entry, _: &mut dyn std::io::Read| {
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            lines.push(format!(
                "{path} {:o} {}:{} {}",
                entry.mode, entry.uid, entry.gid, entry.mtime
            ));
            Ok(())
        };
        tree.emit(&mut sink, &mut |_| Ok(Box::new(std::io::empty()))).unwrap();
        assert_eq!(lines, expected, "to {destination}");
    }

    #[test]
    fn a_file_goes_into_a_directory_or_becomes_the_destination() {
        let file = Pick {
            matched: b"src/tool".to_vec(),
            items: vec![item("", Kind::File { size: 1 }, 0o644)],
        };
        check("new", false, &file, &["new 644 1:2 5"]);
        check("new", true, &file, &["new 755 1:2 7", "new/tool 644 1:2 5"]);
        check("app", false, &file, &["app/tool 644 1:2 5"]);
        check("link", false, &file, &["app/tool 644 1:2 5"]);
        check("a/b", false, &file, &["a 755 1:2 7", "a/b 644 1:2 5"]);
    }

    #[test]
    fn a_directory_brings_its_content() {
        let directory = Pick {
            matched: b"src".to_vec(),
            items: vec![
                item("", Kind::Directory, 0o711),
                item("sub", Kind::Directory, 0o755),
                item("sub/f", Kind::File { size: 1 }, 0o600),
            ],
        };
        check(
            "new",
            false,
            &directory,
            &["new 711 1:2 5", "new/sub 755 1:2 5", "new/sub/f 600 1:2 5"],
        );
        check("app", false, &directory, &["app/sub 755 1:2 5", "app/sub/f 600 1:2 5"]);
    }
}
