//! The node's subcommands, one file each.

pub mod events;
pub mod fleet;
pub mod identity;
pub mod registrar;
pub mod serve;
pub mod store;
pub mod token;
