//! Over HTTPS with certificates of Consul's own making.

use std::{path::Path, process::Command};

use cbrowse_registry::{Environment, Listing, open};
use cbrowse_testkit::{consul::Consul, ports::free_ports};
use tempfile::TempDir;

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
