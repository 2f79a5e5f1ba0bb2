//! Where to go when no node of the wanted region is eligible: to the nearest other region.

use std::{collections::BTreeMap, time::Duration};

use super::{Choice, Circumstances, Constraints, Strategy, choose_under, judge};
use crate::probe::Probed;

/// What to do when no node of the wanted regions is eligible.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RegionFallback {
    /// Say so.
    #[default]
    Refuse,
    /// Take the nearest other region by measured round trip.
    Nearest,
}

/// `constraints` for a second look at all regions, if they allow one.
pub fn anywhere(constraints: &Constraints) -> Option<Constraints> {
    let allowed = constraints.region_fallback == RegionFallback::Nearest && !constraints.regions.is_empty();
    allowed.then(|| Constraints { regions: Vec::new(), ..constraints.clone() })
}

/// Orders the nodes, of the nearest other region where nothing else is eligible. Those of the others have to be measured.
pub fn choose_or_fall_back(
    nodes: &[Probed],
    constraints: &Constraints,
    strategy: Strategy,
    circumstances: &mut Circumstances<'_>,
) -> Choice {
    let choice = choose_under(nodes, constraints, strategy, circumstances);
    if !choice.order.is_empty() {
        return choice;
    }
    let region = anywhere(constraints).and_then(|anywhere| nearest_region(nodes, &anywhere));
    if let Some(region) = region {
        let there = Constraints { regions: vec![region.to_owned()], ..constraints.clone() };
        let there = choose_under(nodes, &there, strategy, circumstances);
        // Whom it passes over is told by what was asked for: not by a region that nobody named.
        let verdicts = there.verdicts.into_iter().zip(choice.verdicts);
        let verdicts =
            verdicts.map(|(there, asked)| if there.is_eligible() { there } else { asked }).collect();
        return Choice { verdicts, ..there };
    }
    if constraints.kept_out.is_empty() {
        return choice;
    }
    least_bad(nodes, constraints, strategy, circumstances)
}

/// Nobody but nodes that failed lately, or asked to be left alone: better those than none, the soonest welcome first.
fn least_bad(
    nodes: &[Probed],
    constraints: &Constraints,
    strategy: Strategy,
    circumstances: &mut Circumstances<'_>,
) -> Choice {
    let lenient = Constraints { kept_out: BTreeMap::new(), ..constraints.clone() };
    let mut choice = choose_or_fall_back(nodes, &lenient, strategy, circumstances);
    let wait = |index: &usize| constraints.kept_out.get(&nodes[*index].record.id).map(|kept| kept.wait);
    choice.order.sort_by_key(wait);
    choice
}

/// The region of the nearest node against which nothing but its region speaks. Nodes that name no region are passed over:
/// they cannot be compared with a wish.
pub fn nearest_region<'a>(nodes: &'a [Probed], constraints: &Constraints) -> Option<&'a str> {
    let elsewhere = Constraints { regions: Vec::new(), ..constraints.clone() };
    let eligible =
        nodes.iter().filter(|node| !node.region().is_empty() && judge(node, &elsewhere).is_eligible());
    let measured = eligible.filter_map(|node| Some((node.rtt?.p50, node.region())));
    measured.min().map(|(_, region): (Duration, &str)| region)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::tests::{known, node};

    fn wish(region: &str) -> Constraints {
        let regions = vec![region.to_owned()];
        Constraints { regions, region_fallback: RegionFallback::Nearest, ..Constraints::default() }
    }

    #[test]
    fn the_nearest_region_with_an_eligible_node_takes_over() {
        let full = known(node("a", "eu-west", 20), |status| status.sessions = 8);
        let nodes = [node("far", "us-east", 90), node("near", "eu-north", 30), full, node("bare", "", 5)];
        assert_eq!(nearest_region(&nodes, &wish("eu-central")), Some("eu-north"));
        let tagged = Constraints { tags: vec!["arm".into()], ..wish("eu-central") };
        assert_eq!(nearest_region(&nodes, &tagged), None, "other wishes stay in force");
    }

    #[test]
    fn the_choice_moves_to_that_region_only_when_nobody_is_left_in_the_wanted_one() {
        use crate::select::{Memory, tests::Scripted};
        let mut nodes =
            [node("here", "eu-central", 40), node("near", "eu-west", 9), node("far", "us-east", 90)];
        let chosen = |nodes: &[Probed], wish: &Constraints| {
            let (memory, mut table, mut dice) = (Memory::default(), None, Scripted::new(&[]));
            let mut circumstances = Circumstances {
                dice: &mut dice,
                memory: &memory,
                key: None,
                now: Duration::ZERO,
                table: &mut table,
            };
            choose_or_fall_back(nodes, wish, Strategy::Latency, &mut circumstances).order
        };
        assert_eq!(chosen(&nodes, &wish("eu-central")), [0]);
        nodes[0].record.weight = 0;
        assert_eq!(chosen(&nodes, &wish("eu-central")), [1]);
        let strict = Constraints { region_fallback: RegionFallback::Refuse, ..wish("eu-central") };
        assert!(chosen(&nodes, &strict).is_empty());
    }

    #[test]
    fn who_is_passed_over_is_told_by_what_was_asked_for() {
        use crate::select::{Memory, tests::Scripted};
        let mut nodes =
            [node("here", "eu-central", 40), node("near", "eu-west", 9), node("far", "us-east", 90)];
        nodes[0].record.weight = 0;
        let (memory, mut table, mut dice) = (Memory::default(), None, Scripted::new(&[]));
        let now = Duration::ZERO;
        let mut circumstances =
            Circumstances { dice: &mut dice, memory: &memory, key: None, now, table: &mut table };
        let choice = choose_or_fall_back(&nodes, &wish("eu-central"), Strategy::Latency, &mut circumstances);
        assert_eq!(choice.order, [1]);
        let reasons = |index: usize| -> Vec<String> {
            choice.verdicts[index].reasons().iter().map(ToString::to_string).collect()
        };
        assert_eq!(reasons(0), ["weight 0: takes no new sessions"]);
        assert!(reasons(1).is_empty());
        assert_eq!(reasons(2), ["in us-east, not eu-central"]);
    }

    #[test]
    fn who_is_kept_out_is_chosen_only_where_nobody_else_is_and_the_soonest_first() {
        use crate::{
            breaker::KeptOut,
            select::{Memory, Reason, tests::Scripted},
        };
        let kept = |failures, seconds| KeptOut { failures, wait: Duration::from_secs(seconds) };
        let nodes = [node("near", "eu", 5), node("mid", "eu", 20), node("far", "eu", 90)];
        let choice = |kept_out: &[(&str, KeptOut)], rest: Constraints| {
            let (memory, mut table, mut dice) = (Memory::default(), None, Scripted::new(&[]));
            let now = Duration::ZERO;
            let mut circumstances =
                Circumstances { dice: &mut dice, memory: &memory, key: None, now, table: &mut table };
            let kept_out = kept_out.iter().map(|(id, kept)| (id.parse().expect("id"), *kept)).collect();
            choose_or_fall_back(
                &nodes,
                &Constraints { kept_out, ..rest },
                Strategy::Latency,
                &mut circumstances,
            )
        };
        let one = choice(&[("near", kept(3, 19))], Constraints::default());
        assert_eq!(one.order, [1, 2]);
        let reasons = one.verdicts[0].reasons();
        assert_eq!(reasons, [Reason::KeptOut(kept(3, 19))]);
        assert_eq!(reasons[0].to_string(), "kept out after 3 failures, tried again in 20 s");
        assert_eq!(reasons[0].code(), "kept_out");
        let all = [("near", kept(3, 19)), ("mid", kept(0, 4)), ("far", kept(1, 10))];
        assert_eq!(choice(&all, Constraints::default()).order, [1, 2, 0]);
        let tagged = Constraints { tags: vec!["arm".into()], ..Constraints::default() };
        assert!(choice(&all, tagged).order.is_empty(), "other wishes stay in force");
    }

    #[test]
    fn only_who_asked_for_it_falls_back() {
        assert_eq!(anywhere(&wish("eu-central")).expect("allowed").regions, Vec::<String>::new());
        assert_eq!(anywhere(&Constraints { region_fallback: RegionFallback::Refuse, ..wish("x") }), None);
        assert_eq!(anywhere(&Constraints { regions: Vec::new(), ..wish("x") }), None);
    }
}
