//! The patterns that sources of COPY and ADD are.

use crate::ignore_rules::{BadPattern, GoPattern};

/// What a component `**` of a source means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wildcards {
    /// The same as `*`: Go's rule, and that of a COPY without `--parents`.
    #[default]
    OneLevel,
    /// Any number of directories: the rule of `COPY --parents`.
    AnyDepth,
}

/// The part of a source from its first wildcard on.
pub(super) enum SourcePattern {
    Whole(GoPattern),
    /// One pattern for a component; nothing for `**`.
    Components(Vec<Option<GoPattern>>),
}

impl SourcePattern {
    /// Parses the components of a source.
    pub(super) fn parse(parts: &[&[u8]], wildcards: Wildcards) -> Result<Self, BadPattern> {
        if wildcards == Wildcards::OneLevel {
            return GoPattern::parse(&parts.join(&b'/')).map(Self::Whole);
        }
        let component = |part: &&[u8]| match *part {
            b"**" => Ok(None),
            part => GoPattern::parse(part).map(Some),
        };
        parts.iter().map(component).collect::<Result<_, _>>().map(Self::Components)
    }

    /// One pattern for each component, where that says the same: not where a pattern reaches over
    /// several of them by `**`, a bracket (which may match a slash) or an escaped slash.
    pub(super) fn levels(parts: &[&[u8]], wildcards: Wildcards) -> Option<Vec<Self>> {
        let reaches = |part: &&[u8]| {
            part.contains(&b'[')
                || part.ends_with(b"\\")
                || (wildcards == Wildcards::AnyDepth && *part == b"**")
        };
        if parts.iter().any(reaches) {
            return None;
        }
        let level = |part: &&[u8]| GoPattern::parse(part).map(Self::Whole).ok();
        parts.iter().map(level).collect()
    }

    /// Tells whether a path matches as a whole.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Whole(pattern) => pattern.matches(path),
            Self::Components(patterns) => {
                let parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
                components_match(patterns, &parts)
            }
        }
    }
}

/// Carries the set of components reached, so that several `**` cost no more than one.
fn components_match(patterns: &[Option<GoPattern>], parts: &[&[u8]]) -> bool {
    let mut reached = vec![false; parts.len() + 1];
    reached[0] = true;
    for pattern in patterns {
        let mut next = vec![false; parts.len() + 1];
        for at in (0..=parts.len()).filter(|&at| reached[at]) {
            match pattern {
                None => next[at..].fill(true),
                Some(pattern) if at < parts.len() => next[at + 1] |= pattern.matches(parts[at]),
                Some(_) => {}
            }
        }
        reached = next;
    }
    reached[parts.len()]
}

/// Tells whether a component is more than a name.
pub(super) fn has_wildcard(part: &[u8]) -> bool {
    let mut bytes = part.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}
