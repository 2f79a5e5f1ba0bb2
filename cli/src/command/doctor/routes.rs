//! The kernel's routing tables, as far as they tell the way out of this network.

use std::net::{IpAddr, Ipv4Addr};

/// `/proc/net/route` and `/proc/net/ipv6_route`: a route that refuses what takes it (`RTF_REJECT`, linux/route.h).
const REJECT: u32 = 0x200;

/// This machine's default gateway for IPv4, from `/proc/net/route`.
pub(super) fn gateway() -> Option<IpAddr> {
    let text = std::fs::read_to_string("/proc/net/route").ok()?;
    gateway_in(&text).map(IpAddr::V4)
}

/// Destination, gateway and mask are hexadecimal in the machine's own byte order.
fn gateway_in(text: &str) -> Option<Ipv4Addr> {
    text.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (destination, gateway, mask) = (columns.get(1)?, columns.get(2)?, columns.get(7)?);
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        let is_default = *destination == "00000000" && *mask == "00000000" && gateway != 0;
        is_default.then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

/// Whether IPv6 knows a way out, from `/proc/net/ipv6_route`.
pub(super) fn has_ipv6_default() -> bool {
    std::fs::read_to_string("/proc/net/ipv6_route").is_ok_and(|text| has_default_in(&text))
}

fn has_default_in(text: &str) -> bool {
    text.lines().any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [destination, prefix, .., flags, device] = columns[..] else { return false };
        let is_rejected = u32::from_str_radix(flags, 16).is_ok_and(|flags| flags & REJECT != 0);
        destination.bytes().all(|digit| digit == b'0') && prefix == "00" && !is_rejected && device != "lo"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn the_default_gateway_is_the_route_without_a_mask() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let lan = "eth0\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n";
        let out = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
        assert_eq!(gateway_in(&format!("{head}{lan}{out}")), Some(Ipv4Addr::new(192, 168, 1, 1)));
        assert_eq!(gateway_in(&format!("{head}{lan}")), None);
        assert_eq!(gateway_in("garbage\n\u{1b} x"), None);
    }

    #[test]
    fn a_route_that_refuses_leads_nowhere() {
        let zeros = "0".repeat(32);
        let line = |flags: &str, device: &str| {
            format!(
                "{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 {flags} {device}\n"
            )
        };
        assert!(has_default_in(&line("00000003", "eth0")));
        assert!(!has_default_in(&line("00200200", "lo")));
        assert!(!has_default_in(&line("00000203", "eth0")));
        assert!(!has_default_in(""));
    }
}
