//! The node: registers, admits, launches, guards, streams, persists and drains.

pub mod access;
pub mod command;
pub mod guard;
pub mod identity;
pub mod key_file;
pub mod pages;
mod sys;
pub mod tls;
pub mod worker;
