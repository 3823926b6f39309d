//! What a COPY or ADD takes from a context.
//!
//! Sources are cleaned and clamped at the context's root as in Docker, matched by Go's
//! `filepath.Match`, and links *named by* a source (in any component, also the last) are followed
//! inside the context; links below a selected directory stay links. A literal source must exist; a
//! pattern may match nothing, as in BuildKit. Source: Docker's reference, "COPY", "Pattern
//! matching", and BuildKit's copy behaviour as published.

use std::collections::VecDeque;
use std::ops::Range;

use thiserror::Error;

use super::checksum::is_below;
use super::source_pattern::{SourcePattern, Wildcards, has_wildcard};
use super::walk::by_components;
use super::{ContextEntry, EntryKind};
use crate::ignore_rules::{BadPattern, clean_path};

/// How many links a source may lead through.
const LINK_LIMIT: usize = 255;

/// One thing that a source matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Which source it was, counted from nought.
    pub source: usize,
    /// The path that matched; its last component is the name in a destination directory.
    pub matched: Vec<u8>,
    /// The path after links were followed; empty for the context's root.
    pub root: Vec<u8>,
    /// The entry at `root`; nothing for the context's root.
    pub entry: Option<usize>,
    /// Whether it is a directory, of which the content is copied.
    pub is_directory: bool,
    /// The entries below `root`.
    pub below: Range<usize>,
}

/// Why sources select nothing usable.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SelectError {
    /// A source that is no pattern does not exist.
    #[error("{source_word:?} is not in the build context{}", similar.as_ref().map(|name| format!("; there is {name:?}")).unwrap_or_default())]
    NothingMatches {
        /// The source as given.
        source_word: String,
        /// A path of nearly that name.
        similar: Option<String>,
    },
    /// A matched link leads to something that does not exist.
    #[error(
        "source {source_word:?}: link {link:?} leads to {target:?}, which is not in the build context"
    )]
    DanglingLink {
        /// The source as given.
        source_word: String,
        /// The link.
        link: String,
        /// Where it leads.
        target: String,
    },
    /// The pattern is malformed.
    #[error("source {source_word:?} is not valid")]
    Pattern {
        /// The source as given.
        source_word: String,
        /// What is wrong with it.
        source: BadPattern,
    },
    /// The links of a source never end.
    #[error("source {source_word:?} leads through too many links")]
    Links {
        /// The source as given.
        source_word: String,
    },
    /// A selected submodule has no files.
    #[error(
        "submodule {path:?} is not checked out; run git submodule update --init, or exclude it"
    )]
    Submodule {
        /// Its path.
        path: String,
    },
}

impl Selected {
    /// The positions of all entries that were selected, the root's own first.
    pub fn entries(&self) -> impl Iterator<Item = usize> + '_ {
        self.entry.into_iter().chain(self.below.clone())
    }
}

/// Returns what each source takes of `entries`, in the order of the sources.
///
/// # Errors
/// When a literal source does not exist, a pattern is malformed, links loop, or a submodule without
/// files is selected.
pub fn select(
    entries: &[ContextEntry],
    sources: &[Vec<u8>],
    wildcards: Wildcards,
) -> Result<Vec<Selected>, SelectError> {
    let view = View { entries, wildcards };
    let mut selected = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        for matched in view.matches(source)? {
            let one = view.follow(index, source, matched)?;
            view.refuse_submodules(&one)?;
            selected.push(one);
        }
    }
    Ok(selected)
}

struct View<'a> {
    entries: &'a [ContextEntry],
    wildcards: Wildcards,
}

impl View<'_> {
    /// The paths that a source names, links not yet followed in their last component.
    fn matches(&self, source: &[u8]) -> Result<Vec<Vec<u8>>, SelectError> {
        let rooted = clean_path(&[b"/", source].concat());
        let cleaned = &rooted[1..];
        let parts: Vec<&[u8]> = cleaned.split(|&byte| byte == b'/').collect();
        let Some(first) = parts.iter().position(|part| has_wildcard(part)) else {
            return Ok(vec![self.literal(cleaned)]);
        };
        let base = self.resolve(source, &parts[..first].join(&b'/'))?;
        let invalid = |bad| SelectError::Pattern { source_word: shown(source), source: bad };
        let pattern = SourcePattern::parse(&parts[first..], self.wildcards).map_err(invalid)?;
        let mut matches = Vec::new();
        let mut at = match self.position(&base) {
            Some(position) => position + 1,
            None if base.is_empty() => 0,
            None => return Ok(matches),
        };
        while let Some(entry) = self.entries.get(at).filter(|entry| is_below(&entry.path, &base)) {
            let skip = if base.is_empty() { 0 } else { base.len() + 1 };
            at = if pattern.matches(&entry.path[skip..]) {
                matches.push(entry.path.clone());
                self.below(at).end
            } else {
                at + 1
            };
        }
        Ok(matches)
    }

    /// A source without wildcards; backslashes count as escapes only if no such name exists.
    fn literal(&self, path: &[u8]) -> Vec<u8> {
        if !path.contains(&b'\\') || self.position(path).is_some() {
            return path.to_vec();
        }
        let mut unescaped = Vec::with_capacity(path.len());
        let mut bytes = path.iter();
        while let Some(&byte) = bytes.next() {
            unescaped.push(if byte == b'\\' { *bytes.next().unwrap_or(&byte) } else { byte });
        }
        unescaped
    }

    fn follow(
        &self,
        index: usize,
        source: &[u8],
        matched: Vec<u8>,
    ) -> Result<Selected, SelectError> {
        let root = self.resolve(source, &matched)?;
        let entry = self.position(&root);
        let (is_directory, below) = match entry {
            None if root.is_empty() => (true, 0..self.entries.len()),
            None => return Err(self.absent(source, &matched, &root)),
            Some(at) => (self.entries[at].is_directory(), self.below(at)),
        };
        Ok(Selected { source: index, matched, root, entry, is_directory, below })
    }

    fn absent(&self, source: &[u8], matched: &[u8], root: &[u8]) -> SelectError {
        let source_word = shown(source);
        match self.position(matched) {
            Some(_) => {
                let (link, target) = (shown(matched), shown(root));
                SelectError::DanglingLink { source_word, link, target }
            }
            None => SelectError::NothingMatches { source_word, similar: self.similar(root) },
        }
    }

    /// Follows the links in every component of a path; `..` and absolute targets stay inside.
    fn resolve(&self, source: &[u8], path: &[u8]) -> Result<Vec<u8>, SelectError> {
        let split = |path: &[u8]| -> Vec<Vec<u8>> {
            path.split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect()
        };
        let mut pending: VecDeque<Vec<u8>> = split(path).into();
        let mut resolved: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(part) = pending.pop_front() {
            match part.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    resolved.pop();
                    continue;
                }
                _ => resolved.push(part),
            }
            let here = self.position(&resolved.join(&b'/')).map(|at| &self.entries[at].kind);
            let Some(EntryKind::Symlink { target }) = here else {
                continue;
            };
            links += 1;
            if links > LINK_LIMIT {
                return Err(SelectError::Links { source_word: shown(source) });
            }
            match target.starts_with(b"/") {
                true => resolved.clear(),
                false => {
                    resolved.pop();
                }
            }
            for part in split(target).into_iter().rev() {
                pending.push_front(part);
            }
        }
        Ok(resolved.join(&b'/'))
    }

    fn position(&self, path: &[u8]) -> Option<usize> {
        self.entries.binary_search_by(|entry| by_components(&entry.path, path)).ok()
    }

    /// The entries below the one at `at`, which follow it.
    fn below(&self, at: usize) -> Range<usize> {
        let directory = &self.entries[at].path;
        let rest = &self.entries[at + 1..];
        let count = rest.partition_point(|entry| is_below(&entry.path, directory));
        at + 1..at + 1 + count
    }

    fn refuse_submodules(&self, selected: &Selected) -> Result<(), SelectError> {
        let missing = selected
            .entries()
            .map(|at| &self.entries[at])
            .find(|entry| entry.kind == EntryKind::Submodule);
        match missing {
            Some(entry) => Err(SelectError::Submodule { path: shown(&entry.path) }),
            None => Ok(()),
        }
    }

    /// An entry of the same directory whose name is nearly that of `path`.
    fn similar(&self, path: &[u8]) -> Option<String> {
        let (parent, name) = split_name(path);
        self.entries
            .iter()
            .filter(|entry| split_name(&entry.path).0 == parent)
            .map(|entry| (distance(name, split_name(&entry.path).1), &entry.path))
            .filter(|&(distance, _)| distance <= 2 && distance < name.len())
            .min()
            .map(|(_, path)| shown(path))
    }
}

fn split_name(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

/// Edits between two names, where the case of a letter costs none.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(!x.eq_ignore_ascii_case(y));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests;
