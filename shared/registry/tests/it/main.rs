//! Every adapter against its real server.

mod consul;
mod contract;
mod file;
mod knot;
mod merge;
mod support;
mod unbound;
mod zone;
