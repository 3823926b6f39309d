//! `WWW-Authenticate` headers (RFC 9110 section 11.6.1, once RFC 7235).
//!
//! A header may hold several challenges, separated by the same commas that separate their
//! parameters; a word that is not followed by `=` starts a new challenge. What cannot be read ends
//! the header; the challenges before it count.

use std::collections::BTreeMap;

/// One challenge: the scheme in lower case, and its parameters with lower-case names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) scheme: String,
    pub(super) parameters: BTreeMap<String, String>,
}

/// Parses one header value.
pub(super) fn parse(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let Some((word, after)) = token(rest) else { return challenges };
        let value_at = after.trim_start_matches([' ', '\t']);
        let parameter = value_at.strip_prefix('=').and_then(value);
        match (parameter, challenges.last_mut()) {
            (Some((value, after)), Some(challenge)) => {
                challenge.parameters.insert(word.to_ascii_lowercase(), value);
                rest = after;
            }
            // A parameter before any scheme, or a `=` without a value.
            (Some(_), None) => return challenges,
            (None, _) if value_at.starts_with('=') => return challenges,
            (None, _) => {
                let scheme = word.to_ascii_lowercase();
                challenges.push(Challenge { scheme, parameters: BTreeMap::new() });
                rest = token68(after);
            }
        }
    }
}

/// Splits a `token` (RFC 9110 section 5.6.2) off the front.
fn token(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)))
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// Reads a token or quoted string after `=`.
fn value(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start_matches([' ', '\t']);
    let Some(quoted) = text.strip_prefix('"') else {
        // Unquoted URLs are against the grammar but sent; they end at a comma or space.
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

/// Skips the one-value form of a challenge, as in `Negotiate YWJj==`.
fn token68(text: &str) -> &str {
    let start = text.trim_start_matches([' ', '\t']);
    let end = start
        .find(|c: char| !(c.is_ascii_alphanumeric() || "-._~+/".contains(c)))
        .unwrap_or(start.len());
    let after = start[end..].trim_start_matches('=');
    let alone = end > 0 && after.trim_start().chars().next().is_none_or(|next| next == ',');
    if alone { after } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(header: &str) -> String {
        let one = |challenge: &Challenge| {
            let parameters: Vec<String> = challenge
                .parameters
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("{}[{}]", challenge.scheme, parameters.join(";"))
        };
        parse(header).iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn challenges_are_read_as_registries_send_them() {
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                "bearer[realm=https://auth.docker.io/token;scope=repository:a/b:pull,push;service=registry.docker.io]",
            ),
            ("Basic realm=\"Registry Realm\"", "basic[realm=Registry Realm]"),
            ("basic", "basic[]"),
            (
                "BEARER Realm=https://x.example/t , service=s",
                "bearer[realm=https://x.example/t;service=s]",
            ),
            (r#"Negotiate, Basic realm="x""#, "negotiate[] basic[realm=x]"),
            (r#"Negotiate YWJj==, Bearer realm="r""#, "negotiate[] bearer[realm=r]"),
            (
                r#"Basic realm="a, b=c", Bearer realm="q\"uote""#,
                "basic[realm=a, b=c] bearer[realm=q\"uote]",
            ),
            (
                r#"Bearer realm = "r" , error="insufficient_scope""#,
                "bearer[error=insufficient_scope;realm=r]",
            ),
            ("", ""),
            ("realm=\"x\"", ""),
            ("Bearer realm=\"open", "bearer[]"),
            ("Bearer realm=", "bearer[]"),
        ] {
            assert_eq!(shown(header), expected, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_taken_without_panic(header in ".*") {
            parse(&header);
        }

        #[test]
        fn quoted_values_come_back(value in "[ -~]*", service in "[ -~]*") {
            let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let header =
                format!("Bearer realm=\"{}\",service=\"{}\"", quote(&value), quote(&service));
            let challenges = parse(&header);
            prop_assert_eq!(&challenges[0].parameters["realm"], &value);
            prop_assert_eq!(&challenges[0].parameters["service"], &service);
        }
    }
}
