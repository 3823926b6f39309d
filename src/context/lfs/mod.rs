//! Files in Git LFS: pointers, and the program that knows where what they point to is.
//!
//! - [`Pointer`]: the text that git has instead of the file. Pure.
//! - [`LfsPointers`]: what becomes of an entry that is one. Outside git it is refused.
//! - [`LfsProgram`]: the machine's `git-lfs`, which is the one filter that is ever run, and only
//!   where it was allowed. What other filters a repository's settings name is never run: an entry
//!   with such a filter is what lies on disk, or what is committed.
//!
//! A pointer is told by its text, as git-lfs tells it, and not by `.gitattributes`. The stage's
//! digest has the id of the pointer as of any other content, which has the digest of the file in it.
//!
//! Invariants: whatever the program gives, a stream ends without an error only if it has the length
//! and the SHA-256 of the pointer; nothing is resident that grows with the file; what the program
//! says is shown without what may be a password in an address.

mod error;
mod handling;
mod pointer;
mod program;
mod stream;
mod words;

pub use error::LfsError;
pub use handling::LfsPointers;
pub use program::LfsProgram;

pub(super) use handling::refuse_pointer;
pub(super) use program::LfsPlace;

use pointer::Pointer;
