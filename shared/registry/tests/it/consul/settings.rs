//! Tokens, passwords, namespaces and sockets: what reaches the server, and what does not.

use std::time::Duration;

use cbrowse_registry::{
    Check, Environment, Options, Registration,
    events::{Events, Filters},
    open, open_registry,
};
use cbrowse_testkit::consul::Consul;
use serde_json::json;

use super::fake::{Scripted, answering, good};
use crate::support::{ids, list_until, record};

const LONG: Check = Check::Heartbeat(Duration::from_secs(300));

async fn registered(uri: &str, environment: Environment) -> Box<dyn Registration> {
    let registry = open_registry(&uri.parse().expect(uri), &environment.into()).expect("opens");
    registry.register(&record("n1", 1), LONG).await.expect("registers")
}

#[tokio::test]
async fn a_unix_socket_is_this_machine() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("consul.sock");
    let address = format!("unix://{}", socket.display());
    let configuration = format!("addresses {{ http = \"127.0.0.1 {address}\" }}");
    let consul = Consul::start_with(&[&configuration], None).await.expect("consul starts");
    let environment = Environment::default().with("CONSUL_HTTP_ADDR", &address);
    let mut registration = registered("consul://", environment.clone()).await;
    // The node is at a loopback address, which only a catalog on this machine may name.
    let catalog = open(&"consul://".parse().expect("a catalog"), &environment.into()).expect("opens");
    let listing = list_until(&*catalog, |listing| !listing.nodes.is_empty()).await;
    assert_eq!((ids(&listing), listing.rejected.len()), (vec!["n1"], 0));
    registration.deregister().await.expect("deregisters");
    drop(consul);
    let error = catalog.list().await.expect_err("nobody listens").to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    let gone = Environment::default().with("CONSUL_HTTP_ADDR", &format!("{address}.not"));
    let catalog = open(&"consul://".parse().expect("a catalog"), &gone.into()).expect("opens");
    let error = catalog.list().await.expect_err("no socket").to_string();
    assert!(error.contains("No such file"), "{error}");
}

#[tokio::test]
async fn user_and_password_are_sent_and_shown_nowhere() {
    // Consul itself has none; a proxy before it asks for them.
    let (uri, _server, mut asked) =
        answering(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    let environment = Environment::default().with("CONSUL_HTTP_AUTH", "Aladdin:open sesame");
    let catalog = open(&uri.parse().expect("a catalog"), &environment.into()).expect("opens");
    let error = catalog.list().await.expect_err("refused").to_string();
    let question = asked.recv().await.expect("a question").to_lowercase();
    assert!(question.contains("authorization: basic qwxhzgrpbjpvcgvuihnlc2ftzq=="), "{question}");
    assert!(
        error.contains("401")
            && error.contains("CONSUL_HTTP_AUTH")
            && !error.contains("sesame")
            && !error.contains("QWxhZGRp"),
        "{error}"
    );
}

#[tokio::test]
async fn a_token_file_is_read_as_consul_reads_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("token");
    std::fs::write(&path, "from-the-file\n").expect("written");
    let (uri, _server, mut asked) =
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]").await;
    let file = Environment::default().with("CONSUL_HTTP_TOKEN_FILE", &path.display().to_string());
    for (environment, token) in
        [(file.clone(), "from-the-file"), (file.with("CONSUL_HTTP_TOKEN", "itself"), "itself")]
    {
        let catalog = open(&uri.parse().expect("a catalog"), &environment.into()).expect("opens");
        catalog.list().await.expect("an answer");
        let question = asked.recv().await.expect("a question").to_lowercase();
        assert!(question.contains(&format!("x-consul-token: {token}\r\n")), "{question}");
        asked.recv().await.expect("why the list is empty is asked, too");
    }
}

#[tokio::test]
async fn namespace_and_partition_go_with_every_request_of_an_enterprise() {
    // Namespaces and partitions are Consul Enterprise's; parameters as in its API documentation.
    let server = Scripted::start(|line, _| {
        Some(if line.contains("/v1/agent/checks") { good("", "{}") } else { good("", "[]") })
    })
    .await;
    let environment = Environment::default().with("CONSUL_NAMESPACE", "env").with("CONSUL_PARTITION", "west");
    let uri = format!("{}?ns=team", server.uri());
    let mut registration = registered(&uri, environment.clone()).await;
    registration.keep_alive().await.expect("lives");
    registration.deregister().await.expect("deregisters");
    let catalog = open(&uri.parse().expect("a catalog"), &Options::from(environment)).expect("opens");
    catalog.list().await.expect("an answer");
    let asked = server.asked();
    assert!(asked.len() >= 6, "{asked:?}");
    for line in &asked {
        assert!(
            line.contains("ns=team") && line.contains("partition=west") && !line.contains("env"),
            "{line}"
        );
    }
    for part in ["/service/register?", "/check/pass/service:n1?", "/deregister/n1?", "/health/service/"] {
        assert!(asked.iter().any(|line| line.contains(part)), "{part}: {asked:?}");
    }
}

#[tokio::test]
async fn what_consul_would_not_take_is_not_sent() {
    let server = Scripted::start(|_, _| Some(good("", ""))).await;
    let registry =
        open_registry(&server.uri().parse().expect("a registry"), &Options::default()).expect("opens");
    let mut node = record("n1", 1);
    node.meta.insert("größe".into(), "x".into());
    let error = registry.register(&node, LONG).await.err().expect("no such key").to_string();
    assert!(error.contains("größe") && error.contains("128"), "{error}");
    assert_eq!(server.asked(), [""; 0]);
}

#[tokio::test]
async fn consul_agrees_about_its_limits() {
    let consul = Consul::start().await.expect("consul starts");
    let registry = open_registry(&consul.http_uri().parse().expect("a registry"), &Options::default());
    let registry = registry.expect("opens");
    let mut node = record("n1", 1);
    node.meta = [("k".repeat(128), "v".repeat(512))].into();
    // With region, zone, version, browser_version and capacity that makes 64.
    node.meta.extend((1..59).map(|index| (format!("k{index}"), String::new())));
    registry.register(&node, LONG).await.expect("exactly at the limits");
    node.meta.insert("one-more".into(), String::new());
    let error = registry.register(&node, LONG).await.err().expect("beyond").to_string();
    assert!(error.contains("65") && error.contains("64"), "{error}");
}

const TOKEN: &str = "11111111-2222-3333-4444-555555555555";

/// A token with the rights of the `index`th policy that the documentation tells operators to write.
async fn documented(consul: &Consul, index: usize) -> Environment {
    let page = include_str!("../../../../../docs/catalogs/consul.md");
    let rules =
        page.split("```hcl").nth(index + 1).and_then(|rest| rest.split("```").next()).expect("a policy");
    let name = format!("documented-{index}");
    let policy = json!({"Name": name, "Rules": rules});
    consul.request("PUT", "/v1/acl/policy", Some(&policy)).await.expect("Consul understands it");
    let token = json!({"Policies": [{"Name": name}]});
    let token = consul.request("PUT", "/v1/acl/token", Some(&token)).await.expect("a token");
    Environment::default().with("CONSUL_HTTP_TOKEN", token["SecretID"].as_str().expect("a secret"))
}

#[tokio::test]
async fn the_documented_policies_are_enough_and_not_too_much() {
    let configuration =
        format!("acl {{ enabled = true\ndefault_policy = \"deny\"\ntokens {{ master = {TOKEN:?} }} }}");
    let consul = Consul::start_with(&[&configuration], Some(TOKEN)).await.expect("consul starts");
    let (reader, node, speaker) =
        (documented(&consul, 0).await, documented(&consul, 1).await, documented(&consul, 2).await);
    let mut registration = registered(&consul.http_uri(), node.clone()).await;
    let uri = consul.http_uri().parse().expect("a catalog");
    let catalog = open(&uri, &reader.clone().into()).expect("opens");
    list_until(&*catalog, |listing| ids(listing) == ["n1"]).await;
    let mut changed = record("n1", 1);
    changed.region = "us-east".into();
    registration.update(&changed).await.expect("updates");
    registration.keep_alive().await.expect("lives");

    let refused = open_registry(&uri, &reader.into()).expect("opens");
    let error = refused.register(&record("n2", 2), LONG).await.err().expect("a reader writes nothing");
    assert!(!error.is_transient() && error.to_string().contains("CONSUL_HTTP_TOKEN"), "{error}");
    let elsewhere = format!("{}/web", consul.http_uri()).parse().expect("a catalog");
    let foreign = open_registry(&elsewhere, &node.clone().into()).expect("opens");
    foreign.register(&record("n2", 2), LONG).await.err().expect("a node writes no other service");
    let events = |environment: Environment| Events::open(&uri, &environment.into()).expect("opens");
    events(speaker).fire("deploy", b"", &Filters::default()).await.expect("fires");
    events(node).fire("deploy", b"", &Filters::default()).await.expect_err("a node fires none");
    registration.deregister().await.expect("deregisters");
    list_until(&*catalog, |listing| listing.nodes.is_empty()).await;
}

#[tokio::test]
async fn the_documented_right_of_a_node_is_enough_to_clear_what_it_left_elsewhere() {
    let acl = |more: &str| {
        format!("acl {{ enabled = true\ndefault_policy = \"deny\"\ntokens {{ master = {TOKEN:?}{more} }} }}")
    };
    let consul = Consul::start_with(&[&acl("")], Some(TOKEN)).await.expect("consul starts");
    let agent_token = format!("\nagent = {TOKEN:?}");
    let agent = consul.client(&[&acl(&agent_token)]).await.expect("a client joins");
    let node = documented(&consul, 1).await;
    drop(registered(&agent.http_uri(), node.clone()).await);
    let both = format!("{},{}", consul.http_uri(), agent.http_address());
    let mut registration = registered(&both, node).await;
    let holds = async || {
        let services = agent.request("GET", "/v1/agent/services", None).await.expect("services");
        services.get("n1").is_some()
    };
    assert!(holds().await);
    registration.keep_alive().await.expect("lives");
    assert!(!holds().await, "the right does not show the agent's name");
}
