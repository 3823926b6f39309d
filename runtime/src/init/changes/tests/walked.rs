//! Rows for the walk.
