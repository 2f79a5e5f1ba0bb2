//! Instances on the real server: other clients' entries, namespaces, groups, clusters, and what r-nacos keeps.

use std::time::Duration;

use cbrowse_protocol::node::{Health, NodeRecord};
use cbrowse_registry::{CatalogUri, Check, Kept, Options, Query, open};
use cbrowse_testkit::{nacos::Nacos, ports::free_ports};
use serde_json::Value;

use super::start;
use crate::support::{DEADLINE, catalog, ids, list, record, registry};

const LONG: Check = Check::Heartbeat(Duration::from_secs(300));

/// What another client of Nacos does with `curl -X POST`.
async fn post(nacos: &Nacos, form: &str) {
    let form = format!("serviceName=browser-node&{form}");
    let answer = nacos.request("POST", "/nacos/v1/ns/instance", &form).await.expect("an operator registers");
    assert_eq!(answer, (200, "ok".to_owned()), "{form}");
}

/// What another client of Nacos sees.
async fn seen(nacos: &Nacos) -> Vec<Value> {
    let path = "/nacos/v1/ns/instance/list?serviceName=browser-node";
    let (_, body) = nacos.request("GET", path, "").await.expect("an answer");
    let list: Value = serde_json::from_str(&body).expect("a list");
    list["hosts"].as_array().expect("instances").clone()
}

async fn everything(uri: &str) -> Vec<NodeRecord> {
    let options = Options::default().with_query(Query::of_all());
    let catalog = open(&uri.parse::<CatalogUri>().expect(uri), &options).expect(uri);
    list(&*catalog).await.nodes
}

#[tokio::test]
#[ignore = "needs r-nacos: ./test.sh --long installs it"]
async fn another_clients_instances_are_nodes_and_garbage_is_skipped_with_a_reason() {
    let nacos = start().await;
    for form in [
        "ip=127.0.0.1&port=0",
        "ip=127.0.0.1&port=99999",
        "ip=127.0.0.1&port=1&metadata=%7B%22capacity%22%3A%22many%22%7D",
        "ip=127.0.0.1&port=2&metadata=%7B%22region%22%3A%22%5Cu001b%5B2J%22%7D",
        "ip=127.0.0.1&port=3&metadata=%7B%22id%22%3A%22..%2Fx%22%7D",
        "ip=127.0.0.1&port=4&weight=-1",
        "ip=%1B%5B31m&port=5",
        "ip=169.254.169.254&port=80",
        "ip=0x7f.1&port=6",
        "ip=127.0.0.1&port=7443",
        "ip=node.example.com&port=7443&weight=2.5&clusterName=c1",
        "ip=127.0.0.1&port=7444&metadata=%7B%22id%22%3A%22gr%22%2C%22zone%22%3A%22gr%C3%B6%C3%9Fe+%2B+%26%22%7D",
    ] {
        post(&nacos, form).await;
    }
    let listing = list(&*catalog(&nacos.uri())).await;
    assert_eq!(ids(&listing), ["127.0.0.1:7443", "gr", "node.example.com:7443"]);
    assert_eq!(listing.rejected.len(), 9, "{:?}", listing.rejected);
    let node = |id: &str| listing.nodes.iter().find(|node| node.id.as_str() == id).unwrap();
    assert_eq!((node("127.0.0.1:7443").weight, node("node.example.com:7443").weight), (1, 3));
    assert_eq!(node("gr").zone, "größe + &");
    let reason = |entry: &str| {
        let found = listing.rejected.iter().find(|rejected| rejected.entry == entry);
        found.unwrap_or_else(|| panic!("{entry}: {:?}", listing.rejected)).reason.as_str()
    };
    assert!(reason("127.0.0.1:0").contains("port 0") && reason("127.0.0.1:99999").contains("port 99999"));
    assert!(
        reason("127.0.0.1:1").contains("\"many\"") && reason("127.0.0.1:2").contains("control character")
    );
    assert!(reason("127.0.0.1:3").contains("not allowed in an id") && reason("127.0.0.1:4").contains("-1"));
    assert!(reason("169.254.169.254:80").contains("link-local") && reason("0x7f.1:6").contains("disguise"));
    let text = serde_json::to_string(&listing).unwrap();
    assert!(!text.contains("\\u001b") && !text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
#[ignore = "needs r-nacos: ./test.sh --long installs it"]
async fn namespaces_groups_services_and_clusters_are_worlds_of_their_own() {
    let nacos = start().await;
    let uris = ["", "/dev-1", "?group=g%3A1", "?service=s2", "/dev-1?group=g%3A1&service=s2&cluster=c1"]
        .map(|rest| format!("{}{rest}", nacos.uri()));
    let mut registrations = Vec::new();
    for (index, uri) in uris.iter().enumerate() {
        let node = record(&format!("n{index}"), 7443);
        registrations.push(registry(uri).register(&node, LONG).await.expect("registers"));
    }
    for (index, uri) in uris.iter().enumerate() {
        assert_eq!(ids(&list(&*catalog(uri)).await), [format!("n{index}")], "{uri}");
        assert_eq!(registrations[index].keep_alive().await, Ok(Kept::Alive), "{uri}");
    }
    assert_eq!(ids(&list(&*catalog(&format!("{}/public", nacos.uri()))).await), ["n0"]);
    for (registration, uri) in registrations.iter_mut().zip(&uris) {
        registration.deregister().await.expect("deregisters");
        assert_eq!(list(&*catalog(uri)).await.nodes, [], "{uri}");
    }
}

#[tokio::test]
#[ignore = "needs r-nacos: ./test.sh --long installs it"]
async fn an_empty_list_is_explained() {
    let nacos = start().await;
    let form = "customNamespaceId=9f1c&namespaceName=browsers&namespaceDesc=";
    nacos.request("POST", "/nacos/v1/console/namespaces", form).await.expect("an operator makes a namespace");
    post(&nacos, "ip=127.0.0.1&port=1&clusterName=c1").await;
    for (rest, part) in [
        ("?group=other", "no instance is registered in service \"browser-node\" of group \"other\""),
        ("?cluster=c2", "1 instance is registered in other clusters, none in service"),
        (
            "/9f1c",
            "no instance is registered in service \"browser-node\" of group \"DEFAULT_GROUP\", namespace \"9f1c\"",
        ),
        ("/browsers", "write its id, \"9f1c\""),
        ("/ghost", "there is no namespace with the id \"ghost\""),
    ] {
        let listing = list(&*catalog(&format!("{}{rest}", nacos.uri()))).await;
        assert_eq!((listing.nodes.len(), listing.rejected.len()), (0, 0));
        assert!(listing.warnings[0].contains(part), "{rest}: {:?}", listing.warnings);
    }
}

#[tokio::test]
#[ignore = "needs r-nacos: ./test.sh --long installs it"]
async fn a_node_is_not_taken_for_the_one_that_was_at_its_address() {
    let nacos = start().await;
    let registry = registry(&nacos.uri());
    let catalog = catalog(&nacos.uri());
    let mut first = registry.register(&record("first", 7443), LONG).await.expect("registers");
    first.deregister().await.expect("deregisters");
    let second = NodeRecord { region: "us".into(), ..record("second", 7443) };
    let mut registration = registry.register(&second, LONG).await.expect("registers");
    assert_eq!(list(&*catalog).await.nodes, std::slice::from_ref(&second));
    // One that takes the address from under it, as after a lost and found network.
    post(&nacos, "ip=127.0.0.1&port=7443&metadata=%7B%22id%22%3A%22thief%22%7D").await;
    assert_eq!(ids(&list(&*catalog).await), ["thief"]);
    assert_eq!(registration.keep_alive().await, Ok(Kept::Again));
    assert_eq!(list(&*catalog).await.nodes, [second]);
}

#[tokio::test]
#[ignore = "needs r-nacos: ./test.sh --long installs it"]
async fn a_node_that_moves_leaves_nothing_behind() {
    let nacos = start().await;
    let registry = registry(&nacos.uri());
    let catalog = catalog(&nacos.uri());
    let other = registry.register(&record("other", 1), LONG).await.expect("registers");
    let mut registration = registry.register(&record("n1", 2), LONG).await.expect("registers");
    registration.update(&record("n1", 3)).await.expect("updates");
    let ports = |listing: &cbrowse_registry::Listing| {
        let mut ports: Vec<_> = listing.nodes.iter().map(|node| node.port).collect();
        ports.sort_unstable();
        (ports, listing.rejected.len())
    };
    assert_eq!(ports(&list(&*catalog).await), (vec![1, 3], 0));
    // The same node in another process, which knows nothing of the first.
    drop(registration);
    registry.register(&record("n1", 4), LONG).await.expect("registers");
    assert_eq!(ports(&list(&*catalog).await), (vec![1, 4], 0));
    drop(other);
}

#[tokio::test]
#[ignore = "needs r-nacos: ./test.sh --long installs it"]
async fn weight_and_health_mean_the_same_to_other_clients() {
    let nacos = start().await;
    let node = NodeRecord { weight: 5, ..record("n1", 7443) };
    let mut registration = registry(&nacos.uri()).register(&node, LONG).await.expect("registers");
    for (weight, health, nacos_weight) in [
        (1, Health::Passing, 1.0),
        (20_000, Health::Passing, 10_000.0),
        (5, Health::Warning, 5.0),
        (5, Health::Critical, 0.0),
        (0, Health::Passing, 0.0),
        (1, Health::Passing, 1.0),
    ] {
        let node = NodeRecord { weight, health, ..node.clone() };
        registration.update(&node).await.expect("updates");
        assert_eq!(registration.keep_alive().await, Ok(Kept::Alive));
        assert_eq!(everything(&nacos.uri()).await, [node]);
        let weight = seen(&nacos).await[0]["weight"].as_f64().expect("a number");
        assert!((weight - nacos_weight).abs() < 0.001, "{weight} instead of {nacos_weight}");
        let serving = list(&*catalog(&nacos.uri())).await;
        assert_eq!(serving.nodes.len(), usize::from(health != Health::Critical), "{serving:?}");
        assert_eq!(
            serving.warnings.iter().any(|text| text.contains("none serves")),
            serving.nodes.is_empty()
        );
    }
}

#[tokio::test]
#[ignore = "needs r-nacos: ./test.sh --long installs it"]
async fn an_instance_that_fell_silent_is_critical_before_it_is_gone() {
    let settings =
        [("RNACOS_NAMING_HEALTH_TIMEOUT_SECOND", "1"), ("RNACOS_NAMING_INSTANCE_TIMEOUT_SECOND", "600")];
    let nacos = Nacos::start_with(&settings).await.expect("rnacos starts");
    let (registry, catalog) = (registry(&nacos.uri()), catalog(&nacos.uri()));
    let (lively, silent) = (record("lively", 1), record("silent", 2));
    let mut of_lively = registry.register(&lively, LONG).await.expect("registers");
    let mut of_silent = registry.register(&silent, LONG).await.expect("registers");
    assert_eq!(ids(&list(&*catalog).await), ["lively", "silent"]);
    let fading = async {
        while list(&*catalog).await.nodes.len() > 1 {
            of_lively.keep_alive().await.expect("lives");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(DEADLINE, fading).await.expect("silence is noticed");
    assert_eq!(list(&*catalog).await.nodes, std::slice::from_ref(&lively));
    let critical = NodeRecord { health: Health::Critical, ..silent.clone() };
    assert!(everything(&nacos.uri()).await.contains(&critical));
    assert_eq!(of_silent.keep_alive().await, Ok(Kept::Alive));
    assert_eq!(ids(&list(&*catalog).await), ["lively", "silent"]);
}

#[tokio::test]
#[ignore = "needs r-nacos: ./test.sh --long installs it"]
async fn a_restart_that_keeps_its_disk_forgets_instances_all_the_same() {
    let mut nacos = start().await;
    let node = record("n1", 7443);
    let mut registration = registry(&nacos.uri()).register(&node, LONG).await.expect("registers");
    nacos.restart().await.expect("rnacos comes back");
    assert_eq!(registration.keep_alive().await, Ok(Kept::Again));
    assert_eq!(list(&*catalog(&nacos.uri())).await.nodes, [node]);
    assert_eq!(registration.keep_alive().await, Ok(Kept::Alive));
}

#[tokio::test]
#[ignore = "needs r-nacos: ./test.sh --long installs it"]
async fn of_several_servers_one_that_answers_is_enough() {
    let mut first = start().await;
    let second = start().await;
    let [dead] = free_ports().expect("free ports");
    let uri = format!("nacos://127.0.0.1:{dead},{},{}", first.address(), second.address());
    let (catalog, registry) = (catalog(&uri), registry(&uri));
    let mut registration = registry.register(&record("n1", 1), LONG).await.expect("registers");
    assert_eq!(ids(&list(&*catalog).await), ["n1"]);
    assert_eq!(seen(&first).await.len(), 1, "the first that answers");
    first.kill();
    // These two do not share what they know, as the members of a cluster would.
    assert_eq!(registration.keep_alive().await, Ok(Kept::Again));
    assert_eq!(ids(&list(&*catalog).await), ["n1"]);
    assert_eq!(seen(&second).await.len(), 1);
}
