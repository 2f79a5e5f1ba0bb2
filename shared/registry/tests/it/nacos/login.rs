//! Logging in on the real server: the right password, a wrong one, and tokens that end.

use std::time::Duration;

use cbrowse_registry::{Catalog, CatalogError, Cause, Check, Environment, Kept, open, open_registry};
use cbrowse_testkit::nacos::{AUTHENTICATION, Nacos, PASSWORD, USER};

use crate::support::{DEADLINE, catalog, list, record, registry};

const LONG: Check = Check::Heartbeat(Duration::from_secs(300));

fn as_user(password: &str) -> Environment {
    Environment::default().with("NACOS_USERNAME", USER).with("NACOS_PASSWORD", password)
}

fn catalog_as(nacos: &Nacos, environment: Environment) -> Box<dyn Catalog> {
    open(&nacos.uri().parse().expect("a URI"), &environment.into()).expect("opens")
}

async fn closed() -> Nacos {
    Nacos::start_with(&[AUTHENTICATION]).await.expect("rnacos starts")
}

#[tokio::test]
#[ignore = "needs r-nacos: ./test.sh --long installs it"]
async fn the_password_opens_what_is_closed_and_a_wrong_one_shows_nowhere() {
    let nacos = closed().await;
    let refused = registry(&nacos.uri()).register(&record("n1", 1), LONG).await.err().expect("who are you?");
    assert!(matches!(refused.cause, Cause::Refused { status: 403, .. }) && !refused.is_transient());
    let error = catalog(&nacos.uri()).list().await.expect_err("who are you?").to_string();
    assert!(error.contains("NACOS_USERNAME"), "{error}");

    let uri = nacos.uri().parse().expect("a URI");
    let registry = open_registry(&uri, &as_user(PASSWORD).into()).expect("opens");
    let mut registration = registry.register(&record("n1", 1), LONG).await.expect("with it");
    assert_eq!(registration.keep_alive().await, Ok(Kept::Alive));
    assert_eq!(list(&*catalog_as(&nacos, as_user(PASSWORD))).await.nodes.len(), 1);
    registration.deregister().await.expect("deregisters");

    let error = catalog_as(&nacos, as_user("hunter2")).list().await.expect_err("a wrong password");
    assert!(matches!(error, CatalogError::One { cause: Cause::Refused { .. }, .. }), "{error:?}");
    let text = error.to_string();
    assert!(!error.is_transient() && text.contains("NACOS_PASSWORD") && text.contains(USER), "{text}");
    assert!(!text.contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{text}");
}

#[tokio::test]
#[ignore = "needs r-nacos: ./test.sh --long installs it"]
async fn a_server_that_asks_for_nothing_takes_a_user_as_well() {
    let nacos = Nacos::start().await.expect("rnacos starts");
    assert_eq!(list(&*catalog_as(&nacos, as_user("whatever"))).await.nodes, []);
}

#[tokio::test]
#[ignore = "needs r-nacos: ./test.sh --long installs it"]
async fn a_token_that_ended_is_replaced() {
    let nacos =
        Nacos::start_with(&[AUTHENTICATION, ("RNACOS_API_LOGIN_TIMEOUT", "2")]).await.expect("starts");
    let catalog = catalog_as(&nacos, as_user(PASSWORD));
    list(&*catalog).await;
    // One of our own, younger than the catalog's: once it has ended, so has the other.
    let form = "username=admin&password=s%26cret%2Bgr%C3%B6%C3%9Fe";
    let (_, login) = nacos.request("POST", "/nacos/v1/auth/login", form).await.expect("logs in");
    let login: serde_json::Value = serde_json::from_str(&login).expect("a token");
    let token = login["accessToken"].as_str().expect("a token");
    let path = format!("/nacos/v1/ns/instance/list?serviceName=x&accessToken={token}");
    let ended = async {
        while nacos.request("GET", &path, "").await.expect("an answer").0 != 403 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(DEADLINE, ended).await.expect("tokens end");
    assert_eq!(list(&*catalog).await.nodes, []);
}

#[tokio::test]
#[ignore = "needs r-nacos: ./test.sh --long installs it"]
async fn a_token_that_the_server_forgot_is_replaced() {
    let mut nacos = closed().await;
    let catalog = catalog_as(&nacos, as_user(PASSWORD));
    list(&*catalog).await;
    nacos.restart_empty().await.expect("rnacos comes back");
    assert_eq!(list(&*catalog).await.nodes, []);
}
