//! Discovery: from the catalogs in force to the nodes they name, past registries that are down.

pub mod cache;
pub mod start;

use std::str::FromStr as _;

use cbrowse_registry::{Catalog, CatalogError, CatalogUri, Listing, Options, Query, list_all, merge};
use serde_json::json;

use self::cache::{Cache, CachedCatalog, age_in_words};
use crate::{
    context::Globals,
    failure::{Exit, Failure},
    output::Output,
    settings::{Origin, Settings, Value},
};

/// Rejected entries that are named one by one; of more, only the number is said.
const NAMED_REJECTED: usize = 3;

/// The catalogs in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// Registries and files.
    pub catalogs: Vec<CatalogUri>,
    /// Whether the private node of this machine (`local:`) is meant, by name or because nothing else is.
    pub private_node: bool,
}

impl Sources {
    /// Reads the catalog URIs of the settings.
    pub fn of_settings(settings: &Settings) -> Result<Self, Failure> {
        let parsed = settings.catalogs.value.iter().map(|text| parse(text, &settings.catalogs));
        let mut catalogs = parsed.collect::<Result<Vec<_>, _>>()?;
        let named = catalogs.contains(&CatalogUri::Local);
        catalogs.retain(|catalog| *catalog != CatalogUri::Local);
        Ok(Self { private_node: named || catalogs.is_empty(), catalogs })
    }
}

fn parse(text: &str, origin: &Value<Vec<String>>) -> Result<CatalogUri, Failure> {
    CatalogUri::from_str(text).map_err(|error| {
        let exit = match origin.origin {
            Origin::Flag(_) => Exit::Usage,
            _ => Exit::Configuration,
        };
        Failure::new(exit, "invalid_catalog", format!("{error} ({})", origin.origin))
            .details(json!({"catalog": error.value, "origin": origin.origin.to_string()}))
    })
}

/// Lists the nodes of all catalogs in force. A registry that is down is served from its last answer.
/// Warnings and rejected entries are in the listing; [`remark`] says them.
pub async fn discover(globals: &Globals) -> Result<Listing, Failure> {
    discover_with(globals, &Options::of_process()).await
}

/// The same for certain nodes, counted elsewhere.
pub async fn discover_with(globals: &Globals, options: &Options) -> Result<Listing, Failure> {
    let uris = catalogs(globals)?;
    list(&open_cached(&uris, &Cache::of(globals), options)?).await
}

/// Opens the catalogs in force without their copies, for watching.
pub fn open_all(globals: &Globals, options: &Options) -> Result<Vec<Box<dyn Catalog>>, Failure> {
    catalogs(globals)?.iter().map(|uri| open(uri, options)).collect()
}

/// What the copies on disk say, and since when; no registry is asked.
pub fn recall(globals: &Globals, query: &Query) -> Result<(Listing, Vec<String>), Failure> {
    let (uris, cache) = (catalogs(globals)?, Cache::of(globals));
    let (mut answers, mut remarks) = (Vec::new(), Vec::new());
    for uri in &uris {
        let name = uri.to_string();
        match cache.load(uri, query) {
            Ok(cached) => {
                remarks.push(format!("{name}: its answer of {} ago", age_in_words(cached.age())));
                answers.push((name, cached.listing));
            }
            Err(error) => {
                let warnings = vec![error.to_string()];
                answers.push((name, Listing { warnings, ..Listing::default() }));
            }
        }
    }
    let listing = merge(answers.iter_mut().map(|(name, listing)| (&**name, std::mem::take(listing))));
    if remarks.is_empty() {
        let message = format!("no copy of an answer can be used: {}", listing.warnings.join("; "));
        let failure = Failure::new(Exit::Catalog, "not_cached", message);
        return Err(failure.hint("ask the catalogs themselves: cbrowse nodes list"));
    }
    Ok((listing, remarks))
}

/// The catalogs in force; an error where there is none but the private node.
fn catalogs(globals: &Globals) -> Result<Vec<CatalogUri>, Failure> {
    let sources = Sources::of_settings(&globals.settings)?;
    let is_local = !globals.settings.catalogs.value.is_empty();
    if sources.catalogs.is_empty() { Err(no_catalog(is_local)) } else { Ok(sources.catalogs) }
}

async fn list(catalogs: &[Box<dyn Catalog>]) -> Result<Listing, Failure> {
    list_all(catalogs).await.map_err(|error| unavailable(&error, catalogs))
}

fn open(uri: &CatalogUri, options: &Options) -> Result<Box<dyn Catalog>, Failure> {
    cbrowse_registry::open(uri, options)
        .map_err(|error| Failure::new(Exit::Configuration, "invalid_catalog", error.to_string()))
}

fn open_cached(
    uris: &[CatalogUri],
    cache: &Cache,
    options: &Options,
) -> Result<Vec<Box<dyn Catalog>>, Failure> {
    let open = |uri| {
        let cached = CachedCatalog::new(open(uri, options)?, cache.clone(), options.query.clone());
        Ok(Box::new(cached) as Box<dyn Catalog>)
    };
    uris.iter().map(open).collect()
}

/// There is nothing to list or probe: the private node exists only while it is used.
fn no_catalog(is_local: bool) -> Failure {
    let message = if is_local {
        "local: is a private node that connect starts and ends, so there are no nodes to list"
    } else {
        "no catalog is set, so there are no nodes to list"
    };
    Failure::new(Exit::Configuration, "no_catalog", message)
        .hint("name one with --catalog URI, CBROWSE_CATALOG or the settings file; cbrowse connect alone starts a private node")
}

fn unavailable(error: &CatalogError, catalogs: &[Box<dyn Catalog>]) -> Failure {
    let catalogs: Vec<String> = catalogs.iter().map(|catalog| catalog.uri().to_string()).collect();
    Failure::new(Exit::Catalog, "catalog_unavailable", error.to_string())
        .details(json!({"catalogs": catalogs, "transient": error.is_transient()}))
}

/// Says what the user should know about a listing.
pub fn remark(output: &Output, listing: &Listing) {
    for warning in &listing.warnings {
        output.warn(warning);
    }
    for rejected in listing.rejected.iter().take(NAMED_REJECTED) {
        output.warn(format_args!("catalog entry {} is skipped: {}", rejected.entry, rejected.reason));
    }
    let more = listing.rejected.len().saturating_sub(NAMED_REJECTED);
    if more > 0 {
        output.warn(format_args!("{more} more skipped; cbrowse nodes list --rejected names all of them"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::settings::Flags;

    fn sources(catalogs: &[&str]) -> Result<Sources, Failure> {
        let flags =
            Flags { catalogs: catalogs.iter().map(ToString::to_string).collect(), ..Flags::default() };
        let none = |_: &str| None;
        Sources::of_settings(&Settings::resolve(&flags, &none, Path::new("/nonexistent/config.toml"))?)
    }

    #[test]
    fn without_a_catalog_the_private_node_is_meant() {
        assert_eq!(sources(&[]), Ok(Sources { catalogs: vec![], private_node: true }));
        assert_eq!(sources(&["local:"]), Ok(Sources { catalogs: vec![], private_node: true }));
        let both = sources(&["local:", "file:nodes.toml"]).expect("valid");
        assert_eq!((both.catalogs.len(), both.private_node), (1, true));
        assert!(!sources(&["file:nodes.toml"]).expect("valid").private_node);
    }

    #[test]
    fn a_catalog_that_is_none_is_named_with_its_origin() {
        let failure = sources(&["nodes.toml"]).expect_err("no scheme");
        assert_eq!((failure.exit, failure.code), (Exit::Usage, "invalid_catalog"));
        assert!(failure.message.contains("\"nodes.toml\""), "{}", failure.message);
        assert!(failure.message.contains("flag --catalog"), "{}", failure.message);
    }
}
