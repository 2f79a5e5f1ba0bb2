//! Maglev's lookup table: every node holds a share of the slots by its weight, and when a node leaves, hardly any slot
//! changes its owner but those that it held.
//!
//! Sources: Eisenbud et al., "Maglev" (NSDI 2016), listing 1; weights, hash and the slots of later attempts as in Envoy.

use super::xxh64::xxh64;

/// Slots: prime, and a hundred times the nodes of an ordinary fleet, so that shares are even within one percent.
/// Frozen: another size moves every profile.
pub const SLOTS: usize = 65_537;
/// Marks a slot that nobody holds yet.
const FREE: u32 = u32::MAX;

/// How a node walks through the slots.
#[derive(Debug, Clone, Copy)]
struct Walk {
    at: usize,
    skip: usize,
    weight: u64,
    target: u64,
}

/// Which node holds which slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    slots: Vec<u32>,
    /// Over the members, in order.
    fingerprint: u64,
}

impl Table {
    /// Builds the table of `members` (name and weight), in the order in which they take turns. `size` has to be prime.
    pub fn new<'a>(members: impl Iterator<Item = (&'a str, u16)> + Clone, size: usize) -> Self {
        let fingerprint = fingerprint(members.clone());
        let below = |hash: u64, limit: usize| usize::try_from(hash % limit as u64).unwrap_or(0);
        let walks = members.map(|(name, weight)| Walk {
            at: below(xxh64(name.as_bytes(), 0), size),
            skip: below(xxh64(name.as_bytes(), 1), size - 1) + 1,
            weight: u64::from(weight.max(1)),
            target: 0,
        });
        Self { slots: fill(walks.collect(), size), fingerprint }
    }

    /// Whether it was built of exactly these.
    pub fn is_of<'a>(&self, members: impl Iterator<Item = (&'a str, u16)>) -> bool {
        self.fingerprint == fingerprint(members)
    }

    /// The member that takes `hash`, or the one to ask when `attempt` others refused. Two attempts may name the same one.
    pub fn member(&self, hash: u64, attempt: u64) -> Option<usize> {
        // Many bits change, so that the refused of one node do not all move to the same other.
        let hash = if attempt == 0 { hash } else { hash ^ (u64::MAX - attempt + 1) };
        let slot = usize::try_from(hash % self.slots.len().max(1) as u64).ok()?;
        let member = *self.slots.get(slot)?;
        (member != FREE).then_some(member as usize)
    }
}

fn fingerprint<'a>(members: impl Iterator<Item = (&'a str, u16)>) -> u64 {
    members.fold(0, |hash, (name, weight)| xxh64(name.as_bytes(), hash ^ u64::from(weight)).rotate_left(1))
}

fn fill(mut walks: Vec<Walk>, size: usize) -> Vec<u32> {
    let mut slots = vec![FREE; size];
    // Most looks find a slot that is held. A bit for each stays in the nearest cache, which the slots themselves outgrow.
    let mut is_held = vec![0u64; size.div_ceil(64)];
    let heaviest = walks.iter().map(|walk| walk.weight).max().unwrap_or(0);
    let mut held = 0;
    let mut turn = 0;
    while held < size && !walks.is_empty() {
        turn += 1;
        for (member, walk) in walks.iter_mut().enumerate() {
            // The heaviest takes a slot each turn, one of a third of its weight each third turn.
            if turn * walk.weight < walk.target || held == size {
                continue;
            }
            walk.target += heaviest;
            let slot = loop {
                let slot = walk.at;
                walk.at += walk.skip;
                if walk.at >= size {
                    walk.at -= size;
                }
                if is_held[slot / 64] >> (slot % 64) & 1 == 0 {
                    break slot;
                }
            };
            is_held[slot / 64] |= 1 << (slot % 64);
            slots[slot] = u32::try_from(member).unwrap_or(FREE - 1);
            held += 1;
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walks(walks: &[(usize, usize)]) -> Vec<Walk> {
        walks.iter().map(|(at, skip)| Walk { at: *at, skip: *skip, weight: 1, target: 0 }).collect()
    }

    /// Table 1 and figure of the paper: B0 walks 3 0 4 1 5 2 6, B1 0 2 4 6 1 3 5, B2 3 4 5 6 0 1 2.
    #[test]
    fn the_table_of_the_paper_before_and_after_b1_leaves() {
        assert_eq!(fill(walks(&[(3, 4), (0, 2), (3, 1)]), 7), [1, 0, 1, 0, 2, 2, 0]);
        // Here member 1 is B2.
        assert_eq!(fill(walks(&[(3, 4), (3, 1)]), 7), [0, 0, 0, 0, 1, 1, 1]);
    }

    fn envoy(hosts: &[(&'static str, u16)], size: usize) -> Table {
        Table::new(hosts.iter().copied(), size)
    }

    fn owners(table: &Table, size: u64) -> Vec<usize> {
        (0..size).filter_map(|hash| table.member(hash, 0)).collect()
    }

    const HOSTS: [(&str, u16); 6] = [
        ("127.0.0.1:90", 1),
        ("127.0.0.1:91", 1),
        ("127.0.0.1:92", 1),
        ("127.0.0.1:93", 1),
        ("127.0.0.1:94", 1),
        ("127.0.0.1:95", 1),
    ];

    /// The figures of Envoy's tests: six hosts by address, by name, and two of weights 1 and 2.
    #[test]
    fn the_tables_are_envoys() {
        assert_eq!(owners(&envoy(&HOSTS, 7), 7), [2, 4, 0, 1, 5, 0, 3]);
        let named = [("90", 1), ("91", 1), ("92", 1), ("93", 1), ("94", 1), ("95", 1)];
        assert_eq!(owners(&envoy(&named, 7), 7), [2, 5, 0, 3, 4, 1, 0]);
        let weighted = [("127.0.0.1:90", 1), ("127.0.0.1:91", 2)];
        assert_eq!(owners(&envoy(&weighted, 17), 17), [1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1]);
    }

    /// Envoy's figures for a key of 10 whose first host, then whose second is refused.
    #[test]
    fn later_attempts_are_envoys() {
        let table = envoy(&HOSTS, 7);
        assert_eq!([0, 1, 2].map(|attempt| table.member(10, attempt)), [Some(1), Some(0), Some(5)]);
    }

    #[test]
    fn shares_are_even_and_a_leaving_node_disturbs_few_others() {
        let names: Vec<String> = (0..100).map(|index| format!("node-{index}")).collect();
        let all = Table::new(names.iter().map(|name| (name.as_str(), 1)), SLOTS);
        let mut shares = vec![0usize; 100];
        for slot in &all.slots {
            shares[*slot as usize] += 1;
        }
        let mean = SLOTS / 100;
        assert!(shares.iter().all(|share| share.abs_diff(mean) <= mean / 50), "{shares:?}");
        let fewer = Table::new(names[..99].iter().map(|name| (name.as_str(), 1)), SLOTS);
        let moved = all.slots.iter().zip(&fewer.slots).filter(|(one, other)| **one != 99 && one != other);
        // The paper measures that a few percent move besides those of the node that left.
        assert!(moved.count() < SLOTS / 20);
    }

    #[test]
    fn nobody_holds_the_slots_of_an_empty_table() {
        assert_eq!(envoy(&[], 7).member(3, 0), None);
        assert!(envoy(&HOSTS, 7).is_of(HOSTS.into_iter()));
        assert!(!envoy(&HOSTS, 7).is_of(HOSTS[1..].iter().copied()));
    }
}
