//! Where breakers are kept between commands: one small file among the user's own data, shared by all that run at once.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use cbrowse_protocol::{id::NodeId, node::NodeRecord};
use serde::{Deserialize, Serialize};

use super::{Breaker, KeptOut, State};
use crate::{
    context::Paths,
    private_file::{self, FileError},
    select::draw::{Dice as _, SystemDice},
};

/// Longest file in bytes; [`MOST`] entries fit.
const MAX_LENGTH: u64 = 1024 * 1024;
/// Nodes that are remembered. More have never failed one user within an hour.
const MOST: usize = 1024;
/// Longest time that is read from the file. What somebody else wrote there must not keep a node out for ever.
const LONGEST: Duration = Duration::from_secs(900);

/// Which node: its name and where it stands, so that an entry of a catalog that borrows a name, or an identity, opens no breaker
/// but its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// That of a catalog's entry.
    pub fn of(record: &NodeRecord) -> Self {
        let identity = record.identity.map(|identity| identity.to_string()).unwrap_or_default();
        Self(format!("{} {} {identity}", record.id, record.endpoint()))
    }
}

/// What is to be remembered of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It failed.
    Failed,
    /// It asked to be left alone for this long.
    Asked(Duration),
    /// It served.
    Worked,
}

/// The breakers of this user.
#[derive(Debug, Clone)]
pub struct Breakers {
    file: PathBuf,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Content {
    nodes: BTreeMap<Key, Breaker>,
}

impl Breakers {
    /// Those of the user whose directories these are.
    pub fn of(paths: &Paths) -> Self {
        Self { file: paths.data.join("breakers.json") }
    }

    /// Which of these nodes are kept out now, and why.
    pub fn kept_out<'a>(
        &self,
        records: impl IntoIterator<Item = &'a NodeRecord>,
    ) -> BTreeMap<NodeId, KeptOut> {
        self.kept_out_at(records, now())
    }

    fn kept_out_at<'a>(
        &self,
        records: impl IntoIterator<Item = &'a NodeRecord>,
        now: Duration,
    ) -> BTreeMap<NodeId, KeptOut> {
        let content = self.read(now);
        if content.nodes.is_empty() {
            return BTreeMap::new();
        }
        let kept_out = |record: &NodeRecord| content.nodes.get(&Key::of(record))?.kept_out(now);
        records.into_iter().filter_map(|record| Some((record.id.clone(), kept_out(record)?))).collect()
    }

    /// Whether this node may be tried now: the one trial of a half-open breaker goes to whoever asks first. Where the file
    /// cannot be locked or written, everybody may.
    pub fn begin(&self, key: &Key) -> bool {
        if !matches!(
            self.read(now()).nodes.get(key).map(|one| one.state(now())),
            Some(State::HalfOpen | State::Trying(_))
        ) {
            return true;
        }
        let mut may = true;
        let _nobody_else_knows = self.change(|content, now| {
            may = content.nodes.get_mut(key).is_none_or(|breaker| breaker.begin(now));
        });
        may
    }

    /// Remembers what happened. Writes nothing where nothing changes.
    pub fn note(&self, events: &[(Key, Event)]) -> Result<(), FileError> {
        let is_news = |(key, event): &(Key, Event), known: &Content| {
            *event != Event::Worked || known.nodes.contains_key(key)
        };
        let known = self.read(now());
        if !events.iter().any(|event| is_news(event, &known)) {
            return Ok(());
        }
        self.change(|content, now| {
            for (key, event) in events {
                apply(content, key, *event, now);
            }
        })
    }

    fn change(&self, change: impl FnOnce(&mut Content, Duration)) -> Result<(), FileError> {
        let _held = private_file::lock(&self.file)?;
        let now = now();
        let mut content = self.read(now);
        change(&mut content, now);
        bound(&mut content, now);
        private_file::replace(&self.file, &serde_json::to_vec(&content).expect("plain data serializes"))
    }

    /// A file that cannot be read counts as none: nobody is kept out for a damaged disk.
    fn read(&self, now: Duration) -> Content {
        let bytes = private_file::read(&self.file, MAX_LENGTH).ok().flatten();
        let mut content: Content =
            bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        content.nodes.retain(|_, breaker| !breaker.is_forgotten(now) && breaker.is_plausible());
        content
    }
}

impl Breaker {
    fn is_plausible(&self) -> bool {
        Duration::from_millis(self.open_ms) <= LONGEST
    }
}

fn apply(content: &mut Content, key: &Key, event: Event, now: Duration) {
    if event == Event::Worked {
        content.nodes.remove(key);
        return;
    }
    let (breaker, chance) = (content.nodes.entry(key.clone()).or_default(), chance());
    match event {
        Event::Failed => breaker.failed(now, chance),
        Event::Asked(wait) => breaker.asked(now, wait, chance),
        Event::Worked => {}
    }
}

/// The longest ago goes first.
fn bound(content: &mut Content, now: Duration) {
    content.nodes.retain(|_, breaker| !breaker.is_forgotten(now));
    while content.nodes.len() > MOST {
        let oldest = content.nodes.iter().min_by_key(|(_, breaker)| breaker.at_ms);
        let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { return };
        content.nodes.remove(&oldest);
    }
}

/// A number from 0 to 1, drawn by the system.
pub fn chance() -> f64 {
    const SIDES: usize = 1 << 16;
    SystemDice.below(SIDES) as f64 / SIDES as f64
}

fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::FAILURES;

    fn record(id: &str, address: &str) -> NodeRecord {
        let json = serde_json::json!({"id": id, "address": address, "port": 7443, "region": "eu"});
        serde_json::from_value(json).expect("a record")
    }

    fn breakers() -> (tempfile::TempDir, Breakers) {
        let directory = tempfile::tempdir().expect("a directory");
        let breakers = Breakers::of(&Paths::below(directory.path()));
        (directory, breakers)
    }

    #[test]
    fn failures_are_remembered_by_name_and_place_until_it_works() {
        let (_directory, breakers) = breakers();
        let (node, moved) = (record("a", "192.0.2.1"), record("a", "192.0.2.2"));
        let failed = [(Key::of(&node), Event::Failed)];
        for _ in 1..FAILURES {
            breakers.note(&failed).expect("noted");
            assert!(breakers.kept_out([&node]).is_empty());
        }
        breakers.note(&failed).expect("noted");
        let kept_out = breakers.kept_out([&node, &record("b", "192.0.2.1")]);
        assert_eq!(kept_out.len(), 1);
        assert_eq!(kept_out.get(&node.id).map(|kept| kept.failures), Some(FAILURES));
        assert!(breakers.kept_out([&moved]).is_empty(), "who borrows a name keeps only itself out");
        breakers.note(&[(Key::of(&node), Event::Worked)]).expect("noted");
        assert!(breakers.kept_out([&node]).is_empty());
    }

    #[test]
    fn one_command_tries_and_another_does_not() {
        let (_directory, breakers) = breakers();
        let (node, other) = (record("a", "192.0.2.1"), Breakers { file: breakers.file.clone() });
        let key = Key::of(&node);
        assert!(breakers.begin(&key) && other.begin(&key), "nothing is known of it");
        assert!(!breakers.file.exists(), "and nothing was written");
        breakers.note(&[(key.clone(), Event::Asked(Duration::ZERO))]).expect("noted");
        let half_open = || matches!(breakers.read(now()).nodes[&key].state(now()), State::HalfOpen);
        while !half_open() {
            std::thread::yield_now();
        }
        assert!(breakers.begin(&key) && !other.begin(&key));
        assert!(!other.kept_out([&node]).is_empty());
    }

    #[test]
    fn a_damaged_file_counts_as_none_and_a_long_one_is_cut() {
        let (_directory, breakers) = breakers();
        let node = record("a", "192.0.2.1");
        std::fs::create_dir_all(breakers.file.parent().expect("a directory")).expect("made");
        let eternal = format!(
            r#"{{"nodes":{{"a 192.0.2.1:7443 ":{{"failures":3,"at_ms":{},"open_ms":99999999999}}}}}}"#,
            now().as_millis()
        );
        for garbage in ["", "{", "[]", r#"{"nodes":7}"#, &eternal, &"x".repeat(2 * 1024 * 1024)] {
            std::fs::write(&breakers.file, garbage).expect("written");
            assert!(breakers.kept_out([&node]).is_empty(), "{garbage:.40}");
            assert!(breakers.begin(&Key::of(&node)));
        }
        let many: Vec<_> = (0..MOST + 10).map(|n| (Key(n.to_string()), Event::Failed)).collect();
        breakers.note(&many).expect("noted");
        assert_eq!(breakers.read(now()).nodes.len(), MOST);
    }

    #[test]
    fn commands_at_once_lose_nothing() {
        let (_directory, breakers) = breakers();
        let records: Vec<_> = (0..4).map(|n| record(&format!("n{n}"), "192.0.2.1")).collect();
        std::thread::scope(|scope| {
            for node in &records {
                let breakers = breakers.clone();
                scope.spawn(move || {
                    for _ in 0..FAILURES {
                        breakers.note(&[(Key::of(node), Event::Failed)]).expect("noted");
                    }
                });
            }
        });
        assert_eq!(breakers.kept_out(&records).len(), records.len());
    }
}
