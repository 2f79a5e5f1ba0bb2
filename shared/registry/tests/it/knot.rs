//! A zone file served by Knot, an authoritative server: what an operator without any registry would write.

use cbrowse_protocol::identity::SigningKey;
use cbrowse_registry::{CatalogError, Cause, Change, list_all};
use cbrowse_testkit::knot::Knot;
use futures_util::StreamExt as _;

use crate::support::{DEADLINE, catalog, ids, list, next_change};

const SERVICE: &str = "_browser-node._tcp";

fn uri(knot: &Knot) -> String {
    format!("dns+srv://{SERVICE}.fleet.test?server={}", knot.address())
}

async fn start(records: &str) -> Knot {
    Knot::start(records).await.expect("knot starts")
}

#[tokio::test]
async fn a_zone_file_describes_a_whole_fleet() {
    let pin = SigningKey::generate().public();
    let knot = start(&format!(
        "{SERVICE} SRV 10 5 7443 n1\n\
         {SERVICE} SRV 10 0 7443 n2\n\
         {SERVICE} SRV 20 1 7443 both\n\
         {SERVICE} SRV 20 1 7444 both\n\
         {SERVICE} SRV 30 1 7443 nowhere\n\
         {SERVICE} TXT \"cbrowse=1\" \"region=eu-central\" \"version=0.1.0\" \"id=ignored\"\n\
         {SERVICE} TXT \"v=spf1 -all\"\n\
         n1 A 127.0.0.2\n\
         n1 AAAA ::1\n\
         n1 TXT \"cbrowse=1\" \"id=n1\" \"zone=eu-central-1a\" \"Tags=fast,gpu\" \"capacity=4\" \"identity={pin}\" \"rack=r1\"\n\
         n2 A 127.0.0.3\n\
         n2 TXT \"cbrowse=1\" \"region=us-east\"\n\
         both A 127.0.0.4\n\
         both TXT \"cbrowse=1\" \"port=7443\" \"id=n3\"\n\
         both TXT \"cbrowse=1\" \"port=7444\" \"id=n4\"\n"
    ))
    .await;
    let listing = list(&*catalog(&uri(&knot))).await;
    let order: Vec<_> = listing.nodes.iter().map(|node| node.id.as_str()).collect();
    assert_eq!(ids(&listing), ["127.0.0.3:7443", "n1", "n3", "n4"]);
    assert!(order[..2].contains(&"n1") && order[2..].contains(&"n3"), "the lowest priority first: {order:?}");
    let node = |id: &str| listing.nodes.iter().find(|node| node.id.as_str() == id).expect(id);
    let n1 = node("n1");
    assert_eq!((n1.endpoint().as_str(), n1.weight, n1.capacity), ("127.0.0.2:7443", 5, 4));
    assert_eq!(
        (n1.region.as_str(), n1.zone.as_str(), n1.version.as_str()),
        ("eu-central", "eu-central-1a", "0.1.0")
    );
    assert_eq!((n1.tags.join(","), n1.identity), ("fast,gpu".into(), Some(pin)));
    for (key, value) in
        [("rack", "r1"), ("srv_priority", "10"), ("srv_target", "n1.fleet.test"), ("srv_addresses", "::1")]
    {
        assert_eq!(n1.meta[key], value);
    }
    assert_eq!((node("127.0.0.3:7443").region.as_str(), node("127.0.0.3:7443").weight), ("us-east", 1));
    assert_eq!((node("n4").port, node("n4").region.as_str()), (7444, "eu-central"));
    assert_eq!(listing.rejected.len(), 1);
    assert!(listing.rejected[0].reason.contains("no such name"), "{:?}", listing.rejected);
    assert_eq!(listing.warnings, [""; 0]);
}

#[tokio::test]
async fn what_cannot_be_used_is_set_aside_one_by_one() {
    let knot = start(&format!(
        "{SERVICE} SRV 0 0 0 n1\n\
         {SERVICE} SRV 0 0 7443 n2\n\
         {SERVICE} SRV 0 0 7443 n3\n\
         {SERVICE} SRV 0 0 7443 n4\n\
         n1 A 127.0.0.1\n\
         n2 A 127.0.0.2\n\
         n2 TXT \"cbrowse=1\" \"capacity=-1\"\n\
         n3 A 127.0.0.3\n\
         n3 TXT \"cbrowse=1\" \"region=\\027[31mred\"\n\
         n4 A 127.0.0.4\n"
    ))
    .await;
    let listing = list(&*catalog(&uri(&knot))).await;
    assert_eq!(ids(&listing), ["127.0.0.4:7443"]);
    let mut reasons: Vec<_> = listing.rejected.iter().map(|rejected| rejected.reason.as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons.len(), 3);
    for (reason, part) in reasons.iter().zip(["capacity", "port 0", "region holds a control character"]) {
        assert!(reason.contains(part), "{reasons:?}");
    }
}

#[tokio::test]
async fn aliases_of_the_service_and_of_its_targets_are_followed() {
    let knot = start(&format!(
        "{SERVICE} CNAME real\n\
         real SRV 0 1 7443 alias\n\
         alias CNAME host\n\
         host A 127.0.0.2\n\
         host TXT \"cbrowse=1\" \"id=n1\"\n"
    ))
    .await;
    let listing = list(&*catalog(&uri(&knot))).await;
    assert_eq!((ids(&listing), listing.nodes[0].address.as_str()), (vec!["n1"], "127.0.0.2"));
    assert_eq!(listing.rejected, []);
}

#[tokio::test]
async fn the_service_is_not_available_when_its_target_is_the_root() {
    let knot = start(&format!("{SERVICE} SRV 0 0 0 .\n")).await;
    let listing = list(&*catalog(&uri(&knot))).await;
    assert_eq!((listing.nodes.len(), listing.rejected.len()), (0, 0));
    assert!(listing.warnings[0].contains("not available there"), "{:?}", listing.warnings);
}

#[tokio::test]
async fn an_absent_name_an_absent_record_and_a_foreign_zone_are_three_things() {
    let knot = start("other A 127.0.0.1").await;
    for (name, part, absent) in [
        ("_browser-node._tcp.fleet.test", "NXDOMAIN", true),
        ("other.fleet.test", "no SRV records", true),
        ("nodes.elsewhere.test", "REFUSED", false),
    ] {
        let uri = format!("dns+srv://{name}?server={}", knot.address());
        let error = catalog(&uri).list().await.expect_err(name);
        let text = error.to_string();
        assert!(text.contains(part) && text.contains(name) && text.contains(&uri), "{text}");
        let CatalogError::One { cause, .. } = error else { panic!("one catalog: {text}") };
        assert_eq!(matches!(cause, Cause::DoesNotExist(_)), absent, "{text}");
        assert_eq!(matches!(cause, Cause::Dns(_)), !absent, "{text}");
    }
}

#[tokio::test]
async fn a_watch_sees_what_a_reload_of_the_zone_changes_and_survives_a_dead_server() {
    let nodes = |more: &str| {
        format!(
            "$TTL 1\n{SERVICE} SRV 0 1 7443 n1\n{SERVICE} SRV 0 1 7443 n2\nn1 A 127.0.0.2\nn2 A 127.0.0.3\n{more}"
        )
    };
    let mut knot = start(&nodes("")).await;
    let mut changes = catalog(&uri(&knot)).watch();
    let Change::Reset(listing) = next_change(&mut changes).await else { panic!("a watch begins with all") };
    assert_eq!(ids(&listing), ["127.0.0.2:7443", "127.0.0.3:7443"]);
    // A pin, a name and a third node at once.
    knot.change(&nodes(&format!(
        "{SERVICE} SRV 0 1 7443 n3\nn3 A 127.0.0.4\nn2 TXT \"cbrowse=1\" \"id=two\""
    )))
    .expect("another zone");
    assert_eq!(
        next_change(&mut changes).await,
        Change::Remove(vec!["127.0.0.3:7443".parse().expect("an id")])
    );
    let Change::Add(listing) = next_change(&mut changes).await else { panic!("new nodes") };
    assert_eq!(ids(&listing), ["127.0.0.4:7443", "two"]);
    knot.change("").expect("another zone");
    assert_eq!(next_change(&mut changes).await, Change::DoesNotExist);
    knot.kill();
    let error = tokio::time::timeout(DEADLINE, changes.next()).await.expect("in time").expect("goes on");
    assert!(error.expect_err("nobody is there").is_transient());
}

#[tokio::test]
async fn a_node_with_a_name_in_one_catalog_and_none_in_another_is_one() {
    let plain = start(&format!("{SERVICE} SRV 0 1 7443 n1\nn1 A 127.0.0.2")).await;
    let described = start(&format!(
        "{SERVICE} SRV 0 1 7443 n1\nn1 A 127.0.0.2\nn1 TXT \"cbrowse=1\" \"id=n1\" \"region=eu\""
    ))
    .await;
    let listing = list_all(&[catalog(&uri(&plain)), catalog(&uri(&described))]).await.expect("both answer");
    assert_eq!((ids(&listing), listing.nodes[0].region.as_str()), (vec!["n1"], "eu"));
    assert_eq!(listing.warnings, [""; 0]);
}

#[tokio::test]
async fn a_closed_port_is_said_to_refuse_and_a_silent_one_not() {
    let [closed] = cbrowse_testkit::ports::free_ports().expect("a port");
    let uri = format!("dns+srv://{SERVICE}.fleet.test?server=127.0.0.1:{closed}");
    let error = catalog(&uri).list().await.expect_err("nobody serves there").to_string();
    assert!(error.contains(&format!("127.0.0.1:{closed} refuses the connection")), "{error}");
    // Hears everything, says nothing, on both roads.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = silent.local_addr().expect("an address");
    let _deaf = std::net::UdpSocket::bind(address);
    let uri = format!("dns+srv://{SERVICE}.fleet.test?server={address}");
    let error = catalog(&uri).list().await.expect_err("nobody serves there").to_string();
    assert!(error.contains("no answer within"), "{error}");
}
