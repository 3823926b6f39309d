//! Names of one file: what becomes of them together.

use std::collections::BTreeMap;
use std::io;

use super::candidates::Links;
use super::object::{Object, same};
use crate::init::lowers::{Found, Layers};

/// The files among the candidates that have several names.
#[derive(Debug)]
pub(super) struct Groups(BTreeMap<(u64, u64), Group>);

#[derive(Debug)]
struct Group {
    /// In order.
    names: Vec<Vec<u8>>,
    is_change: Option<bool>,
}

/// What a candidate that is no directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    Changed,
    /// Another name of a changed file.
    LinkTo(Vec<u8>),
}

impl Groups {
    pub(super) fn new(links: Links) -> Self {
        let groups = links.into_iter().filter(|(_, names)| names.len() > 1);
        Self(groups.map(|(id, names)| (id, Group { names, is_change: None })).collect())
    }

    /// What `object`, which is at `path`, is because of its other names; `None` if it has none.
    pub(super) fn verdict(
        &mut self,
        object: &Object<'_>,
        path: &[u8],
        layers: &Layers,
        clamp_mtime: Option<i64>,
    ) -> io::Result<Option<Verdict>> {
        if object.stat.st_nlink < 2 {
            return Ok(None);
        }
        let Some(group) = self.0.get_mut(&object.identity()) else { return Ok(None) };
        let is_change = match group.is_change {
            Some(is_change) => is_change,
            None => is_change(layers, &group.names, object, clamp_mtime)?,
        };
        group.is_change = Some(is_change);
        let first = &group.names[0];
        Ok(Some(match (is_change, first == path) {
            (false, _) => Verdict::Same,
            (true, true) => Verdict::Changed,
            (true, false) => Verdict::LinkTo(first.clone()),
        }))
    }
}

/// Whether one of the names of `object` is not a name of one equal file in the parent's tree.
fn is_change(
    layers: &Layers,
    names: &[Vec<u8>],
    object: &Object<'_>,
    clamp_mtime: Option<i64>,
) -> io::Result<bool> {
    let mut file = None;
    for name in names {
        let Found::Other(leaf) = layers.find(name)? else { return Ok(true) };
        let base = Object::of(&leaf);
        match file {
            None if !same(object, &base, clamp_mtime)? => return Ok(true),
            None => file = Some(base.identity()),
            Some(file) if file != base.identity() => return Ok(true),
            Some(_) => {}
        }
    }
    Ok(false)
}
