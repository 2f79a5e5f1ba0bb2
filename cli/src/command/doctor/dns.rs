//! Names: do the system's resolvers answer, over UDP and over TCP, and does what is cut over UDP arrive whole over TCP?
//!
//! Where a DNS name is a catalog, that name's SRV records are asked for; else the name servers of the root, which every
//! resolver knows. Any answer will do, a refusal included: what is judged is the road.

mod ask;

use std::{io, net::SocketAddr};

use cbrowse_registry::{
    CatalogUri,
    uri::{Authority, DNS_PORT},
};
use futures_util::future::join_all;
use hickory_resolver::{
    proto::{
        op::Query,
        rr::{Name, RecordType},
    },
    system_conf::read_system_conf,
};
use serde_json::{Value, json};

use self::ask::{Heard, over_tcp, over_udp};
use super::finding::{Check, Finding};

/// Resolvers asked at most: libraries ask no more, either (resolv.conf(5), MAXNS).
const MOST_RESOLVERS: usize = 3;
/// Where the resolvers stand.
const FILE: &str = "/etc/resolv.conf";

/// How one resolver answered over both.
struct Asked {
    server: SocketAddr,
    udp: io::Result<Heard>,
    tcp: io::Result<Heard>,
}

/// Asks all of them, both ways, side by side.
pub(super) async fn check(catalogs: Vec<CatalogUri>) -> Vec<Finding> {
    let need = need(&catalogs);
    let servers = match resolvers() {
        Ok(servers) => servers,
        Err(why) => {
            let mend = format!("name a resolver in {FILE}, such as: nameserver 192.168.1.1");
            let found = format!("no resolver: {why}");
            return [Check::DnsUdp, Check::DnsTcp].map(|check| need.judge(check, &found, &mend)).into();
        }
    };
    let query = &question(&catalogs);
    let asked = join_all(servers.into_iter().map(|server| async move {
        let (udp, tcp) = tokio::join!(over_udp(server, query), over_tcp(server, query));
        Asked { server, udp, tcp }
    }))
    .await;
    vec![udp(&asked, &need), tcp(&asked, &need, query)]
}

fn resolvers() -> Result<Vec<SocketAddr>, String> {
    let (config, _) = read_system_conf().map_err(|error| format!("{FILE}: {error}"))?;
    let port = |server: &hickory_resolver::config::NameServerConfig| {
        server.connections.first().map_or(DNS_PORT, |connection| connection.port)
    };
    let servers = config.name_servers().iter().map(|server| SocketAddr::new(server.ip, port(server)));
    let servers: Vec<SocketAddr> = servers.take(MOST_RESOLVERS).collect();
    if servers.is_empty() { Err(format!("{FILE} names none")) } else { Ok(servers) }
}

fn question(catalogs: &[CatalogUri]) -> Query {
    let named = catalogs.iter().find_map(|catalog| match catalog {
        CatalogUri::Srv(srv) if srv.server.is_none() => Name::from_ascii(&srv.name).ok(),
        _ => None,
    });
    match named {
        Some(mut name) => {
            name.set_fqdn(true);
            Query::query(name, RecordType::SRV)
        }
        None => Query::query(Name::root(), RecordType::NS),
    }
}

/// For what names have to be resolved.
struct Need(Option<String>);

impl Need {
    /// What does not work is a problem where something needs it, and worth knowing elsewhere.
    fn judge(&self, check: Check, found: &str, mend: &str) -> Finding {
        match &self.0 {
            Some(catalog) => Finding::problem(check, format!("{found}; {catalog} needs names"), mend),
            None => {
                Finding::warning(check, format!("{found}; nodes and registries named by address work"), mend)
            }
        }
    }
}

fn need(catalogs: &[CatalogUri]) -> Need {
    let is_name = |hosts: &[Authority]| {
        hosts.iter().any(|host| host.host.parse::<std::net::IpAddr>().is_err() && host.host != "localhost")
    };
    let needs = |catalog: &&CatalogUri| match catalog {
        CatalogUri::Srv(srv) => srv.server.is_none(),
        CatalogUri::Consul(consul) => is_name(&consul.agents),
        CatalogUri::Etcd(etcd) => is_name(&etcd.endpoints),
        CatalogUri::Nacos(nacos) => is_name(&nacos.servers),
        CatalogUri::File(_) | CatalogUri::Local => false,
    };
    Need(catalogs.iter().find(needs).map(ToString::to_string))
}

fn udp(asked: &[Asked], need: &Need) -> Finding {
    let finding = judge(Check::DnsUdp, asked, |one| &one.udp, need);
    finding.details(details(asked, |one| &one.udp))
}

fn tcp(asked: &[Asked], need: &Need, query: &Query) -> Finding {
    let details = details(asked, |one| &one.tcp);
    let answered = asked.iter().find_map(|one| Some((one.udp.as_ref().ok()?, one.tcp.as_ref().ok()?)));
    if let Some((udp, tcp)) = answered {
        let finding = judge(Check::DnsTcp, asked, |one| &one.tcp, need);
        return cut(finding, udp, tcp, query).details(details);
    }
    let is_up = asked.iter().any(|one| one.udp.is_ok());
    if is_up && asked.iter().all(|one| one.tcp.is_err()) {
        let found = format!(
            "{}; UDP works, and what does not fit into one packet is cut",
            failures(asked, |one| &one.tcp)
        );
        let mend =
            "let TCP port 53 pass to the resolver; a dns+srv catalog of more than a few nodes needs it";
        return Finding::warning(Check::DnsTcp, found, mend).details(details);
    }
    judge(Check::DnsTcp, asked, |one| &one.tcp, need).details(details)
}

/// What TCP shows of the answer over UDP.
fn cut(finding: Finding, udp: &Heard, tcp: &Heard, query: &Query) -> Finding {
    let name = query.name();
    if udp.is_cut {
        let found = format!(
            "{}; {name} is cut over UDP, as it must be, and whole over TCP ({} records)",
            finding.found, tcp.records
        );
        return Finding { found, ..finding };
    }
    if udp.records >= tcp.records {
        return finding;
    }
    // As Consul does: it leaves records out and does not say so (`enable_truncate`).
    let found = format!(
        "{name}: {} records over UDP, {} over TCP, and nothing says that UDP is cut",
        udp.records, tcp.records
    );
    let mend = "nothing for cbrowse, which asks over TCP; for other programs set enable_truncate in Consul's dns_config";
    Finding::warning(Check::DnsTcp, found, mend)
}

fn judge(check: Check, asked: &[Asked], road: impl Fn(&Asked) -> &io::Result<Heard>, need: &Need) -> Finding {
    let answers: Vec<String> = asked
        .iter()
        .filter_map(|one| road(one).as_ref().ok().map(|heard| (one.server, heard)))
        .map(|(server, heard)| format!("{server} answers in {:.1} ms", heard.took.as_secs_f64() * 1e3))
        .collect();
    let Some(first) = answers.first() else {
        let mend = format!("correct the nameserver lines in {FILE}, or let port 53 pass to them");
        return need.judge(check, &failures(asked, road), &mend);
    };
    if asked.iter().all(|one| road(one).is_ok()) {
        return Finding::ok(check, answers.join(", "));
    }
    let found = format!("{first}; {}", failures(asked, road));
    Finding::warning(
        check,
        found,
        format!("take the nameserver that does not answer out of {FILE}: names wait for it"),
    )
}

fn failures(asked: &[Asked], road: impl Fn(&Asked) -> &io::Result<Heard>) -> String {
    let failed = asked.iter().filter_map(|one| road(one).as_ref().err().map(|error| (one.server, error)));
    let words: Vec<String> = failed.map(|(server, error)| format!("{server}: {error}")).collect();
    words.join(", ")
}

fn details(asked: &[Asked], road: impl Fn(&Asked) -> &io::Result<Heard>) -> Value {
    let one = |asked: &Asked| {
        let heard = road(asked);
        json!({
            "resolver": asked.server,
            "ms": heard.as_ref().ok().map(|heard| (heard.took.as_secs_f64() * 1e6).round() / 1e3),
            "truncated": heard.as_ref().ok().map(|heard| heard.is_cut),
            "records": heard.as_ref().ok().map(|heard| heard.records),
            "error": heard.as_ref().err().map(ToString::to_string),
        })
    };
    asked.iter().map(one).collect()
}

#[cfg(test)]
mod tests;
