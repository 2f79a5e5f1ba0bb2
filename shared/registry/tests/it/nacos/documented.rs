//! A server that gives the answers which Nacos documents for the HTTP API of version 3, since r-nacos has none of it
//! and the Nacos of these answers needs a Java machine: <https://nacos.io/en/docs/v3.0/manual/user/open-api/>
//! (sections 2.1 to 2.3; 3.1 to 3.3 in its first edition), the codes from its table of errors, the login from
//! <https://nacos.io/en/docs/v3.3/manual/user/auth/>.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// What the login of this server takes.
pub(super) const USER: &str = "nacos";
pub(super) const PASSWORD: &str = "s&cret";

/// How it differs from the plain one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Manner {
    /// It asks for a token.
    pub(super) closed: bool,
    /// It has nothing of version 3: what Nacos 2 says to that (Spring's own page).
    pub(super) is_old: bool,
}

#[derive(Debug)]
pub(super) struct Documented {
    pub(super) address: SocketAddr,
    state: Arc<Mutex<State>>,
    ended: Arc<AtomicBool>,
    /// A thread, so that the port is closed when [`Documented::kill`] returns.
    serving: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    manner: Manner,
    instances: BTreeMap<String, Instance>,
    /// `METHOD path`, in the order they came.
    asked: Vec<String>,
    /// Tokens are numbered.
    tokens: usize,
}

#[derive(Debug)]
struct Instance {
    shown: Value,
    heard: Instant,
}

type Parameters = BTreeMap<String, String>;
type Reply = (u16, Value);

impl Documented {
    pub(super) fn start(manner: Manner) -> Self {
        let state = Arc::new(Mutex::new(State { manner, ..State::default() }));
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback works");
        let address = listener.local_addr().expect("it is bound");
        let mut documented = Self { address, state, ended: Arc::default(), serving: None };
        documented.serve(listener);
        documented
    }

    pub(super) fn uri(&self) -> String {
        format!("nacos://{}", self.address)
    }

    /// What was asked since the last time.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().expect("no holder panics").asked)
    }

    /// Every token that was given out no longer opens anything.
    pub(super) fn forget_tokens(&self) {
        self.state.lock().expect("no holder panics").tokens += 1;
    }

    pub(super) fn kill(&mut self) {
        let Some(serving) = self.serving.take() else { return };
        self.ended.store(true, Ordering::Relaxed);
        // It waits for a connection, and looks around before it serves one.
        let _ = TcpStream::connect(self.address);
        serving.join().expect("the server has not panicked");
    }

    /// Back at the same address, without instances.
    pub(super) fn restart(&mut self, manner: Manner) {
        self.kill();
        *self.state.lock().expect("no holder panics") = State { manner, ..State::default() };
        self.serve(TcpListener::bind(self.address).expect("the port is free again"));
    }

    fn serve(&mut self, listener: TcpListener) {
        self.ended = Arc::default();
        let (state, ended) = (self.state.clone(), self.ended.clone());
        self.serving = Some(thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let (stream, state) = (stream.expect("loopback works"), state.clone());
                thread::spawn(move || converse(stream, &state));
            }
        }));
    }
}

impl Drop for Documented {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One request a connection.
fn converse(mut stream: TcpStream, state: &Mutex<State>) {
    let mut text = Vec::new();
    let (head, body) = loop {
        let mut chunk = [0; 8192];
        match stream.read(&mut chunk) {
            Ok(length @ 1..) => text.extend_from_slice(&chunk[..length]),
            _ => return,
        }
        let text = String::from_utf8_lossy(&text);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = header(head, "content-length").map_or(0, |length| length.parse().expect("a length"));
        if body.len() >= length {
            break (head.to_owned(), body.to_owned());
        }
    };
    let (status, answer) = state.lock().expect("no holder panics").answer(&head, &body);
    let answer = answer.to_string();
    let answer = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    );
    // A client that was answered by another server has hung up.
    let _ = stream.write_all(answer.as_bytes());
}

fn header<'head>(head: &'head str, name: &str) -> Option<&'head str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
}

fn parameters(text: &str) -> Parameters {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().expect("UTF-8").into_owned();
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn success(data: &Value) -> Reply {
    (200, json!({"code": 0, "message": "success", "data": data}))
}

fn failure(status: u16, code: u32, message: &str, data: &str) -> Reply {
    (status, json!({"code": code, "message": message, "data": data}))
}

impl State {
    fn answer(&mut self, head: &str, body: &str) -> Reply {
        let mut line = head.lines().next().unwrap_or_default().split(' ');
        let (method, target) = (line.next().unwrap_or_default(), line.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        assert!(!query.contains("oken") && !query.contains("password"), "a secret in a URL: {target}");
        self.asked.push(format!("{method} {path}"));
        let parameters: Parameters = parameters(query).into_iter().chain(parameters(body)).collect();
        let old = "/nacos/v1/";
        if path.starts_with(old) != self.manner.is_old {
            return (404, json!({"timestamp": "x", "status": 404, "error": "Not Found", "path": path}));
        }
        if path == "/nacos/v3/auth/user/login" {
            return self.log_in(&parameters);
        }
        let token = format!("Bearer t{}", self.tokens);
        if self.manner.closed && header(head, "authorization") != Some(&token) {
            return failure(403, 10_001, "access denied", "token invalid!");
        }
        match (method, path) {
            (_, "/nacos/v1/ns/instance/list") => (200, json!({"hosts": [], "cacheMillis": 10_000})),
            ("GET", "/nacos/v3/client/ns/instance/list") => success(&self.list(&parameters)),
            ("POST", "/nacos/v3/client/ns/instance") => self.register(&parameters),
            ("DELETE", "/nacos/v3/client/ns/instance") => {
                self.instances.remove(&key(&parameters));
                success(&json!("ok"))
            }
            // An operator's API, closed to clients.
            ("GET", "/nacos/v3/admin/core/namespace/list") => failure(403, 10_001, "access denied", ""),
            _ => failure(404, 20_004, "resource not found", path),
        }
    }

    fn log_in(&mut self, parameters: &Parameters) -> Reply {
        let found =
            (parameters.get("username").map(String::as_str), parameters.get("password").map(String::as_str));
        if found != (Some(USER), Some(PASSWORD)) {
            let said = format!("unknown user! {}", parameters.get("password").map_or("", String::as_str));
            return failure(403, 10_001, "access denied", &said);
        }
        let token = format!("t{}", self.tokens);
        (200, json!({"accessToken": token, "tokenTtl": 18_000, "globalAdmin": true, "username": USER}))
    }

    fn register(&mut self, parameters: &Parameters) -> Reply {
        let key = key(parameters);
        if parameters.get("heartBeat").is_some_and(|is| is == "true") {
            self.expire();
            let Some(instance) = self.instances.get_mut(&key) else {
                return failure(200, 21_003, "instance not found", "");
            };
            (instance.heard, instance.shown["healthy"]) = (Instant::now(), json!(true));
            return success(&json!("ok"));
        }
        let weight: f64 = parameters["weight"].parse().expect("a number");
        if !(0.0..=10_000.0).contains(&weight) {
            return failure(400, 21_001, "weight error", "instance format invalid: weight");
        }
        let metadata: Value = serde_json::from_str(&parameters["metadata"]).expect("metadata");
        let shown = json!({
            "ip": parameters["ip"], "port": parameters["port"].parse::<u16>().expect("a port"), "weight": weight,
            "healthy": true, "enabled": true, "ephemeral": true,
            "clusterName": parameters.get("clusterName").map_or("DEFAULT", String::as_str),
            "serviceName": format!("{}@@{}", parameters["groupName"], parameters["serviceName"]),
            "metadata": metadata, "ipDeleteTimeout": 30_000, "instanceIdGenerator": "simple",
            "instanceHeartBeatInterval": 5_000, "instanceHeartBeatTimeOut": 15_000
        });
        self.instances.insert(key, Instance { shown, heard: Instant::now() });
        success(&json!("ok"))
    }

    fn list(&mut self, parameters: &Parameters) -> Value {
        self.expire();
        let service = service(parameters);
        let mut found = self.instances.iter().filter(|(key, _)| key.starts_with(&service)).peekable();
        let cluster = parameters.get("clusterName");
        let of_cluster = found.by_ref().filter(|(_, instance)| {
            cluster.is_none_or(|cluster| instance.shown["clusterName"] == cluster.as_str())
        });
        of_cluster.map(|(_, instance)| instance.shown.clone()).collect()
    }

    /// Instances that were silent for too long by their own metadata.
    fn expire(&mut self) {
        let limit = |instance: &Instance, key: &str| {
            let text = instance.shown["metadata"][key].as_str().expect("a time");
            Duration::from_millis(text.parse().expect("milliseconds"))
        };
        self.instances
            .retain(|_, instance| instance.heard.elapsed() < limit(instance, "preserved.ip.delete.timeout"));
        for instance in self.instances.values_mut() {
            if instance.heard.elapsed() >= limit(instance, "preserved.heart.beat.timeout") {
                instance.shown["healthy"] = json!(false);
            }
        }
    }
}

/// Namespace, group and service: `public` and none are one.
fn service(parameters: &Parameters) -> String {
    let namespace = parameters.get("namespaceId").map_or("public", String::as_str);
    let group = parameters.get("groupName").map_or("DEFAULT_GROUP", String::as_str);
    format!("{namespace}@@{group}@@{}@@", parameters["serviceName"])
}

/// In Nacos, unlike r-nacos, the cluster is a part of an instance's name.
fn key(parameters: &Parameters) -> String {
    let cluster = parameters.get("clusterName").map_or("DEFAULT", String::as_str);
    format!("{}{}#{}#{cluster}", service(parameters), parameters["ip"], parameters["port"])
}
