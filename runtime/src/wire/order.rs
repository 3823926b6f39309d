//! What the builder tells init to do.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::codec::{Body, Cursor, garbled};
use super::mounts;
use crate::mount::{Mount, Secret};

/// Where init carries an order out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum World {
    /// In user, mount, IPC and UTS namespaces of its own, as their root.
    Namespaces,
    /// In the pod as it is, as the pod's root.
    Pod,
}

/// One piece of work. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Try the kernel's mechanisms; the overlay in this directory.
    Probe { work_root: PathBuf },
    /// Take a layer's entries into the new directory `dest`, above `lowers` (bottom first), or
    /// without knowing what it will lie above.
    Unpack { dest: PathBuf, lowers: Option<Vec<PathBuf>> },
    /// Give the layer in `from`, unpacked without them, what it takes from `lowers`; rename it.
    Settle { from: PathBuf, lowers: Vec<PathBuf>, to: PathBuf },
    /// Run a step.
    Run(Box<RunOrder>),
    /// Emit what is in `upper`, above `lowers` (bottom first).
    Changes { upper: PathBuf, lowers: Vec<PathBuf>, clamp_mtime: Option<i64> },
    /// Remove a tree.
    Remove { path: PathBuf },
    /// Rename a directory whose owner the builder may not be.
    Move { from: PathBuf, to: PathBuf },
    /// Emit what the step changed in the root tree that is in its `scratch`, above `lowers` (bottom
    /// first), and make a layer directory of it.
    Walk { scratch: PathBuf, lowers: Vec<PathBuf>, clamp_mtime: Option<i64> },
}

/// The part of a step that init needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RunOrder {
    pub(crate) lowers: Vec<PathBuf>,
    pub(crate) scratch: PathBuf,
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    /// More of the environment, which nothing may show.
    pub(crate) secret_env: Vec<(OsString, Secret)>,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) cwd: PathBuf,
    pub(crate) user: String,
    pub(crate) hostname: String,
    pub(crate) own_network: bool,
    /// A process namespace with its own /proc works here.
    pub(crate) fresh_proc: bool,
}

impl World {
    /// The order with the world that it is for, as init takes it.
    pub(crate) fn encode(self, order: &Order) -> Vec<u8> {
        let mut body = vec![match self {
            Self::Namespaces => 0,
            Self::Pod => 1,
        }];
        body.extend(order.encode());
        body
    }

    pub(crate) fn decode(body: &[u8]) -> io::Result<(Self, Order)> {
        let world = match body.first() {
            Some(0) => Self::Namespaces,
            Some(1) => Self::Pod,
            _ => return Err(garbled("unknown world")),
        };
        Ok((world, Order::decode(&body[1..])?))
    }
}

impl Order {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut body = Body::default();
        match self {
            Self::Probe { work_root } => _ = body.byte(0).path(work_root),
            Self::Unpack { dest, lowers } => {
                body.byte(1).path(dest).byte(lowers.is_some().into());
                put_paths(&mut body, lowers.as_deref().unwrap_or_default());
            }
            Self::Run(run) => run.encode(body.byte(2)),
            Self::Changes { upper, lowers, clamp_mtime } => {
                body.byte(3).path(upper);
                put_paths(&mut body, lowers);
                put_time(&mut body, *clamp_mtime);
            }
            Self::Remove { path } => _ = body.byte(4).path(path),
            Self::Move { from, to } => _ = body.byte(5).path(from).path(to),
            Self::Settle { from, lowers, to } => {
                body.byte(6).path(from).path(to);
                put_paths(&mut body, lowers);
            }
            Self::Walk { scratch, lowers, clamp_mtime } => {
                body.byte(7).path(scratch);
                put_paths(&mut body, lowers);
                put_time(&mut body, *clamp_mtime);
            }
        }
        body.0
    }

    pub(crate) fn decode(body: &[u8]) -> io::Result<Self> {
        let mut cursor = Cursor(body);
        let order = match cursor.byte()? {
            0 => Self::Probe { work_root: cursor.path()? },
            1 => {
                let (dest, is_known) = (cursor.path()?, flag(&mut cursor)?);
                let lowers = cursor.list(Cursor::path)?;
                Self::Unpack { dest, lowers: is_known.then_some(lowers) }
            }
            2 => Self::Run(Box::new(RunOrder::decode(&mut cursor)?)),
            3 => Self::Changes {
                upper: cursor.path()?,
                lowers: cursor.list(Cursor::path)?,
                clamp_mtime: time(&mut cursor)?,
            },
            4 => Self::Remove { path: cursor.path()? },
            5 => Self::Move { from: cursor.path()?, to: cursor.path()? },
            6 => {
                let (from, to) = (cursor.path()?, cursor.path()?);
                Self::Settle { from, lowers: cursor.list(Cursor::path)?, to }
            }
            7 => Self::Walk {
                scratch: cursor.path()?,
                lowers: cursor.list(Cursor::path)?,
                clamp_mtime: time(&mut cursor)?,
            },
            _ => return Err(garbled("unknown order")),
        };
        cursor.end()?;
        Ok(order)
    }
}

impl RunOrder {
    fn encode(&self, body: &mut Body) {
        put_paths(body, &self.lowers);
        body.path(&self.scratch);
        body.count(self.argv.len());
        for argument in &self.argv {
            put_os(body, argument);
        }
        body.count(self.env.len());
        for (name, value) in &self.env {
            put_os(body, name);
            put_os(body, value);
        }
        mounts::put_secrets(body, &self.secret_env);
        mounts::put_mounts(body, &self.mounts);
        body.path(&self.cwd).bytes(self.user.as_bytes()).bytes(self.hostname.as_bytes());
        body.byte(self.own_network.into()).byte(self.fresh_proc.into());
    }

    fn decode(cursor: &mut Cursor<'_>) -> io::Result<Self> {
        Ok(Self {
            lowers: cursor.list(Cursor::path)?,
            scratch: cursor.path()?,
            argv: cursor.list(Cursor::os)?,
            env: cursor.list(|cursor| Ok((cursor.os()?, cursor.os()?)))?,
            secret_env: cursor.list(mounts::secret)?,
            mounts: cursor.list(mounts::mount)?,
            cwd: cursor.path()?,
            user: cursor.text()?,
            hostname: cursor.text()?,
            own_network: flag(cursor)?,
            fresh_proc: flag(cursor)?,
        })
    }
}

pub(super) fn put_os(body: &mut Body, value: &OsStr) {
    body.bytes(value.as_bytes());
}

pub(super) fn put_paths(body: &mut Body, paths: &[PathBuf]) {
    body.count(paths.len());
    for path in paths {
        body.path(path);
    }
}

fn put_time(body: &mut Body, time: Option<i64>) {
    body.byte(time.is_some().into()).signed(time.unwrap_or(0));
}

fn time(cursor: &mut Cursor<'_>) -> io::Result<Option<i64>> {
    let (is_set, time) = (flag(cursor)?, cursor.signed()?);
    Ok(is_set.then_some(time))
}

pub(super) fn flag(cursor: &mut Cursor<'_>) -> io::Result<bool> {
    match cursor.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(garbled("neither true nor false")),
    }
}
