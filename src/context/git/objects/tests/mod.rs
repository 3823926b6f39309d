mod built;
mod damaged;
mod real;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::{ObjectError, ObjectKind, Store};
use crate::context::ObjectId;

/// A repository that git itself writes.
pub(in crate::context::git) struct Git {
    directory: tempfile::TempDir,
}

impl Git {
    pub(in crate::context::git) fn new() -> Self {
        let git = Self { directory: tempfile::tempdir().unwrap() };
        git.run(&["init", "-q", "."], b"");
        git
    }

    pub(in crate::context::git) fn path(&self) -> &Path {
        self.directory.path()
    }

    fn objects(&self) -> PathBuf {
        self.path().join(".git/objects")
    }

    fn store(&self) -> Store {
        Store::new(vec![self.objects()], None)
    }

    #[expect(clippy::disallowed_methods, reason = "these tests compare with git")]
    pub(in crate::context::git) fn run(&self, words: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = std::process::Command::new("git");
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(name);
        }
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.args(["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "gc.auto=0"]);
        command.args(words).current_dir(self.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {words:?}: {errors}");
        output.stdout
    }

    pub(in crate::context::git) fn text(&self, words: &[&str], input: &[u8]) -> String {
        String::from_utf8(self.run(words, input)).unwrap().trim().to_owned()
    }

    /// Writes a loose blob.
    fn blob(&self, content: &[u8]) -> ObjectId {
        id(&self.text(&["hash-object", "-w", "--stdin"], content))
    }

    /// Every object with its kind and content, as git reads them.
    fn all(&self) -> Vec<(ObjectId, ObjectKind, Vec<u8>)> {
        let words = ["cat-file", "--batch", "--batch-all-objects", "--unordered"];
        let output = self.run(&words, b"");
        let mut rest = output.as_slice();
        let mut objects = Vec::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|&byte| byte == b'\n').unwrap();
            let line = std::str::from_utf8(&rest[..end]).unwrap();
            let mut words = line.split(' ');
            let object = id(words.next().unwrap());
            let kind = ObjectKind::named(words.next().unwrap().as_bytes()).unwrap();
            let size: usize = words.next().unwrap().parse().unwrap();
            objects.push((object, kind, rest[end + 1..][..size].to_vec()));
            rest = &rest[end + 1 + size + 1..];
        }
        objects
    }
}

fn id(hex: &str) -> ObjectId {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    ObjectId::from_bytes(std::array::from_fn(|at| digit(2 * at)))
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn read(store: &Store, id: ObjectId) -> Result<(ObjectKind, Vec<u8>), ObjectError> {
    let mut reader = store.open(id)?;
    let mut content = Vec::new();
    match reader.read_to_end(&mut content) {
        Ok(_) => Ok((reader.kind, content)),
        Err(error) => Err(error.downcast().unwrap()),
    }
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", told(source)),
        None => error.to_string(),
    }
}
