//! A real Consul agent on loopback: in memory, on ports of its own, killed and reaped when dropped.

use std::{
    fs::File,
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::ports::free_ports;

/// Longest wait until the agent leads its cluster of one. It takes one to two seconds; a loaded machine more.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How often it is asked whether it does.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Longest wait for one answer of its API.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// How often other ports are tried when somebody took one meanwhile.
const PORT_ATTEMPTS: usize = 5;

/// A running agent.
#[derive(Debug)]
pub struct Consul {
    child: Child,
    ports: Ports,
    options: Vec<String>,
    directory: TempDir,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    http: u16,
    dns: u16,
    serf_lan: u16,
    serf_wan: u16,
    server: u16,
}

impl Consul {
    /// Starts one and waits until it answers and leads.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same with further pieces of configuration, each in Consul's HCL or JSON.
    pub async fn start_with(configuration: &[&str]) -> anyhow::Result<Self> {
        let options: Vec<String> = configuration.iter().map(|&text| text.to_owned()).collect();
        let directory = tempfile::Builder::new().prefix("consul-").tempdir().context("make a directory")?;
        for _ in 0..PORT_ATTEMPTS {
            let [http, dns, serf_lan, serf_wan, server] = free_ports().context("find free ports")?;
            let ports = Ports { http, dns, serf_lan, serf_wan, server };
            let child = spawn(ports, &options, &directory)?;
            let mut consul = Self { child, ports, options: options.clone(), directory };
            if consul.wait_until_ready().await? {
                return Ok(consul);
            }
            ensure!(consul.log().contains("address already in use"), "consul ended at once:\n{}", consul.log());
            return_directory(&mut consul, &mut directory_slot())?;
        }
        bail!("no ports stayed free for consul in {PORT_ATTEMPTS} attempts")
    }
}
