//! Users and groups of an image: who a `--chown` or a USER means.

use std::collections::BTreeSet;

use super::error::BuildError;
use super::extract::{Spool, from_layer};
use super::layers::Layers;
use super::tree::Content;
use crate::blocking::blocking;
use crate::layer::{Accounts, AccountsFile, MergedIndex, Owner};
use crate::plan::Place;
use crate::storage::Layer;

/// Account files above this are not read (bytes).
const LIMIT: u64 = 1 << 20;

/// Whose owner is looked up, and by which rule.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who<'a> {
    /// The value of `--chown`.
    Chown(&'a str),
    /// The USER in force; empty for root.
    User(&'a str),
}

/// An image whose users are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image<'a> {
    pub(super) stack: &'a [Layer],
    pub(super) index: &'a MergedIndex,
}

/// Returns the owner that `who` means in `image`.
///
/// # Errors
/// With the instruction's place, when a name is not in the image.
pub(super) async fn owner(
    layers: &Layers,
    image: Image<'_>,
    who: Who<'_>,
    place: &Place,
    spool: Spool,
) -> Result<(Owner, Spool), BuildError> {
    let text = match who {
        Who::Chown(text) | Who::User(text) => text,
    };
    if text.is_empty() {
        return Ok((Owner::default(), spool));
    }
    let (passwd, spool) = read(layers, image, image.index.passwd(), spool).await?;
    let (group, spool) = read(layers, image, image.index.group(), spool).await?;
    let accounts = Accounts::parse(passwd.as_deref(), group.as_deref());
    let owner = match who {
        Who::Chown(text) => accounts.owner(text),
        Who::User(text) => {
            accounts.identity(text).map(|identity| Owner { uid: identity.uid, gid: identity.gid })
        }
    };
    owner.map(|owner| (owner, spool)).map_err(|error| place.error(error.to_string(), None).into())
}

/// The content of an accounts file, which may be a link to some other file of the image.
async fn read<E: std::fmt::Display>(
    layers: &Layers,
    image: Image<'_>,
    file: Result<AccountsFile<'_>, E>,
    mut spool: Spool,
) -> Result<(Option<Vec<u8>>, Spool), BuildError> {
    let path = match file {
        Ok(AccountsFile::Known(content)) => return Ok((Some(content.to_vec()), spool)),
        Ok(AccountsFile::Elsewhere(path)) => path,
        Ok(AccountsFile::Absent) | Err(_) => return Ok((None, spool)),
    };
    let Some(found) = image.index.lookup(&path) else { return Ok((None, spool)) };
    let indexes = image.index.layers();
    let (Some(layer), Some(index)) = (image.stack.get(found.layer), indexes.get(found.layer))
    else {
        return Ok((None, spool));
    };
    let path = index.link_targets(&path).last().map_or(path.clone(), <[u8]>::to_vec);
    let (archive, diff_id) = (layers.file(layer).await?, layer.diff_id);
    blocking(move || {
        let found = from_layer(&archive, diff_id, &BTreeSet::from([path.clone()]), &mut spool)?;
        let content = match found.get(&path) {
            Some((_, Content::Spool { offset, length })) if *length <= LIMIT => {
                let mut bytes = Vec::new();
                let read = spool
                    .open(*offset, *length)
                    .and_then(|mut reader| std::io::Read::read_to_end(&mut reader, &mut bytes));
                read.map(|_| bytes).ok()
            }
            _ => None,
        };
        Ok((content, spool))
    })
    .await
}
