//! Scripts and files that stand in the Dockerfile.

use crate::support::{Access, Image, Registry, Sandbox, base, longshore};

const DOCKERFILE: &str = r#"FROM BASE
ARG WHO=world
COPY <<greeting <<-'raw' /files/
hello $WHO, it's \$5
greeting
	as $WHO \it is
raw
RUN <<EOF
set -e
cat /files/greeting >> /out
for word in one two; do
	echo $word $WHO
done >> /out
EOF
RUN cat <<'A' - <<B >> /out; cat <<C >> /out
not $WHO
A
but $WHO
B
last
C
"#;

#[test]
fn heredocs_of_run_and_copy_do_what_they_do_in_a_shell() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, Access::Plain);
    let base = registry.push(&sandbox, &base::busybox(), "busybox:1");
    sandbox.write("context/Dockerfile", DOCKERFILE.replace("BASE", &base));
    let build = || {
        longshore(&sandbox)
            .args(["build", "context", "--insecure-registry", registry.address()])
            .args(["--repo", &registry.reference("app"), "--tag", "v1"])
            .outcome()
            .exits(0)
    };
    build();
    let image = Image::pull(&sandbox, &registry, &registry.reference("app:v1"));
    let tree = image.tree();
    let root = sandbox.path("root");
    fs_err::create_dir(&root).unwrap();
    tree.unpack(&image.layers, &root);
    for (path, expected) in [
        ("files/greeting", "hello world, it's $5\n"),
        ("files/raw", "as $WHO \\it is\n"),
        ("out", "hello world, it's $5\none world\ntwo world\nbut world\nlast\n"),
    ] {
        assert_eq!(fs_err::read_to_string(root.join(path)).unwrap(), expected, "{path}");
    }
    assert!(build().stderr.contains("nothing to build"));
}
