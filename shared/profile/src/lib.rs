//! Profiles that are the user's own: scan > chunk > seal > pack > store, and back.
//!
//! The user's machine is the authority: it holds the keys, makes heads ([`authority`]) and judges what nodes propose.
//! A worker on a node gets a [`grant`] to one head, restores it, and seals a [`proposal`] when the session ends.
//! Stores ([`object::ObjectStore`]) hold ciphertext and are trusted with nothing. Format version 1 is specified in
//! `docs/profile-format.md`. Calls block; there is no clock in here, `now` comes in.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod account;
pub mod allowlist;
pub mod authority;
pub mod bundle;
pub mod chunk;
mod codec;
pub mod compare;
#[cfg(test)]
mod crash;
pub mod directory;
pub mod examine;
pub mod extensions;
mod files;
#[cfg(test)]
mod frozen;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod grant;
pub mod head;
#[cfg(test)]
mod hostile;
pub mod keys;
#[cfg(test)]
mod malice;
pub mod manifest;
pub mod meter;
pub mod object;
pub mod pack;
pub mod padding;
pub mod pointer;
pub mod proposal;
pub mod reseal;
pub mod restore;
pub mod retain;
pub mod sanitize;
pub mod save;
pub mod scan;
pub mod seal;
pub mod secret;
pub mod slot;
pub mod snapshot;
pub mod stat_cache;
pub mod verify;

pub use codec::Malformed;
