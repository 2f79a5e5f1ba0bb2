//! What the CLI does on a network of many nodes, with real kernels at both ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

mod choosing;
mod emulated;
mod faults;
