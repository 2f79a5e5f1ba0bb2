//! Where nodes are: one adapter a registry, for reading ([`Catalog`]) and for writing ([`Registry`]).
//!
//! A catalog is input from strangers. Every entry passes [`screen`]: garbage is set aside with a reason while the
//! others serve, addresses outside the catalog's own [`reach`] are refused, and numbers are capped. What passes is
//! still no proof of *who* answers at that address; that is the business of trust.

mod capped;
mod catalog;
mod changes;
mod consul;
mod environment;
mod error;
mod etcd;
mod figures;
mod file;
#[cfg(fuzzing)]
pub mod fuzzing;
mod http;
mod merge;
mod meta;
mod nacos;
mod narrow;
mod open;
mod options;
mod query;
mod reach;
mod record;
mod registry;
mod retry;
pub mod screen;
mod srv;
mod upkeep;
pub mod uri;
mod watch_all;

pub use catalog::{Catalog, Change, ChangeStream, Listing, Rejected};
pub use consul::events;
pub use environment::Environment;
pub use error::{CatalogError, Cause, RegistryError, TlsFault};
pub use figures::{Figures, Meter};
pub use merge::{list_all, merge};
pub use open::{open, open_registry};
pub use options::Options;
pub use query::{Query, VersionRange};
pub use reach::{Reach, Refusal};
pub use registry::{Check, Kept, Registration, Registry};
pub use upkeep::stay_registered;
pub use uri::{CatalogUri, UriError};
pub use watch_all::{Event, EventStream, watch_all};
