//! What to do about a step that failed, as far as its end tells (pure).

use crate::plan::{RunStep, StepMountKind};

/// Exit code of a command that was killed.
const KILLED: i32 = 137;
/// Less is what a full volume has left, in bytes.
const FULL: u64 = 1 << 20;

/// How a step ended.
#[derive(Debug)]
pub(super) struct End<'a> {
    pub(super) code: i32,
    /// The last lines that it printed.
    pub(super) last_lines: &'a [String],
    pub(super) step: &'a RunStep,
    /// The platform that programs are run for here.
    pub(super) platform: String,
    /// The work directory, and what its volume has left, if that is known.
    pub(super) work_dir: String,
    pub(super) available: Option<u64>,
    /// Whether a tmpfs is kept to its size.
    pub(super) limits_tmpfs: bool,
}

impl End<'_> {
    /// Hints, the likeliest first.
    pub(super) fn hints(&self) -> Vec<String> {
        let said = |part: &str| self.last_lines.iter().any(|line| line.contains(part));
        let program = self.step.argv.first().map_or("", String::as_str);
        let mut hints = Vec::new();
        if self.code == KILLED {
            hints.push(
                "the command was killed: if nothing in it did that, the pod ran out of memory; \
                 raise its resources.limits.memory, or let the step do less at a time"
                    .to_owned(),
            );
        }
        let is_shell = self.step.argv.get(1).is_some_and(|word| word == "-c");
        if self.code == 127 && is_shell && said(&format!("cannot run {program}: no such file")) {
            hints.push(format!(
                "the image has no {program}: write RUN [\"PROGRAM\", \"ARGUMENT\"], which needs no \
                 shell, name another one with SHELL, or start from an image that has one"
            ));
        }
        if self.code == 126 && said("Exec format error") {
            let platform = &self.platform;
            hints.push(format!(
                "the program is for another architecture than this machine's ({platform}), or a \
                 script without #! in its first line"
            ));
        }
        if self.limits_tmpfs && said("No space left on device") {
            hints.extend(self.limited());
        }
        if self.available.is_some_and(|left| left < FULL) {
            let work_dir = &self.work_dir;
            hints.push(format!(
                "the volume of the work directory {work_dir} is full; --work-dir names a directory \
                 with more room"
            ));
        }
        hints
    }

    /// The mounts of the step that may be full.
    fn limited(&self) -> impl Iterator<Item = String> {
        self.step.mounts.iter().filter_map(|mount| match (&mount.kind, &mount.target) {
            (StepMountKind::Tmpfs { size: Some(size) }, Some(target)) => Some(format!(
                "the tmpfs at {target} takes {size} bytes; its option size= makes it larger"
            )),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::dockerfile::{RunNetwork, Span};
    use crate::plan::StepMount;

    #[test]
    fn what_an_end_tells_is_said() {
        let tmpfs = StepMount {
            target: Some("/t".to_owned()),
            kind: StepMountKind::Tmpfs { size: Some(4096) },
            span: Span { start: 0, end: 0 },
        };
        let step = RunStep {
            argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), "x".to_owned()],
            env: BTreeMap::new(),
            proxies: BTreeMap::new(),
            cwd: "/".to_owned(),
            user: String::new(),
            network: RunNetwork::Default,
            mounts: vec![tmpfs],
            script: None,
        };
        for (code, line, available, expected) in [
            (1, "no", Some(1 << 30), vec![]),
            (137, "", None, vec!["ran out of memory"]),
            (127, "cannot run /bin/sh: no such file", None, vec!["the image has no /bin/sh"]),
            (127, "sh: make: not found", None, vec![]),
            (
                126,
                "cannot run /bin/sh: Exec format error",
                None,
                vec!["than this machine's (linux/amd64)"],
            ),
            (1, "dd: No space left on device", None, vec!["the tmpfs at /t takes 4096 bytes"]),
            (1, "dd: no such limit: No space left on device", None, vec![]),
            (
                1,
                "dd: No space left on device",
                Some(0),
                vec!["the tmpfs at /t", "the volume of the work directory /work is full"],
            ),
        ] {
            let end = End {
                code,
                last_lines: &[line.to_owned()],
                step: &step,
                platform: "linux/amd64".to_owned(),
                work_dir: "/work".to_owned(),
                available,
                limits_tmpfs: line != "dd: no such limit: No space left on device",
            };
            let hints = end.hints();
            assert_eq!(hints.len(), expected.len(), "{line}: {hints:?}");
            assert!(
                hints.iter().zip(expected).all(|(hint, part)| hint.contains(part)),
                "{hints:?}"
            );
        }
    }
}
