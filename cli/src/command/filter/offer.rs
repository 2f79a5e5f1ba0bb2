//! What there is, for whoever asked for what there is not: of each filter that alone stands in the way, the values that
//! the catalog holds.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::shorten;
use crate::{
    probe::Probed,
    select::{Choice, Reason, place::COUNTRY_KEY},
};

/// Filters of which the values are listed, in the order in which they are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Region,
    Zone,
    Tag,
    Meta,
    Version,
    Health,
    Node,
    Country,
    Distance,
    Latency,
}

impl Kind {
    fn of(reason: &Reason) -> Option<Self> {
        Some(match reason {
            Reason::Region { .. } => Self::Region,
            Reason::Zone { .. } => Self::Zone,
            Reason::Tag(_) => Self::Tag,
            Reason::Meta { .. } => Self::Meta,
            Reason::VersionRange { .. } | Reason::Version { .. } => Self::Version,
            Reason::Health { .. } => Self::Health,
            Reason::NotAsked => Self::Node,
            Reason::Country { .. } => Self::Country,
            Reason::Distance { .. } => Self::Distance,
            Reason::TooFar { .. } => Self::Latency,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::Zone => "zone",
            Self::Tag => "tag",
            Self::Meta => "meta",
            Self::Version => "version",
            Self::Health => "health",
            Self::Node => "node",
            Self::Country => "country",
            Self::Distance => "distance",
            Self::Latency => "max_latency",
        }
    }

    /// What to ask for instead, when these are the values that there are.
    fn wish(self, values: &[String]) -> String {
        let least = values.first().map_or("", String::as_str);
        match self {
            Self::Latency => format!("a --max-latency above {least}"),
            Self::Distance => format!("a --within above {least}"),
            _ => {
                let values: Vec<&str> = values.iter().map(String::as_str).collect();
                format!("--{} {}", self.name(), shorten(&values))
            }
        }
    }

    /// What a node has to offer instead; texts that passed the catalog's screen.
    fn values(self, node: &Probed, reasons: &[Reason]) -> Vec<String> {
        let record = &node.record;
        // By its own word where it is known, as it was judged.
        let (zone, tags, version) = node.live.status().map_or_else(
            || (&record.zone, &record.tags, &record.version),
            |status| (&status.zone, &status.tags, &status.version),
        );
        match self {
            Self::Region => vec![node.region().to_owned()],
            Self::Zone => vec![zone.clone()],
            Self::Tag => tags.clone(),
            Self::Meta => reasons
                .iter()
                .filter_map(|reason| match reason {
                    Reason::Meta { key, is: Some(is), .. } => Some(format!("{key}={is}")),
                    _ => None,
                })
                .collect(),
            Self::Version => vec![version.clone()],
            Self::Health => vec![record.health.to_string()],
            Self::Node => vec![record.id.to_string()],
            Self::Country => record.meta.get(COUNTRY_KEY).cloned().into_iter().collect(),
            Self::Distance => reasons
                .iter()
                .filter_map(|reason| match reason {
                    Reason::Distance { is: Some(km), .. } => Some(format!("{:>8.0} km", km.ceil())),
                    _ => None,
                })
                .collect(),
            Self::Latency => node.rtt.map(|rtt| milliseconds(rtt.p50)).into_iter().collect(),
        }
    }
}

/// Padded, so that the order of the texts is that of the numbers.
fn milliseconds(rtt: Duration) -> String {
    format!("{:>8.1} ms", rtt.as_secs_f64() * 1e3)
}

/// Values by filter, of nodes that meet everything but that filter.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Offer(BTreeMap<Kind, Vec<String>>);

impl Offer {
    /// From the reasons against each node.
    pub(super) fn of(nodes: &[Probed], choice: &Choice) -> Self {
        let mut offer = BTreeMap::<Kind, Vec<String>>::new();
        for (node, verdict) in nodes.iter().zip(&choice.verdicts) {
            let mut kinds = verdict.reasons().iter().map(Kind::of);
            let Some(Some(first)) = kinds.next() else { continue };
            if kinds.all(|kind| kind == Some(first)) {
                offer.entry(first).or_default().extend(first.values(node, verdict.reasons()));
            }
        }
        for values in offer.values_mut() {
            values.retain(|value| !value.is_empty());
            values.sort();
            values.dedup();
            for value in values.iter_mut() {
                *value = value.trim_start().to_owned();
            }
        }
        offer.retain(|_, values| !values.is_empty());
        Self(offer)
    }

    /// In words, as what to ask for; `None` where no single filter is to blame.
    pub(super) fn in_words(&self) -> Option<String> {
        let wishes: Vec<String> = self.0.iter().map(|(kind, values)| kind.wish(values)).collect();
        (!wishes.is_empty()).then(|| format!("{} (every other wish is met there)", wishes.join("; or ")))
    }

    /// For programs.
    pub(super) fn document(&self) -> Value {
        self.0
            .iter()
            .map(|(kind, values)| (kind.name().to_owned(), json!(values)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use cbrowse_protocol::node::NodeRecord;

    use super::*;
    use crate::select::{Around, Constraints, judge};

    fn node(id: &str, region: &str, zone: &str, version: &str) -> Probed {
        let record: NodeRecord = serde_json::from_value(json!({
            "id": id, "address": "192.0.2.1", "port": 1, "region": region, "zone": zone, "version": version,
            "tags": [format!("tag-{id}")],
            "meta": {"rack": format!("r-{id}"), "country": region.to_uppercase(), "location": "50,8"},
        }))
        .expect("a record");
        Probed::unprobed(record)
    }

    fn offer(change: impl FnOnce(&mut Constraints)) -> Value {
        let nodes = [
            node("a", "eu", "eu-1", "0.2.0"),
            node("b", "eu", "eu-2", "0.3.0"),
            node("c", "us", "us-1", "0.3.0"),
        ];
        let mut constraints = Constraints::default();
        change(&mut constraints);
        let verdicts = nodes.iter().map(|node| judge(node, &constraints)).collect();
        let choice =
            Choice { verdicts, order: Vec::new(), scores: vec![None; nodes.len()], band: 0, stayed: None };
        Offer::of(&nodes, &choice).document()
    }

    #[test]
    fn of_each_filter_that_alone_stands_in_the_way_the_values_are_listed() {
        let tags = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            offer(|wanted| wanted.tags = tags(&["fast"])),
            json!({"tag": ["tag-a", "tag-b", "tag-c"]})
        );
        // Each exists, and not together: either would do without the other.
        let both = |wanted: &mut Constraints| {
            (wanted.regions, wanted.zones) = (tags(&["eu"]), tags(&["us-1"]));
        };
        assert_eq!(offer(both), json!({"region": ["us"], "zone": ["eu-1", "eu-2"]}));
        let range = |wanted: &mut Constraints| {
            (wanted.version, wanted.min_version) =
                (Some("<0.3".parse().expect("a range")), Some("0.3.0".into()));
        };
        assert_eq!(offer(range), json!({"version": ["0.2.0", "0.3.0"]}));
        let meta = |wanted: &mut Constraints| wanted.meta = vec![("rack".into(), "x".into())];
        assert_eq!(offer(meta), json!({"meta": ["rack=r-a", "rack=r-b", "rack=r-c"]}));
        let place = |wanted: &mut Constraints| wanted.countries = tags(&["FR"]);
        assert_eq!(offer(place), json!({"country": ["EU", "US"]}));
        let near = |wanted: &mut Constraints| {
            let center = "50,9".parse().expect("a location");
            wanted.around = Some(Around { center, radius_km: 10.0 });
        };
        assert_eq!(offer(near), json!({"distance": ["72 km"]}));
        // Two filters at once keep all of them out: no single one is to blame.
        let two = |wanted: &mut Constraints| {
            (wanted.tags, wanted.zones) = (tags(&["fast"]), tags(&["nowhere"]));
        };
        assert_eq!(offer(two), json!({}));
    }
    #[test]
    fn what_there_is_reads_as_what_to_type() {
        let words = |kind, values: &[&str]| {
            let values = values.iter().map(|value| (*value).to_owned()).collect();
            Offer(BTreeMap::from([(kind, values)])).in_words().expect("something")
        };
        assert_eq!(words(Kind::Tag, &["fast", "gpu"]), "--tag fast, gpu (every other wish is met there)");
        assert!(words(Kind::Latency, &["8.1 ms", "9.0 ms"]).starts_with("a --max-latency above 8.1 ms ("));
        assert_eq!(Offer::default().in_words(), None);
    }
}
