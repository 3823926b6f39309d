//! Errors name the place.

use super::build;

#[test]
fn errors_have_line_and_column() {
    for (text, place, message) in [
        ("FROM scratch\nCOPY missing /", "2:6", "missing"),
        ("FROM scratch\n\nCOPY a none /d/", "3:8", "none"),
        ("FROM scratch\nARG U\nENV A=${U:?missing}", "3:7", "missing"),
        ("FROM Bad/Name", "1:6", "Bad/Name"),
        ("ARG V\nFROM $V", "2:6", "empty"),
        ("FROM --platform=x scratch", "1:6", "platform"),
        ("FROM scratch\nCOPY --from=7 a /", "2:6", "no stage number 7"),
        ("FROM scratch\nCOPY --from=No/Image a /", "2:6", "No/Image"),
        ("FROM scratch\nARG M=9z\nCOPY --chmod=$M a /", "3:6", "9z"),
        ("FROM scratch\nENV P=x\nEXPOSE $P", "3:8", "x"),
        ("FROM scratch\nENV U=https://a/b\nADD $U /", "3:5", "https://a/b"),
        (
            "FROM scratch AS a\nCOPY --from=b x /\nFROM scratch AS b\nCOPY --from=a x /",
            "1:1",
            "a -> b -> a",
        ),
        ("FROM scratch AS a\nCOPY --from=a x /", "1:1", "a -> a"),
    ] {
        let error = build(text).file("a", "").target_of(text).error();
        assert!(error.contains(&format!("Dockerfile:{place}\n")), "{text:?}: {error}");
        assert!(error.contains(message), "{text:?}: {error}");
    }
}

#[test]
fn an_unknown_target_names_the_stages() {
    let error = build("FROM scratch AS a\nFROM scratch").target("b").plan().unwrap_err();
    let crate::plan::PlanError::Dockerfile(error) = error else { panic!("{error}") };
    assert_eq!(error.diagnostics[0].hint.as_deref(), Some("the stages are: a, 1"));
}

#[test]
fn an_ignored_source_is_explained() {
    let mut build = build("FROM scratch\nCOPY secret /").file("secret", "");
    build.ignore = "secret".to_owned();
    let crate::plan::PlanError::Dockerfile(error) = build.plan().unwrap_err() else { panic!() };
    assert!(error.diagnostics[0].hint.as_ref().unwrap().contains(".dockerignore"));
}

#[test]
fn an_empty_chmod_or_chown_is_none() {
    let build = build("FROM scratch\nCOPY --chmod=$M --chown=$O a /").file("a", "");
    let plan = build.plan().unwrap();
    let crate::plan::Step::Copy(step) = &plan.stages[0].step else { panic!() };
    assert_eq!((step.chmod, &step.chown), (None, &None));
}

impl super::Build {
    /// Builds the stage `a` where there is one.
    fn target_of(self, text: &str) -> Self {
        if text.contains(" AS a") { self.target("a") } else { self }
    }
}
