//! Reading: a catalog lists its nodes once, or tells what changes as a stream of one small enum.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};
use futures_util::{future::BoxFuture, stream::BoxStream};
use serde::Serialize;

use crate::{error::CatalogError, reach::Reach, screen::Crowd, uri::CatalogUri};

/// A source of node records.
pub trait Catalog: Send + Sync {
    /// Its name; holds no secret.
    fn uri(&self) -> &CatalogUri;

    /// Everything it knows now. Ends within a deadline of its own; dropping the future is safe.
    fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>>;

    /// What stands in for an answer that was not waited for any longer: the error itself, unless something is remembered.
    fn without_answer(&self, error: CatalogError) -> Result<Listing, CatalogError> {
        Err(error)
    }

    /// What it knows and then what changes, without end. Nothing is asked unless the stream is polled.
    fn watch(&self) -> ChangeStream;
}

/// An error in the stream means that the registry could not be asked just now: what is known stays, and the stream
/// goes on by itself, with growing pauses. The first item is a [`Change::Reset`], a [`Change::DoesNotExist`] or an error.
pub type ChangeStream = BoxStream<'static, Result<Change, CatalogError>>;

/// What happened in a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Everything known until now is void; this is all there is.
    Reset(Listing),
    /// These are new, or differ from the record of the same id known until now. Only [`Listing::nodes`] and
    /// [`Listing::names`] are filled.
    Add(Listing),
    /// These are gone.
    Remove(Vec<NodeId>),
    /// The catalog itself is not there (a name without SRV records, a file that was removed), so it holds nothing.
    DoesNotExist,
}

/// What one catalog, or several together, say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// Entries that passed every check, one an id, in the catalog's order.
    pub nodes: Vec<NodeRecord>,
    /// Entries that did not, each with its reason.
    pub rejected: Vec<Rejected>,
    /// What the user should know about the answer as a whole.
    pub warnings: Vec<String>,
    /// For nodes named by a host name: which addresses that name may turn out to have. See [`Listing::permits`].
    #[serde(skip)]
    pub names: BTreeMap<NodeId, Reach>,
}

/// An entry that is not used. All texts are safe for a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejected {
    /// The catalog that names it, once listings are merged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catalog: Option<String>,
    /// The entry as the catalog names it, or where it stands.
    pub entry: String,
    /// Why.
    pub reason: String,
}

impl Listing {
    /// Whether `node` may be dialled at `address`, which its host name resolved to. Whoever resolves asks, each time:
    /// a name that passed as text can still point a client at its own network.
    pub fn permits(&self, node: &NodeId, address: IpAddr) -> bool {
        self.names.get(node).is_none_or(|reach| reach.permits(address).is_ok())
    }

    /// The same for one name after the other, until so many of them have led to one address or into one network as a
    /// catalog may have nodes there: names are free, and a thousand of them can mean one host's thousand ports.
    pub fn gate(&self) -> impl Fn(&NodeId, IpAddr) -> bool {
        let crowd = Mutex::new(Crowd::default());
        move |node, address| {
            let Some(reach) = self.names.get(node) else { return true };
            let mut crowd = crowd.lock().unwrap_or_else(PoisonError::into_inner);
            reach.permits(address).is_ok() && (*reach >= Reach::Loopback || crowd.admits(address))
        }
    }
}
