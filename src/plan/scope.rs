//! Variables: what `$NAME` means at a place in a Dockerfile.
//!
//! `ENV` wins over `ARG` of the same name. A stage's `ARG` takes its value from the command line,
//! else its own default, else the `ARG` of that name before the first `FROM`, else the platform's
//! predefined one (Dockerfile reference, "ARG" and "Automatic platform ARGs").

use std::collections::BTreeMap;

use crate::model::Platform;

/// The `PATH` of an image that sets none (as Docker's).
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Arguments that need no declaration, reach RUN's environment and never a digest
/// (Dockerfile reference, "Predefined ARGs").
const PROXY_ARGS: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What is known before any instruction is read.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--build-arg` values.
    pub build_args: BTreeMap<String, String>,
    /// `TARGETPLATFORM` and its like.
    pub platform_args: BTreeMap<String, String>,
}

/// The variables of a stage at some instruction.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The environment in the image's order.
    env: Vec<(String, String)>,
    /// Declared arguments; one without a value is declared all the same.
    args: BTreeMap<String, Option<String>>,
}

impl Given {
    /// The given values for a build of `platform` on `host`.
    pub fn new(build_args: BTreeMap<String, String>, platform: &Platform, host: &Platform) -> Self {
        let mut platform_args = BTreeMap::new();
        for (prefix, platform) in [("TARGET", platform), ("BUILD", host)] {
            let mut set = |name: &str, value: String| {
                platform_args.insert(format!("{prefix}{name}"), value);
            };
            set("PLATFORM", platform.to_string());
            set("OS", platform.os.clone());
            set("ARCH", platform.architecture.clone());
            set("VARIANT", platform.variant.clone().unwrap_or_default());
        }
        Self { build_args, platform_args }
    }

    /// The value of an `ARG` in a stage; `global` are the ones before the first `FROM`.
    pub fn value(&self, name: &str, default: Option<String>, global: &Scope) -> Option<String> {
        self.build_args
            .get(name)
            .cloned()
            .or(default)
            .or_else(|| global.args.get(name).cloned().flatten())
            .or_else(|| self.platform_args.get(name).cloned())
    }

    /// Whether `--build-arg` may name this although no `ARG` declares it.
    pub fn is_predefined(name: &str) -> bool {
        PROXY_ARGS.contains(&name) || name == "SOURCE_DATE_EPOCH" || name.starts_with("BUILDKIT_")
    }

    /// The proxy settings given on the command line.
    pub fn proxies(&self) -> impl Iterator<Item = (&String, &String)> {
        self.build_args.iter().filter(|(name, _)| PROXY_ARGS.contains(&name.as_str()))
    }
}

impl Scope {
    /// A scope with an image's environment (`NAME=VALUE` each).
    pub fn with_env(env: &[String]) -> Self {
        let split = |entry: &String| match entry.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (entry.clone(), String::new()),
        };
        Self { env: env.iter().map(split).collect(), args: BTreeMap::new() }
    }

    /// The value of a variable; `None` when it is not set.
    pub fn lookup(&self, name: &str) -> Option<String> {
        let env = self.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        env.or_else(|| self.args.get(name).cloned().flatten())
    }

    /// Sets an environment variable, in place if it is known.
    pub fn set_env(&mut self, name: &str, value: String) {
        match self.env.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.env.push((name.to_owned(), value)),
        }
    }

    /// Declares an argument.
    pub fn set_arg(&mut self, name: &str, value: Option<String>) {
        self.args.insert(name.to_owned(), value);
    }

    /// Takes over the arguments that a parent stage declared.
    pub fn inherit_args(&mut self, parent: &Self) {
        self.args.clone_from(&parent.args);
    }

    /// Declared proxy settings.
    pub fn proxies(&self) -> BTreeMap<String, String> {
        let declared = self.args.iter().filter(|(name, _)| PROXY_ARGS.contains(&name.as_str()));
        let set = declared.filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
        set.collect()
    }

    /// The environment as an image config keeps it.
    pub fn env(&self) -> Vec<String> {
        self.env.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// What enters the digest of a RUN step: the environment it sees, proxies left out, by name.
    pub fn run_env(&self) -> BTreeMap<String, String> {
        let args = self.args.iter().filter_map(|(name, value)| {
            let value = value.as_ref()?;
            (!PROXY_ARGS.contains(&name.as_str())).then(|| (name.clone(), value.clone()))
        });
        let mut env: BTreeMap<String, String> = args.collect();
        env.extend(self.env.iter().cloned());
        env.entry("PATH".to_owned()).or_insert_with(|| DEFAULT_PATH.to_owned());
        env
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pairs: &[(&str, &str)]) -> Given {
        let platform: Platform = "linux/arm/v7".parse().unwrap();
        let args = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Given::new(args, &platform, &"linux/amd64".parse().unwrap())
    }

    #[test]
    fn an_argument_takes_the_nearest_value() {
        let mut global = Scope::default();
        global.set_arg("A", Some("global".to_owned()));
        global.set_arg("B", None);
        let given = given(&[("C", "line")]);
        for (name, default, value) in [
            ("A", None, Some("global")),
            ("A", Some("own"), Some("own")),
            ("B", None, None),
            ("C", Some("own"), Some("line")),
            ("TARGETVARIANT", None, Some("v7")),
            ("BUILDARCH", None, Some("amd64")),
            ("D", None, None),
        ] {
            let found = given.value(name, default.map(str::to_owned), &global);
            assert_eq!(found.as_deref(), value, "{name}");
        }
    }

    #[test]
    fn env_wins_over_arg_and_keeps_its_place() {
        let mut scope = Scope::with_env(&["PATH=/bin".to_owned(), "A=image".to_owned()]);
        scope.set_arg("A", Some("arg".to_owned()));
        scope.set_arg("B", Some("arg".to_owned()));
        scope.set_arg("http_proxy", Some("http://user:secret@proxy".to_owned()));
        scope.set_env("PATH", "/sbin".to_owned());
        assert_eq!(scope.lookup("A").as_deref(), Some("image"));
        assert_eq!(scope.env(), ["PATH=/sbin", "A=image"]);
        let names: Vec<String> = scope.run_env().into_keys().collect();
        assert_eq!(names, ["A", "B", "PATH"], "a proxy is no input of a stage");
    }
}
