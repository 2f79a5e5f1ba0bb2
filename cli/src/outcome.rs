//! What was measured and decided, a row a node: what `--json` prints (docs/json.md), what the tables and the plot are drawn
//! from, and what is kept of the last connect. Fields are added, never changed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    probe::{Live, Probed, Reach, Report, plan::band_top},
    select::{Choice, Reason, Strategy},
};

/// The outcome of probing and choosing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Chosen first, then the eligible in the order in which they would be asked, then the rejected, nearest first.
    pub nodes: Vec<Row>,
    /// Id of the chosen node.
    pub chosen: Option<String>,
    /// Whether echo requests could be sent.
    pub icmp: bool,
    /// From the first probe to the choice.
    pub elapsed_ms: f64,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// As its catalog calls it.
    pub id: String,
    /// Host name or address, as its catalog has it.
    pub address: String,
    /// Port.
    pub port: u16,
    /// Where it stands; may be empty.
    pub region: String,
    /// Round trips; null without an answer.
    pub rtt_ms: Option<RoundTrip>,
    /// Median absolute deviation of the round trips.
    pub jitter_ms: Option<f64>,
    /// Lost share of the probes, 0 to 1.
    pub loss: Option<f64>,
    /// Where the round trips come from: `probe`, or `history` where the node was not probed now.
    #[serde(default)]
    pub from: Option<String>,
    /// How old they are.
    #[serde(default)]
    pub age_s: Option<u64>,
    /// Probes whose fate is known.
    pub samples: Option<u32>,
    /// `icmp`, `tcp` or `icmp+tcp`.
    pub method: Option<String>,
    /// Its own word, 0 to 1; null where it was not asked.
    pub load: Option<f64>,
    /// Sessions that run there, by its own word.
    pub sessions: Option<u32>,
    /// Sessions that it admits, by its own word.
    pub capacity: Option<u32>,
    /// `trusted`, `first_use` or `refused`.
    pub trust: Option<String>,
    /// What the strategy orders by; less is better.
    pub score_ms: Option<f64>,
    /// The parts of the score, where it is a sum of these.
    #[serde(default)]
    pub score_parts_ms: Option<Parts>,
    /// Whether its round trip cannot be told from the best eligible one.
    #[serde(default)]
    pub in_band: bool,
    /// `eligible` or `rejected`.
    pub verdict: String,
    /// What an eligible node's verdict leaves open, in words.
    #[serde(default)]
    pub remark: Option<String>,
    /// Everything that speaks against it; empty for the eligible.
    pub reasons: Vec<Objection>,
}

/// Round trips of one node.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RoundTrip {
    /// Shortest.
    pub min: f64,
    /// Median.
    pub p50: f64,
}

/// What `responsive` adds up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    /// Median round trip.
    pub rtt: f64,
    /// Jitter.
    pub jitter: f64,
    /// What lost packets cost on average.
    pub resends: f64,
    /// The node's own work, longer under load.
    pub service: f64,
}

/// One thing that speaks against a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objection {
    /// Stable name.
    pub code: String,
    /// Which of several things that is, a stable name too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// In words for a person.
    pub message: String,
}

impl Document {
    /// Of a probing and the choice that was made after it.
    pub fn new(report: &Report, choice: &Choice, elapsed: Duration) -> Self {
        let band = band(report, choice);
        let row = |index| Row::new(report, choice, index, band);
        Self {
            nodes: best_first(report, choice).into_iter().map(row).collect(),
            chosen: choice.chosen().map(|index| report.nodes[index].record.id.to_string()),
            icmp: report.icmp,
            elapsed_ms: milliseconds(elapsed),
        }
    }
}

impl Document {
    /// From the best round trip that may be chosen to the longest that is as good, in milliseconds.
    pub fn band_ms(&self) -> Option<(f64, f64)> {
        let near = self.nodes.iter().filter(|row| row.in_band).filter_map(Row::p50);
        let best = near.min_by(f64::total_cmp)?;
        let top = band_top(Duration::try_from_secs_f64(best / 1e3).ok()?);
        Some((best, milliseconds(top)))
    }
}

impl Row {
    fn new(report: &Report, choice: &Choice, index: usize, band: Option<Duration>) -> Self {
        let node = &report.nodes[index];
        let verdict = &choice.verdicts[index];
        let (status, score) = (node.live.status(), choice.scores[index]);
        let is_near = |top: Duration| node.rtt.is_some_and(|rtt| rtt.p50 <= top);
        let objection = |reason: &Reason| Objection {
            code: reason.code().to_owned(),
            cause: reason.cause().map(str::to_owned),
            message: reason.to_string(),
        };
        Self {
            id: node.record.id.to_string(),
            address: node.record.address.clone(),
            port: node.record.port,
            region: node.region().to_owned(),
            rtt_ms: node.rtt.map(|rtt| RoundTrip { min: milliseconds(rtt.min), p50: milliseconds(rtt.p50) }),
            jitter_ms: node.rtt.map(|rtt| milliseconds(rtt.jitter)),
            loss: node.rtt.map(|rtt| (rtt.loss() * 1e4).round() / 1e4),
            from: node.rtt.map(|_| if is_remembered(node) { "history" } else { "probe" }.to_owned()),
            age_s: age(node).map(|age| age.as_secs()),
            samples: node.rtt.map(|rtt| rtt.answered + rtt.lost),
            method: Some(node.method.to_owned()).filter(|method| !method.is_empty()),
            load: status.map(|status| status.load),
            sessions: status.map(|status| status.sessions),
            capacity: status.map(|status| status.capacity),
            trust: node.live.trust().map(str::to_owned),
            score_ms: score.map(milliseconds),
            score_parts_ms: parts(node, score),
            in_band: verdict.is_eligible() && node.reach.serves() && band.is_some_and(is_near),
            verdict: if verdict.is_eligible() { "eligible" } else { "rejected" }.to_owned(),
            remark: remark(node).filter(|_| verdict.is_eligible()).map(str::to_owned),
            reasons: verdict.reasons().iter().map(objection).collect(),
        }
    }

    /// Whether it may be chosen.
    pub fn is_eligible(&self) -> bool {
        self.verdict == "eligible"
    }

    /// How old its round trips are, where they are not of now.
    pub fn age(&self) -> Option<Duration> {
        self.age_s.filter(|_| self.from.as_deref() == Some("history")).map(Duration::from_secs)
    }

    /// Median round trip.
    pub fn p50(&self) -> Option<f64> {
        self.rtt_ms.map(|rtt| rtt.p50)
    }
}

fn is_remembered(node: &Probed) -> bool {
    node.reach == Reach::Remembered
}

/// How old its figures are; none where there are none.
fn age(node: &Probed) -> Option<Duration> {
    let remembered = node.prior.filter(|_| is_remembered(node)).map(|prior| prior.age);
    remembered.or(node.rtt.map(|_| Duration::ZERO))
}

fn remark(node: &Probed) -> Option<&'static str> {
    match &node.live {
        _ if node.reach == Reach::NotAwaited => Some("farther than was waited for"),
        Live::FirstUse(_) => Some("not known yet"),
        _ => None,
    }
}

/// Only where the score is their sum: other strategies order by something else.
fn parts(node: &Probed, score: Option<Duration>) -> Option<Parts> {
    let parts = Strategy::Responsive.parts(node)?;
    (score == Some(parts.total())).then(|| Parts {
        rtt: milliseconds(parts.rtt),
        jitter: milliseconds(parts.jitter),
        resends: milliseconds(parts.resends),
        service: milliseconds(parts.service),
    })
}

/// Upper end of the band above the best of the eligible nodes that serve.
fn band(report: &Report, choice: &Choice) -> Option<Duration> {
    let serving = choice.order.iter().map(|index| &report.nodes[*index]);
    let best =
        serving.filter(|node| node.reach.serves()).filter_map(|node| node.rtt).min_by_key(|rtt| rtt.p50);
    best.map(|rtt| band_top(rtt.p50))
}

/// Chosen first, then the eligible in the order in which they would be asked, then the rejected, nearest first.
fn best_first(report: &Report, choice: &Choice) -> Vec<usize> {
    let mut rest: Vec<usize> =
        (0..report.nodes.len()).filter(|index| !choice.verdicts[*index].is_eligible()).collect();
    rest.sort_by_key(|index| {
        let node = &report.nodes[*index];
        (node.rtt.is_none(), node.rtt.map(|rtt| rtt.p50), node.record.id.clone())
    });
    choice.order.iter().copied().chain(rest).collect()
}

/// Rounded to a microsecond: more digits would claim a precision that nothing here has.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        select::{
            Constraints, Strategy,
            tests::{known, node},
        },
        survey::Preference,
    };

    /// An eligible node in the band.
    pub(crate) fn row(id: &str, p50: f64) -> Row {
        Row {
            id: id.into(),
            address: "192.0.2.1".into(),
            port: 7443,
            region: "eu-central".into(),
            rtt_ms: Some(RoundTrip { min: p50, p50 }),
            jitter_ms: Some(1.0),
            loss: Some(0.0),
            from: Some("probe".into()),
            age_s: Some(0),
            samples: Some(5),
            method: Some("icmp+tcp".into()),
            load: Some(0.2),
            sessions: Some(3),
            capacity: Some(8),
            trust: Some("trusted".into()),
            score_ms: Some(p50 + 14.0),
            score_parts_ms: Some(Parts { rtt: p50, jitter: 1.0, resends: 2.0, service: 11.0 }),
            in_band: true,
            verdict: "eligible".into(),
            remark: None,
            reasons: Vec::new(),
        }
    }

    fn document(strategy: Strategy) -> Document {
        let nodes = vec![
            node("far", "us-east", 190),
            known(node("full", "eu-west", 9), |status| status.sessions = status.capacity),
            known(node("near", "eu-west", 10), |_| {}),
            known(node("edge", "eu-west", 20), |_| {}),
            known(node("beyond", "eu-west", 21), |_| {}),
        ];
        let choice = Preference::from(strategy).choose(&nodes, &Constraints::default());
        let report = Report {
            nodes,
            icmp: true,
            elapsed: Duration::from_micros(1500),
            sent: 0,
            oddities: crate::probe::Oddities::default(),
        };
        Document::new(&report, &choice, report.elapsed)
    }

    #[test]
    fn the_band_is_that_of_the_eligible() {
        let document = document(Strategy::Latency);
        let in_band: Vec<&str> =
            document.nodes.iter().filter(|row| row.in_band).map(|row| row.id.as_str()).collect();
        assert_eq!(in_band, ["near", "edge"]);
        assert_eq!(document.chosen.as_deref(), Some("near"));
        let ids: Vec<&str> = document.nodes.iter().map(|row| row.id.as_str()).collect();
        assert_eq!(ids, ["near", "edge", "beyond", "far", "full"]);
    }

    #[test]
    fn parts_are_told_where_the_score_is_their_sum() {
        let parts = |strategy| document(strategy).nodes[0].score_parts_ms;
        assert_eq!(parts(Strategy::Latency), None);
        let document = document(Strategy::Responsive);
        let row = document.nodes.iter().find(|row| row.id == "near").expect("near");
        let parts = row.score_parts_ms.expect("parts");
        let sum = parts.rtt + parts.jitter + parts.resends + parts.service;
        assert!((sum - row.score_ms.expect("a score")).abs() < 0.003, "{parts:?}");
    }

    /// docs/json.md promises these names; a new one is added there.
    #[test]
    fn the_fields_are_those_of_the_documentation() {
        let document = document(Strategy::Latency);
        let value = serde_json::to_value(&document).expect("JSON");
        let names = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().expect("an object").keys().cloned().collect()
        };
        assert_eq!(names(&value), ["chosen", "elapsed_ms", "icmp", "nodes"]);
        let documented = include_str!("../../docs/json.md");
        for name in names(&value).iter().chain(&names(&value["nodes"][0])) {
            assert!(documented.contains(&format!("`{name}`")), "{name} is not documented");
        }
        assert_eq!(value["nodes"][3]["load"], serde_json::Value::Null);
        assert_eq!(value["nodes"][4]["reasons"][0]["code"], "full");
        let read: Document = serde_json::from_value(value).expect("read back");
        assert_eq!(read, document);
    }
}
