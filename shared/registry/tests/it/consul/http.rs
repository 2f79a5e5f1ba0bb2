//! Over HTTP: foreign entries, health checks, tokens, redirects and answers that make no sense.

use std::time::Duration;

use cbrowse_registry::{CatalogError, Cause, Check, Environment, open, open_registry};
use cbrowse_testkit::consul::Consul;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::{fake::answering, start};
use crate::support::{catalog, ids, list, list_until, record, registry};

async fn register(consul: &Consul, service: Value) {
    consul.request("PUT", "/v1/agent/service/register", Some(&service)).await.expect("an operator registers");
}

#[tokio::test]
async fn garbage_is_skipped_with_a_reason_and_the_others_serve() {
    let consul = start().await;
    let service = |id: &str, more: Value| {
        let mut service = json!({"ID": id, "Name": "browser-node", "Address": "127.0.0.1", "Port": 7443});
        service.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        service
    };
    for (id, more) in [
        ("no-port", json!({"Port": 0})),
        ("bad-capacity", json!({"Meta": {"capacity": "many"}})),
        ("bad-identity", json!({"Meta": {"identity": "hunter2"}})),
        ("escape", json!({"Meta": {"region": "\u{1b}[2J\u{1b}[31m"}})),
        ("../../etc/passwd", json!({})),
        ("\u{1b}]0;title\u{7}", json!({})),
        ("metadata-address", json!({"Address": "169.254.169.254"})),
        ("in-disguise", json!({"Address": "0x7f.1"})),
        ("foreign", json!({"Address": "", "Tags": ["web"]})),
        ("good", json!({"Weights": {"Passing": 7, "Warning": 1}})),
    ] {
        register(&consul, service(id, more)).await;
    }
    let catalog = catalog(&consul.http_uri());
    let listing = list_until(&*catalog, |listing| listing.nodes.len() + listing.rejected.len() == 10).await;
    assert_eq!(ids(&listing), ["foreign", "good"]);
    let foreign = listing.nodes.iter().find(|node| node.id.as_str() == "foreign").unwrap();
    assert_eq!((foreign.address.as_str(), foreign.weight), ("127.0.0.1", 1), "the host's own address");
    assert_eq!(listing.nodes.iter().find(|node| node.id.as_str() == "good").unwrap().weight, 7);
    let reason = |part: &str| {
        listing.rejected.iter().find(|rejected| rejected.entry.contains(part)).unwrap().reason.as_str()
    };
    assert!(reason("no-port").contains("port 0"));
    assert!(reason("bad-capacity").contains("\"many\""));
    assert!(reason("bad-identity").contains("identity"));
    assert!(reason("escape").contains("control character"));
    assert!(reason("passwd").contains("not allowed in an id"));
    assert!(reason("metadata-address").contains("link-local"));
    assert!(reason("in-disguise").contains("disguise"));
    let text = serde_json::to_string(&listing).unwrap();
    assert!(!text.contains("\\u001b") && !text.contains('\u{1b}'), "{text}");
}

#[tokio::test]
async fn what_is_critical_is_not_listed_and_an_empty_list_is_explained() {
    let consul = start().await;
    let catalog = catalog(&consul.http_uri());
    let listing = list(&*catalog).await;
    assert!(listing.warnings[0].contains("no service \"browser-node\""), "{:?}", listing.warnings);
    register(
        &consul,
        json!({"ID": "n1", "Name": "browser-node", "Address": "127.0.0.1", "Port": 1,
        "Check": {"CheckID": "c1", "TTL": "5m", "Status": "critical"}}),
    )
    .await;
    let listing =
        list_until(&*catalog, |listing| listing.warnings.iter().any(|text| text.starts_with("1 node ")))
            .await;
    assert_eq!(listing.nodes, []);
    consul.request("PUT", "/v1/agent/check/pass/c1", None).await.unwrap();
    list_until(&*catalog, |listing| listing.nodes.len() == 1).await;
    // Maintenance is a critical check.
    consul.request("PUT", "/v1/agent/service/maintenance/n1?enable=true", None).await.unwrap();
    list_until(&*catalog, |listing| listing.nodes.is_empty()).await;
}

#[tokio::test]
async fn a_node_with_an_https_check_that_answers_nothing_leaves_and_a_forgetful_agent_is_noticed() {
    let mut consul = start().await;
    let catalog = catalog(&consul.http_uri());
    // Nobody listens on port 1.
    let mut registration =
        registry(&consul.http_uri()).register(&record("n1", 1), Check::Https).await.unwrap();
    list_until(&*catalog, |listing| listing.nodes.is_empty()).await;
    let checks = consul.request("GET", "/v1/agent/checks", None).await.unwrap();
    assert_eq!(checks["service:n1"]["Status"], "critical", "{checks}");

    assert_eq!(registration.keep_alive().await, Ok(cbrowse_registry::Kept::Alive));
    consul.restart().await.unwrap();
    assert_eq!(registration.keep_alive().await, Ok(cbrowse_registry::Kept::Again));
}

#[tokio::test]
async fn another_service_another_name() {
    let consul = start().await;
    let other = format!("{}/browsers", consul.http_uri());
    registry(&other).register(&record("n1", 1), Check::Heartbeat(Duration::from_secs(300))).await.unwrap();
    list_until(&*catalog(&other), |listing| listing.nodes.len() == 1).await;
    assert_eq!(list(&*catalog(&consul.http_uri())).await.nodes, []);
    let stale = format!("{other}?stale&dc=dc1");
    list_until(&*catalog(&stale), |listing| listing.nodes.len() == 1).await;
    let elsewhere = format!("{}?dc=nowhere", consul.http_uri());
    let error = catalog(&elsewhere).list().await.expect_err("no such datacenter").to_string();
    assert!(error.contains("nowhere") && error.contains("No path to datacenter"), "{error}");
}

const ACL: &str = r#"acl { enabled = true
default_policy = "deny"
tokens { master = "11111111-2222-3333-4444-555555555555" } }"#;
const TOKEN: &str = "11111111-2222-3333-4444-555555555555";

#[tokio::test]
async fn the_token_opens_what_is_closed_and_shows_nowhere() {
    let consul = Consul::start_with(&[ACL], Some(TOKEN)).await.expect("consul starts");
    let uri = consul.http_uri().parse().unwrap();
    let with_token = Environment::default().with("CONSUL_HTTP_TOKEN", TOKEN);
    let check = Check::Heartbeat(Duration::from_secs(300));
    let refused = registry(&consul.http_uri())
        .register(&record("n1", 1), check)
        .await
        .err()
        .expect("no token, no write");
    assert!(
        matches!(refused.cause, Cause::Refused { status: 403, .. }) && !refused.is_transient(),
        "{refused}"
    );
    open_registry(&uri, &with_token.clone().into())
        .unwrap()
        .register(&record("n1", 1), check)
        .await
        .expect("with it");
    list_until(&*open(&uri, &with_token.into()).unwrap(), |listing| listing.nodes.len() == 1).await;
    assert_eq!(list(&*catalog(&consul.http_uri())).await.nodes, [], "Consul hides what a token may not read");
    let wrong = Environment::default().with("CONSUL_HTTP_TOKEN", "00000000-hunter2");
    let error = open(&uri, &wrong.into()).unwrap().list().await.expect_err("an unknown token");
    let text = error.to_string();
    assert!(matches!(error, CatalogError::One { cause: Cause::Refused { .. }, .. }), "{error:?}");
    assert!(text.contains("CONSUL_HTTP_TOKEN") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn a_redirect_is_not_followed_with_the_token() {
    let (elsewhere, _elsewhere, mut stolen) =
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]").await;
    let elsewhere = elsewhere.replace("consul://", "http://");
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: {elsewhere}/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let (uri, _server, mut asked) = answering(Box::leak(answer.into_boxed_str()).as_bytes()).await;
    let environment = Environment::default().with("CONSUL_HTTP_TOKEN", "hunter2");
    let error =
        open(&uri.parse().unwrap(), &environment.into()).unwrap().list().await.expect_err("a redirect");
    assert!(error.to_string().contains("redirect"), "{error}");
    assert!(asked.recv().await.unwrap().to_lowercase().contains("x-consul-token: hunter2"));
    assert!(stolen.try_recv().is_err(), "the token went elsewhere");
}

#[tokio::test]
async fn an_answer_filtered_by_acls_is_said() {
    let (uri, _server, _asked) = answering(
        b"HTTP/1.1 200 OK\r\nX-Consul-Results-Filtered-By-ACLs: true\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]",
    )
    .await;
    let listing = list(&*catalog(&uri)).await;
    assert!(listing.warnings.iter().any(|text| text.contains("Filtered-By-ACLs")), "{:?}", listing.warnings);
}

#[tokio::test]
async fn what_is_not_consul_is_named() {
    for (answer, part) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>"[..], "makes no sense"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\nConnection: close\r\n\r\n\x1b[31mred", "404"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "cannot be reached"),
        (b"", "cannot be reached"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nConnection: close\r\n\r\n[", "cannot be reached"),
    ] {
        let (uri, _server, _asked) = answering(answer).await;
        let text = catalog(&uri).list().await.expect_err("not Consul").to_string();
        assert!(text.contains(part) && text.contains(&uri), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("consul://{}", listener.local_addr().unwrap());
    let flood = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _question = stream.read(&mut [0; 4096]).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[").await.unwrap();
        let blanks = vec![b' '; 1 << 20];
        let mut sent = 0_u64;
        while stream.write_all(&blanks).await.is_ok() {
            sent += blanks.len() as u64;
        }
        sent
    });
    let error = catalog(&uri).list().await.expect_err("no end");
    assert!(
        matches!(error, CatalogError::One { cause: Cause::TooLarge { .. } | Cause::Deadline(_), .. }),
        "{error}"
    );
    assert!(flood.await.unwrap() < 128 << 20, "read on after the limit");
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_hangs_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("consul://{}", listener.local_addr().unwrap());
    let error = catalog(&uri).list().await.expect_err("no answer");
    assert!(
        matches!(error, CatalogError::One { cause: Cause::Deadline(_), .. }) && error.is_transient(),
        "{error}"
    );
}
