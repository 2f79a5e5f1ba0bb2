//! The race without a network: times and answers by hand.

use super::*;
use crate::probe::{
    plan::{
        CATCH_UP, CONFIRM_AGAIN, DEADLINE, RECALL_LOOKED_AT, RECALL_SAMPLES, RECALLED, RENEWED, SMALL_BUDGET,
        SPACING, SURPRISE,
    },
    statistics::Measurement,
};

const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

const INSTANT: Duration = Duration::from_nanos(1);

fn race(nodes: usize, goal: Goal, icmp: bool) -> Race {
    Race::new(vec![Way::default(); nodes], goal, icmp, DEADLINE)
}

/// What is sent until `until`, with nothing answered: the times, and the probes.
fn sends(race: &mut Race, from: Duration, until: Duration) -> Vec<(Duration, Probe)> {
    let (mut now, mut sent) = (from, Vec::new());
    loop {
        match race.step(now) {
            Step::Send(batch) => sent.extend(batch.into_iter().map(|probe| (now, probe))),
            Step::Wait(next) if next <= until && next > now => now = next,
            Step::Wait(_) | Step::Done => return sent,
        }
    }
}

#[test]
fn sends_are_paced_a_batch_a_tick() {
    let sent = sends(&mut race(BATCH * 2 + 1, Goal::Decide, false), ms(0), ms(200));
    let at = |time| sent.iter().filter(|(at, _)| *at == time).count();
    assert_eq!([ms(0), TICK, TICK * 2].map(at), [BATCH, BATCH, 1]);
}

#[test]
fn a_race_that_wakes_late_catches_up_and_keeps_its_pace_on_average() {
    let mut race = race(BATCH * 12, Goal::Decide, false);
    let mut at = |now| sends(&mut race, now, now).len() / BATCH;
    let half = TICK / 2;
    // Woken every other tick and a bit, as by a timer that rounds up.
    assert_eq!([ms(0), TICK * 2 + half, TICK * 4 + half].map(&mut at), [1, 2, 2]);
    // Far too late: what was missed is not made up for, and the next one comes a tick later.
    assert_eq!(
        [TICK * 40, (TICK * 41).saturating_sub(INSTANT), TICK * 41].map(&mut at),
        [CATCH_UP as usize, 0, 1]
    );
}

#[test]
fn up_to_a_few_nodes_are_asked_both_ways_at_once_and_more_only_for_an_echo() {
    let methods = |nodes| {
        let sent = sends(&mut race(nodes, Goal::Decide, true), ms(0), ms(20));
        [Method::Icmp, Method::Tcp]
            .map(|method| sent.iter().filter(|(_, probe)| probe.method == method).count())
    };
    assert_eq!(methods(SIDE_BY_SIDE - 1), [SIDE_BY_SIDE - 1; 2]);
    assert_eq!(methods(SIDE_BY_SIDE), [SIDE_BY_SIDE; 2]);
    // Until an echo comes back, a quarter of the nodes.
    assert_eq!(methods(SIDE_BY_SIDE + 1), [(SIDE_BY_SIDE + 1) / WARY_SHARE, 0]);
}

#[test]
fn one_echo_opens_the_way_for_all_others_and_silence_for_connections() {
    let mut echoed = race(400, Goal::Decide, true);
    assert_eq!(sends(&mut echoed, ms(0), ms(20)).len(), 100);
    echoed.answer(ms(20), 0, Answer::Reply(ms(20)));
    let sent = sends(&mut echoed, ms(20), ms(38));
    assert!(
        sent.len() == 300 && sent.iter().all(|(_, probe)| probe.method == Method::Icmp),
        "{}",
        sent.len()
    );

    let mut silent = race(400, Goal::Decide, true);
    assert_eq!(sends(&mut silent, ms(0), SILENCE.saturating_sub(INSTANT)).len(), 100);
    let sent = sends(&mut silent, SILENCE, ms(100));
    assert!(sent.len() == 400 && sent.iter().all(|(_, probe)| probe.method == Method::Tcp), "{}", sent.len());
    assert_eq!(sent[0].0, SILENCE);
}

#[test]
fn an_echo_that_comes_after_all_spares_those_that_were_asked_for_one() {
    let mut race = race(400, Goal::Decide, true);
    sends(&mut race, ms(0), SILENCE + TICK);
    race.answer(SILENCE + TICK, 0, Answer::Reply(SILENCE));
    let sent = sends(&mut race, SILENCE + TICK, ms(62));
    assert!(sent.iter().all(|(_, probe)| probe.method == Method::Icmp && probe.way >= 100), "{sent:?}");
}

#[test]
fn the_screen_closes_just_above_the_band_of_the_best() {
    let mut race = race(2, Goal::Decide, false);
    assert_eq!(sends(&mut race, ms(0), ms(7)).len(), 2);
    race.answer(ms(8), 0, Answer::Reply(ms(8)));
    assert_eq!(race.step(ms(8)), Step::Wait(band_top(ms(8)) + INSTANT));
    assert!(matches!(race.step(band_top(ms(8))), Step::Wait(_)));
    let Step::Send(batch) = race.step(band_top(ms(8)) + INSTANT) else { panic!("the leaders' round") };
    assert!(batch.iter().all(|probe| probe.way == 0), "{batch:?}");
}

#[test]
fn a_connection_is_tried_again_by_a_second_socket_at_its_time_and_not_before() {
    let mut race = race(1, Goal::Decide, false);
    assert_eq!(sends(&mut race, ms(0), ASK_AGAIN.saturating_sub(INSTANT)).len(), 1);
    let again = sends(&mut race, ASK_AGAIN.saturating_sub(INSTANT), ms(900));
    assert_eq!(again.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [ASK_AGAIN]);
}

#[test]
fn the_silent_are_asked_again_only_as_far_as_the_budget_goes() {
    for nodes in [120, 200, 1000] {
        let mut race = race(nodes, Goal::Decide, false);
        let sent = sends(&mut race, ms(0), DEADLINE);
        assert!(sent.len() > nodes && sent.len() <= budget(nodes), "{} of {nodes}", sent.len());
    }
    let mut few = race(SMALL_BUDGET / 4, Goal::Decide, false);
    assert_eq!(sends(&mut few, ms(0), DEADLINE).len(), SMALL_BUDGET / 4 * 2);
}

#[test]
fn an_answer_is_lost_at_its_time_and_found_again_when_it_comes_late() {
    let mut race = race(1, Goal::Survey(1), false);
    // A port is asked twice before it counts as silent.
    let sent = sends(&mut race, ms(0), LOST_AFTER.saturating_sub(INSTANT));
    assert_eq!(sent.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [ms(0), ASK_AGAIN]);
    assert_eq!(race.tracks[0].tcp.lost, 0);
    race.step(LOST_AFTER);
    assert_eq!(race.tracks[0].tcp.lost, 1);
    race.answer(LOST_AFTER + INSTANT, 0, Answer::Reply(LOST_AFTER + INSTANT));
    race.answer(LOST_AFTER + INSTANT, 0, Answer::Reply(ms(1)));
    assert_eq!((race.tracks[0].tcp.lost, race.tracks[0].tcp.replies.len()), (0, 1));
    assert_eq!(race.oddities(), Oddities { duplicates: 1, late: 1, strangers: 0 });
    // A number that nobody was given says nothing.
    race.answer(LOST_AFTER, 99, Answer::Refused);
    assert!(!race.tracks[0].refused);
}

fn remembered(p50: u64, served: bool) -> Way {
    let measured = Measurement { min: ms(p50), p50: ms(p50), jitter: ms(0), answered: 5, lost: 0 };
    Way { prior: Some(Prior { measured, method: Method::Tcp, served, age: ms(1) }), ..Way::default() }
}

#[test]
fn without_enough_history_all_are_asked_likely_best_first() {
    let ways = vec![
        Way::default(),
        remembered(30, true),
        Way::default(),
        remembered(20, true),
        remembered(5, false),
    ];
    let mut race = Race::new(ways[..4].to_vec(), Goal::Decide, false, DEADLINE);
    let order =
        |race: &mut Race| sends(race, ms(0), ms(1)).iter().map(|(_, probe)| probe.way).collect::<Vec<_>>();
    assert_eq!(order(&mut race), [3, 1, 0, 2]);
    // With most of them known, the near ones that served are measured first; the far one waits, the unknown do not.
    let mut race = Race::new(ways, Goal::Decide, false, DEADLINE);
    let asked = sends(&mut race, ms(0), ms(19));
    assert!(!asked.iter().any(|(_, probe)| probe.way == 4) || asked.iter().any(|(_, probe)| probe.way == 3));
    assert!(asked.iter().filter(|(_, probe)| probe.way == 3).count() > 10, "{asked:?}");
    assert!([0, 2].iter().all(|way| asked.iter().any(|(_, probe)| probe.way == *way)), "{asked:?}");
}

/// How many probes each of a fleet gets before anything has answered: `near` ones remembered as equally near, `far` ones.
fn recalls(near: usize, far: usize) -> Vec<usize> {
    let ways = (0..near).map(|_| remembered(20, true)).chain((0..far).map(|_| remembered(200, true)));
    let mut race = Race::new(ways.collect(), Goal::Decide, false, DEADLINE);
    let mut counts = vec![0; near + far];
    for (_, probe) in sends(&mut race, ms(0), SPACING * RECALL_SAMPLES) {
        counts[probe.way] += 1;
    }
    counts
}

#[test]
fn as_many_of_the_near_are_recalled_looked_at_and_renewed_as_is_written() {
    let well = |counts: &[usize]| counts.iter().filter(|count| **count >= RECALL_SAMPLES as usize).count();
    let once = |counts: &[usize]| counts.iter().filter(|count| **count == 1).count();
    for near in [RECALLED - 1, RECALLED, RECALLED + 1] {
        assert_eq!(well(&recalls(near, 0)), near.min(RECALLED), "{near}");
    }
    for more in [RECALL_LOOKED_AT - 1, RECALL_LOOKED_AT, RECALL_LOOKED_AT + 1] {
        assert_eq!(once(&recalls(RECALLED + more, 0)), more.min(RECALL_LOOKED_AT), "{more}");
    }
    for far in [RENEWED - 1, RENEWED, RENEWED + 1] {
        assert_eq!(once(&recalls(2, far)), far.min(RENEWED), "{far}");
    }
}

#[test]
fn a_finalists_silent_port_is_asked_again_at_its_time_unless_it_has_answered() {
    let by_echo =
        |way: Way| Way { prior: way.prior.map(|prior| Prior { method: Method::Icmp, ..prior }), ..way };
    let connections = |answered: Option<Duration>| {
        let ways = vec![by_echo(remembered(20, true)), by_echo(remembered(20, true))];
        let mut race = Race::new(ways, Goal::Decide, true, DEADLINE);
        let until = answered.unwrap_or(CONFIRM_AGAIN);
        let mut sent = sends(&mut race, ms(0), until.saturating_sub(INSTANT));
        for (at, probe) in sent.clone().iter().filter(|(_, probe)| probe.method == Method::Tcp) {
            if answered.is_some() {
                race.answer(until, probe.number, Answer::Reply(until.saturating_sub(*at)));
            }
        }
        sent.extend(sends(&mut race, until, CONFIRM_AGAIN * 2));
        let mut times: Vec<Duration> = sent
            .iter()
            .filter(|(_, probe)| probe.way == 0 && probe.method == Method::Tcp)
            .map(|(at, _)| *at)
            .collect();
        times.dedup();
        times
    };
    assert_eq!(connections(None), [ms(0), CONFIRM_AGAIN]);
    assert_eq!(connections(Some(CONFIRM_AGAIN.saturating_sub(INSTANT))), [ms(0)]);
}

/// Probes of a race over two near nodes and one far one, remembered at 20 and 200 ms, in which the far one answers after
/// `now`, and whoever is asked answers at once.
fn probes_when_the_far_one_answers_after(now: Duration) -> usize {
    let ways = vec![remembered(20, true), remembered(20, true), remembered(200, true)];
    let mut race = Race::new(ways, Goal::Decide, false, DEADLINE);
    let (mut time, mut sent) = (ms(0), 0);
    loop {
        match race.step(time) {
            Step::Send(batch) => {
                sent += batch.len();
                for probe in batch {
                    let rtt = if probe.way == 2 { now } else { ms(20) };
                    race.answer(time, probe.number, Answer::Reply(rtt));
                }
            }
            Step::Wait(next) => time = next.max(time + INSTANT),
            Step::Done => return sent,
        }
    }
}

#[test]
fn a_renewed_node_that_came_nearer_begins_another_screening() {
    let as_remembered = probes_when_the_far_one_answers_after(ms(200));
    let limit = ms(20).saturating_sub(SURPRISE);
    assert_eq!(probes_when_the_far_one_answers_after(limit + INSTANT), as_remembered);
    assert_eq!(probes_when_the_far_one_answers_after(limit), as_remembered);
    assert!(probes_when_the_far_one_answers_after(limit.saturating_sub(INSTANT)) > as_remembered);
}
