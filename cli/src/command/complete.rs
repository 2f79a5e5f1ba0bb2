//! What a shell offers for regions, zones, nodes, tags, versions, metadata, contexts and profiles: from the copies of catalogs on disk, never the network.

use std::{collections::BTreeSet, ffi::OsStr};

use cbrowse_protocol::node::NodeRecord;
use cbrowse_registry::Query;
use clap_complete::CompletionCandidate;

use crate::{
    context::Paths,
    discover::{
        Sources,
        cache::{Cache, Rules},
    },
    select::place::COUNTRY_KEY,
    settings::{CACHE_REFRESH, CACHE_SIZE, CACHE_TTL, Flags, Settings, file::SettingsFile},
};

/// Regions of the nodes known by the last answers.
pub fn regions(typed: &OsStr) -> Vec<CompletionCandidate> {
    offer(typed, known_nodes().into_iter().map(|node| (node.region, None)))
}

/// Countries of the nodes known by the last answers.
pub fn countries(typed: &OsStr) -> Vec<CompletionCandidate> {
    let countries = known_nodes().into_iter().filter_map(|mut node| node.meta.remove(COUNTRY_KEY));
    offer(typed, countries.map(|country| (country, None)))
}

/// Ids of the nodes, with their regions as help.
pub fn nodes(typed: &OsStr) -> Vec<CompletionCandidate> {
    let nodes = known_nodes();
    offer(typed, nodes.into_iter().map(|node| (node.id.to_string(), Some(node.region))))
}

/// Tags of the nodes.
pub fn tags(typed: &OsStr) -> Vec<CompletionCandidate> {
    offer(typed, known_nodes().into_iter().flat_map(|node| node.tags).map(|tag| (tag, None)))
}

/// Zones of the nodes, with their regions as help.
pub fn zones(typed: &OsStr) -> Vec<CompletionCandidate> {
    offer(typed, known_nodes().into_iter().map(|node| (node.zone, Some(node.region))))
}

/// Ranges that hold the nodes' versions.
pub fn versions(typed: &OsStr) -> Vec<CompletionCandidate> {
    let versions = known_nodes().into_iter().map(|node| node.version).filter(|version| !version.is_empty());
    offer(typed, versions.flat_map(|version| [(format!("={version}"), None), (format!(">={version}"), None)]))
}

/// Pairs of metadata.
pub fn meta(typed: &OsStr) -> Vec<CompletionCandidate> {
    let pairs = known_nodes().into_iter().flat_map(|node| node.meta);
    offer(typed, pairs.map(|(key, value)| (format!("{key}={value}"), None)))
}

/// Contexts of the settings file.
pub fn contexts(typed: &OsStr) -> Vec<CompletionCandidate> {
    let file = Paths::of_user().ok().and_then(|paths| {
        let path = given("--config").pop().map_or_else(|| paths.settings(), Into::into);
        SettingsFile::read(&path, false).ok()
    });
    let names = file.into_iter().flat_map(|file| file.contexts.into_keys());
    offer(typed, names.map(|name| (name, None)))
}

/// Profiles of this machine.
pub fn profiles(typed: &OsStr) -> Vec<CompletionCandidate> {
    let root = Paths::of_user().ok().map(|paths| paths.profiles()).filter(|root| root.is_dir());
    let records = root.and_then(|root| cbrowse_profile::authority::list(&root).ok());
    offer(typed, records.into_iter().flatten().map(|record| (record.name.to_string(), None)))
}

fn offer(typed: &OsStr, values: impl Iterator<Item = (String, Option<String>)>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let fitting: BTreeSet<_> =
        values.filter(|(value, _)| !value.is_empty() && value.starts_with(&*typed)).collect();
    let candidate = |(value, help): (String, Option<String>)| {
        CompletionCandidate::new(value).help(help.filter(|help| !help.is_empty()).map(Into::into))
    };
    fitting.into_iter().map(candidate).collect()
}

/// Whatever goes wrong here, a shell has nothing to offer, and nobody reads errors in the middle of a command line.
fn known_nodes() -> Vec<NodeRecord> {
    let Ok(paths) = Paths::of_user() else { return Vec::new() };
    let flags = Flags {
        config: given("--config").pop().map(Into::into),
        context: given("--context").pop(),
        catalogs: given("--catalog"),
        ..Flags::default()
    };
    let settings = Settings::resolve(&flags, &|name| std::env::var(name).ok(), &paths.settings());
    let Ok(sources) = settings.and_then(|settings| Sources::of_settings(&settings)) else {
        return Vec::new();
    };
    let rules = Rules { ttl: CACHE_TTL, refresh: CACHE_REFRESH, size: CACHE_SIZE };
    let cache = Cache::new(paths.catalogs(), rules);
    let cached = sources.catalogs.iter().filter_map(|uri| cache.load(uri, &Query::default()).ok());
    cached.flat_map(|cached| cached.listing.nodes).collect()
}

/// Values of a flag among the words typed so far, which the shell hands over as arguments.
fn given(flag: &str) -> Vec<String> {
    let words: Vec<String> = std::env::args().collect();
    values_of(flag, &words)
}

fn values_of(flag: &str, words: &[String]) -> Vec<String> {
    let mut values = Vec::new();
    for (index, word) in words.iter().enumerate() {
        match word.strip_prefix(flag) {
            Some("") => values.extend(words.get(index + 1).cloned()),
            Some(rest) => values.extend(rest.strip_prefix('=').map(str::to_owned)),
            None => {}
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_typed_so_far_are_heard_in_both_spellings() {
        let words: Vec<String> =
            ["cbrowse", "--catalog", "a", "--catalog=b", "--catalogue", "c", "--catalog"]
                .map(Into::into)
                .into();
        assert_eq!(values_of("--catalog", &words), ["a", "b"]);
    }

    #[test]
    fn offers_are_sorted_distinct_and_fit_what_was_typed() {
        let values =
            ["eu-west", "us-east", "eu-central", "eu-west", ""].map(|value| (value.to_owned(), None));
        let offered = offer(OsStr::new("eu"), values.into_iter());
        let values: Vec<_> = offered.iter().map(|candidate| candidate.get_value().to_owned()).collect();
        assert_eq!(values, ["eu-central", "eu-west"]);
    }
}
