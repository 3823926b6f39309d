//! Registry flags of both doors.

use std::path::PathBuf;

use super::{Environment, StorageChoice};
use crate::cli::{ExecutorRegistryArgs, RegistryArgs};
use crate::failure::Failure;
use crate::registry::{Mirror, RegistryOptions, Secret};

/// The options of `longshore build`.
pub(super) fn of_build(
    args: &RegistryArgs,
    environment: &Environment,
) -> Result<RegistryOptions, Failure> {
    Ok(RegistryOptions {
        insecure: args.insecure_registry.iter().cloned().collect(),
        skip_tls_verify: args.skip_tls_verify_registry.iter().cloned().collect(),
        certificates: certificates(&args.registry_certificate)?,
        mirrors: mirrors(&args.registry_mirror)?,
        no_mirror_fallback: args.skip_default_registry_fallback,
        ..common(environment)
    })
}

/// The options of `longshore executor`, where kaniko's environment variables count as well.
///
/// The cache is pulled from as it is pushed to: kaniko has no flags of its own for it.
pub(super) fn of_executor(
    args: &ExecutorRegistryArgs,
    storage: &StorageChoice,
    environment: &Environment,
) -> Result<RegistryOptions, Failure> {
    let or_variable = |flags: &[String], name: &str, separator: char| -> Vec<String> {
        match (flags, environment.get(name)) {
            ([], Some(text)) => {
                text.split(separator).filter(|part| !part.is_empty()).map(str::to_owned).collect()
            }
            (flags, _) => flags.to_vec(),
        }
    };
    let mut all = Vec::new();
    for map in or_variable(&args.registry_map, "KANIKO_REGISTRY_MAP", ';') {
        all.extend(Mirror::parse_map(&map).map_err(Failure::usage)?);
    }
    all.extend(mirrors(&or_variable(&args.registry_mirror, "KANIKO_REGISTRY_MIRROR", ','))?);
    let cache = match storage {
        StorageChoice::Repo(cache) => Some(cache.registry.clone()),
        StorageChoice::Layout | StorageChoice::None => None,
    };
    let with_cache = |hosts: &[String], pushes: bool| {
        hosts.iter().cloned().chain(cache.clone().filter(|_| pushes)).collect()
    };
    let defaults = RegistryOptions::default();
    Ok(RegistryOptions {
        insecure: with_cache(&args.insecure_registry, args.insecure),
        insecure_pull: args.insecure_pull,
        insecure_push: args.insecure,
        skip_tls_verify: with_cache(&args.skip_tls_verify_registry, args.skip_tls_verify),
        skip_tls_verify_pull: args.skip_tls_verify_pull,
        skip_tls_verify_push: args.skip_tls_verify,
        certificates: certificates(&args.registry_certificate)?,
        mirrors: all,
        no_mirror_fallback: args.skip_default_registry_fallback,
        retries: defaults.retries.max(args.push_retry).max(args.image_download_retry),
        ..common(environment)
    })
}

fn common(environment: &Environment) -> RegistryOptions {
    RegistryOptions {
        credentials: environment.credentials(),
        auth_env: environment.get("DOCKER_AUTH_CONFIG").map(|text| Secret::new(text.to_owned())),
        ..RegistryOptions::default()
    }
}

fn certificates(flags: &[String]) -> Result<Vec<(String, PathBuf)>, Failure> {
    let split = |flag: &String| match flag.split_once('=') {
        Some((host, path)) if !path.is_empty() => Ok((host.to_owned(), PathBuf::from(path))),
        _ => Err(Failure::usage(format!("--registry-certificate {flag:?} is not HOST=FILE"))),
    };
    flags.iter().map(split).collect()
}

fn mirrors(flags: &[String]) -> Result<Vec<Mirror>, Failure> {
    flags.iter().map(|flag| Mirror::parse(flag).map_err(Failure::usage)).collect()
}
