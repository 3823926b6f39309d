//! The tar reader under libFuzzer.

#![no_main]

#[path = "../bodies.rs"]
#[expect(dead_code, reason = "what checks the index is run by the other target")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::tar_reader(data));
