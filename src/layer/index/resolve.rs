//! Paths as a process in the image would follow them, never leaving its root.

use thiserror::Error;

use super::layer_index::IndexKind;
use super::merged::MergedIndex;
use crate::layer::path::{components, display, push_component, split_last};

/// How many links are followed, as in Linux (path_resolution(7)).
const HOPS: usize = 40;

/// Links that go round in a circle, or are nested too deeply.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("too many levels of symbolic links in {path}")]
pub struct LoopError {
    path: String,
}

impl MergedIndex {
    /// The path behind `path` with every symbolic link followed: absolute targets start at the
    /// image's root, and `..` above the root stays there. What does not exist is kept as it is.
    ///
    /// # Errors
    /// When more than 40 links are met.
    pub fn resolve(&self, path: &[u8]) -> Result<Vec<u8>, LoopError> {
        let mut resolved = Vec::new();
        let mut hops = 0;
        // Components that are still to come, the next one last.
        let mut ahead: Vec<Vec<u8>> = components(path).rev().map(<[u8]>::to_vec).collect();
        while let Some(name) = ahead.pop() {
            if name == b".." {
                let parent = split_last(&resolved).0.len();
                resolved.truncate(parent);
                continue;
            }
            let parent = resolved.len();
            push_component(&mut resolved, &name);
            let entry = self.lookup(&resolved).map(|found| &found.entry.kind);
            let Some(IndexKind::Symlink { target }) = entry else { continue };
            hops += 1;
            if hops > HOPS {
                return Err(LoopError { path: display(path) });
            }
            resolved.truncate(if target.starts_with(b"/") { 0 } else { parent });
            ahead.extend(components(target).rev().map(<[u8]>::to_vec));
        }
        Ok(resolved)
    }

    /// Like [`MergedIndex::resolve`], but the last component stays as it is, link or not.
    ///
    /// # Errors
    /// When more than 40 links are met.
    pub fn resolve_parent(&self, path: &[u8]) -> Result<Vec<u8>, LoopError> {
        let mut parts: Vec<&[u8]> = components(path).collect();
        let last = match parts.pop() {
            Some(last) if last != b".." => last,
            _ => return self.resolve(path),
        };
        let mut resolved = self.resolve(&parts.join(&b'/'))?;
        push_component(&mut resolved, last);
        Ok(resolved)
    }
}
