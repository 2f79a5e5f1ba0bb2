//! Every adapter against its real server.

mod consul;
mod contract;
mod file;
mod support;
mod zone;
