//! The settings file: TOML with one section a fleet. What is not known in it is an error with file, line and key.
//!
//! ```toml
//! default_context = "work"
//!
//! [context.work]
//! catalog = ["consul://consul.example.com:8500/browser-node"]
//! region = "eu-central"        # or several
//! max_latency = "80ms"
//! strategy = "responsive"
//! fleet_key = "work.fleet"     # beside this file
//! cache_ttl = "24h"            # how old a cached answer `connect` may start from
//! cache_refresh = "10s"        # a younger answer is not asked for again
//! cache_size = "64MiB"         # of all cached answers together
//! probing = "quiet=16"         # or all, fresh, cached, quiet
//! limit_rate = "2M"            # of profiles on their way to nodes, a second
//! ```

use std::{collections::BTreeMap, io, path::Path};

use serde::Deserialize;
use serde_json::json;
use toml::Spanned;

use crate::failure::{Exit, Failure};

/// Longest settings file in bytes; a larger one is another file by mistake.
const MAX_LENGTH: u64 = 1024 * 1024;

/// A value and the line it stands in, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its line.
    pub line: usize,
}

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsFile {
    /// The context used when none is named.
    pub default_context: Option<Located<String>>,
    /// The sections `[context.NAME]`.
    pub contexts: BTreeMap<String, ContextFile>,
}

/// One section; what is absent is inherited from nobody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContextFile {
    /// Catalog URIs.
    pub catalog: Option<Located<Vec<String>>>,
    /// Regions to choose from.
    pub region: Option<Located<Vec<String>>>,
    /// As [`super::duration::parse_duration`] reads it.
    pub max_latency: Option<Located<String>>,
    /// Name of a strategy.
    pub strategy: Option<Located<String>>,
    /// Path of the fleet's public key.
    pub fleet_key: Option<Located<String>>,
    /// As [`super::duration::parse_age`] reads it.
    pub cache_ttl: Option<Located<String>>,
    /// As [`super::duration::parse_age`] reads it.
    pub cache_refresh: Option<Located<String>>,
    /// As [`super::size::parse_size`] reads it.
    pub cache_size: Option<Located<String>>,
    /// As [`crate::survey::Probing`] reads it.
    pub probing: Option<Located<String>>,
    /// As [`super::size::parse_rate`] reads it.
    pub limit_rate: Option<Located<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    default_context: Option<Spanned<String>>,
    #[serde(default)]
    context: BTreeMap<String, RawContext>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawContext {
    catalog: Option<Spanned<OneOrMore>>,
    region: Option<Spanned<OneOrMore>>,
    max_latency: Option<Spanned<String>>,
    strategy: Option<Spanned<String>>,
    fleet_key: Option<Spanned<String>>,
    cache_ttl: Option<Spanned<String>>,
    cache_refresh: Option<Spanned<String>>,
    cache_size: Option<Spanned<String>>,
    probing: Option<Spanned<String>>,
    limit_rate: Option<Spanned<String>>,
}

/// `"a"` or `["a", "b"]`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a string or an array of strings")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl From<OneOrMore> for Vec<String> {
    fn from(value: OneOrMore) -> Self {
        match value {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        }
    }
}

impl SettingsFile {
    /// Reads the file at `path`; one that need not exist and does not is empty.
    pub fn read(path: &Path, must_exist: bool) -> Result<Self, Failure> {
        match read_limited(path) {
            Ok(text) => Self::parse(&text, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => Ok(Self::default()),
            Err(error) => {
                let message = format!("cannot read the settings in {}: {error}", path.display());
                Err(Failure::new(Exit::Configuration, "settings_unreadable", message)
                    .details(json!({"file": path})))
            }
        }
    }

    /// Reads TOML text that came from `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Failure> {
        let raw: RawFile = toml::from_str(text).map_err(|error| invalid(text, path, &error))?;
        let contexts = raw.context.into_iter().map(|(name, context)| (name, located(text, context)));
        Ok(Self {
            default_context: raw.default_context.map(|value| locate(text, value)),
            contexts: contexts.collect(),
        })
    }
}

fn read_limited(path: &Path) -> io::Result<String> {
    if std::fs::metadata(path)?.len() > MAX_LENGTH {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("more than {MAX_LENGTH} bytes")));
    }
    std::fs::read_to_string(path)
}

fn located(text: &str, raw: RawContext) -> ContextFile {
    ContextFile {
        catalog: raw.catalog.map(|value| locate(text, value)),
        region: raw.region.map(|value| locate(text, value)),
        max_latency: raw.max_latency.map(|value| locate(text, value)),
        strategy: raw.strategy.map(|value| locate(text, value)),
        fleet_key: raw.fleet_key.map(|value| locate(text, value)),
        cache_ttl: raw.cache_ttl.map(|value| locate(text, value)),
        cache_refresh: raw.cache_refresh.map(|value| locate(text, value)),
        cache_size: raw.cache_size.map(|value| locate(text, value)),
        probing: raw.probing.map(|value| locate(text, value)),
        limit_rate: raw.limit_rate.map(|value| locate(text, value)),
    }
}

fn locate<T, U: From<T>>(text: &str, value: Spanned<T>) -> Located<U> {
    let line = line_of(text, value.span().start);
    Located { value: value.into_inner().into(), line }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

fn invalid(text: &str, path: &Path, error: &toml::de::Error) -> Failure {
    let line = error.span().map_or(1, |span| line_of(text, span.start));
    let key = key_in(text.lines().nth(line - 1).unwrap_or(""));
    let what = error.message().trim();
    // An unknown key is named by the parser itself; a wrong type is not.
    let named = key.filter(|key| !what.contains(&format!("`{key}`")));
    let named = named.map(|key| format!("{key}: ")).unwrap_or_default();
    let message = format!("{}:{line}: {named}{what}", path.display());
    Failure::new(Exit::Configuration, "invalid_settings", message)
        .hint("correct the file, or use another one with --config FILE")
        .details(json!({"file": path, "line": line, "key": key}))
}

/// The key of a line `key = value`.
fn key_in(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    Some(key.trim().trim_matches('"')).filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SettingsFile, Failure> {
        SettingsFile::parse(text, Path::new("/etc/c.toml"))
    }

    #[test]
    fn values_carry_their_lines() {
        let text =
            "default_context = \"work\"\n\n[context.work]\ncatalog = \"local:\"\nregion = [\"a\", \"b\"]\n";
        let file = parse(text).expect("valid");
        assert_eq!(file.default_context, Some(Located { value: "work".into(), line: 1 }));
        let work = &file.contexts["work"];
        assert_eq!(work.catalog, Some(Located { value: vec!["local:".into()], line: 4 }));
        assert_eq!(work.region, Some(Located { value: vec!["a".into(), "b".into()], line: 5 }));
        assert_eq!(work.max_latency, None);
    }

    #[test]
    fn the_documented_sample_is_valid() {
        let sample: Vec<&str> = include_str!("file.rs")
            .lines()
            .skip_while(|line| !line.contains("```toml"))
            .skip(1)
            .take_while(|line| !line.contains("```"))
            .map(|line| line.trim_start_matches("//!").trim_start())
            .collect();
        let file = parse(&sample.join("\n")).expect("the sample of the documentation");
        assert_eq!(
            file.contexts["work"].max_latency.as_ref().map(|value| value.value.as_str()),
            Some("80ms")
        );
    }

    #[test]
    fn errors_name_file_line_and_key() {
        for (text, line, key) in [
            ("\n[context.a]\nregoin = \"x\"\n", 3, "regoin"),
            ("[context.a]\nregion = 5\n", 2, "region"),
            ("[context.a]\n\n\nmax_latency = 80\n", 4, "max_latency"),
            ("contexts = 1\n", 1, "contexts"),
            ("[context.a]\ncatalog = [1]\n", 2, "catalog"),
        ] {
            let failure = parse(text).expect_err(text);
            assert_eq!(failure.exit, Exit::Configuration);
            let start = format!("/etc/c.toml:{line}: ");
            assert!(failure.message.starts_with(&start), "{}", failure.message);
            assert!(failure.message.contains(key), "{}", failure.message);
            assert_eq!(failure.details["line"], line);
            assert_eq!(failure.details["key"], key);
        }
        let broken = parse("[context.a\n").expect_err("syntax");
        assert!(broken.message.starts_with("/etc/c.toml:1: "), "{}", broken.message);
    }

    #[test]
    fn a_missing_file_is_empty_unless_it_was_named() {
        let missing = Path::new("/nonexistent/cbrowse.toml");
        assert_eq!(SettingsFile::read(missing, false), Ok(SettingsFile::default()));
        let failure = SettingsFile::read(missing, true).expect_err("named");
        assert_eq!(failure.code, "settings_unreadable");
        assert!(failure.message.contains("/nonexistent/cbrowse.toml"));
    }
}
