//! The dialect of Nacos 3, on a server that gives the documented answers; and how a client finds out which dialect a
//! server speaks.

use std::time::Duration;

use cbrowse_registry::{CatalogError, Cause, Check, Environment, Kept, open, open_registry};

use super::documented::{Documented, Manner, PASSWORD, USER};
use crate::{
    contract::{Server, contract},
    support::{catalog, ids, list, record, registry},
};

const LONG: Check = Check::Heartbeat(Duration::from_secs(300));
const LIST: &str = "GET /nacos/v3/client/ns/instance/list";
const WRITE: &str = "POST /nacos/v3/client/ns/instance";
const OLD_LIST: &str = "GET /nacos/v1/ns/instance/list";

impl Server for Documented {
    fn uri(&self) -> String {
        Documented::uri(self)
    }

    async fn restart_empty(&mut self) {
        self.restart(Manner::default());
    }

    fn kill(&mut self) {
        Documented::kill(self);
    }
}

async fn start() -> Documented {
    Documented::start(Manner::default())
}

contract!(start);

#[tokio::test]
async fn a_life_in_v3_is_one_request_a_step() {
    let nacos = start().await;
    let mut registration = registry(&nacos.uri()).register(&record("n1", 1), LONG).await.expect("registers");
    assert_eq!(nacos.asked(), [WRITE, LIST], "the list is asked for what an earlier run left");
    assert_eq!(registration.keep_alive().await, Ok(Kept::Alive));
    assert_eq!(nacos.asked(), [WRITE]);
    registration.update(&record("n1", 1)).await.expect("updates");
    assert_eq!(nacos.asked(), [WRITE]);
    registration.deregister().await.expect("deregisters");
    assert_eq!(nacos.asked(), ["DELETE /nacos/v3/client/ns/instance"]);
}

#[tokio::test]
async fn clusters_and_namespaces_are_worlds_of_their_own() {
    let nacos = start().await;
    let uris = ["", "?cluster=c1", "/dev-1", "?group=g"].map(|rest| format!("{}{rest}", nacos.uri()));
    for (index, uri) in uris.iter().enumerate() {
        registry(uri).register(&record(&format!("n{index}"), 1), LONG).await.expect("registers");
    }
    assert_eq!(ids(&list(&*catalog(&uris[0])).await), ["n0", "n1"], "every cluster of the group");
    for (index, uri) in uris.iter().enumerate().skip(1) {
        assert_eq!(ids(&list(&*catalog(uri)).await), [format!("n{index}")], "{uri}");
    }
    assert_eq!(list(&*catalog(&format!("{}/public?cluster=c1", nacos.uri()))).await.nodes.len(), 1);
    let empty = list(&*catalog(&format!("{}/ghost", nacos.uri()))).await;
    let said = "no instance is registered in service \"browser-node\" of group \"DEFAULT_GROUP\", namespace \"ghost\"";
    assert_eq!(empty.warnings, [said], "v3 keeps its namespaces from clients");
}

#[tokio::test]
async fn the_dialect_is_found_out_once_and_again_after_a_restart() {
    let mut nacos = Documented::start(Manner { is_old: true, ..Manner::default() });
    let catalog = catalog(&nacos.uri());
    list(&*catalog).await;
    assert_eq!(nacos.asked(), [LIST, OLD_LIST]);
    list(&*catalog).await;
    assert_eq!(nacos.asked(), [OLD_LIST]);
    // An upgrade behind a balancer: the connection never fails, v1 is gone.
    nacos.restart(Manner::default());
    list(&*catalog).await;
    assert_eq!(nacos.asked(), [OLD_LIST, LIST]);
    list(&*catalog).await;
    assert_eq!(nacos.asked(), [LIST]);
    // A server that was away may be another one.
    nacos.restart(Manner { is_old: true, ..Manner::default() });
    list(&*catalog).await;
    nacos.kill();
    catalog.list().await.expect_err("nobody is there");
    nacos.restart(Manner { is_old: true, ..Manner::default() });
    list(&*catalog).await;
    assert_eq!(nacos.asked(), [LIST, OLD_LIST]);
}

#[tokio::test]
async fn what_is_not_nacos_is_named() {
    // A registry of another kind: Consul knows neither path.
    let consul = cbrowse_testkit::consul::Consul::start().await.expect("consul starts");
    let uri = format!("nacos://{}", consul.http_address());
    let text = catalog(&uri).list().await.expect_err("not Nacos").to_string();
    assert!(
        text.contains("neither Nacos's v3 client API nor v1") && text.contains("right address"),
        "{text}"
    );
    let error = registry(&uri).register(&record("n1", 1), LONG).await.err().expect("not Nacos");
    assert!(!error.is_transient() && error.to_string().contains("neither"), "{error}");
}

#[tokio::test]
async fn what_the_server_refuses_is_said_in_its_own_words() {
    let nacos = start().await;
    let mut node = record("n1", 1);
    node.address = "a b".into();
    let error = registry(&nacos.uri()).register(&node, LONG).await.err().expect("no address");
    assert!(error.to_string().contains("the node's own record") && nacos.asked().is_empty(), "{error}");
}

#[tokio::test]
async fn a_login_opens_what_is_closed_and_its_secrets_show_nowhere() {
    let nacos = Documented::start(Manner { closed: true, ..Manner::default() });
    let uri = nacos.uri().parse().expect("a URI");
    let error = catalog(&nacos.uri()).list().await.expect_err("who are you?");
    assert!(matches!(&error, CatalogError::One { cause: Cause::Refused { .. }, .. }), "{error}");
    nacos.asked();

    let user = Environment::default().with("NACOS_USERNAME", USER);
    let options = user.clone().with("NACOS_PASSWORD", PASSWORD).into();
    let login = "POST /nacos/v3/auth/user/login";
    let catalog = open(&uri, &options).expect("opens");
    list(&*catalog).await;
    list(&*catalog).await;
    assert_eq!(nacos.asked(), [login, LIST, LIST], "one login serves many questions");
    nacos.forget_tokens();
    list(&*catalog).await;
    assert_eq!(nacos.asked(), [LIST, login, LIST], "a refused token is replaced once");
    let registry = open_registry(&uri, &options).expect("opens");
    let registrations = [record("a", 1), record("b", 2), record("c", 3)];
    let all = registrations.iter().map(|record| registry.register(record, LONG));
    assert!(futures_util::future::join_all(all).await.iter().all(Result::is_ok));
    assert_eq!(nacos.asked().iter().filter(|asked| *asked == login).count(), 1, "many at once log in once");

    // This server repeats the password; the error does not.
    let wrong = open(&uri, &user.with("NACOS_PASSWORD", "hunter2").into()).expect("opens");
    let error = wrong.list().await.expect_err("a wrong password");
    assert_eq!(nacos.asked(), [login], "a refused login is not tried again");
    let text = format!("{error} {error:?}");
    assert!(text.contains("unknown user") && text.contains("NACOS_PASSWORD"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}
