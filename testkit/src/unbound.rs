//! A real recursive DNS server, Unbound, on loopback: local data and zones of other servers, plain and over TLS.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::{
    daemon::{Daemon, path},
    dns::serves,
    ports::{PORT_ATTEMPTS, free_ports},
};

/// A zone of its own, to see that it serves.
const OWN_ZONE: &str = "ready.test";

/// What one is to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Knows<'a> {
    /// Records of its own, each as in a zone file with whole names, and the zones they are in.
    pub data: &'a [&'a str],
    /// The zones of that data; everything else in them does not exist.
    pub zones: &'a [&'a str],
    /// Zones that another server answers for.
    pub stubs: &'a [(&'a str, SocketAddr)],
    /// Certificate chain and key, PEM, for DNS over TLS.
    pub tls: Option<(&'a str, &'a str)>,
}

/// A running server.
#[derive(Debug)]
pub struct Unbound {
    daemon: Daemon,
    port: u16,
    tls_port: u16,
}

impl Unbound {
    /// Starts one and waits until it answers.
    pub async fn start(knows: Knows<'_>) -> anyhow::Result<Self> {
        for _ in 0..PORT_ATTEMPTS {
            let directory = Daemon::room("unbound")?;
            let [port, tls_port] = free_ports().context("find free ports")?;
            let write = |name: &str, text: &str| {
                std::fs::write(directory.path().join(name), text).with_context(|| format!("write {name}"))
            };
            if let Some((certificate, key)) = knows.tls {
                write("certificate.pem", certificate)?;
                write("key.pem", key)?;
            }
            write("unbound.conf", &configuration(directory.path(), knows, port, tls_port))?;
            let mut command = Command::new(copied(directory.path())?);
            command.args(["-d", "-p", "-c", "unbound.conf"]);
            let server = Self { daemon: Daemon::spawn(command, directory)?, port, tls_port };
            if serves(&server.daemon, server.address(), OWN_ZONE).await? {
                return Ok(server);
            }
        }
        bail!("no ports stayed free for unbound in {PORT_ATTEMPTS} attempts")
    }

    /// Where it answers in plain, over TCP and UDP.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where it answers over TLS, if it was given a certificate.
    pub fn tls_address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.tls_port).into()
    }
}

/// A copy of the program in `directory`. Where Debian enforces AppArmor, a profile keeps the program at its usual path
/// from reading files anywhere but in `/etc/unbound`; it goes by the path, so a copy may.
fn copied(directory: &Path) -> anyhow::Result<PathBuf> {
    let found = std::env::split_paths(&path()).map(|place| place.join("unbound")).find(|file| file.is_file());
    let copy = directory.join("unbound");
    std::fs::copy(found.context("find unbound (./test.sh installs it)")?, &copy).context("copy unbound")?;
    Ok(copy)
}

fn configuration(directory: &Path, knows: Knows<'_>, port: u16, tls_port: u16) -> String {
    let here = directory.display();
    // Without `nodefault` nothing exists under `test` (RFC 6761 section 6.2).
    let mut text = format!(
        "server:\n  directory: \"{here}\"\n  chroot: \"\"\n  username: \"\"\n  use-syslog: no\n  logfile: \"\"\n  \
         interface: 127.0.0.1@{port}\n  num-threads: 1\n  module-config: \"iterator\"\n  \
         do-not-query-localhost: no\n  local-zone: \"test\" nodefault\n  local-zone: \"{OWN_ZONE}\" static\n  \
         local-data: '{OWN_ZONE}. SOA ns.{OWN_ZONE}. hostmaster.{OWN_ZONE}. 1 3600 600 86400 60'\n"
    );
    // Writing to a string does not fail.
    for zone in knows.zones {
        let _ = writeln!(text, "  local-zone: \"{zone}\" static");
    }
    for record in knows.data {
        let _ = writeln!(text, "  local-data: '{record}'");
    }
    if knows.tls.is_some() {
        let _ = writeln!(
            text,
            "  interface: 127.0.0.1@{tls_port}\n  tls-port: {tls_port}\n  \
             tls-service-pem: \"{here}/certificate.pem\"\n  tls-service-key: \"{here}/key.pem\""
        );
    }
    text.push_str("remote-control:\n  control-enable: no\n");
    for (zone, server) in knows.stubs {
        let _ = writeln!(
            text,
            "stub-zone:\n  name: \"{zone}\"\n  stub-addr: {}@{}\n  stub-no-cache: yes",
            server.ip(),
            server.port()
        );
    }
    text
}
