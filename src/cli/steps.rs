//! What RUN steps get from the command line; the same at both front doors.

use clap::Args;

/// What RUN steps may use, and for how long.
#[derive(Args, Debug)]
pub struct StepArgs {
    /// Secret for RUN --mount=type=secret: from a file or an environment variable; without either
    /// from the variable or file of that name (repeatable)
    #[arg(long, value_name = "id=ID[,src=FILE|env=NAME]")]
    pub secret: Vec<String>,
    /// Agent for RUN --mount=type=ssh: by its socket, or the one of SSH_AUTH_SOCK (repeatable)
    #[arg(long, value_name = "default|ID[=SOCKET]")]
    pub ssh: Vec<String>,
    /// How long a RUN step may take, as in 90s or 1h30m; then it is ended [default: no limit]
    #[arg(long, value_name = "DURATION")]
    pub run_timeout: Option<String>,
}
