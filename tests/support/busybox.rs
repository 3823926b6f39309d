//! A root file system around Debian's static busybox: one program, a few users, the directories
//! that programs expect, and `/bin` and `/sbin` as links into `/usr` as in today's distributions.

use super::command::Run;
use super::layout::Layer;
use super::tarball::{Meta, Tarball};

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
app:x:1000:1000:app:/home/app:/bin/sh
web:x:1001:2000:web:/home/web:/bin/sh
";
const GROUP: &str = "\
root:x:0:
daemon:x:1:
staff:x:50:app
app:x:1000:
www:x:2000:web,app
";

/// Returns the layer.
pub(crate) fn layer() -> Layer {
    let mut tar = Tarball::new();
    let directory = Meta::mode(0o755);
    for path in ["dev", "etc", "home", "opt", "proc", "run", "sys", "usr", "usr/bin", "usr/sbin"] {
        tar.directory(path, directory);
    }
    for path in ["usr/lib", "var", "var/lib", "var/log"] {
        tar.directory(path, directory);
    }
    tar.directory("root", Meta::mode(0o700));
    tar.directory("tmp", Meta::mode(0o1777));
    tar.directory("home/app", Meta::mode(0o750).owner(1000, 1000));
    tar.directory("home/web", Meta::mode(0o2750).owner(1001, 2000));
    tar.file("etc/passwd", Meta::mode(0o644), PASSWD);
    tar.file("etc/group", Meta::mode(0o644), GROUP);
    for (link, target) in [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("var/run", "../run")] {
        tar.symlink(link, target);
    }
    let program = fs_err::read("/bin/busybox").expect("busybox-static is installed");
    tar.file("usr/bin/busybox", Meta::mode(0o755), program);
    for applet in Run::new("/bin/busybox").arg("--list").succeed().lines() {
        if applet != "busybox" {
            tar.symlink(&format!("usr/bin/{applet}"), "busybox");
        }
    }
    Layer { tar: tar.finish(), created_by: "static busybox" }
}
