//! Each catalog in force: does it answer, how fast, and with how many nodes? And what is kept of earlier answers?

use std::{
    str::FromStr as _,
    time::{Duration, Instant},
};

use cbrowse_protocol::node::NodeRecord;
use cbrowse_registry::{CatalogError, CatalogUri, Listing, Options, Query, open};
use futures_util::future::join_all;
use serde_json::json;

use super::finding::{Check, Finding};
use crate::{
    context::Globals,
    discover::{
        Sources,
        cache::{Cache, age_in_words},
    },
    failure::Failure,
    settings::Settings,
    words::count,
};

/// A registry that takes longer is as good as down for whoever waits for a page; what goes on from the answer (clock,
/// statements) needs the rest of the command's time.
const DEADLINE: Duration = Duration::from_millis(3600);

/// What the catalogs said.
#[derive(Debug, Default)]
pub(super) struct Surveyed {
    /// About each of them.
    pub(super) findings: Vec<Finding>,
    /// Of those that answered.
    pub(super) answers: Vec<Answer>,
}

/// What one catalog said.
#[derive(Debug)]
pub(super) struct Answer {
    /// Its nodes.
    pub(super) listing: Listing,
    /// A file of the user's own, whose word about identities counts.
    pub(super) is_own_file: bool,
}

impl Surveyed {
    /// All nodes, each with the answer that names it.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&Answer, &NodeRecord)> {
        self.answers.iter().flat_map(|answer| answer.listing.nodes.iter().map(move |node| (answer, node)))
    }
}

/// Asks all of them side by side, past their copies.
pub(super) async fn survey(globals: &Globals) -> Surveyed {
    let texts = &globals.settings.catalogs.value;
    if texts.is_empty() {
        let none = Finding::skipped(
            Check::Catalogs,
            "none is named, so connect starts a private node on this machine",
        );
        let mend = "to use a fleet, name its catalog: --catalog URI, CBROWSE_CATALOG, or catalog in the settings file";
        return Surveyed { findings: vec![none.mend(mend)], answers: Vec::new() };
    }
    let (findings, answers): (Vec<_>, Vec<_>) =
        join_all(texts.iter().map(|text| ask(globals, text))).await.into_iter().unzip();
    Surveyed { findings, answers: answers.into_iter().flatten().collect() }
}

async fn ask(globals: &Globals, text: &str) -> (Finding, Option<Answer>) {
    let uri = match CatalogUri::from_str(text) {
        Ok(CatalogUri::Local) => {
            let found = "a private node that connect starts and ends; there is nothing to ask";
            return (Finding::skipped(Check::Catalogs, found).about(text), None);
        }
        Ok(uri) => uri,
        Err(error) => {
            let mend = format!("correct it where it stands: {}", globals.settings.catalogs.origin);
            return (Finding::problem(Check::Catalogs, error.to_string(), mend), None);
        }
    };
    let started = Instant::now();
    let listed = list(&uri).await;
    let took = started.elapsed();
    let finding = match &listed {
        Ok(listing) => answered(listing, took),
        Err(why) => failed(why, copy_age(globals, &uri)),
    };
    let is_own_file = uri.is_own_file();
    (finding.about(uri.to_string()), listed.ok().map(|listing| Answer { listing, is_own_file }))
}

/// Why a catalog did not answer, in the registry's own words, without the catalog's name.
async fn list(uri: &CatalogUri) -> Result<Listing, String> {
    let words = |error: CatalogError| match error {
        CatalogError::One { cause, .. } => cause.to_string(),
        all @ CatalogError::All(_) => all.to_string(),
    };
    let catalog = open(uri, &Options::of_process()).map_err(words)?;
    match tokio::time::timeout(DEADLINE, catalog.list()).await {
        Ok(listed) => listed.map_err(words),
        Err(_) => Err(format!(
            "no answer within {} s; check the address, or ask a nearer registry",
            DEADLINE.as_secs()
        )),
    }
}

fn answered(listing: &Listing, took: Duration) -> Finding {
    let took = took.as_secs_f64() * 1e3;
    let rejected = listing.rejected.len();
    let mut found = format!("{} in {took:.1} ms", count(listing.nodes.len() as u64, "node"));
    if rejected > 0 {
        found += &format!(", {rejected} more cannot be used");
    }
    let details =
        json!({"nodes": listing.nodes.len(), "rejected": rejected, "ms": (took * 1e3).round() / 1e3});
    let finding = if listing.nodes.is_empty() {
        let mend = "register one with cbrowse-node serve --register URI, or see why entries are refused: cbrowse nodes list --rejected";
        Finding::warning(Check::Catalogs, found, mend)
    } else if let Some(warning) = listing.warnings.first() {
        Finding::warning(
            Check::Catalogs,
            format!("{found}; {warning}"),
            "see all of it: cbrowse nodes list --rejected",
        )
    } else if rejected > 0 {
        Finding::warning(Check::Catalogs, found, "see why: cbrowse nodes list --rejected")
    } else {
        Finding::ok(Check::Catalogs, found)
    };
    finding.details(details)
}

fn failed(why: &str, copy: Option<Duration>) -> Finding {
    let mend = "start the registry, correct the address, or name another with --catalog URI";
    let details = json!({"copy_age_s": copy.map(|age| age.as_secs())});
    match copy {
        Some(age) => {
            let found = format!("{why}; the copy of {} ago stands in for it", age_in_words(age));
            Finding::warning(Check::Catalogs, found, mend).details(details)
        }
        None => Finding::problem(Check::Catalogs, why, mend).details(details),
    }
}

fn copy_age(globals: &Globals, uri: &CatalogUri) -> Option<Duration> {
    let cached = Cache::of(globals).load(uri, &Query::default()).ok()?;
    Some(cached.age()).filter(|_| !cached.listing.nodes.is_empty())
}

/// The settings file, and what is wrong with it.
pub(super) fn settings(globals: &Globals, broken: Option<&Failure>) -> Finding {
    if let Some(failure) = broken {
        let mend = failure.hint.clone();
        let mend = mend.unwrap_or_else(|| "correct it, then: cbrowse config show --origin".to_owned());
        return Finding::problem(
            Check::Settings,
            format!("{failure}; the checks below go without any settings"),
            mend,
        )
        .details(failure.details.clone());
    }
    let Settings { file, context, .. } = &globals.settings;
    let path = file.value.display();
    if file.value.is_file() {
        Finding::ok(Check::Settings, format!("{path} is read, context {:?}", context.value))
    } else {
        Finding::ok(Check::Settings, format!("no file {path}; flags, environment and defaults are in force"))
    }
}

/// The copies of earlier answers: how old, and are they used?
pub(super) fn copies(globals: &Globals) -> Finding {
    let cache = Cache::of(globals);
    let rules = cache.rules();
    if rules.size == 0 {
        return Finding::skipped(Check::Copies, "none are kept: cache_size is 0");
    }
    let uris = Sources::of_settings(&globals.settings).map(|sources| sources.catalogs).unwrap_or_default();
    let uris: Vec<&CatalogUri> = uris.iter().filter(|uri| !uri.is_own_file()).collect();
    if uris.is_empty() {
        return Finding::skipped(Check::Copies, "no registry is named, so none are needed");
    }
    let kept = |uri: &&CatalogUri| match cache.load(uri, &Query::default()) {
        Ok(cached) => {
            let nodes = count(cached.listing.nodes.len() as u64, "node");
            (format!("{uri}: {nodes}, {} old", age_in_words(cached.age())), cached.is_younger(rules.ttl))
        }
        Err(error) => (format!("{uri}: {error}"), false),
    };
    let kept: Vec<(String, bool)> = uris.iter().map(kept).collect();
    let words: Vec<&str> = kept.iter().map(|(words, _)| words.as_str()).collect();
    let found = words.join("; ");
    if kept.iter().all(|(_, is_young)| *is_young) {
        return Finding::ok(Check::Copies, found);
    }
    Finding::warning(
        Check::Copies,
        format!("{found}; connect waits for the registry, and cannot do without it"),
        "cbrowse nodes list",
    )
}

#[cfg(test)]
mod tests {
    use super::{super::finding::State, *};

    fn listing(nodes: usize) -> Listing {
        let record = |index| {
            let record = json!({"id": format!("n{index}"), "address": "192.0.2.1", "port": 1});
            serde_json::from_value(record).expect("a record")
        };
        Listing { nodes: (0..nodes).map(record).collect(), ..Listing::default() }
    }

    #[test]
    fn an_answer_is_fine_unless_something_in_it_is_not() {
        let took = Duration::from_millis(3);
        let one = answered(&listing(1), took);
        assert_eq!((one.state, one.found.as_str()), (State::Ok, "1 node in 3.0 ms"));
        assert_eq!(answered(&listing(0), took).state, State::Warning);
        let warned = Listing { warnings: vec!["a token in the clear".into()], ..listing(1) };
        assert!(answered(&warned, took).found.ends_with("a token in the clear"));
    }

    #[test]
    fn a_registry_that_is_down_is_a_problem_unless_a_copy_stands_in() {
        assert_eq!(failed("refused", None).state, State::Problem);
        let copy = failed("refused", Some(Duration::from_secs(7200)));
        assert_eq!((copy.state, &copy.details["copy_age_s"]), (State::Warning, &json!(7200)));
        assert!(copy.found.contains("2 hours"), "{}", copy.found);
    }
}
