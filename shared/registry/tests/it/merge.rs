//! Several real catalogs at once: a registry, a zone and a file that name the same nodes.

use std::time::{Duration, Instant};

use cbrowse_protocol::identity::SigningKey;
use cbrowse_registry::{Check, list_all};
use cbrowse_testkit::{consul::Consul, knot::Knot};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::support::{catalog, ids, list_until, record, registry};

#[tokio::test]
async fn a_node_in_a_registry_a_zone_and_a_file_is_one_and_a_forgery_is_said() {
    let consul = Consul::start().await.expect("consul starts");
    let [key, forged] = [SigningKey::generate(), SigningKey::generate()].map(|key| key.public());
    let mut node = record("n1", 7443);
    node.browser_version.clear();
    registry(&consul.http_uri())
        .register(&node, Check::Heartbeat(Duration::from_secs(300)))
        .await
        .expect("registers");
    list_until(&*catalog(&consul.http_uri()), |listing| listing.nodes.len() == 1).await;
    let knot = Knot::start(&format!(
        "_browser-node._tcp SRV 0 1 7443 n1\n\
         _browser-node._tcp SRV 0 1 7444 n1\n\
         n1 A 127.0.0.1\n\
         n1 TXT \"cbrowse=1\" \"port=7443\" \"identity={key}\"\n"
    ))
    .await
    .expect("knot starts");
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("nodes.toml");
    let text = format!(
        "[[nodes]]\nid = \"other-name\"\naddress = \"127.0.0.1\"\nport = 7443\nidentity = \"{key}\"\n\
         browser_version = \"156.0.1.1\"\n\
         [[nodes]]\nid = \"n1\"\naddress = \"127.0.0.1\"\nport = 7443\nidentity = \"{forged}\"\n"
    );
    std::fs::write(&path, text).unwrap();
    let uris = [
        consul.http_uri(),
        format!("dns+srv://_browser-node._tcp.fleet.test?server={}", knot.address()),
        format!("file:{}", path.display()),
    ];
    let catalogs = uris.each_ref().map(|uri| catalog(uri));
    let listing = list_all(&catalogs).await.expect("all answer");
    assert_eq!(ids(&listing), ["127.0.0.1:7444", "n1"]);
    node.identity = Some(key);
    node.browser_version = "156.0.1.1".into();
    assert_eq!(listing.nodes[0], node, "the first catalog's word, and what it left open");
    assert_eq!(listing.warnings.len(), 2, "{:?}", listing.warnings);
    assert!(listing.warnings[0].contains("other-name") && listing.warnings[0].contains("one node"));
    assert!(listing.warnings[1].contains("another identity") && listing.warnings[1].contains(&uris[2]));
}

#[tokio::test]
async fn a_registry_that_hangs_costs_a_moment_and_a_warning() {
    // It takes connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("consul://{}", silent.local_addr().unwrap());
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("nodes.json");
    std::fs::write(&path, serde_json::to_string(&[record("n1", 1)]).unwrap()).unwrap();
    let catalogs = [catalog(&uri), catalog(&format!("file:{}", path.display()))];
    let started = Instant::now();
    let listing = list_all(&catalogs).await.expect("the file answers");
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}; alone it takes longer", started.elapsed());
    assert_eq!(ids(&listing), ["n1"]);
    assert!(
        listing.warnings[0].contains(&uri) && listing.warnings[0].contains("no answer"),
        "{:?}",
        listing.warnings
    );
}
