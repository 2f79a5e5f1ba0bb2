//! Writing: a registry takes a node's record and gives back a registration, which its owner keeps alive and ends.

use std::time::Duration;

use cbrowse_protocol::node::NodeRecord;
use futures_util::future::BoxFuture;

use crate::{error::RegistryError, figures::Meter};

/// How a registry finds out that a node no longer serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The registry asks `https://address:port/health?consul`, whose status follows the node's health. It cannot verify
    /// the certificate, which the node's own identity signs; clients do. Registries without health checks of their own
    /// use heartbeats instead.
    Https,
    /// The same without TLS, for what a front or a registrar answers for.
    Http,
    /// The registry connects to `address:port`.
    Tcp,
    /// The registry asks `grpc.health.v1.Health/Check` over TLS.
    Grpc,
    /// The node says that it lives, see [`Registration::keep_alive`]; silence for this long means that it does not.
    Heartbeat(Duration),
}

/// A registry that nodes may write to.
///
/// Its calls, and those of a [`Registration`], end within deadlines of their own. They are not cancel safe: one that is
/// dropped half-way may have written an entry that nobody keeps or removes, until it expires.
pub trait Registry: Send + Sync {
    /// Where its requests are counted.
    fn meter(&self) -> &Meter;

    /// Puts `record` in the catalog, replacing an entry of the same id.
    fn register<'a>(
        &'a self,
        record: &'a NodeRecord,
        check: Check,
    ) -> BoxFuture<'a, Result<Box<dyn Registration>, RegistryError>>;
}

/// A node's entry in one registry. Dropping it leaves the entry to expire; [`Registration::deregister`] removes it.
pub trait Registration: Send + Sync {
    /// How often [`Registration::keep_alive`] is due.
    fn interval(&self) -> Duration;

    /// Says that the node lives, with the health of the record last given, and registers again if the registry has
    /// forgotten it.
    fn keep_alive(&mut self) -> BoxFuture<'_, Result<Kept, RegistryError>>;

    /// Replaces the record (of the same id) without a gap: at no time is the node absent from the catalog. Where only
    /// its health differs, nothing but that is written. A registry that checks nodes by itself ignores the health.
    fn update<'a>(&'a mut self, record: &'a NodeRecord) -> BoxFuture<'a, Result<(), RegistryError>>;

    /// Removes the entry. An entry that is already gone is no error.
    fn deregister(&mut self) -> BoxFuture<'_, Result<(), RegistryError>>;
}

/// What keeping alive came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The entry was still there.
    Alive,
    /// The registry had forgotten the node (a restart, an expiry); it is registered anew.
    Again,
}
