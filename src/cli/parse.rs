//! From arguments to a verb.

use std::ffi::OsString;
use std::path::Path;

use clap::Parser as _;

use super::{Cli, ExecutorCli, Verb};

/// Arguments that are no verb: a mistake, or a question for help.
#[derive(Debug)]
pub struct Refusal(clap::Error);

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Refusal {
    /// Prints what is wrong to standard error, or what was asked for to standard output.
    pub fn print(&self) {
        // A closed stream leaves nobody to tell.
        let _ignored = self.0.print();
    }

    /// What [`Self::print`] says of wrong arguments, without colours and the word `error`.
    pub fn message(&self) -> String {
        let text = self.0.render().to_string();
        text.strip_prefix("error: ").unwrap_or(&text).trim_end().to_owned()
    }

    /// Whether the arguments are wrong.
    pub fn is_error(&self) -> bool {
        self.0.use_stderr()
    }
}

/// Whether the arguments (the program's name first) ask for kaniko's command line: by the
/// program's own name, or by the verb.
pub fn is_executor(arguments: &[OsString]) -> bool {
    is_called_executor(arguments) || arguments.get(1).is_some_and(|verb| verb == "executor")
}

/// Parses the arguments, the program's name first.
///
/// # Errors
/// When they are wrong, or ask for help or the version.
pub fn parse(arguments: &[OsString]) -> Result<Verb, Refusal> {
    let verb = if is_called_executor(arguments) {
        ExecutorCli::try_parse_from(arguments).map(|cli| Verb::Executor(Box::new(cli.args)))
    } else {
        Cli::try_parse_from(arguments).map(|cli| cli.verb)
    };
    verb.map_err(Refusal)
}

/// Whether the arguments ask for a log of JSON lines: looked for by hand, so that even arguments
/// that cannot be parsed are refused in the form that was asked for.
pub fn wants_json(arguments: &[OsString]) -> bool {
    let split = arguments.windows(2).any(|pair| pair[0] == "--log-format" && pair[1] == "json");
    split || arguments.iter().any(|argument| argument == "--log-format=json")
}

fn is_called_executor(arguments: &[OsString]) -> bool {
    let program = arguments.first().map(Path::new).and_then(Path::file_name);
    program.is_some_and(|name| name == "executor")
}
