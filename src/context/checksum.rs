//! The context checksum: what of the context enters a stage's digest.
//!
//! | what | fields |
//! |---|---|
//! | selected file | `100644`, `100755`, or `100` and other permission bits · path · blob id |
//! | selected directory | `40000`, or `4` and other permission bits · path · id of its tree |
//! | in it: permission bits that git does not have | `mode` · path · the bits, octal |
//! | in it: another name of a file before it | `hardlink` · path · path of the file's first name |
//!
//! Paths are relative to the context, so moving the context keeps the checksum; times and owners
//! are not in it. The frame is that of `hashing`, kind `context`; what the id of a tree is when the
//! ignore rules leave a part out is said in `identity`.

use super::identity::Mark;
use super::{Identity, Selected};
use crate::hashing::Framed;
use crate::model::StageDigest;

/// Returns the checksum of what a source selected.
pub fn checksum(selected: &Selected) -> StageDigest {
    of_identity(&selected.root, &selected.identity)
}

pub(super) fn of_identity(root: &[u8], identity: &Identity) -> StageDigest {
    let mut hash = Framed::new("context");
    hash.field(format!("{:o}", identity.mode)).field(root).field(identity.object.as_bytes());
    for mark in &identity.marks {
        match mark {
            Mark::Mode { path, bits } => hash.field("mode").field(path).field(format!("{bits:o}")),
            Mark::HardLink { path, first } => hash.field("hardlink").field(path).field(first),
        };
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::ObjectId;
    use crate::context::identity::FILE_MODE;

    fn identity(mode: u32, marks: Vec<Mark>) -> Identity {
        Identity { mode, object: ObjectId::of_blob(b"hello\n"), marks, submodule: None }
    }

    #[test]
    fn golden_vector() {
        assert_eq!(
            of_identity(b"a.txt", &identity(FILE_MODE, vec![])).to_string(),
            "99c776844bd1d788202299658530f3b4ccd8fbc460f4fd3074c3b1e1"
        );
    }

    #[test]
    fn path_mode_and_every_mark_count() {
        let path = b"d/a".to_vec();
        let mode = |bits| Mark::Mode { path: path.clone(), bits };
        let link = |first: &str| Mark::HardLink { path: path.clone(), first: first.into() };
        let mut sums = vec![
            of_identity(b"d", &identity(0o40_000, vec![])),
            of_identity(b"e", &identity(0o40_000, vec![])),
            of_identity(b"d", &identity(0o40_700, vec![])),
            of_identity(b"d", &identity(0o40_000, vec![mode(0o600)])),
            of_identity(b"d", &identity(0o40_000, vec![mode(0o640)])),
            of_identity(b"d", &identity(0o40_000, vec![link("d/0")])),
            of_identity(b"d", &identity(0o40_000, vec![link("d/1")])),
            of_identity(b"d", &identity(0o40_000, vec![mode(0o640), link("d/1")])),
        ];
        let count = sums.len();
        sums.sort_unstable();
        sums.dedup();
        assert_eq!(sums.len(), count);
    }
}
