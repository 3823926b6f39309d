//! What is wrong with a `longshore.yaml`, and where.

use std::fmt;

use serde_saphyr::{Location, UserMessageFormatter};

/// All that is wrong with a project file.
///
/// Displayed as one `file:line:column: message` for each problem, hints on lines of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectError {
    /// The name of the file, as in the messages.
    pub name: String,
    /// The problems; at least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
    /// What is wrong: a lowercase fragment without a final dot.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl std::error::Error for ProjectError {}

impl fmt::Display for ProjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            let Problem { line, column, message, .. } = problem;
            write!(f, "{}:{line}:{column}: {message}", self.name)?;
            problem.hint.iter().try_for_each(|hint| write!(f, "\n  hint: {hint}"))?;
        }
        Ok(())
    }
}

impl Problem {
    pub(super) fn at(location: Location, message: impl Into<String>) -> Self {
        let (line, column) = (location.line().max(1), location.column().max(1));
        Self { line, column, message: message.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// What the YAML reader complains about, in our words where users meet it often.
    pub(super) fn of_yaml(error: &serde_saphyr::Error) -> Self {
        use serde_saphyr::Error as Yaml;
        let error = error.without_snippet();
        let location = error.location().unwrap_or(Location::UNKNOWN);
        match error {
            Yaml::SerdeUnknownField { field, expected, .. } => {
                Self::at(location, format!("unknown key {field:?}"))
                    .hint(unknown_key_hint(field, expected))
            }
            Yaml::SerdeMissingField { field, .. } => {
                Self::at(location, format!("the key {field:?} is missing"))
            }
            Yaml::DuplicateMappingKey { key: Some(key), .. } => {
                Self::at(location, format!("the key {key:?} is given twice"))
            }
            Yaml::MultipleDocuments { .. } => {
                Self::at(location, "a project file holds one YAML document, here a second starts")
            }
            Yaml::Eof { .. } => {
                Self::at(location, "the file has no content").hint("the key \"images\" is needed")
            }
            Yaml::NullIntoString { .. } => Self::at(location, "a text is expected, not nothing")
                .hint("write \"\" for an empty text"),
            Yaml::Unexpected { expected, .. } => {
                let expected = match *expected {
                    "sequence start" => "a list",
                    "mapping start" => "a mapping (KEY: VALUE)",
                    "string scalar" => "a text",
                    other => other,
                };
                Self::at(location, format!("{expected} is expected here"))
            }
            other => {
                use serde_saphyr::MessageFormatter as _;
                Self::at(location, UserMessageFormatter.format_message(other))
            }
        }
    }
}

fn unknown_key_hint(key: &str, known: &[&str]) -> String {
    let nearest = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(key, known), known))
        .filter(|(distance, known)| *distance <= known.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((_, known)) => format!("did you mean {known:?}?"),
        None => format!("known keys here: {}", known.join(", ")),
    }
}
