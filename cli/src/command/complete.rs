//! What a shell offers for regions, zones, nodes, tags, versions, metadata, contexts and profiles: from the copies of catalogs on disk, never the network.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
};

use cbrowse_profile::authority::{Authority, HeadRecord};
use cbrowse_protocol::node::is_unprintable;
use clap_complete::{
    CompletionCandidate,
    engine::{PathCompleter, ValueCompleter as _},
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    context::Paths,
    date,
    discover::{
        Sources,
        cache::{Cache, Rules},
    },
    import::{browser::Browser, find::Home},
    select::place::COUNTRY_KEY,
    settings::{CACHE_REFRESH, CACHE_SIZE, CACHE_TTL, Flags, Settings, file::SettingsFile},
    words::size,
};

/// What is read of each node: a person waits at a prompt, so no more than is offered.
#[derive(Deserialize)]
struct InRegion {
    #[serde(default)]
    region: String,
}

#[derive(Deserialize)]
struct Named {
    id: String,
    #[serde(default)]
    region: String,
}

#[derive(Deserialize)]
struct InZone {
    #[serde(default)]
    zone: String,
    #[serde(default)]
    region: String,
}

#[derive(Deserialize)]
struct Tagged {
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Versioned {
    #[serde(default)]
    version: String,
}

#[derive(Deserialize)]
struct Described {
    #[serde(default)]
    meta: BTreeMap<String, String>,
}

/// Regions of the nodes known by the last answers.
pub fn regions(typed: &OsStr) -> Vec<CompletionCandidate> {
    offer(typed, known().map(|node: InRegion| (node.region, None)))
}

/// Countries of the nodes known by the last answers.
pub fn countries(typed: &OsStr) -> Vec<CompletionCandidate> {
    let countries = known().filter_map(|mut node: Described| node.meta.remove(COUNTRY_KEY));
    offer(typed, countries.map(|country| (country, None)))
}

/// Ids of the nodes, with their regions as help.
pub fn nodes(typed: &OsStr) -> Vec<CompletionCandidate> {
    offer(typed, known().map(|node: Named| (node.id, Some(node.region))))
}

/// Tags of the nodes.
pub fn tags(typed: &OsStr) -> Vec<CompletionCandidate> {
    offer(typed, known().flat_map(|node: Tagged| node.tags).map(|tag| (tag, None)))
}

/// Zones of the nodes, with their regions as help.
pub fn zones(typed: &OsStr) -> Vec<CompletionCandidate> {
    offer(typed, known().map(|node: InZone| (node.zone, Some(node.region))))
}

/// Ranges that hold the nodes' versions.
pub fn versions(typed: &OsStr) -> Vec<CompletionCandidate> {
    let versions = known().map(|node: Versioned| node.version).filter(|version| !version.is_empty());
    let versions: BTreeSet<String> = versions.collect();
    let ranges = |version| [(format!("={version}"), None), (format!(">={version}"), None)];
    offer(typed, versions.into_iter().flat_map(ranges))
}

/// Versions that could be the least.
pub fn least_versions(typed: &OsStr) -> Vec<CompletionCandidate> {
    offer(typed, known().map(|node: Versioned| (node.version, None)))
}

/// Pairs of metadata.
pub fn meta(typed: &OsStr) -> Vec<CompletionCandidate> {
    let pairs = known().flat_map(|node: Described| node.meta);
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

/// Versions of the profile that was named before on the command line, with what they are.
pub fn profile_versions(typed: &OsStr) -> Vec<CompletionCandidate> {
    let words = typed_words();
    let root = Paths::of_user().ok().map(|paths| paths.profiles()).filter(|root| root.is_dir());
    let authority =
        root.and_then(|root| words.iter().rev().find_map(|word| Authority::open(&root, word).ok()));
    let history = authority.and_then(|authority| authority.history().ok()).unwrap_or_default();
    let version = |record: HeadRecord| {
        let name = match &record.kept_as {
            Some(kept) => kept.trim_start_matches('0').to_owned(),
            None => record.head.generation.to_string(),
        };
        (name, Some(format!("{}, {}", date::utc(record.time), size(record.bytes))))
    };
    offer(typed, history.into_iter().map(version))
}

/// Browsers that left profiles on this machine.
pub fn browsers(typed: &OsStr) -> Vec<CompletionCandidate> {
    let found = Home::of_user().map(|home| home.all()).unwrap_or_default();
    let browsers: BTreeSet<Browser> = found.into_iter().filter_map(|found| found.browser).collect();
    let named =
        browsers.into_iter().map(|browser| (browser.name().to_owned(), Some(browser.title().to_owned())));
    let mut candidates = offer(typed, named);
    // A path is as good.
    candidates.extend(PathCompleter::any().complete(typed));
    candidates
}

/// Profiles of the browser that was named before, by their directories, with the names their owners gave them.
pub fn browser_profiles(typed: &OsStr) -> Vec<CompletionCandidate> {
    let from = given("--from").pop();
    let browser = from.and_then(|from| from.parse::<Browser>().ok());
    let found = Home::of_user().map(|home| home.all()).unwrap_or_default();
    let typed = typed.to_string_lossy();
    // Directories such as `Profile 1` hold a space, which the shells quote.
    let is_plain = |name: &str| name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == ' ');
    found
        .into_iter()
        .filter(|found| browser.is_none() || found.browser == browser)
        .filter(|found| is_plain(&found.profile) && found.profile.starts_with(&*typed))
        .map(|found| CompletionCandidate::new(found.profile).help(found.name.map(Into::into)))
        .collect()
}

fn offer(typed: &OsStr, values: impl Iterator<Item = (String, Option<String>)>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    let fitting: BTreeSet<_> = values
        .filter(|(value, help)| value.starts_with(&*typed) && is_offered(value, help.as_deref()))
        .collect();
    let candidate = |(value, help): (String, Option<String>)| {
        CompletionCandidate::new(value).help(help.filter(|help| !help.is_empty()).map(Into::into))
    };
    fitting.into_iter().map(candidate).collect()
}

/// What a file on disk holds is shown by the shell as it is, and some shells put it on the command line as it is: a catalog's
/// word must not become a command, or a flag.
fn is_offered(value: &str, help: Option<&str>) -> bool {
    // Ranges of versions begin with one of these, which are ours.
    let word = value.trim_start_matches(['>', '=']);
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_.,:/=@+%".contains(letter);
    !word.is_empty()
        && !word.starts_with('-')
        && word.chars().all(is_plain)
        && help.is_none_or(|help| !help.chars().any(is_unprintable))
}

/// Whatever goes wrong here, a shell has nothing to offer, and nobody reads errors in the middle of a command line.
fn known<T: DeserializeOwned>() -> impl Iterator<Item = T> {
    copies().into_iter().flat_map(|(cache, sources)| {
        sources.catalogs.into_iter().flat_map(move |uri| cache.glance(&uri)).collect::<Vec<T>>()
    })
}

/// The copies of the catalogs in force.
fn copies() -> Option<(Cache, Sources)> {
    let paths = Paths::of_user().ok()?;
    let flags = Flags {
        config: given("--config").pop().map(Into::into),
        context: given("--context").pop(),
        catalogs: given("--catalog"),
        ..Flags::default()
    };
    let settings = Settings::resolve(&flags, &|name| std::env::var(name).ok(), &paths.settings()).ok()?;
    let rules = Rules { ttl: CACHE_TTL, refresh: CACHE_REFRESH, size: CACHE_SIZE };
    Some((Cache::new(paths.catalogs(), rules), Sources::of_settings(&settings).ok()?))
}

/// Values of a flag among the words typed so far, which the shell hands over as arguments.
fn given(flag: &str) -> Vec<String> {
    values_of(flag, &typed_words())
}

fn typed_words() -> Vec<String> {
    let words: Vec<OsString> = std::env::args_os().collect();
    super::completions::typed(&words).iter().map(|word| word.to_string_lossy().into_owned()).collect()
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
    fn what_could_drive_a_terminal_is_not_offered() {
        let help = |text: &str| Some(text.to_owned());
        let values = [("a\u{1b}[2J", None), ("b", help("x\u{7}")), ("c", help("fine"))];
        let offered = offer(OsStr::new(""), values.into_iter().map(|(value, help)| (value.to_owned(), help)));
        assert_eq!(offered.iter().map(CompletionCandidate::get_value).collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn what_could_become_a_command_is_not_offered() {
        let fine = ["eu-central-1", "fra_1.example:7443", "provider=a/b", ">=0.1.0+b2", "=0.2.0", "zürich"];
        for value in fine {
            assert!(is_offered(value, None), "{value}");
        }
        let evil = [
            "$(id)",
            "`id`",
            "eu;id",
            "eu&id",
            "eu|id",
            "eu>x",
            "*",
            "eu?",
            "[a]",
            "{a,b}",
            "~root",
            "!id",
            "#",
            "'",
            "\"",
            "\\",
            "eu --catalog=evil",
            "--catalog=evil",
            "-c",
            ">",
            ">=$(id)",
            "(id)",
            "<x",
            "",
        ];
        for value in evil {
            assert!(!is_offered(value, None), "{value}");
        }
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
