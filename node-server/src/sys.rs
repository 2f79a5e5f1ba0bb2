//! What the standard library and nix cannot say safely: the one place where `unsafe_code` is lifted.

pub(crate) mod descriptor;
