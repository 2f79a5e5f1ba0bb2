//! A proof works once: the cache remembers each for as long as it could be sent again, within bounds.

use std::collections::{HashMap, HashSet, VecDeque};

use aws_lc_rs::digest;

use super::proof::{PROOF_TOLERANCE, Proof};

/// Most proofs remembered of one client key. A client that sends more in the time they are remembered (two minutes) is
/// refused until the oldest have aged; smaller would slow down a large profile's upload.
pub const REPLAYS_PER_CLIENT: usize = 16_384;
/// Most proofs remembered in all, 40 bytes each and the tables' slack: about 16 MB when full.
pub const REPLAYS_TOTAL: usize = 131_072;

/// Why a proof that holds is refused all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Seen before.
    #[error("this proof was used before; every request needs its own")]
    Replayed,
    /// Nothing can be remembered any more, so nothing may pass.
    #[error("too many requests in a short time; wait a moment")]
    TooMany,
}

/// The proofs seen lately.
#[derive(Debug, Default)]
pub struct ReplayCache {
    seen: HashSet<[u8; 32]>,
    per_client: HashMap<String, usize>,
    /// In the order of arrival, with the second after which each could not be sent again.
    order: VecDeque<(u64, [u8; 32], String)>,
}

impl ReplayCache {
    /// Takes note of `proof` at `now` (seconds since the epoch), unless it was there.
    pub fn admit(&mut self, proof: &Proof, now: u64) -> Result<(), ReplayError> {
        self.forget(now);
        let name = name(proof);
        if self.seen.contains(&name) {
            return Err(ReplayError::Replayed);
        }
        let of_client = self.per_client.get(&proof.thumbprint).copied().unwrap_or(0);
        if of_client >= REPLAYS_PER_CLIENT || self.seen.len() >= REPLAYS_TOTAL {
            return Err(ReplayError::TooMany);
        }
        // A proof from a clock that is ahead by the tolerance holds for twice the tolerance from now.
        let until = now + 2 * PROOF_TOLERANCE.as_secs();
        self.seen.insert(name);
        self.per_client.insert(proof.thumbprint.clone(), of_client + 1);
        self.order.push_back((until, name, proof.thumbprint.clone()));
        Ok(())
    }

    fn forget(&mut self, now: u64) {
        while self.order.front().is_some_and(|(until, ..)| *until < now) {
            let Some((_, name, client)) = self.order.pop_front() else { return };
            self.seen.remove(&name);
            let left = self.per_client.get(&client).map_or(0, |count| count - 1);
            if left == 0 {
                self.per_client.remove(&client);
            } else {
                self.per_client.insert(client, left);
            }
        }
    }
}

/// Fixed length, whatever a client calls its proofs.
fn name(proof: &Proof) -> [u8; 32] {
    let text = [proof.thumbprint.as_bytes(), &[0], proof.id.as_bytes()].concat();
    digest::digest(&digest::SHA256, &text).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(client: &str, id: usize) -> Proof {
        Proof { thumbprint: client.into(), id: id.to_string() }
    }

    #[test]
    fn a_proof_works_once_for_as_long_as_it_could_be_sent() {
        let mut cache = ReplayCache::default();
        let window = 2 * PROOF_TOLERANCE.as_secs();
        assert_eq!(cache.admit(&proof("a", 1), 1000), Ok(()));
        assert_eq!(cache.admit(&proof("a", 1), 1000 + window), Err(ReplayError::Replayed));
        assert_eq!(cache.admit(&proof("b", 1), 1000), Ok(()));
        assert_eq!(cache.admit(&proof("a", 1), 1001 + window), Ok(()));
    }

    #[test]
    fn one_client_cannot_lock_out_another_and_the_cache_stays_bounded() {
        let mut cache = ReplayCache::default();
        for id in 0..REPLAYS_PER_CLIENT {
            assert_eq!(cache.admit(&proof("a", id), 1000), Ok(()));
        }
        assert_eq!(cache.admit(&proof("a", REPLAYS_PER_CLIENT), 1000), Err(ReplayError::TooMany));
        assert_eq!(cache.admit(&proof("b", 0), 1000), Ok(()));
        let later = 1001 + 2 * PROOF_TOLERANCE.as_secs();
        assert_eq!(cache.admit(&proof("a", 0), later), Ok(()));
        assert_eq!((cache.seen.len(), cache.order.len(), cache.per_client.len()), (1, 1, 1));
    }

    #[test]
    fn a_full_cache_refuses_instead_of_forgetting() {
        let mut cache = ReplayCache::default();
        for id in 0..REPLAYS_TOTAL {
            assert_eq!(cache.admit(&proof(&format!("c{}", id % 8), id), 1000), Ok(()));
        }
        assert_eq!(cache.admit(&proof("z", 0), 1000), Err(ReplayError::TooMany));
        assert_eq!(cache.admit(&proof("c0", 0), 1000), Err(ReplayError::Replayed));
    }
}
