//! Health: what Consul's checks come to, and what a node says of itself.

use std::time::Duration;

use cbrowse_protocol::node::{Health, NodeRecord};
use cbrowse_registry::{Catalog, Change, Check, Kept, Options, Query, open};
use cbrowse_testkit::consul::Consul;
use serde_json::{Value, json};

use super::start;
use crate::support::{added, catalog, ids, list, list_until, next_change, record, registry};

const LONG: Check = Check::Heartbeat(Duration::from_secs(300));

fn of_all(consul: &Consul) -> Box<dyn Catalog> {
    let options = Options::default().with_query(Query::of_all());
    open(&consul.http_uri().parse().expect("a catalog"), &options).expect("opens")
}

async fn until(catalog: &dyn Catalog, health: Health) -> NodeRecord {
    let has = |listing: &cbrowse_registry::Listing| listing.nodes.iter().any(|node| node.health == health);
    list_until(catalog, has).await.nodes.remove(0)
}

async fn check(consul: &Consul) -> Value {
    consul.request("GET", "/v1/agent/checks", None).await.expect("checks")["service:n1"].clone()
}

#[tokio::test]
async fn the_node_says_how_it_is_and_the_list_shows_it() {
    let consul = start().await;
    let (usual, all) = (catalog(&consul.http_uri()), of_all(&consul));
    let mut node = record("n1", 1);
    let mut registration = registry(&consul.http_uri()).register(&node, LONG).await.expect("registers");
    until(&*usual, Health::Passing).await;

    node.health = Health::Warning;
    registration.update(&node).await.expect("updates");
    let found = until(&*usual, Health::Warning).await;
    assert_eq!((found.weight, found.region.as_str()), (3, "eu-central"), "half of 5, rounded up");
    assert!(check(&consul).await["Output"].as_str().expect("text").contains("warning"));
    assert_eq!(registration.keep_alive().await, Ok(Kept::Alive));
    assert_eq!(check(&consul).await["Status"], "warning", "a heartbeat says the same");

    node.health = Health::Critical;
    registration.update(&node).await.expect("updates");
    assert_eq!(until(&*all, Health::Critical).await.weight, 5);
    let listing = list_until(&*usual, |listing| listing.nodes.is_empty()).await;
    assert!(listing.warnings[0].contains("1 node ") && listing.warnings[0].contains("passes"), "{listing:?}");

    (node.health, node.region) = (Health::Passing, "us-east".into());
    registration.update(&node).await.expect("updates");
    let listing = list_until(&*usual, |listing| !listing.nodes.is_empty()).await;
    assert_eq!(listing.nodes, [node]);
}

#[tokio::test]
async fn where_only_health_differs_only_the_check_is_written() {
    let consul = start().await;
    let mut node = record("n1", 1);
    let mut registration = registry(&consul.http_uri()).register(&node, LONG).await.expect("registers");
    let mut changes = catalog(&consul.http_uri()).watch();
    assert!(matches!(next_change(&mut changes).await, Change::Reset(listing) if ids(&listing) == ["n1"]));
    let service = async || {
        let all = consul.request("GET", "/v1/catalog/service/browser-node", None).await.expect("services");
        all[0]["ModifyIndex"].clone()
    };
    let before = service().await;
    node.health = Health::Warning;
    registration.update(&node).await.expect("updates");
    node.weight = 3;
    assert_eq!(next_change(&mut changes).await, added(&node));
    assert_eq!(service().await, before, "the service was written again");
    // A registry that checks nodes by itself needs no word from them.
    let mut node = record("n2", 2);
    let mut registration = registry(&consul.http_uri()).register(&node, Check::Tcp).await.expect("registers");
    node.health = Health::Warning;
    registration.update(&node).await.expect("updates");
    let checks = consul.request("GET", "/v1/agent/checks", None).await.expect("checks");
    assert_ne!(checks["service:n2"]["Status"], "warning", "{checks}");
}

#[tokio::test]
async fn maintenance_of_a_node_or_of_its_host_is_critical() {
    let consul = start().await;
    let (usual, all) = (catalog(&consul.http_uri()), of_all(&consul));
    let mut registration =
        registry(&consul.http_uri()).register(&record("n1", 1), LONG).await.expect("registers");
    for path in ["/v1/agent/service/maintenance/n1", "/v1/agent/maintenance"] {
        let turn = async |on: bool| {
            consul.request("PUT", &format!("{path}?enable={on}"), None).await.expect("an operator's word");
        };
        turn(true).await;
        until(&*all, Health::Critical).await;
        assert_eq!(list(&*usual).await.nodes, [], "{path}");
        // The node lives on, and its heartbeat does not end what the operator began.
        assert_eq!(registration.keep_alive().await, Ok(Kept::Alive));
        assert_eq!(list(&*all).await.nodes[0].health, Health::Critical, "{path}");
        turn(false).await;
        until(&*usual, Health::Passing).await;
    }
}

#[tokio::test]
async fn a_node_that_comes_back_under_its_old_name_passes_at_once() {
    let consul = start().await;
    let usual = catalog(&consul.http_uri());
    let node = record("n1", 1);
    let registry = registry(&consul.http_uri());
    registry.register(&node, LONG).await.expect("registers");
    consul.request("PUT", "/v1/agent/check/fail/service:n1", None).await.expect("it fell silent");
    list_until(&*usual, |listing| listing.nodes.is_empty()).await;
    // A new process, which knows nothing of the old one. Consul keeps a check's status when it is registered again.
    registry.register(&node, LONG).await.expect("registers");
    assert_eq!(check(&consul).await["Status"], "passing");
    assert_eq!(list_until(&*usual, |listing| !listing.nodes.is_empty()).await.nodes, [node]);
}

#[tokio::test]
async fn all_kinds_of_checks_find_a_server_and_miss_a_dead_one() {
    let consul = start().await;
    let all = of_all(&consul);
    // It speaks nothing, so that it is there for TCP alone.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback works");
    let port = listener.local_addr().expect("it is bound").port();
    let served = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("loopback works");
            tokio::spawn(async move {
                let mut question = [0; 1024];
                let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut question).await;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await;
            });
        }
    });
    let registry = registry(&consul.http_uri());
    for (id, check, at, kind, health) in [
        ("tcp", Check::Tcp, port, "tcp", Health::Passing),
        ("tcp-dead", Check::Tcp, 1, "tcp", Health::Critical),
        ("http", Check::Http, port, "http", Health::Passing),
        ("http-dead", Check::Http, 1, "http", Health::Critical),
        ("https-plain", Check::Https, port, "http", Health::Critical),
        ("grpc-plain", Check::Grpc, port, "grpc", Health::Critical),
    ] {
        registry.register(&record(id, at), check).await.expect("registers");
        let path = "/v1/agent/checks";
        let checks = consul.request("GET", path, None).await.expect("checks");
        assert_eq!(checks[format!("service:{id}")]["Type"], kind, "{checks}");
        let meets = |node: &NodeRecord| node.id.as_str() == id && node.health == health;
        if health == Health::Critical {
            list_until(&*all, |listing| listing.nodes.iter().any(meets)).await;
        } else {
            // It passes from the start, so that Consul's own word is waited for.
            let said = async || {
                let checks = consul.request("GET", path, None).await.expect("checks");
                !checks[format!("service:{id}")]["Output"].as_str().unwrap_or_default().is_empty()
            };
            let waiting = async {
                while !said().await {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            tokio::time::timeout(crate::support::DEADLINE, waiting).await.expect("Consul checks it");
            assert!(list(&*all).await.nodes.iter().any(meets), "{id}");
        }
    }
    served.abort();
}

#[tokio::test]
async fn an_instance_that_consul_alone_knows_is_judged_like_any_other() {
    let consul = start().await;
    let service = json!({"ID": "n1", "Name": "browser-node", "Address": "127.0.0.1", "Port": 1,
        "Weights": {"Passing": 9, "Warning": 2},
        "Checks": [{"CheckID": "a", "TTL": "5m", "Status": "passing"}, {"CheckID": "b", "TTL": "5m", "Status": "warning"}]});
    consul.request("PUT", "/v1/agent/service/register", Some(&service)).await.expect("an operator registers");
    let found = until(&*catalog(&consul.http_uri()), Health::Warning).await;
    assert_eq!(found.weight, 2);
    let passing =
        Options::default().with_query(Query { health: [Health::Passing].into(), ..Query::default() });
    let passing = open(&consul.http_uri().parse().expect("a catalog"), &passing).expect("opens");
    let listing = list(&*passing).await;
    assert_eq!(listing.nodes, []);
    assert!(listing.warnings[0].contains("1 node "), "{:?}", listing.warnings);
}
