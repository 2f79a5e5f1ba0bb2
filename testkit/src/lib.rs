//! What tests need and nobody ships: launchers of real servers, what they stand on, an emulated network, the benchmark and the simulator.

#[cfg(feature = "bench")]
pub mod bench;
pub mod consul;
mod daemon;
mod dns;
pub mod emulate;
pub mod etcd;
mod exchange;
pub mod fleet;
pub mod knot;
pub mod moto;
pub mod nacos;
pub mod node;
pub mod ports;
pub mod process;
#[cfg(feature = "profile")]
pub mod profile;
pub mod relay;
pub mod seeded;
#[cfg(feature = "simulate")]
pub mod simulate;
pub mod unbound;
