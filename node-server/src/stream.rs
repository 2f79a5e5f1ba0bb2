//! Between people and pages: what a client does becomes DevTools input, what Chromium draws becomes media messages.

pub mod frame;
pub mod input;
