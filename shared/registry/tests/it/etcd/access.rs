//! Users, tokens, certificates, and a gateway that is not there.

use std::time::Duration;

use cbrowse_registry::{CatalogError, Cause, Change, Check, Environment, Kept, Listing, open, open_registry};
use cbrowse_testkit::etcd::Etcd;

use super::{put, start, text};
use crate::support::{
    Seen,
    authority::{Authority, VALID},
    catalog, ids, list, record, registry,
};

const LONG: Check = Check::Heartbeat(Duration::from_secs(300));
/// Of the tests' own making.
const PASSWORD: &str = "hunter2-secret";

/// Users `root`, and `reader`, who may read below `browser-node/` only.
async fn with_users(arguments: &[&str]) -> Etcd {
    let etcd = Etcd::start_with(arguments).await.expect("etcd starts");
    let secret = |name: &str| format!("{name}:{PASSWORD}");
    let (root, reader) = (secret("root"), secret("reader"));
    let commands: [&[&str]; 7] = [
        &["user", "add", &root],
        &["user", "grant-role", "root", "root"],
        &["user", "add", &reader],
        &["role", "add", "reading"],
        &["role", "grant-permission", "--prefix=true", "reading", "read", "browser-node/"],
        &["user", "grant-role", "reader", "reading"],
        &["auth", "enable"],
    ];
    for command in commands {
        etcd.ctl(command).await.expect("an operator closes the door");
    }
    etcd
}

fn user(name: &str, password: &str) -> Environment {
    Environment::default().with("ETCDCTL_USER", &format!("{name}:{password}"))
}

async fn listed(uri: &str, environment: &Environment) -> Result<Listing, CatalogError> {
    open(&uri.parse().expect(uri), &environment.clone().into())?.list().await
}

#[tokio::test]
async fn who_asks_decides_what_is_answered_and_secrets_show_nowhere() {
    let etcd = with_users(&[]).await;
    let uri = etcd.uri();
    let root = user("root", PASSWORD);
    let beside = Environment::default().with("ETCDCTL_USER", "root").with("ETCDCTL_PASSWORD", PASSWORD);
    let parsed = uri.parse().expect("a catalog");
    let writer = open_registry(&parsed, &beside.into()).expect("opens");
    writer.register(&record("n1", 1), LONG).await.expect("root may write");
    assert_eq!(ids(&listed(&uri, &root).await.expect("root may read")), ["n1"]);
    let reader = user("reader", PASSWORD);
    assert_eq!(ids(&listed(&uri, &reader).await.expect("a reader may read")), ["n1"]);

    let elsewhere = format!("{uri}/secrets");
    let readers = open_registry(&parsed, &reader.clone().into()).expect("opens");
    let unwritten = readers.register(&record("n2", 2), LONG).await.err().expect("a reader may not write");
    for (what, cause) in [
        ("nobody", listed(&uri, &Environment::default()).await.expect_err("nobody may read")),
        ("a wrong password", listed(&uri, &user("root", "hunter3-wrong")).await.expect_err("that is not it")),
        ("another prefix", listed(&elsewhere, &reader).await.expect_err("not there")),
        ("a write", CatalogError::One { catalog: uri.clone(), cause: unwritten.cause }),
    ] {
        let text = format!("{cause} {cause:?}");
        assert!(matches!(&cause, CatalogError::One { cause: Cause::Refused { .. }, .. }), "{what}: {text}");
        assert!(text.contains("ETCDCTL_USER") && !text.contains("hunter"), "{what}: {text}");
        assert!(!cause.is_transient(), "{what}: {text}");
    }
}

#[tokio::test]
async fn a_token_that_the_server_forgot_is_renewed() {
    let mut etcd = with_users(&[]).await;
    let options = user("root", PASSWORD).into();
    let uri = etcd.uri().parse().expect("a catalog");
    let registry = open_registry(&uri, &options).expect("opens");
    let mut registration = registry.register(&record("n1", 1), LONG).await.expect("registers");
    let mut changes = open(&uri, &options).expect("opens").watch();
    let mut seen = Seen::default();
    seen.follow(&mut changes, |nodes| nodes.contains_key("n1")).await;
    // Simple tokens live in memory.
    etcd.restart().await.expect("etcd comes back");
    assert_eq!(registration.keep_alive().await, Ok(Kept::Alive), "the lease was written down");
    registration.update(&record("n1", 2)).await.expect("updates");
    let told = seen.follow(&mut changes, |nodes| nodes["n1"].port == 2).await;
    assert!(told.iter().all(|item| !matches!(item, Ok(Change::Remove(_)))), "{told:?}");
}

#[tokio::test]
async fn a_token_that_runs_out_is_renewed() {
    let etcd = with_users(&["--auth-token-ttl", "1"]).await;
    let options = user("root", PASSWORD).into();
    let uri = etcd.uri().parse().expect("a catalog");
    let catalog = open(&uri, &options).expect("opens");
    assert_eq!(list(&*catalog).await.nodes, []);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(list(&*catalog).await.nodes, []);
}

#[tokio::test]
async fn a_user_that_etcd_does_not_ask_for_does_no_harm() {
    let etcd = start().await;
    put(&etcd, "browser-node/n1", &text(&record("n1", 1))).await;
    let listing = listed(&etcd.uri(), &user("root", PASSWORD)).await.expect("as etcdctl does");
    assert_eq!(ids(&listing), ["n1"]);
}

#[tokio::test]
async fn each_side_believes_the_certificates_of_its_authority() {
    let authority = Authority::new();
    let server = authority.sign("server", &["127.0.0.1"], VALID);
    let client = authority.sign("client", &["client"], VALID);
    let etcd = Etcd::start_with(&[
        &format!("--cert-file={}", server.certificate),
        &format!("--key-file={}", server.key),
        &format!("--trusted-ca-file={}", authority.file()),
        "--client-cert-auth",
    ])
    .await
    .expect("etcd starts");
    let trusting = Environment::default().with("ETCDCTL_CACERT", &authority.file());
    let shown = trusting.clone().with("ETCDCTL_CERT", &client.certificate).with("ETCDCTL_KEY", &client.key);
    let address = etcd.address();
    let ssl = format!("etcd://{address}?ssl");
    listed(&ssl, &shown).await.expect("both believe each other");
    listed(&etcd.uri(), &shown).await.expect("certificates mean HTTPS");
    let from_environment = shown.clone().with("ETCDCTL_ENDPOINTS", &format!("https://{address}"));
    listed("etcd://", &from_environment).await.expect("the same");

    for (what, environment, part) in [
        ("no certificate of ours", &trusting, "ETCDCTL_CERT"),
        ("an authority that is not theirs", &Environment::default(), "ETCDCTL_CACERT"),
    ] {
        let error = listed(&ssl, environment).await.expect_err(what).to_string();
        assert!(error.contains(part), "{what}: {error}");
    }
    let unverified = Environment::default()
        .with("ETCDCTL_CERT", &client.certificate)
        .with("ETCDCTL_KEY", &client.key)
        .with("ETCDCTL_INSECURE_SKIP_TLS_VERIFY", "true");
    let listing = listed(&ssl, &unverified).await.expect("whoever it is");
    assert!(listing.warnings[0].contains("ETCDCTL_INSECURE_SKIP_TLS_VERIFY"), "{:?}", listing.warnings);
}

#[tokio::test]
async fn a_gateway_that_was_disabled_is_named_with_the_fix() {
    let etcd = Etcd::start_with(&["--enable-grpc-gateway=false"]).await.expect("etcd starts");
    let unlisted = catalog(&etcd.uri()).list().await.expect_err("no gateway").to_string();
    let unwritten = registry(&etcd.uri()).register(&record("n1", 1), LONG).await.err().expect("no gateway");
    for error in [unlisted, unwritten.to_string()] {
        assert!(error.contains("--enable-grpc-gateway") && error.contains(&etcd.uri()), "{error}");
    }
}
