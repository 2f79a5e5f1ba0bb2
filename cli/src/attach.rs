//! From a chosen node to a running session: the connection, who answers on it, and what travels over it.

pub mod connection;
pub mod finalist;
pub mod journey;
pub mod seat;
pub mod session;
pub mod verifier;
