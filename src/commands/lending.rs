//! What the command line lends to RUN steps, read when a build starts: so that a file that is not
//! there is said at once, and not when the step comes.

use std::collections::BTreeMap;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use longshore_runtime::Secret;

use crate::build::Lent;
use crate::failure::{Failure, Outcome};
use crate::settings::{SecretSource, StepSettings};

/// The most that a secret may have: BuildKit's limit.
const MAX_SECRET: u64 = 500 << 10;

/// Reads secrets and looks for agents; blocking.
pub(super) fn read(settings: &StepSettings) -> Outcome<Lent> {
    let mut secrets = BTreeMap::new();
    for (id, source) in &settings.secrets {
        let secret = match source {
            SecretSource::Value(value) => value.clone(),
            SecretSource::File(path) => file(id, path)?,
        };
        secrets.insert(id.clone(), secret);
    }
    for (id, socket) in &settings.agents {
        check_agent(id, socket)?;
    }
    Ok(Lent { secrets, agents: settings.agents.clone() })
}

fn file(id: &str, path: &Path) -> Outcome<Secret> {
    let failed = |error: std::io::Error| Failure::usage(format!("--secret id={id}: {error}"));
    let metadata = fs_err::metadata(path).map_err(failed)?;
    let refused = |reason: String| {
        Err(Failure::usage(format!("--secret id={id}: {} {reason}", path.display())))
    };
    if metadata.is_dir() {
        return refused("is a directory".to_owned());
    }
    if metadata.len() > MAX_SECRET {
        return refused(format!("has {} bytes, more than {MAX_SECRET}", metadata.len()));
    }
    let bytes = fs_err::read(path).map_err(failed)?;
    if bytes.len() as u64 > MAX_SECRET {
        return refused(format!("has more than {MAX_SECRET} bytes"));
    }
    Ok(Secret::new(bytes))
}

fn check_agent(id: &str, socket: &Path) -> Outcome<()> {
    let metadata =
        fs_err::metadata(socket).map_err(|error| Failure::usage(format!("--ssh {id}: {error}")))?;
    if metadata.file_type().is_socket() {
        return Ok(());
    }
    Err(Failure::usage(format!("--ssh {id}: {} is no socket", socket.display()))
        .hint("keys are not read: start ssh-agent, add the key with ssh-add, and name its socket"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_once_and_mistakes_are_said_at_once() {
        let root = tempfile::tempdir().unwrap();
        let place = |name: &str| root.path().join(name);
        fs_err::write(place("good"), b"a\0b\n").unwrap();
        fs_err::write(place("large"), vec![0; 500 * 1024 + 1]).unwrap();
        let of = |name: &str| {
            let source = SecretSource::File(place(name));
            let secrets = BTreeMap::from([("id".to_owned(), source)]);
            read(&StepSettings { secrets, ..StepSettings::default() })
        };
        assert_eq!(of("good").unwrap().secrets["id"].bytes(), b"a\0b\n");
        for (name, part) in
            [("none", "No such file"), ("", "is a directory"), ("large", "has 512001 bytes")]
        {
            let error = of(name).unwrap_err().message();
            assert!(error.starts_with("--secret id=id: ") && error.contains(part), "{error}");
        }
        let agents = BTreeMap::from([("default".to_owned(), place("good"))]);
        let error = read(&StepSettings { agents, ..StepSettings::default() }).unwrap_err();
        assert!(error.message().ends_with("good is no socket"), "{}", error.message());
        assert!(error.hints[0].contains("ssh-agent"));
    }
}
