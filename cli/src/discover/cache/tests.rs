use cbrowse_registry::{Catalog, CatalogError, Cause, ChangeStream};
use futures_util::{FutureExt as _, future::BoxFuture};

use super::*;

struct Fixed(CatalogUri, Result<Listing, CatalogError>);

impl Catalog for Fixed {
    fn uri(&self) -> &CatalogUri {
        &self.0
    }
    fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>> {
        std::future::ready(self.1.clone()).boxed()
    }
    fn watch(&self) -> ChangeStream {
        use futures_util::StreamExt as _;
        futures_util::stream::pending().boxed()
    }
}

const RULES: Rules =
    Rules { ttl: Duration::from_secs(3600), refresh: Duration::from_secs(10), size: 1 << 20 };

fn cache(directory: &Path) -> Cache {
    Cache::new(directory.to_owned(), RULES)
}

fn all() -> Query {
    Query::default()
}

fn in_region(region: &str) -> Query {
    Query { regions: vec![region.into()], ..Query::default() }
}

fn uri() -> CatalogUri {
    "consul://127.0.0.1:1".parse().expect("a catalog")
}

fn listing() -> Listing {
    let node: NodeRecord = serde_json::from_value(
        serde_json::json!({"id": "n1", "address": "node.example.com", "port": 7443, "region": "eu"}),
    )
    .expect("a record");
    let names = [(node.id.clone(), Reach::Private)].into();
    Listing { nodes: vec![node], names, ..Listing::default() }
}

fn down() -> Result<Listing, CatalogError> {
    let cause = Cause::Unreachable("connection refused".into());
    Err(CatalogError::One { catalog: uri().to_string(), cause })
}

async fn list(cache: &Cache, answer: Result<Listing, CatalogError>) -> Result<Listing, CatalogError> {
    CachedCatalog::new(Box::new(Fixed(uri(), answer)), cache.clone(), Query::default()).list().await
}

/// A registry that never answers.
struct Silent(CatalogUri);

impl Catalog for Silent {
    fn uri(&self) -> &CatalogUri {
        &self.0
    }
    fn list(&self) -> BoxFuture<'_, Result<Listing, CatalogError>> {
        std::future::pending().boxed()
    }
    fn watch(&self) -> ChangeStream {
        use futures_util::StreamExt as _;
        futures_util::stream::pending().boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_not_waited_for_is_served_from_its_last_answer() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(directory.path());
    list(&cache, Ok(listing())).await.expect("stored");
    let other = NodeRecord { id: "n2".parse().expect("an id"), ..listing().nodes.remove(0) };
    let answer = Listing { nodes: vec![NodeRecord { port: 1, ..other }], ..Listing::default() };
    let catalogs: [Box<dyn Catalog>; 2] = [
        Box::new(CachedCatalog::new(Box::new(Silent(uri())), cache.clone(), all())),
        Box::new(Fixed("consul://127.0.0.1:2".parse().expect("a catalog"), Ok(answer))),
    ];
    let merged = cbrowse_registry::list_all(&catalogs).await.expect("one answers, one is remembered");
    let ids: Vec<_> = merged.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids, ["n1", "n2"]);
    assert!(merged.warnings.iter().any(|text| text.contains("using its answer of")), "{:?}", merged.warnings);
}

#[tokio::test]
async fn a_registry_that_is_down_is_served_from_its_last_answer_with_its_age() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(&directory.path().join("catalogs"));
    assert!(list(&cache, down()).await.is_err(), "nothing is cached yet");
    assert_eq!(list(&cache, Ok(listing())).await, Ok(listing()));
    let recalled = list(&cache, down()).await.expect("from the cache");
    assert_eq!((&recalled.nodes, &recalled.names), (&listing().nodes, &listing().names));
    let warning = &recalled.warnings[0];
    assert!(warning.contains("connection refused") && warning.contains("ago"), "{warning}");
}

#[tokio::test]
async fn an_error_that_will_not_pass_is_not_hidden_by_the_cache() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(directory.path());
    list(&cache, Ok(listing())).await.expect("stored");
    let cause = Cause::Refused { status: 403, message: "ACL not found".into(), token: "CONSUL_HTTP_TOKEN" };
    let refused = CatalogError::One { catalog: uri().to_string(), cause };
    assert_eq!(list(&cache, Err(refused.clone())).await, Err(refused));
}

#[tokio::test]
async fn a_corrupt_copy_is_set_aside_and_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(directory.path());
    list(&cache, Ok(listing())).await.expect("stored");
    let path = cache.path(&uri(), &all());
    let whole = fs::read(&path).expect("stored");
    for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).expect("written");
        let error = list(&cache, down()).await.expect_err("corrupt").to_string();
        assert!(error.contains("set aside") && error.contains("connection refused"), "{error}");
        assert!(!path.exists() && path.with_extension("corrupt").exists());
    }
    list(&cache, Ok(listing())).await.expect("stored again");
    assert!(list(&cache, down()).await.is_ok());
}

#[test]
fn a_copy_of_another_catalog_version_or_with_garbage_is_no_copy() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(directory.path());
    cache.store(&uri(), &all(), &listing(), 7).expect("stored");
    let text = fs::read_to_string(cache.path(&uri(), &all())).expect("stored");
    assert_eq!(decode(text.as_bytes(), &uri(), &all()).map(|cached| cached.time), Some(7));
    let other: CatalogUri = "consul://127.0.0.1:2".parse().expect("a catalog");
    assert!(decode(text.as_bytes(), &other, &all()).is_none());
    for (from, to) in [("\"version\":1", "\"version\":2"), ("7443", "0"), ("\"private\"", "\"all\"")] {
        assert!(text.contains(from));
        assert!(decode(text.replace(from, to).as_bytes(), &uri(), &all()).is_none(), "{to}");
    }
}

#[tokio::test]
async fn an_empty_answer_with_a_warning_does_not_replace_a_good_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(directory.path());
    list(&cache, Ok(listing())).await.expect("stored");
    let filtered = Listing { warnings: vec!["filtered by ACLs".into()], ..Listing::default() };
    list(&cache, Ok(filtered)).await.expect("an answer");
    let entry = cbrowse_registry::Rejected { catalog: None, entry: "n1".into(), reason: "port 0".into() };
    let spoilt = Listing { rejected: vec![entry], ..Listing::default() };
    list(&cache, Ok(spoilt)).await.expect("an answer");
    assert_eq!(list(&cache, down()).await.expect("the copy").nodes.len(), 1);
}

#[test]
fn ages_read_as_people_say_them() {
    let words = |seconds| age_in_words(Duration::from_secs(seconds));
    assert_eq!(
        [0, 1, 59, 60, 3599, 3600, 86_399, 86_400, 200_000].map(words),
        [
            "0 seconds",
            "1 second",
            "59 seconds",
            "1 minute",
            "59 minutes",
            "1 hour",
            "23 hours",
            "1 day",
            "2 days"
        ]
    );
}

#[tokio::test]
async fn an_answer_beyond_its_time_is_used_with_a_clear_word() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(directory.path());
    for (age, is_old) in [(3600 - 2, false), (3600 + 2, true)] {
        cache.store(&uri(), &all(), &listing(), now() - age).expect("stored");
        let recalled = list(&cache, down()).await.expect("from the cache");
        assert_eq!(recalled.warnings[0].contains("older than cache_ttl (1h)"), is_old, "{recalled:?}");
    }
    cache.store(&uri(), &all(), &listing(), now() + 3600).expect("stored");
    let recalled = list(&cache, down()).await.expect("from the cache");
    assert!(recalled.warnings[0].contains("set back"), "{recalled:?}");
}

#[test]
fn an_answer_to_a_question_is_kept_apart_and_the_whole_answer_stands_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(directory.path());
    let nodes =
        |query: &Query| cache.load(&uri(), query).map(|cached| (cached.listing.nodes.len(), cached.time));
    cache.store(&uri(), &in_region("us"), &Listing::default(), 5).expect("stored");
    assert!(matches!(cache.load(&uri(), &all()), Err(CacheError::Nothing)));
    cache.store(&uri(), &all(), &listing(), 7).expect("stored");
    assert_eq!(nodes(&in_region("eu")).expect("of the whole"), (1, 7));
    assert_eq!(nodes(&in_region("us")).expect("the younger one"), (0, 7));
    cache.store(&uri(), &in_region("us"), &listing(), 9).expect("stored");
    assert_eq!(nodes(&in_region("us")).expect("the younger one"), (1, 9));
    // Nobody who asked for those that serve was told of those that do not.
    assert!(matches!(cache.load(&uri(), &Query::of_all()), Err(CacheError::Nothing)));
}

#[test]
fn the_oldest_go_when_there_is_no_room_for_all() {
    let directory = tempfile::tempdir().expect("a directory");
    let length = {
        cache(directory.path()).store(&uri(), &in_region("region-0"), &listing(), 1).expect("stored");
        fs::read_dir(directory.path()).expect("a directory").next().expect("one").expect("read").metadata()
    };
    let length = length.expect("metadata").len();
    let kept = |size: u64| {
        let cache = Cache::new(directory.path().to_owned(), Rules { size, ..RULES });
        for index in 0..4 {
            let query = in_region(&format!("region-{index}"));
            cache.store(&uri(), &query, &listing(), index).expect("stored");
            let written = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000 + index);
            let file = File::options().append(true).open(cache.path(&uri(), &query)).expect("stored");
            file.set_modified(written).expect("set");
        }
        let is_kept = |index: &u64| cache.read(&uri(), &in_region(&format!("region-{index}"))).is_ok();
        (0..4).filter(is_kept).collect::<Vec<_>>()
    };
    assert_eq!(kept(length * 4), [0, 1, 2, 3]);
    assert_eq!(kept(length * 4 - 1), [1, 2, 3]);
    assert_eq!(kept(length), [3]);
    let small = Cache::new(directory.path().to_owned(), Rules { size: length - 1, ..RULES });
    let error = small.store(&uri(), &in_region("region-0"), &listing(), 1).expect_err("too large");
    assert!(error.to_string().contains("cache_size"), "{error}");
}

#[tokio::test]
async fn without_room_nothing_is_kept_or_used() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("catalogs");
    list(&cache(&path), Ok(listing())).await.expect("stored");
    let off = Cache::new(path.clone(), Rules { size: 0, ..RULES });
    assert!(list(&off, down()).await.is_err());
    fs::remove_dir_all(&path).expect("removed");
    assert_eq!(list(&off, Ok(listing())).await, Ok(listing()));
    assert!(!path.exists());
}

#[tokio::test]
async fn a_place_that_cannot_be_written_costs_a_warning() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("catalogs");
    fs::write(&path, "a file where the directory should be").expect("written");
    let told = list(&cache(&path), Ok(listing())).await.expect("the registry's answer");
    assert_eq!(told.nodes, listing().nodes);
    assert!(told.warnings[0].contains("cannot be kept"), "{:?}", told.warnings);
}

#[test]
fn a_good_answer_is_not_set_aside_for_the_broken_one_before_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = cache(directory.path());
    let path = cache.path(&uri(), &all());
    fs::write(&path, "{").expect("written");
    let broken = File::open(&path).expect("there");
    cache.store(&uri(), &all(), &listing(), 7).expect("stored by another command");
    set_aside(&path, &broken);
    assert_eq!(cache.load(&uri(), &all()).expect("the good one").time, 7);
}

#[test]
fn what_a_killed_command_left_is_cleared_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let [old, new] = [".draft-old", ".draft-new"].map(|name| directory.path().join(name));
    for path in [&old, &new] {
        fs::write(path, "half").expect("written");
    }
    let file = File::options().append(true).open(&old).expect("there");
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).expect("set");
    cache(directory.path()).store(&uri(), &all(), &listing(), 7).expect("stored");
    assert!(!old.exists() && new.exists());
}
