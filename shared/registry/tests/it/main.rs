//! Every adapter against its real server.

mod consul;
mod contract;
mod etcd;
mod file;
mod nacos;
mod support;
mod zone;
