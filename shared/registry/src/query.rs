//! Which nodes are asked for. A registry that can filter does (Consul); [`Query::admits`] is the rule for the others,
//! and is applied after every registry, so that all of them mean the same.

use std::{collections::BTreeSet, fmt, str::FromStr};

use cbrowse_protocol::node::{Health, NodeRecord};
use semver::{Version, VersionReq};

/// Conditions that a node has to meet, all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// One of these; empty for any.
    pub regions: Vec<String>,
    /// One of these; empty for any.
    pub zones: Vec<String>,
    /// All of these.
    pub tags: Vec<String>,
    /// A range of versions of `cbrowse-node`; a node without a version meets none.
    pub version: Option<VersionRange>,
    /// All of these pairs.
    pub meta: Vec<(String, String)>,
    /// One of these.
    pub health: BTreeSet<Health>,
}

impl Default for Query {
    /// Every node that serves: passing or warning.
    fn default() -> Self {
        Self {
            regions: Vec::new(),
            zones: Vec::new(),
            tags: Vec::new(),
            version: None,
            meta: Vec::new(),
            health: [Health::Passing, Health::Warning].into(),
        }
    }
}

impl Query {
    /// Every node, those that do not serve too.
    pub fn of_all() -> Self {
        Self { health: Health::ALL.into(), ..Self::default() }
    }

    /// Whether `record` is asked for.
    pub fn admits(&self, record: &NodeRecord) -> bool {
        let one_of = |wanted: &[String], found: &String| wanted.is_empty() || wanted.contains(found);
        one_of(&self.regions, &record.region)
            && one_of(&self.zones, &record.zone)
            && self.tags.iter().all(|tag| record.tags.contains(tag))
            && self.version.as_ref().is_none_or(|range| range.admits(&record.version))
            && self.meta.iter().all(|(key, value)| record.meta.get(key) == Some(value))
            && self.health.contains(&record.health)
    }
}

impl fmt::Display for Query {
    /// One text a meaning, for the names of cached answers: `region=eu region=us health=passing`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut each = |name: &str, values: &[String]| {
            parts.extend(
                values.iter().collect::<BTreeSet<_>>().iter().map(|value| format!("{name}={value:?}")),
            );
        };
        each("region", &self.regions);
        each("zone", &self.zones);
        each("tag", &self.tags);
        each("meta", &self.meta.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>());
        parts.extend(self.version.iter().map(|range| format!("version={range}")));
        parts.extend(self.health.iter().map(|health| format!("health={health}")));
        formatter.write_str(&parts.join(" "))
    }
}

/// A range of versions as Cargo writes it (`>=1.2, <2`, `^1.2`, `1.*`), which a pre-release meets when the same range
/// without pre-releases would hold it: whoever runs one wants it to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionRange(VersionReq);

impl VersionRange {
    /// Whether `version` lies in the range; a text that is no version does not.
    pub fn admits(&self, version: &str) -> bool {
        let Ok(mut version) = Version::parse(version.trim_start_matches('v')) else { return false };
        self.0.matches(&version) || {
            version.pre = semver::Prerelease::EMPTY;
            self.0.matches(&version)
        }
    }
}

impl FromStr for VersionRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        VersionReq::parse(text).map(Self).map_err(|error| {
            format!("{text:?} is not a range of versions ({error}); for example \">=0.1.0, <0.3\"")
        })
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record() -> NodeRecord {
        serde_json::from_value(json!({
            "id": "n1", "address": "10.0.0.1", "port": 7443, "region": "eu", "zone": "eu-1", "version": "0.2.0",
            "tags": ["fast", "gpu"], "meta": {"rack": "r1"}
        }))
        .expect("a record")
    }

    #[test]
    fn every_condition_has_to_be_met() {
        let text = |text: &str| text.to_owned();
        for (meets, change) in [
            (true, Box::new(|_: &mut Query| {}) as Box<dyn Fn(&mut Query)>),
            (true, Box::new(|query| query.regions = vec![text("us"), text("eu")])),
            (false, Box::new(|query| query.regions = vec![text("us")])),
            (false, Box::new(|query| query.zones = vec![text("eu-2")])),
            (true, Box::new(|query| query.tags = vec![text("gpu"), text("fast")])),
            (false, Box::new(|query| query.tags = vec![text("gpu"), text("slow")])),
            (true, Box::new(|query| query.meta = vec![(text("rack"), text("r1"))])),
            (false, Box::new(|query| query.meta = vec![(text("rack"), text("r2"))])),
            (false, Box::new(|query| query.health = [Health::Critical].into())),
            (true, Box::new(|query| query.version = Some("^0.2".parse().unwrap()))),
            (false, Box::new(|query| query.version = Some(">=0.3".parse().unwrap()))),
        ] {
            let mut query = Query::default();
            change(&mut query);
            assert_eq!(query.admits(&record()), meets, "{query}");
        }
        let critical = NodeRecord { health: Health::Critical, ..record() };
        assert!(!Query::default().admits(&critical) && Query::of_all().admits(&critical));
    }

    #[test]
    fn versions_are_compared_as_versions() {
        let range: VersionRange = ">=1.2, <2".parse().unwrap();
        for (version, admitted) in [
            ("1.2.0", true),
            ("1.10.0", true),
            ("v1.2.0", true),
            ("1.2.0-rc.1", true),
            ("2.0.0", false),
            ("1.1.9", false),
            ("", false),
            ("latest", false),
        ] {
            assert_eq!(range.admits(version), admitted, "{version}");
        }
        let error = "newest".parse::<VersionRange>().unwrap_err();
        assert!(error.contains("newest") && error.contains(">=0.1.0"), "{error}");
    }

    #[test]
    fn one_text_a_meaning() {
        let regions = |regions: &[&str]| Query {
            regions: regions.iter().map(ToString::to_string).collect(),
            ..Query::default()
        };
        assert_eq!(regions(&["a", "b"]).to_string(), regions(&["b", "a", "a"]).to_string());
        assert_ne!(regions(&["a\" region=\"b"]).to_string(), regions(&["a", "b"]).to_string());
        assert_eq!(Query::default().to_string(), "health=passing health=warning");
    }
}
