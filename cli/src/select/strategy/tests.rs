use super::*;
use crate::{
    probe::Reach,
    select::{
        Choice, Constraints, choose_under,
        draw::SystemDice,
        tests::{Scripted, known, node},
    },
};

#[test]
fn names_are_read_as_they_are_written() {
    for strategy in ALL {
        assert_eq!(strategy.to_string().parse(), Ok(strategy));
    }
    let weighted: Strategy = "weighted:latency=1,cpu=0.5".parse().expect("weights");
    assert_eq!(weighted.to_string().parse(), Ok(weighted));
    assert_ne!(weighted, Strategy::Weighted(Weights::CLASSIC));
    let unknown = "best".parse::<Strategy>().expect_err("unknown");
    assert!(unknown.ends_with("consistent-hash, srv"), "{unknown}");
}

#[test]
fn the_command_line_takes_names_and_weights_and_lists_the_names() {
    let read = |text: &str| {
        let arg = Arg::new("strategy").long("strategy").value_parser(StrategyParser);
        let matches = Command::new("c").arg(arg).try_get_matches_from(["c", "--strategy", text])?;
        Ok::<_, clap::Error>(*matches.get_one::<Strategy>("strategy").expect("given"))
    };
    assert_eq!(read("weighted").expect("a name"), Strategy::Weighted(Weights::CLASSIC));
    assert_eq!(read("p2c").expect("a name"), Strategy::P2c);
    assert!(matches!(read("weighted:load=1").expect("weights"), Strategy::Weighted(_)));
    let wrong = read("weighted:speed=1").expect_err("no such weight").to_string();
    assert!(wrong.contains("latency, load, cpu, memory, bandwidth"), "{wrong}");
    let unknown = read("best").expect_err("unknown").to_string();
    assert!(unknown.contains("responsive") && unknown.contains("consistent-hash"), "{unknown}");
}

/// Somebody who chooses again and again.
struct User {
    memory: Memory,
    dice: Scripted,
    key: Option<&'static str>,
}

impl User {
    fn new(rolls: &[usize]) -> Self {
        Self { memory: Memory::default(), dice: Scripted::new(rolls), key: None }
    }

    fn choose(&mut self, nodes: &[Probed], strategy: Strategy) -> Choice {
        let mut circumstances = Circumstances {
            dice: &mut self.dice,
            memory: &self.memory,
            key: self.key,
            now: Duration::from_secs(1_000),
            table: &mut None,
        };
        let choice = choose_under(nodes, &Constraints::default(), strategy, &mut circumstances);
        self.memory.note(strategy, nodes, &choice, Duration::from_secs(1_000));
        // Through the file that keeps it between commands.
        let text = serde_json::to_string(&self.memory).expect("plain data");
        self.memory = serde_json::from_str(&text).expect("what was written");
        choice
    }

    fn names(&mut self, nodes: &[Probed], strategy: Strategy, times: usize) -> String {
        let chosen = (0..times).map(|_| self.choose(nodes, strategy).chosen().expect("eligible"));
        chosen.map(|index| nodes[index].record.id.to_string()).collect::<Vec<_>>().join(" ")
    }
}

fn weighing(id: &str, weight: u16) -> Probed {
    let mut node = node(id, "", 10);
    node.record.weight = weight;
    node
}

/// nginx's published sequence for weights 5, 1, 1. The first node is drawn: a roll of 0 is the first of a's five parts.
#[test]
fn smooth_weighted_turns_are_nginxs() {
    let nodes = [weighing("a", 5), weighing("b", 1), weighing("c", 1)];
    let strategy = Strategy::WeightedRoundRobin;
    assert_eq!(User::new(&[0]).names(&nodes, strategy, 14), "a a b a c a a a a b a c a a");
    assert_eq!(User::new(&[4]).names(&nodes, strategy, 1), "a");
    assert_eq!(User::new(&[5]).names(&nodes, strategy, 1), "b");
    assert_eq!(User::new(&[6]).names(&nodes, strategy, 1), "c");
    // Whoever draws begins elsewhere in the sequence, and seven turns later has been everywhere as often.
    let mut turns: Vec<String> =
        User::new(&[6]).names(&nodes, strategy, 7).split(' ').map(str::to_owned).collect();
    turns.sort_unstable();
    assert_eq!(turns.join(" "), "a a a a a b c");
}

#[test]
fn a_node_that_was_away_brings_no_turns_back() {
    let nodes = [weighing("a", 1), weighing("b", 1)];
    let mut user = User::new(&[0]);
    user.names(&nodes, Strategy::WeightedRoundRobin, 1);
    assert_eq!(user.names(&nodes[..1], Strategy::WeightedRoundRobin, 5), "a a a a a");
    assert_eq!(user.names(&nodes, Strategy::WeightedRoundRobin, 4), "b a b a");
}

#[test]
fn a_node_that_does_not_answer_for_a_moment_keeps_its_turns() {
    let mut nodes = [weighing("a", 1), weighing("b", 1), weighing("c", 2)];
    let mut user = User::new(&[0]);
    assert_eq!(user.names(&nodes, Strategy::WeightedRoundRobin, 1), "a");
    nodes[2].reach = Reach::Refused;
    assert_eq!(user.names(&nodes, Strategy::WeightedRoundRobin, 1), "b");
    assert_eq!(user.memory.turns.get(&nodes[2].record.id), Some(&2), "neither gained nor lost");
    nodes[2].reach = Reach::Serving;
    assert_eq!(user.names(&nodes, Strategy::WeightedRoundRobin, 2), "c b");
}

#[test]
fn turns_go_round_by_id_whatever_the_catalogs_order_and_whoever_leaves() {
    let nodes = [node("c", "", 8), node("a", "", 90), node("b", "", 20)];
    let mut user = User::new(&[2]);
    assert_eq!(user.names(&nodes, Strategy::RoundRobin, 5), "c a b c a");
    assert_eq!(user.names(&nodes[..2], Strategy::RoundRobin, 2), "c a", "b left");
    assert_eq!(
        user.choose(&nodes, Strategy::RoundRobin).order,
        [2, 0, 1],
        "b is back, and who comes after is at hand"
    );
}

#[test]
fn the_least_busy_for_its_weight_wins_and_the_unasked_come_last() {
    let busy = |id: &str, sessions: u32, weight: u16| {
        let mut node = known(node(id, "", 10), |status| status.sessions = sessions);
        node.record.weight = weight;
        node
    };
    let nodes = [node("unasked", "", 5), busy("a", 4, 1), busy("b", 6, 2), busy("c", 6, 2)];
    assert_eq!(User::new(&[0]).choose(&nodes, Strategy::LeastConnections).order, [2, 3, 1, 0]);
    assert_eq!(User::new(&[1]).choose(&nodes, Strategy::LeastConnections).order, [3, 2, 1, 0]);
}

#[test]
fn of_two_drawn_the_cheaper_one_goes_first_and_a_bad_moment_is_remembered() {
    let mut nodes = [node("a", "", 10), node("b", "", 20)];
    assert_eq!(User::new(&[1, 0]).choose(&nodes, Strategy::P2c).order, [0, 1], "10 ms against 20 ms");
    let with = |node: Probed, sessions| known(node, |status| status.sessions = sessions);
    let asked = [with(nodes[0].clone(), 5), with(nodes[1].clone(), 1)];
    assert_eq!(User::new(&[0, 0]).choose(&asked, Strategy::P2c).order, [1, 0], "60 against 40");
    let one_asked = [with(nodes[0].clone(), 5), nodes[1].clone()];
    assert_eq!(
        User::new(&[0, 0]).choose(&one_asked, Strategy::P2c).order,
        [0, 1],
        "sessions of one say nothing"
    );
    let mut user = User::new(&[0, 0, 0, 0]);
    nodes[0].rtt.as_mut().expect("measured").p50 = Duration::from_millis(15);
    assert_eq!(user.choose(&nodes, Strategy::P2c).order, [0, 1]);
    nodes[0].rtt.as_mut().expect("measured").p50 = Duration::from_millis(5);
    nodes[1].rtt.as_mut().expect("measured").p50 = Duration::from_millis(10);
    assert_eq!(user.choose(&nodes, Strategy::P2c).order, [1, 0], "15 ms were seen a moment ago");
}

#[test]
fn a_profile_stays_with_its_node_and_others_go_elsewhere() {
    let nodes: Vec<Probed> = (0..20).map(|index| node(&format!("n{index:02}"), "", 10)).collect();
    let order = |nodes: &[Probed], key| {
        let mut user = User { key: Some(key), ..User::new(&[]) };
        user.choose(nodes, Strategy::ConsistentHash).order
    };
    let first = order(&nodes, "work");
    assert_eq!(first, order(&nodes, "work"));
    assert_eq!(first.len(), nodes.len());
    let mut reversed = nodes.clone();
    reversed.reverse();
    assert_eq!(order(&reversed, "work")[0], nodes.len() - 1 - first[0], "whatever the catalog's order");
    let elsewhere = ["home", "bank", "play"].iter().filter(|key| order(&nodes, key)[0] != first[0]).count();
    assert!(elsewhere >= 2);
    let mut without = nodes.clone();
    without[first[0]].reach = Reach::Refused;
    assert_ne!(order(&without, "work")[0], first[0]);
    assert_eq!(
        User::new(&[0]).choose(&nodes, Strategy::ConsistentHash).order.len(),
        nodes.len(),
        "no key: drawn"
    );
}

#[test]
fn the_preferred_node_is_kept_unless_another_is_felt_to_be_better() {
    let wish = |id: &str| Constraints { prefer: id.parse().ok(), ..Constraints::default() };
    let chosen = |second: u64, constraints: &Constraints| {
        let nodes = [node("best", "", 20), node("mine", "", second)];
        crate::select::choose(&nodes, constraints, Strategy::Latency, &mut SystemDice).order
    };
    assert_eq!(chosen(30, &wish("mine")), [1, 0], "10 ms worse");
    assert_eq!(chosen(31, &wish("mine")), [0, 1], "11 ms and a third worse");
    assert_eq!(chosen(30, &wish("gone")), [0, 1]);
    let distant = [node("best", "", 200), node("mine", "", 299)];
    let choice = crate::select::choose(&distant, &wish("mine"), Strategy::Latency, &mut SystemDice);
    assert_eq!(choice.order, [1, 0], "99 ms, and less than a third");
    let mut rejected = distant;
    rejected[1].record.weight = 0;
    let choice = crate::select::choose(&rejected, &wish("mine"), Strategy::Latency, &mut SystemDice);
    assert_eq!(choice.order, [0]);
}

#[test]
fn every_strategy_orders_every_eligible_node_once_and_says_why() {
    let mut nodes: Vec<Probed> =
        (0..40).map(|index| node(&format!("n{index:02}"), "", 8 + index % 7)).collect();
    nodes[3].record.weight = 0;
    nodes[4] = known(nodes[4].clone(), |status| status.sessions = 3);
    nodes[5].rtt = None;
    for strategy in ALL {
        for key in [None, Some("work")] {
            let mut user = User { key, ..User::new(&[]) };
            let choice = user.choose(&nodes, strategy);
            let mut once = choice.order.clone();
            once.sort_unstable();
            assert_eq!(once, (0..40).filter(|index| *index != 3).collect::<Vec<_>>(), "{strategy}");
            let why = crate::select::explain(&nodes, &choice, strategy).expect("chosen");
            assert!(why.contains("39 eligible"), "{strategy}: {why}");
        }
        assert!(User::new(&[]).choose(&[], strategy).order.is_empty(), "{strategy}");
    }
}

#[test]
fn what_was_asked_is_compared_even_beside_what_was_not() {
    // Four of a band answered just now; the others were not asked.
    let mut nodes: Vec<Probed> = (0..10).map(|index| node(&format!("n{index}"), "", 10)).collect();
    for (index, load) in [(2, 0.9), (6, 0.1)] {
        nodes[index] = known(nodes[index].clone(), |status| status.load = load);
    }
    for rolls in [[0, 0], [1, 0]] {
        assert_eq!(User::new(&rolls).choose(&nodes, Strategy::Responsive).order[..2], [6, 2]);
    }
}

#[test]
fn stale_reports_are_drawn_by_free_seats_and_still_come_before_guesses() {
    let mut nodes: Vec<Probed> = (0..10).map(|index| node(&format!("n{index}"), "", 10)).collect();
    for (index, sessions) in [(2, 6), (6, 1)] {
        nodes[index] =
            known(nodes[index].clone(), |status| (status.sessions, status.age_ms) = (sessions, 5_001));
    }
    // Two free seats and seven: rolls 0 and 1 are the first's, 2 to 8 the second's.
    for (roll, first) in [(0, 2), (1, 2), (2, 6), (8, 6)] {
        let order = User::new(&[roll]).choose(&nodes, Strategy::Responsive).order;
        assert_eq!((order[0], order[1]), (first, 8 - first), "roll {roll}");
    }
}

/// RFC 2782: the lowest priority first whatever the weights; inside one, weights 1 and 3 share the draws as 1:3.
#[test]
fn srv_records_are_drawn_as_the_rfc_says() {
    let at = |id, priority: Option<&str>, weight| {
        let mut node = weighing(id, weight);
        node.record.meta.extend(priority.map(|priority| ("srv_priority".to_owned(), priority.to_owned())));
        node
    };
    let nodes = [
        at("backup", Some("20"), 60_000),
        at("one", Some("10"), 1),
        at("three", Some("10"), 3),
        at("odd", Some("?"), 9),
    ];
    let ids = |rolls: &[usize]| {
        let choice = User::new(rolls).choose(&nodes, Strategy::Srv);
        choice.order.iter().map(|index| nodes[*index].record.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&[0]), ["one", "three", "backup", "odd"]);
    for roll in 1..4 {
        assert_eq!(ids(&[roll]), ["three", "one", "backup", "odd"]);
    }
    // A catalog without priorities means all of them alike.
    let plain = [at("a", None, 1), at("b", None, 1)];
    assert_eq!(User::new(&[1]).names(&plain, Strategy::Srv, 1), "b");
}
