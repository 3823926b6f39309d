//! How init answers.

use std::io;

use super::codec::{Body, Cursor, garbled};
use super::order::flag;
use crate::step::{ChangeStats, StepExit, UnpackStats};

/// The last frame of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    /// The order is carried out and there is nothing to tell.
    Done,
    /// The layer is unpacked.
    Unpacked(UnpackStats),
    /// The step's command ended.
    Exited(StepExit),
    /// The changes are emitted.
    Changed(ChangeStats),
    /// Mechanisms that were tried, with 0 or the errno; and the Landlock version, 0 for none.
    Probed { tried: Vec<(u8, u32)>, landlock_abi: u32 },
    /// The order failed.
    Failed(Failure),
}

/// Why an order failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    /// What was tried, with its object.
    pub(crate) action: String,
    /// The kernel's answer, or 0 when `detail` says it.
    pub(crate) errno: i32,
    pub(crate) detail: String,
}

/// Failures that the builder tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// A system call failed.
    Call,
    /// The overlay mount failed in a way that the volume is to blame for.
    NoOverlayUpper,
    /// The user is not in the image; the action is the user, the detail what is missing.
    UnknownUser,
    /// A mount of the step is impossible; the action is its target, the detail why.
    Mount,
}

/// Names what failed.
pub(crate) trait OrFail<T> {
    /// Turns an error into a [`Failure`] of `action`.
    fn or_fail(self, action: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> OrFail<T> for Result<T, E> {
    fn or_fail(self, action: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(action(), error))
    }
}

impl Failure {
    pub(crate) fn new(action: String, error: impl Into<io::Error>) -> Self {
        let error = error.into();
        let errno = error.raw_os_error().unwrap_or(0);
        let detail = if errno == 0 { error.to_string() } else { String::new() };
        Self { kind: FailureKind::Call, action, errno, detail }
    }

    /// The kernel's answer as an error.
    pub(crate) fn source(&self) -> io::Error {
        match self.errno {
            0 => io::Error::other(self.detail.clone()),
            errno => io::Error::from_raw_os_error(errno),
        }
    }

    fn encode(&self, body: &mut Body) {
        body.byte(match self.kind {
            FailureKind::Call => 0,
            FailureKind::NoOverlayUpper => 1,
            FailureKind::UnknownUser => 2,
            FailureKind::Mount => 3,
        });
        body.bytes(self.action.as_bytes()).signed(self.errno.into());
        body.bytes(self.detail.as_bytes());
    }

    fn decode(cursor: &mut Cursor<'_>) -> io::Result<Self> {
        let kind = match cursor.byte()? {
            0 => FailureKind::Call,
            1 => FailureKind::NoOverlayUpper,
            2 => FailureKind::UnknownUser,
            3 => FailureKind::Mount,
            _ => return Err(garbled("unknown kind of failure")),
        };
        let action = cursor.text()?;
        let errno = i32::try_from(cursor.signed()?).map_err(|_| garbled("errno"))?;
        Ok(Self { kind, action, errno, detail: cursor.text()? })
    }
}

impl Reply {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Body::default();
        match self {
            Self::Done => _ = body.byte(0),
            Self::Unpacked(stats) => {
                body.byte(1).number(stats.entries).number(stats.skipped_xattrs);
                body.number(stats.stand_in_devices);
            }
            Self::Exited(exit) => {
                body.byte(2).signed(exit.code.into()).number(exit.user_seconds.to_bits());
                body.number(exit.system_seconds.to_bits()).number(exit.max_rss);
            }
            Self::Changed(stats) => {
                body.byte(3).number(stats.entries).number(stats.dropped_xattrs);
                body.number(stats.skipped_sockets).byte(stats.reusable.into());
            }
            Self::Probed { tried, landlock_abi } => {
                body.byte(4).count(tried.len());
                for (mechanism, errno) in tried {
                    body.byte(*mechanism).small(*errno);
                }
                body.small(*landlock_abi);
            }
            Self::Failed(failure) => failure.encode(body.byte(5)),
        }
        body.0
    }

    pub(crate) fn decode(body: &[u8]) -> io::Result<Self> {
        let mut cursor = Cursor(body);
        let reply = match cursor.byte()? {
            0 => Self::Done,
            1 => Self::Unpacked(UnpackStats {
                entries: cursor.number()?,
                skipped_xattrs: cursor.number()?,
                stand_in_devices: cursor.number()?,
            }),
            2 => Self::Exited(StepExit {
                code: i32::try_from(cursor.signed()?).map_err(|_| garbled("exit code"))?,
                user_seconds: f64::from_bits(cursor.number()?),
                system_seconds: f64::from_bits(cursor.number()?),
                max_rss: cursor.number()?,
            }),
            3 => Self::Changed(ChangeStats {
                entries: cursor.number()?,
                dropped_xattrs: cursor.number()?,
                skipped_sockets: cursor.number()?,
                reusable: flag(&mut cursor)?,
            }),
            4 => Self::Probed {
                tried: cursor.list(|cursor| Ok((cursor.byte()?, cursor.small()?)))?,
                landlock_abi: cursor.small()?,
            },
            5 => Self::Failed(Failure::decode(&mut cursor)?),
            _ => return Err(garbled("unknown reply")),
        };
        cursor.end()?;
        Ok(reply)
    }
}
