//! Over HTTPS, with certificates of Consul's own making and of an authority of ours.

use std::{path::Path, process::Command};

use cbrowse_registry::{Environment, Listing, open};
use cbrowse_testkit::{consul::Consul, ports::free_ports};
use tempfile::TempDir;

use crate::support::authority::{Authority, EXPIRED, Signed, VALID};

/// `consul tls …` writes into its working directory.
fn consul_tls(directory: &Path, arguments: &[&str]) {
    let output = Command::new("consul")
        .arg("tls")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("consul runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn list(uri: &str, environment: &Environment) -> Result<Listing, String> {
    let catalog =
        open(&uri.parse().expect(uri), &environment.clone().into()).map_err(|error| error.to_string())?;
    catalog.list().await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_authority_in_the_environment_decides_whom_to_believe() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    consul_tls(directory.path(), &["ca", "create"]);
    consul_tls(directory.path(), &["cert", "create", "-server"]);
    consul_tls(directory.path(), &["ca", "create", "-domain", "other"]);
    let [port] = free_ports().unwrap();
    let (certificate, key) = (at("dc1-server-consul-0.pem"), at("dc1-server-consul-0-key.pem"));
    let configuration =
        format!("ports {{ https = {port} }}\ncert_file = {certificate:?}\nkey_file = {key:?}");
    let _consul = Consul::start_with(&[&configuration], None).await.expect("consul starts");

    let ssl = Environment::default().with("CONSUL_HTTP_SSL", "true");
    let ours = ssl.clone().with("CONSUL_CACERT", &at("consul-agent-ca.pem"));
    let uri = format!("consul://127.0.0.1:{port}");
    list(&uri, &ours).await.expect("a certificate of that authority");
    list("consul://", &ours.clone().with("CONSUL_HTTP_ADDR", &format!("https://127.0.0.1:{port}")))
        .await
        .expect("the same");

    let error = list(&uri, &ssl.clone().with("CONSUL_CACERT", &at("other-agent-ca.pem")))
        .await
        .expect_err("another authority");
    assert!(error.contains("certificate") && error.contains("CONSUL_CACERT"), "{error}");
    let error = list(&uri, &ssl).await.expect_err("no authority of the machine's");
    assert!(error.contains("certificate") && error.contains("CONSUL_CACERT"), "{error}");
    let error = list(&uri, &Environment::default()).await.expect_err("not over TLS");
    assert!(error.contains("HTTPS"), "{error}");

    let listing = list(&uri, &ssl.with("CONSUL_HTTP_SSL_VERIFY", "false")).await.expect("whoever it is");
    assert!(
        listing.warnings.iter().any(|text| text.contains("CONSUL_HTTP_SSL_VERIFY")),
        "{:?}",
        listing.warnings
    );
}

/// A Consul that shows `certificate`; where it listens over TLS.
async fn secured(signed: &Signed, more: &str) -> (Consul, String) {
    let [port] = free_ports().expect("a port");
    let Signed { certificate, key } = signed;
    let configuration =
        format!("ports {{ https = {port} }}\ncert_file = {certificate:?}\nkey_file = {key:?}\n{more}");
    let consul = Consul::start_with(&[&configuration], None).await.expect("consul starts");
    (consul, format!("consul://127.0.0.1:{port}"))
}

fn over_tls(authority: &str) -> Environment {
    Environment::default().with("CONSUL_HTTP_SSL", "true").with("CONSUL_CACERT", authority)
}

#[tokio::test]
async fn an_expired_certificate_is_named_with_its_fix() {
    let authority = Authority::new();
    let expired = authority.sign("old", &["127.0.0.1"], EXPIRED);
    let (_consul, uri) = secured(&expired, "").await;
    let error = list(&uri, &over_tls(&authority.file())).await.expect_err("expired");
    for part in [&uri, "expired", "days ago", "renew", "clock"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_port_that_speaks_tls_and_one_that_does_not_are_told_apart() {
    let authority = Authority::new();
    let (consul, uri) = secured(&authority.sign("server", &["127.0.0.1"], VALID), "").await;
    let error = list(&uri, &Environment::default()).await.expect_err("plain HTTP to a port that speaks TLS");
    assert!(error.contains(&uri) && error.contains("add ?ssl"), "{error}");
    let plain = format!("{}?ssl", consul.http_uri());
    let error = list(&plain, &over_tls(&authority.file())).await.expect_err("TLS to a port that speaks none");
    assert!(error.contains("is not TLS") && error.contains("without TLS"), "{error}");
    assert!(!error.contains("CONSUL_CACERT"), "no certificate is at fault: {error}");
}

#[tokio::test]
async fn a_certificate_of_another_name_can_be_told_that_name() {
    let authority = Authority::new();
    let named = authority.sign("named", &["server.dc1.consul"], VALID);
    let ((_one, uri), (_other, second)) = tokio::join!(secured(&named, ""), secured(&named, ""));
    let environment = over_tls(&authority.file());
    let error = list(&uri, &environment).await.expect_err("the address is not in it");
    for part in [&uri, "127.0.0.1", "server.dc1.consul", "CONSUL_TLS_SERVER_NAME"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let with_name = environment.clone().with("CONSUL_TLS_SERVER_NAME", "server.dc1.consul");
    list(&uri, &with_name).await.expect("the name that was told");
    // Each of several agents is still asked at its own address.
    let both = format!("consul://127.0.0.1:1,{}", second.trim_start_matches("consul://"));
    list(&both, &with_name).await.expect("the second agent");
    let wrong = environment.with("CONSUL_TLS_SERVER_NAME", "server.dc2.consul");
    let error = list(&uri, &wrong).await.expect_err("another name");
    assert!(error.contains("server.dc2.consul") && error.contains("CONSUL_TLS_SERVER_NAME"), "{error}");
}

#[tokio::test]
async fn a_consul_that_asks_for_certificates_gets_ours_and_names_what_is_missing() {
    let authority = Authority::new();
    let server = authority.sign("server", &["127.0.0.1"], VALID);
    let client = authority.sign("client", &["client"], VALID);
    let more = format!("verify_incoming_https = true\nca_file = {:?}", authority.file());
    let (_consul, uri) = secured(&server, &more).await;
    let environment = over_tls(&authority.file());
    let ours = environment
        .clone()
        .with("CONSUL_CLIENT_CERT", &client.certificate)
        .with("CONSUL_CLIENT_KEY", &client.key);
    list(&uri, &ours).await.expect("a certificate of that authority");
    let error = list(&uri, &environment).await.expect_err("none is shown");
    for part in [&uri, "client certificate", "CONSUL_CLIENT_CERT", "CONSUL_CLIENT_KEY"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let stranger = Authority::new();
    let Signed { certificate, key } = stranger.sign("client", &["client"], VALID);
    let foreign = environment.with("CONSUL_CLIENT_CERT", &certificate).with("CONSUL_CLIENT_KEY", &key);
    let error = list(&uri, &foreign).await.expect_err("another authority's");
    assert!(error.contains("CONSUL_CLIENT_CERT"), "{error}");
    let half = over_tls(&authority.file()).with("CONSUL_CLIENT_CERT", &client.certificate);
    let error = list(&uri, &half).await.expect_err("no key");
    assert!(error.contains("CONSUL_CLIENT_CERT") && error.contains("key"), "{error}");
    let mixed = ours.with("CONSUL_CLIENT_KEY", &client.certificate);
    let error = list(&uri, &mixed).await.expect_err("no key in it");
    assert!(error.contains("CONSUL_CLIENT_KEY") && !error.contains("BEGIN"), "{error}");
}

#[tokio::test]
async fn a_directory_of_authorities_is_believed_file_by_file() {
    let authority = Authority::new();
    let server = authority.sign("server", &["127.0.0.1"], VALID);
    let (_consul, uri) = secured(&server, "").await;
    let authorities = TempDir::new().expect("a directory");
    let environment = Environment::default()
        .with("CONSUL_HTTP_SSL", "true")
        .with("CONSUL_CAPATH", &authorities.path().display().to_string());
    let error = list(&uri, &environment).await.expect_err("it is empty");
    assert!(error.contains("CONSUL_CAPATH") && error.contains("no PEM certificate"), "{error}");
    let other = Authority::new();
    let put = |from: &str, name: &str| std::fs::copy(from, authorities.path().join(name)).expect("copied");
    put(&other.file(), "a-other.pem");
    std::fs::write(authorities.path().join("README"), "not a certificate").expect("written");
    std::fs::create_dir(authorities.path().join("directory")).expect("made");
    let error = list(&uri, &environment).await.expect_err("not among them");
    assert!(error.contains("certificate"), "{error}");
    put(&authority.file(), "b-ours.pem");
    list(&uri, &environment).await.expect("among them");
    // As with Consul's own tools, the file comes before the directory.
    let both = environment.with("CONSUL_CACERT", &other.file());
    list(&uri, &both).await.expect_err("the file alone counts");
}
