//! What a COPY takes: from the build context, or from the layers of another stage or image.
//!
//! Of another image the indexes say which layers have what is wanted; only these are fetched, side
//! by side, as files that were verified before anything is read out of them. They are not read
//! while they are downloaded: several COPYs of a build take from the same image, and a file that
//! was seen half-way could not be used before the layer's end anyway, as only the layer as a whole
//! has a digest.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use longshore_runtime::entry::{Entry, Kind};

use super::error::BuildError;
use super::extract::{Spool, from_layer};
use super::layers::Layers;
use super::placement::{Pick, root_directory};
use super::tree::{Content, Placed, components, push, shown};
use crate::blocking::blocking;
use crate::context::{ContextEntry, EntryKind, Inode, Listing, Selected};
use crate::ignore_rules::GoPattern;
use crate::layer::{IndexKind, MergedIndex};
use crate::plan::{InlineFile, Place};
use crate::storage::Layer;

/// How many hard links to hard links are followed in a layer.
const LINKS: usize = 64;
/// Permission bits of files that stand in the Dockerfile.
const INLINE_MODE: u32 = 0o644;
/// How many layers are fetched at a time.
const SIDE_BY_SIDE: usize = 4;

/// The picks of a COPY from the context; `listings` are what was selected, each of one thing.
/// `time` is that of entries that have none of their own.
pub(super) fn from_context(
    listings: &[Listing],
    selected: &[Selected],
    time: impl Fn(Option<i64>) -> i64,
) -> Vec<Pick> {
    let pick = |(number, (listing, selected)): (usize, (&Listing, &Selected))| {
        let entries = listing.entries();
        let groups = hard_links(entries);
        let item = |(index, entry): (usize, &ContextEntry)| {
            let content = Content::Context { listing: number, entry: index };
            let group = entry.inode.and_then(|inode| groups.get(&inode).copied());
            Placed { group, ..placed(entry, &selected.root, content, time(entry.mtime)) }
        };
        let own = entries.first().is_some_and(|entry| entry.path == selected.root);
        let root = (!own).then(|| root_directory(time(None)));
        let items = root.into_iter().chain(entries.iter().enumerate().map(item)).collect();
        Pick { matched: selected.matched.clone(), items }
    };
    listings.iter().zip(selected).enumerate().map(pick).collect()
}

/// The picks of files that stand in the Dockerfile.
pub(super) fn inline(files: &[InlineFile], time: i64) -> impl Iterator<Item = Pick> {
    files.iter().enumerate().map(move |(file, InlineFile { name, text })| {
        let kind = Kind::File { size: text.len() as u64 };
        let entry = Entry::new("", kind, INLINE_MODE, time);
        let placed = Placed { entry, content: Content::Inline { file }, group: None };
        Pick { matched: name.clone().into_bytes(), items: vec![placed] }
    })
}

/// What an entry of the context is below the selected `root`; `content` is where a file's bytes are.
fn placed(entry: &ContextEntry, root: &[u8], content: Content, time: i64) -> Placed {
    let path = entry.path.strip_prefix(root).unwrap_or(&entry.path);
    let path = path.strip_prefix(b"/").unwrap_or(path).to_vec();
    let (kind, content) = match &entry.kind {
        EntryKind::File => (Kind::File { size: entry.size }, content),
        EntryKind::Symlink { target } => (Kind::Symlink { target: target.clone() }, Content::None),
        EntryKind::Directory | EntryKind::Submodule => (Kind::Directory, Content::None),
    };
    Placed { entry: Entry::new(path, kind, entry.mode, time), content, group: None }
}

/// The files of which several names are selected, numbered: in the image, as in BuildKit, they are
/// one file as well.
fn hard_links(entries: &[ContextEntry]) -> BTreeMap<Inode, u64> {
    let mut names: BTreeMap<Inode, u64> = BTreeMap::new();
    for inode in entries.iter().filter_map(|entry| entry.inode) {
        *names.entry(inode).or_default() += 1;
    }
    let linked = names.into_iter().filter(|&(_, names)| names > 1);
    linked.zip(0..).map(|((inode, _), group)| (inode, group)).collect()
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
    let (contents, spool) = fetch(layers, stack, &index, &wishes, spool).await?;
    let picks: Result<_, _> = wishes.iter().map(|wish| wish.pick(&contents)).collect();
    let picks = picks.map_err(|path| {
        place.error(format!("/{path} is missing in the layer that lists it"), None)
    })?;
    Ok((picks, spool))
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
    /// Where its metadata and bytes are.
    origin: Origin,
    /// What the index knows of a directory, which no layer needs to list.
    directory: Option<Entry>,
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

    /// Names that lead to one file of a layer stay names of one file.
    fn pick(&self, contents: &Contents) -> Result<Pick, String> {
        let mut names: BTreeMap<Origin, u64> = BTreeMap::new();
        for part in &self.parts {
            *names.entry(followed(contents, &part.origin)).or_default() += 1;
        }
        let mut groups: BTreeMap<Origin, u64> = BTreeMap::new();
        let mut items = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let origin = followed(contents, &part.origin);
            let (entry, content) = match (contents.get(&origin), &part.directory) {
                (Some((entry, content)), _) => (entry.clone(), *content),
                (None, Some(entry)) => (entry.clone(), Content::None),
                (None, None) => return Err(shown(&part.origin.1)),
            };
            let next = groups.len() as u64;
            let linked = names.get(&origin).is_some_and(|&names| names > 1);
            let group = linked.then(|| *groups.entry(origin).or_insert(next));
            let entry = Entry { path: part.path.clone(), ..entry };
            items.push(Placed { entry, content, group });
        }
        Ok(Pick { matched: self.matched.clone(), items })
    }
}

impl Part {
    fn new(index: &MergedIndex, at: &[u8], path: Vec<u8>) -> Option<Self> {
        let found = index.lookup(at)?;
        let directory = (found.entry.kind == IndexKind::Directory).then(|| Entry {
            uid: found.entry.uid,
            gid: found.entry.gid,
            ..Entry::new(Vec::new(), Kind::Directory, found.entry.mode, 0)
        });
        Some(Self { path, origin: (found.layer, at.to_vec()), directory })
    }
}

/// Where the file is that `origin` names, through hard links of its layer.
fn followed(contents: &Contents, origin: &Origin) -> Origin {
    let mut origin = origin.clone();
    // Links of an archive that was read point to entries before them, so this ends; the bound is
    // for one that lies.
    for _ in 0..LINKS {
        match contents.get(&origin).map(|(entry, _)| &entry.kind) {
            Some(Kind::HardLink { target }) => origin.1.clone_from(target),
            _ => break,
        }
    }
    origin
}

/// Reads what is wished for, each layer once.
async fn fetch(
    layers: &Layers,
    stack: &[Layer],
    index: &MergedIndex,
    wishes: &[Wish],
    mut spool: Spool,
) -> Result<(Contents, Spool), BuildError> {
    let wanted = wanted(index, wishes);
    let holders: Vec<Layer> =
        wanted.keys().filter_map(|number| stack.get(*number)).cloned().collect();
    let fetches = holders.into_iter().map(|layer| async move { layers.file(&layer).await });
    let fetches = stream::iter(fetches).buffer_unordered(SIDE_BY_SIDE);
    fetches.try_for_each(|_| std::future::ready(Ok(()))).await?;
    let mut contents = Contents::new();
    for (number, paths) in wanted {
        let Some(layer) = stack.get(number) else { continue };
        let (file, diff_id) = (layers.file(layer).await?, layer.diff_id);
        let (read, back) = blocking(move || {
            let read = from_layer(&file, diff_id, &paths, &mut spool);
            (read, spool)
        })
        .await;
        spool = back;
        contents.extend(read?.into_iter().map(|(path, found)| ((number, path), found)));
    }
    Ok((contents, spool))
}

/// What is wanted of each layer: the parts themselves, and what their hard links lead to.
fn wanted(index: &MergedIndex, wishes: &[Wish]) -> BTreeMap<usize, BTreeSet<Vec<u8>>> {
    let mut wanted: BTreeMap<usize, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for part in wishes.iter().flat_map(|wish| &wish.parts) {
        let (number, path) = &part.origin;
        let paths = wanted.entry(*number).or_default();
        let targets = index.layers().get(*number).map(|layer| layer.link_targets(path));
        paths.extend(targets.into_iter().flatten().map(<[u8]>::to_vec));
        paths.insert(path.clone());
    }
    wanted
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
