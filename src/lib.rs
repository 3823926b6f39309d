//! longshore builds container images from a git repository inside an ordinary Kubernetes pod or
//! rootless CI container: no daemon, no privileged pod.
//!
//! # Bird's eye
//! A Dockerfile becomes a plan of **stages**. The **digest** of every stage is computed from its
//! inputs before anything is built, so a stage is looked up before it is made. COPY, ADD and
//! WORKDIR stages are assembled straight from git objects and layer indexes; RUN stages are
//! executed on the best **rung** that the pod allows. Finished stages are published to
//! **storage**, where every other builder finds them under a **pointer**.
//!
//! Two front doors lead to one engine: `longshore build`, and `longshore executor` with kaniko's
//! command line.
//!
//! # Code map, in the order of the data
//! | module | what it does | I/O |
//! |---|---|---|
//! | [`cli`] | clap types, one file a verb | – |
//! | [`settings`] | flags and environment to checked values; the only reader of the environment | environment |
//! | [`commands`] | the verbs; wires the parts together | – |
//! | [`project`], [`dockerfile`], [`ignore_rules`] | texts to values, with positions | – |
//! | [`context`] | the files of a build: git (here or elsewhere), worktree or directory; what identifies them | files; HTTP and `ssh` in `remote` |
//! | [`plan`] | instructions to stages and digests; `resolve` asks registries for bases | HTTP in `resolve` |
//! | [`build`] | obtains stages on demand: looks up, builds, publishes | all below |
//! | [`layer`] | canonical tar, compression, spooled blobs, layer indexes | files |
//! | [`doctor`] | what a pod can do, in words and as JSON | – |
//! | [`image`] | configs and manifests as bytes | – |
//! | [`storage`] | stages and images in a registry repository or an OCI layout | HTTP, files |
//! | [`registry`] | the client of the distribution API | HTTP |
//! | [`sync`] | locks between builders | files |
//! | [`output`], [`report`], [`failure`] | what is said, what is left behind, how it ends | terminal, files |
//! | [`ring`] | a file of bounded size between a layer's writer and its upload | files |
//! | [`model`], [`hashing`], [`blocking`] | vocabulary, the one hasher, the one door to blocking work | – |
//!
//! The crate `longshore-runtime` runs steps: probe, ladder, namespaces, change detection. It is the
//! only place with system calls and `unsafe`, and knows no registry, git or async code.
//!
//! # Invariants
//! - Invariant: parse, plan, digest and placement are functions of values; async code only waits
//!   for the network, timers and signals.
//! - Invariant: dependents hash a parent's *content digest*, never its name in storage, so every
//!   digest is known before anything is built.
//! - Invariant: correctness comes from content addressing; locks only save work.
//! - Invariant: a stage's tag never appears before its blobs, a digest file never before its push.
//! - Invariant: same inputs and same commit (or SOURCE_DATE_EPOCH), same bytes, on every machine
//!   and for every number of threads.
//! - Invariant: nothing that is resident grows with a layer or a file.
//! - Invariant: every byte that is pulled is verified against its digest.
//! - Invariant: what is not supported is an error that names the place, never a silent pass.
//! - Invariant: RUN never sees the builder's credentials, environment or files.
//!
//! # Glossary
//! **Stage**: one cached step of an image, stored as `DIGEST-MILLIS`. **Pointer**: the tag
//! `at-DIGEST`, under which a stage or image is found without listing. **Diff id**: digest of a
//! layer's uncompressed tar. **Chain id**: digest of a stack of layers. **Layer index**: what is in
//! a layer, without the content of its files. **Rung**: one way of executing RUN. **Door**: one of
//! the two command lines.
//!
//! Deliberately absent: a job queue, a solver, a daemon, plugins.

#![forbid(unsafe_code)]

pub mod blocking;
pub mod build;
pub mod cli;
pub mod commands;
pub mod context;
pub mod dockerfile;
pub mod doctor;
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
pub mod ring;
pub mod settings;
pub mod storage;
pub mod sync;
