//! etcd v3 through its own JSON gateway: reading the records below a prefix, and keeping one there under a lease.
//!
//! ```text
//! POST /v3/kv/range            the keys below PREFIX/, page by page, all as of one revision
//! POST /v3/watch               what happens to them from the next revision on, a line an answer
//! POST /v3/lease/grant         a lease; the server decides how long it lasts
//! POST /v3/kv/put              PREFIX/ID -> the record as JSON, under that lease
//! POST /v3/lease/keepalive     an answer without a time to live: the lease is gone
//! POST /v3/lease/revoke        removes the lease and the key with it
//! POST /v3/auth/authenticate   name and password -> a token, sent as Authorization
//! ```
//!
//! Keys and values are base64 (<https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/>).

pub(crate) mod answer;
mod client;
mod entry;
mod fault;
mod list;
mod registration;
mod settings;
mod watch;

use std::sync::Arc;

use futures_util::{FutureExt as _, future::BoxFuture};

use self::client::Client;
use crate::{
    catalog::{Catalog, ChangeStream, Listing},
    error::{CatalogError, Cause},
    options::Options,
    uri::{CatalogUri, EtcdUri},
};

pub(crate) use registration::EtcdRegistry;

/// The variable that holds the user.
const USER: &str = "ETCDCTL_USER";

/// One moment of etcd's history: every change of any key has the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revision(u64);

impl Revision {
    /// The one that the next change will have.
    fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// As it is written in a question.
    fn text(self) -> String {
        self.0.to_string()
    }
}

impl TryFrom<i64> for Revision {
    type Error = std::num::TryFromIntError;
    fn try_from(number: i64) -> Result<Self, Self::Error> {
        number.try_into().map(Self)
    }
}

/// The keys below one prefix of one etcd as a catalog.
#[derive(Debug, Clone)]
pub(crate) struct EtcdCatalog {
    client: Arc<Client>,
    settings: Arc<EtcdUri>,
    uri: Arc<CatalogUri>,
}

impl EtcdCatalog {
    /// Reads what the environment says; connects to nothing yet.
    pub(crate) fn new(uri: &EtcdUri, options: &Options) -> Result<Self, Cause> {
        let meter = options.figures.meter(uri);
        Ok(Self {
            client: Arc::new(Client::new(uri, &options.environment, meter)?),
            settings: Arc::new(uri.clone()),
            uri: Arc::new(CatalogUri::Etcd(uri.clone())),
        })
    }
}

impl Catalog for EtcdCatalog {
    fn uri(&self) -> &CatalogUri {
        &self.uri
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>> {
        async {
            let snapshot = self.snapshot().await.map_err(|cause| cause.of(&self.uri))?;
            Ok(snapshot.listing)
        }
        .boxed()
    }

    fn watch(&self) -> ChangeStream {
        watch::changes(self.clone())
    }
}

/// For [`crate::fuzzing`]: the entries of a page, and those that a line of a watch puts.
#[cfg(fuzzing)]
pub(crate) fn candidates_of(prefix: &str, body: &[u8]) -> Result<Vec<crate::screen::Candidate>, Cause> {
    use answer::{Event, Word};
    let entries = match (answer::range(body), answer::watch_line(body)) {
        (Ok(page), _) => page.entries,
        (Err(_), Ok(Word::Events(events))) => {
            let put = |event| match event {
                Event::Put(entry) => Some(entry),
                Event::Delete(key) => entry::id(prefix, &key).and(None),
            };
            events.events.into_iter().filter_map(put).collect()
        }
        (Err(_), Ok(Word::Over(fault))) => return Err(fault.cause()),
        (Err(_), Ok(Word::Created | Word::Compacted | Word::Progress(_))) => Vec::new(),
        (Err(range), Err(line)) => return Err(Cause::Malformed(format!("{range}; {line}"))),
    };
    Ok(entries.iter().map(|entry| entry::candidate(prefix, entry)).collect())
}

/// For [`crate::fuzzing`]: what the other answers get wrong.
#[cfg(fuzzing)]
pub(crate) fn faults_of(body: &[u8]) -> Vec<Cause> {
    let others = [answer::put(body).err(), answer::grant(body).err(), answer::keepalive(body).err()];
    let token = answer::token(body).err();
    others.into_iter().flatten().chain(token).chain(answer::fault(body).map(|fault| fault.cause())).collect()
}
