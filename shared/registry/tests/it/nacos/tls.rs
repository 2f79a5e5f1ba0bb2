//! The variables that TLS goes by. r-nacos speaks none, and a Nacos over HTTPS stands behind a proxy; what is tested
//! is whom the client believes, so any real server with a certificate will do: Consul.

use cbrowse_registry::{Environment, open};
use cbrowse_testkit::{consul::Consul, ports::free_ports};

use crate::support::authority::{Authority, Signed, VALID};

async fn error(uri: &str, environment: &Environment) -> String {
    let catalog = open(&uri.parse().expect(uri), &environment.clone().into()).expect("opens");
    catalog.list().await.expect_err("it is not Nacos").to_string()
}

#[tokio::test]
async fn the_authority_in_the_environment_decides_whom_to_believe() {
    let (authority, other) = (Authority::new(), Authority::new());
    let Signed { certificate, key } = authority.sign("server", &["127.0.0.1"], VALID);
    let [port] = free_ports().unwrap();
    let configuration =
        format!("ports {{ https = {port} }}\ncert_file = {certificate:?}\nkey_file = {key:?}");
    let _consul = Consul::start_with(&[&configuration], None).await.expect("consul starts");
    let (uri, none) = (format!("nacos://127.0.0.1:{port}?ssl"), Environment::default());

    let ours = error(&uri, &none.clone().with("NACOS_CACERT", &authority.file())).await;
    assert!(ours.contains("neither Nacos's v3 client API nor v1"), "it was spoken to: {ours}");
    let anybody = error(&uri, &none.clone().with("NACOS_SSL_VERIFY", "false")).await;
    assert!(anybody.contains("neither"), "it was spoken to: {anybody}");
    for stranger in [none.clone().with("NACOS_CACERT", &other.file()), none.clone()] {
        let text = error(&uri, &stranger).await;
        assert!(text.contains("certificate") && text.contains("NACOS_CACERT"), "{text}");
    }
    let with_certificate = none.with("NACOS_CACERT", &authority.file());
    let with_certificate = with_certificate.with("NACOS_CERT", &certificate).with("NACOS_KEY", &key);
    assert!(error(&uri, &with_certificate).await.contains("neither"));
}
