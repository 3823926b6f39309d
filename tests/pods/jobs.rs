//! Real jobs in every kind of pod where RUN is executed: what they leave behind is what they leave
//! behind for real root on a host.

use std::collections::BTreeMap;

use super::in_each;
use crate::support::command::Outcome;
use crate::support::flat::Tree;
use crate::support::pods::{Environment, LONGSHORE, Pod};
use crate::support::{Access, Image, Registry, Sandbox, base};

/// The pod that all are compared with, and how RUN is executed there.
const REFERENCE: (&str, &str) = ("E6", "overlay");
/// Pods, and the rung that each is to have.
const CELLS: &[(&str, &str)] = &[
    ("E1", "overlay"),
    ("E1np", "overlay"),
    ("E3b", "overlay"),
    ("E5un", "overlay"),
    ("E5u", "overlay"),
    ("E5a", "overlay"),
    ("E2", "chroot"),
    ("E5", "chroot"),
    ("E7", "chroot"),
];

/// Jobs whose layers have the same bytes wherever they are made.
const JOBS: &[&str] = &[
    // Owners, setuid and setgid bits from an archive.
    "mkdir t && echo a > t/a && echo b > t/b && chown 1234:5678 t/a && chmod 4755 t/a \
     && chown 7:12 t/b && chmod 2711 t/b && tar -c --numeric-owner -f /t.tar t && rm -r t \
     && mkdir /out && tar -x --numeric-owner -p -C /out -f /t.tar && rm /t.tar",
    "cp /usr/bin/tail /usr/local/bin/tail && setcap cap_net_raw+ep /usr/local/bin/tail \
     && getcap /usr/local/bin/tail | grep -q cap_net_raw",
    "printf '#include <stdio.h>\\nint main(void) { return puts(\"hi\") < 0; }\\n' > /hi.c \
     && tcc -o /usr/local/bin/hi /hi.c && test \"$(hi)\" = hi",
    // Process substitution, which is files below /dev/fd.
    "bash -c 'cat <(echo one) <(echo two) > /both && diff <(echo a) <(echo a)' && grep -q two /both",
    // A daemon that nobody ends.
    "(setsid sleep 1000 > /dev/null 2>&1 &) ; echo started > /daemon",
    "echo before > /same && touch -d @1000000000 /same",
    // The same size and the old time: only the kernel's own time of change tells.
    "echo behind > /same && touch -d @1000000000 /same",
    "chgrp 50 /srv && chmod 2775 /srv && mkdir /srv/deep && ln /both /srv/deep/link && rm -r /mnt \
     && mkdir /mnt && mkfifo /srv/pipe",
    "test -c /dev/null && echo gone > /dev/null && test $(id -u) = 0 && rm -rf /media",
];

/// Jobs that write the time into files.
const TIMED: &[&str] = &[
    "apt-get -q install -y --no-install-recommends /debs/*.deb && rm -r /debs",
    "useradd -m -u 1500 -G audio -s /bin/bash worker && su worker -c 'umask 077; id -un > ~/who; \
     mkdir ~/private; echo mine > ~/private/file'",
];

/// Files that hold times.
const WITH_TIMES: [&str; 3] = ["var/log/", "var/cache/", "etc/ld.so.cache"];

fn dockerfile(base: &str) -> String {
    let steps: String = JOBS.iter().chain(TIMED).map(|job| format!("RUN {job}\n")).collect();
    format!("FROM {base}\nENV DEBIAN_FRONTEND=noninteractive\n{steps}")
}

struct Jobs {
    sandbox: Sandbox,
    registry: Registry,
}

/// What a pod has made.
struct Made {
    layers: Vec<String>,
    tree: Tree,
    outcome: Outcome,
}

impl Jobs {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, Access::Plain);
        let base = registry.push(&sandbox, &base::debian_jobs(), "debian:jobs");
        sandbox.write("context/Dockerfile", dockerfile(&base));
        Self { sandbox, registry }
    }

    fn build(&self, (name, runtime): (&str, &str)) -> Made {
        let pod = Pod::new(&self.sandbox, Environment::named(name))
            .context(self.sandbox.path("context"))
            .on_the_nodes_network();
        let tag = self.registry.reference(&format!("made/{}-{runtime}:1", name.to_lowercase()));
        let outcome = pod
            .run(&[
                LONGSHORE,
                "build",
                "--runtime",
                runtime,
                "--build-arg",
                "SOURCE_DATE_EPOCH=1600000000",
                "--compression-level=1",
                "--tag",
                &tag,
                "/context",
            ])
            .success();
        let image = Image::pull(&self.sandbox, &self.registry, &tag);
        let layers = image.layer_digests().into_iter().map(str::to_owned).collect();
        Made { layers, tree: image.tree(), outcome }
    }
}

/// What is to be the same: all but times, and contents that hold some.
fn essence(tree: &Tree) -> BTreeMap<&str, String> {
    let holds_times = |path: &str| WITH_TIMES.iter().any(|start| path.starts_with(start));
    let kept = tree.iter().filter(|(path, _)| !holds_times(path));
    kept.map(|(path, node)| (path, node.to_string())).collect()
}

#[test]
fn jobs_leave_the_same_behind_in_every_pod() {
    if let Err(reason) = crate::support::pods::can_run() {
        return crate::support::pods::skipped(&reason);
    }
    let jobs = Jobs::new();
    let reference = jobs.build(REFERENCE);
    look(&reference);
    let expected = essence(&reference.tree);
    in_each(CELLS, |(name, runtime)| {
        let made = jobs.build((name, runtime));
        let found = essence(&made.tree);
        let paths = expected.keys().chain(found.keys());
        let differing: Vec<_> = paths
            .filter(|path| expected.get(*path) != found.get(*path))
            .map(|path| format!("{path}: {:?}, not {:?}", found.get(path), expected.get(path)))
            .collect();
        assert!(differing.is_empty(), "{name} {runtime}\n{}", differing.join("\n"));
        // The base is one layer; every job has made one.
        let exact = 1 + JOBS.len();
        assert_eq!(made.layers[..exact], reference.layers[..exact], "{}", made.outcome.report());
    });
}

/// The jobs have done what they are here for.
fn look(made: &Made) {
    let node = |path: &str| {
        made.tree.get(path).unwrap_or_else(|| panic!("no {path}\n{}", made.outcome.report()))
    };
    for (path, mode, owner) in [
        ("out/t/a", 0o4755, (1234, 5678)),
        ("out/t/b", 0o2711, (7, 12)),
        ("usr/bin/sudo", 0o4755, (0, 0)),
        ("srv", 0o2775, (0, 50)),
        ("srv/deep", 0o2755, (0, 50)),
        ("home/worker/private/file", 0o600, (1500, 1500)),
    ] {
        assert_eq!((node(path).mode, node(path).owner), (mode, owner), "{path}");
    }
    assert_eq!(node("usr/bin/crontab").mode, 0o2755);
    assert_ne!(node("usr/bin/crontab").owner.1, 0, "crontab has a group of its own");
    for path in ["usr/local/bin/tail", "usr/bin/ping"] {
        assert!(node(path).xattrs.contains_key("security.capability"), "{path}");
    }
    assert_eq!(made.tree.names_of("both"), ["both", "srv/deep/link"]);
    assert!(made.tree.get("media").is_none() && made.tree.get("debs").is_none());
    assert_eq!(made.layers.len(), 1 + JOBS.len() + TIMED.len());
}
