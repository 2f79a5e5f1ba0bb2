//! What the CLI's parts do with real nodes, registries, browsers and sockets.
#![allow(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

mod caller;
mod catalog_cache;
mod catalog_filters;
mod catalog_watch;
mod catalogs;
mod chromium;
mod command_line;
mod connecting;
mod doctor;
mod extensions;
mod failover;
mod fidelity;
mod history;
mod hostile;
mod keepsake;
mod profile_import;
mod profile_keyring;
mod profile_keys;
mod profile_nodes;
mod profile_sealing;
mod profile_stores;
mod profile_versions;
mod promises;
mod refusals;
mod seats;
mod site;
mod travelling;
mod user;
mod viewer;
mod viewer_door;
mod viewing;
