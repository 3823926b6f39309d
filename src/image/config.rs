//! The image config: OCI's fields, Docker's extensions, and every unknown field.
//!
//! Invariants: a config serialises to the same bytes every time (fields in the order of the
//! structs, maps sorted, unknown fields last and sorted); reading keeps what it does not know, at
//! every level, and takes `null` for anything that may be absent.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::manifest::ImageError;
use crate::model::{DiffId, Platform};

/// Fields that are carried along without being understood.
type Unknown = BTreeMap<String, Value>;

/// An image config (OCI image spec, "Properties").
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Processor architecture in Go's spelling.
    #[serde(default, deserialize_with = "lenient")]
    pub architecture: String,
    /// Variant of the architecture.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub variant: String,
    /// Operating system.
    #[serde(default, deserialize_with = "lenient")]
    pub os: String,
    /// Version of the operating system.
    #[serde(
        rename = "os.version",
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "String::is_empty"
    )]
    pub os_version: String,
    /// Features of the operating system.
    #[serde(
        rename = "os.features",
        default,
        deserialize_with = "lenient",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub os_features: Vec<String>,
    /// What a container is started with.
    #[serde(default, deserialize_with = "lenient")]
    pub config: ContainerConfig,
    /// The layers.
    #[serde(default, deserialize_with = "lenient")]
    pub rootfs: RootFs,
    /// How each layer came to be.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Everything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// What a container is started with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `USER`.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// `EXPOSE`: `80/tcp` to an empty object.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Value>,
    /// `ENV`, in the order of setting.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// `ENTRYPOINT`; empty is not the same as absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// `CMD`; empty is not the same as absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// `HEALTHCHECK` (Docker).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Whether the command is escaped already (Docker on Windows).
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "is_false")]
    pub args_escaped: bool,
    /// `VOLUME`: a path to an empty object.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Value>,
    /// `WORKDIR`.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    /// `ONBUILD` triggers (Docker).
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    pub on_build: Vec<String>,
    /// `LABEL`.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `STOPSIGNAL`.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    /// Seconds until a stopping container is killed (Docker).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// `SHELL` (Docker).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Vec<String>>,
    /// Everything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `HEALTHCHECK`; durations in nanoseconds, zero inherits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Healthcheck {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", …]`.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// Between two checks.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// Until a check counts as failed.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// While failures do not count.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// Between two checks in the start period.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// How many failures in a row are unhealthy.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "is_zero")]
    pub retries: i64,
    /// Everything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// The layers of an image, bottom first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default = "layers")]
    pub kind: String,
    /// The layers' diff ids.
    #[serde(default, deserialize_with = "lenient")]
    pub diff_ids: Vec<DiffId>,
    /// Everything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// How one layer, or a change of the config, came to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// The instruction.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Who.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// A remark.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// Whether there is no layer for it.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "is_false")]
    pub empty_layer: bool,
    /// Everything else.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl ImageConfig {
    /// The config of an image without layers for `platform`.
    pub fn scratch(platform: &Platform) -> Self {
        Self {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone().unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Reads a config.
    ///
    /// # Errors
    /// When it is not JSON, or a known field has another type.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ImageError> {
        serde_json::from_slice(bytes).map_err(ImageError::Config)
    }

    /// Serialises the config; equal configs have equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and sorted maps always serialise")
    }

    /// The platform it is for.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: Some(self.variant.clone()).filter(|variant| !variant.is_empty()),
        }
    }

    /// The value of an environment variable.
    pub fn env(&self, name: &str) -> Option<&str> {
        self.config.env.iter().rev().find_map(|pair| {
            pair.split_once('=').filter(|(key, _)| *key == name).map(|(_, value)| value)
        })
    }
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: layers(), diff_ids: Vec::new(), unknown: Unknown::new() }
    }
}

fn layers() -> String {
    "layers".to_owned()
}

/// Takes `null` as absent; Go writes it for empty lists and maps.
pub(super) fn lenient<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}
