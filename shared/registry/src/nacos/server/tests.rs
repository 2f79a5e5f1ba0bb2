use super::*;
use crate::{figures::Figures, uri::CatalogUri};

fn server(uri: &str, environment: &Environment) -> Result<Server, Cause> {
    let Ok(CatalogUri::Nacos(uri)) = uri.parse() else { panic!("{uri}") };
    Server::new(&uri, environment, Figures::default().meter(&uri))
}

fn place(uri: &str) -> Place {
    server(uri, &Environment::default()).expect(uri).place
}

fn text(question: &Question) -> String {
    let body = String::from_utf8(question.body.clone()).expect("text");
    format!("{} {} {body}", question.method, question.path).trim().to_owned()
}

#[test]
fn each_call_is_the_documented_request() {
    let place = place("nacos://h/dev-1?group=g:1&service=s&cluster=c1");
    let spot = Spot { ip: "fd00::1".into(), port: 7443 };
    let meta = [("a".to_owned(), "ü &".to_owned())].into();
    let register = Call::Register { spot: &spot, weight: "5", meta: &meta };
    let service = "serviceName=s&groupName=g%3A1&namespaceId=dev%2D1";
    let instance = format!("{service}&ip=fd00%3A%3A1&port=7443&clusterName=c1");
    let form = format!(
        "{instance}&weight=5&enabled=true&healthy=true&ephemeral=true&metadata=%7B%22a%22%3A%22%C3%BC%20%26%22%7D"
    );
    let (v1, v3) = ("/nacos/v1/ns/instance", "/nacos/v3/client/ns/instance");
    for (dialect, call, expected) in [
        (Dialect::V1, Call::List, format!("GET {v1}/list?{service}&healthyOnly=false&clusters=c1")),
        (Dialect::V3, Call::List, format!("GET {v3}/list?{service}&clusterName=c1")),
        (Dialect::V1, register, format!("POST {v1} {form}")),
        (Dialect::V3, register, format!("POST {v3} {form}")),
        (Dialect::V1, Call::Beat(&spot), format!("PUT {v1}/beat?{instance}&ephemeral=true")),
        (Dialect::V3, Call::Beat(&spot), format!("POST {v3} {instance}&ephemeral=true&heartBeat=true")),
        (Dialect::V1, Call::Deregister(&spot), format!("DELETE {v1}?{instance}&ephemeral=true")),
        (Dialect::V3, Call::Deregister(&spot), format!("DELETE {v3}?{instance}&ephemeral=true")),
        (Dialect::V1, Call::Peek(&spot), format!("GET {v1}?{instance}")),
    ] {
        assert_eq!(text(&question(dialect, call, &place)), expected);
    }
}

#[test]
fn the_public_namespace_is_the_one_without_a_name() {
    assert_eq!(service(&place("nacos://h/public")), service(&place("nacos://h")));
    assert_eq!(service(&place("nacos://h")), "serviceName=browser%2Dnode&groupName=DEFAULT%5FGROUP");
    assert!(place("nacos://h").to_string().ends_with("namespace \"public\""));
}

#[test]
fn tls_is_a_matter_of_the_address_or_the_environment() {
    let none = Environment::default();
    for (uri, environment, base) in [
        ("nacos://h,h2:1", none.clone(), "http://h:8848,http://h2:1"),
        ("nacos://h?ssl", none.clone(), "https://h:8848"),
        ("nacos://[::1]", none.clone().with("NACOS_SSL", "true"), "https://[::1]:8848"),
    ] {
        let server = server(uri, &environment).expect(uri);
        assert_eq!(format!("{:?}", server.transport), format!("Transport({base})"));
    }
    let trusting = none.with("NACOS_SSL", "true").with("NACOS_SSL_VERIFY", "false");
    let server = self::server("nacos://h", &trusting).expect("it can be had");
    assert!(server.warnings()[0].contains("NACOS_SSL_VERIFY=false"));
}

#[test]
fn wrong_settings_are_named() {
    for (name, value, part) in [
        ("NACOS_SSL", "yes", "\"yes\""),
        ("NACOS_SSL_VERIFY", "no", "\"no\""),
        ("NACOS_CACERT", "/nonexistent", "/nonexistent"),
        ("NACOS_CERT", "/nonexistent", "counterpart"),
        ("NACOS_USERNAME", "u", "NACOS_PASSWORD"),
    ] {
        let Err(Cause::Settings(text)) = server("nacos://h?ssl", &Environment::default().with(name, value))
        else {
            panic!("{name}={value} was taken");
        };
        assert!(text.contains(name) && text.contains(part), "{text}");
    }
}
