//! Asking DNS: SRV records over TCP first, and the addresses of targets that came without.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use hickory_resolver::{
    TokioResolver,
    config::{
        ConnectionConfig, LookupIpStrategy, NameServerConfig, ProtocolConfig, ResolverConfig, ResolverOpts,
    },
    lookup::Lookup,
    net::{DnsError, NetError, NoRecords, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RecordType},
    },
    system_conf::read_system_conf,
};

use super::answer::Answer;
use crate::error::Cause;

/// How long one server has for one question. Longer: one attempt over TCP and two over UDP do not fit the listing's
/// deadline, so that a server that speaks UDP alone is never heard; shorter: a far one is not.
const QUESTION_DEADLINE: Duration = Duration::from_millis(1500);
/// Questions over UDP get lost, over TCP they do not.
const UDP_RETRIES: usize = 1;
/// How many targets' addresses are asked for at once. More: a small resolver drops questions.
const CONCURRENT_LOOKUPS: usize = 16;
/// Most targets whose addresses are asked for. More: one poisoned name makes clients flood their resolver.
const MOST_LOOKUPS: usize = 512;

/// The servers, over TCP alone and over whatever they speak.
#[derive(Debug)]
pub(super) struct Lookups {
    tcp: TokioResolver,
    any: TokioResolver,
}

impl Lookups {
    pub(super) fn new(server: Option<SocketAddr>) -> Result<Self, Cause> {
        let (config, options) = match server {
            Some(server) => {
                let connections =
                    [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| at(server.port(), protocol));
                let server = NameServerConfig::new(server.ip(), true, connections.into());
                (ResolverConfig::from_name_servers(vec![server]), ResolverOpts::default())
            }
            None => read_system_conf().map_err(|error| {
                Cause::Settings(format!(
                    "the system's resolvers cannot be read ({error}); name one with ?server=ip:port"
                ))
            })?,
        };
        Ok(Self {
            tcp: build(tcp_only(&config), options.clone(), 0)?,
            any: build(config, options, UDP_RETRIES)?,
        })
    }

    /// The SRV records of `name`, with the addresses of their targets as far as they can be found, and warnings.
    pub(super) async fn services(&self, name: &str) -> Result<(Answer, Vec<String>), Cause> {
        let full_name = absolute(name)?;
        match self.tcp.lookup(full_name.clone(), RecordType::SRV).await {
            Ok(found) => Ok((completed(&self.tcp, &found).await, Vec::new())),
            Err(error) if error.is_no_records_found() => Err(failed(name, &error)),
            Err(over_tcp) => {
                let found = self.any.lookup(full_name, RecordType::SRV).await;
                let found = found.map_err(|error| failed(name, &error))?;
                let warning =
                    format!("DNS answered over UDP only ({over_tcp} over TCP): long lists may be cut");
                Ok((completed(&self.any, &found).await, vec![warning]))
            }
        }
    }
}

/// Looks up the targets that came without an address, on the same road. Those that cannot be found stay without.
async fn completed(resolver: &TokioResolver, found: &Lookup) -> Answer {
    let mut answer = Answer::from_records(found.answers(), found.additionals());
    let missing: BTreeSet<Name> = answer.without_address().take(MOST_LOOKUPS).cloned().collect();
    let lookups = missing.into_iter().map(|target| async move {
        let found = resolver.lookup_ip(target.clone()).await;
        (target, found.map(|found| found.iter().collect::<Vec<IpAddr>>()))
    });
    let mut lookups = stream::iter(lookups).buffer_unordered(CONCURRENT_LOOKUPS);
    while let Some((target, found)) = lookups.next().await {
        answer.addresses.insert(target, found.unwrap_or_default());
    }
    answer
}

fn at(port: u16, protocol: ProtocolConfig) -> ConnectionConfig {
    let mut connection = ConnectionConfig::new(protocol);
    connection.port = port;
    connection
}

fn tcp_only(config: &ResolverConfig) -> ResolverConfig {
    let servers = config.name_servers().iter().map(|server| {
        let port = server.connections.first().map_or(crate::uri::DNS_PORT, |connection| connection.port);
        NameServerConfig::new(server.ip, server.trust_negative_responses, vec![at(port, ProtocolConfig::Tcp)])
    });
    ResolverConfig::from_name_servers(servers.collect())
}

fn build(config: ResolverConfig, mut options: ResolverOpts, retries: usize) -> Result<TokioResolver, Cause> {
    options.timeout = QUESTION_DEADLINE;
    options.attempts = retries;
    // A watch asks when the records' time is up; a listing wants what is true now.
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()
        .map_err(|error| Cause::Settings(format!("DNS cannot be set up ({error})")))
}

/// As it stands, without the system's search domains: an appended domain could answer with somebody else's nodes.
fn absolute(name: &str) -> Result<Name, Cause> {
    let mut name = Name::from_ascii(name)
        .map_err(|error| Cause::Settings(format!("{name:?} is no DNS name ({error})")))?;
    name.set_fqdn(true);
    Ok(name)
}

fn failed(name: &str, error: &NetError) -> Cause {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords {
            response_code: ResponseCode::NXDomain | ResponseCode::NoError,
            ..
        })) => Cause::DoesNotExist(format!(
            "DNS knows no SRV records of {name}; check the name, and that a node is up"
        )),
        NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => {
            refused(name, *response_code)
        }
        NetError::Dns(DnsError::ResponseCode(code)) => refused(name, *code),
        NetError::Timeout => Cause::Deadline(QUESTION_DEADLINE),
        other => Cause::Unreachable(other.to_string()),
    }
}

fn refused(name: &str, code: ResponseCode) -> Cause {
    Cause::Unreachable(format!("the DNS server answered {code} for {name}"))
}
