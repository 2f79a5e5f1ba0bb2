//! One session's worker: the first process of its own namespaces.

pub mod proxy;
