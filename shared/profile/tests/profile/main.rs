//! The crate from outside: a user's machine, a store or two, and a worker, with no network between them.
#![expect(clippy::unwrap_used, reason = "tests")]

mod attacks;
mod crashes;
mod faults;
mod journey;
mod older;
mod secrecy;
mod world;
