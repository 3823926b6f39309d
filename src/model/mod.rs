//! Pure values that every other module speaks in: digests, references, stage names, platforms.
//!
//! Nothing here does I/O, and nothing here knows another module. Text forms are parsed by
//! `FromStr` and printed by `Display`; a value that parsed is valid.

mod digest;
mod platform;
mod reference;
mod stage_name;

pub use digest::{DiffId, Digest, DigestError, StageDigest};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError, Repository};
pub use stage_name::{StageName, StageNameError, pointer_tag};
