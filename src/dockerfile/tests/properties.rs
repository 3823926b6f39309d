//! No text makes the parser or the expansion panic, and places are right.

use proptest::prelude::*;

use super::super::diagnostics::line_column;
use super::super::{ParseError, Span, expand, expand_words, exposed_ports, parse, parse_trigger};

/// Texts that look like Dockerfiles more often than chance would have it.
fn dockerfile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => proptest::sample::select(vec![
            "FROM ", "RUN ", "COPY ", "ADD ", "ENV ", "LABEL ", "ARG ", "HEALTHCHECK ", "CMD ",
            "ONBUILD ", "EXPOSE ", "VOLUME ", "SHELL ", "USER ", "WORKDIR ", "--from=", "--chmod=",
            "--interval=", "--", "<<EOF", "<<-", "EOF", "# escape=`", "AS ", "[\"", "\"]", "\",\"",
            "=", "\\\n", "`\n", "\r\n", "\n", "#", "'", "\"", "\\", "$", "${", "}", ":-", "é", "日",
            "\u{feff}", "\u{a0}", "\t", " ", "a", "0", "--mount=", "type=", "secret", ",",
            "target=", "id=", "rw", "size=", "mode=", "--network=", "none",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn inside(text: &str, span: Span) -> bool {
    text.get(span.start..span.end).is_some()
}

fn check_error(error: &ParseError, text: &str) {
    assert!(!error.diagnostics.is_empty());
    for diagnostic in &error.diagnostics {
        assert!(inside(text, diagnostic.span), "{diagnostic:?} in {text:?}");
    }
    assert!(!error.to_string().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn parsing_never_panics_and_spans_lie_inside(text in dockerfile()) {
        match parse("Dockerfile", &text) {
            Err(error) => check_error(&error, &text),
            Ok(file) => {
                prop_assert!(!file.stages.is_empty());
                for stage in &file.stages {
                    prop_assert!(inside(&text, stage.span) && inside(&text, stage.from.span));
                    for instruction in &stage.instructions {
                        prop_assert!(inside(&text, instruction.span));
                        let error = file.error(instruction.span, "x", None);
                        check_error(&error, &text);
                    }
                }
            }
        }
    }

    #[test]
    fn instructions_never_panic(tail in dockerfile()) {
        for keyword in ["RUN", "COPY", "ENV", "ONBUILD ADD", "HEALTHCHECK", "EXPOSE", "VOLUME"] {
            let text = format!("FROM a\n{keyword} {tail}");
            if let Err(error) = parse("Dockerfile", &text) {
                check_error(&error, &text);
            }
            let text = format!("{keyword} {tail}");
            if let Err(error) = parse_trigger(&text) {
                check_error(&error, &text);
            }
        }
    }

    #[test]
    fn expansion_never_panics(
        word in "([$a{}:/#%*?\\\\`'\" éx+-]|\\$\\{a){0,40}",
        value in any::<Option<String>>(),
    ) {
        for escape in ['\\', '`'] {
            let lookup = |_: &str| value.clone();
            let _ = expand(&word, escape, &lookup);
            let _ = expand_words(&word, escape, &lookup);
        }
        let _ = exposed_ports(&word);
    }

    #[test]
    fn words_without_special_characters_stay(word in "[^$'\"\\\\]*") {
        prop_assert_eq!(expand(&word, '\\', &|_| None).unwrap().text, word);
    }

    #[test]
    fn patterns_agree_with_regular_expressions(
        pattern in "[ab*?]{0,6}",
        value in "[abä]{0,8}",
    ) {
        let lookup = |name: &str| Some(if name == "p" { pattern.clone() } else { value.clone() });
        let body = |star: &str| pattern.replace('?', ".").replace('*', star);
        let text = |word: &str| expand(word, '\\', &lookup).unwrap().text;
        for (word, expression) in [
            ("${v#$p}", format!("^{}", body(".*?"))),
            ("${v##$p}", format!("^{}", body(".*"))),
            ("${v/$p/}", body(".*")),
        ] {
            let expression = regex::Regex::new(&expression).unwrap();
            prop_assert_eq!(text(word), expression.replacen(&value, 1, "").into_owned(), "{}", word);
        }
        let all = regex::Regex::new(&body(".*")).unwrap();
        prop_assert_eq!(text("${v//$p/x}"), all.replace_all(&value, "x").into_owned());
        let suffix = regex::Regex::new(&format!("{}$", body(".*"))).unwrap();
        prop_assert_eq!(text("${v%%$p}"), suffix.replacen(&value, 1, "").into_owned());
    }

    #[test]
    fn lines_and_columns_count_characters(before in "[^\u{feff}]*", after in any::<String>()) {
        let line = before.split('\n').count();
        let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
        let text = format!("{before}{after}");
        prop_assert_eq!(line_column(&text, before.len()), (line, column));
    }
}
