use proptest::prelude::*;
use regex::bytes::Regex;

use super::IgnoreRules;

fn rules(text: &str) -> IgnoreRules {
    IgnoreRules::parse(".dockerignore", text.as_bytes()).unwrap()
}

#[test]
fn verdicts_are_mobys_where_gitignores_differ() {
    for (text, path, excluded) in [
        ("foo", "a/foo", false),
        ("*.txt", "d/a.txt", false),
        (".git", "sub/.git", false),
        ("node_modules", "pkg/node_modules/x", false),
        ("foo/", "foo", true),
        ("*\n!keep", "keep/sub", false),
        ("foo\n! foo", "foo", false),
        ("a**/b", "a/x/b", true),
        ("a**b", "a/x/b", true),
        ("**.txt", "d/e/a.txt", true),
        ("[!a]x", "bx", false),
        ("[!a]x", "ax", true),
        ("[[:alpha:]]", "a", true),
        ("[a\\-c]", "-", true),
        ("[\\]]", "]", true),
        ("./foo", "foo", true),
        ("foo/../bar", "bar", true),
        ("a//b", "a/b", true),
        ("a/./b", "a/b", true),
        ("{a,b}", "a", false),
        ("{a,b}", "{a,b}", true),
        ("?", "é", true),
        (" foo ", "foo", true),
        ("\u{feff}foo", "foo", true),
        ("/", "x", false),
    ] {
        assert_eq!(rules(text).is_excluded(path.as_bytes()), excluded, "{text:?} on {path:?}");
    }
}

#[test]
fn verdicts_of_the_rest_of_the_language() {
    for (text, path, excluded) in [
        ("", "foo", false),
        ("# foo\n\n", "# foo", false),
        (" # foo", "# foo", true),
        ("#foo\r\nbar\r\n", "bar", true),
        ("/foo", "foo", true),
        ("foo", "foo/deep/below", true),
        ("foo", "foobar", false),
        (".", "foo", false),
        ("../foo", "foo", false),
        ("/../foo", "foo", true),
        ("**", "a/b", true),
        ("**/foo", "foo", true),
        ("**/foo", "a/b/foo", true),
        ("**/foo", "a/bfoo", false),
        ("**foo", "a/bfoo", true),
        ("foo/**", "foo", false),
        ("foo/**", "foo/a/b", true),
        ("foo**", "foobar/x", true),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "a/xb", false),
        ("a/*/b", "a/x/y/b", false),
        ("a/*", "a", false),
        ("a/*", "a/x/y", true),
        ("**/*.o", "x.o", true),
        ("**/*.o", "a/b/x.o", true),
        ("a?c", "a/c", false),
        ("*a**b", "aab", true),
        ("a.c", "abc", false),
        ("a\\*", "a*", true),
        ("a\\*", "ab", false),
        ("\\!a", "!a", true),
        ("/!a\na", "a", true),
        ("a\n/!a", "a", false),
        ("*\n!a/b", "a/b/c", false),
        ("*\n!a/b", "a/c", true),
        ("*\n!a/b\na/b/*.o", "a/b/x.o", true),
        ("!a", "a", false),
        ("[^a]", "b", true),
        ("[^a]", "a", false),
        ("[a-c]x", "bx", true),
        ("[*]", "*", true),
        ("*\n!.gitkeep", ".gitkeep", false),
        ("é*", "éa", true),
        ("*??", "日", false),
    ] {
        assert_eq!(rules(text).is_excluded(path.as_bytes()), excluded, "{text:?} on {path:?}");
    }
    assert!(!rules("*").is_excluded(b""));
    assert!(rules("a*").is_excluded(b"a\xff\xfe"));
    assert!(rules("a?").is_excluded(b"a\xff"));
}

#[test]
fn malformed_lines_are_errors_that_name_the_line() {
    for bad in ["a[", "[^", "[]a]", "!", "! ", "!/", "[z-a]", "[[:what:]]", "a\\", "[-]", "[a-]"] {
        let text = format!("# first\nfine\n{bad}\n");
        let error = IgnoreRules::parse("x.dockerignore", text.as_bytes()).unwrap_err();
        assert_eq!((error.line, error.file.as_str()), (3, "x.dockerignore"), "{bad:?}");
        assert_eq!(error.pattern, bad.trim());
        assert!(error.to_string().starts_with("x.dockerignore:3: pattern"), "{error}");
    }
}

#[test]
fn the_deciding_line_can_be_told() {
    let rules = rules("a\n!a\n a/b \n");
    assert_eq!(rules.exclusion(b"a/b/c").unwrap(), ".dockerignore:3 excludes it (a/b)");
    assert_eq!(rules.exclusion(b"a/c"), None);
}

#[test]
fn directories_that_no_rule_divides_are_known() {
    for (text, directory, divided) in [
        ("", "", false),
        ("foo", "", true),
        ("foo", "bar", false),
        ("foo", "foo", false),
        ("foo/a", "foo", true),
        ("foo/a", "fo", false),
        ("foo/*", "foo", true),
        ("foo/**", "foo", true),
        ("foo/**", "foo/a", false),
        ("node_modules\n**/*.log", "node_modules", false),
        ("node_modules\n!node_modules/keep", "node_modules", true),
        ("node_modules\n!node_modules/keep", "node_modules/other", false),
        ("*\n!src", "src", false),
        ("*\n!src", "docs", false),
        ("*\n!src/**/x", "src/a", true),
        ("*/x", "a", true),
        ("*/x", "a/b", false),
        ("a?/x", "ab", true),
        ("a?/x", "b", false),
    ] {
        assert_eq!(
            rules(text).may_match_below(directory.as_bytes()),
            divided,
            "{text:?} {directory:?}"
        );
    }
}

/// Every path of up to four components over a few names.
fn universe() -> Vec<String> {
    let mut paths = vec![String::new()];
    let mut last = paths.clone();
    for _ in 0..4 {
        last = last
            .iter()
            .flat_map(|parent| {
                ["a", "b", "ab"].map(|name| match parent.as_str() {
                    "" => name.to_owned(),
                    parent => format!("{parent}/{name}"),
                })
            })
            .collect();
        paths.extend(last.clone());
    }
    paths
}

fn pattern() -> impl Strategy<Value = String> {
    let piece =
        prop::sample::select(vec!["a", "b", "ab", "*", "**", "?", "/", "/", "[ab]", "[^a]"]);
    (any::<bool>(), prop::collection::vec(piece, 1..6))
        .prop_map(|(keep, pieces)| format!("{}{}", if keep { "!" } else { "" }, pieces.concat()))
}

/// Moby's translation of a cleaned pattern without brackets and escapes to a regular expression.
fn as_regex(pattern: &str) -> Regex {
    let mut text = "(?s)^".to_owned();
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("**") {
            rest = after.strip_prefix('/').unwrap_or(after);
            text.push_str(if rest.is_empty() { ".*" } else { "(.*/)?" });
            continue;
        }
        rest = &rest[next.len_utf8()..];
        match next {
            '*' => text.push_str("[^/]*"),
            '?' => text.push_str("[^/]"),
            _ => text.push_str(&regex::escape(&next.to_string())),
        }
    }
    Regex::new(&format!("{text}$")).unwrap()
}

proptest! {
    #[test]
    fn any_text_and_path_give_a_verdict(
        text in prop::collection::vec(any::<u8>(), 0..60),
        path in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        if let Ok(rules) = IgnoreRules::parse("i", &text) {
            let divided = rules.may_match_below(&path);
            prop_assert!(divided || rules.is_excluded(&path) == rules.is_excluded(&[&path, &b"/x"[..]].concat()) || path.is_empty());
        }
    }

    #[test]
    fn undivided_directories_have_one_verdict(lines in prop::collection::vec(pattern(), 1..5)) {
        let text = lines.join("\n");
        let Ok(rules) = IgnoreRules::parse("i", text.as_bytes()) else {
            return Ok(());
        };
        let universe = universe();
        for directory in universe.iter().filter(|path| path.split('/').count() < 4) {
            if rules.may_match_below(directory.as_bytes()) {
                continue;
            }
            let verdict = rules.is_excluded(directory.as_bytes());
            let start = if directory.is_empty() { String::new() } else { format!("{directory}/") };
            for path in universe.iter().filter(|path| path.len() > start.len() && path.starts_with(&start)) {
                prop_assert_eq!(rules.is_excluded(path.as_bytes()), verdict, "{:?} {} {}", &text, directory, path);
            }
        }
    }

    #[test]
    fn patterns_match_as_mobys_regular_expressions(pattern in "[ab*?/é]{1,8}", path in "[ab/é]{1,8}") {
        let cleaned = String::from_utf8(super::clean_path(pattern.as_bytes())).unwrap();
        let path = String::from_utf8(super::clean_path(path.as_bytes())).unwrap();
        // Moby takes a leading ** before plain text as "ends so", not as its regular expression.
        prop_assume!(!cleaned.starts_with('/') && !cleaned.starts_with("**") && !path.starts_with('/'));
        let regex = as_regex(&cleaned);
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        let expected = parents.chain([path.as_str()]).any(|path| regex.is_match(path.as_bytes()));
        prop_assert_eq!(rules(&pattern).is_excluded(path.as_bytes()), expected);
    }
}
