use super::*;

const FILE: &str = "\
default_context = \"work\"
[context.work]
catalog = [\"consul://a\", \"file:nodes.toml\"]
region = \"eu-central\"
max_latency = \"80ms\"
fleet_key = \"keys/work\"
[context.home]
catalog = \"file:/etc/nodes.toml\"
strategy = \"latency\"
";

fn resolve(flags: &Flags, environment: &[(&str, &str)], text: &str) -> Result<Settings, Failure> {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.toml");
    std::fs::write(&path, text).expect("written");
    let variable =
        |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, v)| (*v).to_owned());
    let mut settings = Settings::resolve(flags, &variable, &path)?;
    // The directory's name is random.
    let short = |text: &str| text.replace(&directory.path().display().to_string(), "/x");
    settings.catalogs.value = settings.catalogs.value.iter().map(|catalog| short(catalog)).collect();
    settings.fleet_key.value = settings.fleet_key.value.map(|path| short(&path.display().to_string()).into());
    Ok(settings)
}

fn origin_line(origin: &Origin) -> Option<usize> {
    match origin {
        Origin::File { line, .. } => Some(*line),
        _ => None,
    }
}

#[test]
fn without_anything_the_defaults_hold() {
    let settings = resolve(&Flags::default(), &[], "").expect("defaults");
    assert_eq!(settings.context.value, DEFAULT_CONTEXT);
    assert!(settings.catalogs.value.is_empty());
    assert_eq!(settings.strategy.value, Strategy::Responsive);
    let origins = settings.list();
    assert!(origins.iter().all(|(_, _, origin)| **origin == Origin::Default), "{origins:?}");
}

#[test]
fn the_file_gives_values_with_lines_and_relative_paths_from_there() {
    let settings = resolve(&Flags::default(), &[], FILE).expect("valid");
    assert_eq!(settings.context.value, "work");
    assert_eq!(settings.catalogs.value, ["consul://a", "file:/x/nodes.toml"]);
    assert_eq!(origin_line(&settings.catalogs.origin), Some(3));
    assert_eq!(settings.region.value, ["eu-central"]);
    assert_eq!(settings.max_latency.value, Some(Duration::from_millis(80)));
    assert_eq!(settings.fleet_key.value, Some("/x/keys/work".into()));
}

#[test]
fn environment_beats_file_and_flags_beat_both() {
    let environment =
        [("CBROWSE_CATALOG", "consul://b, dns+srv://c\n file:d"), ("CBROWSE_MAX_LATENCY", "20")];
    let settings = resolve(&Flags::default(), &environment, FILE).expect("valid");
    assert_eq!(settings.catalogs.value, ["consul://b", "dns+srv://c", "file:d"]);
    assert_eq!(settings.catalogs.origin, Origin::Environment("CBROWSE_CATALOG"));
    assert_eq!(settings.max_latency.value, Some(Duration::from_millis(20)));
    let flags = Flags { catalogs: vec!["local:".into()], context: Some("home".into()), ..Flags::default() };
    let settings = resolve(&flags, &environment, FILE).expect("valid");
    assert_eq!(settings.catalogs.value, ["local:"]);
    assert_eq!(settings.catalogs.origin, Origin::Flag("--catalog"));
    assert_eq!(settings.strategy.value, Strategy::Latency);
    assert_eq!(settings.region.value, Vec::<String>::new());
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let settings = resolve(&Flags::default(), &[("CBROWSE_CATALOG", " "), ("CBROWSE_CONTEXT", "")], FILE)
        .expect("valid");
    assert_eq!(settings.catalogs.value.len(), 2);
}

#[test]
fn an_unknown_context_lists_those_there_are() {
    let flags = Flags { context: Some("wrok".into()), ..Flags::default() };
    let failure = resolve(&flags, &[], FILE).expect_err("unknown");
    assert_eq!((failure.exit, failure.code), (Exit::Configuration, "unknown_context"));
    assert!(failure.message.contains("\"wrok\" (flag --context)"), "{}", failure.message);
    assert_eq!(failure.hint.as_deref(), Some("contexts there: home, work"));
    let failure = resolve(&Flags::default(), &[("CBROWSE_CONTEXT", "x")], "").expect_err("unknown");
    assert!(failure.message.contains("environment CBROWSE_CONTEXT"), "{}", failure.message);
}

#[test]
fn a_bad_value_names_its_origin() {
    let failure = resolve(&Flags::default(), &[("CBROWSE_STRATEGY", "best")], FILE).expect_err("bad");
    assert_eq!((failure.exit, failure.code), (Exit::Configuration, "invalid_setting"));
    assert!(failure.message.contains("CBROWSE_STRATEGY: strategy: \"best\""), "{}", failure.message);
    assert!(failure.message.contains("responsive, latency, random"), "{}", failure.message);
    let text = "[context.default]\n\nmax_latency = \"soon\"\n";
    let failure = resolve(&Flags::default(), &[], text).expect_err("bad");
    assert!(failure.message.contains("config.toml:3: max_latency: \"soon\""), "{}", failure.message);
}

#[test]
fn the_cache_is_set_like_everything_else() {
    let text = "[context.default]\ncache_ttl = \"2h\"\ncache_size = \"1MiB\"\n";
    let environment = [("CBROWSE_CACHE_TTL", "0"), ("CBROWSE_CACHE_REFRESH", "1m")];
    let flags = Flags { cache_refresh: Some(Duration::from_secs(5)), ..Flags::default() };
    let settings = resolve(&flags, &environment, text).expect("valid");
    assert_eq!((settings.cache_ttl.value, settings.cache_size.value), (Duration::ZERO, 1 << 20));
    assert_eq!(settings.cache_refresh.value, Duration::from_secs(5));
    assert_eq!(settings.cache_refresh.origin, Origin::Flag("--cache-refresh"));
    assert_eq!(origin_line(&settings.cache_size.origin), Some(3));
    let failure = resolve(&Flags::default(), &[("CBROWSE_CACHE_SIZE", "much")], "").expect_err("bad");
    assert!(failure.message.contains("CBROWSE_CACHE_SIZE: cache_size: \"much\""), "{}", failure.message);
}
