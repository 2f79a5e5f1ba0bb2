//! The order in which RFC 2782 has SRV records tried: the lowest priority first, within a priority a draw by weight.

use std::ops::RangeInclusive;

use hickory_resolver::proto::rr::rdata::SRV;

/// All of them, each once. `draw` answers a number of the range that it is given, each as likely as the other.
pub(super) fn ordered(mut services: Vec<SRV>, draw: &mut impl FnMut(RangeInclusive<u64>) -> u64) -> Vec<SRV> {
    // Those of weight 0 stand first in their priority, so that only a draw of 0 finds them.
    services.sort_by_key(|service| (service.priority, service.weight > 0));
    let mut ordered = Vec::with_capacity(services.len());
    for priority in services.chunk_by(|a, b| a.priority == b.priority) {
        let mut rest = priority.to_vec();
        while !rest.is_empty() {
            let index = next(&rest, draw);
            ordered.push(rest.remove(index));
        }
    }
    ordered
}

/// The first record whose running sum of weights reaches the drawn number. The RFC draws from 0 in every case; where
/// nothing weighs 0 that would only favour whoever is listed first (with its own example, 2:3 instead of 1:3).
fn next(rest: &[SRV], draw: &mut impl FnMut(RangeInclusive<u64>) -> u64) -> usize {
    let sum: u64 = rest.iter().map(|service| u64::from(service.weight)).sum();
    let least = u64::from(rest[0].weight > 0);
    let drawn = draw(least..=sum);
    let mut running = 0;
    let reaches = |service: &SRV| {
        running += u64::from(service.weight);
        running >= drawn
    };
    rest.iter().position(reaches).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hickory_resolver::proto::rr::Name;

    use super::*;

    /// Ports tell them apart.
    fn service(priority: u16, weight: u16, port: u16) -> SRV {
        SRV::new(priority, weight, port, Name::root())
    }

    fn ports(services: &[SRV]) -> Vec<u16> {
        services.iter().map(|service| service.port).collect()
    }

    /// Marsaglia's xorshift, seeded: the same numbers in every run.
    fn seeded(mut state: u64) -> impl FnMut(RangeInclusive<u64>) -> u64 {
        move |range| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            range.start() + state % (range.end() - range.start() + 1)
        }
    }

    const DRAWS: u32 = 100_000;

    /// How often each port came first, as a share of all draws.
    fn shares(services: &[SRV]) -> BTreeMap<u16, f64> {
        let mut draw = seeded(0x2782);
        let mut counts: BTreeMap<u16, u32> = BTreeMap::new();
        for _ in 0..DRAWS {
            *counts.entry(ordered(services.to_vec(), &mut draw)[0].port).or_default() += 1;
        }
        counts.into_iter().map(|(port, count)| (port, f64::from(count) / f64::from(DRAWS))).collect()
    }

    fn assert_share(shares: &BTreeMap<u16, f64>, port: u16, expected: f64) {
        let share = shares.get(&port).copied().unwrap_or(0.0);
        // Five standard deviations of 100,000 draws at one half, the widest.
        assert!((share - expected).abs() < 0.008, "port {port}: {share} instead of {expected}");
    }

    #[test]
    fn the_example_of_the_rfc_has_the_shares_that_it_promises() {
        // "three quarters of the requests will go to the new-fast-box"; the others only "if neither is up".
        let services = [service(0, 1, 1), service(0, 3, 2), service(1, 0, 3), service(1, 0, 4)];
        let shares = shares(&services);
        assert_share(&shares, 1, 0.25);
        assert_share(&shares, 2, 0.75);
        assert_eq!(shares.len(), 2);
        // Whichever way round they are listed.
        let turned = self::shares(&[service(0, 3, 2), service(0, 1, 1)]);
        assert_share(&turned, 1, 0.25);
    }

    #[test]
    fn shares_are_those_of_the_weights() {
        let shares = shares(&[service(7, 10, 1), service(7, 60, 2), service(7, 20, 3), service(7, 10, 4)]);
        for (port, share) in [(1, 0.1), (2, 0.6), (3, 0.2), (4, 0.1)] {
            assert_share(&shares, port, share);
        }
    }

    #[test]
    fn a_weight_of_zero_has_a_very_small_chance_beside_others_and_none_is_lost() {
        let shares = shares(&[service(0, 49, 1), service(0, 0, 2), service(0, 50, 3)]);
        for (port, share) in [(1, 0.49), (2, 0.01), (3, 0.5)] {
            assert_share(&shares, port, share);
        }
        let all = ordered(vec![service(0, 0, 1), service(0, 0, 2)], &mut |range| *range.end());
        assert_eq!(ports(&all).len(), 2);
    }

    #[test]
    fn the_draw_decides_by_running_sums() {
        let services = [service(0, 5, 1), service(0, 0, 2), service(0, 10, 3)];
        for (drawn, first) in [(0, 2), (1, 1), (5, 1), (6, 3), (15, 3)] {
            let mut draws = [drawn].into_iter();
            let order = ordered(services.to_vec(), &mut |range| {
                draws.next().inspect(|_| assert_eq!(range, 0..=15)).unwrap_or(*range.end())
            });
            assert_eq!((order.len(), order[0].port), (3, first), "{drawn}");
        }
    }

    #[test]
    fn the_lowest_priority_goes_first_whatever_the_weights() {
        let services = [service(2, u16::MAX, 1), service(1, 0, 2), service(3, 1, 3), service(1, 0, 4)];
        let order = ports(&ordered(services.to_vec(), &mut |range| *range.start()));
        assert_eq!((order[2], order[3]), (1, 3));
        assert_eq!(ordered(Vec::new(), &mut |_| unreachable!("nothing to draw")), []);
    }
}
