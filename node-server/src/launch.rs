//! How a Chromium comes to life: its command line, its policy, and the pipe that gives it orders.

pub mod chromium;
pub mod devtools;
pub mod extensions;
pub mod singleton;
