//! Questions to etcd, each with the token of a user if there is one: taken once, and anew when etcd does not know it
//! any more.

use std::time::{Duration, Instant};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use reqwest::{
    Method, StatusCode,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{
    Revision,
    answer::{self, LeaseId, Page},
    fault::{Failure, Fault},
    settings::{self, User},
};
use crate::{
    environment::Environment,
    error::{Cause, TlsFault},
    figures::Meter,
    http::{Answer, Lines, Question, Transport},
    uri::EtcdUri,
};

/// Longest wait for the first line of a watch. Longer: a member that hangs holds up the move to the next one; shorter:
/// one that is busy with an election is left for nothing.
const WATCH_DEADLINE: Duration = Duration::from_secs(5);
/// Makes a member that lost its leader end a watch instead of staying silent (etcd's "require leader").
const REQUIRE_LEADER: HeaderName = HeaderName::from_static("grpc-metadata-hasleader");

/// When an answer of several steps has to be there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    whole: Duration,
    at: Instant,
}

impl Deadline {
    pub(super) fn within(whole: Duration) -> Self {
        Self { whole, at: Instant::now() + whole }
    }

    fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// An error that names the whole time, not what was left of it for the last step.
    fn told(self, cause: Cause) -> Cause {
        match cause {
            Cause::Deadline(_) => Cause::Deadline(self.whole),
            cause => advised(cause),
        }
    }
}

/// Keys in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Range {
    pub(super) key: Vec<u8>,
    /// The first key behind the range; empty for one key alone.
    pub(super) end: Vec<u8>,
    /// Most entries of the answer; 0 for all.
    pub(super) limit: usize,
    /// As of then; `None` for now.
    pub(super) revision: Option<Revision>,
    pub(super) part: Part,
}

/// How much of each entry is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Part {
    #[default]
    Whole,
    /// Without values.
    Keys,
    /// How many there are, no entry.
    Count,
}

impl Range {
    fn json(&self) -> Value {
        json!({
            "key": encoded(&self.key),
            "range_end": encoded(&self.end),
            "limit": self.limit.to_string(),
            "revision": self.revision.unwrap_or_default().text(),
            "keys_only": self.part == Part::Keys,
            "count_only": self.part == Part::Count,
        })
    }
}

/// One cluster.
#[derive(Debug)]
pub(super) struct Client {
    transport: Transport,
    user: Option<User>,
    token: Mutex<Token>,
}

#[derive(Debug, Clone, Default, PartialEq)]
enum Token {
    #[default]
    Unasked,
    /// etcd runs without users.
    Needless,
    Given(HeaderValue),
}

impl Client {
    /// Connects to nothing yet.
    pub(super) fn new(uri: &EtcdUri, environment: &Environment, meter: Meter) -> Result<Self, Cause> {
        Ok(Self {
            transport: settings::transport(uri, environment, meter)?,
            user: settings::user(environment)?,
            token: Mutex::default(),
        })
    }

    /// What the user should know about these settings.
    pub(super) fn warnings(&self) -> &[String] {
        self.transport.warnings()
    }

    /// Where requests are counted.
    pub(super) fn meter(&self) -> &Meter {
        self.transport.meter()
    }

    /// The entries of a range, and the answer that they came in.
    pub(super) async fn range(&self, range: &Range, deadline: Deadline) -> Result<(Page, Answer), Failure> {
        let answer = self.ask("/v3/kv/range", &range.json(), deadline).await?;
        Ok((answer::range(&answer.body)?, answer))
    }

    /// Writes; a lease that is gone is [`Fault::is_absence`].
    pub(super) async fn put(
        &self,
        key: &str,
        value: &str,
        lease: LeaseId,
        deadline: Deadline,
    ) -> Result<Revision, Failure> {
        let body = json!({
            "key": encoded(key.as_bytes()), "value": encoded(value.as_bytes()), "lease": lease.text()
        });
        let answer = self.ask("/v3/kv/put", &body, deadline).await?;
        Ok(answer::put(&answer.body)?)
    }

    /// A lease, and how long it lasts: the server decides.
    pub(super) async fn grant(
        &self,
        wanted: Duration,
        deadline: Deadline,
    ) -> Result<(LeaseId, Duration), Cause> {
        let seconds = wanted.as_secs() + u64::from(wanted.subsec_nanos() > 0);
        let answer = self.ask("/v3/lease/grant", &json!({"TTL": seconds.to_string()}), deadline).await?;
        answer::grant(&answer.body)
    }

    /// How long the lease lasts from now on, unless it is gone.
    pub(super) async fn keep_alive(
        &self,
        lease: LeaseId,
        deadline: Deadline,
    ) -> Result<Option<Duration>, Cause> {
        // A stream to etcd, which ends with the question: one line.
        let answer = self.ask("/v3/lease/keepalive", &json!({"ID": lease.text()}), deadline).await?;
        let line = answer.body.split(|byte| *byte == b'\n').next().unwrap_or_default();
        answer::keepalive(line)
    }

    /// Removes a lease and what hangs on it.
    pub(super) async fn revoke(&self, lease: LeaseId, deadline: Deadline) -> Result<(), Failure> {
        self.ask("/v3/lease/revoke", &json!({"ID": lease.text()}), deadline).await.map(drop)
    }

    /// What happens to the keys of `range` from `revision` on, as lines without end.
    pub(super) async fn watch(&self, range: &Range, revision: Revision) -> Result<Lines, Cause> {
        let deadline = Deadline::within(WATCH_DEADLINE);
        let body = json!({"create_request": {
            "key": encoded(&range.key), "range_end": encoded(&range.end), "start_revision": revision.text(),
            // Without it, what does not fit into one message of gRPC ends the watch.
            "fragment": true,
        }});
        let question = Question::new(Method::POST, "/v3/watch")
            .json(&body)
            .header(REQUIRE_LEADER, HeaderValue::from_static("true"))
            .held();
        let token = self.token(None, deadline).await?;
        match self.open(&question, &token).await? {
            Err(fault) if fault.wants_token() && self.user.is_some() => {
                let token = self.token(Some(token), deadline).await?;
                self.open(&question, &token).await?.map_err(|fault| fault.cause())
            }
            outcome => outcome.map_err(|fault| fault.cause()),
        }
    }

    async fn open(&self, question: &Question, token: &Token) -> Result<Result<Lines, Fault>, Cause> {
        let lines = self.transport.lines(&signed(question.clone(), token), WATCH_DEADLINE).await;
        let lines = lines.map_err(advised)?;
        if lines.status() == StatusCode::OK {
            return Ok(Ok(lines));
        }
        let answer = tokio::time::timeout(WATCH_DEADLINE, lines.whole()).await;
        match understood(answer.map_err(|_| Cause::Deadline(WATCH_DEADLINE))??) {
            Err(Failure::Fault(fault)) => Ok(Err(fault)),
            Err(Failure::Cause(cause)) => Err(cause),
            Ok(_) => Err(Cause::Malformed("a watch that is none".to_owned())),
        }
    }

    async fn ask(&self, path: &str, body: &Value, deadline: Deadline) -> Result<Answer, Failure> {
        let token = self.token(None, deadline).await?;
        match self.send(path, body, &token, deadline).await {
            Err(Failure::Fault(fault)) if fault.wants_token() && self.user.is_some() => {
                let token = self.token(Some(token), deadline).await?;
                self.send(path, body, &token, deadline).await
            }
            outcome => outcome,
        }
    }

    /// The token to send: the one that is known, unless it is `refused`. Whoever comes meanwhile waits for the same one.
    async fn token(&self, refused: Option<Token>, deadline: Deadline) -> Result<Token, Cause> {
        let Some(user) = &self.user else { return Ok(Token::Needless) };
        let taking = async {
            let mut known = self.token.lock().await;
            if *known == Token::Unasked || refused.as_ref() == Some(&*known) {
                *known = Token::Unasked;
                *known = self.authenticate(user, deadline).await?;
            }
            Ok(known.clone())
        };
        let taken = tokio::time::timeout(deadline.left(), taking).await;
        taken.unwrap_or(Err(Cause::Deadline(deadline.whole)))
    }

    async fn authenticate(&self, user: &User, deadline: Deadline) -> Result<Token, Cause> {
        let body = json!({"name": user.name, "password": user.password});
        match self.send("/v3/auth/authenticate", &body, &Token::Needless, deadline).await {
            Ok(answer) => {
                let mut value = HeaderValue::from_str(&answer::token(&answer.body)?)
                    .map_err(|_| Cause::Malformed("a token with characters that no token has".to_owned()))?;
                value.set_sensitive(true);
                Ok(Token::Given(value))
            }
            Err(Failure::Fault(fault)) if fault.needs_no_token() => Ok(Token::Needless),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Every question here may be put to two members at once: reading is free, and so is writing the same twice. A second
    /// lease expires unused, and a put that arrives after a later one is noticed at the next renewal.
    async fn send(
        &self,
        path: &str,
        body: &Value,
        token: &Token,
        deadline: Deadline,
    ) -> Result<Answer, Failure> {
        let question = signed(Question::new(Method::POST, path).json(body).reading(), token);
        let answer = self.transport.ask(&question, deadline.left()).await;
        understood(answer.map_err(|cause| deadline.told(cause))?)
    }
}

/// Where it is etcd that does not believe us, its authority is not the matter.
fn advised(cause: Cause) -> Cause {
    match cause {
        Cause::Tls { message, authority, fault: TlsFault::Client } => {
            let message = format!("{message}; ETCDCTL_CERT and ETCDCTL_KEY name a certificate");
            Cause::Tls { message, authority, fault: TlsFault::Client }
        }
        cause => cause,
    }
}

fn signed(question: Question, token: &Token) -> Question {
    match token {
        Token::Given(value) => question.header(AUTHORIZATION, value.clone()),
        Token::Unasked | Token::Needless => question,
    }
}

fn understood(answer: Answer) -> Result<Answer, Failure> {
    if answer.status == StatusCode::OK {
        return Ok(answer);
    }
    match answer::fault(&answer.body) {
        Some(fault) => Err(Failure::Fault(fault)),
        None if answer.status == StatusCode::NOT_FOUND => Err(Failure::Cause(Cause::Status {
            status: 404,
            message: "no JSON gateway answers here; start etcd, 3.4 or later, without \
                      --enable-grpc-gateway=false, or check the address"
                .to_owned(),
        })),
        None => Err(Failure::Cause(answer.refusal())),
    }
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}
