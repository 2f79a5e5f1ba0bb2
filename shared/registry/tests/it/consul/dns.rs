//! The same nodes over Consul's DNS.

use std::time::Duration;

use cbrowse_registry::{CatalogError, Cause, Change, Check, list_all};
use cbrowse_testkit::consul::Consul;
use serde_json::json;

use super::start;
use crate::support::{catalog, ids, list, list_until, next_change, record, registry};

const LONG: Check = Check::Heartbeat(Duration::from_secs(300));

fn srv_uri(consul: &Consul) -> String {
    format!("dns+srv://browser-node.service.consul?server={}", consul.dns_server())
}

async fn registered(consul: &Consul, count: u16) {
    let registry = registry(&consul.http_uri());
    for port in 1..=count {
        registry.register(&record(&format!("n{port}"), port), LONG).await.expect("registers");
    }
    list_until(&*catalog(&consul.http_uri()), |listing| listing.nodes.len() == usize::from(count)).await;
}

#[tokio::test]
async fn nodes_are_found_by_name() {
    let consul = start().await;
    registered(&consul, 3).await;
    let listing = list(&*catalog(&srv_uri(&consul))).await;
    assert_eq!(ids(&listing), ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]);
    assert_eq!((listing.rejected.len(), listing.warnings.len()), (0, 0), "{listing:?}");
    let node = &listing.nodes[0];
    assert_eq!((node.address.as_str(), node.weight, node.region.as_str()), ("127.0.0.1", 5, ""));
    assert_eq!(
        (node.meta["srv_priority"].as_str(), node.meta["srv_target"].as_str()),
        ("1", "7f000001.addr.dc1.consul")
    );
}

#[tokio::test]
async fn an_instance_without_an_address_of_its_own_has_its_hosts() {
    let consul = start().await;
    let service = json!({"ID": "n1", "Name": "browser-node", "Port": 7443});
    consul.request("PUT", "/v1/agent/service/register", Some(&service)).await.unwrap();
    list_until(&*catalog(&consul.http_uri()), |listing| listing.nodes.len() == 1).await;
    let listing = list(&*catalog(&srv_uri(&consul))).await;
    assert_eq!(ids(&listing), ["127.0.0.1:7443"]);
    assert!(listing.nodes[0].meta["srv_target"].contains(".node.dc1.consul"), "{listing:?}");
}

#[tokio::test]
async fn a_long_list_comes_whole_and_one_too_long_is_said() {
    let consul = start().await;
    registered(&consul, 401).await;
    let listing = list(&*catalog(&srv_uri(&consul))).await;
    assert!(listing.nodes.len() > 300, "TCP carries more than UDP: {}", listing.nodes.len());
    let advised = listing.warnings.iter().any(|text| text.contains("consul://"));
    assert!(advised, "{} nodes, {:?}", listing.nodes.len(), listing.warnings);
}

#[tokio::test]
async fn a_name_that_is_not_there_is_said_and_watched() {
    let consul = start().await;
    let catalog = catalog(&srv_uri(&consul));
    let error = catalog.list().await.expect_err("no node is up");
    assert!(
        matches!(error, CatalogError::One { cause: Cause::DoesNotExist(_), .. }) && !error.is_transient()
    );
    let mut changes = catalog.watch();
    assert_eq!(next_change(&mut changes).await, Change::DoesNotExist);
    registered(&consul, 1).await;
    assert!(matches!(next_change(&mut changes).await, Change::Reset(listing) if listing.nodes.len() == 1));
    registered(&consul, 2).await;
    assert!(matches!(next_change(&mut changes).await, Change::Add(new) if new.nodes[0].port == 2));
}

#[tokio::test]
async fn the_same_node_in_both_catalogs_is_one() {
    let consul = start().await;
    registered(&consul, 2).await;
    let listing = list_all(&[catalog(&srv_uri(&consul)), catalog(&consul.http_uri())]).await.unwrap();
    assert_eq!(ids(&listing), ["n1", "n2"]);
    assert_eq!(listing.warnings, [""; 0]);
}

#[tokio::test]
async fn a_dead_server_is_named_and_costs_only_a_warning_beside_another() {
    let consul = start().await;
    registered(&consul, 1).await;
    let mut dead = start().await;
    let dead_uri = srv_uri(&dead);
    dead.kill();
    let error = catalog(&dead_uri).list().await.expect_err("nobody is there");
    assert!(error.is_transient() && error.to_string().contains(&dead_uri), "{error}");
    let listing = list_all(&[catalog(&dead_uri), catalog(&consul.http_uri())]).await.unwrap();
    assert_eq!(ids(&listing), ["n1"]);
    assert!(listing.warnings[0].contains(&dead_uri), "{:?}", listing.warnings);
}
