//! What nodes are like: the flags by which `nodes list`, `nodes watch`, `nodes probe` and `connect` narrow a catalog.

use std::collections::BTreeSet;

use cbrowse_protocol::node::{Health, NodeRecord};
use cbrowse_registry::{Query, VersionRange};
use clap::ValueEnum;
use clap_complete::ArgValueCompleter;
use serde_json::json;

use super::{complete, filter::shorten};
use crate::{
    failure::{Exit, Failure},
    select,
};

/// Traits of nodes, as the catalogs tell them.
#[derive(Debug, Clone, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Choice")]
pub struct Traits {
    /// Only nodes in this region; several may be named (CBROWSE_REGION, where a node is chosen).
    #[arg(long = "region", short, value_name = "REGION", add = ArgValueCompleter::new(complete::regions))]
    pub regions: Vec<String>,
    /// Only nodes in this zone; several may be named.
    #[arg(long = "zone", value_name = "ZONE", add = ArgValueCompleter::new(complete::zones))]
    pub zones: Vec<String>,
    /// Only nodes with this tag; of several, all.
    #[arg(long = "tag", value_name = "TAG", add = ArgValueCompleter::new(complete::tags))]
    pub tags: Vec<String>,
    /// Only nodes whose cbrowse-node is in this range, such as '>=0.2, <1' or '^0.3'.
    #[arg(
        long = "version",
        alias = "node-version",
        id = "version_range",
        value_name = "RANGE",
        add = ArgValueCompleter::new(complete::versions)
    )]
    pub version: Option<VersionRange>,
    /// Only nodes with this metadata; of several, all.
    #[arg(
        long = "meta",
        value_name = "KEY=VALUE",
        value_parser = parse_meta,
        add = ArgValueCompleter::new(complete::meta)
    )]
    pub meta: Vec<(String, String)>,
    /// Only nodes of this health; passing and warning unless given.
    #[arg(long = "health", value_enum, value_name = "HEALTH", value_delimiter = ',')]
    pub health: Vec<HealthChoice>,
}

/// What `--health` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HealthChoice {
    /// Serves.
    Passing,
    /// Serves, but is short of something.
    Warning,
    /// Does not serve, or is in maintenance.
    Critical,
    /// Every node that is registered.
    All,
}

impl HealthChoice {
    fn healths(self) -> &'static [Health] {
        match self {
            Self::Passing => &[Health::Passing],
            Self::Warning => &[Health::Warning],
            Self::Critical => &[Health::Critical],
            Self::All => &Health::ALL,
        }
    }
}

fn parse_meta(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = pair.ok_or_else(|| format!("{text:?} is not KEY=VALUE, such as rack=r1"))?;
    Ok((key.to_owned(), value.to_owned()))
}

impl Traits {
    /// Whether any of them is asked for.
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }

    /// The healths asked for; `None` leaves it to the default.
    pub fn healths(&self) -> Option<BTreeSet<Health>> {
        let healths: BTreeSet<Health> =
            self.health.iter().flat_map(|choice| choice.healths()).copied().collect();
        Some(healths).filter(|healths| !healths.is_empty())
    }

    /// As a question to registries.
    pub fn query(&self) -> Query {
        let whole = Query::default();
        Query {
            regions: self.regions.clone(),
            zones: self.zones.clone(),
            tags: self.tags.clone(),
            version: self.version.clone(),
            meta: self.meta.clone(),
            health: self.healths().unwrap_or(whole.health),
        }
    }

    /// What is asked to explain an empty answer.
    pub fn query_for_all(&self) -> Query {
        if self.health.is_empty() { Query::default() } else { Query::of_all() }
    }

    /// Names that no node of an answer bears, although it is not empty.
    pub fn missing<'a>(&'a self, nodes: &[NodeRecord]) -> impl Iterator<Item = String> + 'a {
        let found: BTreeSet<String> = nodes.iter().map(|node| node.region.clone()).collect();
        let zones: BTreeSet<String> = nodes.iter().map(|node| node.zone.clone()).collect();
        let regions = self.regions.iter().filter(move |region| !found.contains(*region));
        let zones = self.zones.iter().filter(move |zone| !zones.contains(*zone));
        regions.map(|region| format!("region {region:?}")).chain(zones.map(|zone| format!("zone {zone:?}")))
    }

    /// Why no node of `nodes`, which are all there are, meets these traits: a name that none of them bears is refused,
    /// beside those that there are; else the reason in words.
    pub fn explain_emptiness(&self, nodes: &[NodeRecord]) -> Result<String, Failure> {
        if nodes.is_empty() {
            return Ok("The catalog holds no node.".to_owned());
        }
        let regions = select::regions(nodes);
        let zones = distinct(nodes.iter().map(|node| node.zone.as_str()));
        let tags = distinct(nodes.iter().flat_map(|node| &node.tags).map(String::as_str));
        let pairs: Vec<String> = nodes
            .iter()
            .flat_map(|node| &node.meta)
            .filter(|(key, _)| self.meta.iter().any(|(wanted, _)| wanted == *key))
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let pairs = distinct(pairs.iter().map(String::as_str));
        let wanted_pairs: Vec<String> =
            self.meta.iter().map(|(key, value)| format!("{key}={value}")).collect();
        for (kind, plural, wanted, known, all) in [
            ("region", "regions", &self.regions, &regions, false),
            ("zone", "zones", &self.zones, &zones, false),
            ("tag", "tags", &self.tags, &tags, true),
            ("meta", "such metadata", &wanted_pairs, &pairs, true),
        ] {
            let unknown: Vec<&String> =
                wanted.iter().filter(|name| !known.contains(&name.as_str())).collect();
            if !unknown.is_empty() && (all || unknown.len() == wanted.len()) {
                return Err(nobody_has(kind, plural, unknown[0], known));
            }
        }
        let versions = distinct(nodes.iter().map(|node| node.version.as_str()));
        let healths = self.query().health;
        if !nodes.iter().any(|node| healths.contains(&node.health)) {
            let wanted: Vec<String> = healths.iter().map(ToString::to_string).collect();
            return Ok(format!("None of {} nodes is {}.", nodes.len(), wanted.join(" or ")));
        }
        Ok(match &self.version {
            Some(range) if !nodes.iter().any(|node| range.admits(&node.version)) => {
                format!("No node is of version {range}; there are: {}.", shorten(&versions))
            }
            _ => format!("None of {} nodes has all of the traits that are asked for.", nodes.len()),
        })
    }
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let names: BTreeSet<&str> = names.filter(|name| !name.is_empty()).collect();
    names.into_iter().collect()
}

fn nobody_has(kind: &'static str, plural: &str, wanted: &str, known: &[&str]) -> Failure {
    let (code, message) = match kind {
        "region" => ("unknown_region", format!("no node is in region {wanted:?}")),
        "zone" => ("unknown_zone", format!("no node is in zone {wanted:?}")),
        "tag" => ("unknown_tag", format!("no node has the tag {wanted:?}")),
        _ => ("unknown_meta", format!("no node has the metadata {wanted:?}")),
    };
    let hint = if known.is_empty() {
        format!("the catalog names no {plural}")
    } else {
        format!("{plural} in the catalog: {}", shorten(known))
    };
    Failure::new(Exit::NoEligibleNode, code, message)
        .hint(hint)
        .details(json!({kind: wanted, "known": known}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, region: &str, zone: &str) -> NodeRecord {
        let record = serde_json::json!({"id": id, "address": "192.0.2.1", "port": 1, "region": region, "zone": zone,
            "tags": ["gpu"], "version": "0.2.0", "meta": {"rack": "r1"}});
        serde_json::from_value(record).expect("a record")
    }

    fn explain(change: impl FnOnce(&mut Traits)) -> Result<String, (&'static str, String)> {
        let mut traits = Traits::default();
        change(&mut traits);
        let nodes = [node("a", "eu", "eu-1"), node("b", "us", "us-1")];
        traits.explain_emptiness(&nodes).map_err(|failure| (failure.code, failure.hint.unwrap_or_default()))
    }

    #[test]
    fn a_name_that_nobody_bears_is_refused_beside_those_that_there_are() {
        let text = |text: &str| text.to_owned();
        for (change, code, hint) in [
            (
                Box::new(|traits: &mut Traits| traits.regions = vec!["mars".into()])
                    as Box<dyn FnOnce(&mut Traits)>,
                "unknown_region",
                "regions in the catalog: eu, us",
            ),
            (
                Box::new(|traits| traits.zones = vec!["x".into(), "y".into()]),
                "unknown_zone",
                "zones in the catalog: eu-1, us-1",
            ),
            (
                Box::new(|traits| traits.tags = vec!["gpu".into(), "fast".into()]),
                "unknown_tag",
                "tags in the catalog: gpu",
            ),
            (
                Box::new(|traits| traits.meta = vec![("rack".into(), "r2".into())]),
                "unknown_meta",
                "such metadata in the catalog: rack=r1",
            ),
        ] {
            assert_eq!(explain(change), Err((code, text(hint))));
        }
    }

    #[test]
    fn traits_that_exist_but_not_together_are_no_error() {
        let both = |traits: &mut Traits| {
            (traits.regions, traits.zones) = (vec!["eu".into(), "mars".into()], vec!["us-1".into()]);
        };
        assert!(explain(both).is_ok_and(|text| text.contains("None of 2 nodes")));
        let newer = |traits: &mut Traits| traits.version = Some(">=9".parse().expect("a range"));
        assert!(explain(newer).is_ok_and(|text| text.contains("0.2.0")));
        let ill = |traits: &mut Traits| traits.health = vec![HealthChoice::Critical];
        assert_eq!(explain(ill), Ok("None of 2 nodes is critical.".into()));
    }

    #[test]
    fn healths_add_up_and_all_is_all() {
        let query = |health: &[HealthChoice]| Traits { health: health.to_vec(), ..Traits::default() }.query();
        assert_eq!(query(&[]), Query::default());
        assert_eq!(query(&[HealthChoice::Critical]).health, [Health::Critical].into());
        assert_eq!(query(&[HealthChoice::All, HealthChoice::Passing]), Query::of_all());
        assert_eq!(parse_meta("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(parse_meta("=b").is_err() && parse_meta("a").is_err());
    }
}
