//! What can be said about a build.

use std::fmt;

/// Something worth saying; the level at which it is said is part of the event's meaning.
#[derive(Clone, Debug)]
pub enum Event {
    /// Where stages are kept and how RUN steps are executed; said once, first.
    Started {
        /// The program's version.
        version: &'static str,
        /// Where stages are looked up and published.
        storage: String,
        /// The lock domain.
        synchronization: String,
    },
    /// A base image was resolved.
    Resolved {
        /// The reference in the Dockerfile.
        reference: String,
        /// `sha256:…` of the platform's manifest.
        digest: String,
    },
    /// A stage is about to be built.
    StageStarted {
        /// Image and number, as in `api 3/7`.
        stage: String,
        /// The instruction as written.
        instruction: String,
        /// The rung of a RUN step.
        rung: Option<String>,
    },
    /// RUN steps are executed on a lower rung than the best one; said once, before the first.
    Descended {
        /// The rung.
        rung: String,
        /// What keeps the pod from each better one.
        reason: String,
        /// The cheapest change of the pod that would help, if one is known.
        climb: Option<String>,
    },
    /// A line of output of a RUN step, without its newline.
    StepOutput {
        /// Image and number of the stage.
        stage: String,
        /// Which stream the line came from.
        stream: StepStream,
        /// The line; bytes that are not UTF-8 are replaced.
        line: String,
    },
    /// A stage is there.
    StageDone {
        /// Image and number of the stage.
        stage: String,
        /// The instruction as written.
        instruction: String,
        /// How it came to be there.
        outcome: Outcome,
        /// Compressed size of its layers.
        bytes: Bytes,
        /// Wall time from look-up to published, in seconds.
        seconds: f64,
    },
    /// An image is there; also printed on standard output.
    ImageDone {
        /// The image's name in the project.
        image: String,
        /// Where it can be pulled or read, with its digest.
        reference: String,
        /// `sha256:…` of its manifest.
        digest: String,
        /// Whether anything had to be built for it.
        outcome: Outcome,
    },
    /// Something the user should know but that does not stop the build.
    Warning {
        /// A full sentence.
        message: String,
    },
    /// A detail for `--log-verbose`.
    Detail {
        /// A full sentence.
        message: String,
    },
    /// The build failed.
    Failed {
        /// The error with its causes, each on a line.
        message: String,
        /// What to do about it.
        hints: Vec<String>,
        /// The process's exit code.
        exit_code: u8,
    },
}

/// How a stage or an image came to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was found in storage.
    Reused,
    /// It was built and published here.
    Built,
    /// It was built here, but another builder had published it first: theirs is used.
    Discarded,
}

/// The stream a line of a RUN step was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepStream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A number of bytes; prints with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reused => "reused",
            Self::Built => "built",
            Self::Discarded => "discarded",
        })
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 3] = [("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];
        match UNITS.iter().find(|(_, unit)| self.0 >= *unit) {
            Some((name, unit)) => {
                let tenths = self.0.saturating_mul(10) / unit;
                write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
            }
            None => write!(f, "{} B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_print_with_a_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (1_250_000, "1.2 MB"),
            (3_000_000_000, "3.0 GB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}
