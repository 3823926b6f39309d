//! longshore builds container images from a git repository inside an ordinary Kubernetes pod.

pub mod blocking;
pub mod build;
pub mod cli;
pub mod commands;
pub mod context;
pub mod dockerfile;
pub mod failure;
pub mod hashing;
pub mod ignore_rules;
pub mod image;
pub mod layer;
pub mod model;
pub mod output;
pub mod plan;
pub mod project;
pub mod registry;
pub mod report;
pub mod settings;
pub mod storage;
pub mod sync;
