//! `longshore.yaml`: several images of one repository, and what may be said about them.

use crate::support::command::{Outcome, Run};
use crate::support::{Access, Image, Registry, Sandbox, base, longshore};

const PROJECT: &str = "\
project: shop
images:
  - name: web
  - name: api
    dockerfile: docker/api.Dockerfile
    context: services
    target: prod
    args: { VERSION: 1.20, UNUSED: \"no\" }
";
/// The first step is the same in both Dockerfiles, whatever the comment says.
const WEB: &str = "\
# The shop's front.
FROM BASE
RUN echo working on what both need && echo both > /both
COPY page /srv/
";
const API: &str = "\
FROM BASE AS made
RUN echo working on what both need && echo both > /both
FROM made AS prod
ARG VERSION=0
ARG UNUSED
COPY main /opt/
RUN echo $VERSION > /opt/version
FROM made
RUN echo working on the stage that is no target && exit 1
";

struct Shop {
    sandbox: Sandbox,
    registry: Registry,
}

impl Shop {
    fn new(project: &str) -> Self {
        let sandbox = Sandbox::new();
        let registry = Registry::start(&sandbox, Access::Plain);
        let base = registry.push(&sandbox, &base::busybox(), "busybox:1");
        sandbox.write("shop/longshore.yaml", project);
        sandbox.write("shop/Dockerfile", WEB.replace("BASE", &base));
        sandbox.write("shop/docker/api.Dockerfile", API.replace("BASE", &base));
        sandbox.write("shop/page", "a page\n");
        sandbox.write("shop/services/main", "a program\n");
        Self { sandbox, registry }
    }

    fn build(&self) -> Run {
        let repo = self.registry.reference("shop");
        longshore(&self.sandbox).args(["build", "shop", "--repo", &repo])
    }

    /// The image that the result line of `name` is about.
    fn image(&self, outcome: &Outcome, name: &str) -> Image {
        let line = outcome.stdout.lines().find_map(|line| line.strip_prefix(name));
        let reference = line.and_then(|line| line.strip_prefix(": "));
        let reference = reference.unwrap_or_else(|| panic!("no {name}\n{}", outcome.report()));
        // skopeo takes a tag or a digest, not both.
        let (_, digest) = reference.split_once('@').expect("results are pinned");
        let pinned = format!("{}@{digest}", self.registry.reference("shop"));
        Image::pull(&self.sandbox, &self.registry, &pinned)
    }
}

fn names(outcome: &Outcome) -> Vec<&str> {
    let name = |line: &'_ str| line.find(": ").unwrap_or(line.len());
    outcome.stdout.lines().map(|line| &line[..name(line)]).collect()
}

fn lines_with(outcome: &Outcome, part: &str) -> usize {
    outcome.stderr.lines().filter(|line| line.contains(part)).count()
}

#[test]
fn all_images_are_built_and_what_they_share_is_built_once() {
    let shop = Shop::new(PROJECT);
    let outcome = shop.build().outcome().success();
    assert_eq!(names(&outcome), ["web", "api"], "{}", outcome.report());
    let (web, api) = (shop.image(&outcome, "web"), shop.image(&outcome, "api"));
    assert_eq!(web.layer_digests()[..2], api.layer_digests()[..2], "base and shared step");
    let steps = lines_with(&outcome, "| working on what both need");
    assert_eq!(steps, 1, "{}", outcome.report());

    let (web, tree) = (web.tree(), api.tree());
    assert!(web.get("both").is_some() && tree.get("both").is_some());
    assert!(web.get("srv/page").is_some() && web.get("opt/main").is_none());
    assert!(tree.get("opt/main").is_some(), "its context is another directory");
    let version = shop.sandbox.path("api");
    fs_err::create_dir(&version).expect("mkdir");
    tree.unpack(&api.layers, &version);
    let version = fs_err::read_to_string(version.join("opt/version")).expect("the step ran");
    assert_eq!(version, "1.20\n", "numbers are the text they are written with");

    let again = shop.build().outcome().success();
    assert_eq!(again.stdout, outcome.stdout);
    assert_eq!(lines_with(&again, "nothing to build"), 2, "{}", again.report());
}

#[test]
fn a_named_image_is_built_alone_and_may_have_a_tag() {
    let shop = Shop::new(PROJECT);
    let digest = shop.sandbox.path("digest");
    let run = shop.build().args(["--image", "api", "--tag", "v1", "--digest-file"]);
    let outcome = run.arg(&digest).outcome().success();
    assert_eq!(names(&outcome), ["api"]);
    assert_eq!(lines_with(&outcome, "[web"), 0, "{}", outcome.report());
    let digest = fs_err::read_to_string(digest).expect("it was written");
    let tagged = shop.registry.reference("shop:v1");
    assert_eq!(outcome.stdout, format!("api: {tagged}@{digest}\n"));
    assert_eq!(Image::pull(&shop.sandbox, &shop.registry, &tagged).digest, digest);

    let twice = ["--image", "api", "--image", "api", "--tag", "v2"];
    let outcome = shop.build().args(twice).outcome().success();
    assert_eq!(names(&outcome), ["api"], "an image named twice is one image");

    let outcome = shop.build().args(["--image", "api", "--image", "web"]).outcome().success();
    let mut both = names(&outcome);
    both.sort_unstable();
    assert_eq!(both, ["api", "web"]);
}

#[test]
fn build_arguments_of_the_command_line_win() {
    let shop = Shop::new(PROJECT);
    let run = shop.build().args(["--image", "api", "--build-arg", "VERSION=2"]);
    let api = shop.image(&run.outcome().success(), "api");
    let root = shop.sandbox.path("api");
    fs_err::create_dir(&root).expect("mkdir");
    api.tree().unpack(&api.layers, &root);
    assert_eq!(fs_err::read_to_string(root.join("opt/version")).expect("the step ran"), "2\n");
}

#[test]
fn an_image_that_the_project_does_not_have_is_wrong_use() {
    let shop = Shop::new(PROJECT);
    let outcome = shop.build().args(["--image", "db"]).outcome().exits(2);
    let expected = "\
error: shop/longshore.yaml has no image \"db\"
hint: its images are: web, api
";
    assert_eq!(outcome.stderr, expected);
    assert_eq!(outcome.stdout, "");
}

#[test]
fn what_names_one_image_is_refused_for_two() {
    let shop = Shop::new(PROJECT);
    for words in [["--tag", "v1"], ["--digest-file", "digest"], ["--target", "prod"]] {
        let outcome = shop.build().args(words).outcome().exits(2);
        let expected = format!(
            "error: {} is for one image, but 2 are to be built\n\
             hint: choose one with --image NAME\n",
            words[0]
        );
        assert_eq!(outcome.stderr, expected);
    }
    assert!(!shop.sandbox.path("digest").exists());
}

#[test]
fn an_unknown_key_is_named_with_its_place() {
    let shop = Shop::new("images:\n  - name: web\n    dockerfle: Dockerfile\n");
    let outcome = shop.build().outcome().exits(10);
    let expected = "\
error: shop/longshore.yaml:3:5: unknown key \"dockerfle\"
  hint: did you mean \"dockerfile\"?
";
    assert_eq!(outcome.stderr, expected);
}
