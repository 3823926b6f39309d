//! The tests' own tools: a mistake in one of them would make every other test lie.

use crate::support::flat::Kind;
use crate::support::registry::{PASSWORD, Request};
use crate::support::{Access, Image, Registry, Sandbox, base, runc};

#[test]
fn every_kind_of_registry_takes_and_gives_an_image() {
    for access in [Access::Plain, Access::Password, Access::Tls] {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, access);
        let reference = registry.push(&sandbox, &base::busybox(), "base/busybox:1");
        let image = Image::pull(&sandbox, &registry, &reference);
        assert_eq!(image.words(), ["/bin/sh"], "{access:?}");
        assert_eq!(image.layers.len(), 1, "{access:?}");
    }
}

#[test]
fn a_registry_knows_what_it_was_asked() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, Access::Plain);
    let reference = registry.push(&sandbox, &base::busybox(), "busybox:1");
    let before = registry.position(&sandbox);
    registry
        .skopeo(&sandbox, "inspect", "")
        .args(["--raw", &format!("docker://{reference}")])
        .succeed();
    let requests = registry.requests_since(&sandbox, before);
    let path = "/v2/busybox/manifests/1".to_owned();
    let expected = Request { method: "GET".to_owned(), path, status: 200 };
    assert!(requests.contains(&expected), "{requests:#?}");
    assert!(!requests.iter().any(Request::is_work), "{requests:#?}");
    Image::pull(&sandbox, &registry, &reference);
    let requests = registry.requests_since(&sandbox, before);
    assert!(requests.iter().any(Request::is_work), "a pull reads blobs: {requests:#?}");
}

#[test]
fn a_registry_with_passwords_refuses_others() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, Access::Password);
    let reference = registry.push(&sandbox, &base::busybox(), "busybox:1");
    let inspect = |password: &str| {
        let configuration = sandbox.path(format!("docker-{password}"));
        registry.write_docker_config(&configuration, password);
        sandbox
            .tool("skopeo")
            .env("DOCKER_CONFIG", configuration.as_os_str())
            .args(["inspect", "--tls-verify=false", "--authfile"])
            .arg(configuration.join("config.json"))
            .arg(format!("docker://{reference}"))
            .outcome()
            .code
    };
    assert_eq!(inspect(PASSWORD), 0);
    assert_ne!(inspect("wrong"), 0);
}

#[test]
fn flattening_obeys_deletions_links_and_attributes() {
    let sandbox = Sandbox::new();
    let source = format!("oci:{}:latest", base::crafted().display());
    let tree = Image::local(&sandbox, &source).tree();
    for path in ["op/old", "op/older", "op/older/file", "gone", "kept/b"] {
        assert!(tree.get(path).is_none(), "{path} was deleted");
    }
    for path in ["op/new", "kept/a", "bin", "usr/bin/sh", "usr/bin/busybox"] {
        assert!(tree.get(path).is_some(), "{path} is missing");
    }
    let node = |path: &str| tree.get(path).expect("the base has it");
    assert_eq!(tree.names_of("links/two"), ["links/one", "links/three", "links/two"]);
    assert_eq!(node("links/three").owner, (1000, 1000));
    assert_eq!(node("special/null").kind, Kind::CharDevice(1, 3));
    assert_eq!(node("special/pipe").kind, Kind::Fifo);
    assert_eq!((node("special/setuid").mode, node("shared").mode), (0o4755, 0o2775));
    assert_eq!(node("special/noted").xattrs["user.note"], b"kept");
    assert_eq!(node("kept").mtime, 500_000_002);
}

#[test]
fn runc_runs_a_base_image() {
    let sandbox = Sandbox::new();
    let source = format!("oci:{}:latest", base::busybox().display());
    let mut image = Image::local(&sandbox, &source);
    image.config["config"]["Cmd"] = serde_json::json!(["sh", "-c", "id -u; id -g; pwd"]);
    image.config["config"]["User"] = "web:www".into();
    image.config["config"]["WorkingDir"] = "/tmp".into();
    assert_eq!(runc::run(&sandbox, &image).success().stdout, "1001\n2000\n/tmp\n");
}
