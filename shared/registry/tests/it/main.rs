//! Every adapter against its real server.

mod consul;
mod contract;
mod support;
