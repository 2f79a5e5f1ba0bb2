//! Asking DNS: over TCP first, or over TLS alone, and what is open about the targets on the same road.

use std::{
    collections::HashMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use hickory_resolver::{
    NameServerPool, PoolContext, TlsConfig,
    config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig, ResolverOpts},
    net::{
        DnsError, DnsHandle as _, NetError, NoRecords, RetryDnsHandle, runtime::TokioRuntimeProvider,
        xfer::FirstAnswer as _,
    },
    proto::{
        op::{DnsRequestOptions, Query, ResponseCode},
        rr::{Name, Record, RecordType},
    },
    system_conf::read_system_conf,
};
use rustls::ClientConfig;

use super::{
    answer::{Answer, Facts, MOST_ALIASES, Question},
    tls::{self, Server},
};
use crate::{environment::Environment, error::Cause, uri::SrvUri};

/// How long one server has for one question. Longer: one attempt over TCP and two over UDP do not fit the listing's
/// deadline, so that a server that speaks UDP alone is never heard; shorter: a far one is not.
const QUESTION_DEADLINE: Duration = Duration::from_millis(1500);
/// How long a server has to refuse a connection, once it has kept silent over UDP: a round trip, and what is left of the
/// listing's deadline by then.
const REFUSAL_DEADLINE: Duration = Duration::from_millis(400);
/// Questions over UDP get lost, over TCP they do not.
const UDP_RETRIES: usize = 1;
/// How many questions about targets are asked at once. More: a small resolver drops questions.
const CONCURRENT_QUESTIONS: usize = 16;

/// The servers, on the roads to them, the preferred one first.
#[derive(Debug)]
pub(super) struct Lookups {
    road: Road,
    /// Whatever else they speak, where nobody asked for secrecy.
    otherwise: Option<Road>,
    /// The server that the user named, or else the system's first: to learn why it cannot be asked.
    server: Option<Server>,
    /// What was last known of the targets, so that a lost answer does not take a node away.
    remembered: Mutex<HashMap<Question, Vec<Record>>>,
}

impl Lookups {
    pub(super) fn new(uri: &SrvUri, environment: &Environment) -> Result<Self, Cause> {
        let mut named = uri.server.map(Server::plain);
        let (road, otherwise) = match (&uri.tls, uri.server) {
            (Some(name), Some(server)) => {
                let config = tls::believing(environment)?;
                named = Some(Server::over_tls(server, name, config.clone())?);
                (Road::over_tls(server, name, config), None)
            }
            (Some(_), None) => return Err(Cause::Settings("tls needs a server".into())),
            (None, server) => {
                let (config, options) = server.map_or_else(of_system, |server| Ok(of_server(server)))?;
                named = named.or_else(|| first(&config).map(Server::plain));
                let tcp = Road::new(&tcp_only(&config), options.clone(), 0, tls::unused()?);
                (tcp, Some(Road::new(&config, options, UDP_RETRIES, tls::unused()?)))
            }
        };
        Ok(Self { road, otherwise, server: named, remembered: Mutex::default() })
    }

    /// The SRV records of `name`, what can be found about their targets, and warnings.
    pub(super) async fn services(&self, name: &str) -> Result<(Answer, Vec<String>), Cause> {
        let full_name = absolute(name)?;
        let question = (full_name.clone(), RecordType::SRV);
        let (road, records, mut warnings) = match (self.road.records(&question).await, &self.otherwise) {
            (Ok(records), _) => (&self.road, records, Vec::new()),
            // Whoever answered has said what it has to say.
            (Err(error @ NetError::Dns(_)), _) | (Err(error), None) => {
                return Err(self.explained(name, &error, &error).await);
            }
            (Err(over_tcp), Some(otherwise)) => {
                let records = match otherwise.records(&question).await {
                    Ok(records) => records,
                    Err(error) => return Err(self.explained(name, &error, &over_tcp).await),
                };
                let warning =
                    format!("DNS answered over UDP only ({over_tcp} over TCP): long lists may be cut");
                (otherwise, records, vec![warning])
            }
        };
        let mut facts = Facts::default();
        facts.learn(records);
        let mut answer = Answer::new(&full_name, facts);
        warnings.extend(self.complete(&mut answer, road).await);
        Ok((answer, warnings))
    }

    /// The library says that there is no connection and keeps the reason to itself, so the server is asked once more.
    /// Over UDP nobody refuses: what is silence there may be a closed port, as connecting has shown.
    async fn explained(&self, name: &str, error: &NetError, over_tcp: &NetError) -> Cause {
        let within = match (error, over_tcp) {
            (NetError::NoConnections, _) => QUESTION_DEADLINE,
            (NetError::Timeout, NetError::NoConnections | NetError::Io(_)) => REFUSAL_DEADLINE,
            _ => return failed(name, error),
        };
        let Some(server) = &self.server else { return failed(name, error) };
        match tokio::time::timeout(within, server.connect()).await {
            Ok(Err(reason)) if reason.kind() == io::ErrorKind::ConnectionRefused => Cause::Unreachable(
                format!("{} refuses the connection: no DNS server listens there", server.address()),
            ),
            Ok(Err(reason)) => unreachable_by(&reason),
            Err(_) if matches!(error, NetError::NoConnections) => Cause::Deadline(QUESTION_DEADLINE),
            Ok(Ok(())) | Err(_) => failed(name, error),
        }
    }

    /// Asks what is open. What could not be asked is as it was; the warning says so.
    async fn complete(&self, answer: &mut Answer, road: &Road) -> Option<String> {
        let questions = answer.open_questions();
        let asked = questions.len();
        let answers = questions.into_iter().map(|question| async {
            let records = road.records(&question).await;
            (question, records)
        });
        let mut answers = stream::iter(answers).buffer_unordered(CONCURRENT_QUESTIONS);
        let (mut known, mut lost, mut first) = (HashMap::new(), 0_usize, None);
        while let Some((question, records)) = answers.next().await {
            match records {
                Ok(records) => {
                    known.insert(question, records);
                }
                Err(error) => {
                    let (why, is_lost) = (told(&question.0, &error), !is_word(&error));
                    // What was lost explains more than what is not there.
                    let explains = is_lost || !answer.unresolved.contains_key(&question.0);
                    if explains && question.1 != RecordType::TXT {
                        answer.unresolved.insert(question.0.clone(), why.clone());
                    }
                    if is_lost {
                        lost += 1;
                        first.get_or_insert(why);
                        let remembered = self.remembered().remove(&question);
                        known.extend(remembered.map(|records| (question, records)));
                    }
                }
            }
        }
        answer.facts.learn(known.values().flatten().cloned());
        *self.remembered() = known;
        first.map(|first| {
            format!("{lost} of {asked} questions about the nodes were not answered ({first}); what was known is used")
        })
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<Question, Vec<Record>>> {
        // A map of whole answers is good at any moment.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Servers asked in one way.
struct Road {
    servers: RetryDnsHandle<NameServerPool<TokioRuntimeProvider>>,
    options: DnsRequestOptions,
}

impl fmt::Debug for Road {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Road")
    }
}

impl Road {
    fn new(config: &ResolverConfig, mut options: ResolverOpts, retries: usize, tls: ClientConfig) -> Self {
        options.timeout = QUESTION_DEADLINE;
        let mut request = DnsRequestOptions::default();
        request.use_edns = options.edns0;
        let context = PoolContext::new(options, TlsConfig { config: tls });
        let servers = NameServerPool::from_config(
            config.name_servers().iter().cloned(),
            Arc::new(context),
            TokioRuntimeProvider::default(),
        );
        Self { servers: RetryDnsHandle::new(servers, retries), options: request }
    }

    fn over_tls(server: SocketAddr, name: &str, tls: ClientConfig) -> Self {
        let connection = at(server.port(), ProtocolConfig::Tls { server_name: name.into() });
        let config = NameServerConfig::new(server.ip(), true, vec![connection]);
        let config = ResolverConfig::from_name_servers(vec![config]);
        Self::new(&config, ResolverOpts::default(), 0, tls)
    }

    /// All records of the answer, and of further ones where the name is an alias of one that the first does not hold.
    async fn records(&self, (name, kind): &Question) -> Result<Vec<Record>, NetError> {
        let (mut facts, mut records) = (Facts::default(), Vec::new());
        let mut asked = name.clone();
        for _ in 0..=MOST_ALIASES {
            let query = Query::query(asked.clone(), *kind);
            let answer = self.servers.lookup(query, self.options).first_answer().await?.into_message();
            let new = answer.answers.into_iter().chain(answer.additionals);
            records.extend(new.inspect(|record| facts.learn([record.clone()])));
            let question = (asked, *kind);
            match facts.end(&question) {
                (false, end) if *end != question.0 => asked = end.clone(),
                _ => return Ok(records),
            }
        }
        Err(NoRecords::new(Query::query(asked, *kind), ResponseCode::NoError).into())
    }
}

fn of_system() -> Result<(ResolverConfig, ResolverOpts), Cause> {
    read_system_conf().map_err(|error| {
        Cause::Settings(format!(
            "the system's resolvers cannot be read ({error}); name one with ?server=ip:port"
        ))
    })
}

fn of_server(server: SocketAddr) -> (ResolverConfig, ResolverOpts) {
    let connections = [ProtocolConfig::Udp, ProtocolConfig::Tcp].map(|protocol| at(server.port(), protocol));
    let server = NameServerConfig::new(server.ip(), true, connections.into());
    (ResolverConfig::from_name_servers(vec![server]), ResolverOpts::default())
}

fn at(port: u16, protocol: ProtocolConfig) -> ConnectionConfig {
    let mut connection = ConnectionConfig::new(protocol);
    connection.port = port;
    connection
}

fn first(config: &ResolverConfig) -> Option<SocketAddr> {
    config.name_servers().first().map(|server| SocketAddr::new(server.ip, port_of(server)))
}

fn port_of(server: &NameServerConfig) -> u16 {
    server.connections.first().map_or(crate::uri::DNS_PORT, |connection| connection.port)
}

fn tcp_only(config: &ResolverConfig) -> ResolverConfig {
    let servers = config.name_servers().iter().map(|server| {
        let connection = at(port_of(server), ProtocolConfig::Tcp);
        NameServerConfig::new(server.ip, server.trust_negative_responses, vec![connection])
    });
    ResolverConfig::from_name_servers(servers.collect())
}

/// As it stands, without the system's search domains: an appended domain could answer with somebody else's nodes.
fn absolute(name: &str) -> Result<Name, Cause> {
    let mut name = Name::from_ascii(name)
        .map_err(|error| Cause::Settings(format!("{name:?} is no DNS name ({error})")))?;
    name.set_fqdn(true);
    Ok(name)
}

/// Whether a server has spoken: that there is nothing, or that it is not the one to ask. Anything else may be different
/// a moment later.
fn is_word(error: &NetError) -> bool {
    matches!(
        error,
        NetError::Dns(DnsError::NoRecordsFound(_) | DnsError::ResponseCode(ResponseCode::Refused))
    )
}

/// The same for a target, in the middle of a sentence.
fn told(name: &Name, error: &NetError) -> String {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords {
            response_code: ResponseCode::NXDomain, ..
        })) => "there is no such name".to_owned(),
        NetError::Dns(DnsError::NoRecordsFound(_)) => "the name has none".to_owned(),
        other => failed(&name.to_ascii(), other).to_string(),
    }
}

fn failed(name: &str, error: &NetError) -> Cause {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => match response_code {
            ResponseCode::NXDomain => Cause::DoesNotExist(format!(
                "DNS knows no name {name} (NXDOMAIN); check the name, and that a node is up"
            )),
            ResponseCode::NoError => Cause::DoesNotExist(format!(
                "DNS knows {name}, and no SRV records of it; check the name, and that a node is up"
            )),
            code => refused(name, *code),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => refused(name, *code),
        NetError::Timeout => Cause::Deadline(QUESTION_DEADLINE),
        NetError::Io(error) => unreachable_by(error),
        other => Cause::Unreachable(other.to_string()),
    }
}

fn unreachable_by(error: &io::Error) -> Cause {
    if let Some(refusal) = tls::refusal(error) {
        return refusal;
    }
    match error.kind() {
        io::ErrorKind::TimedOut => Cause::Deadline(QUESTION_DEADLINE),
        _ => Cause::Unreachable(error.to_string()),
    }
}

fn refused(name: &str, code: ResponseCode) -> Cause {
    Cause::Dns(match code {
        ResponseCode::ServFail => format!(
            "the DNS server answered SERVFAIL for {name}: it got no answer itself, or none that DNSSEC lets it believe; \
             ask again later, or another server with ?server=ip:port"
        ),
        ResponseCode::Refused => format!(
            "the DNS server answered REFUSED for {name}: it does not serve that name, or not to this machine; \
             ask another with ?server=ip:port"
        ),
        code => format!(
            "the DNS server answered {code} for {name}; check the name, or ask another with ?server=ip:port"
        ),
    })
}
