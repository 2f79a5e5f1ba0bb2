//! Tokens, passwords, namespaces and sockets: what reaches the server, and what does not.

use std::time::Duration;

use cbrowse_registry::{Check, Environment, Options, Registration, open, open_registry};
use cbrowse_testkit::consul::Consul;

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
    assert!(error.contains("401") && !error.contains("sesame") && !error.contains("QWxhZGRp"), "{error}");
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
