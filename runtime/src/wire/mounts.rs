//! Mounts of a step on the wire.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

use super::codec::{Body, Cursor, garbled};
use super::order::{flag, put_os, put_paths};
use crate::mount::{Mount, MountKind, Owner, Secret, Tree};

pub(super) fn put_mounts(body: &mut Body, mounts: &[Mount]) {
    body.count(mounts.len());
    for mount in mounts {
        put_mount(body, mount);
    }
}

fn put_mount(body: &mut Body, mount: &Mount) {
    body.path(&mount.target);
    match &mount.kind {
        MountKind::Bind { tree, readwrite } => {
            body.byte(0).byte((*readwrite).into());
            put_tree(body, tree);
        }
        MountKind::Cache { dir, owner, initial, readonly } => {
            put_owner(body.byte(1).path(dir), *owner);
            body.byte((*readonly).into()).byte(initial.is_some().into());
            if let Some(tree) = initial {
                put_tree(body, tree);
            }
        }
        MountKind::Tmpfs { size } => {
            body.byte(2).byte(size.is_some().into()).number(size.unwrap_or(0));
        }
        MountKind::Secret { content, owner } => {
            put_owner(body.byte(3).bytes(content.bytes()), *owner);
        }
        MountKind::SshAgent { socket, owner } => put_owner(body.byte(4).path(socket), *owner),
        MountKind::Script { content } => _ = body.byte(5).bytes(content),
    }
}

pub(super) fn mount(cursor: &mut Cursor<'_>) -> io::Result<Mount> {
    let target: PathBuf = cursor.path()?;
    let kind = match cursor.byte()? {
        0 => MountKind::Bind { readwrite: flag(cursor)?, tree: tree(cursor)? },
        1 => {
            let (dir, owner, readonly) = (cursor.path()?, owner(cursor)?, flag(cursor)?);
            let initial = flag(cursor)?.then(|| tree(cursor)).transpose()?;
            MountKind::Cache { dir, owner, initial, readonly }
        }
        2 => {
            let (is_limited, size) = (flag(cursor)?, cursor.number()?);
            MountKind::Tmpfs { size: is_limited.then_some(size) }
        }
        3 => MountKind::Secret { content: Secret::new(cursor.bytes()?), owner: owner(cursor)? },
        4 => MountKind::SshAgent { socket: cursor.path()?, owner: owner(cursor)? },
        5 => MountKind::Script { content: cursor.bytes()? },
        _ => return Err(garbled("unknown kind of mount")),
    };
    Ok(Mount { target, kind })
}

fn put_tree(body: &mut Body, tree: &Tree) {
    put_paths(body, &tree.layers);
    body.path(&tree.subpath);
}

fn tree(cursor: &mut Cursor<'_>) -> io::Result<Tree> {
    Ok(Tree { layers: cursor.list(Cursor::path)?, subpath: cursor.path()? })
}

fn put_owner(body: &mut Body, owner: Owner) {
    body.small(owner.uid).small(owner.gid).small(owner.mode);
}

fn owner(cursor: &mut Cursor<'_>) -> io::Result<Owner> {
    Ok(Owner { uid: cursor.small()?, gid: cursor.small()?, mode: cursor.small()? })
}

pub(super) fn put_secrets(body: &mut Body, secrets: &[(OsString, Secret)]) {
    body.count(secrets.len());
    for (name, value) in secrets {
        put_os(body, name);
        body.bytes(value.bytes());
    }
}

pub(super) fn secret(cursor: &mut Cursor<'_>) -> io::Result<(OsString, Secret)> {
    Ok((cursor.os()?, Secret::new(cursor.bytes()?)))
}
