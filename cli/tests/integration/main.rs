//! What the CLI's parts do with real nodes, registries, browsers and sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

mod catalog_cache;
mod catalog_filters;
mod catalog_watch;
mod catalogs;
mod chromium;
mod command_line;
mod connecting;
mod history;
mod profile_nodes;
mod profile_sealing;
mod promises;
mod refusals;
mod relay;
mod site;
mod travelling;
mod user;
mod viewer;
mod viewer_door;
mod viewing;
