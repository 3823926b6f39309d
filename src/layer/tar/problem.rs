//! What is wrong with an archive, and where.

use thiserror::Error;

use crate::layer::path::PathProblem;

/// Where an archive is malformed, and how.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("entry {entry} at byte {offset}: {problem}")]
pub struct ArchiveError {
    /// The entry's name, or the last one before the problem.
    pub entry: String,
    /// Offset of its header in the uncompressed archive.
    pub offset: u64,
    /// What is wrong.
    pub problem: ArchiveProblem,
}

/// How an archive is malformed, or what it holds that is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ArchiveProblem {
    /// The block is no header.
    #[error("not a tar header (the checksum does not fit)")]
    Checksum,
    /// The archive ends too early.
    #[error("the archive is truncated")]
    Truncated,
    /// Data follows a zero block.
    #[error("data after the end of the archive")]
    AfterEnd,
    /// A numeric field is malformed or does not fit.
    #[error("the {0} is no valid number")]
    Number(&'static str),
    /// An extended header is malformed.
    #[error("malformed extended header: {0}")]
    Pax(String),
    /// A header is larger than what is taken.
    #[error("a header of {0} bytes is too large")]
    Large(u64),
    /// Two headers of one kind in front of one entry, of which readers take one or the other.
    #[error("two {0} in front of one entry")]
    Twice(&'static str),
    /// A name that ends in a slash and is no directory's, as content follows.
    #[error("a directory with {0} bytes of content")]
    Content(u64),
    /// An extended attribute that no file system takes.
    #[error("extended attribute {name} of {bytes} bytes is beyond what Linux can store")]
    Attribute {
        /// Its name.
        name: String,
        /// Bytes of its value.
        bytes: usize,
    },
    /// More extended attributes than a file can have.
    #[error("{0} bytes of names of extended attributes are beyond what Linux can store")]
    Attributes(usize),
    /// A record of a global header would change entries.
    #[error("a global extended header sets {0:?}")]
    Global(String),
    /// The name is refused.
    #[error("{0}")]
    Path(#[from] PathProblem),
    /// The link's target is refused.
    #[error("link target: {0}")]
    Target(PathProblem),
    /// A link to nowhere.
    #[error("the link has no target")]
    NoTarget,
    /// The root, but not a directory.
    #[error("the root can only be a directory")]
    Root,
    /// A whiteout of nothing, `.` or `..`, or something below a whiteout.
    #[error("not a valid whiteout")]
    Whiteout,
    /// A sparse file.
    #[error("sparse files are not supported; pack the archive without --sparse")]
    Sparse,
    /// A type that is not a file system object.
    #[error("unsupported entry type {0:?}")]
    Type(char),
}
