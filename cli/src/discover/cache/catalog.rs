//! A catalog that remembers what it said.

use cbrowse_registry::{Catalog, CatalogError, CatalogUri, ChangeStream, Listing, Query};
use futures_util::{FutureExt as _, future::BoxFuture};

use super::{Cache, CacheError, age_in_words, now};
use crate::settings::duration::format_age;

/// A catalog that remembers what it said, and says it again, with its age, while its registry is down.
pub struct CachedCatalog {
    catalog: Box<dyn Catalog>,
    cache: Cache,
    query: Query,
}

impl CachedCatalog {
    /// Puts a cache in front of a catalog that was opened with `query`.
    pub fn new(catalog: Box<dyn Catalog>, cache: Cache, query: Query) -> Self {
        Self { catalog, cache, query }
    }

    async fn list_or_recall(&self) -> Result<Listing, CatalogError> {
        match self.catalog.list().await {
            Ok(mut listing) => {
                self.remember(&mut listing);
                Ok(listing)
            }
            Err(error) => self.without_answer(error),
        }
    }

    fn remember(&self, listing: &mut Listing) {
        // An empty answer with a warning is one that was cut short or filtered, not an empty catalog, as is one whose
        // every entry was rejected; an empty one to a question for certain nodes is no help to anybody.
        let says_nothing = !listing.warnings.is_empty() || !listing.rejected.is_empty();
        if listing.nodes.is_empty() && (says_nothing || self.query != Query::default()) {
            return;
        }
        if let Err(error) = self.cache.store(self.uri(), &self.query, listing, now()) {
            listing.warnings.push(format!("its copy cannot be kept: {error}"));
        }
    }

    fn recall(&self, error: CatalogError) -> Result<Listing, CatalogError> {
        match self.cache.load(self.uri(), &self.query) {
            Ok(cached) => {
                let (age, ttl) = (cached.age(), self.cache.rules().ttl);
                let cause = match error {
                    CatalogError::One { cause, .. } => cause.to_string(),
                    several @ CatalogError::All(_) => several.to_string(),
                };
                let old = if cached.time > now() {
                    " by a clock that was set back since: nodes may have moved".to_owned()
                } else if age > ttl {
                    format!(", older than cache_ttl ({}): nodes may have moved", format_age(ttl))
                } else {
                    String::new()
                };
                let warning = format!("{cause}; using its answer of {} ago{old}", age_in_words(age));
                let mut listing = cached.listing;
                listing.warnings.push(warning);
                Ok(listing)
            }
            Err(CacheError::Nothing) => Err(error),
            Err(unusable) => Err(with_remark(error, &unusable)),
        }
    }
}

/// The registry's own error comes first; that the copy was no help is part of the story.
fn with_remark(error: CatalogError, unusable: &CacheError) -> CatalogError {
    match error {
        CatalogError::One { catalog, cause } => {
            CatalogError::One { catalog: format!("{catalog} ({unusable})"), cause }
        }
        several @ CatalogError::All(_) => several,
    }
}

impl Catalog for CachedCatalog {
    fn uri(&self) -> &CatalogUri {
        self.catalog.uri()
    }

    fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>> {
        self.list_or_recall().boxed()
    }

    fn without_answer(&self, error: CatalogError) -> Result<Listing, CatalogError> {
        if error.is_transient() { self.recall(error) } else { Err(error) }
    }

    fn watch(&self) -> ChangeStream {
        self.catalog.watch()
    }
}
