//! What tests need and nobody ships: launchers of real servers, what they stand on, and the benchmark.

#[cfg(feature = "bench")]
pub mod bench;
pub mod consul;
mod dns;
pub mod fleet;
pub mod knot;
pub mod node;
pub mod ports;
pub mod process;
pub mod unbound;
