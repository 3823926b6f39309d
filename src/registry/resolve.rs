//! Finding a base image: mirrors in order, then the original.
//!
//! A mirror that lacks the image, refuses or cannot be reached is passed over; only the last place
//! is waited for with all repetitions.

use std::collections::VecDeque;

use super::{ManifestHead, RawManifest, Registry, RegistryError, RegistryOptions, Side, manifests};
use crate::model::{Reference, Repository};

/// Repetitions at a place that others come after.
const HASTY_RETRIES: u32 = 1;

/// A base image's manifest and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The repository that had it; its blobs are there too.
    pub repository: Repository,
    /// The manifest.
    pub manifest: RawManifest,
}

/// A base image's digest and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedHead {
    /// The repository that had it.
    pub repository: Repository,
    /// What it told.
    pub head: ManifestHead,
}

pub(super) async fn manifest(
    registry: &Registry,
    reference: &Reference,
) -> Result<Resolved, RegistryError> {
    let selector = reference.selector();
    let mut search = Search::new(&registry.wire().options, reference);
    while let Some((repository, retries)) = search.next_place() {
        let found = match registry.place_within(&repository, Side::Pull, retries).await {
            Ok(place) => manifests::get(registry.wire(), &place, &selector).await,
            Err(error) => Err(error),
        };
        if let Some(manifest) = search.judge(&repository, found) {
            return Ok(Resolved { repository, manifest });
        }
    }
    Err(search.failure())
}

pub(super) async fn head(
    registry: &Registry,
    reference: &Reference,
) -> Result<ResolvedHead, RegistryError> {
    let selector = reference.selector();
    let mut search = Search::new(&registry.wire().options, reference);
    while let Some((repository, retries)) = search.next_place() {
        let found = match registry.place_within(&repository, Side::Pull, retries).await {
            Ok(place) => manifests::head(registry.wire(), &place, &selector).await,
            Err(error) => Err(error),
        };
        if let Some(head) = search.judge(&repository, found) {
            return Ok(ResolvedHead { repository, head });
        }
    }
    Err(search.failure())
}

/// The places still to ask, and what the others said.
#[derive(Debug)]
struct Search {
    reference: String,
    retries: u32,
    left: VecDeque<Repository>,
    tried: Vec<String>,
    /// Whether a place was asked and does not have it.
    missing: bool,
    error: Option<RegistryError>,
}

impl Search {
    fn new(options: &RegistryOptions, reference: &Reference) -> Self {
        Self {
            reference: reference.to_string(),
            retries: options.retries,
            left: places(options, &reference.repository).into(),
            tried: Vec::new(),
            missing: false,
            error: None,
        }
    }

    fn next_place(&mut self) -> Option<(Repository, u32)> {
        let repository = self.left.pop_front()?;
        let hasty = self.retries.min(HASTY_RETRIES);
        let retries = if self.left.is_empty() { self.retries } else { hasty };
        Some((repository, retries))
    }

    fn judge<T>(
        &mut self,
        repository: &Repository,
        found: Result<Option<T>, RegistryError>,
    ) -> Option<T> {
        match found {
            Ok(Some(found)) => return Some(found),
            Ok(None) => {
                self.missing = true;
                self.tried.push(repository.to_string());
            }
            Err(error) => {
                tracing::debug!(%repository, %error, "a place to pull from failed");
                self.tried.push(format!("{repository}: {error}"));
                self.error = Some(error);
            }
        }
        None
    }

    /// Missing counts more than failing, so that an image which the only mirror in reach lacks is
    /// not reported as a network failure.
    fn failure(self) -> RegistryError {
        match self.error {
            Some(error) if !self.missing => error,
            _ => RegistryError::NotFound { reference: self.reference, tried: self.tried },
        }
    }
}

/// Where to look for `repository`, in order and each place once.
fn places(options: &RegistryOptions, repository: &Repository) -> Vec<Repository> {
    let mirrors: Vec<Repository> =
        options.mirrors.iter().filter_map(|mirror| mirror.rewrite(repository)).collect();
    let with_original = mirrors.is_empty() || !options.no_mirror_fallback;
    let mut places: Vec<Repository> = Vec::new();
    for place in mirrors.into_iter().chain(with_original.then(|| repository.clone())) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::super::Mirror;
    use super::*;

    #[test]
    fn mirrors_come_first_and_the_original_unless_it_is_barred() {
        let mirrors = Mirror::parse_map("docker.io=a.lan;docker.io=b.lan;docker.io=a.lan").unwrap();
        let mut options = RegistryOptions { mirrors, ..RegistryOptions::default() };
        let shown = |options: &RegistryOptions, text: &str| {
            let places = places(options, &Repository::parse(text).unwrap());
            places.iter().map(Repository::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(shown(&options, "x/y"), "a.lan/x/y b.lan/x/y docker.io/x/y");
        options.no_mirror_fallback = true;
        assert_eq!(shown(&options, "x/y"), "a.lan/x/y b.lan/x/y");
        assert_eq!(shown(&options, "ghcr.io/x/y"), "ghcr.io/x/y");
    }
}
