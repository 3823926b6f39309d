//! Root trees that steps have left, for the next steps upon the same layers: `roots/` of the work
//! directory.
//!
//! Each entry is a directory as `init::root_tree` describes it. Whoever renames it into a scratch
//! directory has it, and nobody else; it comes back, under a new name, only when the step that had
//! it has ended well and its changes are known. So no step ever runs in a tree that somebody else
//! may take, and the tree of a killed builder is a part of its scratch directory, which the next
//! start removes.
//!
//! Names begin with the time, so that they sort by age; all of it is a cache and may be removed
//! whenever no build runs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::scratch::make_plain;
use crate::Error;
use crate::init::{LAYERS, TREE, read_list, write_list};

/// How many trees are kept. Each is a whole image; a chain of steps hands on one.
pub(super) const KEPT: usize = 4;

/// The trees of a work directory.
#[derive(Debug)]
pub(super) struct Roots {
    dir: PathBuf,
}

impl Roots {
    pub(super) fn new(work_root: &Path) -> Self {
        Self { dir: work_root.join("roots") }
    }

    /// Moves the tree that is the view of the most of `layers` into `scratch`; where there is none,
    /// nothing.
    pub(super) fn take(&self, layers: &[PathBuf], scratch: &Path) -> Result<(), Error> {
        let mut found: Vec<(usize, PathBuf)> = self
            .list()?
            .into_iter()
            .filter_map(|tree| Some((matching(&tree, layers)?, tree)))
            .collect();
        found.sort();
        let to = scratch.join(TREE);
        while let Some((_, tree)) = found.pop() {
            match fs::rename(&tree, &to) {
                // Under the same name there may have been another one by now.
                Ok(()) if matching(&to, layers).is_some() => return Ok(()),
                Ok(()) => self.put(&to)?,
                // Somebody else has it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("take", tree)(error)),
            }
        }
        Ok(())
    }

    /// Hands on the tree in `scratch`, which is the view of `layers` and of nothing else.
    pub(super) fn give(&self, scratch: &Path, layers: &[PathBuf]) -> Result<(), Error> {
        let tree = scratch.join(TREE);
        let list = tree.join(LAYERS);
        write_list(&list, layers).map_err(Error::io("write", list))?;
        self.put(&tree)
    }

    /// Moves all but the youngest `count` trees into `scratch`, to be removed; returns where they
    /// are.
    pub(super) fn surplus(&self, count: usize, scratch: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut trees = self.list()?;
        trees.sort();
        let mut surplus = Vec::new();
        for tree in trees.iter().take(trees.len().saturating_sub(count)) {
            let to = scratch.join(format!("surplus-{}", surplus.len()));
            // An error means that somebody else has it.
            if fs::rename(tree, &to).is_ok() {
                surplus.push(to);
            }
        }
        Ok(surplus)
    }

    fn put(&self, tree: &Path) -> Result<(), Error> {
        make_plain(&self.dir)?;
        loop {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let to = self.dir.join(format!("{:020}-{}", now.as_nanos(), std::process::id()));
            match fs::rename(tree, &to) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                Err(error) => return Err(Error::io("keep", tree)(error)),
            }
        }
    }

    fn list(&self) -> Result<Vec<PathBuf>, Error> {
        let error = |error| Error::io("list", &self.dir)(error);
        match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            listing => listing
                .map_err(error)?
                .map(|item| item.map(|item| item.path()).map_err(error))
                .collect(),
        }
    }
}

/// Of how many of `layers`, from the bottom, the tree is the view; `None` when of something else,
/// or when it is gone.
fn matching(tree: &Path, layers: &[PathBuf]) -> Option<usize> {
    let made_of = read_list(&tree.join(LAYERS)).ok()?;
    layers.starts_with(&made_of).then_some(made_of.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        work: tempfile::TempDir,
        roots: Roots,
    }

    impl Place {
        fn new() -> Self {
            let work = tempfile::tempdir().unwrap();
            let roots = Roots::new(work.path());
            Self { work, roots }
        }

        fn scratch(&self, name: &str) -> PathBuf {
            let path = self.work.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        }

        fn leave(&self, name: &str, layers: &[PathBuf]) {
            let scratch = self.scratch(name);
            fs::create_dir(scratch.join(TREE)).unwrap();
            fs::write(scratch.join(TREE).join("name"), name).unwrap();
            self.roots.give(&scratch, layers).unwrap();
        }

        fn take(&self, layers: &[PathBuf]) -> Option<String> {
            let scratch = self.scratch("taker");
            self.roots.take(layers, &scratch).unwrap();
            let name = fs::read_to_string(scratch.join(TREE).join("name")).ok();
            fs::remove_dir_all(scratch).unwrap();
            name
        }
    }

    fn layers(names: &str) -> Vec<PathBuf> {
        names.split_whitespace().map(|name| PathBuf::from(format!("/layers/{name}"))).collect()
    }

    #[test]
    fn the_tree_of_the_longest_prefix_is_taken_once() {
        let place = Place::new();
        for (name, of) in
            [("base", "a b"), ("other", "a c"), ("upper", "a b c"), ("top", "a b c d")]
        {
            place.leave(name, &layers(of));
        }
        for (wanted, expected) in [
            ("a b c e", Some("upper")),
            ("a b c e", Some("base")),
            ("a b c e", None),
            ("b", None),
            ("a c", Some("other")),
            ("a b c d", Some("top")),
        ] {
            assert_eq!(place.take(&layers(wanted)).as_deref(), expected, "{wanted}");
        }
    }

    #[test]
    fn a_tree_that_is_half_made_is_nobody_s() {
        let place = Place::new();
        fs::create_dir_all(place.work.path().join("roots/1-1/root")).unwrap();
        assert_eq!(place.take(&layers("a")), None);
    }

    #[test]
    fn the_oldest_of_too_many_go() {
        let place = Place::new();
        for name in ["a", "b", "c", "d", "e", "f"] {
            place.leave(name, &layers(name));
        }
        let scratch = place.scratch("janitor");
        assert_eq!(place.roots.surplus(KEPT, &scratch).unwrap().len(), 2);
        let left: Vec<bool> =
            ["a", "b", "c", "f"].map(|name| place.take(&layers(name)).is_some()).to_vec();
        assert_eq!(left, [false, false, true, true]);
    }
}
