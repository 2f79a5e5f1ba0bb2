//! The node's own binary, real rooms and real registries: what outlives what, and who hears of it.

mod events;
mod health;
mod registering;
mod registrar;
mod rooms;
mod stage;
