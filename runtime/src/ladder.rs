//! Which rung of the ladder a pod can take: a pure function of what the probe found and of what a
//! step needs.
//!
//! [`Rung::OverlayOne`] and [`Rung::Translate`] do not execute anything yet. They are named, so that
//! it can be said what a pod would be good for, but are never returned by [`choose`].
//!
//! - `needs` is what steps may ask for, `lacks` what keeps a rung from a pod or a step;
//! - `change` and `remedy` find the smallest change of the pod that helps;
//! - `refusal` says all that.

mod change;
mod lacks;
mod needs;
mod refusal;
mod remedy;

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

pub use change::Change;
pub use lacks::Lack;
pub use needs::{Need, Needs};
pub use refusal::Refusal;
pub use remedy::{Remedy, remedies};

use crate::capabilities::Capabilities;

/// A way to run steps, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// User namespace with many ids, overlay, own root.
    OverlayFull,
    /// User namespace with one id, overlay, emulated owners.
    OverlayOne,
    /// `chroot` in a directory of its own.
    Chroot,
    /// Path translation by tracing.
    Translate,
    /// No steps are run.
    None,
}

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// The best rung that works.
    #[default]
    Auto,
    /// An overlay rung or nothing.
    Overlay,
    /// The chroot rung or nothing.
    Chroot,
    /// Never run a step.
    None,
}

/// Chooses the rung for a step with these `needs`.
///
/// # Errors
/// When no available rung that `choice` allows can execute it here.
pub fn choose(caps: &Capabilities, needs: &Needs, choice: Choice) -> Result<Rung, Refusal> {
    if choice == Choice::None {
        return Ok(Rung::None);
    }
    let works = |rung: &&Rung| rung.lacks(caps, needs).is_empty();
    match choice.rungs().iter().find(works) {
        Some(rung) => Ok(*rung),
        None => Err(Refusal::new(caps, needs, choice)),
    }
}

impl Rung {
    /// All rungs, best first.
    pub const ALL: [Self; 5] =
        [Self::OverlayFull, Self::OverlayOne, Self::Chroot, Self::Translate, Self::None];

    /// Whether this version executes steps on it.
    pub const fn is_available(self) -> bool {
        matches!(self, Self::OverlayFull | Self::Chroot)
    }

    /// What keeps the rung from executing a step with these `needs` in such a pod.
    pub fn lacks(self, caps: &Capabilities, needs: &Needs) -> Vec<Lack> {
        lacks::of(self, caps, needs)
    }
}

impl Choice {
    /// The available rungs that it allows, best first.
    const fn rungs(self) -> &'static [Rung] {
        match self {
            Self::Auto => &[Rung::OverlayFull, Rung::Chroot],
            Self::Overlay => &[Rung::OverlayFull],
            Self::Chroot => &[Rung::Chroot],
            Self::None => &[],
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OverlayFull => "overlay-full",
            Self::OverlayOne => "overlay-one",
            Self::Chroot => "chroot",
            Self::Translate => "translate",
            Self::None => "none",
        })
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Overlay => "overlay",
            Self::Chroot => "chroot",
            Self::None => "none",
        })
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Auto, Self::Overlay, Self::Chroot, Self::None]
            .into_iter()
            .find(|choice| choice.to_string() == text)
            .ok_or_else(|| format!("{text:?} is none of auto, overlay, chroot, none"))
    }
}

#[cfg(test)]
mod tests;
