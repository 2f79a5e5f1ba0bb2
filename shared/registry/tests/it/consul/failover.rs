//! Several agents: an entry belongs to the one that took it, moves when that one is gone, and stands nowhere twice.

use std::time::{Duration, Instant};

use cbrowse_protocol::node::NodeRecord;
use cbrowse_registry::{Check, Kept, Registration, stay_registered};
use cbrowse_testkit::consul::Consul;
use serde_json::json;
use tokio::sync::{oneshot, watch};

use super::{
    fake::{Scripted, good, status},
    start,
};
use crate::support::{DEADLINE, catalog, ids, list, list_until, record, registry};

const LONG: Check = Check::Heartbeat(Duration::from_secs(300));

/// A server, and two agents that nodes register with.
async fn datacenter() -> (Consul, Consul, Consul) {
    let server = start().await;
    let (one, other) = tokio::join!(server.client(&[]), server.client(&[]));
    (server, one.expect("a client joins"), other.expect("a client joins"))
}

fn both(one: &Consul, other: &Consul) -> String {
    format!("{},{}", one.http_uri(), other.http_address())
}

/// Whether the agent itself holds the node.
async fn holds(agent: &Consul, id: &str) -> bool {
    let services = agent.request("GET", "/v1/agent/services", None).await.expect("services");
    services.get(id).is_some()
}

/// Under how many hosts the catalog names the node.
async fn entries(server: &Consul) -> usize {
    let path = "/v1/catalog/service/browser-node";
    let entries = server.request("GET", path, None).await.expect("entries");
    entries.as_array().map_or(0, Vec::len)
}

async fn registered(uri: &str, node: &NodeRecord, check: Check) -> Box<dyn Registration> {
    registry(uri).register(node, check).await.expect("registers")
}

#[tokio::test]
async fn an_entry_moves_from_a_dead_agent_and_is_cleared_when_that_one_returns() {
    let (server, mut one, other) = datacenter().await;
    let catalog = catalog(&server.http_uri());
    let node = record("n1", 7443);
    let mut registration = registered(&both(&one, &other), &node, LONG).await;
    list_until(&*catalog, |listing| listing.nodes.len() == 1).await;
    assert!(holds(&one, "n1").await && !holds(&other, "n1").await);
    for _ in 0..3 {
        assert_eq!(registration.keep_alive().await, Ok(Kept::Alive));
    }
    assert!(!holds(&other, "n1").await, "a heartbeat went to an agent that never knew the node");

    one.kill();
    assert_eq!(registration.keep_alive().await, Ok(Kept::Again));
    assert!(holds(&other, "n1").await);
    assert_eq!(registration.keep_alive().await, Ok(Kept::Alive));
    // The dead agent's entry is still in the catalog: both name one node.
    let listing = list_until(&*catalog, |listing| listing.nodes.len() == 1).await;
    assert_eq!((listing.nodes, listing.rejected), (vec![node.clone()], vec![]));

    one.restart().await.expect("it comes back");
    assert!(holds(&one, "n1").await, "a client agent remembers its services");
    assert_eq!(registration.keep_alive().await, Ok(Kept::Alive));
    assert!(!holds(&one, "n1").await && holds(&other, "n1").await);
    let began = Instant::now();
    while entries(&server).await != 1 {
        assert!(began.elapsed() < DEADLINE, "the old entry stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(list(&*catalog).await.nodes, [node]);
    registration.deregister().await.expect("deregisters");
    assert!(!holds(&other, "n1").await);
}

#[tokio::test]
async fn a_node_stays_listed_while_its_agent_dies_and_returns() {
    let (server, mut one, other) = datacenter().await;
    let catalog = catalog(&server.http_uri());
    let (uri, node) = (both(&one, &other), record("n1", 7443));
    let (_records, receiver) = watch::channel(node.clone());
    let all_there_is = vec![node];
    let (stop, stopped) = oneshot::channel::<()>();
    let staying = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        stay_registered(&*registry(&uri), receiver, Check::Heartbeat(Duration::from_secs(6)), stopped).await
    });
    list_until(&*catalog, |listing| listing.nodes.len() == 1).await;
    one.kill();
    // The dead host's gossip check may fail before the next heartbeat tells the other agent; once that knows the node, it
    // is listed at every moment.
    let path = "/v1/health/service/browser-node";
    let began = Instant::now();
    let mut moved = false;
    loop {
        let listed = list(&*catalog).await.nodes;
        assert!(listed == all_there_is || (listed.is_empty() && !moved), "{listed:?}");
        let all = server.request("GET", path, None).await.expect("entries").to_string();
        moved |= all.contains(&other.node_name());
        if all.contains("critical") && moved {
            break;
        }
        assert!(began.elapsed() < DEADLINE, "{all}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(list(&*catalog).await.nodes, all_there_is);
    one.restart().await.expect("it comes back");
    let began = Instant::now();
    while holds(&one, "n1").await {
        assert!(began.elapsed() < DEADLINE, "the old entry stays");
        assert_eq!(list(&*catalog).await.nodes, all_there_is);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.send(()).expect("somebody listens");
    staying.await.expect("no panic").expect("deregisters");
    list_until(&*catalog, |listing| listing.nodes.is_empty()).await;
}

#[tokio::test]
async fn an_agent_that_hangs_is_left_too_and_a_farewell_reaches_both() {
    let (server, one, other) = datacenter().await;
    let node = record("n1", 7443);
    let mut registration = registered(&both(&one, &other), &node, LONG).await;
    one.freeze().expect("it stands still");
    assert_eq!(registration.keep_alive().await, Ok(Kept::Again));
    assert!(holds(&other, "n1").await);
    one.resume().expect("it goes on");
    registration.deregister().await.expect("deregisters");
    assert!(!holds(&one, "n1").await && !holds(&other, "n1").await);
    list_until(&*catalog(&server.http_uri()), |listing| listing.nodes.is_empty()).await;
}

#[tokio::test]
async fn what_an_earlier_run_left_at_another_agent_is_cleared() {
    let (server, one, other) = datacenter().await;
    // It ended without a farewell, and its HTTPS check would go on passing for ever.
    drop(registered(&other.http_uri(), &record("n1", 7443), LONG).await);
    let mut registration = registered(&both(&one, &other), &record("n1", 7444), LONG).await;
    assert!(holds(&other, "n1").await);
    registration.keep_alive().await.expect("lives");
    assert!(!holds(&other, "n1").await && holds(&one, "n1").await);
    let listing = list_until(&*catalog(&server.http_uri()), |listing| {
        listing.rejected.is_empty() && ids(listing) == ["n1"]
    })
    .await;
    assert_eq!(listing.nodes[0].port, 7444);
}

#[tokio::test]
async fn another_service_of_the_same_id_is_none_of_ours() {
    let (_server, one, other) = datacenter().await;
    let foreign = json!({"ID": "n1", "Name": "web", "Port": 80, "Check": {"TTL": "5m"}});
    other.request("PUT", "/v1/agent/service/register", Some(&foreign)).await.expect("an operator registers");
    let mut registration = registered(&both(&one, &other), &record("n1", 7443), LONG).await;
    registration.keep_alive().await.expect("lives");
    registration.deregister().await.expect("deregisters");
    assert!(holds(&other, "n1").await);
}

#[tokio::test]
async fn two_addresses_of_one_agent_are_one_agent() {
    let consul = start().await;
    let uri = format!("{},localhost:{}", consul.http_uri(), consul.http_address().port());
    let mut registration = registered(&uri, &record("n1", 7443), LONG).await;
    for _ in 0..3 {
        assert_eq!(registration.keep_alive().await, Ok(Kept::Alive));
        assert!(holds(&consul, "n1").await, "the node removed itself");
    }
}

#[tokio::test]
async fn an_update_and_a_registration_pass_a_dead_agent() {
    let (server, mut one, mut other) = datacenter().await;
    let uri = both(&one, &other);
    one.kill();
    let mut node = record("n1", 7443);
    let mut registration = registered(&uri, &node, Check::Https).await;
    assert!(holds(&other, "n1").await);
    one.restart().await.expect("it comes back");
    other.kill();
    node.region = "us-east".into();
    registration.update(&node).await.expect("updates");
    assert!(holds(&one, "n1").await);
    let path = "/v1/agent/service/n1";
    let service = one.request("GET", path, None).await.expect("the service");
    assert_eq!(service["Meta"]["region"], "us-east");
    one.kill();
    let error = registration.keep_alive().await.expect_err("nobody is there");
    assert!(error.is_transient() && error.to_string().contains(&uri), "{error}");
    drop(server);
}

#[tokio::test]
async fn an_agent_in_trouble_is_not_taken_for_a_forgetful_one() {
    // Consul before 1.11 answers 500 to a heartbeat for a check it does not know, and 500 to any trouble of its own. A
    // real one cannot be brought into such trouble on request; the text is what a client agent of 1.8.7 says when its
    // server goes away in the middle.
    let server = Scripted::start(|line, number| {
        Some(match number {
            0 | 1 => good("", ""),
            _ if line.contains("/v1/agent/checks") => {
                let check = json!({"service:n1": {"Node": "s1", "ServiceName": "browser-node"}});
                good("", &check.to_string())
            }
            _ => status("500 Internal Server Error", "", "rpc error making call: EOF"),
        })
    })
    .await;
    let mut registration = registered(&server.uri(), &record("n1", 1), LONG).await;
    let error = registration.keep_alive().await.expect_err("trouble");
    assert!(error.is_transient() && error.to_string().contains("EOF"), "{error}");
    let writes = server.asked().iter().filter(|line| line.contains("/register")).count();
    assert_eq!(writes, 1, "{:?}", server.asked());
}
