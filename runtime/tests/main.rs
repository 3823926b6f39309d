//! Drives the sandbox with real kernels: every test runs steps of a static busybox.
//!
//! The test binary is its own init, so it looks for the hidden arguments before `main`. The whole
//! suite runs a second time as a plain user with subordinate ids (see `plain_user`). A test that
//! the machine cannot run prints why and passes.

#[cfg(test)]
mod apart;
#[cfg(test)]
mod bench;
#[cfg(test)]
mod changes;
#[cfg(test)]
mod chroot;
#[cfg(test)]
mod grafting;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod mounting;
#[cfg(test)]
mod plain_user;
#[cfg(test)]
mod probing;
#[cfg(test)]
mod rungs;
#[cfg(test)]
mod running;
#[cfg(test)]
mod unpacking;

#[used]
#[unsafe(link_section = ".init_array")]
static ENTER: extern "C" fn() = {
    extern "C" fn enter() {
        longshore_runtime::enter_if_init();
    }
    enter
};
