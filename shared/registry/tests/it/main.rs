//! Every adapter against its real server.

mod consul;
mod contract;
mod etcd;
mod file;
mod knot;
mod merge;
mod nacos;
mod support;
mod unbound;
mod zone;
