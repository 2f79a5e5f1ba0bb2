//! The one place that speaks to the kernel without a net, and where `unsafe_code` is lifted.

pub(crate) mod descriptor;
pub mod namespace;
pub mod user;
