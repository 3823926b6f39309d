//! Drives the sandbox with real kernels: every test runs steps of a static busybox.
//!
//! The test binary is its own init, so it looks for the hidden arguments before `main`. The whole
//! suite runs a second time as a plain user with subordinate ids (see `plain_user`). A test that
//! the machine cannot run prints why and passes.

mod bench;
mod changes;
mod plain_user;
mod probing;
mod running;
mod unpacking;

#[used]
#[unsafe(link_section = ".init_array")]
static ENTER: extern "C" fn() = {
    extern "C" fn enter() {
        longshore_runtime::enter_if_init();
    }
    enter
};
