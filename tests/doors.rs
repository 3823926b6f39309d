//! One engine behind both doors: the same project makes the same layers through `build` and
//! through `executor`, from a checkout and from a plain directory, into a registry and to disk.

use crate::support::{Access, Git, Image, Registry, Sandbox, base, executor, longshore};

const DOCKERFILE: &str = "\
FROM BASE AS made
RUN mkdir /made && echo made > /made/file && chmod 0711 /made
FROM BASE
COPY --from=made --chown=web:www /made /opt/made/
WORKDIR /srv/app
COPY files/ .
ADD --chmod=0600 files/one /secret
ENV A=1
RUN rm /opt/made/file && ln -s ../a /opt/link
ENTRYPOINT [\"/bin/sh\"]
";
/// RUN's output must not carry the time of day here.
const EPOCH: &str = "1700000000";

#[test]
fn both_doors_make_the_same_layers() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, Access::Plain);
    let base = registry.push(&sandbox, &base::crafted(), "crafted:1");
    let context = sandbox.path("project");
    sandbox.write("project/Dockerfile", DOCKERFILE.replace("BASE", &base));
    sandbox.write("project/files/one", "one\n");
    sandbox.write("project/files/two", "two\n");
    Git::init(&context).commit("the project");
    let pulled = |name: &str| Image::pull(&sandbox, &registry, &registry.reference(name));

    longshore(&sandbox)
        .arg("build")
        .arg(&context)
        .args(["--insecure-registry", registry.address(), "--tag", "v1"])
        .args(["--repo", &registry.reference("build")])
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .succeed();
    let build = pulled("build:v1");

    let layout = sandbox.path("layout");
    executor(&sandbox)
        .args(["--insecure", "--insecure-pull"])
        .args(["--destination", &registry.reference("executor:v1")])
        .arg("--context")
        .arg(&context)
        .arg("--dockerfile")
        .arg(context.join("Dockerfile"))
        .arg("--oci-layout-path")
        .arg(&layout)
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .succeed();
    let executor = pulled("executor:v1");
    assert_eq!(executor.layer_digests(), build.layer_digests());
    assert_eq!(executor.config["config"], build.config["config"]);

    let index = fs_err::read_to_string(layout.join("index.json")).expect("a layout was written");
    assert!(index.contains(&executor.digest), "the layout has the pushed image: {index}");
}
