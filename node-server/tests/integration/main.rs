//! The node's own binary and real rooms: what outlives what.

mod events;
mod rooms;
