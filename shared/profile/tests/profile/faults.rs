//! A store that fails at its n-th question, in every way that stores fail: the old head or the new one is there afterwards, and
//! the same work done again succeeds.

use std::{
    fs, io,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use cbrowse_profile::{
    authority::Accepted,
    meter::Meter,
    object::{ObjectName, ObjectStore, StoreError},
    proposal::propose,
    restore::restore,
    secret::SystemRandom,
};

use crate::world::{World, database, meta, noise, plant};

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Before anything is done.
    Before,
    /// It is done, and nobody hears of it.
    After,
    /// Half of the bytes come or arrive.
    Half,
    /// No space is left.
    Full,
    /// It is done, slowly, and then the store is gone.
    Slow,
}

const FAULTS: [Fault; 5] = [Fault::Before, Fault::After, Fault::Half, Fault::Full, Fault::Slow];

/// Fails at the question after `left` good ones, and at every later one.
struct Faulty<'a> {
    inner: &'a dyn ObjectStore,
    left: AtomicU32,
    fault: Fault,
}

impl<'a> Faulty<'a> {
    fn new(inner: &'a dyn ObjectStore, left: u32, fault: Fault) -> Self {
        Self { inner, left: AtomicU32::new(left), fault }
    }

    fn was_hit(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    fn error(&self) -> StoreError {
        match self.fault {
            Fault::Full => StoreError::Disk {
                action: "write",
                path: "the store".into(),
                source: io::Error::from(io::ErrorKind::StorageFull),
            },
            _ => StoreError::Remote { message: "the line is cut".into(), retryable: true },
        }
    }

    fn ask<T>(
        &self,
        answer: impl FnOnce() -> Result<T, StoreError>,
        half: impl FnOnce(T) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let less = |left: u32| Some(left.saturating_sub(1));
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(2..) => return answer(),
            Ok(1) => {}
            _ => return Err(self.error()),
        }
        match self.fault {
            Fault::Before | Fault::Full => Err(self.error()),
            Fault::After => answer().and(Err(self.error())),
            Fault::Half => answer().and_then(half),
            Fault::Slow => {
                std::thread::sleep(Duration::from_millis(20));
                answer()
            }
        }
    }
}

impl ObjectStore for Faulty<'_> {
    fn missing(&self, names: &[ObjectName]) -> Result<Vec<ObjectName>, StoreError> {
        self.ask(|| self.inner.missing(names), |_| Err(self.error()))
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        self.ask(|| self.inner.get(name), |object| Ok(object[..object.len() / 2].to_vec()))
    }

    fn put(&self, name: &ObjectName, object: &[u8]) -> Result<(), StoreError> {
        let half =
            |()| Err(self.inner.put(name, &object[..object.len() / 2]).err().unwrap_or_else(|| self.error()));
        // The half that arrives is not the object, and a store that keeps it says so.
        if self.fault == Fault::Half && self.left.load(Ordering::SeqCst) == 1 {
            return self.ask(|| Ok(()), half);
        }
        self.ask(|| self.inner.put(name, object), Ok)
    }
}

/// Every file of the current generation, and what its cookies are.
fn current(world: &World, out: &str) -> Vec<u8> {
    let keys = world.keys();
    let snapshot = world.authority.snapshot(&keys).unwrap().unwrap();
    assert!(world.holds_everything(&snapshot));
    let target = world.path(out);
    restore(&snapshot, world.authority.store(), &target).unwrap();
    let cookies = fs::read(target.join("Default/Cookies")).unwrap();
    fs::remove_dir_all(target).unwrap();
    cookies
}

fn standing() -> (World, Vec<u8>, Vec<u8>) {
    let world = World::new();
    let (old, new) = (database(3, "old"), database(4, "new"));
    plant(&world.path("browser"), "Default/History", &noise("h", 40_000));
    plant(&world.path("browser"), "Default/Cookies", &old);
    world.authority.sync(&world.path("browser"), &world.keys(), &meta(10), &mut SystemRandom).unwrap();
    (world, old, new)
}

#[test]
fn a_sync_through_a_failing_store_leaves_old_or_new_and_goes_through_when_it_is_back() {
    for fault in FAULTS {
        for step in 1.. {
            let (world, old, new) = standing();
            plant(&world.path("browser"), "Default/Cookies", &new);
            let (keys, data) = (world.keys(), world.path("browser"));
            let store = Faulty::new(world.authority.store(), step, fault);
            let synced = world.authority.sync_through(
                &data,
                &keys,
                &meta(11),
                &store,
                &Meter::default(),
                &mut SystemRandom,
            );
            let found = current(&world, "out");
            assert!(found == old || found == new, "{fault:?} at {step}");
            if synced.is_ok() {
                assert_eq!(found, new, "{fault:?} at {step}: what was said to be saved is there");
            }
            if !store.was_hit() {
                assert!(step > 3, "the save asked the store {step} times");
                break;
            }
            world.authority.sync(&data, &keys, &meta(12), &mut SystemRandom).unwrap();
            assert_eq!(current(&world, "out"), new, "{fault:?} at {step}");
        }
    }
}

#[test]
fn a_proposal_from_a_failing_store_is_taken_in_full_or_not_at_all_and_later_after_all() {
    for fault in FAULTS {
        for step in 1.. {
            let (world, old, new) = standing();
            let proposal = world.session("session", |data| plant(data, "Default/Cookies", &new));
            let node = Faulty::new(&world.node, step, fault);
            let accepted = world.authority.accept(&proposal, &world.keys(), &node, &mut SystemRandom);
            let found = current(&world, "out");
            assert!(found == if accepted.is_ok() { new.clone() } else { old }, "{fault:?} at {step}");
            if !node.was_hit() {
                assert!(step > 2, "taking it over asked the node {step} times");
                break;
            }
            let again = world.accept(&proposal);
            assert!(
                matches!(again, Accepted::Current(_) | Accepted::Already(_)),
                "{fault:?} at {step}: {again:?}"
            );
            assert_eq!(current(&world, "out"), new);
        }
    }
}

#[test]
fn a_workers_save_into_a_failing_store_is_proposed_in_full_or_not_at_all() {
    for fault in FAULTS {
        for step in 1.. {
            let (world, _, new) = standing();
            let base = world.authority.snapshot(&world.keys()).unwrap();
            let grant = world.granted(base.as_ref());
            plant(&world.path("browser"), "Default/Cookies", &new);
            let objects = base.as_ref().unwrap().objects();
            cbrowse_profile::object::copy_objects(&objects, world.authority.store(), &world.node).unwrap();
            let store = Faulty::new(&world.node, step, fault);
            let data = world.path("browser");
            let said = propose(&data, &grant, base.as_ref(), &store, &meta(20), &mut SystemRandom);
            if let Ok((proposal, _)) = &said {
                assert!(matches!(world.accept(proposal), Accepted::Current(_)), "{fault:?} at {step}");
            }
            if !store.was_hit() {
                assert!(said.is_ok());
                break;
            }
            let (proposal, _) =
                propose(&data, &grant, base.as_ref(), &world.node, &meta(21), &mut SystemRandom).unwrap();
            world.accept(&proposal);
            assert_eq!(current(&world, "out"), new, "{fault:?} at {step}");
        }
    }
}
