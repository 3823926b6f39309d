//! What must be equal between two builders' images, and the one table of what need not be.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::support::Image;
use crate::support::flat::{Kind, Node, Tree};

/// A difference that is known, and why it is none.
struct Known {
    what: What,
    #[expect(dead_code, reason = "the reason is for the reader of the table")]
    reason: &'static str,
}

/// What a [`Known`] difference is about.
enum What {
    /// Labels whose names begin so.
    Label(&'static str),
    /// A path, and whatever lies below it, that only buildah has.
    OnlyInOracle(&'static str),
    /// A field of the configuration whose absence means this value.
    Default(&'static str, &'static str),
    /// A field in shell form for which buildah takes `/bin/sh -c` where SHELL names another shell.
    OtherShell(&'static str),
    /// The order of a field's words, each of which is there once.
    Order(&'static str),
    /// Attributes whose names begin so.
    Xattr(&'static str),
    /// Bits of a file's mode that only we have.
    OnlyOurBits(u32),
}

const KNOWN: &[Known] = &[
    Known { what: What::Label("io.buildah."), reason: "buildah signs its images with its version" },
    Known {
        what: What::OnlyInOracle("volume-"),
        reason: "buildah makes the directories that VOLUME names; BuildKit leaves that to the node",
    },
    Known {
        what: What::OnlyInOracle("etc/hostname"),
        reason: "an empty file where buildah mounts the node's own during RUN",
    },
    Known {
        what: What::Default("WorkingDir", "/"),
        reason: "BuildKit writes the default down for images from scratch, buildah does not",
    },
    Known {
        what: What::OtherShell("Entrypoint"),
        reason: "SHELL is for ENTRYPOINT as well, by the reference; buildah takes `/bin/sh -c`",
    },
    Known {
        what: What::Order("Env"),
        reason: "BuildKit gives a variable its new value in its place, buildah may put it last",
    },
    Known {
        what: What::OnlyOurBits(0o6000),
        reason: "buildah drops setuid and setgid of files in the context, BuildKit keeps modes",
    },
    Known { what: What::OnlyInOracle("etc/hosts"), reason: "as etc/hostname" },
    Known { what: What::OnlyInOracle("etc/resolv.conf"), reason: "as etc/hostname" },
    Known {
        what: What::Xattr("user.overlay."),
        reason: "bookkeeping of the file system that a builder works on",
    },
];

/// The fields of `config` that are compared. `created`, `history`, `author` and the layers' number
/// are not: one builder makes one layer where the other makes one for each instruction, and times
/// differ by nature. Times of files are tested by `reproducible.rs`, and that files of a commit have
/// its time by `runs.rs`.
const FIELDS: &[&str] = &[
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
];

/// Returns every difference between the oracle's image and ours, as lines of text.
pub(crate) fn differences(oracle: &Image, ours: &Image) -> Vec<String> {
    let mut lines = Vec::new();
    for field in ["architecture", "os"] {
        push_unless_equal(&mut lines, field, &oracle.config[field], &ours.config[field]);
    }
    for field in FIELDS {
        let [theirs, own] = [oracle, ours].map(|image| {
            let value = normal(&image.config["config"][*field]);
            if KNOWN.iter().any(|known| known.is_default(field, &value)) {
                Value::Null
            } else {
                value
            }
        });
        let shell = &ours.config["config"]["Shell"];
        let is_known = |known: &Known| {
            known.is_other_shell(field, shell, [&theirs, &own])
                || known.is_other_order(field, [&theirs, &own])
        };
        if !KNOWN.iter().any(is_known) {
            push_unless_equal(&mut lines, field, &theirs, &own);
        }
    }
    compare_trees(&mut lines, &oracle.tree(), &ours.tree());
    lines
}

fn compare_trees(lines: &mut Vec<String>, oracle: &Tree, ours: &Tree) {
    let paths: BTreeSet<&str> = oracle.iter().chain(ours.iter()).map(|(path, _)| path).collect();
    for path in paths {
        let is_extra = ours.get(path).is_none() && KNOWN.iter().any(|known| known.allows(path));
        if is_extra {
            continue;
        }
        let extra_bits = extra_bits(oracle.get(path), ours.get(path));
        let describe = |tree: &Tree| {
            let Some(node) = tree.get(path) else { return "absent".to_owned() };
            let mut node = node.clone();
            node.mode &= !extra_bits;
            if matches!(node.kind, Kind::Symlink(_)) {
                // Links have no mode on Linux; what archives say there means nothing.
                node.mode = 0o777;
            }
            node.xattrs.retain(|name, _| !KNOWN.iter().any(|known| known.drops_xattr(name)));
            let names = tree.names_of(path);
            let names = if names.len() > 1 { format!(" names {names:?}") } else { String::new() };
            format!("{node}{names}")
        };
        let (theirs, own) = (describe(oracle), describe(ours));
        if theirs != own {
            lines.push(format!("/{path}\n  oracle: {theirs}\n  ours:   {own}"));
        }
    }
}

/// The known bits of a file's mode that only `ours` has.
fn extra_bits(oracle: Option<&Node>, ours: Option<&Node>) -> u32 {
    let (Some(oracle), Some(ours)) = (oracle, ours) else { return 0 };
    if !matches!(ours.kind, Kind::File { .. }) {
        return 0;
    }
    let known = KNOWN.iter().map(|known| match known.what {
        What::OnlyOurBits(bits) => bits,
        _ => 0,
    });
    known.sum::<u32>() & ours.mode & !oracle.mode
}

fn push_unless_equal(lines: &mut Vec<String>, field: &str, oracle: &Value, ours: &Value) {
    if oracle != ours {
        lines.push(format!("{field}\n  oracle: {oracle}\n  ours:   {ours}"));
    }
}

/// Absent, null and empty mean the same; labels lose what is known.
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept: Map<String, Value> = map
                .iter()
                .filter(|(name, _)| !KNOWN.iter().any(|known| known.drops_label(name)))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            if kept.is_empty() { Value::Null } else { Value::Object(kept) }
        }
        Value::Array(list) if list.is_empty() => Value::Null,
        Value::String(text) if text.is_empty() => Value::Null,
        other => other.clone(),
    }
}

impl Known {
    fn allows(&self, path: &str) -> bool {
        matches!(self.what, What::OnlyInOracle(start) if path.starts_with(start))
    }

    fn is_default(&self, field: &str, value: &Value) -> bool {
        matches!(self.what, What::Default(name, default) if name == field && value == default)
    }

    /// Whether the words are one command, in the oracle's under the usual shell, in ours under that
    /// of the configuration.
    fn is_other_shell(&self, field: &str, shell: &Value, [theirs, own]: [&Value; 2]) -> bool {
        let (Some(shell), Some([sh, c, command])) =
            (shell.as_array(), theirs.as_array().map(Vec::as_slice))
        else {
            return false;
        };
        let under_ours: Vec<Value> = shell.iter().chain([command]).cloned().collect();
        matches!(self.what, What::OtherShell(name) if name == field)
            && (sh, c) == (&Value::from("/bin/sh"), &Value::from("-c"))
            && *own == Value::from(under_ours)
    }

    fn is_other_order(&self, field: &str, words: [&Value; 2]) -> bool {
        let [theirs, own] = words.map(|value| {
            let words = value.as_array().into_iter().flatten().filter_map(Value::as_str);
            let mut words: Vec<&str> = words.collect();
            words.sort_unstable();
            words
        });
        matches!(self.what, What::Order(name) if name == field) && theirs == own
    }

    fn drops_label(&self, name: &str) -> bool {
        matches!(self.what, What::Label(start) if name.starts_with(start))
    }

    fn drops_xattr(&self, name: &str) -> bool {
        matches!(self.what, What::Xattr(start) if name.starts_with(start))
    }
}
