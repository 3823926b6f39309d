//! `RUN --mount`: what a step sees besides its image (Dockerfile reference, "RUN --mount").
//!
//! Values may hold variables, so what a mount means is only known once they are expanded:
//! [`MountFlag`] is what was written, [`MountFlag::read`] what it means. The parser reads mounts
//! without variables at once, so that their mistakes are found before anything is built.
//!
//! Unlike BuildKit, which ignores options that a type has no use for and takes the last of two,
//! both are errors here.

use super::copy::octal_mode;
use super::diagnostics::{Complaints, Diagnostic, Span, Spanned};
use super::instruction::nearest;

/// A `--mount` as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    /// The whole flag.
    pub span: Span,
    /// Its options, each at most once.
    pub options: Vec<MountOption>,
}

/// An option of a `--mount`; its value is unexpanded. The span is that of name and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOption {
    /// Which.
    pub key: MountKey,
    /// The value after `=`; options that are true or false may have none.
    pub value: Option<Spanned<String>>,
    /// Where it stands.
    pub span: Span,
}

/// The options of mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKey {
    /// `type`.
    Type,
    /// `target`, `dst`, `destination`.
    Target,
    /// `source`, `src`.
    Source,
    /// `from`.
    From,
    /// `rw`, `readwrite`.
    ReadWrite,
    /// `ro`, `readonly`.
    ReadOnly,
    /// `id`.
    Id,
    /// `sharing`.
    Sharing,
    /// `mode`.
    Mode,
    /// `uid`.
    Uid,
    /// `gid`.
    Gid,
    /// `size`.
    Size,
    /// `required`.
    Required,
    /// `env`.
    Env,
}

/// What a `--mount` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunMount {
    /// Where; relative to the working directory. Secrets and agents have places of their own.
    pub target: Option<String>,
    /// What.
    pub kind: RunMountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunMountKind {
    /// A file or directory of the context, a stage or an image.
    Bind {
        /// Its path; the root without.
        source: Option<String>,
        /// Whether the step may write, which changes nothing.
        readwrite: bool,
    },
    /// A directory that outlives the build.
    Cache {
        /// Its name; the target without.
        id: Option<String>,
        /// Who may use it at the same time.
        sharing: Sharing,
        /// A directory of what `from` names, for its first content.
        source: Option<String>,
        /// Whether the step may only read.
        readonly: bool,
        /// What it gets when it is made.
        owner: MountOwner,
    },
    /// A directory in memory.
    Tmpfs {
        /// How many bytes it takes.
        size: Option<u64>,
    },
    /// A secret that was given on the command line.
    Secret {
        /// Its name there.
        id: String,
        /// An environment variable for it.
        env: Option<String>,
        /// Whether the step cannot do without.
        required: bool,
        /// Of the file.
        owner: MountOwner,
    },
    /// The socket of an ssh agent that was given on the command line.
    Ssh {
        /// Its name there.
        id: String,
        /// Whether the step cannot do without.
        required: bool,
        /// Of the socket.
        owner: MountOwner,
    },
}

/// Who may use a cache at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// One step; others get another directory.
    Private,
    /// One step; others wait.
    Locked,
}

/// Owner and mode of what is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountOwner {
    /// `uid`.
    pub uid: u32,
    /// `gid`.
    pub gid: u32,
    /// `mode`.
    pub mode: u32,
}

/// The names of options, for messages; the first of a key is its own.
const NAMES: [(&str, MountKey); 19] = [
    ("type", MountKey::Type),
    ("target", MountKey::Target),
    ("dst", MountKey::Target),
    ("destination", MountKey::Target),
    ("source", MountKey::Source),
    ("src", MountKey::Source),
    ("from", MountKey::From),
    ("rw", MountKey::ReadWrite),
    ("readwrite", MountKey::ReadWrite),
    ("ro", MountKey::ReadOnly),
    ("readonly", MountKey::ReadOnly),
    ("id", MountKey::Id),
    ("sharing", MountKey::Sharing),
    ("mode", MountKey::Mode),
    ("uid", MountKey::Uid),
    ("gid", MountKey::Gid),
    ("size", MountKey::Size),
    ("required", MountKey::Required),
    ("env", MountKey::Env),
];

/// A type of mount and the options that it has besides `type`.
type Kind = (&'static str, &'static [MountKey]);

const BIND: Kind = {
    use MountKey::{From, ReadOnly, ReadWrite, Source, Target};
    ("bind", &[Target, Source, From, ReadWrite, ReadOnly])
};
const CACHE: Kind = {
    use MountKey::{From, Gid, Id, Mode, ReadOnly, ReadWrite, Sharing, Source, Target, Uid};
    ("cache", &[Target, Id, Sharing, From, Source, Mode, Uid, Gid, ReadOnly, ReadWrite])
};
const TMPFS: Kind = {
    use MountKey::{ReadWrite, Size, Target};
    ("tmpfs", &[Target, Size, ReadWrite])
};
const SECRET: Kind = {
    use MountKey::{Env, Gid, Id, Mode, ReadOnly, Required, Source, Target, Uid};
    ("secret", &[Target, Id, Source, Required, Env, Mode, Uid, Gid, ReadOnly])
};
const SSH: Kind = {
    use MountKey::{Gid, Id, Mode, ReadOnly, Required, Target, Uid};
    ("ssh", &[Target, Id, Required, Mode, Uid, Gid, ReadOnly])
};
const KINDS: [Kind; 5] = [BIND, CACHE, TMPFS, SECRET, SSH];

/// Mode of what is mounted unless something else is said.
const FILE_MODE: u32 = 0o400;
const SOCKET_MODE: u32 = 0o600;
const CACHE_MODE: u32 = 0o755;
/// The agent that is meant without a name.
const DEFAULT_AGENT: &str = "default";

/// Reads the fields of a `--mount`. `None` when something was complained about.
pub(super) fn flag(
    span: Span,
    fields: &[Spanned<String>],
    complaints: &mut Complaints,
) -> Option<MountFlag> {
    let mut flag = MountFlag { span, options: Vec::new() };
    let mut valid = true;
    for field in fields {
        match option(field, &flag.options) {
            Ok(option) => flag.options.push(option),
            Err(diagnostic) => {
                valid = false;
                complaints.diagnostics.push(diagnostic);
            }
        }
    }
    let is_plain = flag.options.iter().all(MountOption::is_plain);
    if valid
        && is_plain
        && let Err(diagnostic) = flag.read(&|value: &Spanned<String>| Ok(value.value.clone()))
    {
        valid = false;
        complaints.diagnostics.push(diagnostic);
    }
    valid.then_some(flag)
}

fn option(field: &Spanned<String>, before: &[MountOption]) -> Result<MountOption, Diagnostic> {
    let (name, value) = match field.value.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (field.value.as_str(), None),
    };
    let lower = name.to_ascii_lowercase();
    let Some((_, key)) = NAMES.iter().find(|(known, _)| *known == lower) else {
        let message = if field.value.is_empty() {
            "an option of --mount is empty".to_owned()
        } else {
            format!("unknown option of --mount: {}", name.escape_debug())
        };
        let similar = nearest(&lower, NAMES.map(|(known, _)| known));
        let hint = similar.map(|known| format!("did you mean {known}?"));
        return Err(Diagnostic { span: field.span, message, hint });
    };
    let span = field.span;
    let value = value.map(|value| Spanned { value: value.to_owned(), span });
    let option = MountOption { key: *key, value, span };
    if before.iter().any(|other| other.key.clashes(*key)) {
        return Err(option.wrong(format!("--mount has the option {} already", key.name()), None));
    }
    let is_switch = matches!(key, MountKey::ReadOnly | MountKey::ReadWrite | MountKey::Required);
    match &option.value {
        None if !is_switch => {
            let hint = format!("write {}=VALUE", key.name());
            Err(option.wrong(format!("the option {} needs a value", key.name()), Some(hint)))
        }
        Some(value) if *key == MountKey::From && value.value.contains('$') => Err(option.wrong(
            "from does not expand variables".to_owned(),
            Some("name the stage in a FROM, which does: FROM $IMAGE AS name".to_owned()),
        )),
        _ => Ok(option),
    }
}

impl MountKey {
    /// The name that messages use.
    pub fn name(self) -> &'static str {
        NAMES.iter().find(|(_, key)| *key == self).map_or("", |(name, _)| name)
    }

    /// Whether two options say something of the same.
    fn clashes(self, other: Self) -> bool {
        let access = [Self::ReadOnly, Self::ReadWrite];
        self == other || access.contains(&self) && access.contains(&other)
    }
}

impl MountOption {
    /// Whether expansion would leave the value as it is.
    fn is_plain(&self) -> bool {
        self.value.as_ref().is_none_or(|value| !value.value.contains(['$', '\\', '`', '"', '\'']))
    }

    fn wrong(&self, message: String, hint: Option<String>) -> Diagnostic {
        Diagnostic { span: self.span, message, hint }
    }
}

impl MountFlag {
    /// What `from` names; it is not subject to expansion.
    pub fn from(&self) -> Option<&Spanned<String>> {
        let from = self.options.iter().find(|option| option.key == MountKey::From)?;
        from.value.as_ref().filter(|value| !value.value.is_empty())
    }

    /// Returns what the mount means; `expand` expands a value.
    ///
    /// # Errors
    /// With the place of a value or option that is wrong.
    pub fn read(
        &self,
        expand: &dyn Fn(&Spanned<String>) -> Result<String, Diagnostic>,
    ) -> Result<RunMount, Diagnostic> {
        let mut values = Vec::new();
        for option in &self.options {
            let value = option.value.as_ref().map(expand).transpose()?;
            values.push((option, value));
        }
        Values { flag: self, values }.mount()
    }
}

/// The options of a mount with their expanded values.
struct Values<'a> {
    flag: &'a MountFlag,
    values: Vec<(&'a MountOption, Option<String>)>,
}

impl Values<'_> {
    fn mount(&self) -> Result<RunMount, Diagnostic> {
        let kind = self.kind()?;
        self.check_options(kind)?;
        let target = self.text(MountKey::Target);
        let needs_target = [BIND, CACHE, TMPFS].contains(&kind);
        if needs_target && target.is_none() {
            let message = format!("a mount of type {} needs a target", kind.0);
            let hint = "target=. is the working directory".to_owned();
            return Err(Diagnostic { span: self.flag.span, message, hint: Some(hint) });
        }
        let kind = match kind {
            CACHE => self.cache()?,
            TMPFS => RunMountKind::Tmpfs { size: self.size()? },
            SECRET => self.secret(target.as_deref())?,
            SSH => RunMountKind::Ssh {
                id: self.text(MountKey::Id).unwrap_or_else(|| DEFAULT_AGENT.to_owned()),
                required: self.is_true(MountKey::Required, false)?,
                owner: self.owner(SOCKET_MODE)?,
            },
            _ => RunMountKind::Bind {
                source: self.text(MountKey::Source),
                readwrite: self.readwrite(false)?,
            },
        };
        Ok(RunMount { target, kind })
    }

    fn kind(&self) -> Result<Kind, Diagnostic> {
        let Some((option, value)) = self.find(MountKey::Type) else { return Ok(BIND) };
        let value = value.unwrap_or_default();
        let lower = value.to_ascii_lowercase();
        KINDS.into_iter().find(|(name, _)| *name == lower).ok_or_else(|| {
            let names = KINDS.map(|(name, _)| name);
            let hint = match nearest(&lower, names) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("the types are: {}", names.join(", ")),
            };
            option.wrong(format!("unknown type of mount: {}", value.escape_debug()), Some(hint))
        })
    }

    fn check_options(&self, (name, keys): Kind) -> Result<(), Diagnostic> {
        let strange = self
            .values
            .iter()
            .map(|(option, _)| option)
            .find(|option| option.key != MountKey::Type && !keys.contains(&option.key));
        let Some(option) = strange else { return Ok(()) };
        let known: Vec<&str> = keys.iter().map(|key| key.name()).collect();
        let message = format!("a mount of type {name} has no option {}", option.key.name());
        Err(option.wrong(message, Some(format!("its options are: {}", known.join(", ")))))
    }

    fn cache(&self) -> Result<RunMountKind, Diagnostic> {
        let sharing = match self.find(MountKey::Sharing) {
            None => Sharing::Shared,
            Some((option, value)) => {
                match value.unwrap_or_default().to_ascii_lowercase().as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    other => {
                        let message = format!("{other:?} is no way of sharing a cache");
                        let hint = "sharing is shared, private or locked".to_owned();
                        return Err(option.wrong(message, Some(hint)));
                    }
                }
            }
        };
        let (source, from) = (self.text(MountKey::Source), self.text(MountKey::From));
        if let (Some(_), None, Some((option, _))) = (&source, from, self.find(MountKey::Source)) {
            let hint = "from names the stage or image that the source is in".to_owned();
            return Err(option.wrong("a cache with a source needs a from".to_owned(), Some(hint)));
        }
        Ok(RunMountKind::Cache {
            id: self.text(MountKey::Id),
            sharing,
            source,
            readonly: !self.readwrite(true)?,
            owner: self.owner(CACHE_MODE)?,
        })
    }

    fn secret(&self, target: Option<&str>) -> Result<RunMountKind, Diagnostic> {
        let (id, source) = (self.text(MountKey::Id), self.text(MountKey::Source));
        if let (Some(_), Some(_), Some((option, _))) = (&id, &source, self.find(MountKey::Source)) {
            return Err(option.wrong("source is another word for id here".to_owned(), None));
        }
        let named = |path: &str| path.trim_end_matches('/').rsplit('/').next().map(str::to_owned);
        let id = id.or(source).or_else(|| named(target?)).filter(|id| !id.is_empty());
        let Some(id) = id else {
            let message = "a mount of type secret needs an id or a target".to_owned();
            return Err(Diagnostic { span: self.flag.span, message, hint: None });
        };
        let env = self.text(MountKey::Env);
        if let (Some(name), Some((option, _))) = (&env, self.find(MountKey::Env))
            && name.contains(['=', '\0'])
        {
            let message = format!("{name:?} is no name of an environment variable");
            return Err(option.wrong(message, None));
        }
        let required = self.is_true(MountKey::Required, false)?;
        Ok(RunMountKind::Secret { id, env, required, owner: self.owner(FILE_MODE)? })
    }

    fn owner(&self, mode: u32) -> Result<MountOwner, Diagnostic> {
        let id = |key: MountKey| match self.find(key) {
            None => Ok(0),
            Some((option, value)) => {
                let value = value.unwrap_or_default();
                // The highest number means "nobody in particular" to the kernel.
                let id = value.parse().ok().filter(|id: &u32| *id != u32::MAX);
                id.filter(|_| value.bytes().all(|byte| byte.is_ascii_digit())).ok_or_else(|| {
                    option.wrong(format!("{value:?} is no number for {}", key.name()), None)
                })
            }
        };
        let mode = match self.find(MountKey::Mode) {
            None => mode,
            Some((option, value)) => octal_mode(value.unwrap_or_default()).ok_or_else(|| {
                let message = format!("{:?} is no mode", value.unwrap_or_default());
                option.wrong(message, Some("a mode is octal, as in mode=0755".to_owned()))
            })?,
        };
        Ok(MountOwner { uid: id(MountKey::Uid)?, gid: id(MountKey::Gid)?, mode })
    }

    fn size(&self) -> Result<Option<u64>, Diagnostic> {
        let Some((option, value)) = self.find(MountKey::Size) else { return Ok(None) };
        let value = value.unwrap_or_default();
        match bytes(value) {
            Some(0) | None => {
                let message = format!("{value:?} is no size of a file system");
                Err(option.wrong(message, Some("a size is a number, as in 64m or 1g".to_owned())))
            }
            size => Ok(size),
        }
    }

    fn readwrite(&self, default: bool) -> Result<bool, Diagnostic> {
        match self.find(MountKey::ReadOnly) {
            Some(_) => self.is_true(MountKey::ReadOnly, false).map(|readonly| !readonly),
            None => self.is_true(MountKey::ReadWrite, default),
        }
    }

    /// What Go's `strconv.ParseBool` takes; an option without a value is true.
    fn is_true(&self, key: MountKey, default: bool) -> Result<bool, Diagnostic> {
        let Some((option, value)) = self.find(key) else { return Ok(default) };
        match value {
            None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some(other) => {
                let message = format!("{other:?} is neither true nor false");
                Err(option.wrong(message, None))
            }
        }
    }

    /// A value that says something.
    fn text(&self, key: MountKey) -> Option<String> {
        let (_, value) = self.find(key)?;
        value.filter(|value| !value.is_empty()).map(str::to_owned)
    }

    fn find(&self, key: MountKey) -> Option<(&MountOption, Option<&str>)> {
        let (option, value) = self.values.iter().find(|(option, _)| option.key == key)?;
        Some((option, value.as_deref()))
    }
}

/// A number of bytes as Docker's `units.RAMInBytes` reads it: `64m`, `1.5GiB`; units are powers of
/// 1024.
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let shift = match unit.strip_suffix('i').unwrap_or(unit) {
        "" if unit.is_empty() => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u128 = whole.parse().ok()?;
    // More digits would not change a number of bytes.
    let fraction = fraction.get(..18).unwrap_or(fraction);
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u128 = fraction.parse().ok()?;
    let bytes = whole.checked_mul(1 << shift)?.checked_add((fraction << shift) / scale)?;
    u64::try_from(bytes).ok()
}
