//! Making output comparable as whole text: what differs from run to run gets a name in brackets.

use regex::Regex;

use super::{Registry, Sandbox};

/// Replaces ports, paths, digests and times in the text that it is given.
#[derive(Clone, Debug)]
pub(crate) struct Normal {
    literals: Vec<(String, &'static str)>,
    patterns: Vec<(Regex, &'static str)>,
}

impl Normal {
    /// The rules that every test needs.
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        let patterns = [
            (r"sha256:[0-9a-f]{64}", "sha256:[DIGEST]"),
            (r"\b[0-9a-f]{64}\b", "[HEX]"),
            (r"\b[0-9a-f]{56}-[0-9]{13}\b", "[STAGE]-[MILLIS]"),
            (r"\b[0-9a-f]{56}\b", "[STAGE]"),
            (r"\b[0-9a-f]{40}\b", "[COMMIT]"),
            (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})", "[TIME]"),
            (r"\b\d+(\.\d+)? ?(ms|s)\b", "[DURATION]"),
            // How commands are run depends on what the machine allows.
            (r"\(rung [a-z0-9-]+\)", "(rung [RUNG])"),
            (r"\b\d+(\.\d+)? ?(KiB|MiB|GiB|bytes|B)\b", "[SIZE]"),
        ];
        Self {
            literals: vec![(sandbox.root().display().to_string(), "[SANDBOX]")],
            patterns: patterns
                .map(|(pattern, name)| (Regex::new(pattern).expect("a valid pattern"), name))
                .to_vec(),
        }
    }

    /// Adds the address of a registry.
    pub(crate) fn registry(self, registry: &Registry) -> Self {
        self.literal(registry.address(), "[REGISTRY]")
    }

    /// Adds any text that is only true for this run.
    pub(crate) fn literal(mut self, text: &str, name: &'static str) -> Self {
        self.literals.push((text.to_owned(), name));
        self
    }

    /// Returns `text` with the rules applied and without blanks at the ends of lines.
    pub(crate) fn apply(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (literal, name) in &self.literals {
            text = text.replace(literal, name);
        }
        for (pattern, name) in &self.patterns {
            text = pattern.replace_all(&text, *name).into_owned();
        }
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}

#[test]
fn what_differs_from_run_to_run_gets_a_name() {
    let sandbox = Sandbox::new();
    let (commit, digest) = ("0123456789".repeat(4), "ab".repeat(32));
    let text = format!(
        "{}/a at {commit} is sha256:{digest} after 1.5s, 12 MiB  \n",
        sandbox.root().display()
    );
    let expected = "[SANDBOX]/a at [COMMIT] is sha256:[DIGEST] after [DURATION], [SIZE]\n";
    assert_eq!(Normal::new(&sandbox).apply(&text), expected);
}
