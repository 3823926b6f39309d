//! Lines, comments, continuations, directives, positions.

use super::super::{Command, InstructionKind, RunOptions, parse_trigger};
use super::{place, read};

/// The one-line texts of the first stage's instructions.
fn texts(source: &str) -> Vec<String> {
    let file = read(source);
    file.stages[0].instructions.iter().map(|instruction| instruction.text.clone()).collect()
}

#[test]
fn continuations_are_joined_as_docker_joins_them() {
    for (source, text) in [
        ("RUN a \\\nb", "RUN a b"),
        ("RUN a\\\nb", "RUN ab"),
        ("RUN a \\\n    b", "RUN a     b"),
        ("RUN a \\ \t \n b", "RUN a  b"),
        ("RUN a \\\n# comment\n  # another\n b", "RUN a  b"),
        ("RUN a \\\n\n   \n b", "RUN a  b"),
        ("RUN a \\\r\n\r\n b\r\n", "RUN a  b"),
        ("RUN a \\", "RUN a"),
        ("RUN a \\\n", "RUN a"),
        ("RUN \\\n  a", "RUN a"),
        ("R\\\nUN a", "RUN a"),
        ("RUN a\\\\\nUSER b", "RUN a\\\\"),
        ("RUN a # b", "RUN a # b"),
        ("  run\ta  ", "RUN a"),
        ("RUN a # b \\\n c", "RUN a # b  c"),
    ] {
        assert_eq!(texts(&format!("FROM x\n{source}"))[0], text, "{source:?}");
    }
}

#[test]
fn comments_and_empty_lines_are_skipped() {
    let source = "\u{feff}# a comment\n\n  \t\n  # another\nfrom x\n\n#RUN a\n\\\nRUN b\n\\\n";
    assert_eq!(texts(source), ["RUN b"]);
}

#[test]
fn directives_stand_on_top() {
    let file = read("# syntax = docker/dockerfile:1 x\r\n#Check=skip=all\n# escape=`\nFROM x\n");
    assert_eq!(file.directives.escape, '`');
    assert_eq!(file.directives.syntax.unwrap().value, "docker/dockerfile:1 x");
    assert_eq!(file.directives.check.unwrap().value, "skip=all");
    for above in ["# a comment\n", "\n", "# unknown=1\n", "#!x\n", "FROM x\n"] {
        let file = read(&format!("{above}# escape=`\n# escape=?\nFROM y\n"));
        assert_eq!(file.directives.escape, '\\', "{above:?}");
    }
}

#[test]
fn a_backtick_may_be_the_escape_character() {
    let source = "# escape=`\nFROM x\nRUN dir C:\\ `\n  /s\nENV a=b` c d=\\\nUSER e\n";
    let file = read(source);
    let [run, env, user] = file.stages[0].instructions.as_slice() else { panic!() };
    assert_eq!(
        run.kind,
        InstructionKind::Run {
            script: None,
            command: Command::Shell("dir C:\\   /s".to_owned()),
            options: RunOptions::default(),
        }
    );
    let InstructionKind::Env(pairs) = &env.kind else { panic!() };
    assert_eq!((pairs[0].value.value.as_str(), pairs[1].value.value.as_str()), ("b` c", "\\"));
    assert_eq!(user.text, "USER e");
}

#[test]
fn spans_point_into_the_source_across_continuations() {
    let source = "FROM é:1 AS Bü\n".replace("Bü", "b");
    let source = format!("{source}COPY --from=b ä.txt \\\n  # ö\n  second \\\n  /dest/ü # no\n");
    let file = read(&source);
    let stage = &file.stages[0];
    assert_eq!(stage.from.span, place(&source, "é:1"));
    let InstructionKind::Copy(copy) = &stage.instructions[0].kind else { panic!() };
    assert_eq!(copy.from.as_ref().unwrap().span, place(&source, "--from=b"));
    assert_eq!(copy.sources[0].span, place(&source, "ä.txt"));
    assert_eq!(copy.sources[1].span, place(&source, "second"));
    assert_eq!(copy.sources[2].span, place(&source, "/dest/ü"));
    assert_eq!(stage.instructions[0].span.start, place(&source, "COPY").start);
    assert_eq!(stage.instructions[0].span.end, source.trim_end().len());
    assert_eq!(file.line_column(copy.sources[2].span.start), (5, 3));
    assert_eq!(file.line_column(place(&source, " # no").start), (5, 10));
    assert_eq!(file.line_column(usize::MAX), (6, 1));
}

#[test]
fn places_in_json_forms_are_those_of_the_words() {
    let source = "FROM x\nCOPY [ \"a\\\" b\" ,\n\"tail\"]\n".replace(",\n", ", \\\n");
    let file = read(&source);
    let InstructionKind::Copy(copy) = &file.stages[0].instructions[0].kind else { panic!() };
    assert_eq!(copy.sources[0].value, "a\" b");
    assert_eq!(copy.sources[0].span, place(&source, "a\\\" b"));
    assert_eq!(copy.destination.span, place(&source, "tail"));
}

#[test]
fn triggers_of_a_base_image_are_read_alone() {
    let trigger = parse_trigger("run  echo $a").unwrap();
    assert_eq!(trigger.text, "RUN echo $a");
    for text in ["", "# x", "RUN a\nRUN b", "FROM x", "ONBUILD RUN a", "MAINTAINER x", "NOPE"] {
        assert!(parse_trigger(text).is_err(), "{text:?}");
    }
}
