//! What the CLI's parts do with real browsers and sockets.

mod chromium;
mod command_line;
mod viewer;
mod viewer_door;
