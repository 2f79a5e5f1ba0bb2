//! Texts as kernels wrote them (addresses changed), and texts that nobody wrote.

use super::*;

const HEAD: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                        \n";
/// A laptop on Wi-Fi, with the dock's cable in.
const LAPTOP: &str = "\
wlp2s0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
enp0s1\t00000000\t010110AC\t0003\t0\t0\t100\t00000000\t0\t0\t0
enp0s1\t000010AC\t00000000\t0001\t0\t0\t100\t0000FFFF\t0\t0\t0
wlp2s0\t0001A8C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0
";
const WIFI: &str = "\
wlp2s0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0
wlp2s0\t0001A8C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0
";
/// What OpenVPN adds: two halves, and the way to its server.
const VPN: &str = "\
tun0\t00000000\t0100080A\t0003\t0\t0\t0\t00000080\t0\t0\t0
tun0\t00000080\t0100080A\t0003\t0\t0\t0\t00000080\t0\t0\t0
wlp2s0\t076433C6\t0101A8C0\t0007\t0\t0\t0\tFFFFFFFF\t0\t0\t0
";
const ARP: &str = "\
IP address       HW type     Flags       HW address            Mask     Device
192.168.1.1      0x1         0x2         02:fc:00:00:00:05     *        wlp2s0
172.16.1.1       0x1         0x0         00:00:00:00:00:00     *        enp0s1
";
const V6: &str = "\
20010db8000100000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000258 00000002 00000000 00000001   wlp2s0
fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001   wlp2s0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000258 00000003 00000000 00000003   wlp2s0
00000000000000000000000000000001 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001       lo
20010db8000100000000000000000002 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000004 00000000 80200001   wlp2s0
ff000000000000000000000000000000 08 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000003 00000000 00000001   wlp2s0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
";

fn kinds(interface: &str) -> Link {
    match interface.get(..2) {
        Some("wl") => Link::Wireless,
        Some("en") => Link::Ethernet,
        Some("tu" | "wg" | "pp") => Link::Tunnel,
        _ => Link::Other,
    }
}

fn told(route: &str, ipv6_route: &str, arp: &str, exits: &[&str]) -> Network {
    let texts = Texts { route: format!("{HEAD}{route}"), ipv6_route: ipv6_route.into(), arp: arp.into() };
    let exit = |name: &&str| Exit { interface: (*name).into(), prefix: None };
    network(&texts, &exits.iter().map(exit).collect::<Vec<_>>(), &kinds)
}

fn gateways(network: &Network) -> Vec<(String, Link, Option<Hardware>)> {
    let one = |((address, link), hardware): (&(IpAddr, Link), &Option<Hardware>)| {
        (address.to_string(), *link, *hardware)
    };
    network.gateways.iter().map(one).collect()
}

#[test]
fn the_gateway_of_the_least_metric_counts_with_its_hardware() {
    let home = told(WIFI, "", ARP, &["wlp2s0"]);
    assert_eq!(gateways(&home), [("192.168.1.1".into(), Link::Wireless, Some([2, 0xfc, 0, 0, 0, 5]))]);
    assert!(home.marks.is_empty(), "{home:?}");
    let docked = told(LAPTOP, "", ARP, &["enp0s1"]);
    // Its entry is not complete.
    assert_eq!(gateways(&docked), [("172.16.1.1".into(), Link::Ethernet, None)]);
    assert!(!docked.continues(&home));
}

#[test]
fn ipv6_has_its_own_gateway_and_alone_also_its_prefix() {
    let both = told(WIFI, V6, ARP, &["wlp2s0"]);
    let names: Vec<_> = gateways(&both).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["192.168.1.1", "fe80::1"]);
    assert!(both.marks.is_empty(), "a provider may change the prefix: {both:?}");
    let alone = told("", V6, "", &["wlp2s0"]);
    assert_eq!(alone.marks.iter().collect::<Vec<_>>(), ["prefix 2001:db8:1::/64"]);
    let other = told("", &V6.replace("20010db80001", "20010db80002"), "", &["wlp2s0"]);
    assert!(!other.continues(&alone));
}

#[test]
fn a_tunnel_makes_another_network_however_it_routes() {
    let home = told(WIFI, V6, ARP, &["wlp2s0"]);
    let openvpn = told(&format!("{WIFI}{VPN}"), V6, ARP, &["tun0", "wlp2s0"]);
    assert_eq!(openvpn.marks.iter().collect::<Vec<_>>(), ["exit tun0", "tunnel tun0"]);
    // WireGuard routes by rules that are not in the main table.
    let wireguard = told(WIFI, V6, ARP, &["wg0"]);
    assert_eq!(wireguard.marks.iter().collect::<Vec<_>>(), ["exit wg0"]);
    // A tunnel to one network only.
    let split = format!("{WIFI}wg0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n");
    let split = told(&split, V6, ARP, &["wlp2s0"]);
    assert_eq!(split.marks.iter().collect::<Vec<_>>(), ["tunnel wg0"]);
    for tunnelled in [&openvpn, &wireguard, &split] {
        assert!(!tunnelled.continues(&home));
    }
    let dialled = told("ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n", "", "", &["ppp0"]);
    assert_eq!(dialled.marks.iter().collect::<Vec<_>>(), ["exit ppp0", "link ppp0", "tunnel ppp0"]);
}

#[test]
fn without_a_default_route_there_is_a_network_all_the_same() {
    let none = told("", "", "", &[]);
    assert_eq!(none, Network::default());
    let rejected = told("wlp2s0\t00000000\t00000000\t0201\t0\t0\t0\t00000000\t0\t0\t0\n", "", "", &[]);
    assert_eq!(rejected, none);
}

#[test]
fn garbage_is_passed_over() {
    for line in [
        "",
        "\t\t\t",
        "wlp2s0",
        "wlp2s0 0 0 3 0 0 x 0",
        "wlp2s0 zz zz zz zz zz zz zz zz",
        "🦀 0 0 🦀 0 0 0 0",
        "../../etc 00000000 0101A8C0 0003 0 0 0 00000000",
        ". 00000000 0101A8C0 0003 0 0 0 00000000",
        "aaaaaaaaaaaaaaaa 00000000 0101A8C0 0003 0 0 0 00000000",
        "wlp2s0 FFFFFFFFFFFFFFFFF 0 3 0 0 0 0",
    ] {
        assert_eq!(told(&format!("{line}\n"), line, line, &["../x", ""]), Network::default(), "{line:?}");
    }
    for cut in 0..V6.len() {
        let _ = told(&WIFI[..cut.min(WIFI.len())], &V6[..cut], &ARP[..cut.min(ARP.len())], &[]);
    }
}

#[test]
fn a_table_full_of_gateways_is_cut() {
    for (count, kept) in [(MOST - 1, MOST - 1), (MOST, MOST), (MOST + 1, MOST)] {
        let line = |i: usize| format!("enp0s1\t00000000\t{:08X}\t0003\t0\t0\t0\t00000000\n", i + 1);
        let many = (0..count).map(line).collect::<Vec<_>>().concat();
        assert_eq!(told(&many, "", "", &[]).gateways.len(), kept);
    }
}
