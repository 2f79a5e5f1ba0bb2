//! Gateways and tunnels as Linux tells them: `/proc/net/{route,ipv6_route,arp}` and `/sys/class/net`.
//!
//! ```text
//! route:      Iface Destination Gateway Flags RefCnt Use Metric Mask …       addresses as one hexadecimal word, host order
//! ipv6_route: destination bits source bits next-hop metric refs use flags Iface    all hexadecimal
//! arp:        address type flags hardware mask Iface
//! ```
//!
//! The main routing table alone is told there; what comes before it by rule shows in the [`Exit`]s.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use super::{Hardware, Link, Network, exit::Exit, text};

/// `RTF_UP` and `RTF_REJECT` of `linux/route.h`.
const UP: u32 = 0x1;
const REJECT: u32 = 0x200;
/// `ATF_COM`: the entry is complete.
const COMPLETE: u32 = 0x2;
/// Longest name of an interface (`IFNAMSIZ` without its end).
const MAX_NAME: usize = 15;
/// Gateways and tunnels that count, of each; a table with more of them is no user's.
const MOST: usize = 16;
/// `ARPHRD_ETHER`, and those of dialled lines and tunnels (`linux/if_arp.h`).
const ETHERNET: u32 = 1;
const TUNNELS: [u32; 7] = [512, 519, 768, 769, 776, 778, 65534];

/// The kernel's texts, as they are.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    /// `/proc/net/route`.
    pub route: String,
    /// `/proc/net/ipv6_route`.
    pub ipv6_route: String,
    /// `/proc/net/arp`.
    pub arp: String,
}

impl Texts {
    /// Those of now; empty on other systems.
    pub fn read() -> Self {
        let read = |name| text(&format!("/proc/net/{name}"));
        Self { route: read("route"), ipv6_route: read("ipv6_route"), arp: read("arp") }
    }
}

/// What kind of link an interface is, as the kernel says now.
pub fn link(interface: &str) -> Link {
    let directory = Path::new("/sys/class/net").join(interface);
    let Ok(kind) = std::fs::read_to_string(directory.join("type")) else { return Link::Other };
    match kind.trim().parse() {
        Ok(ETHERNET) if directory.join("wireless").exists() || directory.join("phy80211").exists() => {
            Link::Wireless
        }
        Ok(ETHERNET) => Link::Ethernet,
        Ok(kind) if TUNNELS.contains(&kind) => Link::Tunnel,
        _ => Link::Other,
    }
}

/// What these texts say of the network; resolvers apart.
pub fn network(texts: &Texts, exits: &[Exit], link: &dyn Fn(&str) -> Link) -> Network {
    let mut network = Network::default();
    let hardware = hardware(&texts.arp);
    let (v4, v6) = (routes_v4(&texts.route), routes_v6(&texts.ipv6_route));
    for route in defaults(&v4).chain(defaults(&v6)).take(MOST) {
        let kind = link(route.interface);
        match route.gateway {
            Some(gateway) => {
                let hardware = hardware.get(&(gateway, route.interface)).copied();
                network.gateways.insert((gateway, kind), hardware);
            }
            None => _ = network.marks.insert(format!("link {}", route.interface)),
        }
    }
    if !network.gateways.keys().any(|(gateway, _)| gateway.is_ipv4()) {
        // Without IPv4, routers that call themselves fe80::1 are told apart by the networks behind them.
        network.marks.extend(prefixes(&v6));
    }
    let tunnels = v4.iter().chain(&v6).map(|route| route.interface).collect::<BTreeSet<_>>();
    let tunnels = tunnels.into_iter().filter(|interface| link(interface) == Link::Tunnel);
    network.marks.extend(tunnels.take(MOST).map(|interface| format!("tunnel {interface}")));
    let exits = exits.iter().filter(|exit| is_name(&exit.interface) && link(&exit.interface) == Link::Tunnel);
    network.marks.extend(exits.map(|exit| format!("exit {}", exit.interface)));
    network
}

struct Route<'a> {
    interface: &'a str,
    destination: IpAddr,
    bits: u32,
    gateway: Option<IpAddr>,
    metric: u32,
}

/// The default routes that are used: of several, those of the least metric.
fn defaults<'a>(routes: &'a [Route<'a>]) -> impl Iterator<Item = &'a Route<'a>> {
    let least = routes.iter().filter(|route| route.bits == 0).map(|route| route.metric).min();
    routes.iter().filter(move |route| route.bits == 0 && Some(route.metric) == least)
}

fn prefixes(routes: &[Route<'_>]) -> Vec<String> {
    let global = routes.iter().filter(|route| route.bits > 0 && route.bits <= 64 && route.gateway.is_none());
    global.take(MOST).map(|route| format!("prefix {}/{}", route.destination, route.bits)).collect()
}

fn routes_v4(text: &str) -> Vec<Route<'_>> {
    text.lines().skip(1).filter_map(route_v4).collect()
}

fn route_v4(line: &str) -> Option<Route<'_>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [interface, destination, gateway, flags, _, _, metric, mask, ..] = words[..] else { return None };
    let hex = |word| u32::from_str_radix(word, 16).ok();
    let address = |word| hex(word).map(|word| Ipv4Addr::from(word.to_ne_bytes()));
    let (destination, gateway) = (address(destination)?, address(gateway)?);
    let is_used = hex(flags)? & (UP | REJECT) == UP;
    (is_used && is_name(interface)).then_some(Route {
        interface,
        destination: destination.into(),
        bits: hex(mask)?.count_ones(),
        gateway: Some(gateway).filter(|gateway| !gateway.is_unspecified()).map(IpAddr::from),
        metric: metric.parse().ok()?,
    })
}

/// Without the interface's own: loopback, link-local, multicast, its addresses.
fn routes_v6(text: &str) -> Vec<Route<'_>> {
    let foreign = |route: &Route<'_>| match route.destination {
        IpAddr::V6(to) => !to.is_unicast_link_local() && !to.is_multicast() && route.bits < 128,
        IpAddr::V4(_) => false,
    };
    text.lines().filter_map(route_v6).filter(foreign).collect()
}

fn route_v6(line: &str) -> Option<Route<'_>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [destination, bits, _, _, next, metric, _, _, flags, interface] = words[..] else { return None };
    let hex = |word| u32::from_str_radix(word, 16).ok();
    let address = |word: &str| {
        let whole = (word.len() == 32).then(|| u128::from_str_radix(word, 16).ok()).flatten();
        whole.map(Ipv6Addr::from)
    };
    let next = address(next)?;
    let is_used = hex(flags)? & (UP | REJECT) == UP && interface != "lo";
    (is_used && is_name(interface)).then_some(Route {
        interface,
        destination: address(destination)?.into(),
        bits: hex(bits)?,
        gateway: Some(next).filter(|next| !next.is_unspecified()).map(IpAddr::from),
        metric: hex(metric)?,
    })
}

fn hardware(text: &str) -> BTreeMap<(IpAddr, &str), Hardware> {
    text.lines().skip(1).filter_map(neighbour).collect()
}

fn neighbour(line: &str) -> Option<((IpAddr, &str), Hardware)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [address, _, flags, hardware, _, interface] = words[..] else { return None };
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
    let mut bytes = Hardware::default();
    let mut parts = hardware.split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    let is_known = flags & COMPLETE != 0 && bytes != Hardware::default() && parts.next().is_none();
    is_known.then_some(((address.parse().ok()?, interface), bytes))
}

/// A name becomes part of a path.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.contains('/') && !matches!(text, "." | "..")
}

#[cfg(test)]
mod tests;
