//! Maglev's lookup table: every node holds a share of the slots by its weight, and when a node leaves, hardly any slot
//! changes its owner but those that it held.
//!
//! Sources: Eisenbud et al., "Maglev" (NSDI 2016), listing 1; weights, hash and the slots of later attempts as in Envoy.

use super::xxh64::xxh64;

/// Slots: prime, and a hundred times the nodes of an ordinary fleet, so that shares are even within one percent.
/// Frozen: another size moves every profile.
pub const SLOTS: usize = 65_537;
/// With so few slots left, a walk's next one is computed and not looked for: by then nearly every look finds a slot that
/// is held, and half of all looks are for the last hundred slots. Nothing but time depends on it.
const FEW: usize = 100;
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
        Self { slots: fill(walks.collect(), size, FEW), fingerprint }
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

/// Slots while they are handed out.
struct Slots {
    owners: Vec<u32>,
    // Most looks find a slot that is held. A bit for each stays in the nearest cache, which the owners outgrow.
    is_held: Vec<u64>,
    /// The last ones.
    left: Vec<usize>,
}

impl Slots {
    fn is_held(&self, slot: usize) -> bool {
        self.is_held[slot / 64] >> (slot % 64) & 1 == 1
    }

    fn take(&mut self, slot: usize, member: usize) {
        self.is_held[slot / 64] |= 1 << (slot % 64);
        self.owners[slot] = u32::try_from(member).unwrap_or(FREE - 1);
    }

    /// The first free slot on a walk.
    fn look(&self, walk: &Walk) -> usize {
        let size = self.owners.len();
        let mut slot = walk.at;
        while self.is_held(slot) {
            slot += walk.skip;
            if slot >= size {
                slot -= size;
            }
        }
        slot
    }

    /// The same out of the last ones, which are kept from the first call on.
    fn compute(&mut self, walk: &Walk) -> usize {
        if self.left.is_empty() {
            self.left = (0..self.owners.len()).filter(|slot| !self.is_held(*slot)).collect();
        }
        let size = self.owners.len() as u64;
        let steps_a_slot = inverse(walk.skip as u64, size);
        let steps = |slot: usize| (slot as u64 + size - walk.at as u64) % size * steps_a_slot % size;
        let nearest = (0..self.left.len()).min_by_key(|index| steps(self.left[*index]));
        self.left.swap_remove(nearest.expect("whoever asks knows that one is free"))
    }
}

/// What `number` has to be multiplied by to be 1 modulo `prime` (Euclid's algorithm).
fn inverse(number: u64, prime: u64) -> u64 {
    let (mut rests, mut factors) = ((prime, number), (0, 1));
    while rests.1 > 1 {
        let times = rests.0 / rests.1;
        rests = (rests.1, rests.0 % rests.1);
        factors = (factors.1, (factors.0 + (prime - factors.1) * times) % prime);
    }
    factors.1
}

fn fill(mut walks: Vec<Walk>, size: usize, few: usize) -> Vec<u32> {
    let mut slots = Slots { owners: vec![FREE; size], is_held: vec![0; size.div_ceil(64)], left: Vec::new() };
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
            let slot = if size - held > few { slots.look(walk) } else { slots.compute(walk) };
            walk.at = (slot + walk.skip) % size;
            slots.take(slot, member);
            held += 1;
        }
    }
    slots.owners
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
        for few in [0, FEW] {
            assert_eq!(fill(walks(&[(3, 4), (0, 2), (3, 1)]), 7, few), [1, 0, 1, 0, 2, 2, 0]);
            // Here member 1 is B2.
            assert_eq!(fill(walks(&[(3, 4), (3, 1)]), 7, few), [0, 0, 0, 0, 1, 1, 1]);
        }
    }

    #[test]
    fn the_last_slots_go_to_whom_looking_gives_them() {
        let mut state = 7;
        let mut below = |limit: usize| {
            state = xxh64(&u64::to_le_bytes(state), 0);
            usize::try_from(state % limit as u64).expect("small")
        };
        for (size, members) in [(7, 3), (251, 1), (251, 40), (251, 300), (1009, 100), (SLOTS, 3000)] {
            let walk = |_| Walk {
                at: below(size),
                skip: below(size - 1) + 1,
                weight: 1 + below(5) as u64,
                target: 0,
            };
            let walks: Vec<Walk> = (0..members).map(walk).collect();
            let looked = fill(walks.clone(), size, 0);
            assert!(!looked.contains(&FREE));
            assert!(fill(walks, size, FEW) == looked, "{members} nodes, {size} slots");
        }
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
