//! Expansion of words.

use std::collections::BTreeSet;

use super::super::{expand, expand_words};

/// `name` is set to `value`, `path` to a path, `empty` to nothing, `ä1_` to `ö`; nothing else is set.
fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "name" => "value",
        "path" => "/usr/local/lib.tar.gz",
        "empty" => "",
        "ä1_" => "ö",
        "star" => "a*b*c",
        "words" => " one  two ",
        "lines" => "a\nb",
        "1" => "first",
        "cost" => "5$name",
        _ => return None,
    };
    Some(value.to_owned())
}

fn check(escape: char, cases: &[(&str, &str)]) {
    for (word, expected) in cases {
        match expand(word, escape, &lookup) {
            Ok(expansion) => assert_eq!(expansion.text, *expected, "{word}"),
            Err(error) => panic!("{word}: {error}"),
        }
    }
}

#[test]
fn variables_are_replaced() {
    check(
        '\\',
        &[
            ("", ""),
            ("plain text", "plain text"),
            ("$name", "value"),
            ("${name}", "value"),
            ("a${name}b$name.c", "avaluebvalue.c"),
            ("$name_x", ""),
            ("$ä1_", "ö"),
            ("$1x", "firstx"),
            ("$unset", ""),
            ("$", "$"),
            ("$ name", "$ name"),
            ("a$/b", "a$/b"),
            ("$$name", "name"),
            ("$words", " one  two "),
            ("$cost", "5$name"),
        ],
    );
}

#[test]
fn defaults_and_alternatives_know_unset_from_empty() {
    check(
        '\\',
        &[
            ("${name:-x}", "value"),
            ("${empty:-x}", "x"),
            ("${unset:-x}", "x"),
            ("${name-x}", "value"),
            ("${empty-x}", ""),
            ("${unset-x}", "x"),
            ("${name:+x}", "x"),
            ("${empty:+x}", ""),
            ("${unset:+x}", ""),
            ("${name+x}", "x"),
            ("${empty+x}", "x"),
            ("${unset+x}", ""),
            ("${name:?no}", "value"),
            ("${empty?no}", ""),
            ("${unset:-}", ""),
            ("${unset:-${empty:-$name}}", "value"),
            ("${unset:-${unset2:-a b}c}d", "a bcd"),
            ("${name:+-${name}}", "-value"),
            ("${unset:-'}'\"}\"\\}}", "}}}"),
            ("${unset:-\"a $name\"}", "a value"),
        ],
    );
}

#[test]
fn patterns_are_cut_and_replaced() {
    check(
        '\\',
        &[
            ("${path#*/}", "usr/local/lib.tar.gz"),
            ("${path##*/}", "lib.tar.gz"),
            ("${path%.*}", "/usr/local/lib.tar"),
            ("${path%%.*}", "/usr/local/lib"),
            ("${path#/u?r}", "/local/lib.tar.gz"),
            ("${path#nothing}", "/usr/local/lib.tar.gz"),
            ("${path#}", "/usr/local/lib.tar.gz"),
            ("${name#*}", "value"),
            ("${name##*}", ""),
            ("${name%%*}", ""),
            ("${name:#v}", "alue"),
            ("${star#a\\*}", "b*c"),
            ("${star%\\**}", "a*b"),
            ("${star%%\\**}", "a"),
            ("${unset#x}", ""),
            ("${name#${unset:-va}}", "lue"),
            ("${lines##*b}", "a\nb"),
            ("${path/usr/opt}", "/opt/local/lib.tar.gz"),
            ("${path//l/L}", "/usr/LocaL/Lib.tar.gz"),
            ("${path//\\//_}", "_usr_local_lib.tar.gz"),
            ("${path/l*./}", "/usr/gz"),
            ("${path//[/x}", "/usr/local/lib.tar.gz"),
            ("${name/a/$cost}", "v5$namelue"),
            ("${name//?/x}", "xxxxx"),
            ("${name/nothing/x}", "value"),
            ("${unset/a/b}", ""),
            ("${ä1_/ö/ü}", "ü"),
            ("${name/$empty/x}", "xvalue"),
            ("${name//$empty/x}", "xvxaxlxuxex"),
        ],
    );
}

#[test]
fn quotes_and_escapes_are_removed() {
    check(
        '\\',
        &[
            ("\"a b\"'c d'", "a bc d"),
            ("'$name'", "$name"),
            ("\"$name\"", "value"),
            ("\"'$name'\"", "'value'"),
            ("'\"'", "\""),
            ("\\$name", "$name"),
            ("\"\\$name\"", "$name"),
            ("a\\ b", "a b"),
            ("a\\b", "ab"),
            ("\"a\\b\"", "a\\b"),
            ("\"a\\\"b\\\\\"", "a\"b\\"),
            ("'a\\b'", "a\\b"),
            ("a\\", "a"),
            ("\\\\", "\\"),
            ("\\'a\\\"", "'a\""),
            ("\\é", "é"),
            ("a`b", "a`b"),
        ],
    );
    check(
        '`',
        &[
            ("C:\\$name", "C:\\value"),
            ("`$name", "$name"),
            ("\"`$name`\"\"", "$name\""),
            ("a` b", "a b"),
        ],
    );
}

#[test]
fn malformed_words_are_refused() {
    for (word, message) in [
        ("'a", "a quote (') is opened and not closed in \"'a\""),
        ("\"a", "a quote (\") is opened and not closed in \"\\\"a\""),
        ("${", "missing '}' in \"${\""),
        ("${name", "missing '}' in \"${name\""),
        ("${name:-a", "missing '}' in \"${name:-a\""),
        ("${name/a", "missing '/' in \"${name/a\""),
        ("${name/a/b", "missing '}' in \"${name/a/b\""),
        ("${}", "bad substitution in \"${}\""),
        ("${:-a}", "bad substitution in \"${:-a}\""),
        ("${{name}}", "bad substitution in \"${{name}}\""),
        ("${name=a}", "unsupported modifier \"=\" in \"${name=a}\""),
        ("${name:=a}", "unsupported modifier \":=\" in \"${name:=a}\""),
        ("${na me}", "unsupported modifier \" \" in \"${na me}\""),
        ("${name#\\a}", "invalid pattern \"\\\\a\" in \"${name#\\\\a}\""),
        ("${unset?}", "unset: is not allowed to be unset"),
        ("${empty:?}", "empty: is not allowed to be empty"),
        ("${unset:?give $name}", "unset: give value"),
    ] {
        assert_eq!(expand(word, '\\', &lookup).unwrap_err().to_string(), message, "{word}");
    }
    let deep = format!("{}{}", "${unset:-".repeat(100_000), "}".repeat(100_000));
    assert!(expand(&deep, '\\', &lookup).is_err());
}

#[test]
fn all_variables_that_were_asked_for_are_named() {
    let expansion = expand("$a ${b:-$c} ${name:+$d} '$e' \\$f", '\\', &lookup).unwrap();
    let used: BTreeSet<String> = ["a", "b", "c", "d", "name"].map(str::to_owned).into();
    assert_eq!(expansion.used, used);
}

#[test]
fn words_are_split_after_expansion_but_not_in_quotes() {
    for (word, expected) in [
        ("$words", vec!["one", "two"]),
        ("a$words", vec!["a", "one", "two"]),
        ("\"$words\"", vec![" one  two "]),
        ("a b", vec!["a", "b"]),
        ("a\\ b", vec!["a b"]),
        ("$empty", vec![]),
        ("''", vec![]),
        ("80/$name", vec!["80/value"]),
    ] {
        assert_eq!(expand_words(word, '\\', &lookup).unwrap().words, expected, "{word}");
    }
}

#[test]
fn in_heredocs_quotes_are_plain_and_backslashes_go() {
    let lookup = |name: &str| (name == "x").then(|| "v".to_owned());
    for (text, expected) in [
        ("a '$x' \"${x}\"\n", "a 'v' \"v\"\n"),
        ("it's \\$x \\n \\\\ `$x`", "it's $x n \\ `v`"),
        ("${y:-'d'}", "'d'"),
        ("", ""),
    ] {
        assert_eq!(super::super::expand_text(text, &lookup).unwrap().text, expected, "{text}");
    }
    let long = format!("{}${{", "x".repeat(500));
    let error = super::super::expand_text(&long, &lookup).unwrap_err();
    assert!(error.to_string().len() < 200, "{error}");
}
