//! A build that has nothing to do: it asks the registry a little, fetches no blob and writes
//! nothing.

use crate::support::registry::Request;
use crate::support::{Access, Git, Registry, Sandbox, base, built_reference, longshore};

/// The most requests for the second build of an image with one base: a look-up of the image, one
/// of the base, one of the tag, each with a first answer that may ask for credentials.
const MOST_REQUESTS: usize = 10;

#[test]
fn the_second_build_moves_nothing() {
    let sandbox = Sandbox::new();
    let registry = Registry::start(&sandbox, Access::Plain);
    let base = registry.push(&sandbox, &base::busybox(), "busybox:1");
    let context = sandbox.path("project");
    let dockerfile = format!(
        "FROM {base} AS made\nRUN echo made > /made\nFROM {base}\nCOPY words /opt/\n\
         COPY --from=made /made /opt/\nRUN cat /opt/words /opt/made > /opt/both\nCMD [\"true\"]\n"
    );
    sandbox.write("project/Dockerfile", dockerfile);
    sandbox.write("project/words", "words\n");
    let git = Git::init(&context);
    git.commit("first");
    let build = || {
        // Every build is a fresh pod: nothing on disk from the last one.
        let pod = Sandbox::new();
        let repository = registry.reference("app");
        let outcome = longshore(&pod)
            .arg("build")
            .arg(&context)
            .args(["--insecure-registry", registry.address(), "--repo", &repository])
            .outcome()
            .success();
        built_reference(&outcome)
    };
    let first = build();
    for change in ["nothing", "a commit without changes", "a file outside the image's inputs"] {
        match change {
            "a commit without changes" => drop(git.commit("empty")),
            "a file outside the image's inputs" => {
                sandbox.write("project/notes.md", "not copied\n");
                git.commit("notes");
            }
            _ => {}
        }
        let before = registry.position(&sandbox);
        assert_eq!(build(), first, "after {change}");
        let requests = registry.requests_since(&sandbox, before);
        let work: Vec<&Request> = requests.iter().filter(|request| request.is_work()).collect();
        assert!(work.is_empty(), "after {change}: {work:#?}");
        assert!(requests.len() <= MOST_REQUESTS, "after {change}: {requests:#?}");
    }
}
