//! One ignore pattern, compiled to tokens.
//!
//! A match is a walk over the tokens that carries the set of positions reached in the path, so its
//! time is bounded by tokens times path length whatever stars the pattern has.

use super::go_match::{BadPattern, GoPattern, decode_rune};

/// A cleaned pattern without its `!`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// The path itself.
    Exact(Vec<u8>),
    /// Every path that starts so (`foo/**` and `foo**`).
    Prefix(Vec<u8>),
    /// Every path that ends so (`**/foo` and `**foo`); `/foo` at the front also matches `foo`.
    Suffix(Vec<u8>),
    /// Anything else.
    Tokens(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// These bytes.
    Literal(Vec<u8>),
    /// `?`: one rune but a slash.
    AnyRune,
    /// `*`: any run without a slash.
    AnyRun,
    /// `**/` before something: nothing, or any run that ends in a slash.
    AnyDirectories,
    /// `**` at the end: any run.
    AnyPath,
    /// `[...]`; like moby's, it can match a slash.
    Class { negated: bool, items: Vec<ClassItem> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClassItem {
    Range(u32, u32),
    Named(NamedClass),
}

/// The POSIX classes of ASCII that moby's regular expressions know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamedClass {
    Alnum,
    Alpha,
    Ascii,
    Blank,
    Cntrl,
    Digit,
    Graph,
    Lower,
    Print,
    Punct,
    Space,
    Upper,
    Word,
    Xdigit,
}

impl Pattern {
    /// Compiles a cleaned pattern.
    pub(super) fn compile(pattern: &[u8]) -> Result<Self, BadPattern> {
        // Moby checks the syntax with filepath.Match, which is stricter than its own translation.
        GoPattern::parse(pattern)?;
        let tokens = tokenize(pattern)?;
        let literal = |tokens: &[Token]| match tokens {
            [] => Some(Vec::new()),
            [Token::Literal(bytes)] => Some(bytes.clone()),
            _ => None,
        };
        // An escape makes moby leave the plain kinds, where `**` would mean another thing.
        if !pattern.contains(&b'\\') {
            if let Some(bytes) = literal(&tokens) {
                return Ok(Self::Exact(bytes));
            }
            if let Some(suffix) = pattern.strip_prefix(b"**")
                && literal(&tokens[1..]).is_some()
            {
                return Ok(Self::Suffix(suffix.to_vec()));
            }
            if let Some(prefix) = pattern.strip_suffix(b"**")
                && literal(&tokens[..tokens.len() - 1]).is_some()
            {
                return Ok(Self::Prefix(prefix.to_vec()));
            }
        }
        Ok(Self::Tokens(tokens))
    }

    /// Tells whether the pattern matches exactly this path.
    pub(super) fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => path.starts_with(prefix),
            Self::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix(b"/").is_some_and(|name| name == path)
            }
            Self::Tokens(tokens) => {
                if !ends_fit(tokens, path) {
                    return false;
                }
                let mut reached = vec![0];
                for token in tokens {
                    reached = advance(token, &reached, path);
                    if reached.is_empty() {
                        return false;
                    }
                }
                reached.contains(&path.len())
            }
        }
    }

    /// Tells whether the pattern can match some path that begins with `start` and goes on.
    /// May say yes where the answer is no, never the other way round.
    pub(super) fn can_match_longer(&self, start: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => exact.len() > start.len() && exact.starts_with(start),
            Self::Prefix(prefix) => prefix.starts_with(start) || start.starts_with(prefix),
            Self::Suffix(_) => true,
            Self::Tokens(tokens) => {
                let mut reached = vec![0];
                for token in tokens {
                    if reached.iter().any(|&at| open_ended(token, &start[at..])) {
                        return true;
                    }
                    reached = advance(token, &reached, start);
                }
                false
            }
        }
    }
}

/// Tells whether plain text at the pattern's ends fits the path; most paths fail here cheaply.
fn ends_fit(tokens: &[Token], path: &[u8]) -> bool {
    let starts = match tokens.first() {
        Some(Token::Literal(bytes)) => path.starts_with(bytes),
        _ => true,
    };
    let ends = match tokens.last() {
        Some(Token::Literal(bytes)) => path.ends_with(bytes),
        _ => true,
    };
    starts && ends
}

/// Tells whether `token`, put to the last bytes that are known of a path, can go on beyond them.
fn open_ended(token: &Token, known: &[u8]) -> bool {
    match token {
        Token::Literal(bytes) => bytes.len() > known.len() && bytes.starts_with(known),
        Token::AnyRune | Token::Class { .. } => known.is_empty(),
        Token::AnyRun => !known.contains(&b'/'),
        Token::AnyDirectories | Token::AnyPath => true,
    }
}

/// Positions in `path` that are reached after `token` from one of `from`; sorted, each once.
fn advance(token: &Token, from: &[usize], path: &[u8]) -> Vec<usize> {
    let mut reached = Vec::new();
    for &at in from {
        let rest = &path[at..];
        match token {
            Token::Literal(bytes) => {
                if rest.starts_with(bytes) {
                    reached.push(at + bytes.len());
                }
            }
            Token::AnyRune | Token::Class { .. } => {
                if !rest.is_empty() {
                    let (rune, length) = decode_rune(rest);
                    if takes(token, rune) {
                        reached.push(at + length);
                    }
                }
            }
            Token::AnyRun => {
                let end = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
                extend_by_runes(&mut reached, path, at, at + end);
            }
            Token::AnyPath => {
                extend_by_runes(&mut reached, path, at, path.len());
                break; // A later start reaches nothing more.
            }
            Token::AnyDirectories => {
                reached.push(at);
                reached.extend((at..path.len()).filter(|&p| path[p] == b'/').map(|p| p + 1));
            }
        }
    }
    reached.sort_unstable();
    reached.dedup();
    reached
}

/// Adds every position from `at` to `end` where a rune starts, and `end`.
fn extend_by_runes(reached: &mut Vec<usize>, path: &[u8], at: usize, end: usize) {
    let mut position = at;
    while position < end {
        reached.push(position);
        position += decode_rune(&path[position..]).1;
    }
    reached.push(end);
}

fn takes(token: &Token, rune: u32) -> bool {
    match token {
        Token::AnyRune => rune != u32::from(b'/'),
        Token::Class { negated, items } => {
            let within = items.iter().any(|item| match *item {
                ClassItem::Range(low, high) => low <= rune && rune <= high,
                ClassItem::Named(class) => u8::try_from(rune).is_ok_and(|byte| class.has(byte)),
            });
            within != *negated
        }
        _ => false,
    }
}

fn tokenize(pattern: &[u8]) -> Result<Vec<Token>, BadPattern> {
    let mut tokens = Vec::new();
    let mut literal = Vec::new();
    let mut rest = pattern;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let token = match byte {
            b'*' => match rest.strip_prefix(b"*") {
                Some(after) => {
                    rest = after.strip_prefix(b"/").unwrap_or(after);
                    if rest.is_empty() { Token::AnyPath } else { Token::AnyDirectories }
                }
                None => Token::AnyRun,
            },
            b'?' => Token::AnyRune,
            b'[' => {
                let (class, after) = parse_class(rest)?;
                rest = after;
                class
            }
            b'\\' => {
                let (&escaped, after) = rest.split_first().ok_or(BadPattern)?;
                literal.push(escaped);
                rest = after;
                continue;
            }
            _ => {
                literal.push(byte);
                continue;
            }
        };
        if !literal.is_empty() {
            tokens.push(Token::Literal(std::mem::take(&mut literal)));
        }
        tokens.push(token);
    }
    if !literal.is_empty() {
        tokens.push(Token::Literal(literal));
    }
    Ok(tokens)
}

/// Parses what follows a `[`, up to and including its `]`.
fn parse_class(after_bracket: &[u8]) -> Result<(Token, &[u8]), BadPattern> {
    let (negated, mut rest) = match after_bracket.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, after_bracket),
    };
    let mut items = Vec::new();
    loop {
        if let (Some(after), false) = (rest.strip_prefix(b"]"), items.is_empty()) {
            return Ok((Token::Class { negated, items }, after));
        }
        if let Some((class, after)) = named_class(rest)? {
            items.push(ClassItem::Named(class));
            rest = after;
            continue;
        }
        let (low, after) = class_rune(rest)?;
        rest = after;
        let high = match rest.strip_prefix(b"-") {
            Some(after) => {
                let (high, after) = class_rune(after)?;
                rest = after;
                high
            }
            None => low,
        };
        if low > high {
            return Err(BadPattern);
        }
        items.push(ClassItem::Range(low, high));
    }
}

/// Parses `[:name:]`; an unknown name is malformed.
fn named_class(bytes: &[u8]) -> Result<Option<(NamedClass, &[u8])>, BadPattern> {
    let Some(inner) = bytes.strip_prefix(b"[:") else {
        return Ok(None);
    };
    let Some(end) = inner.windows(2).position(|pair| pair == b":]") else {
        return Ok(None);
    };
    let class = NamedClass::from_name(&inner[..end]).ok_or(BadPattern)?;
    Ok(Some((class, &inner[end + 2..])))
}

fn class_rune(bytes: &[u8]) -> Result<(u32, &[u8]), BadPattern> {
    let bytes = bytes.strip_prefix(b"\\").unwrap_or(bytes);
    if bytes.is_empty() {
        return Err(BadPattern);
    }
    let (rune, length) = decode_rune(bytes);
    Ok((rune, &bytes[length..]))
}

impl NamedClass {
    fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"alnum" => Self::Alnum,
            b"alpha" => Self::Alpha,
            b"ascii" => Self::Ascii,
            b"blank" => Self::Blank,
            b"cntrl" => Self::Cntrl,
            b"digit" => Self::Digit,
            b"graph" => Self::Graph,
            b"lower" => Self::Lower,
            b"print" => Self::Print,
            b"punct" => Self::Punct,
            b"space" => Self::Space,
            b"upper" => Self::Upper,
            b"word" => Self::Word,
            b"xdigit" => Self::Xdigit,
            _ => return None,
        })
    }

    fn has(self, byte: u8) -> bool {
        match self {
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Alpha => byte.is_ascii_alphabetic(),
            Self::Ascii => byte.is_ascii(),
            Self::Blank => matches!(byte, b' ' | b'\t'),
            Self::Cntrl => byte.is_ascii_control(),
            Self::Digit => byte.is_ascii_digit(),
            Self::Graph => byte.is_ascii_graphic(),
            Self::Lower => byte.is_ascii_lowercase(),
            Self::Print => byte.is_ascii_graphic() || byte == b' ',
            Self::Punct => byte.is_ascii_punctuation(),
            Self::Space => matches!(byte, b'\t'..=b'\r' | b' '),
            Self::Upper => byte.is_ascii_uppercase(),
            Self::Word => byte.is_ascii_alphanumeric() || byte == b'_',
            Self::Xdigit => byte.is_ascii_hexdigit(),
        }
    }
}
