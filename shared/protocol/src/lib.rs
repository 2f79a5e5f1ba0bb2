//! What a client and a node must agree on: ids, node records, trust and the wire.
//!
//! No sockets, no clock, no runtime: whoever calls brings the bytes and the time.

pub mod api;
pub mod encoding;
pub mod id;
pub mod identity;
pub mod node;
pub mod seat;
pub mod statement;
pub mod token;
pub mod wire;
