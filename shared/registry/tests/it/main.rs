//! Every adapter against its real server.

mod consul;
mod contract;
mod etcd;
mod file;
mod support;
mod zone;
