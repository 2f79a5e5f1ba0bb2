//! What the CLI's parts do with real browsers and sockets.

mod chromium;
mod viewer;
mod viewer_door;
