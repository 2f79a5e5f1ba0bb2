//! What the CLI's parts do with real nodes, registries, browsers and sockets.

mod catalogs;
mod chromium;
mod command_line;
mod connecting;
mod refusals;
mod site;
mod travelling;
mod profile_nodes;
mod profile_sealing;
mod user;
mod viewer;
mod viewer_door;
mod viewing;
