//! Which image of an index runs on a platform.
//!
//! The rules are containerd's for one architecture: spellings are normalised (`x86_64`, `aarch64`,
//! `armhf`), a missing variant is the architecture's usual one (`arm` is v7, `arm64` v8, `amd64`
//! v1), and an image for an older variant will do when there is none for the wanted one. An image
//! for another architecture never will, even if such processors could run it.

use super::manifest::{Descriptor, ImageError, IndexEntry};
use crate::model::Platform;

/// Selects the manifest for `platform`: the newest variant that is not newer than the wanted one,
/// the first of equals. A sole entry that names no platform is taken.
///
/// # Errors
/// When there is none; the error lists what there is.
pub fn select_platform(
    index: &[IndexEntry],
    platform: &Platform,
) -> Result<Descriptor, ImageError> {
    let wanted = Normal::of(platform);
    let best = index
        .iter()
        .filter_map(|entry| {
            let rank = wanted.rank(&Normal::of(entry.platform.as_ref()?))?;
            Some((rank, entry))
        })
        // Of equals the first: `max_by_key` alone would take the last.
        .rev()
        .max_by_key(|(rank, _)| *rank)
        .map(|(_, entry)| entry);
    let sole = match index {
        [entry] if entry.platform.is_none() => Some(entry),
        _ => None,
    };
    best.or(sole)
        .map(|entry| entry.descriptor.clone())
        .ok_or_else(|| ImageError::Platform { wanted: platform.clone(), present: present(index) })
}

fn present(index: &[IndexEntry]) -> String {
    // Attestations are listed as unknown/unknown and are no images.
    let images = index.iter().filter_map(|entry| entry.platform.as_ref());
    let names: Vec<String> =
        images.filter(|platform| platform.os != "unknown").map(Platform::to_string).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// A platform in one spelling.
#[derive(PartialEq, Eq)]
struct Normal {
    os: String,
    architecture: &'static str,
    other: String,
    variant: Variant,
}

/// A variant as a number where it has one.
#[derive(PartialEq, Eq)]
enum Variant {
    Level(u32),
    Named(String),
}

impl Normal {
    fn of(platform: &Platform) -> Self {
        let named = platform.architecture.to_lowercase();
        let variant = platform.variant.as_deref().unwrap_or_default().to_lowercase();
        let (architecture, usual) = match named.as_str() {
            "amd64" | "x86_64" | "x86-64" => ("amd64", "1"),
            "arm64" | "aarch64" => ("arm64", "8"),
            "386" | "i386" => ("386", ""),
            "armel" => ("arm", "6"),
            "arm" | "armhf" => ("arm", "7"),
            _ => ("", ""),
        };
        let level = variant.strip_prefix('v').unwrap_or(&variant);
        let level = if level.is_empty() || architecture == "386" { usual } else { level };
        let variant = match level.split('.').next().map(str::parse) {
            Some(Ok(number)) => Variant::Level(number),
            _ => Variant::Named(level.to_owned()),
        };
        let other = if architecture.is_empty() { named } else { String::new() };
        Self { os: platform.os.to_lowercase(), architecture, other, variant }
    }

    /// How well `offered` fits, higher is better; none when it does not.
    fn rank(&self, offered: &Self) -> Option<u32> {
        let same = (&self.os, self.architecture, &self.other)
            == (&offered.os, offered.architecture, &offered.other);
        match (&self.variant, &offered.variant) {
            _ if !same => None,
            (Variant::Level(wanted), Variant::Level(offered)) if offered <= wanted => {
                Some(*offered)
            }
            (Variant::Named(wanted), Variant::Named(offered)) if wanted == offered => Some(0),
            _ => None,
        }
    }
}
