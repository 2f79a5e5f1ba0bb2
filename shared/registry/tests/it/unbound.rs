//! The same over Unbound, a recursive server: zones of others, local data, and DNS over TLS with certificates made here.

use cbrowse_registry::{CatalogError, Cause, Environment, Listing, open};
use cbrowse_testkit::{
    knot::Knot,
    unbound::{Knows, Unbound},
};
use tempfile::TempDir;

use crate::support::{
    authority::{Authority, EXPIRED, Signed, VALID},
    catalog, ids, list,
};

const DATA: [&str; 4] = [
    "_browser-node._tcp.local.test. SRV 0 1 7443 n1.local.test.",
    "_browser-node._tcp.local.test. TXT \"cbrowse=1\" \"region=eu\"",
    "n1.local.test. A 127.0.0.2",
    "n1.local.test. TXT \"cbrowse=1\" \"zone=eu-1\"",
];

fn local() -> Knows<'static> {
    Knows { data: &DATA, zones: &["local.test"], ..Knows::default() }
}

#[tokio::test]
async fn a_node_keeps_its_name_while_the_server_turns_its_addresses_round() {
    let records = "_browser-node._tcp SRV 0 1 7443 n1\nn1 A 127.0.0.4\nn1 A 127.0.0.3\nn1 A 127.0.0.2";
    let knot = Knot::start(records).await.expect("knot starts");
    let stubs = [("fleet.test", knot.address())];
    let unbound = Unbound::start(Knows { stubs: &stubs, ..Knows::default() }).await.expect("unbound starts");
    let catalog = catalog(&format!("dns+srv://_browser-node._tcp.fleet.test?server={}", unbound.address()));
    let first = list(&*catalog).await;
    assert_eq!(ids(&first), ["127.0.0.2:7443"]);
    assert_eq!(first.nodes[0].meta["srv_addresses"], "127.0.0.3 127.0.0.4");
    for _ in 0..10 {
        assert_eq!(list(&*catalog).await, first);
    }
}

#[tokio::test]
async fn a_zone_of_another_server_comes_through_the_resolver() {
    // A recursive server leaves the additional records out and follows aliases itself.
    let knot = Knot::start(
        "_browser-node._tcp CNAME real\n\
         real SRV 5 1 7443 n1\n\
         real SRV 9 1 7444 alias\n\
         real TXT \"cbrowse=1\" \"region=eu\"\n\
         n1 A 127.0.0.2\n\
         n1 TXT \"cbrowse=1\" \"id=n1\"\n\
         alias CNAME host\n\
         host AAAA ::1\n",
    )
    .await
    .expect("knot starts");
    let stubs = [("fleet.test", knot.address())];
    let unbound = Unbound::start(Knows { stubs: &stubs, ..Knows::default() }).await.expect("unbound starts");
    let uri = format!("dns+srv://_browser-node._tcp.fleet.test?server={}", unbound.address());
    let listing = list(&*catalog(&uri)).await;
    let order: Vec<_> = listing.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(order, ["n1", "[::1]:7444"], "the lowest priority first");
    assert!(listing.nodes.iter().all(|node| node.region == "eu"), "{listing:?}");
    assert_eq!((listing.rejected, listing.warnings), (vec![], vec![]));
}

/// What makes the client believe an authority.
fn trusting(authority: &Authority) -> Environment {
    Environment::default().with("CBROWSE_DNS_CACERT", &authority.file())
}

async fn listed(uri: &str, environment: &Environment) -> Result<Listing, CatalogError> {
    open(&uri.parse().expect(uri), &environment.clone().into())?.list().await
}

async fn over_tls(signed: &Signed) -> Unbound {
    let [certificate, key] =
        [&signed.certificate, &signed.key].map(|path| std::fs::read_to_string(path).expect("a file"));
    let knows = Knows { tls: Some((&certificate, &key)), ..local() };
    Unbound::start(knows).await.expect("unbound starts")
}

#[tokio::test]
async fn over_tls_the_certificate_decides_and_nothing_is_asked_in_plain() {
    let (ours, other) = (Authority::new(), Authority::new());
    let environment = trusting(&ours);
    let unbound = over_tls(&ours.sign("server", &["dns.fleet.test"], VALID)).await;
    let uri =
        |server, name: &str| format!("dns+srv://_browser-node._tcp.local.test?server={server}&tls={name}");
    let good = uri(unbound.tls_address(), "dns.fleet.test");

    let listing = listed(&good, &environment).await.expect("a certificate of that authority for that name");
    assert_eq!((ids(&listing), listing.warnings.len()), (vec!["127.0.0.2:7443"], 0));
    let node = &listing.nodes[0];
    assert_eq!((node.region.as_str(), node.zone.as_str()), ("eu", "eu-1"));

    let others = trusting(&other);
    let renamed = uri(unbound.tls_address(), "dns.other.test");
    for (what, uri, environment, advice) in [
        ("another name", renamed, &environment, "?tls="),
        ("another authority", good.clone(), &others, "CBROWSE_DNS_CACERT"),
        ("the machine's authorities", good.clone(), &Environment::default(), "CBROWSE_DNS_CACERT"),
    ] {
        let error = listed(&uri, environment).await.expect_err(what);
        let text = error.to_string();
        assert!(text.contains("certificate") && text.contains(advice), "{what}: {text}");
        assert!(matches!(error, CatalogError::One { cause: Cause::Tls { .. }, .. }), "{what}: {text}");
    }

    // The same server would answer in plain at this port, and is not asked to.
    let error = listed(&uri(unbound.address(), "dns.fleet.test"), &environment).await.expect_err("plain DNS");
    assert!(error.to_string().contains(&unbound.address().to_string()), "{error}");

    let expired = over_tls(&ours.sign("old", &["dns.fleet.test"], EXPIRED)).await;
    let error =
        listed(&uri(expired.tls_address(), "dns.fleet.test"), &environment).await.expect_err("expired");
    assert!(error.to_string().contains("expired"), "{error}");
}

#[tokio::test]
async fn an_authority_that_cannot_be_read_is_named_and_unused_without_tls() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("empty.pem");
    std::fs::write(&path, "nothing").unwrap();
    for (value, part) in
        [(path.display().to_string(), "no PEM certificate"), ("/nonexistent".into(), "cannot be read")]
    {
        let environment = Environment::default().with("CBROWSE_DNS_CACERT", &value);
        let uri = "dns+srv://n.test?server=127.0.0.1:1&tls=dns.test";
        let text = open(&uri.parse().unwrap(), &environment.clone().into()).err().expect(part).to_string();
        assert!(
            text.contains(part) && text.contains("CBROWSE_DNS_CACERT") && text.contains(&value),
            "{text}"
        );
        assert!(open(&"dns+srv://n.test?server=127.0.0.1:1".parse().unwrap(), &environment.into()).is_ok());
    }
}
