//! Settings of RUN steps: secrets, agents, the time limit. The grammar of `--secret` and `--ssh` is
//! that of `docker buildx build`.
//!
//! Values of variables are taken here, once; files are read when the build starts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{Environment, Secret};
use crate::cli::StepArgs;
use crate::dockerfile::parse_duration;
use crate::failure::Failure;

/// What RUN steps may use, and for how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepSettings {
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Sockets of ssh agents by id.
    pub agents: BTreeMap<String, PathBuf>,
    /// How long a step may take.
    pub timeout: Option<Duration>,
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// In a file, which is read when the build starts.
    File(PathBuf),
    /// In a variable, which was.
    Value(Secret),
}

impl StepSettings {
    pub(super) fn of(args: &StepArgs, environment: &Environment) -> Result<Self, Failure> {
        let mut settings = Self::default();
        for text in &args.secret {
            let (id, source) = secret(text, environment)
                .map_err(|reason| Failure::usage(format!("--secret {text}: {reason}")))?;
            if settings.secrets.insert(id.clone(), source).is_some() {
                return Err(Failure::usage(format!("--secret gives {id:?} twice")));
            }
        }
        for text in &args.ssh {
            let (id, socket) = agent(text, environment)?;
            if settings.agents.insert(id.clone(), socket).is_some() {
                return Err(Failure::usage(format!("--ssh gives {id:?} twice")));
            }
        }
        settings.timeout = args.run_timeout.as_deref().map(timeout).transpose()?;
        Ok(settings)
    }
}

/// `id=ID[,src=FILE][,env=NAME][,type=file|env]`; with `type=env` the source is a variable.
fn secret(text: &str, environment: &Environment) -> Result<(String, SecretSource), String> {
    let (mut id, mut source, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        let (name, value) = field
            .split_once('=')
            .ok_or_else(|| format!("{field:?} is not of the form NAME=VALUE"))?;
        let place = match name.to_ascii_lowercase().as_str() {
            "id" => &mut id,
            "src" | "source" => &mut source,
            "env" => &mut variable,
            "type" => &mut kind,
            _ => return Err(format!("unknown option {name:?}; there are id, src, env and type")),
        };
        if place.replace(value).is_some() {
            return Err(format!("{name} is given twice"));
        }
    }
    let id = id.filter(|id| !id.is_empty()).ok_or("an id is missing: write id=ID")?;
    match kind {
        None | Some("file") => {}
        Some("env") => variable = variable.or_else(|| source.take()).or(Some(id)),
        Some(other) => return Err(format!("{other:?} is no type; there are file and env")),
    }
    if kind == Some("file") && variable.is_some() || source.is_some() && variable.is_some() {
        return Err("it is either a file or a variable".to_owned());
    }
    let named = |name: &str| environment.get(name).map(|value| Secret::new(value.as_bytes()));
    let source = match (source, variable) {
        (Some(path), _) => SecretSource::File(path.into()),
        (None, Some(name)) => SecretSource::Value(
            named(name).ok_or_else(|| format!("the environment has no variable {name}"))?,
        ),
        (None, None) if kind.is_none() => {
            named(id).map_or_else(|| SecretSource::File(id.into()), SecretSource::Value)
        }
        (None, None) => SecretSource::File(id.into()),
    };
    Ok((id.to_owned(), source))
}

/// `ID=SOCKET`; without a socket that of `SSH_AUTH_SOCK`.
fn agent(text: &str, environment: &Environment) -> Result<(String, PathBuf), Failure> {
    let (id, socket) = match text.split_once('=') {
        Some((id, socket)) => (id, Some(socket)),
        None => (text, None),
    };
    if id.is_empty() || socket.is_some_and(str::is_empty) {
        return Err(Failure::usage(format!("--ssh {text:?} is not of the form ID=SOCKET")));
    }
    match socket.map(PathBuf::from).or_else(|| environment.path("SSH_AUTH_SOCK")) {
        Some(socket) => Ok((id.to_owned(), socket)),
        None => Err(Failure::usage(format!("--ssh {id}: the environment has no SSH_AUTH_SOCK"))
            .hint(format!("name the agent's socket: --ssh {id}=SOCKET"))),
    }
}

fn timeout(text: &str) -> Result<Duration, Failure> {
    parse_duration(text).filter(|duration| !duration.is_zero()).ok_or_else(|| {
        Failure::usage(format!("--run-timeout {text:?} is no duration, as in 90s, 45m or 1h30m"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(secrets: &[&str], agents: &[&str]) -> Result<StepSettings, String> {
        let args = StepArgs {
            secret: secrets.iter().map(|text| (*text).to_owned()).collect(),
            ssh: agents.iter().map(|text| (*text).to_owned()).collect(),
            run_timeout: None,
        };
        let environment =
            Environment::from([("TOKEN", "hunter2"), ("SSH_AUTH_SOCK", "/run/agent")]);
        StepSettings::of(&args, &environment).map_err(|failure| failure.message())
    }

    #[test]
    fn secrets_come_from_files_and_variables() {
        let value = SecretSource::Value(Secret::new("hunter2"));
        let file = |path: &str| SecretSource::File(path.into());
        for (text, id, source) in [
            ("id=a,src=/f", "a", file("/f")),
            ("id=a,source=f,type=file", "a", file("f")),
            ("ID=a,env=TOKEN", "a", value.clone()),
            ("type=env,id=TOKEN", "TOKEN", value.clone()),
            ("type=env,id=a,src=TOKEN", "a", value.clone()),
            ("id=TOKEN", "TOKEN", value.clone()),
            ("id=TOKEN,type=file", "TOKEN", file("TOKEN")),
            ("id=other", "other", file("other")),
        ] {
            let expected = BTreeMap::from([(id.to_owned(), source)]);
            assert_eq!(settings(&[text], &[]).unwrap().secrets, expected, "{text}");
        }
        assert!(!format!("{:?}", settings(&["id=TOKEN"], &[])).contains("hunter2"));
    }

    #[test]
    fn mistakes_of_secrets_are_named() {
        for (text, reason) in [
            ("", "\"\" is not of the form NAME=VALUE"),
            ("a", "\"a\" is not of the form NAME=VALUE"),
            ("src=f", "an id is missing: write id=ID"),
            ("id=a,id=b", "id is given twice"),
            ("id=a,file=f", "unknown option \"file\"; there are id, src, env and type"),
            ("id=a,type=x", "\"x\" is no type; there are file and env"),
            ("id=a,src=f,env=TOKEN", "it is either a file or a variable"),
            ("id=a,env=NONE", "the environment has no variable NONE"),
        ] {
            let error = settings(&[text], &[]).unwrap_err();
            assert_eq!(error, format!("--secret {text}: {reason}"));
        }
        let twice = settings(&["id=a,src=f", "id=a,src=g"], &[]).unwrap_err();
        assert_eq!(twice, "--secret gives \"a\" twice");
    }

    #[test]
    fn agents_are_named_by_their_sockets() {
        let agents = settings(&[], &["default", "git=/s"]).unwrap().agents;
        let pairs: Vec<_> = agents.iter().map(|(id, path)| (id.as_str(), path.to_str())).collect();
        assert_eq!(pairs, [("default", Some("/run/agent")), ("git", Some("/s"))]);
        for text in ["=x", "a=", ""] {
            assert!(settings(&[], &[text]).unwrap_err().contains("is not of the form"), "{text}");
        }
        assert_eq!(settings(&[], &["a", "a=/s"]).unwrap_err(), "--ssh gives \"a\" twice");
        let args = StepArgs { secret: Vec::new(), ssh: vec!["default".into()], run_timeout: None };
        let none = StepSettings::of(&args, &Environment::default()).unwrap_err();
        assert_eq!(none.message(), "--ssh default: the environment has no SSH_AUTH_SOCK");
    }

    #[test]
    fn a_limit_is_a_duration() {
        assert_eq!(timeout("1m30s").unwrap(), Duration::from_secs(90));
        for text in ["", "0", "90", "soon", "-1s"] {
            assert!(timeout(text).is_err(), "{text}");
        }
    }
}
