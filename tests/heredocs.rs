//! Scripts and files that stand in the Dockerfile.

use crate::support::{Access, Image, Registry, Sandbox, base, is_root, longshore};

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
RUN --network=default <<script.sh
#!/bin/sh -e
echo $0 $WHO $- >> /out
[ -x "$0" ]
script.sh
"#;

#[test]
fn heredocs_of_run_and_copy_do_what_they_do_in_a_shell() {
    // Only root can change its root.
    let runtimes = ["auto", "chroot"].into_iter().filter(|name| is_root() || *name == "auto");
    let mut layers = Vec::new();
    for runtime in runtimes {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, Access::Plain);
        let base = registry.push(&sandbox, &base::busybox(), "busybox:1");
        sandbox.write("context/Dockerfile", DOCKERFILE.replace("BASE", &base));
        let repository = registry.reference("app");
        let build = || {
            longshore(&sandbox)
                .args(["build", "context", "--insecure-registry", registry.address()])
                .args(["--repo", &repository, "--tag", "v1"])
                .args(["--runtime", runtime])
                .env("SOURCE_DATE_EPOCH", "1700000000")
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
            (
                "out",
                "hello world, it's $5\none world\ntwo world\nbut world\nlast\n\
                 /dev/pipes/script.sh world e\n",
            ),
        ] {
            assert_eq!(fs_err::read_to_string(root.join(path)).unwrap(), expected, "{path}");
        }
        assert!(build().stderr.contains("nothing to build"));
        let digests = image.layer_digests().into_iter().map(str::to_owned);
        layers.push(digests.collect::<Vec<_>>());
    }
    assert!(layers.iter().all(|of_rung| *of_rung == layers[0]), "{layers:?}");
}
