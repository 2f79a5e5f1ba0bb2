//! Settings: flag over environment over file over default, resolved once, each value with its origin.

pub mod duration;
pub mod file;
pub mod size;

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value as Json, json};

use self::{
    duration::{parse_age, parse_duration},
    file::{ContextFile, Located, SettingsFile},
    size::{parse_rate, parse_size},
};
use crate::{
    failure::{Exit, Failure},
    select::Strategy,
    survey::Probing,
};

/// The context used when none is named.
pub const DEFAULT_CONTEXT: &str = "default";

/// How old a cached answer may be for `connect` to start from it. Longer: nodes that moved long ago are probed first;
/// shorter: whoever connects once a day waits for the registry.
pub const CACHE_TTL: Duration = Duration::from_secs(24 * 3600);
/// How young a cached answer must be for the registry not to be asked again. Longer: a node that has just registered is
/// not considered; shorter: a script that connects in a loop asks the registry each time.
pub const CACHE_REFRESH: Duration = Duration::from_secs(10);
/// Most bytes of all cached answers together: a hundred catalogs of a thousand nodes each.
pub const CACHE_SIZE: u64 = 64 << 20;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A command line flag.
    Flag(&'static str),
    /// An environment variable.
    Environment(&'static str),
    /// The settings file.
    File {
        /// Its path.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// Nobody set it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(formatter, "flag {name}"),
            Self::Environment(name) => write!(formatter, "environment {name}"),
            Self::File { path, line } => write!(formatter, "{}:{line}", path.display()),
            Self::Default => formatter.write_str("default"),
        }
    }
}

/// A value and its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value<T> {
    /// The value in force.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

impl<T> Value<T> {
    /// The same, unless a flag of a subcommand says otherwise.
    #[must_use]
    pub fn or_flag(self, given: Option<T>, name: &'static str) -> Self {
        given.map_or(self, |value| Self { value, origin: Origin::Flag(name) })
    }
}

/// All settings, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The settings file; it need not exist.
    pub file: Value<PathBuf>,
    /// Name of the context in force.
    pub context: Value<String>,
    /// Catalog URIs; empty means the private node of this machine (`local:`).
    pub catalogs: Value<Vec<String>>,
    /// Regions to choose from; empty means all.
    pub region: Value<Vec<String>>,
    /// Median round trip at most.
    pub max_latency: Value<Option<Duration>>,
    /// How nodes are ordered.
    pub strategy: Value<Strategy>,
    /// File with the fleet's public key, beside those that `cbrowse trust add` keeps.
    pub fleet_key: Value<Option<PathBuf>>,
    /// How old an answer `connect` may start from; 0: it always waits for the registry.
    pub cache_ttl: Value<Duration>,
    /// An answer younger than this is not asked for again by `connect`; 0: it is always asked for.
    pub cache_refresh: Value<Duration>,
    /// Most bytes of the directory of answers; 0: none are kept or used.
    pub cache_size: Value<u64>,
    /// Whom a choice probes.
    pub probing: Value<Probing>,
    /// Bytes a second at which profiles go to nodes; as fast as the link without.
    pub limit_rate: Value<Option<u64>>,
}

/// What the global flags say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
    /// `--catalog`, repeated.
    pub catalogs: Vec<String>,
    /// `--cache-ttl`.
    pub cache_ttl: Option<Duration>,
    /// `--cache-refresh`.
    pub cache_refresh: Option<Duration>,
    /// `--cache-size`.
    pub cache_size: Option<u64>,
}

/// A setting's names: in the file, and in the environment.
struct Name {
    variable: &'static str,
    key: &'static str,
}

const CONFIG: &str = "CBROWSE_CONFIG";
const CONTEXT: &str = "CBROWSE_CONTEXT";
const CATALOG: Name = Name { variable: "CBROWSE_CATALOG", key: "catalog" };
const REGION: Name = Name { variable: "CBROWSE_REGION", key: "region" };
const MAX_LATENCY: Name = Name { variable: "CBROWSE_MAX_LATENCY", key: "max_latency" };
const STRATEGY: Name = Name { variable: "CBROWSE_STRATEGY", key: "strategy" };
const CACHE_TTL_NAME: Name = Name { variable: "CBROWSE_CACHE_TTL", key: "cache_ttl" };
const CACHE_REFRESH_NAME: Name = Name { variable: "CBROWSE_CACHE_REFRESH", key: "cache_refresh" };
const CACHE_SIZE_NAME: Name = Name { variable: "CBROWSE_CACHE_SIZE", key: "cache_size" };
const PROBING: Name = Name { variable: "CBROWSE_PROBING", key: "probing" };
const LIMIT_RATE: Name = Name { variable: "CBROWSE_LIMIT_RATE", key: "limit_rate" };
const FLEET_KEY: Name = Name { variable: "CBROWSE_FLEET_KEY", key: "fleet_key" };

/// The process's variables, or a test's.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Settings {
    /// Resolves everything. `default_file` is read when neither flag nor environment name another, if it exists.
    pub fn resolve(
        flags: &Flags,
        environment: Environment<'_>,
        default_file: &Path,
    ) -> Result<Self, Failure> {
        let file = locate(flags, environment, default_file);
        let must_exist = file.origin != Origin::Default;
        let content = SettingsFile::read(&file.value, must_exist)?;
        let context = context_name(flags, environment, &content, &file.value);
        let section = section(&content, &context, &file.value)?;
        let resolver = Resolver { environment, path: &file.value };
        let catalogs = resolver.catalogs(&flags.catalogs, section);
        Ok(Self {
            catalogs,
            region: resolver.list(&REGION, section.and_then(|section| section.region.as_ref())),
            max_latency: resolver.one(
                &MAX_LATENCY,
                section.and_then(|s| s.max_latency.as_ref()),
                None,
                |text| parse_duration(text).map(Some),
            )?,
            strategy: resolver.one(
                &STRATEGY,
                section.and_then(|section| section.strategy.as_ref()),
                Strategy::default(),
                str::parse,
            )?,
            fleet_key: resolver.path(&FLEET_KEY, section.and_then(|section| section.fleet_key.as_ref())),
            cache_ttl: resolver
                .one(&CACHE_TTL_NAME, section.and_then(|s| s.cache_ttl.as_ref()), CACHE_TTL, parse_age)?
                .or_flag(flags.cache_ttl, "--cache-ttl"),
            cache_refresh: resolver
                .one(
                    &CACHE_REFRESH_NAME,
                    section.and_then(|s| s.cache_refresh.as_ref()),
                    CACHE_REFRESH,
                    parse_age,
                )?
                .or_flag(flags.cache_refresh, "--cache-refresh"),
            cache_size: resolver
                .one(&CACHE_SIZE_NAME, section.and_then(|s| s.cache_size.as_ref()), CACHE_SIZE, parse_size)?
                .or_flag(flags.cache_size, "--cache-size"),
            probing: resolver.one(
                &PROBING,
                section.and_then(|section| section.probing.as_ref()),
                Probing::default(),
                str::parse,
            )?,
            limit_rate: resolver.one(
                &LIMIT_RATE,
                section.and_then(|section| section.limit_rate.as_ref()),
                None,
                parse_rate,
            )?,
            file,
            context,
        })
    }

    /// All settings as `config show` lists them: name, value, origin.
    pub fn list(&self) -> Vec<(&'static str, Json, &Origin)> {
        let latency = self.max_latency.value.map(duration::format_duration);
        vec![
            ("config", json!(self.file.value), &self.file.origin),
            ("context", json!(self.context.value), &self.context.origin),
            ("catalog", json!(self.catalogs.value), &self.catalogs.origin),
            ("region", json!(self.region.value), &self.region.origin),
            ("max_latency", json!(latency), &self.max_latency.origin),
            ("strategy", json!(self.strategy.value.to_string()), &self.strategy.origin),
            ("fleet_key", json!(self.fleet_key.value), &self.fleet_key.origin),
            ("cache_ttl", json!(duration::format_age(self.cache_ttl.value)), &self.cache_ttl.origin),
            (
                "cache_refresh",
                json!(duration::format_age(self.cache_refresh.value)),
                &self.cache_refresh.origin,
            ),
            ("cache_size", json!(size::format_size(self.cache_size.value)), &self.cache_size.origin),
            ("probing", json!(self.probing.value.to_string()), &self.probing.origin),
            ("limit_rate", json!(self.limit_rate.value.map(size::format_size)), &self.limit_rate.origin),
        ]
    }
}

/// Splits a list in a variable at white space and commas.
pub fn split_list(text: &str) -> Vec<String> {
    text.split([' ', '\t', '\n', '\r', ',']).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// Schemes of catalogs: a comma before one ends the catalog before it, any other stands between two hosts of one.
const SCHEMES: [&str; 6] = ["consul:", "dns+srv:", "etcd:", "nacos:", "file:", "local:"];

/// Splits a list of catalogs in a variable at white space, and at commas unless a host follows.
pub fn split_catalogs(text: &str) -> Vec<String> {
    let mut catalogs: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let mut begins = true;
        for piece in word.split(',').filter(|piece| !piece.is_empty()) {
            begins |= SCHEMES.iter().any(|scheme| piece.starts_with(scheme));
            match catalogs.last_mut().filter(|_| !begins) {
                Some(catalog) => *catalog = format!("{catalog},{piece}"),
                None => catalogs.push(piece.to_owned()),
            }
            begins = false;
        }
    }
    catalogs
}

fn locate(flags: &Flags, environment: Environment<'_>, default_file: &Path) -> Value<PathBuf> {
    if let Some(path) = &flags.config {
        return Value { value: path.clone(), origin: Origin::Flag("--config") };
    }
    match environment(CONFIG).filter(|path| !path.is_empty()) {
        Some(path) => Value { value: path.into(), origin: Origin::Environment(CONFIG) },
        None => Value { value: default_file.to_owned(), origin: Origin::Default },
    }
}

fn context_name(
    flags: &Flags,
    environment: Environment<'_>,
    content: &SettingsFile,
    path: &Path,
) -> Value<String> {
    if let Some(name) = &flags.context {
        return Value { value: name.clone(), origin: Origin::Flag("--context") };
    }
    if let Some(name) = environment(CONTEXT).filter(|name| !name.is_empty()) {
        return Value { value: name, origin: Origin::Environment(CONTEXT) };
    }
    if let Some(Located { value, line }) = &content.default_context {
        return Value { value: value.clone(), origin: Origin::File { path: path.to_owned(), line: *line } };
    }
    Value { value: DEFAULT_CONTEXT.to_owned(), origin: Origin::Default }
}

/// The section of the context in force. The default one need not exist.
fn section<'a>(
    content: &'a SettingsFile,
    context: &Value<String>,
    path: &Path,
) -> Result<Option<&'a ContextFile>, Failure> {
    let found = content.contexts.get(&context.value);
    if found.is_some() || context.origin == Origin::Default {
        return Ok(found);
    }
    let known: Vec<&str> = content.contexts.keys().map(String::as_str).collect();
    let message = format!("context {:?} ({}) is not in {}", context.value, context.origin, path.display());
    let hint = if known.is_empty() {
        format!("add a section [context.{}] with its catalog there", context.value)
    } else {
        format!("contexts there: {}", known.join(", "))
    };
    Err(Failure::new(Exit::Configuration, "unknown_context", message)
        .hint(hint)
        .details(json!({"context": context.value, "known": known})))
}

/// Environment over file over default, for one setting at a time.
struct Resolver<'a> {
    environment: Environment<'a>,
    path: &'a Path,
}

impl Resolver<'_> {
    fn variable(&self, name: &Name) -> Option<(String, Origin)> {
        let text = (self.environment)(name.variable).filter(|text| !text.trim().is_empty())?;
        Some((text, Origin::Environment(name.variable)))
    }

    fn at(&self, line: usize) -> Origin {
        Origin::File { path: self.path.to_owned(), line }
    }

    fn list(&self, name: &Name, in_file: Option<&Located<Vec<String>>>) -> Value<Vec<String>> {
        if let Some((text, origin)) = self.variable(name) {
            return Value { value: split_list(&text), origin };
        }
        match in_file {
            Some(Located { value, line }) => Value { value: value.clone(), origin: self.at(*line) },
            None => Value { value: Vec::new(), origin: Origin::Default },
        }
    }

    fn catalogs(&self, flags: &[String], section: Option<&ContextFile>) -> Value<Vec<String>> {
        if !flags.is_empty() {
            return Value { value: flags.to_vec(), origin: Origin::Flag("--catalog") };
        }
        if let Some((text, origin)) = self.variable(&CATALOG) {
            return Value { value: split_catalogs(&text), origin };
        }
        let mut catalogs = self.list(&CATALOG, section.and_then(|section| section.catalog.as_ref()));
        if matches!(catalogs.origin, Origin::File { .. }) {
            for catalog in &mut catalogs.value {
                self.anchor(catalog);
            }
        }
        catalogs
    }

    /// A relative file in the settings file is meant from there, not from wherever the command runs.
    fn anchor(&self, catalog: &mut String) {
        if let Some(path) = catalog.strip_prefix("file:").filter(|path| Path::new(path).is_relative()) {
            *catalog = format!("file:{}", self.beside(Path::new(path)).display());
        }
    }

    fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().map_or_else(|| path.to_owned(), |directory| directory.join(path))
    }

    fn path(&self, name: &Name, in_file: Option<&Located<String>>) -> Value<Option<PathBuf>> {
        if let Some((text, origin)) = self.variable(name) {
            return Value { value: Some(text.into()), origin };
        }
        match in_file {
            Some(Located { value, line }) => {
                Value { value: Some(self.beside(Path::new(value))), origin: self.at(*line) }
            }
            None => Value { value: None, origin: Origin::Default },
        }
    }

    fn one<T>(
        &self,
        name: &Name,
        in_file: Option<&Located<String>>,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Value<T>, Failure> {
        let (text, origin) = match (self.variable(name), in_file) {
            (Some(set), _) => set,
            (None, Some(Located { value, line })) => (value.clone(), self.at(*line)),
            (None, None) => return Ok(Value { value: default, origin: Origin::Default }),
        };
        match parse(text.trim()) {
            Ok(value) => Ok(Value { value, origin }),
            Err(why) => Err(invalid(name.key, &origin, &why)),
        }
    }
}

fn invalid(key: &str, origin: &Origin, why: &str) -> Failure {
    Failure::new(Exit::Configuration, "invalid_setting", format!("{origin}: {key}: {why}"))
        .hint("correct it, or see what is in force with: cbrowse config show --origin")
        .details(json!({"key": key, "origin": origin.to_string()}))
}

#[cfg(test)]
mod tests;
