//! The rules of one ignore file, in order.

use thiserror::Error;

use super::go_match::clean_path;
use super::pattern::Pattern;

/// The rules of an ignore file; see the module text for the language.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IgnoreRules {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    verdict: Verdict,
    pattern: Pattern,
    line: usize,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Exclude,
    Keep,
}

/// A line of an ignore file that cannot be a rule.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{file}:{line}: pattern {pattern:?} is not valid: {reason}")]
pub struct IgnoreError {
    /// The ignore file as it was named.
    pub file: String,
    /// The line, counted from one.
    pub line: usize,
    /// The pattern as it stands in the file.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

impl IgnoreRules {
    /// No rules: nothing is excluded.
    pub const fn none() -> Self {
        Self { name: String::new(), rules: Vec::new() }
    }

    /// Parses the text of an ignore file; `name` is the file's name in errors.
    ///
    /// # Errors
    /// At the first line that Docker would refuse too.
    pub fn parse(name: &str, text: &[u8]) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        let mut rules = Vec::new();
        for (at, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let refuse = |reason: String| IgnoreError {
                file: name.to_owned(),
                line: at + 1,
                pattern: String::from_utf8_lossy(line).trim().to_owned(),
                reason,
            };
            if let Some((verdict, pattern)) = parse_line(line) {
                if pattern.is_empty() || (verdict == Verdict::Keep && pattern == b"/") {
                    return Err(refuse("nothing follows the exclamation mark".to_owned()));
                }
                rules.push(Rule {
                    verdict,
                    pattern: Pattern::compile(&pattern).map_err(|bad| refuse(bad.to_string()))?,
                    line: at + 1,
                    text: String::from_utf8_lossy(line).trim().to_owned(),
                });
            }
        }
        Ok(Self { name: name.to_owned(), rules })
    }

    /// Tells whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Tells whether the path is left out of the context, by a rule for itself or for one of the
    /// directories it lies in. The root (the empty path) never is.
    pub fn is_excluded(&self, path: &[u8]) -> bool {
        self.deciding_rule(path).is_some_and(|rule| rule.verdict == Verdict::Exclude)
    }

    /// Says which line excludes the path, for messages; nothing when none does.
    pub fn exclusion(&self, path: &[u8]) -> Option<String> {
        self.deciding_rule(path)
            .filter(|rule| rule.verdict == Verdict::Exclude)
            .map(|rule| format!("{}:{} excludes it ({})", self.name, rule.line, rule.text))
    }

    /// Tells whether some path below the directory (the empty path for the root) may have another
    /// verdict than the directory itself; see the module's invariant.
    pub fn may_match_below(&self, directory: &[u8]) -> bool {
        let start = match directory {
            b"" => Vec::new(),
            _ => [directory, b"/"].concat(),
        };
        // The verdicts that are possible after each rule.
        let (mut kept, mut excluded) = (true, false);
        for rule in &self.rules {
            if rule.covers(directory) {
                (kept, excluded) = match rule.verdict {
                    Verdict::Exclude => (false, true),
                    Verdict::Keep => (true, false),
                };
            } else if rule.pattern.can_match_longer(&start) {
                match rule.verdict {
                    Verdict::Exclude => excluded = true,
                    Verdict::Keep => kept = true,
                }
            }
        }
        kept && excluded
    }

    /// The last rule that changed the verdict on the path.
    fn deciding_rule(&self, path: &[u8]) -> Option<&Rule> {
        let mut decided: Option<&Rule> = None;
        for rule in &self.rules {
            // A rule that would only repeat the verdict need not be tried.
            let current = decided.map_or(Verdict::Keep, |rule| rule.verdict);
            if rule.verdict != current && rule.covers(path) {
                decided = Some(rule);
            }
        }
        decided
    }
}

impl Rule {
    /// Tells whether the pattern matches the path or a directory that it lies in.
    fn covers(&self, path: &[u8]) -> bool {
        if path.is_empty() {
            return false;
        }
        self.pattern.matches(path)
            || (0..path.len())
                .filter(|&at| path[at] == b'/')
                .any(|at| self.pattern.matches(&path[..at]))
    }
}

/// Returns the cleaned pattern of a line, or nothing for comments and blank lines.
fn parse_line(line: &[u8]) -> Option<(Verdict, Vec<u8>)> {
    if line.starts_with(b"#") {
        return None;
    }
    let text = trim(line);
    let (verdict, pattern) = match text.strip_prefix(b"!") {
        Some(pattern) => (Verdict::Keep, trim(pattern)),
        None => (Verdict::Exclude, text),
    };
    if text.is_empty() || pattern.is_empty() {
        return (!text.is_empty()).then(|| (verdict, Vec::new()));
    }
    let mut cleaned = clean_path(pattern);
    if cleaned.len() > 1 && cleaned[0] == b'/' {
        cleaned.remove(0);
    }
    // Moby cleans twice, the second time with a `!` in front; what then begins with a `!` is an
    // exception, which is how `/!foo` becomes one.
    match (verdict, cleaned.strip_prefix(b"!")) {
        (Verdict::Exclude, Some(rest)) => Some((Verdict::Keep, rest.to_vec())),
        _ => Some((verdict, cleaned)),
    }
}

/// Trims white space as Go's `strings.TrimSpace`; of text that is not UTF-8 only ASCII's.
fn trim(bytes: &[u8]) -> &[u8] {
    std::str::from_utf8(bytes).map_or(bytes.trim_ascii(), |text| text.trim().as_bytes())
}
