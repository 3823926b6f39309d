//! Reads `longshore.yaml`: the images of a repository and how each is built.
//!
//! ```yaml
//! project: shop            # names locks, caches and the default layout; optional
//! images:
//!   - name: api
//!     dockerfile: docker/api.Dockerfile   # default: Dockerfile
//!     context: .                          # default: .
//!     target: prod                        # default: the last stage
//!     args: { VERSION: "1.2" }
//! ```
//!
//! `dockerfile` and `context` are both relative to the directory of `longshore.yaml` (the
//! Dockerfile is *not* looked for in the context) and may not leave it. Numbers and booleans in
//! `args` count as the text they are written with: `1.20` stays `1.20`.
//!
//! The module is pure: it reads no file and does not look whether the paths exist. Unknown keys,
//! duplicate names and second documents are errors that name file, line and column.

mod error;
mod name;
mod path;
mod read;
mod spec;

pub use error::{Problem, ProjectError};
pub use name::{ImageName, NameError, ProjectName};
pub use path::{PathError, ProjectPath};
pub use read::parse;
pub use spec::{ImageSpec, Project};

#[cfg(test)]
mod tests;
