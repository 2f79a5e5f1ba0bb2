//! Where to go when no node of the wanted region is eligible: to the nearest other region.

use std::time::Duration;

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
    let Some(region) = region else { return choice };
    let there = Constraints { regions: vec![region.to_owned()], ..constraints.clone() };
    choose_under(nodes, &there, strategy, circumstances)
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
    fn only_who_asked_for_it_falls_back() {
        assert_eq!(anywhere(&wish("eu-central")).expect("allowed").regions, Vec::<String>::new());
        assert_eq!(anywhere(&Constraints { region_fallback: RegionFallback::Refuse, ..wish("x") }), None);
        assert_eq!(anywhere(&Constraints { regions: Vec::new(), ..wish("x") }), None);
    }
}
