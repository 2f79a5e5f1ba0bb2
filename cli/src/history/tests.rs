//! Bad files, clocks that jump, floods of names, writers at once and writers that are killed.

mod silence;

use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command},
    time::Instant,
};

use super::{
    content::{By, CLOCK_SLACK, MAX_AGE, MAX_LENGTH, MOST_NODES, Unusable},
    fading::{HALF_LIFE, MOST_PROBES, OLD_WEIGHT, Serves, first},
    store::{MOST_NETWORKS, StoreError, joined},
    *,
};
use crate::{
    probe::{Live, Measurement, Method, Reach},
    select::tests::node,
};

const NOW: u64 = 1_800_000_000;

const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

fn key(byte: u8) -> NetworkKey {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = Paths::below(directory.path());
    std::fs::create_dir_all(&paths.data).expect("made");
    std::fs::write(paths.data.join("network-salt"), [byte; 32]).expect("written");
    Network::default().key(&Salt::of_user(&paths).expect("a salt"))
}

fn found(id: &str, p50: u64, answered: u32, lost: u32) -> Found {
    let rtt = Measurement { min: ms(p50 - 1), p50: ms(p50), jitter: ms(2), answered, lost };
    Found::of(&Probed { rtt: Some(rtt), ..node(id, "eu", p50) }).expect("probed")
}

/// Nothing was found out about its distance.
fn refusing(id: &str) -> Found {
    Found::of(&Probed { rtt: None, reach: Reach::Refused, method: "", ..node(id, "eu", 1) }).expect("asked")
}

fn adding(found: Vec<Found>) -> Addition {
    Addition { found, ..Addition::default() }
}

fn knowing(found: Vec<Found>, at: u64) -> Content {
    joined(Content::default(), &adding(found), at)
}

fn near(value: f64, expected: f64) -> bool {
    (value - expected).abs() < 1e-6
}

#[test]
fn the_file_is_as_its_documentation_says_and_comes_back_as_it_was() {
    let mut content = knowing(vec![found("a", 20, 5, 1)], NOW);
    content.home = Some(Home { node: content.nodes[0].node.clone(), at: NOW - 5 });
    let bytes = content.encode(&key(1));
    let expected = format!(
        concat!(
            r#"{{"version":2,"network":"{}","home":{{"node":{{"id":"a","endpoint":"192.0.2.1:7443"}},"at":1799999995}},"#,
            r#""nodes":[{{"node":{{"id":"a","endpoint":"192.0.2.1:7443"}},"ip":"192.0.2.1","min":19000,"p50":20000,"jitter":2000,"#,
            r#""answered":5.0,"lost":1.0,"method":"icmp","served":true,"at":1800000000,"counted":1800000000}}]}}"#
        ),
        key(1)
    );
    assert_eq!(String::from_utf8(bytes.clone()).expect("text"), expected);
    assert_eq!(Content::decode(&bytes, &key(1), NOW), Ok(content));
}

#[test]
fn what_is_not_ours_tells_nothing_and_never_panics() {
    let content = knowing(vec![found("a", 20, 5, 1), found("b", 30, 5, 0)], NOW);
    let bytes = content.encode(&key(1));
    let ours = key(1);
    let decode = |bytes: &[u8]| Content::decode(bytes, &ours, NOW);
    let version = |number: u32| {
        let text = String::from_utf8(bytes.clone()).expect("text");
        decode(text.replace("\"version\":2", &format!("\"version\":{number}")).as_bytes())
    };
    assert_eq!([1, 3].map(version), [Err(Unusable::Foreign), Err(Unusable::Foreign)]);
    assert_eq!(Content::decode(&bytes, &key(2), NOW), Err(Unusable::Corrupt), "another network's");
    let text = String::from_utf8(bytes.clone()).expect("text");
    for cut in 0..bytes.len() {
        assert_eq!(decode(&bytes[..cut]), Err(Unusable::Corrupt), "cut at {cut}");
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x15;
        // Some are other numbers or names; none may panic.
        let _ = decode(&flipped);
    }
    let nonsense = [
        ("\"p50\":20000", "\"p50\":60000001"),
        ("\"p50\":20000", "\"p50\":18999"),
        ("\"answered\":5.0", "\"answered\":-1.0"),
        ("\"lost\":1.0", "\"lost\":1e7"),
        ("192.0.2.1:7443", "192.0.2.1:7443\\u001b[2J"),
    ];
    for (is, becomes) in nonsense {
        let left = decode(text.replacen(is, becomes, 1).as_bytes()).expect("the rest is fine");
        assert_eq!(left.nodes.len(), 1, "{becomes}");
    }
}

#[test]
fn figures_end_with_their_age_and_a_clock_that_jumped_makes_their_age_unknown() {
    let (age, slack) = (MAX_AGE.as_secs(), CLOCK_SLACK.as_secs());
    for (at, is_known, counts_as) in [
        (NOW - age - 1, false, 0),
        (NOW - age, true, NOW - age),
        (NOW - age + 1, true, NOW - age + 1),
        (NOW, true, NOW),
        (NOW + slack - 1, true, NOW),
        (NOW + slack, true, NOW),
        (NOW + slack + 1, false, 0),
        (u64::MAX, false, 0),
    ] {
        let mut content = knowing(vec![found("a", 20, 5, 0)], NOW);
        let home = Home { node: content.nodes[0].node.clone(), at };
        (content.nodes[0].at, content.nodes[0].counted, content.home) = (at, at, Some(home));
        let read = Content::decode(&content.encode(&key(1)), &key(1), NOW).expect("valid");
        assert_eq!((read.nodes.len(), read.home.is_some()), (usize::from(is_known), is_known), "{at}");
        assert!(read.nodes.iter().all(|entry| entry.at == counts_as && entry.counted <= NOW), "{at}");
    }
    assert_eq!(
        Content::decode(&knowing(vec![found("a", 20, 5, 0)], NOW).encode(&key(1)), &key(1), 0),
        Ok(Content::default())
    );
}

#[test]
fn a_catalog_of_a_hundred_thousand_names_cannot_blow_the_file_up() {
    let id = |index: usize| format!("{}{index:06}", "n".repeat(58));
    let many = |count: usize| {
        let mut node = node("a", "eu", 20);
        node.record.address = format!("{}.example", "h".repeat(240));
        node.record.identity = Some(cbrowse_protocol::identity::SigningKey::generate().public());
        let mut found = Vec::new();
        for index in 0..count {
            node.record.id = id(index).parse().expect("an id");
            found.extend(Found::of(&node));
        }
        found
    };
    for (count, kept) in
        [(MOST_NODES - 1, MOST_NODES - 1), (MOST_NODES, MOST_NODES), (MOST_NODES + 1, MOST_NODES)]
    {
        assert_eq!(knowing(many(count), NOW).nodes.len(), kept, "{count}");
    }
    // Somebody's own nodes are near, or home; the flood is neither.
    let mut mine =
        knowing(vec![found("near", 5, 5, 0), found("home", 80, 5, 0), found("far", 90, 5, 0)], NOW - 60);
    mine.home = Some(Home { node: mine.nodes[1].node.clone(), at: NOW });
    let flooded = joined(mine, &adding(many(100_000)), NOW);
    assert_eq!(flooded.nodes.len(), MOST_NODES);
    let is_kept = |id: &str| flooded.nodes.iter().any(|entry| entry.node.id.as_str() == id);
    assert_eq!(["near", "home", "far"].map(is_kept), [true, true, false]);
    let bytes = flooded.encode(&key(1));
    assert!((bytes.len() as u64) < MAX_LENGTH, "{}", bytes.len());
    assert_eq!(Content::decode(&bytes, &key(1), NOW).expect("readable").nodes.len(), MOST_NODES);
}

#[test]
fn a_node_that_has_moved_or_is_somebody_else_is_a_stranger() {
    let record = node("a", "eu", 20).record;
    let recalled = Recalled::new(knowing(vec![found("a", 20, 5, 0)], NOW - 10), NOW);
    let prior = recalled.prior(&record).expect("known");
    assert_eq!((prior.measured.p50, prior.age, prior.served), (ms(20), Duration::from_secs(10), true));
    let moved = NodeRecord { address: "192.0.2.9".into(), ..record.clone() };
    let elsewhere = NodeRecord { port: 7444, ..record.clone() };
    let identity = Some(cbrowse_protocol::identity::SigningKey::generate().public());
    let other = NodeRecord { identity, ..record.clone() };
    for stranger in [&moved, &elsewhere, &other] {
        assert_eq!(recalled.prior(stranger), None);
        assert_eq!(recalled.address(stranger), None);
    }
    // Once it was probed there, the new one takes the old one's place.
    let there = Found {
        node: NodeName::of(&moved),
        ip: "192.0.2.9".parse().expect("an address"),
        ..found("a", 70, 1, 0)
    };
    let after = joined(knowing(vec![found("a", 20, 5, 0)], NOW - 10), &adding(vec![there]), NOW);
    assert_eq!((after.nodes.len(), after.nodes[0].p50), (1, 70_000));
    // One that does not answer there does not drive the known one out.
    let gone = Found { node: NodeName::of(&moved), ..refusing("a") };
    let after = joined(knowing(vec![found("a", 20, 5, 0)], NOW - 10), &adding(vec![gone]), NOW);
    assert_eq!((after.nodes[0].p50, after.nodes[0].lost), (20_000, 0.0));
}

#[test]
fn probes_fade_by_half_a_day_later_and_never_count_more_than_they_may() {
    let entry = first(&found("a", 20, 8, 4), NOW).expect("measured");
    let half = HALF_LIFE.as_secs();
    let after = |seconds: u64| entry.then(&found("a", 20, 1, 0), NOW + seconds);
    assert!(near(after(0).answered, 9.0) && near(after(0).lost, 4.0));
    assert!(near(after(half).answered, 5.0) && near(after(half).lost, 2.0));
    assert!(near(after(2 * half).answered, 3.0) && near(after(2 * half).lost, 1.0));
    let prior = entry.prior(NOW + half).measured;
    assert_eq!((prior.answered, prior.lost), (4, 2));
    assert_eq!(entry.prior(NOW - 60).measured.answered, 8, "a clock that went back fades nothing");
    for (more, total) in [(187, MOST_PROBES - 1.0), (188, MOST_PROBES), (189, MOST_PROBES)] {
        let full = entry.then(&found("a", 20, more, 0), NOW);
        assert!(near(full.answered + full.lost, total), "{more}");
    }
}

#[test]
fn many_samples_decide_and_one_moves_the_figures_by_a_fifth() {
    let entry = first(&found("a", 20, 15, 0), NOW).expect("measured");
    let after = |p50: u64, answered| entry.then(&found("a", p50, answered, 0), NOW);
    assert_eq!(after(30, 1).p50, 22_000);
    assert_eq!(after(30, 1).jitter, 2_000, "one sample has no spread");
    let weights = f64::from(after(30, 16).p50) / 1e3;
    assert!(near(weights, (20.0 * OLD_WEIGHT + 30.0 * 16.0) / (OLD_WEIGHT + 16.0)), "{weights}");
    assert_eq!(after(10, 1).min, 9_000, "a shorter round trip proves itself");
    assert_eq!(after(30, 1).min, 21_000);
    // What has faded weighs nothing any more.
    let later = NOW + 20 * HALF_LIFE.as_secs();
    assert_eq!(entry.then(&found("a", 30, 1, 0), later).p50, 30_000);
    let by_tcp = Found { method: By::Tcp, ..found("a", 50, 1, 0) };
    assert_eq!((entry.then(&by_tcp, NOW).p50, entry.then(&by_tcp, NOW).answered), (50_000, 1.0), "not mixed");
}

#[test]
fn a_refusal_is_remembered_of_those_who_once_answered_and_of_nobody_else() {
    let after = joined(
        knowing(vec![found("a", 20, 5, 0)], NOW - 60),
        &adding(vec![refusing("a"), refusing("b")]),
        NOW,
    );
    assert_eq!(after.nodes.len(), 1);
    let entry = &after.nodes[0];
    assert_eq!((entry.served, entry.p50, entry.at), (false, 20_000, NOW - 60));
    assert!(entry.lost > 0.99);
    let again = entry.then(&found("a", 20, 1, 0), NOW);
    assert!(again.served && again.lost > 0.99, "its losses stay");
    let anew = Addition { anew: true, ..adding(vec![found("a", 40, 1, 0)]) };
    let fresh = joined(after, &anew, NOW);
    assert_eq!((fresh.nodes[0].p50, fresh.nodes[0].lost), (40_000, 0.0), "as for the first time");
}

#[test]
fn only_what_was_asked_is_noted_and_who_lies_does_not_serve() {
    let of = |reach, live: Live, rtt: bool| {
        let mut probed = Probed { reach, live, ..node("a", "eu", 20) };
        probed.rtt = probed.rtt.filter(|_| rtt);
        Found::of(&probed).map(|found| (found.measured.is_some(), found.serves))
    };
    for reach in [Reach::NotProbed, Reach::NotAwaited, Reach::Unresolved, Reach::Forbidden, Reach::NotDrawn] {
        assert_eq!(of(reach, Live::Unasked, false), None, "{reach:?}");
    }
    assert_eq!(of(Reach::Serving, Live::Unasked, true), Some((true, Serves::Yes)));
    assert_eq!(of(Reach::Unconfirmed, Live::Unasked, true), Some((true, Serves::Unknown)));
    assert_eq!(of(Reach::PortSilent, Live::Unasked, true), Some((true, Serves::No)));
    assert_eq!(of(Reach::Serving, Live::Failed("it hangs".into()), true), Some((true, Serves::No)));
    assert_eq!(of(Reach::Serving, Live::Untrusted("forged".into()), true), Some((true, Serves::No)));
    // What was only remembered is not measured again by that.
    assert_eq!(of(Reach::Remembered, Live::Unasked, true), None);
    assert_eq!(of(Reach::Remembered, Live::Failed("gone".into()), true), Some((false, Serves::No)));
}

fn store(directory: &Path) -> Store {
    Store::new(directory.join("history"))
}

#[test]
fn files_are_private_broken_ones_are_written_anew_and_foreign_ones_pass() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, now) = (store(directory.path()), now());
    assert_eq!(store.load(&key(1), now).expect("none"), Content::default());
    store.add(&key(1), &adding(vec![found("a", 20, 5, 0)]), now).expect("written");
    let path = store.path(&key(1));
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    for broken in [&b"{\"version\":1,\"netw"[..], b"", b"\x00\xff\xfe", &vec![b'['; 5 << 20]] {
        std::fs::write(&path, broken).expect("written");
        assert!(matches!(store.load(&key(1), now), Err(StoreError::Corrupt(_))));
        store.add(&key(1), &adding(vec![found("a", 20, 5, 0)]), now).expect("written");
        assert_eq!(store.load(&key(1), now).expect("mended").nodes.len(), 1);
    }
    std::fs::write(&path, b"{\"version\":9,\"whatever\":[]}").expect("written");
    assert_eq!(store.load(&key(1), now).expect("no error"), Content::default());
}

#[test]
fn the_networks_written_to_longest_ago_make_room() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = store(directory.path());
    let count = u8::try_from(MOST_NETWORKS).expect("few");
    let mut kept = Vec::new();
    for byte in 0..=count {
        store.add(&key(byte), &adding(vec![found("a", 20, 5, 0)]), now()).expect("written");
        // File systems' clocks tick slowly: the order is set here.
        let written = std::time::UNIX_EPOCH + Duration::from_secs(now() - 1000 + u64::from(byte));
        let file = std::fs::File::options().write(true).open(store.path(&key(byte))).expect("there");
        file.set_modified(written).expect("set");
        kept.push(store.networks());
    }
    assert_eq!(kept[MOST_NETWORKS - 2..], [MOST_NETWORKS - 1, MOST_NETWORKS, MOST_NETWORKS]);
    assert!(!store.path(&key(0)).exists() && store.path(&key(1)).exists());
    assert_eq!(store.forget(Some(&key(1))).expect("forgotten"), 1);
    assert_eq!(store.forget(None).expect("forgotten"), MOST_NETWORKS - 1);
    assert_eq!((store.networks(), store.forget(None).expect("nothing")), (0, 0));
}

/// Locks belong to open files, so threads that each open their own stand for processes here.
#[test]
fn commands_that_write_at_once_lose_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = store(directory.path());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for index in 0..10 {
                    let found = found(&format!("n{thread}-{index}"), 20, 5, 0);
                    store.add(&key(1), &adding(vec![found]), now()).expect("written");
                }
            });
        }
    });
    assert_eq!(store.load(&key(1), now()).expect("whole").nodes.len(), 40);
}

/// Where a writer that is to be killed writes.
const WRITER: &str = "CBROWSE_TEST_HISTORY_WRITER";

#[test]
#[ignore = "started and killed by the test below"]
fn writes_until_it_is_killed() {
    let directory = std::env::var(WRITER).expect("started by the other test");
    let store = store(Path::new(&directory));
    let found: Vec<Found> = (0..500).map(|index| found(&format!("n{index}"), 20, 5, 0)).collect();
    loop {
        store.add(&key(1), &adding(found.clone()), now()).expect("written");
    }
}

fn writer(directory: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["history::tests::writes_until_it_is_killed", "--exact", "--ignored"]);
    command.env(WRITER, directory).stdout(std::process::Stdio::null()).spawn().expect("started")
}

#[test]
fn a_writer_that_is_killed_leaves_a_whole_file_and_no_lock() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = store(directory.path());
    for round in 0..3 {
        let mut child = writer(directory.path());
        let until = Instant::now() + Duration::from_secs(60);
        let inode = || {
            use std::os::unix::fs::MetadataExt as _;
            std::fs::metadata(store.path(&key(1))).ok().map(|file| file.ino())
        };
        let before = inode();
        while inode() == before && Instant::now() < until {
            std::thread::yield_now();
        }
        // It has written once and is writing again.
        child.kill().expect("killed");
        child.wait().expect("reaped");
        let content = store.load(&key(1), now()).expect("whole");
        assert_eq!(content.nodes.len(), 500 + usize::from(round > 0), "round {round}");
        store.add(&key(1), &adding(vec![found("other", 20, 5, 0)]), now()).expect("the lock is free");
    }
}

fn history(paths: &Paths) -> History {
    History::of(paths, &Output::new(false, true, true))
}

fn report() -> Report {
    Report {
        nodes: vec![node("a", "eu", 20), node("b", "eu", 30)],
        icmp: true,
        elapsed: ms(1),
        ..Report::default()
    }
}

#[tokio::test]
async fn what_one_command_finds_the_next_one_knows() {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = Paths::below(directory.path());
    let (first, nodes) = (history(&paths), report().nodes);
    let recalled = first.recall();
    assert_eq!(recalled.all().count(), 0);
    first.note(&recalled, &report());
    first.note_home(&recalled, &nodes[1]);
    first.settle().await;
    let second = history(&paths);
    let recalled = second.recall();
    assert_eq!(recalled.prior(&nodes[0].record).map(|prior| prior.measured.p50), Some(ms(20)));
    assert_eq!(nodes.iter().map(|node| recalled.is_home(&node.record)).collect::<Vec<_>>(), [false, true]);
    let forgotten = second.recall_for(Probing::Fresh);
    assert!(forgotten.prior(&nodes[0].record).is_none() && !forgotten.is_home(&nodes[1].record));
    assert_eq!((second.networks(), second.forget(false).expect("forgotten")), (1, 1));
    assert!(second.recall().home().is_none());
    // The names of networks are nowhere.
    let salt = std::fs::read(paths.data.join("network-salt")).expect("there");
    assert_eq!(salt.len(), 32);
}

#[tokio::test]
async fn figures_of_a_network_that_was_left_meanwhile_are_not_noted() {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = Paths::below(directory.path());
    let history = history(&paths);
    let mut recalled = history.recall();
    let (network, _) = recalled.network.as_mut().expect("one");
    network.marks.insert("exit wg7".into());
    history.note(&recalled, &report());
    history.settle().await;
    assert_eq!(history.networks(), 0);
    // On the network where this machine is, they are.
    history.note(&history.recall(), &report());
    history.settle().await;
    assert_eq!(history.networks(), 1);
}

#[tokio::test]
async fn where_nothing_can_be_written_everything_goes_on_after_one_warning() {
    let directory = tempfile::tempdir().expect("a directory");
    let paths = Paths::below(directory.path());
    // A file where a directory should be stops every user, root included.
    std::fs::write(&paths.cache, b"").expect("written");
    let history = history(&paths);
    let recalled = history.recall();
    assert!(history.warned.load(Ordering::Relaxed), "said once");
    history.note(&recalled, &report());
    history.settle().await;
    assert_eq!(recalled.all().count(), 0);
    let directory = tempfile::tempdir().expect("a directory");
    let paths = Paths::below(directory.path());
    std::fs::write(&paths.data, b"").expect("written");
    let unsalted = self::history(&paths);
    let recalled = unsalted.recall();
    assert!(recalled.network().is_none() && unsalted.warned.load(Ordering::Relaxed));
    unsalted.note(&recalled, &report());
    unsalted.settle().await;
    assert_eq!(unsalted.networks(), 0);
}

#[test]
fn a_thousand_nodes_are_loaded_in_a_moment() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = store(directory.path());
    let thousand = (0..1000).map(|index| found(&format!("node-{index:04}"), 20, 5, 0)).collect();
    store.add(&key(1), &adding(thousand), now()).expect("written");
    let load = || {
        let started = Instant::now();
        let recalled = Recalled::new(store.load(&key(1), now()).expect("whole"), now());
        assert_eq!(recalled.all().count(), 1000);
        started.elapsed()
    };
    let best = (0..5).map(|_| load()).min().expect("five");
    println!("1,000 nodes loaded in {best:?}");
    // Unoptimized, and on a loaded machine; the figure of the documentation is of a release build.
    assert!(best < Duration::from_millis(500), "{best:?}");
}

#[test]
fn a_method_is_told_from_what_answered() {
    let by = |method| Found::of(&Probed { method, ..node("a", "eu", 20) }).expect("probed").method;
    assert_eq!(["icmp", "icmp+tcp", "tcp"].map(by), [By::Icmp, By::Icmp, By::Tcp]);
    assert_eq!((Method::from(By::Icmp), Method::from(By::Tcp)), (Method::Icmp, Method::Tcp));
}
