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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Walk {
    at: usize,
    skip: usize,
    weight: u64,
    target: u64,
}

/// Which node holds which slot. Slots are dealt in turns and never change hands, so they are dealt no further than
/// somebody has asked: the last few take as long as all the others together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    slots: Vec<u32>,
    /// Most looks find a slot that is held. A bit for each stays in the nearest cache, which the slots themselves outgrow.
    is_held: Vec<u64>,
    walks: Vec<Walk>,
    heaviest: u64,
    turn: u64,
    /// The member whose turn it is.
    next: usize,
    /// Over the members, in order.
    fingerprint: u64,
}

impl Table {
    /// The table of `members` (name and weight), in the order in which they take turns. `size` has to be prime.
    pub fn new<'a>(members: impl Iterator<Item = (&'a str, u16)> + Clone, size: usize) -> Self {
        let fingerprint = fingerprint(members.clone());
        let below = |hash: u64, limit: usize| usize::try_from(hash % limit as u64).unwrap_or(0);
        let walks = members.map(|(name, weight)| Walk {
            at: below(xxh64(name.as_bytes(), 0), size),
            skip: below(xxh64(name.as_bytes(), 1), size - 1) + 1,
            weight: u64::from(weight.max(1)),
            target: 0,
        });
        Self::of(walks.collect(), size, fingerprint)
    }

    fn of(walks: Vec<Walk>, size: usize, fingerprint: u64) -> Self {
        let heaviest = walks.iter().map(|walk| walk.weight).max().unwrap_or(0);
        let (slots, is_held) = (vec![FREE; size], vec![0; size.div_ceil(64)]);
        Self { slots, is_held, walks, heaviest, turn: 1, next: 0, fingerprint }
    }

    /// Whether it is the table of exactly these.
    pub fn is_of<'a>(&self, members: impl Iterator<Item = (&'a str, u16)>) -> bool {
        self.fingerprint == fingerprint(members)
    }

    /// The member that takes `hash`, or the one to ask when `attempt` others refused. Two attempts may name the same one.
    pub fn member(&mut self, hash: u64, attempt: u64) -> Option<usize> {
        // Many bits change, so that the refused of one node do not all move to the same other.
        let hash = if attempt == 0 { hash } else { hash ^ (u64::MAX - attempt + 1) };
        let slot = usize::try_from(hash % self.slots.len().max(1) as u64).ok()?;
        self.deal_until(slot);
        let member = *self.slots.get(slot)?;
        (member != FREE).then_some(member as usize)
    }

    /// Deals slots until `wanted` is held; without members nothing is.
    fn deal_until(&mut self, wanted: usize) {
        if self.walks.is_empty() || self.slots.get(wanted).is_none_or(|member| *member != FREE) {
            return;
        }
        loop {
            if self.next == self.walks.len() {
                (self.turn, self.next) = (self.turn + 1, 0);
            }
            let (member, walk) = (self.next, &mut self.walks[self.next]);
            self.next += 1;
            // The heaviest takes a slot each turn, one of a third of its weight each third turn.
            if self.turn * walk.weight < walk.target {
                continue;
            }
            walk.target += self.heaviest;
            let slot = walk.next_free(&self.is_held, self.slots.len());
            self.is_held[slot / 64] |= 1 << (slot % 64);
            self.slots[slot] = u32::try_from(member).unwrap_or(FREE - 1);
            if slot == wanted {
                return;
            }
        }
    }
}

impl Walk {
    /// The next slot on its way that nobody holds; there has to be one.
    fn next_free(&mut self, is_held: &[u64], size: usize) -> usize {
        loop {
            let slot = self.at;
            self.at += self.skip;
            if self.at >= size {
                self.at -= size;
            }
            if is_held[slot / 64] >> (slot % 64) & 1 == 0 {
                return slot;
            }
        }
    }
}

fn fingerprint<'a>(members: impl Iterator<Item = (&'a str, u16)>) -> u64 {
    members.fold(0, |hash, (name, weight)| xxh64(name.as_bytes(), hash ^ u64::from(weight)).rotate_left(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walks(walks: &[(usize, usize)]) -> Vec<Walk> {
        walks.iter().map(|(at, skip)| Walk { at: *at, skip: *skip, weight: 1, target: 0 }).collect()
    }

    fn fill(walks: Vec<Walk>, size: usize) -> Vec<u32> {
        let mut table = Table::of(walks, size, 0);
        (0..size).for_each(|slot| table.deal_until(slot));
        table.slots
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

    fn owners(mut table: Table, size: u64) -> Vec<usize> {
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
        assert_eq!(owners(envoy(&HOSTS, 7), 7), [2, 4, 0, 1, 5, 0, 3]);
        let named = [("90", 1), ("91", 1), ("92", 1), ("93", 1), ("94", 1), ("95", 1)];
        assert_eq!(owners(envoy(&named, 7), 7), [2, 5, 0, 3, 4, 1, 0]);
        let weighted = [("127.0.0.1:90", 1), ("127.0.0.1:91", 2)];
        assert_eq!(owners(envoy(&weighted, 17), 17), [1, 0, 0, 1, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 1, 0, 1]);
    }

    /// Envoy's figures for a key of 10 whose first host, then whose second is refused.
    #[test]
    fn later_attempts_are_envoys() {
        let mut table = envoy(&HOSTS, 7);
        assert_eq!([0, 1, 2].map(|attempt| table.member(10, attempt)), [Some(1), Some(0), Some(5)]);
    }

    #[test]
    fn shares_are_even_and_a_leaving_node_disturbs_few_others() {
        let names: Vec<String> = (0..100).map(|index| format!("node-{index}")).collect();
        let owners = |names: &[String]| {
            owners(Table::new(names.iter().map(|name| (name.as_str(), 1)), SLOTS), SLOTS as u64)
        };
        let (all, fewer) = (owners(&names), owners(&names[..99]));
        let mut shares = vec![0usize; 100];
        for owner in &all {
            shares[*owner] += 1;
        }
        let mean = SLOTS / 100;
        assert!(shares.iter().all(|share| share.abs_diff(mean) <= mean / 50), "{shares:?}");
        let moved = all.iter().zip(&fewer).filter(|(one, other)| **one != 99 && one != other);
        // The paper measures that a few percent move besides those of the node that left.
        assert!(moved.count() < SLOTS / 20);
    }

    #[test]
    fn whoever_is_asked_first_every_slot_has_the_same_owner() {
        let whole = owners(envoy(&HOSTS, 1009), 1009);
        for hash in (0..1009).rev() {
            assert_eq!(
                envoy(&HOSTS, 1009).member(hash, 0),
                Some(whole[usize::try_from(hash).expect("small")])
            );
        }
    }

    #[test]
    fn nobody_holds_the_slots_of_an_empty_table() {
        assert_eq!(envoy(&[], 7).member(3, 0), None);
        assert!(envoy(&HOSTS, 7).is_of(HOSTS.into_iter()));
        assert!(!envoy(&HOSTS, 7).is_of(HOSTS[1..].iter().copied()));
    }
}
