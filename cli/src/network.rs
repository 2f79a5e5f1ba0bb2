//! Which network this machine is on, so that yesterday's café does not decide today's home.
//!
//! A network is told by its default gateways (address, hardware address where the kernel knows it, kind of link), by the
//! tunnels that are up, and by its resolvers. What is written down is a keyed hash of that: the file names no network.

pub mod exit;
pub mod linux;
pub mod resolver;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
    fs::File,
    io::Read as _,
    net::IpAddr,
    path::Path,
};

use aws_lc_rs::hmac;

use crate::{
    context::Paths,
    private_file::{self, FileError},
};

/// Most that is read of any of the system's texts, in bytes. A router's own table is longer; its default route comes early.
const MAX_TEXT: u64 = 1 << 20;
/// Bytes of a salt: as many as the hash has, so that it cannot be guessed.
const SALT_LENGTH: usize = 32;
/// Bytes of a key: of the few networks that a machine meets, no two share 128 bits.
const KEY_LENGTH: usize = 16;

/// What kind of link an interface is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    /// Cable, or anything that looks like one.
    Ethernet,
    /// Wi-Fi.
    Wireless,
    /// A VPN or another tunnel, or a dialled line.
    Tunnel,
    /// Anything else.
    #[default]
    Other,
}

/// A hardware address of a gateway.
pub type Hardware = [u8; 6];

/// What tells a network from others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Default gateways, with their hardware addresses as far as the kernel knows them.
    pub gateways: BTreeMap<(IpAddr, Link), Option<Hardware>>,
    /// Everything else: links without a gateway, tunnels, resolvers, search domains.
    pub marks: BTreeSet<String>,
}

/// The opaque name of a network, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NetworkKey(String);

/// What keys networks on this machine, for this user. Without it a key cannot be traced to a gateway.
#[derive(Clone)]
pub struct Salt([u8; SALT_LENGTH]);

impl Network {
    /// The network that this machine is on now. What cannot be read is left out.
    pub fn now() -> Self {
        let exits = exit::exits();
        let mut network = linux::network(&linux::Texts::read(), &exits, &linux::link);
        if network.gateways.is_empty() && network.marks.is_empty() {
            network.marks = exit::marks(&exits);
        }
        network.marks.extend(resolver::marks());
        network
    }

    /// Whether this can be the network that was `before`: the same, but for hardware addresses that have become known since,
    /// or are not known any more.
    pub fn continues(&self, before: &Self) -> bool {
        let is_same = |(key, hardware): (&(IpAddr, Link), &Option<Hardware>)| {
            let then = before.gateways.get(key);
            then.is_some_and(|then| then.is_none() || hardware.is_none() || then == hardware)
        };
        self.marks == before.marks
            && self.gateways.len() == before.gateways.len()
            && self.gateways.iter().all(is_same)
    }

    /// Its name on this machine.
    pub fn key(&self, salt: &Salt) -> NetworkKey {
        let mut text = String::new();
        for ((address, link), hardware) in &self.gateways {
            let _ = writeln!(text, "gateway {address} {link:?} {hardware:?}");
        }
        for mark in &self.marks {
            let _ = writeln!(text, "{mark}");
        }
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &salt.0), text.as_bytes());
        let mut name = String::new();
        for byte in &tag.as_ref()[..KEY_LENGTH] {
            let _ = write!(name, "{byte:02x}");
        }
        NetworkKey(name)
    }
}

impl NetworkKey {
    /// As it stands in a file's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NetworkKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Salt(..)")
    }
}

impl Salt {
    /// This user's; made on first use, and again where the file is not one.
    pub fn of_user(paths: &Paths) -> Result<Self, FileError> {
        // Not beside what it keys: caches are copied and looked at more readily than data.
        let path = paths.data.join("network-salt");
        if let Some(salt) = Self::read(&path) {
            return Ok(salt);
        }
        let _held = private_file::lock(&path)?;
        if let Some(salt) = Self::read(&path) {
            return Ok(salt);
        }
        let mut bytes = [0; SALT_LENGTH];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| FileError::Io {
            verb: "draw",
            path: path.clone(),
            source: std::io::Error::other("the system gives no random bytes"),
        })?;
        private_file::replace(&path, &bytes)?;
        Ok(Self(bytes))
    }

    fn read(path: &Path) -> Option<Self> {
        let bytes = private_file::read(path, SALT_LENGTH as u64).ok().flatten()?;
        bytes.try_into().ok().map(Self)
    }
}

/// A text of the system's, cut at [`MAX_TEXT`]; empty where it cannot be read.
fn text(path: &str) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is as good as any cut.
    let _ = File::open(path).map(|file| file.take(MAX_TEXT).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn network(hardware: Option<Hardware>, marks: &[&str]) -> Network {
        let gateway = ("192.168.1.1".parse().expect("an address"), Link::Wireless);
        Network {
            gateways: BTreeMap::from([(gateway, hardware)]),
            marks: marks.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_key_depends_on_every_part_and_on_the_salt() {
        let salt = Salt([1; SALT_LENGTH]);
        let home = network(Some([2; 6]), &["resolver 192.168.1.1"]);
        let others = [
            network(Some([3; 6]), &["resolver 192.168.1.1"]),
            network(None, &["resolver 192.168.1.1"]),
            network(Some([2; 6]), &["resolver 9.9.9.9"]),
            network(Some([2; 6]), &["resolver 192.168.1.1", "exit wg0"]),
            Network::default(),
        ];
        let keys: BTreeSet<_> = others.iter().chain([&home]).map(|network| network.key(&salt)).collect();
        assert_eq!(keys.len(), 6);
        assert_eq!(home.key(&salt), home.clone().key(&salt));
        assert_ne!(home.key(&salt), home.key(&Salt([4; SALT_LENGTH])));
        assert_eq!(home.key(&salt).as_str().len(), 2 * KEY_LENGTH);
    }

    #[test]
    fn a_hardware_address_that_becomes_known_is_no_other_network() {
        let (unknown, known, other) =
            (network(None, &[]), network(Some([2; 6]), &[]), network(Some([3; 6]), &[]));
        assert!(known.continues(&unknown) && unknown.continues(&known) && known.continues(&known));
        assert!(!other.continues(&known));
        assert!(!network(None, &["exit wg0"]).continues(&unknown));
        assert!(!Network::default().continues(&unknown) && !unknown.continues(&Network::default()));
    }

    #[test]
    fn a_salt_is_drawn_once_kept_private_and_mended() {
        let directory = tempfile::tempdir().expect("a directory");
        let paths = Paths::below(directory.path());
        let first = Salt::of_user(&paths).expect("a salt").0;
        assert_eq!(Salt::of_user(&paths).expect("the same").0, first);
        let file = paths.data.join("network-salt");
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        std::fs::write(&file, b"cut short").expect("written");
        assert_ne!(Salt::of_user(&paths).expect("another").0, first);
        assert_eq!(format!("{:?}", Salt(first)), "Salt(..)");
    }

    #[test]
    fn the_network_of_this_machine_can_be_told() {
        let salt = Salt([1; SALT_LENGTH]);
        assert_eq!(Network::now().key(&salt), Network::now().key(&salt));
    }
}
