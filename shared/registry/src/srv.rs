//! SRV records of a DNS name (RFC 2782), from the system's resolvers or one given server; Consul's DNS is one.
//!
//! Asked over TCP first: Consul cuts UDP answers without saying so. SRV names no nodes, so an entry is named by its
//! endpoint, `host:port`, unless TXT records beside it say more ([`text`]). Listed in the order in which RFC 2782 has
//! them tried, drawn anew each time; a watch tells nothing of a new order.

mod answer;
mod lookup;
mod order;
mod text;
mod tls;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, future::BoxFuture};

use self::lookup::Lookups;
use crate::{
    catalog::{Catalog, ChangeStream, Listing},
    changes::poll,
    error::{CatalogError, Cause},
    figures::Meter,
    options::Options,
    reach::Reach,
    retry::{random_in, spread},
    screen::screen,
    uri::{CatalogUri, SrvUri},
};

/// Longest wait for a listing, lookups of targets included.
const LIST_DEADLINE: Duration = Duration::from_secs(5);
/// More answers than this hardly fit one DNS message (64 KiB), so that some may be missing without a word.
const MOST_ANSWERS: usize = 400;
/// Shortest pause between two questions of a watch, where records are not to be kept at all (Consul's are not).
/// Shorter: every client hammers the server; longer: a new node is seen later.
const LEAST_PAUSE: Duration = Duration::from_secs(5);
/// Longest pause, whatever the records' time to live.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A DNS name as a catalog.
#[derive(Debug, Clone)]
pub(crate) struct SrvCatalog {
    lookups: Arc<Lookups>,
    settings: Arc<SrvUri>,
    uri: Arc<CatalogUri>,
    meter: Meter,
}

impl SrvCatalog {
    /// Reads the system's resolver settings unless a server is given; asks nothing yet.
    pub(crate) fn new(uri: &SrvUri, options: &Options) -> Result<Self, Cause> {
        Ok(Self {
            lookups: Arc::new(Lookups::new(uri, &options.environment)?),
            settings: Arc::new(uri.clone()),
            uri: Arc::new(CatalogUri::Srv(uri.clone())),
            meter: options.figures.meter(uri),
        })
    }

    async fn ask(&self) -> Result<(Listing, Duration), CatalogError> {
        let started = Instant::now();
        let asking = tokio::time::timeout(LIST_DEADLINE, self.ask_at_leisure());
        let answer = asking.await.unwrap_or(Err(Cause::Deadline(LIST_DEADLINE)));
        match &answer {
            Ok(_) => self.meter.answered(Some(started.elapsed())),
            Err(cause) => self.meter.failed(cause),
        }
        answer.map_err(|cause| cause.of(&self.uri))
    }

    async fn ask_at_leisure(&self) -> Result<(Listing, Duration), Cause> {
        let (mut answer, mut warnings) = self.lookups.services(&self.settings.name).await?;
        if answer.services.len() > MOST_ANSWERS {
            warnings.push(format!(
                "{} records: a DNS answer hardly holds more, so some may be missing; \
                 read this catalog over HTTP instead (consul://host:8500)",
                answer.services.len()
            ));
        }
        if answer.unavailable {
            warnings.push(format!(
                "{} says that the service is not available there (target \".\")",
                self.settings.name
            ));
        }
        let told = answer.told(&mut random_in);
        let mut listing = screen(told.candidates, self.reach());
        listing.warnings.append(&mut warnings);
        Ok((listing, spread(told.time_to_live.clamp(LEAST_PAUSE, LONGEST_PAUSE))))
    }

    /// The system's resolver usually stands at a loopback or private address and passes on what anybody publishes,
    /// so where it stands says nothing; a server that the user named does.
    fn reach(&self) -> Reach {
        match self.settings.server {
            _ if self.settings.local => Reach::Anything,
            Some(server) => Reach::of_catalog_at(server.ip()),
            None => Reach::Public,
        }
    }
}

impl Catalog for SrvCatalog {
    fn uri(&self) -> &CatalogUri {
        &self.uri
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>> {
        async { Ok(self.ask().await?.0) }.boxed()
    }

    fn watch(&self) -> ChangeStream {
        let catalog = self.clone();
        poll(move || {
            let catalog = catalog.clone();
            async move {
                let answer = catalog.ask().await?;
                catalog.meter.heard();
                Ok(answer)
            }
        })
    }
}

/// For [`crate::fuzzing`].
#[cfg(fuzzing)]
pub(crate) fn candidates_of(
    message: hickory_resolver::proto::op::Message,
    draw: &mut impl FnMut(std::ops::RangeInclusive<u64>) -> u64,
) -> Option<Vec<crate::screen::Candidate>> {
    let name = message.queries.first()?.name().clone();
    let mut facts = answer::Facts::default();
    facts.learn(message.answers);
    facts.learn(message.additionals);
    let mut answer = answer::Answer::new(&name, facts);
    answer.open_questions();
    Some(answer.told(draw).candidates)
}
