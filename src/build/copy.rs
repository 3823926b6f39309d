//! COPY, ADD and WORKDIR: layers assembled from files, without a root file system.
//!
//! What must be known of the parent image (links, existing directories, users) comes from layer
//! indexes; its files are never unpacked here.

use std::io::{self, Read};
use std::sync::Arc;

use longshore_runtime::entry::Kind;

use super::accounts::{Image, Who, owner};
use super::engine::Shared;
use super::error::BuildError;
use super::extract::{Spool, Unpacking, is_archive};
use super::picks;
use super::placement::{Pick, Placement};
use super::sending;
use super::tree::{Content, Implied, PlaceError, Tree};
use crate::blocking::blocking;
use crate::context::{
    ContextEntry, ContextError, ContextSource, EntryKind, Listing, SelectError, Selected,
};
use crate::layer::{LayerBlob, LayerError, MergedIndex};
use crate::plan::{CopyKind, CopySource, CopyStep, Place, StageId, Step, WorkdirStep};
use crate::storage::Layer;

/// Everything that the blocking half of a COPY needs.
struct Assembly {
    shared: Arc<Shared>,
    stage: StageId,
    index: MergedIndex,
    picks: Vec<Pick>,
    /// What was selected of the context.
    listings: Vec<Listing>,
    owner: Option<crate::layer::Owner>,
    spool: Spool,
}

/// Builds the layer of a COPY or ADD stage upon `parent`; `from` are the layers that `--from`
/// names.
pub(super) async fn copy(
    shared: &Arc<Shared>,
    stage: StageId,
    parent: &[Layer],
    from: Option<&[Layer]>,
) -> Result<LayerBlob, BuildError> {
    let spec = shared.plan.stage(stage);
    let Step::Copy(step) = &spec.step else { unreachable!("only COPY stages get here") };
    let index = shared.layers.merged(parent).await?;
    let mut spool = new_spool(shared).await?;
    let mut chown = None;
    if let Some(text) = &step.chown {
        let (who, image) = (Who::Chown(text), Image { stack: parent, index: &index });
        let found = owner(&shared.layers, image, who, &spec.place, spool).await?;
        (chown, spool) = (Some(found.0), found.1);
    }
    let mut listings = Vec::new();
    let mut picks = match &step.source {
        CopySource::Context { context, selected } => {
            listings = list(context, selected, &spec.place).await?;
            let times = spec.times;
            picks::from_context(&listings, selected, |own| times.of_context(own))
        }
        CopySource::Image { sources, .. } => {
            let stack = from.unwrap_or_default();
            let found =
                picks::from_image(&shared.layers, stack, sources, &spec.place, spool).await?;
            spool = found.1;
            found.0
        }
    };
    picks.extend(picks::inline(&step.inline, spec.times.of_context(None)));
    if picks.is_empty() {
        let hint = "every pattern of the instruction is without a match".to_owned();
        return Err(spec.place.error("no file matches", Some(hint)).into());
    }
    let shared = Arc::clone(shared);
    let assembly = Assembly { shared, stage, index, picks, listings, owner: chown, spool };
    blocking(move || assembly.run()).await
}

/// Lists what was selected of the context.
async fn list(
    context: &Arc<dyn ContextSource>,
    selected: &[Selected],
    place: &Place,
) -> Result<Vec<Listing>, BuildError> {
    let (context, place) = (Arc::clone(context), place.clone());
    let roots: Vec<Vec<u8>> = selected.iter().map(|selected| selected.root.clone()).collect();
    blocking(move || {
        let mut listings = Vec::new();
        for root in &roots {
            let listing = context.listing(root)?.unwrap_or_default();
            // The id of a whole tree says nothing of what is in it, so this may be the first look.
            let mut entries = listing.entries().iter();
            if let Some(missing) = entries.find(|entry| entry.kind == EntryKind::Submodule) {
                let path = String::from_utf8_lossy(&missing.path).into_owned();
                let message = SelectError::Submodule { path }.to_string();
                return Err(place.error(message, None).into());
            }
            listings.push(listing);
        }
        Ok(listings)
    })
    .await
}

/// Builds the layer of a WORKDIR stage upon `parent`; it is empty where the directory exists.
pub(super) async fn workdir(
    shared: &Arc<Shared>,
    stage: StageId,
    step: &WorkdirStep,
    parent: &[Layer],
) -> Result<LayerBlob, BuildError> {
    let spec = shared.plan.stage(stage);
    let place = &spec.place;
    let index = shared.layers.merged(parent).await?;
    let spool = new_spool(shared).await?;
    let (who, image) = (Who::User(&step.user), Image { stack: parent, index: &index });
    let (owner, _spool) = owner(&shared.layers, image, who, place, spool).await?;
    let implied = Implied { uid: owner.uid, gid: owner.gid, mtime: spec.times.of_context(None) };
    let (shared, place, path) = (Arc::clone(shared), place.clone(), step.path.clone());
    blocking(move || {
        let mut tree = Tree::new(&index);
        let made =
            tree.resolve(path.as_bytes()).and_then(|resolved| tree.directories(&resolved, implied));
        made.map_err(|error| place.error(error.to_string(), None))?;
        let mut none =
            |_: Content| -> io::Result<Box<dyn Read + Send>> { Ok(Box::new(io::empty())) };
        sending::write(&shared, stage, &mut |sink| tree.emit(sink, &mut none))
    })
    .await
}

impl Assembly {
    fn run(mut self) -> Result<LayerBlob, BuildError> {
        let shared = Arc::clone(&self.shared);
        let spec = shared.plan.stage(self.stage);
        let Step::Copy(step) = &spec.step else { unreachable!("only COPY stages get here") };
        let index = std::mem::take(&mut self.index);
        let mut tree = Tree::new(&index);
        let placement = Placement {
            destination: step.destination.as_bytes(),
            into_directory: step.into_directory,
            owner: self.owner,
            mode: step.chmod,
            mtime: spec.times.of_context(None),
        };
        let refuse =
            |error: PlaceError| BuildError::from(spec.place.error(error.to_string(), None));
        self.measure(step)?;
        for mut pick in std::mem::take(&mut self.picks) {
            if pick.items.iter().any(|item| item.group.is_some()) {
                let groups = tree.next_group();
                for item in &mut pick.items {
                    item.group = item.group.map(|group| group + groups);
                }
            }
            match self.archive(step, &pick)? {
                Some(archive) => self.unpack(&mut tree, &placement, archive, &spec.place)?,
                None => placement.place(&mut tree, &pick).map_err(refuse)?,
            }
        }
        self.write(&tree, step)
    }

    /// Gives files of the context the length that they have in a layer: a pointer may stand for more.
    fn measure(&mut self, step: &CopyStep) -> Result<(), BuildError> {
        let CopySource::Context { context, .. } = &step.source else { return Ok(()) };
        for item in self.picks.iter_mut().flat_map(|pick| &mut pick.items) {
            if let (Kind::File { size }, Content::Context { listing, entry }) =
                (&mut item.entry.kind, item.content)
            {
                *size = context.length(&self.listings[listing].entries()[entry])?;
            }
        }
        Ok(())
    }

    /// The bytes of a pick that ADD unpacks.
    fn archive(
        &self,
        step: &CopyStep,
        pick: &Pick,
    ) -> Result<Option<Box<dyn Read + Send>>, BuildError> {
        let (CopyKind::Add, CopySource::Context { context, .. }, [file]) =
            (step.kind, &step.source, pick.items.as_slice())
        else {
            return Ok(None);
        };
        let (Kind::File { .. }, Content::Context { listing, entry }) =
            (&file.entry.kind, file.content)
        else {
            return Ok(None);
        };
        let entry = &self.listings[listing].entries()[entry];
        if is_archive(context.open(entry)?) { Ok(Some(context.open(entry)?)) } else { Ok(None) }
    }

    fn unpack(
        &mut self,
        tree: &mut Tree<'_>,
        placement: &Placement<'_>,
        archive: Box<dyn Read + Send>,
        place: &Place,
    ) -> Result<(), BuildError> {
        let refuse = |error: PlaceError| BuildError::from(place.error(error.to_string(), None));
        let directory = tree.resolve(placement.destination).map_err(refuse)?;
        tree.directories(&directory, placement.implied()).map_err(refuse)?;
        let mut unpacking = Unpacking {
            groups: tree.next_group(),
            tree,
            spool: &mut self.spool,
            directory,
            owner: self.owner,
            implied: placement.implied(),
            latest: self.shared.plan.stage(self.stage).times.epoch,
            failure: None,
        };
        let done = unpacking.run(archive);
        match (unpacking.failure, done) {
            (Some(error), _) => Err(refuse(error)),
            (None, done) => Ok(done?),
        }
    }

    fn write(&self, tree: &Tree<'_>, step: &CopyStep) -> Result<LayerBlob, BuildError> {
        let mut open = |content| match content {
            Content::Spool { offset, length } => self.spool.open(offset, length),
            Content::Context { listing, entry } => {
                let entry = &self.listings[listing].entries()[entry];
                open_entry(step, entry).map_err(io::Error::other)
            }
            Content::Inline { file } => {
                let text = step.inline[file].text.clone().into_bytes();
                Ok(Box::new(io::Cursor::new(text)) as Box<dyn Read + Send>)
            }
            Content::None => Ok(Box::new(io::empty()) as Box<dyn Read + Send>),
        };
        let shared = &self.shared;
        let written = sending::write(shared, self.stage, &mut |sink| tree.emit(sink, &mut open));
        written.map_err(of_the_context)
    }
}

fn open_entry(step: &CopyStep, entry: &ContextEntry) -> Result<Box<dyn Read + Send>, ContextError> {
    let CopySource::Context { context, .. } = &step.source else {
        unreachable!("only COPY from the context refers to its entries")
    };
    context.open(entry)
}

/// What failed in a file of the context, when it was opened or while it was read, is no fault of the
/// layer.
fn of_the_context(error: BuildError) -> BuildError {
    match error {
        BuildError::Layer(LayerError::Write { dir, source }) => {
            match source.downcast::<ContextError>() {
                Ok(error) => error.into(),
                Err(source) => LayerError::Write { dir, source }.into(),
            }
        }
        other => other,
    }
}

async fn new_spool(shared: &Shared) -> Result<Spool, BuildError> {
    let (directory, interrupt) = (shared.place.clone(), shared.interrupt.clone());
    blocking(move || {
        Spool::new(&directory, interrupt)
            .map_err(|source| BuildError::File { path: directory.join("spool"), source })
    })
    .await
}
