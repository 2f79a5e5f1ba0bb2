//! Every form an address can take, and every rule against every other.

use super::*;

fn host(text: &str) -> Host {
    Host::parse(text).unwrap()
}

fn policy(allow: &[&str], deny: &[&str], protected: &[&str]) -> Policy {
    Policy::new(
        allow.iter().map(|rule| rule.parse().unwrap()).collect(),
        deny.iter().map(|rule| rule.parse().unwrap()).collect(),
        protected.iter().map(|address| address.parse::<IpAddr>().unwrap()),
    )
}

/// What a name that resolves to these addresses gets.
fn named(policy: &Policy, name: &str, port: u16, addresses: &[&str]) -> Result<Vec<SocketAddr>, Refusal> {
    let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let permits = policy.check(&host(name), port, &addresses)?;
    Ok(permits.into_iter().map(|permit| permit.address).collect())
}

const SPECIAL: [(&str, Kind); 82] = [
    ("0.0.0.0", Kind::Unspecified),
    ("0.1.2.3", Kind::Unspecified),
    ("10.0.0.0", Kind::Private),
    ("10.255.255.255", Kind::Private),
    ("100.64.0.0", Kind::Carrier),
    ("100.127.255.255", Kind::Carrier),
    ("100.100.100.200", Kind::Metadata),
    ("127.0.0.0", Kind::Loopback),
    ("127.0.0.1", Kind::Loopback),
    ("127.255.255.254", Kind::Loopback),
    ("168.63.129.16", Kind::Metadata),
    ("169.254.0.1", Kind::LinkLocal),
    ("169.254.169.253", Kind::LinkLocal),
    ("169.254.169.254", Kind::Metadata),
    ("169.254.170.2", Kind::Metadata),
    ("169.254.170.23", Kind::Metadata),
    ("172.16.0.0", Kind::Private),
    ("172.31.255.255", Kind::Private),
    ("192.0.0.1", Kind::Reserved),
    ("192.0.0.192", Kind::Metadata),
    ("192.0.2.1", Kind::Documentation),
    ("192.88.99.1", Kind::Tunnel),
    ("192.168.0.0", Kind::Private),
    ("192.168.255.255", Kind::Private),
    ("198.18.0.0", Kind::Benchmark),
    ("198.19.255.255", Kind::Benchmark),
    ("198.51.100.7", Kind::Documentation),
    ("203.0.113.255", Kind::Documentation),
    ("224.0.0.1", Kind::Multicast),
    ("239.255.255.250", Kind::Multicast),
    ("240.0.0.1", Kind::Reserved),
    ("255.255.255.254", Kind::Reserved),
    ("255.255.255.255", Kind::Broadcast),
    ("::", Kind::Unspecified),
    ("::1", Kind::Loopback),
    ("::2", Kind::Tunnel),
    ("::127.0.0.1", Kind::Tunnel),
    ("::8.8.8.8", Kind::Tunnel),
    ("::ffff:0.0.0.0", Kind::Unspecified),
    ("::ffff:127.0.0.1", Kind::Loopback),
    ("::ffff:10.0.0.1", Kind::Private),
    ("::ffff:169.254.169.254", Kind::Metadata),
    ("::ffff:100.64.0.1", Kind::Carrier),
    ("::ffff:0:127.0.0.1", Kind::Tunnel),
    ("::ffff:0:8.8.8.8", Kind::Tunnel),
    ("64:ff9b::127.0.0.1", Kind::Loopback),
    ("64:ff9b::10.1.2.3", Kind::Private),
    ("64:ff9b::169.254.169.254", Kind::Metadata),
    ("64:ff9b::0.0.0.0", Kind::Unspecified),
    ("64:ff9b::100.64.9.9", Kind::Carrier),
    ("64:ff9b:1::8.8.8.8", Kind::Tunnel),
    ("64:ff9b:1:ffff::1", Kind::Tunnel),
    ("64:ff9b:2::8.8.8.8", Kind::Reserved),
    ("100::1", Kind::Reserved),
    ("100:0:0:1::1", Kind::Reserved),
    ("1::1", Kind::Reserved),
    ("2001::1", Kind::Tunnel),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", Kind::Tunnel),
    ("2001:0:7f00:1::80ff:fffe", Kind::Tunnel),
    ("2001:2::1", Kind::Benchmark),
    ("2001:10::1", Kind::Reserved),
    ("2001:20::1", Kind::Reserved),
    ("2001:db8::1", Kind::Documentation),
    ("2001:db8:ffff::1", Kind::Documentation),
    ("2002:7f00:1::1", Kind::Tunnel),
    ("2002:a00:1::", Kind::Tunnel),
    ("2002:a9fe:a9fe::1", Kind::Tunnel),
    ("2606:4700:0:0:0:5efe:127.0.0.1", Kind::Tunnel),
    ("2606:4700:0:0:200:5efe:10.0.0.1", Kind::Tunnel),
    ("3fff::1", Kind::Documentation),
    ("4000::1", Kind::Reserved),
    ("5f00::1", Kind::Reserved),
    ("fc00::1", Kind::UniqueLocal),
    ("fd12:3456::1", Kind::UniqueLocal),
    ("fd00:ec2::254", Kind::Metadata),
    ("fd20:ce::254", Kind::Metadata),
    ("fe80::1", Kind::LinkLocal),
    ("fe80::a9fe:a9fe", Kind::Metadata),
    ("febf::1", Kind::LinkLocal),
    ("fec0::1", Kind::SiteLocal),
    ("ff02::1", Kind::Multicast),
    ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Kind::Multicast),
];

const PUBLIC: [&str; 26] = [
    "1.0.0.0",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "203.0.112.255",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "3ffe:ffff::1",
    "64:ff9b::8.8.8.8",
    "::ffff:8.8.8.8",
];

#[test]
fn special_addresses_are_refused_by_name_and_by_number() {
    let policy = Policy::default();
    for (address, kind) in SPECIAL {
        let expected = Err(Refusal::Address(kind));
        assert_eq!(named(&policy, "a.example", 443, &[address]), expected, "{address}");
        assert_eq!(policy.check(&host(address), 443, &[]).map(drop), expected.map(drop), "{address}");
    }
}

#[test]
fn the_public_internet_is_open() {
    for address in PUBLIC {
        let dialled = SocketAddr::new(address.parse::<IpAddr>().unwrap().to_canonical(), 443);
        assert_eq!(named(&Policy::default(), "a.example", 443, &[address]), Ok(vec![dialled]), "{address}");
    }
}

#[test]
fn only_the_permitted_of_several_addresses_are_dialled() {
    let policy = Policy::default();
    let mixed = named(&policy, "a.example", 443, &["127.0.0.1", "8.8.8.8", "::1"]);
    assert_eq!(mixed, Ok(vec!["8.8.8.8:443".parse().unwrap()]));
    assert_eq!(named(&policy, "a.example", 443, &["10.0.0.1", "::1"]), Err(Refusal::Address(Kind::Private)));
    assert_eq!(named(&policy, "a.example", 443, &[]), Err(Refusal::Unresolved));
}

#[test]
fn a_literal_stands_for_itself_only() {
    let lying = [IpAddr::from([127, 0, 0, 1])];
    let permits = Policy::default().check(&host("8.8.8.8"), 443, &lying).unwrap();
    assert_eq!(permits, [Permit { address: "8.8.8.8:443".parse().unwrap(), grant: Grant::Public }]);
}

#[test]
fn bad_ports_and_reserved_names_are_refused_before_any_lookup() {
    let policy = Policy::default();
    for port in [0, 22, 25, 110, 143, 465, 587, 993, 6667, 10080] {
        assert_eq!(policy.admit(&host("a.example"), port), Err(Refusal::BadPort(port)));
        assert_eq!(policy.admit(&host("8.8.8.8"), port), Err(Refusal::BadPort(port)));
    }
    for port in [80, 443, 8080, 24, 26, 10079, 65535] {
        assert_eq!(policy.admit(&host("a.example"), port), Ok(()));
    }
    for name in [
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "printer.local",
        "metadata.google.internal",
        "cbrowse.internal",
        "x.cbrowse.internal",
        "intranet",
        "consul",
        "x.onion",
        "router.home.arpa",
        "x.test",
        "x.invalid",
    ] {
        assert_eq!(policy.admit(&host(name), 443), Err(Refusal::ReservedName), "{name}");
    }
    assert_eq!(policy.admit(&host("internal.example"), 443), Ok(()));
    assert_eq!(policy.admit(&host("mylocalhost.example"), 443), Ok(()));
}

#[test]
fn an_exact_rule_opens_what_it_names_and_nothing_beside() {
    let policy = policy(&["127.0.0.1:9000", "dev.local:25", "intranet:443"], &[], &["127.0.0.1"]);
    let literal = policy.check(&host("127.0.0.1"), 9000, &[]).unwrap();
    assert_eq!(literal, [Permit { address: "127.0.0.1:9000".parse().unwrap(), grant: Grant::Operator }]);
    assert!(policy.check(&host("::ffff:127.0.0.1"), 9000, &[]).is_ok(), "the same address");
    assert_eq!(policy.check(&host("127.0.0.1"), 9001, &[]), Err(Refusal::Protected));
    assert_eq!(policy.check(&host("127.0.0.2"), 9000, &[]), Err(Refusal::Address(Kind::Loopback)));
    // A stranger's name for the same address would make the stranger its origin.
    assert_eq!(named(&policy, "rebind.example", 9000, &["127.0.0.1"]), Err(Refusal::Protected));
    assert!(named(&policy, "dev.local", 25, &["127.0.0.1"]).is_ok());
    assert!(named(&policy, "intranet", 443, &["10.1.1.1"]).is_ok());
    assert_eq!(named(&policy, "intranet", 444, &["10.1.1.1"]), Err(Refusal::ReservedName));
    assert_eq!(named(&policy, "intranet", 443, &["169.254.169.254"]), Err(Refusal::Address(Kind::Metadata)));
}

#[test]
fn an_allowed_network_opens_its_addresses_but_no_credentials_and_not_the_machine() {
    let narrow = policy(&["10.1.0.0/16:8080", "fd00::/8"], &[], &[]);
    assert!(named(&narrow, "a.example", 8080, &["10.1.2.3"]).is_ok());
    assert!(named(&narrow, "a.example", 8080, &["64:ff9b::10.1.2.3"]).is_ok());
    assert_eq!(named(&narrow, "a.example", 8081, &["10.1.2.3"]), Err(Refusal::Address(Kind::Private)));
    assert_eq!(named(&narrow, "a.example", 8080, &["10.2.2.3"]), Err(Refusal::Address(Kind::Private)));
    assert_eq!(named(&narrow, "a.example", 443, &["fd00:ec2::254"]), Err(Refusal::Address(Kind::Metadata)));
    let wide = policy(&["0.0.0.0/0", "::/0"], &[], &["10.0.0.9"]);
    for (address, kind) in SPECIAL {
        use Kind::{Broadcast, Loopback, Metadata, Multicast, Unspecified};
        let closed = matches!(kind, Loopback | Metadata | Unspecified | Multicast | Broadcast);
        assert_eq!(named(&wide, "a.example", 443, &[address]).is_err(), closed, "{address}");
    }
    assert_eq!(named(&wide, "a.example", 8500, &["10.0.0.9"]), Err(Refusal::Protected));
    let loopback = policy(&["127.0.0.0/8"], &[], &[]);
    assert!(named(&loopback, "a.example", 443, &["127.0.0.1"]).is_ok());
}

#[test]
fn deny_rules_win_over_everything() {
    let policy = policy(
        &["evil.example:443", "10.0.0.0/8", "10.6.6.6:80"],
        &["evil.example", "10.6.0.0/16", "9.9.9.9"],
        &[],
    );
    assert_eq!(named(&policy, "evil.example", 443, &["8.8.8.8"]), Err(Refusal::Denied));
    assert_eq!(named(&policy, "deep.EVIL.example.", 443, &["8.8.8.8"]), Err(Refusal::Denied));
    assert!(named(&policy, "notevil.example", 443, &["8.8.8.8"]).is_ok());
    assert_eq!(named(&policy, "a.example", 443, &["10.6.1.1"]), Err(Refusal::Denied));
    assert_eq!(policy.check(&host("10.6.6.6"), 80, &[]), Err(Refusal::Denied));
    assert_eq!(named(&policy, "a.example", 443, &["64:ff9b::9.9.9.9"]), Err(Refusal::Denied));
    assert!(named(&policy, "a.example", 443, &["10.7.1.1"]).is_ok());
}

#[test]
fn the_fleet_is_protected_in_every_form() {
    let policy = policy(&[], &[], &["8.8.4.4", "2606:4700::1", "::ffff:9.9.9.9"]);
    for address in ["8.8.4.4", "::ffff:8.8.4.4", "64:ff9b::8.8.4.4", "2606:4700::1", "9.9.9.9"] {
        assert_eq!(named(&policy, "a.example", 443, &[address]), Err(Refusal::Protected), "{address}");
    }
}
