//! One contract for every shelf, on the real ones; then what a node makes of a shelf.

use std::sync::Arc;

use cbrowse_profile::{
    authority::HeadRef,
    keys::{AccountKey, ProfileKeys},
    object::ObjectName,
    pointer::Pointer,
    retain::{Deletion, RetainList, sign_next_key},
    secret::SystemRandom,
};
use cbrowse_protocol::{
    api::{DeletionRequest, KeyRequest, PointerView, RetainRequest},
    id::SessionId,
};
use cbrowse_testkit::moto::{BUCKET, Moto};
use object_store::aws::AmazonS3Builder;
use tempfile::TempDir;

use super::{
    bucket::{Bucket, BucketSettings, Operator},
    proposals::MAX_PROPOSALS,
    shelf::Clearable,
    sweep::{Mode, sweep},
    *,
};

const PROFILE: &str = "0123456789abcdef0123456789abcdef";
const DAY: u64 = 24 * 3600;

fn profile() -> ProfileId {
    PROFILE.parse().expect("id")
}

fn keys(of: u8) -> ProfileKeys {
    ProfileKeys::derive(&AccountKey::from_bytes([of; 32]), &profile())
}

fn bucket(moto: &Moto, prefix: &str) -> Bucket {
    let builder = AmazonS3Builder::new().with_access_key_id("id").with_secret_access_key("key");
    let uri = format!("s3://{BUCKET}/{prefix}").parse().expect("a store");
    let settings = BucketSettings { uri, endpoint: Some(moto.endpoint()), plain_http: false };
    Bucket::with(builder, settings).expect("a bucket")
}

/// Off the runtime's threads, as everything that blocks.
async fn off<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the checks hold")
}

/// What every adapter owes.
fn contract(shelf: &dyn Clearable) {
    let (id, folder) = (profile(), Folder::objects(&profile()));
    let key = folder.with("aa");
    assert_eq!(shelf.get(&key, 10).expect("get"), None);
    assert!(shelf.put_new(&key, b"first").expect("put"));
    assert!(!shelf.put_new(&key, b"second").expect("put again"), "nothing is overwritten");
    assert_eq!(shelf.get(&key, 5).expect("get").as_deref(), Some(&b"first"[..]));
    assert!(matches!(shelf.get(&key, 4), Err(ShelfError::Overfull(_))));
    assert!(shelf.put_new(&folder.with("bb"), b"").expect("put nothing"));
    assert!(shelf.put_new(&Folder::heads(&id).with("aa"), b"elsewhere").expect("put"));

    let listed = shelf.list(&folder).expect("list");
    let told: Vec<_> = listed.iter().map(|entry| (entry.name.as_str(), entry.length)).collect();
    assert_eq!(told, [("aa", 5), ("bb", 0)]);
    let now = unix_now();
    assert!(listed.iter().all(|entry| entry.touched.as_secs().abs_diff(now) < DAY), "{listed:?} at {now}");
    assert_eq!(shelf.list(&Folder::retain(&id)).expect("list"), []);
    let names = ["aa".to_owned(), "cc".to_owned()];
    assert_eq!(shelf.missing(&folder, &names).expect("missing"), ["cc"]);
    assert_eq!(shelf.missing(&folder, &[]).expect("missing"), Vec::<String>::new());

    assert_eq!(shelf.profiles().expect("profiles"), std::slice::from_ref(&id));
    assert_eq!(shelf.profiles_of("ada").expect("profiles"), []);
    shelf.put_new(&Key::owner(&id), b"ada").expect("put");
    shelf.put_new(&Key::of_owner("ada", &id), b"").expect("put");
    assert_eq!(shelf.profiles_of("ada").expect("profiles"), std::slice::from_ref(&id));
    assert_eq!(shelf.profiles_of("bob").expect("profiles"), []);
    assert_eq!(shelf.profiles().expect("profiles"), [id], "the index is no profile");
    assert_eq!(shelf.total().expect("total"), (5, 2));

    assert!(shelf.remove(&key).expect("remove"));
    assert_eq!(shelf.get(&key, 5).expect("get"), None);
    assert!(shelf.put_new(&key, b"again").expect("put"));
}

/// Of many who put the same key at once, one succeeds, and that one's bytes are there.
fn race(shelf: &dyn Shelf) {
    let key = Folder::heads(&profile()).with("race");
    let won: Vec<u8> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..8_u8)
            .map(|own| {
                let key = &key;
                scope.spawn(move || shelf.put_new(key, &[own]).expect("put").then_some(own))
            })
            .collect();
        racers.into_iter().filter_map(|racer| racer.join().expect("no panic")).collect()
    });
    assert_eq!(won.len(), 1, "{won:?}");
    assert_eq!(shelf.get(&key, 1).expect("get"), Some(won));
}

#[test]
fn the_contract_holds_in_a_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let shelf = Directory::open(directory.path()).expect("a shelf");
    contract(&shelf);
    race(&shelf);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_in_a_bucket_and_beside_another_prefix() {
    let moto = Moto::start().await.expect("moto");
    let (one, other) = (Operator(bucket(&moto, "one")), Operator(bucket(&moto, "")));
    off(move || {
        contract(&one);
        race(&one.0);
        contract(&other);
    })
    .await;
}

/// A store, on a directory or on a bucket, and what holds it.
struct World {
    objects: Objects,
    directory: TempDir,
}

fn local(quotas: Quotas) -> World {
    let directory = tempfile::tempdir().expect("a directory");
    let objects = Objects::in_directory(directory.path(), quotas, Figures::default()).expect("a store");
    World { objects, directory }
}

fn shared(shelf: Arc<dyn Shelf>, cache: u64) -> World {
    let directory = tempfile::tempdir().expect("a directory");
    let objects = Objects::shared(shelf, directory.path(), cache, Quotas::default(), Figures::default())
        .expect("a store");
    World { objects, directory }
}

fn put(objects: &Objects, bytes: &[u8]) -> Result<String, ObjectError> {
    let name = blake3::hash(bytes).to_hex().to_string();
    objects.put(&profile(), &name, bytes).map(|_| name)
}

fn pointer(keys: &ProfileKeys, generation: u64, replaced: Option<u64>) -> PointerView {
    pointer_to(keys, head(generation), replaced.map(head))
}

fn head(generation: u64) -> HeadRef {
    HeadRef { generation, name: ObjectName::of(&generation.to_le_bytes()) }
}

fn pointer_to(keys: &ProfileKeys, head: HeadRef, replaced: Option<HeadRef>) -> PointerView {
    let pointer = Pointer::new(keys, head, replaced, 1, &"work".parse().expect("a name"), &mut SystemRandom);
    PointerView { pointer: pointer.sign(keys), verifying_key: keys.verifying_key() }
}

fn current(objects: &Objects) -> Option<u64> {
    let view = objects.head(&profile()).expect("a head")?;
    let pointer = Pointer::read(&view.pointer, &profile(), &view.verifying_key).expect("a pointer");
    Some(pointer.head.generation)
}

fn list(keys: &ProfileKeys, generation: u64, names: &[&str]) -> RetainRequest {
    let names = names.iter().map(|name| name.parse().expect("a name")).collect();
    let list = RetainList::new(profile(), generation, 1, names).expect("a list");
    RetainRequest { list: list.sign(keys), verifying_key: keys.verifying_key() }
}

fn is_word(result: Result<impl std::fmt::Debug, ObjectError>, expected: &WordError) {
    match result {
        Err(ObjectError::Word(word)) => assert_eq!(word, *expected),
        other => panic!("{other:?} instead of {expected:?}"),
    }
}

#[test]
fn an_object_is_what_its_name_says_and_its_owners_only() {
    let World { objects, directory: _directory } = local(Quotas::default());
    let profile = profile();
    objects.claim(&profile, "alice").expect("first claim");
    objects.claim(&profile, "alice").expect("again");
    assert!(matches!(objects.claim(&profile, "mallory"), Err(ObjectError::Foreign)));
    let name = blake3::hash(b"x").to_hex().to_string();
    assert_eq!(objects.missing(&profile, std::slice::from_ref(&name)).expect("names").len(), 1);
    assert!(objects.put(&profile, &name, b"x").expect("put"));
    assert!(!objects.put(&profile, &name, b"x").expect("again"));
    assert_eq!(objects.get(&profile, &name).expect("get"), b"x");
    assert!(matches!(objects.put(&profile, &name, b"y"), Err(ObjectError::Mismatch(_))));
    assert!(matches!(objects.get(&profile, "../owner"), Err(ObjectError::Name(_))));
    assert!(matches!(objects.get(&profile, &"0".repeat(64)), Err(ObjectError::Missing)));
    let unclaimed = "f".repeat(32).parse().expect("id");
    assert!(matches!(objects.put(&unclaimed, &name, b"x"), Err(ObjectError::Foreign)));
}

#[test]
fn proposals_wait_in_order_and_are_bounded() {
    let World { objects, directory: _directory } = local(Quotas::default());
    let profile = profile();
    objects.claim(&profile, "alice").expect("claim");
    let session: SessionId = "s1".parse().expect("id");
    for number in 0..=MAX_PROPOSALS {
        let bytes = format!("p{number}");
        objects.propose(&profile, &session, number as u128, bytes.as_bytes()).expect("propose");
    }
    let waiting = objects.proposals(&profile).expect("list");
    assert_eq!(waiting.len(), MAX_PROPOSALS);
    assert_eq!(waiting[0].proposal, b"p1");
    assert!(objects.forget(&profile, &waiting[0].name).expect("forget"));
    assert!(!objects.forget(&profile, &waiting[0].name).expect("again"));
    assert_eq!(objects.proposals(&profile).expect("list").len(), MAX_PROPOSALS - 1);
}

#[test]
fn what_a_killed_server_left_half_written_goes() {
    let World { objects, directory } = local(Quotas::default());
    objects.claim(&profile(), "alice").expect("claim");
    put(&objects, b"x").expect("put");
    let left =
        directory.path().join(format!("profiles/{PROFILE}/objects/00{}", super::directory::UNFINISHED));
    std::fs::write(&left, "half").expect("write");
    let beside = Objects::open(directory.path()).expect("a second server");
    assert!(left.exists(), "the first server may still be writing it");
    drop((objects, beside));
    Objects::open(directory.path()).expect("reopen");
    assert!(!left.exists());
}

#[test]
fn a_damaged_object_is_never_given_out_and_its_owner_sends_it_again() {
    let World { objects, directory } = local(Quotas::default());
    objects.claim(&profile(), "alice").expect("claim");
    let name = put(&objects, b"right").expect("put");
    std::fs::write(directory.path().join(format!("profiles/{PROFILE}/objects/{name}")), "wrong")
        .expect("write");
    assert!(matches!(objects.get(&profile(), &name), Err(ObjectError::Damaged(_))));
    assert_eq!(
        objects.missing(&profile(), std::slice::from_ref(&name)).expect("ask"),
        std::slice::from_ref(&name)
    );
    put(&objects, b"right").expect("put again");
    assert_eq!(objects.get(&profile(), &name).expect("get"), b"right");
}

#[test]
fn a_quota_refuses_before_anything_is_written_and_room_that_is_made_counts() {
    let quotas = Quotas { owner: 10, store: Some(15) };
    let World { objects, directory } = local(quotas);
    let (one, two) = (profile(), "f".repeat(32).parse::<ProfileId>().expect("id"));
    objects.claim(&one, "ada").expect("claim");
    objects.claim(&two, "bob").expect("claim");
    put(&objects, b"12345678").expect("within both");
    let refused = put(&objects, b"abc");
    assert!(matches!(refused, Err(ObjectError::Full(Refused::Owner { used: 8, quota: 10 }))), "{refused:?}");
    put(&objects, b"12345678").expect("what is here costs nothing");
    let name = blake3::hash(b"ABCDEFGH").to_hex().to_string();
    let refused = objects.put(&two, &name, b"ABCDEFGH");
    assert!(matches!(refused, Err(ObjectError::Full(Refused::Store { used: 8, quota: 15 }))), "{refused:?}");
    let left: Vec<_> = Directory::open(&directory.path().join("profiles"))
        .expect("a shelf")
        .list(&Folder::objects(&two))
        .expect("list");
    assert_eq!(left, [], "nothing half written");
    assert_eq!(objects.remove(&one, None).expect("remove"), Removal::Gone);
    objects.put(&two, &name, b"ABCDEFGH").expect("there is room again");
}

/// The same for every shelf: only the successor of what is current becomes current.
fn heads_are_swapped(objects: &Objects) {
    let id = profile();
    objects.claim(&id, "ada").expect("claim");
    assert_eq!(current(objects), None);
    objects.advance(&id, &pointer(&keys(1), 1, None)).expect("the first");
    objects.advance(&id, &pointer(&keys(1), 1, None)).expect("the same again");
    objects.advance(&id, &pointer(&keys(1), 4, Some(1))).expect("its successor");
    assert_eq!(current(objects), Some(4));
    is_word(objects.advance(&id, &pointer(&keys(1), 5, Some(1))), &WordError::Conflict { current: 4 });
    is_word(objects.advance(&id, &pointer(&keys(1), 5, None)), &WordError::Conflict { current: 4 });
    let forked = pointer_to(&keys(1), HeadRef { name: ObjectName::of(b"fork"), ..head(4) }, Some(head(1)));
    is_word(objects.advance(&id, &forked), &WordError::Conflict { current: 4 });
    is_word(
        objects.advance(&id, &pointer(&keys(1), 3, Some(1))),
        &WordError::Older { offered: 3, current: 4 },
    );
    is_word(objects.advance(&id, &pointer(&keys(2), 5, Some(4))), &WordError::OtherKey);
    let mut forged = pointer(&keys(2), 5, Some(4));
    forged.verifying_key = keys(1).verifying_key();
    assert!(matches!(objects.advance(&id, &forged), Err(ObjectError::Word(WordError::Unsigned(_)))));
    assert_eq!(current(objects), Some(4));

    let unsigned = KeyRequest { verifying_key: keys(2).verifying_key(), handed_over: Vec::new() };
    is_word(objects.hand_over(&id, &unsigned), &WordError::OtherKey);
    let handed_over = sign_next_key(&keys(1), &keys(2).verifying_key());
    let next = KeyRequest { verifying_key: keys(2).verifying_key(), handed_over };
    objects.hand_over(&id, &next).expect("by the word of the old key");
    objects.hand_over(&id, &next).expect("again");
    is_word(objects.advance(&id, &pointer(&keys(1), 5, Some(4))), &WordError::OtherKey);
    assert_eq!(current(objects), Some(4), "what the old key said still stands");
    objects.advance(&id, &pointer(&keys(2), 5, Some(4))).expect("the new key's word");
    assert_eq!(current(objects), Some(5));

    let views = objects.profiles_of("ada").expect("a list").profiles;
    assert_eq!((views.len(), views[0].current.is_some()), (1, true));
    assert_eq!(objects.profiles_of("bob").expect("a list").profiles, []);
}

/// Of two devices that succeed the same generation at once, one is current and the other hears of it.
fn two_devices_race(objects: &Objects) {
    objects.claim(&profile(), "ada").expect("claim");
    objects.advance(&profile(), &pointer(&keys(1), 1, None)).expect("the first");
    let outcomes: Vec<bool> = std::thread::scope(|scope| {
        let devices: Vec<_> = (2..8)
            .map(|generation| {
                scope.spawn(move || {
                    objects.advance(&profile(), &pointer(&keys(1), generation, Some(1))).is_ok()
                })
            })
            .collect();
        devices.into_iter().map(|device| device.join().expect("no panic")).collect()
    });
    assert_eq!(outcomes.iter().filter(|taken| **taken).count(), 1, "{outcomes:?}");
}

#[test]
fn a_head_is_compared_and_swapped_in_a_directory() {
    heads_are_swapped(&local(Quotas::default()).objects);
    two_devices_race(&local(Quotas::default()).objects);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_is_compared_and_swapped_in_a_bucket() {
    let moto = Moto::start().await.expect("moto");
    let (one, two) = (bucket(&moto, "one"), bucket(&moto, "two"));
    off(move || {
        heads_are_swapped(&shared(Arc::new(one), DEFAULT_CACHE).objects);
        two_devices_race(&shared(Arc::new(two), DEFAULT_CACHE).objects);
    })
    .await;
}

#[test]
fn what_no_list_names_goes_once_it_is_old_and_nobody_works_with_it() {
    let World { objects, directory } = local(Quotas::default());
    let id = profile();
    objects.claim(&id, "ada").expect("claim");
    let (kept, gone) = (put(&objects, b"kept").expect("put"), put(&objects, b"gone").expect("put"));
    let request = list(&keys(1), 3, &[&kept]);
    let now = unix_now();
    assert_eq!(objects.retain(&id, &request, false, now).expect("retain").removed, 0, "it is young");
    assert_eq!(objects.retain(&id, &request, true, now + 2 * DAY).expect("retain").removed, 0, "in use");
    objects.propose(&id, &"s1".parse().expect("id"), 1, b"waits").expect("propose");
    assert_eq!(
        objects.retain(&id, &request, false, now + 2 * DAY).expect("retain").removed,
        0,
        "a save waits"
    );
    let waiting = objects.proposals(&id).expect("list");
    objects.forget(&id, &waiting[0].name).expect("forget");
    let told = objects.retain(&id, &request, false, now + 2 * DAY).expect("retain");
    assert_eq!((told.removed, told.missing), (1, Vec::new()));
    assert!(objects.get(&id, &kept).is_ok() && matches!(objects.get(&id, &gone), Err(ObjectError::Missing)));

    let lacking = objects.retain(&id, &list(&keys(1), 4, &[&kept, &gone]), false, now).expect("retain");
    assert_eq!(lacking.missing, [gone], "what a list names and the store lacks is said");
    let older = objects.retain(&id, &request, false, now);
    is_word(older, &WordError::Older { offered: 3, current: 4 });
    is_word(objects.retain(&id, &list(&keys(2), 9, &[]), false, now + 2 * DAY), &WordError::OtherKey);
    let mut forged = list(&keys(2), 9, &[]);
    forged.verifying_key = keys(1).verifying_key();
    let refused = objects.retain(&id, &forged, false, now + 2 * DAY);
    assert!(matches!(refused, Err(ObjectError::Word(WordError::Unsigned(_)))), "{refused:?}");
    assert!(objects.get(&id, &kept).is_ok(), "no stranger's list removes anything");
    drop(directory);
}

#[test]
fn the_grace_ends_where_it_says() {
    let World { objects, directory } = local(Quotas::default());
    objects.claim(&profile(), "ada").expect("claim");
    put(&objects, b"x").expect("put");
    let shelf = Directory::open(&directory.path().join("profiles")).expect("a shelf");
    let touched = shelf.list(&Folder::objects(&profile())).expect("list")[0].touched.as_secs();
    let grace = cbrowse_profile::retain::GRACE_SECONDS;
    for (after, removed) in [(grace - 1, 0), (grace, 0), (grace + 1, 1)] {
        let told =
            objects.retain(&profile(), &list(&keys(1), 1, &[]), false, touched + after).expect("retain");
        assert_eq!(told.removed, removed, "{after} s later");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_store_is_cleared_by_its_operator_alone() {
    let moto = Moto::start().await.expect("moto");
    let (shelf, other, operator) = (bucket(&moto, "p"), bucket(&moto, "p"), Operator(bucket(&moto, "p")));
    off(move || {
        let World { objects, directory: _directory } = shared(Arc::new(shelf), DEFAULT_CACHE);
        let second = shared(Arc::new(other), DEFAULT_CACHE);
        let (id, later) = (profile(), unix_now() + 40 * DAY);
        objects.claim(&id, "ada").expect("claim");
        assert!(
            matches!(second.objects.claim(&id, "bob"), Err(ObjectError::Foreign)),
            "one owner for all nodes"
        );
        let (kept, gone) = (put(&objects, b"kept").expect("put"), put(&objects, b"gone").expect("put"));
        assert_eq!(second.objects.get(&id, &kept).expect("through the other node"), b"kept");
        assert_eq!(
            sweep(&operator, later, DAY, Mode::Act).expect("sweep").unlisted,
            1,
            "no list, nothing goes"
        );
        let told = objects.retain(&id, &list(&keys(1), 1, &[&kept]), false, later).expect("retain");
        assert_eq!(told.removed, 0, "a node removes nothing from a shared store");
        // Somebody with a node's rights puts a word of his own in front.
        let forged = serde_json::to_vec(&list(&keys(2), 9, &[])).expect("JSON");
        operator.0.put_new(&Folder::retain(&id).with(&"9".repeat(20)), &forged).expect("put");
        let swept = sweep(&operator, unix_now(), DAY, Mode::Act).expect("sweep");
        assert_eq!((swept.collected.objects, swept.collected.young), (0, 1));
        let would = sweep(&operator, later, DAY, Mode::DryRun).expect("sweep");
        assert_eq!(would.collected.objects, 1);
        assert_eq!(
            second.objects.missing(&id, std::slice::from_ref(&gone)).expect("ask"),
            Vec::<String>::new()
        );
        assert_eq!(sweep(&operator, later, DAY, Mode::Act).expect("sweep"), would);
        assert_eq!(
            objects.missing(&id, &[kept.clone(), gone.clone()]).expect("ask"),
            std::slice::from_ref(&gone)
        );
        objects.retain(&id, &list(&keys(1), 2, &[&kept]), false, later).expect("a forged list stops nobody");

        is_word(objects.remove(&id, None), &WordError::NoDeletion);
        let by = |of: u8| DeletionRequest {
            deletion: Deletion { profile: profile(), time: 1 }.sign(&keys(of)),
            verifying_key: keys(of).verifying_key(),
        };
        is_word(objects.remove(&id, Some(&by(2))), &WordError::OtherKey);
        assert_eq!(objects.remove(&id, Some(&by(1))).expect("remove"), Removal::Marked);
        assert!(matches!(objects.claim(&id, "ada"), Err(ObjectError::Deleted)));
        assert_eq!(objects.profiles_of("ada").expect("list").profiles, []);
        let swept = sweep(&operator, later, DAY, Mode::Act).expect("sweep");
        assert_eq!((swept.deleted, swept.collected.objects), (1, 1));
        assert_eq!(operator.total().expect("total"), (0, 0));
        assert!(matches!(objects.claim(&id, "ada"), Err(ObjectError::Deleted)), "it stays deleted");
        assert_eq!(sweep(&operator, later, DAY, Mode::Act).expect("sweep").collected.objects, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_is_bounded_and_a_shared_store_that_is_away_is_said() {
    let mut moto = Moto::start().await.expect("moto");
    let shelf = bucket(&moto, "p");
    let World { objects, directory } = off(move || shared(Arc::new(shelf), 100)).await;
    let (inner, root) = (objects.clone(), directory.path().join("profiles"));
    let names = off(move || {
        inner.claim(&profile(), "ada").expect("claim");
        let names: Vec<String> = (0..10_u8).map(|of| put(&inner, &[of; 40]).expect("put")).collect();
        let copies = Directory::open(&root).expect("a shelf").total().expect("total");
        assert!(copies.0 <= 100 && copies.1 >= 1, "{copies:?}");
        for name in &names {
            assert_eq!(inner.get(&profile(), name).expect("get").len(), 40);
        }
        // A copy that is wrong is fetched again.
        let copy = root.join(format!("{PROFILE}/objects/{}", names[9]));
        std::fs::write(&copy, "wrong").expect("write");
        assert_eq!(inner.get(&profile(), &names[9]).expect("get"), [9; 40]);
        names
    })
    .await;
    moto.kill();
    off(move || {
        assert_eq!(objects.get(&profile(), &names[9]).expect("a copy"), [9; 40]);
        for refused in [
            objects.get(&profile(), &names[0]).map(drop),
            put(&objects, b"new").map(drop),
            objects.missing(&profile(), &names).map(drop),
        ] {
            assert!(matches!(refused, Err(ObjectError::Shelf(ShelfError::Elsewhere { .. }))), "{refused:?}");
        }
    })
    .await;
    drop(directory);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_not_what_its_name_says_is_not_given_out_from_a_bucket_either() {
    let moto = Moto::start().await.expect("moto");
    let (shelf, stranger) = (bucket(&moto, "p"), bucket(&moto, "p"));
    off(move || {
        let World { objects, directory: _directory } = shared(Arc::new(shelf), DEFAULT_CACHE);
        objects.claim(&profile(), "ada").expect("claim");
        let name = blake3::hash(b"right").to_hex().to_string();
        stranger.put_new(&Folder::objects(&profile()).with(&name), b"wrong").expect("put");
        assert!(matches!(objects.get(&profile(), &name), Err(ObjectError::Damaged(_))));
        let huge = vec![0; MAX_OBJECT_LENGTH + 1];
        let name = blake3::hash(&huge).to_hex().to_string();
        stranger.put_new(&Folder::objects(&profile()).with(&name), &huge).expect("put");
        assert!(matches!(objects.get(&profile(), &name), Err(ObjectError::Shelf(ShelfError::Overfull(_)))));
    })
    .await;
}
