//! A real authoritative DNS server, Knot, on loopback, with a zone file that a test rewrites.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, bail, ensure};

use crate::{
    daemon::{Daemon, path},
    dns::serves,
    ports::{PORT_ATTEMPTS, free_ports},
};

/// The zone that it serves.
pub const ZONE: &str = "fleet.test";

/// A running server of [`ZONE`].
#[derive(Debug)]
pub struct Knot {
    daemon: Daemon,
    port: u16,
    serial: u32,
}

impl Knot {
    /// Starts one with these lines in its zone, in the form of a zone file, names relative to the zone.
    pub async fn start(records: &str) -> anyhow::Result<Self> {
        for _ in 0..PORT_ATTEMPTS {
            let directory = Daemon::room("knot")?;
            let [port] = free_ports().context("find a free port")?;
            write_zone(directory.path(), records, 1)?;
            let configuration = configuration(directory.path(), port);
            std::fs::write(directory.path().join("knot.conf"), configuration).context("write knot.conf")?;
            let mut command = Command::new("knotd");
            command.args(["-c", "knot.conf"]);
            let server = Self { daemon: Daemon::spawn(command, directory)?, port, serial: 1 };
            if serves(&server.daemon, server.address(), ZONE).await? {
                return Ok(server);
            }
        }
        bail!("no port stayed free for knot in {PORT_ATTEMPTS} attempts")
    }

    /// Where it answers, over TCP and UDP.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Puts other records in the place of all there were, and has answered with them when this returns.
    pub fn change(&mut self, records: &str) -> anyhow::Result<()> {
        self.serial += 1;
        write_zone(self.daemon.directory(), records, self.serial)?;
        let output = Command::new("knotc")
            .env("PATH", path())
            .args(["-c", "knot.conf", "-b", "zone-reload", ZONE])
            .current_dir(self.daemon.directory())
            .output()
            .context("start knotc")?;
        ensure!(
            output.status.success(),
            "knot does not take the zone: {}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.daemon.log()
        );
        Ok(())
    }

    /// Kills it without a farewell.
    pub fn kill(&mut self) {
        self.daemon.kill();
    }
}

fn configuration(directory: &Path, port: u16) -> String {
    let here = directory.display();
    format!(
        "server:\n  rundir: \"{here}\"\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n  \
         background-workers: 1\nlog:\n  - target: stderr\n    any: info\ncontrol:\n  listen: \"{here}/control\"\n\
         database:\n  storage: \"{here}\"\ntemplate:\n  - id: default\n    storage: \"{here}\"\n    \
         file: \"zone\"\n    zonefile-sync: -1\n    zonefile-load: whole\n    journal-content: none\n    \
         semantic-checks: off\nzone:\n  - domain: {ZONE}\n"
    )
}

fn write_zone(directory: &Path, records: &str, serial: u32) -> anyhow::Result<()> {
    let text = format!(
        "$ORIGIN {ZONE}.\n$TTL 60\n@ SOA ns hostmaster {serial} 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n{records}\n"
    );
    std::fs::write(directory.join("zone"), text).context("write the zone")
}
