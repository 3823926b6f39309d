//! From an address to a repository on disk that holds one commit.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::connection::{Connection, Doors};
use super::pack::{Incoming, Mismatch, Untaken};
use super::server::{self, Server};
use super::{Credentials, RemoteAddress, RemoteError, Revision};
use crate::blocking::blocking;

/// How many pieces of a pack (at most 64 KiB each) may wait to be stored.
const WAITING: usize = 16;

/// Why there is no HTTP client.
pub type ClientError = Box<dyn StdError + Send + Sync>;

/// A context in a repository elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteContext {
    /// The repository.
    pub address: RemoteAddress,
    /// The commit.
    pub revision: Revision,
    /// The directory in it that is the context: a relative path without `..`; or the whole.
    pub below: Option<String>,
    /// What to show to the server, if it is reached over HTTP.
    pub credentials: Option<Credentials>,
}

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedContext {
    /// Where the context is: a bare repository that has the commit as its HEAD, or the path of
    /// the directory in the commit behind the path of the repository.
    pub directory: PathBuf,
    /// The commit's id.
    pub commit: String,
}

/// Fetches a commit into `directory`, which is made.
///
/// # Errors
/// When the server cannot be reached, refuses, or does not have what is asked for.
pub async fn fetch(
    context: &RemoteContext,
    directory: &Path,
    doors: &Doors<'_>,
) -> Result<FetchedContext, RemoteError> {
    let fetched = attempt(context, directory, doors).await;
    fetched.map_err(|error| hidden(error, context.credentials.as_ref()))
}

async fn attempt(
    context: &RemoteContext,
    directory: &Path,
    doors: &Doors<'_>,
) -> Result<FetchedContext, RemoteError> {
    let place = context.address.to_string();
    let store = |source: Box<dyn StdError + Send + Sync>| RemoteError::Store {
        place: place.clone(),
        directory: directory.to_owned(),
        source,
    };
    let incoming = Incoming::new(directory).map_err(|error| store(error.into()))?;
    tracing::debug!(%place, "connecting to a git server");
    let mut connection =
        Connection::open(&context.address, context.credentials.as_ref(), doors).await?;
    let (server, id) = match server::find(&mut connection, &context.revision).await {
        Ok(found) => found,
        Err(error) => return Err(connection.explain(error).await),
    };
    tracing::debug!(%place, %id, "fetching a commit");
    let stored = receive(connection, &server, &id, incoming.clone()).await?;
    stored.map_err(|untaken| match untaken {
        Untaken::Unsound(source) => RemoteError::Unsound { place: place.clone(), source },
        Untaken::Unstored(source) => store(source),
    })?;
    let (wanted, below) = (id.clone(), context.below.clone());
    let checked = blocking(move || incoming.finish(&wanted, below.as_deref())).await;
    let commit = checked.map_err(store)?.map_err(|mismatch| match mismatch {
        Mismatch::NotACommit(source) => {
            RemoteError::NotACommit { place: place.clone(), wanted: id.clone(), source }
        }
        Mismatch::NoDirectory => RemoteError::NoDirectory {
            place: place.clone(),
            commit: id.clone(),
            below: context.below.clone().unwrap_or_default(),
        },
    })?;
    let directory = match &context.below {
        Some(below) => directory.join(below),
        None => directory.to_owned(),
    };
    Ok(FetchedContext { directory, commit })
}

/// Receives and stores a pack side by side. The outer error is the connection's, the inner one that
/// of storing.
async fn receive(
    mut connection: Connection,
    server: &Server,
    id: &str,
    incoming: Incoming,
) -> Result<Result<(), Untaken>, RemoteError> {
    let (sender, pieces) = mpsc::channel(WAITING);
    let storing = blocking(move || incoming.take(pieces));
    let receiving = async {
        let outcome = server::fetch(&mut connection, server, id, &sender).await;
        // The pack ends here, whole or not.
        drop(sender);
        outcome
    };
    let (received, stored) = futures_util::future::join(receiving, storing).await;
    match received {
        Ok(()) => {
            connection.end().await;
            Ok(stored)
        }
        Err(error) => Err(connection.explain(error).await),
    }
}

/// An error without what was sent to the server, should the server have said it.
fn hidden(mut error: RemoteError, credentials: Option<&Credentials>) -> RemoteError {
    let Some(credentials) = credentials else { return error };
    match &mut error {
        RemoteError::Unauthorized { detail, .. }
        | RemoteError::RepositoryNotFound { detail, .. }
        | RemoteError::Broken { detail, .. }
        | RemoteError::Refused { detail, .. } => *detail = credentials.hide(detail),
        _ => {}
    }
    error
}
