//! A rotation, and one that stops after every single step. The slot is a variable here, so that a crash can fall on either side of
//! its change; the real ones are tested where they are.

use std::{cell::RefCell, fs, path::PathBuf};

use super::*;
use crate::{
    account::{Standing, device::DeviceSecret},
    files::tests::crash_after,
    head::Closing,
    restore::restore,
    secret::SystemRandom,
    slot::{Cost, seal_slot},
    verify::Verifier,
};

struct World {
    directory: tempfile::TempDir,
    account: AccountDirectory,
    /// What the keyring holds.
    slot: RefCell<AccountKey>,
}

fn name(text: &str) -> DeviceName {
    text.parse().unwrap()
}

fn meta() -> SaveMeta {
    SaveMeta { now: 50, device: "desk".into(), browser_version: "157".into(), closing: Closing::Clean }
}

impl World {
    /// A founded account with a passphrase, a laptop and two profiles; one of them has two generations, the other none.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let account = AccountDirectory::at(directory.path().join("account"));
        let key = AccountKey::from_bytes([1; 32]);
        let (desk, laptop) = (DeviceSecret::from_bytes([11; 32]), DeviceSecret::from_bytes([12; 32]));
        let log = Log::found(&key, &name("desk"), desk.public(), 10);
        let add = Change::AddDevice { name: name("laptop"), key: laptop.public() };
        let log = log.append(&key, None, &name("desk"), 20, add).unwrap();
        let log = log.append(&key, None, &name("desk"), 20, Change::AddPassphrase).unwrap();
        account.keep_log(&log).unwrap();
        let cheap = Cost { memory_kib: 64, passes: 1, lanes: 1 };
        account.keep_passphrase_slot(&seal_slot(&key, "p", cheap, &mut SystemRandom).unwrap()).unwrap();
        let world = Self { directory, account, slot: RefCell::new(key) };
        for profile in ["work", "play"] {
            Authority::create(
                &world.profiles(),
                &profile.parse().unwrap(),
                &world.slot.borrow(),
                1,
                &mut SystemRandom,
            )
            .unwrap();
        }
        world.save("one");
        world.save("two");
        world
    }

    fn profiles(&self) -> PathBuf {
        self.directory.path().join("profiles")
    }

    fn open(&self) -> Authority {
        Authority::open(&self.profiles(), "work").unwrap()
    }

    fn save(&self, cookies: &str) {
        let data = self.directory.path().join("data");
        fs::create_dir_all(data.join("Default")).unwrap();
        fs::write(data.join("Default/Cookies"), cookies).unwrap();
        fs::write(data.join("Default/History"), vec![7; 300_000]).unwrap();
        let keys = self.open().keys_of(&self.whole()).unwrap();
        self.open().sync(&data, &keys, &SaveMeta { now: 1, ..meta() }, &mut SystemRandom).unwrap();
    }

    fn standing(&self) -> Result<Standing, AccountError> {
        self.account.open(self.slot.borrow().duplicate())
    }

    fn whole(&self) -> Account {
        match self.standing().unwrap() {
            Standing::Whole(account) => account,
            Standing::Interrupted { .. } => panic!("interrupted"),
        }
    }

    /// As a command does it: finishes what it finds, or begins.
    fn rotate(&self) -> Result<Account, AccountError> {
        let (laptop, desk) = (name("laptop"), name("desk"));
        let rotation = match self.standing()? {
            Standing::Interrupted { rotation, .. } => rotation,
            Standing::Whole(account) if account.epoch() > 1 => return Ok(account),
            Standing::Whole(account) => {
                let plan = Plan { device: &desk, revoke: Some(&laptop), now: 40 };
                Rotation::begin(&self.account, &account, &self.profiles(), plan, &mut SystemRandom)?
            }
        };
        rotation.seal_profiles(&self.profiles(), &meta(), &Meter::default(), &mut SystemRandom)?;
        rotation.keep_log(&self.account)?;
        files_step()?;
        *self.slot.borrow_mut() = rotation.account().key().duplicate();
        rotation.end(&self.account)
    }

    /// Everything opens with what is at hand, and the current generation is "two".
    fn check(&self, key: &str) {
        let account = match self.standing().unwrap() {
            Standing::Whole(account) => account,
            Standing::Interrupted { rotation, .. } => rotation.account,
        };
        let authority = self.open();
        let keys = ProfileKeys::of(&account, &authority.record().id);
        let contents: Vec<_> = authority
            .history()
            .unwrap()
            .iter()
            .map(|record| {
                let snapshot = authority.snapshot_at(&record.head.name, &keys).unwrap();
                let out = tempfile::tempdir().unwrap();
                restore(&snapshot, authority.store(), &out.path().join("x")).unwrap();
                fs::read_to_string(out.path().join("x/Default/Cookies")).unwrap()
            })
            .collect();
        assert_eq!(contents[..2], ["one", "two"], "{key}");
        assert!(contents[2..].iter().all(|cookies| cookies == "two"), "{key}: {contents:?}");
    }
}

/// A crash between the log and the slot.
fn files_step() -> Result<(), AccountError> {
    crate::files::tests::step()
        .map_err(|source| AuthorityError::Disk { action: "change", path: "slot".into(), source }.into())
}

#[test]
fn a_rotation_seals_again_and_old_generations_stay_readable() {
    let world = World::new();
    let old = ProfileKeys::derive(&world.slot.borrow(), &world.open().record().id);
    let before = world.open().record().verifying_key;
    let account = world.rotate().unwrap();
    world.check("rotated");
    assert_eq!((account.epoch(), world.whole().epoch()), (2, 2));
    let authority = world.open();
    assert_ne!(authority.record().verifying_key, before);
    assert_eq!(authority.record().earlier_verifying_keys, [before]);
    let keys = authority.keys_of(&account).unwrap();
    let history = authority.history().unwrap();
    let [_, second, third] = history.as_slice() else { panic!("{history:?}") };
    assert_eq!((third.head.generation, third.time, third.device.as_str()), (3, 50, "desk"));
    let snapshot = authority.snapshot(&keys).unwrap().unwrap();
    assert_eq!(snapshot.head().browser_version, "157");
    assert_eq!(snapshot.head().previous, Some(second.head.name));
    assert_whole(&authority, &snapshot);
    // Nothing of the new generation is an object or a chunk of the old one.
    let before = authority.snapshot_at(&second.head.name, &keys).unwrap();
    assert!(snapshot.objects().iter().all(|object| !before.objects().contains(object)));
    let ids = |snapshot: &crate::snapshot::Snapshot| -> Vec<_> {
        snapshot.manifest().files().iter().flat_map(|file| file.chunks.iter().map(|chunk| chunk.id)).collect()
    };
    assert!(ids(&snapshot).iter().all(|id| !ids(&before).contains(id)));
    // The revoked device has the old key: it opens what it had, and nothing that was sealed after.
    assert!(authority.snapshot_at(&second.head.name, &old).is_ok());
    let refused = authority.snapshot_at(&third.head.name, &old).unwrap_err();
    assert!(matches!(refused, AuthorityError::Open(_)), "{refused}");
    assert!(matches!(authority.keys(&AccountKey::from_bytes([1; 32])), Err(AuthorityError::WrongKey(_))));
    // The next save is an ordinary one, and sealed by the new key alone.
    world.save("two");
    assert_eq!(world.open().head().unwrap().unwrap().generation, 3, "nothing changed");
    let play = Authority::open(&world.profiles(), "play").unwrap();
    play.keys_of(&account).unwrap();
    assert_eq!(world.account.passphrase_slot().unwrap(), None, "it opened the old key");
}

#[test]
fn the_old_key_is_told_that_it_is_old() {
    let world = World::new();
    world.rotate().unwrap();
    let refused = world.account.open(AccountKey::from_bytes([1; 32])).unwrap_err();
    assert!(matches!(refused, AccountError::Superseded { found: 1, newest: 2 }), "{refused}");
    let foreign = world.account.open(AccountKey::from_bytes([9; 32])).unwrap_err();
    assert!(matches!(foreign, AccountError::Log(LogError::Foreign)), "{foreign}");
}

#[test]
fn a_profile_from_before_the_rotation_is_told_from_a_foreign_one() {
    let world = World::new();
    let id = world.open().record().id.clone();
    let place = world.profiles().join(id.as_str()).join("profile.json");
    let backup = fs::read(&place).unwrap();
    let account = world.rotate().unwrap();
    fs::write(&place, backup).unwrap();
    assert!(matches!(world.open().keys_of(&account), Err(AuthorityError::EarlierEpoch(_))));
    let keys = ProfileKeys::of(&account, &id);
    let outcome = world.open().rotate(&keys, &meta(), &Meter::default(), &mut SystemRandom).unwrap();
    assert!(matches!(outcome, Resealed::Nothing), "its generation was sealed again already: {outcome:?}");
    world.open().keys_of(&account).unwrap();
}

#[test]
fn a_damaged_generation_stays_under_the_earlier_key_and_stops_nothing() {
    let world = World::new();
    let authority = world.open();
    let keys = authority.keys_of(&world.whole()).unwrap();
    let snapshot = authority.snapshot(&keys).unwrap().unwrap();
    let pack = snapshot.manifest().packs.names().next().unwrap().to_string();
    fs::write(authority.store().root().join(&pack[..2]).join(&pack), b"damage").unwrap();
    let account = world.rotate().unwrap();
    let keys = world.open().keys_of(&account).unwrap();
    assert_eq!(world.open().head().unwrap().unwrap().generation, 2);
    world.open().snapshot(&keys).unwrap().unwrap();
    // The next save is made upon it, and takes nothing from it.
    world.save("three");
    let authority = world.open();
    let head = authority.snapshot(&keys).unwrap().unwrap();
    assert_eq!((head.head().generation, *head.signer()), (3, keys.verifying_key()));
    assert_whole(&authority, &head);
}

fn assert_whole(authority: &Authority, snapshot: &crate::snapshot::Snapshot) {
    let mut verifier = Verifier::default();
    verifier.check(snapshot, authority.store(), |_, _| {});
    assert!(verifier.damage.is_empty(), "{:?}", verifier.damage);
}

#[test]
fn a_generation_from_before_the_rotation_made_current_again_is_sealed_again() {
    use crate::authority::{Reverted, Reverting};
    let world = World::new();
    let account = world.rotate().unwrap();
    let authority = world.open();
    let keys = authority.keys_of(&account).unwrap();
    let first = authority.snapshot_at(&authority.history().unwrap()[0].head.name, &keys).unwrap();
    let by = Reverting { now: 60, device: "desk".into() };
    let upon = authority.head().unwrap();
    let reverted = authority.revert(&first, upon.as_ref(), &keys, &by, &mut SystemRandom).unwrap();
    let Reverted::Current(head) = reverted else { panic!("{reverted:?}") };
    let current = authority.snapshot(&keys).unwrap().unwrap();
    assert_eq!((head.generation, *current.signer()), (4, keys.verifying_key()));
    assert_eq!(current.head().previous, upon.map(|upon| upon.name));
    assert_whole(&authority, &current);
    let out = world.directory.path().join("out");
    restore(&current, authority.store(), &out).unwrap();
    assert_eq!(fs::read_to_string(out.join("Default/Cookies")).unwrap(), "one");
}

#[test]
fn a_current_generation_of_an_earlier_epoch_is_sealed_again_before_it_is_granted_or_saved_upon() {
    let world = World::new();
    let place = world.open().directory().to_owned();
    let copy = |name: &str| (name.to_owned(), fs::read(place.join(name)).unwrap());
    let backup = [copy("HEAD"), copy("SEEN")];
    let account = world.rotate().unwrap();
    let put_back = || {
        for (name, bytes) in &backup {
            fs::write(place.join(name), bytes).unwrap();
        }
        let keys = world.open().keys_of(&account).unwrap();
        assert_ne!(*world.open().snapshot(&keys).unwrap().unwrap().signer(), keys.verifying_key());
        keys
    };
    let keys = put_back();
    world.open().bring_up(&keys, &meta(), &mut SystemRandom).unwrap();
    assert_eq!(*world.open().snapshot(&keys).unwrap().unwrap().signer(), keys.verifying_key());
    put_back();
    world.save("three");
    let authority = world.open();
    let current = authority.snapshot(&keys).unwrap().unwrap();
    assert_eq!(*current.signer(), keys.verifying_key());
    assert_whole(&authority, &current);
}

#[test]
fn a_rotation_that_stops_after_any_step_is_finished_by_the_next() {
    let (mut steps, mut interrupted, mut before) = (0, 0, 0);
    loop {
        let world = World::new();
        crash_after(steps);
        let finished = world.rotate().is_ok();
        crash_after(u32::MAX);
        match world.standing().unwrap() {
            Standing::Interrupted { .. } => interrupted += 1,
            Standing::Whole(account) if account.epoch() == 1 => before += 1,
            Standing::Whole(_) => {}
        }
        world.check(&format!("after a crash at step {steps}"));
        // Stopped once more while it is being finished.
        crash_after(steps / 2);
        let _ = world.rotate();
        crash_after(u32::MAX);
        world.check(&format!("after two crashes, the first at step {steps}"));
        let account = world.rotate().unwrap();
        assert_eq!(account.epoch(), 2, "step {steps}");
        let (authority, whole) = (world.open(), world.whole());
        let keys = authority.keys_of(&whole).unwrap();
        let snapshot = authority.snapshot(&keys).unwrap().unwrap();
        assert_eq!(*snapshot.signer(), keys.verifying_key(), "step {steps}");
        assert!(world.account.passphrase_slot().unwrap().is_none(), "step {steps}");
        assert!(!world.account.path().join("rotation").exists(), "step {steps}");
        world.check(&format!("finished after a crash at step {steps}"));
        steps += 1;
        if finished {
            break;
        }
    }
    assert!(interrupted >= 15 && before >= 2, "{interrupted} interrupted, {before} before, {steps} steps");
}

#[test]
fn a_damaged_journal_is_an_error_and_nothing_else() {
    let world = World::new();
    crash_after(10);
    assert!(world.rotate().is_err());
    crash_after(u32::MAX);
    let place = world.account.path().join("rotation");
    let whole = fs::read(&place).unwrap();
    for at in (0..whole.len()).step_by(7) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&place, &changed).unwrap();
        assert!(matches!(world.standing(), Err(AccountError::Journal(_))), "flipped at {at}");
        fs::write(&place, &whole[..at]).unwrap();
        assert!(matches!(world.standing(), Err(AccountError::Journal(_))), "cut at {at}");
    }
    fs::write(&place, &whole).unwrap();
    assert!(matches!(world.standing().unwrap(), Standing::Interrupted { .. }));
}

#[test]
fn a_log_that_was_put_back_is_refused() {
    let world = World::new();
    let place = world.account.path().join("log");
    let older = fs::read(&place).unwrap();
    world.rotate().unwrap();
    fs::write(&place, &older).unwrap();
    let refused = world.standing().unwrap_err();
    assert!(matches!(refused, AccountError::Log(LogError::RolledBack { found: 3, seen: 5 })), "{refused}");
    fs::remove_file(&place).unwrap();
    let refused = world.standing().unwrap_err();
    assert!(matches!(refused, AccountError::Log(LogError::RolledBack { found: 0, seen: 5 })), "{refused}");
}

#[test]
fn a_proposal_from_before_the_rotation_is_refused_with_words() {
    use crate::{
        authority::AcceptError,
        grant::{Grant, SessionSecret, seal_grant},
        proposal::{ReadProposalError, propose},
        snapshot::open_snapshot,
    };
    let world = World::new();
    let authority = world.open();
    let keys = authority.keys_of(&world.whole()).unwrap();
    let base = authority.snapshot(&keys).unwrap();
    let node: cbrowse_protocol::id::NodeId = "n".parse().unwrap();
    let (secret, public) = SessionSecret::generate(&mut SystemRandom);
    let grant = Grant::new(&keys, &public, node.clone(), base.as_ref(), 100);
    let sealed = seal_grant(&public, &grant, &mut SystemRandom).unwrap();
    let opened = secret.open(&sealed, &node, keys.profile(), 50).unwrap();
    let data = world.directory.path().join("data");
    fs::write(data.join("Default/Cookies"), "three").unwrap();
    let (proposal, _) =
        propose(&data, &opened, base.as_ref(), authority.store(), &meta(), &mut SystemRandom).unwrap();
    let account = world.rotate().unwrap();
    let authority = world.open();
    let keys = authority.keys_of(&account).unwrap();
    let refused = authority.accept(&proposal, &keys, authority.store(), &mut SystemRandom).unwrap_err();
    assert!(matches!(refused, AcceptError::Proposal(ReadProposalError::BeforeRotation(_))), "{refused}");
    world.check("after a refused proposal");
    // A generation from before the rotation can still be granted: with the keys of its time.
    let second = &authority.history().unwrap()[1].head;
    let old = authority.snapshot_at(&second.name, &keys).unwrap();
    let (secret, public) = SessionSecret::generate(&mut SystemRandom);
    let grant = Grant::new(&keys, &public, node.clone(), Some(&old), 100);
    let sealed = seal_grant(&public, &grant, &mut SystemRandom).unwrap();
    let opened = secret.open(&sealed, &node, keys.profile(), 50).unwrap();
    open_snapshot(&second.name, authority.store(), &opened.access().unwrap()).unwrap();
}

#[test]
fn the_journal_is_golden() {
    use crate::secret::tests::Seeded;
    let (old, new) = (AccountKey::from_bytes([1; 32]), AccountKey::from_bytes([2; 32]));
    let log = Log::found(&old, &name("desk"), DeviceSecret::from_bytes([11; 32]).public(), 10);
    let journal = write_journal(&old, &new, &log, &mut Seeded::new("journal"));
    assert_eq!(
        blake3::hash(&journal).to_hex().as_str(),
        "2a74a0d4835aeedec0fb1f14b5c883f1c6e92b7166cb5869775424c0fbac939d"
    );
}
