//! RUN without namespaces and mounts: the same layers as upon an overlay, in the pod of somebody
//! who has only root and the default capabilities, and after a builder was killed.

use std::path::Path;

use crate::support::command::{Outcome, Run};
use crate::support::{
    Access, Image, Registry, Sandbox, base, is_root, longshore, longshore_on_tmpfs,
    longshore_through,
};

/// What container engines leave to root, and no right to make namespaces or mounts with it.
const POD: [&str; 4] = [
    "--bounding-set",
    "-all,+chown,+dac_override,+fsetid,+fowner,+mknod,+net_raw,+setgid,+setuid,+setfcap,+setpcap,\
     +net_bind_service,+sys_chroot,+kill,+audit_write",
    "--inh-caps",
    "-all",
];
/// Steps that change every kind of thing, upon each other and upon what is copied between them.
const STEPS: &str = "\
RUN mkdir -p /out/sub && echo one > /out/one && ln -s one /out/link && chmod 750 /out/one
RUN true
COPY first /out/sub/
RUN rm /out/link && echo more >> /out/one && chown -R 1000:1001 /out && ls /out/sub > /out/list
WORKDIR /srv/made
COPY second first /out/
RUN rm -r /out/sub && mkdir /out/sub && cat /out/first /out/second > /out/sub/both && chmod 4711 /out/one
RUN echo x > /dev/null && echo > /proc/x; touch /etc/hosts; echo 127.0.0.1 self >> /etc/hosts
USER 1000:1001
RUN echo mine > /out/sub/../mine || echo theirs > /tmp/theirs
";

struct Bench {
    sandbox: Sandbox,
    registry: Registry,
    base: String,
}

impl Bench {
    /// `None`, and the reason printed, for who is not root.
    #[expect(clippy::print_stderr, reason = "who reads the log of a test run wants to know")]
    fn new() -> Option<Self> {
        if !is_root() {
            eprintln!("skipped: only root can change its root");
            return None;
        }
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, Access::Plain);
        let base = registry.push(&sandbox, &base::crafted(), "crafted:1");
        sandbox.write("context/first", "first\n");
        sandbox.write("context/second", "second\n");
        Some(Self { sandbox, registry, base })
    }

    fn dockerfile(&self, steps: &str) {
        self.sandbox.write("context/Dockerfile", format!("FROM {}\n{steps}", self.base));
    }

    /// A build in `pod`, whose work directory it is and where nothing is found.
    fn build(&self, pod: &Sandbox, rung: &str) -> Run {
        self.build_with(longshore(pod), rung)
    }

    fn build_with(&self, program: Run, rung: &str) -> Run {
        program
            .arg("build")
            .arg(self.sandbox.path("context"))
            .args(["--insecure-registry", self.registry.address(), "--runtime", rung])
            .args(["--repo", &self.repository(rung), "--tag", "v1"])
            .env("SOURCE_DATE_EPOCH", "1700000000")
    }

    fn repository(&self, rung: &str) -> String {
        self.registry.reference(&format!("{rung}/app"))
    }

    fn image(&self, rung: &str) -> Image {
        let reference = format!("{}:v1", self.repository(rung));
        Image::pull(&self.sandbox, &self.registry, &reference)
    }
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs_err::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into()).collect()
}

/// How often a step is said to have been started upon a rung.
fn steps_on(outcome: &Outcome, rung: &str) -> usize {
    outcome.stderr.matches(&format!("(rung {rung})")).count()
}

#[test]
fn layers_are_those_of_an_overlay() {
    let Some(bench) = Bench::new() else { return };
    bench.dockerfile(STEPS);
    let pods = [Sandbox::new(), Sandbox::new()];
    let overlay = bench.build(&pods[0], "overlay").outcome().success();
    let chroot = bench.build(&pods[1], "chroot").outcome().success();
    assert_eq!((steps_on(&overlay, "overlay-full"), steps_on(&chroot, "chroot")), (6, 6));
    let (overlay, chroot) = (bench.image("overlay"), bench.image("chroot"));
    assert_eq!(overlay.layer_digests(), chroot.layer_digests());
    assert_eq!(overlay.digest, chroot.digest);
    // One tree went through all steps.
    let work = pods[1].path("work");
    assert_eq!(names(&work.join("roots")).len(), 1);
    assert!(names(&work.join("scratch")).is_empty());
}

#[test]
fn a_killed_builder_leaves_nothing_in_the_way_of_the_next() {
    let Some(bench) = Bench::new() else { return };
    let pod = Sandbox::new();
    let wait = "RUN echo started; i=0; while [ ! -e /tmp/go ]; do i=$i; done";
    bench.dockerfile(&format!("RUN echo made > /made\nRUN echo half > /half\n{wait}\n"));
    let mut killed = bench.build(&pod, "chroot").start();
    killed.until("| started");
    killed.signal("KILL");
    killed.outcome().exits(137);
    let work = pod.path("work");
    assert_eq!(names(&work.join("roots")).len(), 0, "the step had the only tree");
    bench.dockerfile("RUN echo made > /made\nRUN ls /half && echo other > /other\n");
    bench.build(&pod, "chroot").outcome().exits(30);
    bench.dockerfile("RUN echo made > /made\nRUN cat /made > /other && ! ls /half\n");
    bench.build(&pod, "chroot").outcome().success();
    assert!(names(&work.join("scratch")).is_empty());
    assert_eq!(names(&work.join("roots")).len(), 1);
}

#[test]
fn the_default_capabilities_of_a_pod_are_enough() {
    let Some(bench) = Bench::new() else { return };
    if !Path::new("/usr/bin/setpriv").exists() {
        return eprintln!("skipped: there is no /usr/bin/setpriv");
    }
    bench.dockerfile(STEPS);
    let pods = [Sandbox::new(), Sandbox::new()];
    bench.build(&pods[0], "overlay").succeed();
    // A volume with a group, as a pod's with an `fsGroup`.
    let work = pods[1].path("work");
    Run::new("chgrp").arg("4711").arg(&work).succeed();
    Run::new("chmod").arg("2777").arg(&work).succeed();
    let program = longshore_through(&pods[1], "setpriv", &POD);
    let outcome = bench.build_with(program, "chroot").outcome().success();
    assert_eq!(steps_on(&outcome, "chroot"), 6);
    assert_eq!(bench.image("overlay").digest, bench.image("chroot").digest);
}

#[test]
fn trees_that_wait_for_somebody_make_room_for_a_step() {
    let Some(bench) = Bench::new() else { return };
    bench.dockerfile("RUN dd if=/dev/zero of=/big bs=1M count=8\n");
    bench.build(&Sandbox::new(), "overlay").succeed();
    let base = format!("{}:v1", bench.repository("overlay"));
    let stage = |name: &str, from: &str| {
        format!("FROM {base} AS {name}\n{from}RUN cat /* 2>/dev/null | wc -c && echo x > /{name}\n")
    };
    // Two trees and the layer that they are made of fit, a third does not.
    let stages =
        ["", "COPY --from=a /a /\n", "COPY --from=b /a /b /\n"].iter().zip(["a", "b", "c"]);
    let dockerfile: String = stages.map(|(from, name)| stage(name, from)).collect();
    bench.sandbox.write("context/Dockerfile", dockerfile);
    let pod = Sandbox::new();
    bench.build_with(longshore_on_tmpfs(&pod, "size=40m"), "chroot").outcome().success();
}
