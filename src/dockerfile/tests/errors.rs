//! Everything that is refused, with its message, place and hint.

use super::super::{ParseError, parse};
use super::read;

const HEREDOC: &str = "the heredoc has no end";

fn errors(text: &str) -> ParseError {
    parse("Dockerfile", text).expect_err(text)
}

fn messages(text: &str) -> Vec<String> {
    errors(text).diagnostics.into_iter().map(|found| found.message).collect()
}

/// Checks the message of the only error in a stage's instruction and the text it points at.
fn check(cases: &[(&str, &str, &str)]) {
    for (instruction, message, place) in cases {
        let text = format!("FROM scratch\n{instruction}\n");
        let error = errors(&text);
        let [only] = error.diagnostics.as_slice() else { panic!("{error}") };
        assert_eq!(only.message, *message, "{instruction}");
        assert_eq!(&text[only.span.start..only.span.end], *place, "{instruction}");
    }
}

#[test]
fn all_errors_are_shown_with_a_caret() {
    let text = "\
FROM debian
RUN --mount=type=cache,taget=/x \\
  # why
  --network=nome  make
COPYY a b
RUN cat <<EOF && x
FROM inside the heredoc
EOF
ENV a=ü b
COPY <<-'END' /x
";
    assert_eq!(
        parse("docker/Dockerfile", text).unwrap_err().to_string(),
        "\
error: unknown option of --mount: taget
 --> docker/Dockerfile:2:24
  |
2 | RUN --mount=type=cache,taget=/x \\
  |                        ^^^^^^^^
  |
  = help: did you mean target?

error: unknown network of RUN: nome
 --> docker/Dockerfile:4:3
  |
4 |   --network=nome  make
  |   ^^^^^^^^^^^^^^
  |
  = help: did you mean none?

error: unknown instruction: COPYY
 --> docker/Dockerfile:5:1
  |
5 | COPYY a b
  | ^^^^^
  |
  = help: did you mean COPY?

error: can't find = in \"b\"
 --> docker/Dockerfile:9:9
  |
9 | ENV a=ü b
  |         ^
  |
  = help: the form is NAME=VALUE; a value with spaces needs quotes

error: the heredoc has no end
  --> docker/Dockerfile:10:6
   |
10 | COPY <<-'END' /x
   |      ^^^^^^^^
   |
   = help: its last line is END, with nothing before or behind it"
    );
}

#[test]
fn the_byte_order_mark_takes_no_column() {
    assert_eq!(
        errors("\u{feff}COPY a b\n").to_string(),
        "\
error: no build stage in current context
 --> Dockerfile:1:1
  |
1 | COPY a b
  | ^^^^
  |
  = help: only ARG may stand before the first FROM"
    );
}

#[test]
fn later_errors_look_like_the_parsers_own() {
    let file = read("FROM a\r\nCOPY x \\\r\n  y /z\r\n");
    let error = file.error(
        file.stages[0].instructions[0].span,
        "nothing matches",
        Some("see .dockerignore".to_owned()),
    );
    assert_eq!(
        error.to_string(),
        "\
error: nothing matches
 --> Dockerfile:2:1
  |
2 | COPY x \\
  | ^^^^^^^^
  |
  = help: see .dockerignore"
    );
}

#[test]
fn files_without_stages_are_refused() {
    let stray = "no build stage in current context";
    for (text, expected) in [
        ("", vec!["file with no instructions"]),
        ("\n # only a comment\n", vec!["file with no instructions"]),
        ("ARG a\n", vec!["no build stage: there is no FROM"]),
        ("RUN a\nRUN b\n", vec![stray]),
        ("ENV a=b\nFROM x\nRUN c\n", vec![stray]),
        ("RUN <<A\nA\nFROM x", vec![stray]),
        ("FORM x\n", vec!["unknown instruction: FORM"]),
        ("FROM a b\nRUN x\n", vec!["FROM requires either one or three arguments"]),
    ] {
        assert_eq!(messages(text), expected, "{text:?}");
    }
}

#[test]
fn bad_directives_are_refused() {
    for (text, message) in [
        ("# escape=x\nFROM a\n", "the escape character \"x\" is neither \\ nor `"),
        ("# escape=\\\n#ESCAPE=`\nFROM a\n", "only one escape parser directive can be used"),
        ("# syntax=a\n# syntax=a\nFROM a\n", "only one syntax parser directive can be used"),
    ] {
        assert_eq!(messages(text), [message], "{text:?}");
    }
}

#[test]
fn bad_stages_are_refused() {
    let three = "FROM requires either one or three arguments";
    check(&[
        ("FROM", three, "FROM"),
        ("FROM a as", three, "a as"),
        ("FROM a is b", three, "a is b"),
        ("FROM a AS b # c", three, "a AS b # c"),
        ("FROM a --platform=b", three, "a --platform=b"),
        ("FROM --platfrom=b a", "unknown flag: --platfrom", "--platfrom=b"),
        ("FROM a AS 1b", "invalid name for a build stage: \"1b\"", "1b"),
        ("FROM a AS b/c", "invalid name for a build stage: \"b/c\"", "b/c"),
        ("FROM a AS b\nFROM c AS B", "duplicate build stage name \"b\"", "B"),
    ]);
}

#[test]
fn missing_arguments_are_refused() {
    let one = |keyword: &str| format!("{keyword} requires at least one argument");
    for keyword in ["ENV", "LABEL", "ARG", "EXPOSE", "VOLUME", "SHELL", "ONBUILD", "HEALTHCHECK"] {
        check(&[(keyword, &one(keyword), keyword)]);
    }
    for keyword in ["WORKDIR", "USER", "STOPSIGNAL", "MAINTAINER"] {
        check(&[(keyword, &format!("{keyword} requires exactly one argument"), keyword)]);
    }
    for keyword in ["RUN", "CMD", "ENTRYPOINT"] {
        check(&[(keyword, &format!("{keyword} requires a command"), keyword)]);
    }
    check(&[
        ("RUN []", "RUN requires a command", "RUN"),
        ("VOLUME []", &one("VOLUME"), "VOLUME"),
        ("SHELL []", &one("SHELL"), "SHELL"),
        ("COPY a", "COPY requires at least two arguments", "COPY"),
        ("COPY --from=a b", "COPY requires at least two arguments", "COPY"),
        ("ADD [\"a\"]", "ADD requires at least two arguments", "ADD"),
        ("ADD", "ADD requires at least two arguments", "ADD"),
        ("HEALTHCHECK CMD", "HEALTHCHECK requires a command after CMD", "HEALTHCHECK"),
        ("HEALTHCHECK CMD []", "HEALTHCHECK requires a command after CMD", "HEALTHCHECK"),
    ]);
}

#[test]
fn what_this_release_cannot_do_is_refused() {
    for (keyword, flags) in [
        ("RUN", "--device"),
        ("COPY", "--link --parents=false --exclude=*.md"),
        ("ADD", "--checksum=sha256:0 --keep-git-dir=true --unpack --link --exclude=a"),
    ] {
        for flag in flags.split(' ') {
            let name = flag.split('=').next().unwrap();
            let message = format!("the flag {name} is not supported yet");
            check(&[(&format!("{keyword} {flag} a b"), &message, flag)]);
        }
    }
    let url = "ADD of a URL is not supported yet";
    let git = "ADD of a git repository is not supported yet";
    check(&[
        ("ADD https://a/b.tar c", url, "https://a/b.tar"),
        ("ADD x HTTP://a/b.git/x c", url, "HTTP://a/b.git/x"),
        ("ADD https://a/b.git#main:dir c", git, "https://a/b.git#main:dir"),
        ("ADD git@a.b:c/d e", git, "git@a.b:c/d"),
        ("ADD ssh://a/b c", git, "ssh://a/b"),
        ("COPY https://a/b c", "a source of COPY can't be a URL", "https://a/b"),
        ("COPY --from=$x a b", "--from does not expand variables", "--from=$x"),
    ]);
}

#[test]
fn heredocs_that_cannot_be_read_are_refused() {
    check(&[
        ("RUN <<EOF", HEREDOC, "<<EOF"),
        ("RUN cat <<a <<b\n1\na\n2\nb ", HEREDOC, "<<b"),
        ("COPY <<EOF /x\n EOF", HEREDOC, "<<EOF"),
        ("ONBUILD RUN <<EOF\nNOPE", HEREDOC, "<<EOF"),
        ("RUN <<a/b\n#!/bin/python\na/b", "\"a/b\" is no name of a file", "<<a/b"),
        ("COPY <<a/b /x\na/b", "\"a/b\" is no name of a file", "<<a/b"),
        ("COPY <<EOF\nEOF", "COPY requires at least two arguments", "COPY"),
        ("COPY a <<EOF\nEOF", "COPY requires at least two arguments", "COPY"),
    ]);
    assert_eq!(
        messages("FROM x\nRUN cat <<a <<b\n1\na\n2\nb\nNOPE\n"),
        ["unknown instruction: NOPE"]
    );
}

#[test]
fn flags_are_checked() {
    check(&[
        ("COPY --form=a b c", "unknown flag: --form", "--form=a"),
        ("COPY --from=a --from=b c d", "duplicate flag: --from", "--from=b"),
        ("COPY --from a b c", "the flag --from needs a value", "--from"),
        ("COPY --chown= b c", "the flag --chown needs a value", "--chown="),
        ("COPY a b --chown=c", "the flag \"--chown=c\" comes after an argument", "--chown=c"),
        ("COPY a --link b", "the flag \"--link\" comes after an argument", "--link"),
        ("ADD --from=a b c", "unknown flag: --from", "--from=a"),
        ("CMD --port 80", "unknown flag: --port", "--port"),
        ("ENV --x a=b", "unknown flag: --x", "--x"),
        ("COPY --chmod=u+x a b", "invalid mode \"u+x\" for --chmod", "--chmod=u+x"),
        ("COPY --chmod=0888 a b", "invalid mode \"0888\" for --chmod", "--chmod=0888"),
        ("ADD --chmod=17777 a b", "invalid mode \"17777\" for --chmod", "--chmod=17777"),
    ]);
}

#[test]
fn bad_values_are_refused() {
    let strings = "an array in JSON form must hold strings only";
    check(&[
        ("RUN [\"a\", 1]", strings, "[\"a\", 1]"),
        ("COPY [null, \"a\"]", strings, "[null, \"a\"]"),
        ("SHELL /bin/sh -c", "SHELL requires the arguments to be in JSON form", "/bin/sh -c"),
        ("ENV a", "ENV must have two arguments", "a"),
        ("LABEL =a", "LABEL names can not be blank", "=a"),
        ("ENV a=b c", "can't find = in \"c\"", "c"),
        ("ARG a =b", "ARG names can not be blank", "=b"),
        ("VOLUME [\" \"]", "a VOLUME can not be an empty string", " "),
        ("EXPOSE 80 9-8", "invalid port \"9-8\" in EXPOSE: the range ends before it starts", "9-8"),
        ("ONBUILD FROM x", "FROM is not allowed as an ONBUILD trigger", "FROM"),
        ("ONBUILD maintainer x", "MAINTAINER is not allowed as an ONBUILD trigger", "maintainer"),
        ("ONBUILD ONBUILD RUN x", "ONBUILD may not follow ONBUILD", "ONBUILD"),
        ("ONBUILD COPY a", "COPY requires at least two arguments", "COPY"),
    ]);
}

#[test]
fn bad_health_checks_are_refused() {
    check(&[
        ("HEALTHCHECK curl x", "unknown type \"curl\" in HEALTHCHECK", "curl"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments", "x"),
        ("HEALTHCHECK --timeout=5 CMD x", "invalid duration \"5\" for --timeout", "--timeout=5"),
        (
            "HEALTHCHECK --start-period=1us CMD x",
            "--start-period cannot be less than 1ms",
            "--start-period=1us",
        ),
        ("HEALTHCHECK --retries=-1 CMD x", "invalid number \"-1\" for --retries", "--retries=-1"),
    ]);
}

#[test]
fn several_errors_of_one_instruction_are_all_reported() {
    let text = "FROM x\nHEALTHCHECK --interval=1 --timeout=2 CMD x\nENV a=b c d=e f\nEXPOSE a b\n";
    assert_eq!(messages(text).len(), 6);
}

#[test]
fn a_file_that_is_no_dockerfile_does_not_flood_the_log() {
    let text = errors(&"{\"a\": 1},\n".repeat(60)).to_string();
    assert_eq!(text.matches("error: unknown instruction").count(), 50);
    assert!(text.ends_with("\n\nand 10 more errors"), "{text}");
}

#[test]
fn unknown_words_come_with_a_suggestion() {
    for (instruction, hint) in [
        ("RUM a", Some("did you mean RUN?")),
        ("entrypiont a", Some("did you mean ENTRYPOINT?")),
        ("FOOBAR a", None),
        ("COPY --chwon=a b c", Some("did you mean --chown?")),
        ("COPY --whatever=a b c", None),
    ] {
        let error = errors(&format!("FROM x\n{instruction}\n"));
        assert_eq!(error.diagnostics[0].hint.as_deref(), hint, "{instruction}");
    }
}
