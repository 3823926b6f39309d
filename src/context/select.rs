//! What a COPY or ADD takes from a context.
//!
//! Sources are cleaned and clamped at the context's root as in Docker, matched by Go's
//! `filepath.Match`, and links *named by* a source (in any component, also the last) are followed
//! inside the context; links below a selected directory stay links. A literal source must exist; a
//! pattern may match nothing, as in BuildKit. Source: Docker's reference, "COPY", "Pattern
//! matching", and BuildKit's copy behaviour as published.

use thiserror::Error;

use super::path::{behind_links, is_below, join_names, split_name};
use super::source_pattern::{SourcePattern, Wildcards, has_wildcard};
use super::{At, ContextError, ContextSource, Identity};
use crate::ignore_rules::{BadPattern, clean_path};

/// One thing that a source matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    /// Which source it was, counted from nought.
    pub source: usize,
    /// The path that matched; its last component is the name in a destination directory.
    pub matched: Vec<u8>,
    /// The path after links were followed; empty for the context's root.
    pub root: Vec<u8>,
    /// What identifies what is at and below `root`.
    pub identity: Identity,
}

/// Why sources select nothing usable.
#[derive(Debug, Error)]
pub enum SelectError {
    /// The context cannot be read.
    #[error(transparent)]
    Context(#[from] ContextError),
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

/// Returns what each source takes of the context, in the order of the sources.
///
/// # Errors
/// When a literal source does not exist, a pattern is malformed, links loop, a submodule without
/// files is selected, or the context cannot be read.
pub fn select(
    context: &dyn ContextSource,
    sources: &[Vec<u8>],
    wildcards: Wildcards,
) -> Result<Vec<Selected>, SelectError> {
    let view = View { context, wildcards };
    let mut selected = Vec::new();
    for (index, source) in sources.iter().enumerate() {
        let matches = view.matches(source)?;
        for matched in matches.paths {
            selected.extend(view.follow(index, source, matched, matches.from_pattern)?);
        }
    }
    Ok(selected)
}

struct View<'a> {
    context: &'a dyn ContextSource,
    wildcards: Wildcards,
}

/// The paths that a source names, links not yet followed in their last component.
struct Matches {
    paths: Vec<Vec<u8>>,
    from_pattern: bool,
}

impl View<'_> {
    fn matches(&self, source: &[u8]) -> Result<Matches, SelectError> {
        let rooted = clean_path(&[b"/", source].concat());
        let cleaned = &rooted[1..];
        let parts: Vec<&[u8]> = cleaned.split(|&byte| byte == b'/').collect();
        let Some(first) = parts.iter().position(|part| has_wildcard(part)) else {
            return Ok(Matches { paths: vec![self.literal(cleaned)?], from_pattern: false });
        };
        let base = self.resolve(source, &parts[..first].join(&b'/'))?;
        let invalid = |bad| SelectError::Pattern { source_word: shown(source), source: bad };
        let pattern = SourcePattern::parse(&parts[first..], self.wildcards).map_err(invalid)?;
        let paths = match SourcePattern::levels(&parts[first..], self.wildcards) {
            Some(levels) => self.by_level(base, &levels)?,
            None => self.at_any_depth(&base, &pattern)?,
        };
        Ok(Matches { paths, from_pattern: true })
    }

    /// What matches a pattern that says something of each component: no other directory is read.
    fn by_level(
        &self,
        base: Vec<u8>,
        levels: &[SourcePattern],
    ) -> Result<Vec<Vec<u8>>, SelectError> {
        let mut found = vec![base];
        for level in levels {
            let mut next = Vec::new();
            for directory in found {
                if self.context.find(&directory)? != Some(At::Directory) {
                    continue;
                }
                let names = self.context.names(&directory)?;
                let matching = names.iter().filter(|name| level.matches(name));
                next.extend(matching.map(|name| join_names(&directory, name)));
            }
            found = next;
        }
        Ok(found)
    }

    /// What matches a pattern that has to be tried on every path below `base`. What lies in a
    /// match is part of it.
    fn at_any_depth(
        &self,
        base: &[u8],
        pattern: &SourcePattern,
    ) -> Result<Vec<Vec<u8>>, SelectError> {
        let Some(listing) = self.context.listing(base)? else { return Ok(Vec::new()) };
        let skip = if base.is_empty() { 0 } else { base.len() + 1 };
        let mut matches: Vec<Vec<u8>> = Vec::new();
        for entry in listing.entries().iter().filter(|entry| entry.path.len() > base.len()) {
            let inside = matches.last().is_some_and(|last| is_below(&entry.path, last));
            if !inside && pattern.matches(&entry.path[skip..]) {
                matches.push(entry.path.clone());
            }
        }
        Ok(matches)
    }

    /// A source without wildcards; backslashes count as escapes only if no such name exists.
    fn literal(&self, path: &[u8]) -> Result<Vec<u8>, SelectError> {
        if !path.contains(&b'\\') || self.context.find(path)?.is_some() {
            return Ok(path.to_vec());
        }
        let mut unescaped = Vec::with_capacity(path.len());
        let mut bytes = path.iter();
        while let Some(&byte) = bytes.next() {
            unescaped.push(if byte == b'\\' { *bytes.next().unwrap_or(&byte) } else { byte });
        }
        Ok(unescaped)
    }

    /// What a match is; nothing if a pattern matched a directory that is not part of the context.
    fn follow(
        &self,
        index: usize,
        source: &[u8],
        matched: Vec<u8>,
        from_pattern: bool,
    ) -> Result<Option<Selected>, SelectError> {
        let root = self.resolve(source, &matched)?;
        match self.context.identity(&root)? {
            Some(Identity { submodule: Some(path), .. }) => {
                Err(SelectError::Submodule { path: shown(&path) })
            }
            Some(identity) => Ok(Some(Selected { source: index, matched, root, identity })),
            None if from_pattern && root == matched => Ok(None),
            None => Err(self.absent(source, &matched, &root)?),
        }
    }

    fn absent(
        &self,
        source: &[u8],
        matched: &[u8],
        root: &[u8],
    ) -> Result<SelectError, SelectError> {
        let source_word = shown(source);
        Ok(match self.context.find(matched)? {
            Some(At::Symlink { .. }) => {
                let (link, target) = (shown(matched), shown(root));
                SelectError::DanglingLink { source_word, link, target }
            }
            _ => SelectError::NothingMatches { source_word, similar: self.similar(root)? },
        })
    }

    /// Follows the links in every component of a path; `..` and absolute targets stay inside.
    fn resolve(&self, source: &[u8], path: &[u8]) -> Result<Vec<u8>, SelectError> {
        let target = |path: &[u8]| match self.context.find(path)? {
            Some(At::Symlink { target }) => Ok::<_, ContextError>(Some(target)),
            _ => Ok(None),
        };
        behind_links(path, target)?.ok_or_else(|| SelectError::Links { source_word: shown(source) })
    }

    /// A name in the same directory that is nearly that of `path`.
    fn similar(&self, path: &[u8]) -> Result<Option<String>, SelectError> {
        let (directory, name) = split_name(path);
        if self.context.find(directory)? != Some(At::Directory) {
            return Ok(None);
        }
        let names = self.context.names(directory)?;
        let near = names
            .iter()
            .map(|other| (distance(name, other), other))
            .filter(|&(distance, other)| distance <= 2 && distance < name.len() && other != name)
            .min();
        Ok(near.map(|(_, other)| shown(&join_names(directory, other))))
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
