//! The one place that speaks to the kernel without a net: namespaces, descriptors, processes.

pub mod namespace;
pub mod user;
