//! The node: registers, admits, launches, guards, streams, persists and drains.

pub mod access;
pub mod command;
pub mod identity;
pub mod key_file;
pub mod tls;
