//! How much one client may ask, and how many connections it may have: counted by network prefix, in bounded memory.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::peer::Prefix;

/// Keys that a generation remembers. Two of them make some 4 MB at most, whoever asks. Fewer: a crowd of addresses makes the
/// node forget sooner who asked how often.
const MOST_KEYS: usize = 32 * 1024;

/// So many at once, and then one more each `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// Between two, in the long run.
    pub every: Duration,
}

/// A token bucket for each key (GCRA: a key's whole state is the time at which its bucket is full again).
#[derive(Debug)]
pub struct Limiter<K> {
    rate: Rate,
    most: usize,
    full_again: Mutex<Generations<K>>,
}

/// When the young are too many they become the old ones, and the old are forgotten: no search for whom to forget.
#[derive(Debug)]
struct Generations<K> {
    young: HashMap<K, Instant>,
    old: HashMap<K, Instant>,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    /// Nobody has asked yet.
    pub fn new(rate: Rate) -> Self {
        Self::remembering(rate, MOST_KEYS)
    }

    fn remembering(rate: Rate, most: usize) -> Self {
        let full_again = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { rate, most, full_again: Mutex::new(full_again) }
    }

    /// Counts a question at `now`, or says how long to wait with it.
    pub fn admit(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let mut generations = lock(&self.full_again);
        let known = generations.young.get(key).or_else(|| generations.old.get(key)).copied();
        let full_again = known.map_or(now, |at| at.max(now));
        let ahead = full_again.saturating_duration_since(now);
        let allowed = self.rate.every * self.rate.burst.saturating_sub(1);
        if ahead > allowed {
            return Err(ahead.saturating_sub(allowed));
        }
        if generations.young.len() >= self.most && !generations.young.contains_key(key) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key.clone(), full_again + self.rate.every);
        Ok(())
    }
}

/// How many each client has of something now.
#[derive(Debug, Clone)]
pub struct Crowd {
    most: u32,
    counts: Arc<Mutex<HashMap<Prefix, u32>>>,
}

/// One of them; given back when dropped.
#[derive(Debug)]
pub struct Place {
    prefix: Prefix,
    counts: Arc<Mutex<HashMap<Prefix, u32>>>,
}

impl Crowd {
    /// At most `most` for each.
    pub fn new(most: u32) -> Self {
        Self { most, counts: Arc::default() }
    }

    /// One more, unless this client has all of its own.
    pub fn enter(&self, prefix: Prefix) -> Option<Place> {
        let mut counts = lock(&self.counts);
        let count = counts.entry(prefix).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { prefix, counts: self.counts.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        if let Some(count) = counts.get_mut(&self.prefix) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.prefix);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, every: Duration::from_millis(100) };

    #[test]
    fn a_bucket_empties_and_fills_again() {
        let (limiter, start) = (Limiter::new(RATE), Instant::now());
        for _ in 0..RATE.burst {
            assert_eq!(limiter.admit(&1, start), Ok(()));
        }
        assert_eq!(limiter.admit(&1, start), Err(RATE.every), "one more than at once");
        assert_eq!(limiter.admit(&2, start), Ok(()), "another client's bucket is its own");
        let near = Duration::from_nanos(1);
        assert_eq!(limiter.admit(&1, start + RATE.every.saturating_sub(near)), Err(near));
        assert_eq!(limiter.admit(&1, start + RATE.every), Ok(()));
        assert_eq!(limiter.admit(&1, start + RATE.every), Err(RATE.every));
        // A long silence fills the bucket, and no more than that.
        let later = start + RATE.every * 1000;
        for _ in 0..RATE.burst {
            assert_eq!(limiter.admit(&1, later), Ok(()));
        }
        assert!(limiter.admit(&1, later).is_err());
        // A refusal costs nothing, or whoever asks on would never be heard again.
        assert_eq!(limiter.admit(&1, later + RATE.every), Ok(()));
    }

    #[test]
    fn a_million_addresses_fill_no_memory_and_the_busy_are_not_forgotten_among_a_few() {
        let (limiter, now) = (Limiter::remembering(RATE, 1000), Instant::now());
        for key in 0..1_000_000_u32 {
            assert_eq!(limiter.admit(&key, now), Ok(()));
        }
        {
            let generations = lock(&limiter.full_again);
            assert!(generations.young.len() <= 1000 && generations.old.len() <= 1000);
        }
        let busy = u32::MAX;
        for key in 0..RATE.burst {
            assert_eq!(limiter.admit(&busy, now), Ok(()));
            assert_eq!(limiter.admit(&key, now), Ok(()));
        }
        for key in 2_000_000..2_000_999 {
            assert_eq!(limiter.admit(&key, now), Ok(()));
        }
        assert!(limiter.admit(&busy, now).is_err());
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let crowd = Crowd::new(2);
        let (one, other) = (Prefix::of(([192, 0, 2, 1], 1).into()), Prefix::of(([192, 0, 2, 2], 1).into()));
        let held: Vec<_> = (0..2).map(|_| crowd.enter(one).expect("a place")).collect();
        assert!(crowd.enter(one).is_none());
        assert!(crowd.enter(other).is_some());
        drop(held);
        assert!(lock(&crowd.counts).is_empty(), "nobody is remembered for nothing");
        assert!(crowd.enter(one).is_some());
    }
}
