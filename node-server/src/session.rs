//! Sessions as the server sees them: a worker process each, its clients, and what passes between.

pub mod process;
pub mod relay;
pub mod seats;
pub mod table;
pub mod viewer;
