//! Lowering and digests, from the text of a Dockerfile.

mod config;
mod digests;
mod errors;
mod mounts;
mod stages;
mod variables;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::context::{ContextOptions, RepositoryUse};
use crate::dockerfile;
use crate::hashing::sha256;
use crate::ignore_rules::IgnoreRules;
use crate::image::{ImageConfig, ImageFormat};
use crate::model::Digest;
use crate::storage::Layer;

/// One build, as a table row can vary it.
pub(crate) struct Build {
    pub(crate) text: String,
    pub(crate) file: String,
    pub(crate) args: BTreeMap<String, String>,
    pub(crate) target: Option<String>,
    pub(crate) platform: String,
    pub(crate) ignore: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) times: Times,
    pub(crate) context: tempfile::TempDir,
    /// Configs of bases by their normalised reference, as JSON.
    pub(crate) bases: BTreeMap<String, serde_json::Value>,
    /// Layers of bases by their normalised reference.
    pub(crate) layers: BTreeMap<String, Vec<Layer>>,
    /// Replaces the manifest digest of every base.
    pub(crate) manifest: Option<Digest>,
}

pub(crate) fn build(text: &str) -> Build {
    Build {
        text: text.to_owned(),
        file: "Dockerfile".to_owned(),
        args: BTreeMap::new(),
        target: None,
        platform: "linux/amd64".to_owned(),
        ignore: String::new(),
        labels: BTreeMap::new(),
        times: Times { commit: Some(1_700_000_000), now: 1_800_000_000, ..Times::default() },
        context: tempfile::tempdir().unwrap(),
        bases: BTreeMap::new(),
        layers: BTreeMap::new(),
        manifest: None,
    }
}

pub(crate) fn write(root: &Path, path: &str, content: &str) {
    let place = root.join(path);
    fs_err::create_dir_all(place.parent().unwrap()).unwrap();
    fs_err::write(&place, content).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs_err::set_permissions(place, mode).unwrap();
}

impl Build {
    pub(crate) fn arg(mut self, name: &str, value: &str) -> Self {
        self.args.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn target(mut self, name: &str) -> Self {
        self.target = Some(name.to_owned());
        self
    }

    /// Adds a base whose `config` is the JSON `config`.
    pub(crate) fn base(mut self, name: &str, config: serde_json::Value) -> Self {
        let whole = serde_json::json!({"os": "linux", "architecture": "amd64", "config": config});
        self.bases.insert(format!("docker.io/library/{name}:latest"), whole);
        self
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        write(self.context.path(), path, content);
        self
    }

    /// Gives the base `name` its layers.
    pub(crate) fn layered(mut self, name: &str, layers: &[Layer]) -> Self {
        self.layers.insert(format!("docker.io/library/{name}:latest"), layers.to_vec());
        self
    }

    fn resolved(&self, source: &ImageSource) -> Base {
        let reference = source.reference.to_string();
        let empty = serde_json::json!({"os": "linux", "architecture": "amd64"});
        let config = self.bases.get(&reference).unwrap_or(&empty).to_string();
        let manifest = self.manifest.unwrap_or_else(|| {
            sha256(format!("{reference} {} {config}", source.platform).as_bytes())
        });
        let config = ImageConfig::from_bytes(config.as_bytes()).unwrap();
        let layers = self.layers.get(&reference).cloned().unwrap_or_default();
        Base { reference, manifest, format: ImageFormat::Oci, config, layers }
    }

    fn request(&self, name: &str) -> Result<ImageRequest, PlanError> {
        let dockerfile = Arc::new(dockerfile::parse(&self.file, &self.text)?);
        let platform = self.platform.parse().unwrap();
        let given = Given::new(self.args.clone(), &platform, &"linux/amd64".parse().unwrap());
        let graph = graph(&dockerfile, self.target.as_deref(), &given, &platform)?;
        let options = ContextOptions {
            ignore: IgnoreRules::parse(".dockerignore", self.ignore.as_bytes()).unwrap(),
            repository: RepositoryUse::Ignore,
            ..ContextOptions::default()
        };
        Ok(ImageRequest {
            name: name.to_owned(),
            dockerfile,
            graph,
            context: crate::context::open(self.context.path(), options)?.into(),
            given,
            times: self.times,
            labels: self.labels.clone(),
            format: "oci".to_owned(),
        })
    }

    pub(crate) fn plan(&self) -> Result<Plan, PlanError> {
        let mut plan = Plan::default();
        self.add_to(&mut plan, "image")?;
        Ok(plan)
    }

    /// Plans this build besides what `plan` has already.
    pub(crate) fn add_to(&self, plan: &mut Plan, name: &str) -> Result<(), PlanError> {
        let request = self.request(name)?;
        let mut bases = BTreeMap::new();
        for source in request.graph.images(&request.dockerfile)?.into_keys() {
            bases.insert(source.clone(), BaseId(plan.bases.len()));
            plan.bases.push(self.resolved(&source));
        }
        lower(plan, &bases, &request)
    }

    /// The image's config as JSON.
    pub(crate) fn config(&self) -> serde_json::Value {
        let plan = self.plan().unwrap();
        serde_json::from_slice(&plan.images[0].config.to_bytes()).unwrap()
    }

    /// The RUN steps of the plan.
    pub(crate) fn runs(&self) -> Vec<RunStep> {
        let runs = self.plan().unwrap().stages.into_iter().filter_map(|stage| match stage.step {
            Step::Run(step) => Some(step),
            _ => None,
        });
        runs.collect()
    }

    /// The instructions that make layers, in the plan's order.
    pub(crate) fn instructions(&self) -> Vec<String> {
        let stages = self.plan().unwrap().stages;
        stages.into_iter().map(|stage| stage.instruction).collect()
    }

    pub(crate) fn error(&self) -> String {
        match self.plan() {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        }
    }
}
