//! The same over Unbound, a recursive server: zones of others, local data, and DNS over TLS with certificates made here.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cbrowse_registry::{CatalogError, Cause, Environment, Listing, open};
use cbrowse_testkit::{
    knot::Knot,
    unbound::{Knows, Unbound},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

use crate::support::{catalog, ids, list};

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

/// RFC 7468.
fn pem(label: &str, bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// An authority and what it certifies.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(parameters, key).expect("a certificate"))
    }

    /// Writes its certificate for `CBROWSE_DNS_CACERT`.
    fn environment(&self, directory: &TempDir, name: &str) -> Environment {
        let path = directory.path().join(name);
        std::fs::write(&path, pem("CERTIFICATE", self.0.der())).expect("a file");
        Environment::default().with("CBROWSE_DNS_CACERT", &path.display().to_string())
    }

    /// Certificate and key, PEM.
    fn certify(&self, name: &str, is_expired: bool) -> (String, String) {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        if is_expired {
            parameters.not_before = date_time_ymd(2019, 1, 1);
            parameters.not_after = date_time_ymd(2020, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &*self.0).expect("a certificate");
        (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", key.serialized_der()))
    }
}

async fn listed(uri: &str, environment: &Environment) -> Result<Listing, CatalogError> {
    open(&uri.parse().expect(uri), &environment.clone().into())?.list().await
}

async fn over_tls(certificate: &(String, String)) -> Unbound {
    let knows = Knows { tls: Some((&certificate.0, &certificate.1)), ..local() };
    Unbound::start(knows).await.expect("unbound starts")
}

#[tokio::test]
async fn over_tls_the_certificate_decides_and_nothing_is_asked_in_plain() {
    let directory = TempDir::new().unwrap();
    let (ours, other) = (Authority::new(), Authority::new());
    let environment = ours.environment(&directory, "ours.pem");
    let unbound = over_tls(&ours.certify("dns.fleet.test", false)).await;
    let uri =
        |server, name: &str| format!("dns+srv://_browser-node._tcp.local.test?server={server}&tls={name}");
    let good = uri(unbound.tls_address(), "dns.fleet.test");

    let listing = listed(&good, &environment).await.expect("a certificate of that authority for that name");
    assert_eq!((ids(&listing), listing.warnings.len()), (vec!["127.0.0.2:7443"], 0));
    let node = &listing.nodes[0];
    assert_eq!((node.region.as_str(), node.zone.as_str()), ("eu", "eu-1"));

    let others = other.environment(&directory, "other.pem");
    for (what, uri, environment, fix) in [
        ("another name", uri(unbound.tls_address(), "dns.other.test"), &environment, "?tls="),
        ("another authority", good.clone(), &others, "CBROWSE_DNS_CACERT"),
        ("the machine's authorities", good.clone(), &Environment::default(), "CBROWSE_DNS_CACERT"),
    ] {
        let error = listed(&uri, environment).await.expect_err(what);
        let text = error.to_string();
        assert!(text.contains("certificate") && text.contains(fix), "{what}: {text}");
        assert!(matches!(error, CatalogError::One { cause: Cause::Tls { .. }, .. }), "{what}: {text}");
    }

    // The same server would answer in plain at this port, and is not asked to.
    let error = listed(&uri(unbound.address(), "dns.fleet.test"), &environment).await.expect_err("plain DNS");
    assert!(error.to_string().contains(&unbound.address().to_string()), "{error}");

    let expired = over_tls(&ours.certify("dns.fleet.test", true)).await;
    let error = listed(&uri(expired.tls_address(), "dns.fleet.test"), &environment).await.expect_err("2020");
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
