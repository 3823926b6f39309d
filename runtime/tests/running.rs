//! What a step sees, may do, and how it ends.

use crate::bench::Bench;

#[test]
fn hello() {
    let Some(bench) = Bench::new() else { return };
    let root = bench.busybox();
    let ran = bench.sh(&[root], "echo hello; echo oops >&2; exit 3");
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str(), ran.exit.code), ("hello\n", "oops\n", 3));
}
