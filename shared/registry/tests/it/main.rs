//! Every adapter against its real server.

mod consul;
mod contract;
mod file;
mod nacos;
mod support;
mod zone;
