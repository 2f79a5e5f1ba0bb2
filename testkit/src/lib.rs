//! What tests need and nobody ships: launchers of real servers, and what they stand on.

pub mod consul;
pub mod fleet;
pub mod node;
pub mod ports;
pub mod process;
