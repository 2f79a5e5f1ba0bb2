//! Two devices and one store, honest and not.

use super::*;
use crate::{head::Closing, keys::AccountKey, object::copy_objects, save::SaveMeta, secret::SystemRandom};

struct World {
    directory: tempfile::TempDir,
    account: AccountKey,
    shared: DirectoryStore,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let shared = DirectoryStore::open(directory.path().join("shared")).unwrap();
        Self { directory, account: AccountKey::from_bytes([1; 32]), shared }
    }

    fn first(&self) -> Authority {
        let root = self.directory.path().join("first");
        Authority::create(&root, &"work".parse().unwrap(), &self.account, 1, &mut SystemRandom).unwrap()
    }

    fn second(&self, keys: &ProfileKeys) -> Authority {
        Authority::receive(&self.directory.path().join("second"), &"work".parse().unwrap(), keys, 1).unwrap()
    }

    /// Saves these cookies as the device's next generation.
    fn save(&self, device: &Authority, cookies: &str) -> HeadRef {
        let data = self.directory.path().join("data");
        std::fs::create_dir_all(data.join("Default")).unwrap();
        std::fs::write(data.join("Default/Cookies"), cookies).unwrap();
        let meta = SaveMeta {
            now: 7,
            device: "laptop".into(),
            browser_version: "156".into(),
            closing: Closing::Clean,
        };
        let keys = device.keys(&self.account).unwrap();
        device.sync(&data, &keys, &meta, &mut SystemRandom).unwrap().head
    }

    /// Sends everything to the store, and points to it there.
    fn push(&self, device: &Authority, replaced: Option<&HeadRef>) -> Pointer {
        let keys = device.keys(&self.account).unwrap();
        let snapshot = device.snapshot(&keys).unwrap().unwrap();
        copy_objects(&snapshot.objects(), device.store(), &self.shared).unwrap();
        let head = device.head().unwrap().unwrap();
        device.note_pointer(&head).unwrap();
        pointer(&keys, head, replaced)
    }

    fn pull(&self, device: &Authority, pointer: &Pointer) -> Result<Pulled, PullError> {
        let keys = device.keys(&self.account).unwrap();
        let lacking = device.fetch_offer(pointer, &keys, &self.shared)?;
        copy_objects(&lacking, &self.shared, device.store())?;
        device.pull(pointer, &keys, &mut SystemRandom)
    }

    fn cookies(&self, device: &Authority, name: &ObjectName) -> u64 {
        device.snapshot_at(name, &device.keys(&self.account).unwrap()).unwrap().head().bytes
    }
}

fn pointer(keys: &ProfileKeys, head: HeadRef, replaced: Option<&HeadRef>) -> Pointer {
    Pointer::new(keys, head, replaced.cloned(), 7, &"work".parse().unwrap(), &mut SystemRandom)
}

#[test]
fn a_second_device_gets_what_the_first_one_had_and_follows_it() {
    let world = World::new();
    let first = world.first();
    let keys = first.keys(&world.account).unwrap();
    let one = world.save(&first, "one");
    let second = world.second(&keys);
    let offer = world.push(&first, None);
    assert_eq!(world.pull(&second, &offer).unwrap(), Pulled::Current(one.clone()));
    assert_eq!(world.pull(&second, &offer).unwrap(), Pulled::Already(one.clone()));
    let two = world.save(&first, "two!!");
    let later = world.push(&first, Some(&one));
    assert_eq!(world.pull(&second, &later).unwrap(), Pulled::Current(two.clone()));
    assert_eq!(second.head().unwrap(), Some(two));
    assert_eq!(second.history().unwrap().len(), 2);
}

#[test]
fn changes_of_both_devices_are_both_kept_and_can_be_pushed_on() {
    let world = World::new();
    let first = world.first();
    let one = world.save(&first, "one");
    let second = world.second(&first.keys(&world.account).unwrap());
    world.pull(&second, &world.push(&first, None)).unwrap();
    let theirs = world.save(&first, "theirs");
    let offer = world.push(&first, Some(&one));
    let ours = world.save(&second, "ours");
    let Pulled::Merged { current, kept, pulled_as } = world.pull(&second, &offer).unwrap() else {
        panic!("they diverged")
    };
    assert_eq!((current.generation, &kept), (3, &ours));
    assert_eq!((world.cookies(&second, &current.name), world.cookies(&second, &ours.name)), (6, 4));
    assert!(second.record_of(&pulled_as.parse().unwrap()).unwrap().head == theirs);
    // It goes on from what the store has, so the store will take it, and so will the first device.
    let next = world.push(&second, Some(&theirs));
    assert_eq!(world.pull(&first, &next).unwrap(), Pulled::Current(current));
}

#[test]
fn a_device_that_is_ahead_keeps_what_it_has() {
    let world = World::new();
    let first = world.first();
    world.save(&first, "one");
    let offer = world.push(&first, None);
    let two = world.save(&first, "two");
    assert_eq!(world.pull(&first, &offer).unwrap(), Pulled::Ahead(two.clone()));
    assert_eq!(first.head().unwrap(), Some(two));
}

#[test]
fn rollbacks_forks_and_foreign_heads_are_refused_and_change_nothing() {
    let world = World::new();
    let first = world.first();
    let keys = first.keys(&world.account).unwrap();
    let one = world.save(&first, "one");
    let older = world.push(&first, None);
    let two = world.save(&first, "two");
    world.push(&first, Some(&one));
    assert!(matches!(world.pull(&first, &older), Err(PullError::RolledBack { offered: 1, seen: 2 })));
    let forked = pointer(&keys, HeadRef { generation: 2, ..one.clone() }, None);
    assert!(matches!(world.pull(&first, &forked), Err(PullError::Forked(2))));
    let ahead = pointer(&keys, HeadRef { generation: 9, ..one.clone() }, None);
    let refused = world.pull(&first, &ahead);
    assert!(matches!(refused, Err(PullError::Mismatch { pointer: 9, head: 1 })), "{refused:?}");
    let nothing = pointer(&keys, HeadRef { generation: 9, name: ObjectName::of(b"no head") }, None);
    let refused = world.pull(&first, &nothing);
    assert!(matches!(refused, Err(PullError::Open(OpenError::Store(StoreError::Missing(_))))), "{refused:?}");
    assert_eq!(first.head().unwrap(), Some(two.clone()));
    assert_eq!(first.noted_pointer().unwrap(), Some(two));
}

#[test]
fn a_device_without_a_note_compares_with_its_own_history() {
    let name = |of: u8| ObjectName::from_bytes([of; 32]);
    let head = |generation, of| HeadRef { generation, name: name(of) };
    let world = World::new();
    let first = world.first();
    world.save(&first, "one");
    world.save(&first, "two");
    let history = first.history().unwrap();
    let local = &history[1].head;
    let judged = |offered: &HeadRef| judge(None, Some(local), &history, offered);
    assert!(matches!(judged(&history[0].head), Ok(Offer::Ahead)));
    assert!(matches!(judged(&head(1, 9)), Err(PullError::Forked(1))));
    assert!(matches!(judged(&head(2, 9)), Err(PullError::Forked(2))));
    assert!(matches!(judged(&head(3, 9)), Ok(Offer::Diverged)));
    assert!(matches!(judge(None, None, &[], &head(3, 9)), Ok(Offer::Forward)));
}

#[test]
fn nothing_becomes_current_before_all_of_it_is_here() {
    let world = World::new();
    let first = world.first();
    let keys = first.keys(&world.account).unwrap();
    world.save(&first, "one");
    let offer = world.push(&first, None);
    let second = world.second(&keys);
    let lacking = second.fetch_offer(&offer, &keys, &world.shared).unwrap();
    assert_eq!(lacking.len(), 1, "the pack; head and manifest came with the question");
    let refused = second.pull(&offer, &keys, &mut SystemRandom);
    assert!(matches!(refused, Err(PullError::Store(StoreError::Missing(_)))), "{refused:?}");
    assert_eq!((second.head().unwrap(), second.noted_pointer().unwrap()), (None, None));
}
