//! What a COPY takes: from the build context, or from the layers of another stage or image.

use std::collections::{BTreeMap, BTreeSet};

use longshore_runtime::entry::{Entry, Kind};

use super::error::BuildError;
use super::extract::{Spool, from_layer};
use super::layers::Layers;
use super::placement::{Pick, root_directory};
use super::tree::{Content, Placed, components, push};
use crate::blocking::blocking;
use crate::context::{ContextEntry, EntryKind, Selected};
use crate::ignore_rules::GoPattern;
use crate::layer::{IndexKind, MergedIndex};
use crate::plan::Place;
use crate::storage::Layer;

/// The picks of a COPY from the context. `time` is that of entries that have none of their own.
pub(super) fn from_context(
    entries: &[ContextEntry],
    selected: &[Selected],
    time: impl Fn(Option<i64>) -> i64,
) -> Vec<Pick> {
    let item = |index: usize, root: &[u8]| {
        let entry = &entries[index];
        let path = entry.path.strip_prefix(root).unwrap_or(&entry.path);
        let path = path.strip_prefix(b"/").unwrap_or(path).to_vec();
        let (kind, content) = match &entry.kind {
            EntryKind::File => (Kind::File { size: entry.size }, Content::Context(index)),
            EntryKind::Symlink { target } => {
                (Kind::Symlink { target: target.clone() }, Content::None)
            }
            EntryKind::Directory | EntryKind::Submodule => (Kind::Directory, Content::None),
        };
        let entry = Entry::new(path, kind, entry.mode, time(entry.mtime));
        Placed { entry, content, group: None }
    };
    let pick = |selected: &Selected| {
        let root = match selected.entry {
            Some(index) => item(index, &selected.root),
            None => root_directory(time(None)),
        };
        let below = selected.below.clone().map(|index| item(index, &selected.root));
        let items = std::iter::once(root).chain(below).collect();
        Pick { matched: selected.matched.clone(), items }
    };
    selected.iter().map(pick).collect()
}

/// The picks of a COPY from the image that `stack` makes.
///
/// # Errors
/// When a source that is no pattern does not exist, or a layer cannot be read.
pub(super) async fn from_image(
    layers: &Layers,
    stack: &[Layer],
    sources: &[String],
    place: &Place,
    spool: Spool,
) -> Result<(Vec<Pick>, Spool), BuildError> {
    let index = layers.merged(stack).await?;
    let mut found = Vec::new();
    for source in sources {
        let matches = matches(&index, source).map_err(|problem| {
            let message = format!("{source:?} {problem}");
            BuildError::from(place.error(message, None))
        })?;
        found.extend(matches);
    }
    let wishes: Vec<Wish> = found.iter().map(|at| Wish::new(&index, at)).collect();
    let (contents, spool) = fetch(layers, stack, &wishes, spool).await?;
    Ok((wishes.iter().map(|wish| wish.pick(&contents)).collect(), spool))
}

/// A matched path: as it was matched, and behind its links.
type Match = (Vec<u8>, Vec<u8>);

/// A path in one layer.
type Origin = (usize, Vec<u8>);

/// What was read of the layers.
type Contents = BTreeMap<Origin, (Entry, Content)>;

/// Something to be copied and where its parts are in the layers.
struct Wish {
    matched: Vec<u8>,
    parts: Vec<Part>,
}

struct Part {
    /// Relative to the matched path.
    path: Vec<u8>,
    /// Where its metadata and bytes are; for a hard link, where the link's target is.
    origin: Origin,
    /// What the index knows, for directories that no layer lists.
    fallback: Entry,
    /// Whether more than one name may lead to it.
    linked: bool,
}

impl Wish {
    fn new(index: &MergedIndex, (matched, resolved): &Match) -> Self {
        let mut parts = Vec::new();
        let mut ahead = vec![(resolved.clone(), Vec::new())];
        while let Some((at, path)) = ahead.pop() {
            parts.extend(Part::new(index, &at, path.clone()));
            let children: Vec<Vec<u8>> = index.list(&at).map(|(name, _)| name.to_vec()).collect();
            for name in children.into_iter().rev() {
                let (mut at, mut path) = (at.clone(), path.clone());
                push(&mut at, &name);
                push(&mut path, &name);
                ahead.push((at, path));
            }
        }
        Self { matched: matched.clone(), parts }
    }

    fn pick(&self, contents: &Contents) -> Pick {
        let mut groups: BTreeMap<&Origin, u64> = BTreeMap::new();
        let linked: BTreeSet<&Origin> =
            self.parts.iter().filter(|part| part.linked).map(|part| &part.origin).collect();
        let items = self.parts.iter().map(|part| {
            let (entry, content) = match contents.get(&part.origin) {
                Some((entry, content)) => (entry.clone(), *content),
                None => (part.fallback.clone(), Content::None),
            };
            let next = groups.len() as u64;
            let group =
                linked.contains(&part.origin).then(|| *groups.entry(&part.origin).or_insert(next));
            let entry = Entry { path: part.path.clone(), ..entry };
            Placed { entry, content, group }
        });
        Pick { matched: self.matched.clone(), items: items.collect() }
    }
}

impl Part {
    fn new(index: &MergedIndex, at: &[u8], path: Vec<u8>) -> Option<Self> {
        let found = index.lookup(at)?;
        let entry = found.entry;
        let (origin, linked) = match &entry.kind {
            IndexKind::HardLink { target } => ((found.layer, target.clone()), true),
            _ => ((found.layer, at.to_vec()), false),
        };
        let mut fallback = Entry::new(Vec::new(), Kind::Directory, entry.mode, 0);
        (fallback.uid, fallback.gid) = (entry.uid, entry.gid);
        Some(Self { path, origin, fallback, linked })
    }
}

async fn fetch(
    layers: &Layers,
    stack: &[Layer],
    wishes: &[Wish],
    mut spool: Spool,
) -> Result<(Contents, Spool), BuildError> {
    let mut wanted: BTreeMap<usize, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for part in wishes.iter().flat_map(|wish| &wish.parts) {
        let (layer, path) = part.origin.clone();
        wanted.entry(layer).or_default().insert(path);
    }
    let mut contents = Contents::new();
    for (number, paths) in wanted {
        let Some(layer) = stack.get(number) else { continue };
        let file = layers.file(layer).await?;
        let (read, back) = blocking(move || {
            let read = from_layer(&file, &paths, &mut spool);
            (read, spool)
        })
        .await;
        spool = back;
        contents.extend(read?.into_iter().map(|(path, found)| ((number, path), found)));
    }
    Ok((contents, spool))
}

/// The paths that a source means in an image; links in directories, and the source itself if it is
/// one, are followed.
fn matches(index: &MergedIndex, source: &str) -> Result<Vec<Match>, String> {
    let mut found = vec![(Vec::new(), Vec::new())];
    let mut is_pattern = false;
    for name in clean(source) {
        let pattern = is_wildcard(name).then(|| GoPattern::parse(name)).transpose();
        let pattern = pattern.map_err(|error| format!("is not a valid pattern: {error}"))?;
        is_pattern |= pattern.is_some();
        let mut next = Vec::new();
        for (matched, resolved) in found {
            let names: Vec<Vec<u8>> = match &pattern {
                Some(pattern) => index
                    .list(&resolved)
                    .map(|(name, _)| name.to_vec())
                    .filter(|name| pattern.matches(name))
                    .collect(),
                None => vec![name.to_vec()],
            };
            for name in names {
                let (mut matched, mut at) = (matched.clone(), resolved.clone());
                push(&mut matched, &name);
                push(&mut at, &name);
                let resolved = index.resolve(&at).map_err(|error| error.to_string())?;
                next.push((matched, resolved));
            }
        }
        found = next;
    }
    found.retain(|(_, resolved)| resolved.is_empty() || index.lookup(resolved).is_some());
    if found.is_empty() && !is_pattern {
        return Err("does not exist in the stage or image that --from names".to_owned());
    }
    Ok(found)
}

/// The names of a source, cleaned inside the root.
fn clean(source: &str) -> Vec<&[u8]> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in components(source.as_bytes()) {
        if name == b".." {
            names.pop();
        } else {
            names.push(name);
        }
    }
    names
}

fn is_wildcard(name: &[u8]) -> bool {
    name.iter().any(|byte| b"*?[\\".contains(byte))
}
