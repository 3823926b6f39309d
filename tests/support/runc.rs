//! Running a built image with `runc`, as a node would: its own file system, its words, its
//! environment, its user.

use std::path::Path;

use serde_json::{Value, json};

use super::command::Outcome;
use super::flat::Tree;
use super::image::Image;
use super::sandbox::Sandbox;

/// Runs the image's default command to its end.
pub(crate) fn run(sandbox: &Sandbox, image: &Image) -> Outcome {
    let bundle = tempfile::tempdir_in(sandbox.root()).expect("mkdir");
    let root = bundle.path().join("rootfs");
    fs_err::create_dir(&root).expect("mkdir");
    super::sandbox::set_mode(&root, 0o755);
    let tree: Tree = image.tree();
    tree.unpack(&image.layers, &root);
    fs_err::write(bundle.path().join("config.json"), specification(image, &root).to_string())
        .expect("write");
    let name = bundle.path().file_name().expect("a directory has a name").to_owned();
    sandbox
        .tool("runc")
        .arg("--root")
        .arg(sandbox.path("runc"))
        .args(["run", "--bundle"])
        .arg(bundle.path())
        .arg(name)
        .outcome()
}

/// The runtime configuration (runtime-spec 1.0). No cgroup is mounted, so it works the same under
/// cgroup v1, v2 and both.
fn specification(image: &Image, root: &Path) -> Value {
    let config = &image.config["config"];
    let cwd = config["WorkingDir"].as_str().filter(|path| !path.is_empty()).unwrap_or("/");
    let capabilities = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETGID", "CAP_SETUID", "CAP_KILL"];
    let namespaces = ["pid", "ipc", "uts", "mount", "network"].map(|kind| json!({"type": kind}));
    let mount = |kind: &str, at: &str| json!({"destination": at, "type": kind, "source": kind, "options": ["nosuid", "noexec"]});
    let (uid, gid) = user(config["User"].as_str().unwrap_or(""), root);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false, "cwd": cwd, "args": image.words(), "env": config["Env"],
            "user": {"uid": uid, "gid": gid}, "noNewPrivileges": true,
            "capabilities": {"bounding": capabilities, "effective": capabilities,
                             "permitted": capabilities},
        },
        "root": {"path": root}, "hostname": "test",
        "mounts": [mount("proc", "/proc"), mount("tmpfs", "/dev")],
        "linux": {"namespaces": namespaces},
    })
}

/// Looks `USER[:GROUP]` up in the image's own tables.
fn user(text: &str, root: &Path) -> (u32, u32) {
    let (user, group) = text.split_once(':').map_or((text, None), |(u, g)| (u, Some(g)));
    let user = if user.is_empty() { "0" } else { user };
    let line = |file: &str, name: &str| {
        let table = fs_err::read_to_string(root.join(file)).unwrap_or_default();
        let mut lines = table.lines().map(|line| line.split(':').collect::<Vec<_>>());
        lines.find(|columns| columns[0] == name || columns.get(2) == Some(&name)).map(|columns| {
            let number =
                |at: usize| columns.get(at).and_then(|text| text.parse().ok()).unwrap_or(0);
            (number(2), number(3))
        })
    };
    let (uid, primary) = line("etc/passwd", user).unwrap_or((user.parse().unwrap_or(0), 0));
    let gid = group.map_or(primary, |group| {
        line("etc/group", group).map_or(group.parse().unwrap_or(0), |(gid, _)| gid)
    });
    (uid, gid)
}
