//! Steps in a directory with nothing mounted, as the kernel and busybox see them.

mod files;
mod hostile;
mod lifetime;
mod stage;
