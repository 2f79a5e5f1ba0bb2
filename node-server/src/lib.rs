//! The node: registers, admits, launches, guards, streams, persists and drains.

pub mod access;
pub mod address;
pub mod command;
pub mod config;
#[cfg(feature = "grpc-health")]
pub mod grpc;
pub mod guard;
pub mod health;
pub mod http;
pub mod identity;
pub mod key_file;
pub mod launch;
pub mod load;
pub mod metrics;
pub mod node;
pub mod objects;
pub mod pages;
pub mod persist;
pub mod register;
pub mod registrar;
pub mod session;
pub mod stream;
pub mod sys;
pub mod tls;
pub mod worker;
