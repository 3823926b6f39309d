//! Running commands in a simulated pod.
//!
//! The root file system is an overlay, as on a node; `/emptydir` is a volume on a disk, `/shm` one
//! in memory. Every command has a container of its own; root and volume stay the same.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::denial::Denial;
use super::environment::Environment;
use super::root;
use super::seccomp::COMMON;
use super::specification::Container;
use crate::support::command::{Outcome, Run};
use crate::support::sandbox::{set_mode, write};
use crate::support::{Sandbox, is_root, variables};

/// The program under test, in the pod.
pub(crate) const LONGSHORE: &str = "/usr/local/bin/longshore";
/// A volume on a disk.
pub(super) const VOLUME: &str = "/emptydir";
/// A volume in memory.
pub(crate) const SHARED_MEMORY: &str = "/shm";
/// Where [`Pod::context`] puts the context.
pub(crate) const CONTEXT: &str = "/context";
/// Where the service account's token is.
pub(crate) const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// The service account's token.
const TOKEN: &str = "sekret-of-the-service-account";
/// Where the credentials of registries are.
pub(crate) const DOCKER_CONFIG: &str = "/credentials/config.json";

/// How long a command may run, in the syntax of coreutils' `timeout`.
const LIMIT: &str = "100s";
/// Arguments: root file system, its lower, upper and work directories, then the command.
const MOUNT: &str = "mount -t overlay -o lowerdir=$2,upperdir=$3,workdir=$4 pod $1 || exit 99; \
                     shift 4; exec \"$@\"";

/// A pod.
#[derive(Debug)]
pub(crate) struct Pod<'a> {
    sandbox: &'a Sandbox,
    directory: PathBuf,
    container: Container,
}

impl<'a> Pod<'a> {
    /// A pod of this kind.
    pub(crate) fn new(sandbox: &'a Sandbox, environment: Environment) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = sandbox.path(format!("pod-{number}"));
        fs_err::create_dir(&directory).expect("mkdir");
        let below = |name: &str| {
            let path = directory.join(name);
            fs_err::create_dir(&path).expect("mkdir");
            set_mode(&path, 0o755);
            path
        };
        for name in ["upper", "work", "bundle"] {
            below(name);
        }
        let lower = below("lower");
        root::make(&lower, &environment);
        let (account, credentials) = (below("account"), below("credentials"));
        write(&account.join("token"), TOKEN);
        write(&credentials.join("config.json"), "{\"auths\":{}}");
        let volume = below("volume");
        own(&volume, environment.shift(), environment.volume_group.unwrap_or(environment.shift()));
        set_mode(&volume, if environment.volume_group.is_some() { 0o2777 } else { 0o777 });
        let program = PathBuf::from(env!("CARGO_BIN_EXE_longshore"));
        let mut binds = root::libraries();
        binds.push((program, LONGSHORE.to_owned(), false));
        binds.push((credentials, directory_of(DOCKER_CONFIG), false));
        let container = Container {
            environment,
            denied: Vec::new(),
            root: below("root"),
            volume,
            account,
            binds,
            env: variables_of(&environment),
            node_network: false,
        };
        // The overlay's root has the owner of what lies under it.
        own(&directory.join("upper"), environment.shift(), environment.shift());
        Self { sandbox, directory, container }
    }

    /// The same without a mechanism.
    pub(crate) fn without(mut self, denial: Denial) -> Self {
        self.container.denied.push(denial);
        self
    }

    /// Binds a file or directory of the node, read-only.
    pub(crate) fn bind(mut self, from: impl AsRef<Path>, at: &str) -> Self {
        self.container.binds.push((from.as_ref().to_owned(), at.to_owned(), false));
        self
    }

    /// Sets a variable of the container.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.container.env.push(format!("{name}={value}"));
        self
    }

    /// Binds `directory` as the context.
    pub(crate) fn context(self, directory: impl AsRef<Path>) -> Self {
        self.bind(directory, CONTEXT)
    }

    /// Gives the pod the node's network, where the tests' registries are.
    pub(crate) fn on_the_nodes_network(mut self) -> Self {
        self.container.node_network = true;
        self
    }

    /// Runs a command in the pod to its end.
    pub(crate) fn run(&self, command: &[&str]) -> Outcome {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!(
            "longshore-{}-{}-{number}",
            self.container.environment.name,
            std::process::id()
        );
        let words: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        let (bundle, state) = (self.directory.join("bundle"), self.sandbox.path("runc"));
        let specification = self.container.specification(&words);
        fs_err::write(bundle.join("config.json"), specification.to_string()).expect("write");
        let mut run = self
            .sandbox
            .tool("timeout")
            .args(["--kill-after=10", LIMIT, "unshare", "--mount", "--propagation=private"])
            .args(["sh", "-c", MOUNT, "sh"])
            .arg(&self.container.root);
        for directory in ["lower", "upper", "work"] {
            run = run.arg(self.directory.join(directory));
        }
        let run = run.args(["runc", "--root"]).arg(&state).args(["run", "--bundle"]);
        let outcome = run.arg(&bundle).arg(&name).outcome();
        // A container outlives a runc that was killed for its time.
        let _gone =
            Run::new("runc").arg("--root").arg(&state).args(["delete", "--force", &name]).outcome();
        outcome
    }
}

fn own(path: &Path, uid: u32, gid: u32) {
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("chown");
}

fn directory_of(path: &str) -> String {
    path.rsplit_once('/').expect("an absolute path").0.to_owned()
}

fn variables_of(environment: &Environment) -> Vec<String> {
    let home = match environment.user.0 {
        0 => "/root",
        1000 => "/home/app",
        _ => "/",
    };
    let mut variables = vec![
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("HOME={home}"),
        format!("DOCKER_CONFIG={}", directory_of(DOCKER_CONFIG)),
    ];
    for (name, directory) in [("LONGSHORE_HOME", "state"), ("LONGSHORE_WORK_DIR", "work")] {
        variables.push(format!("{name}={VOLUME}/{directory}"));
    }
    variables
}

/// Whether this machine can make the pods; if not, why not.
pub(crate) fn can_run() -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    ANSWER.get_or_init(look).clone()
}

fn look() -> Result<(), String> {
    if !is_root() {
        return Err("pods are made by root".to_owned());
    }
    if !Path::new(COMMON).exists() {
        return Err(format!("there is no {COMMON}, which tests/run installs"));
    }
    let sandbox = Sandbox::new();
    let outcome = Pod::new(&sandbox, Environment::named("E6")).run(&["true"]);
    match outcome.code {
        0 => Ok(()),
        _ => Err(format!("runc cannot make a pod here: {}", outcome.report())),
    }
}

/// Says why a test is skipped; for root on Debian in CI, where everything must run, that is a
/// failure.
#[expect(clippy::print_stderr, reason = "who reads the log of a test run wants to know")]
pub(crate) fn skipped(reason: &str) {
    let release = fs_err::read_to_string("/etc/os-release").unwrap_or_default();
    let is_debian = release.lines().any(|line| line == "ID=debian");
    let must = variables::text("CI").is_some_and(|text| text == "true") && is_root() && is_debian;
    assert!(!must, "nothing is skipped here: {reason}");
    eprintln!("skipped: {reason}");
}
