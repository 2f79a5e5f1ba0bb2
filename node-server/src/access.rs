//! Who is asking: the token and the proof of a request become a principal, or a 401 that says what was wrong.
//!
//! Accepted are tokens of the node's own issuer (`issuer.pub` in its data directory, which `cbrowse-node token` writes
//! beside `issuer.key`) and of the further public keys the operator names (`--token-key`). The own issuer may come
//! after the node has started: an unknown issuer makes the file be looked at again, at most once a second.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use cbrowse_protocol::{
    api::Problem,
    identity::IdentityKey,
    token::{
        Binding, Claims, PROOF_HEADER, Proof, ProofError, ReplayCache, ReplayError, SCHEME, Scope, Scopes,
        TokenError,
    },
};
use http::{HeaderMap, HeaderValue, Method, header::AUTHORIZATION};

/// The private half of the node's own issuer, inside a data directory.
pub const ISSUER_KEY_FILE: &str = "issuer.key";
/// Its public half: all that `serve` reads, so that a server that was broken into mints no tokens.
pub const ISSUER_PUBLIC_FILE: &str = "issuer.pub";

/// Whoever proved to be behind a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user. Two tokens of one user name the same subject.
    pub subject: String,
    /// RFC 7638 thumbprint of the key that signed the proof.
    pub client_thumbprint: String,
    /// What the token allows.
    pub scopes: Scopes,
    /// The token's own name, for the log.
    pub token_id: String,
    /// Seconds since the Unix epoch at which the token ends.
    pub expires: u64,
}

impl Principal {
    /// 403 unless the token allows `scope`.
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        if self.scopes.allows(scope) {
            return Ok(());
        }
        let detail = format!("this needs the scope {scope}; the token has: {}", self.scopes);
        Err(Problem::new(403, "scope_missing", "Not allowed", detail))
    }
}

/// Decides who may speak to this node.
#[derive(Debug)]
pub struct Access {
    node: IdentityKey,
    data_dir: PathBuf,
    named: Vec<IdentityKey>,
    own: Mutex<OwnIssuer>,
    replays: Mutex<ReplayCache>,
}

#[derive(Debug, Default)]
struct OwnIssuer {
    key: Option<IdentityKey>,
    looked: Option<u64>,
}

impl Access {
    /// For the node with this identity and data directory, and the further issuers in `named`.
    pub fn new(node: IdentityKey, data_dir: &Path, named: Vec<IdentityKey>) -> Self {
        let own = OwnIssuer { key: read_public(data_dir), looked: None };
        let replays = Mutex::default();
        Self { node, data_dir: data_dir.to_owned(), named, own: Mutex::new(own), replays }
    }

    /// Whether any token at all could be accepted now; a node without an issuer should say so at its start.
    pub fn has_issuer(&self) -> bool {
        !self.issuers().is_empty()
    }

    /// The principal behind a request, at `now` (seconds since the Unix epoch). `path` is without query. The problem
    /// is a 401 that goes out with [`challenge`] in `WWW-Authenticate`, or 429 for a client that sends too much.
    pub fn authenticate(
        &self,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
        now: u64,
    ) -> Result<Principal, Problem> {
        let token = bearer(headers)?;
        let proof = only(headers, PROOF_HEADER)?.ok_or_else(proof_missing)?;
        let claims = self.verify(token, now).map_err(|error| token_problem(&error))?;
        let binding = Binding { method: method.as_str(), path, node: &self.node, token };
        let proof =
            Proof::verify(proof, &binding, &claims.cnf.jkt, now).map_err(|error| proof_problem(&error))?;
        lock(&self.replays).admit(&proof, now).map_err(replay_problem)?;
        Ok(Principal {
            subject: claims.sub,
            client_thumbprint: proof.thumbprint,
            scopes: claims.scope,
            token_id: claims.jti,
            expires: claims.exp,
        })
    }

    fn verify(&self, token: &str, now: u64) -> Result<Claims, TokenError> {
        match Claims::verify(token, &self.issuers(), now) {
            Err(TokenError::Foreign(_)) if self.look_again(now) => {
                Claims::verify(token, &self.issuers(), now)
            }
            verified => verified,
        }
    }

    fn issuers(&self) -> Vec<IdentityKey> {
        self.named.iter().copied().chain(lock(&self.own).key).collect()
    }

    /// Reads `issuer.pub` again unless that was done this second; whether it now names another issuer.
    fn look_again(&self, now: u64) -> bool {
        let mut own = lock(&self.own);
        if own.looked == Some(now) {
            return false;
        }
        own.looked = Some(now);
        let before = own.key;
        own.key = read_public(&self.data_dir).or(before);
        own.key != before
    }
}

/// The value of `WWW-Authenticate` (RFC 9449 section 7.1) for a problem of [`Access::authenticate`].
pub fn challenge(problem: &Problem) -> HeaderValue {
    let error = match problem.code.as_str() {
        "unauthenticated" => return HeaderValue::from_static(r#"DPoP algs="EdDSA""#),
        code if code.starts_with("token") => r#"DPoP error="invalid_token", algs="EdDSA""#,
        _ => r#"DPoP error="invalid_dpop_proof", algs="EdDSA""#,
    };
    HeaderValue::from_static(error)
}

fn read_public(data_dir: &Path) -> Option<IdentityKey> {
    fs::read_to_string(data_dir.join(ISSUER_PUBLIC_FILE)).ok()?.trim().parse().ok()
}

/// Every critical section leaves whole data behind, so a panic elsewhere must not lock everybody out.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refused(code: &str, detail: impl Into<String>) -> Problem {
    Problem::new(401, code, "Not authenticated", detail)
}

fn proof_missing() -> Problem {
    refused("proof_missing", "the token came without a proof (header dpop), and alone it opens nothing")
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing =
        || refused("unauthenticated", "this needs a login: authorization: DPoP TOKEN and dpop: PROOF");
    let value = only(headers, AUTHORIZATION.as_str())?.ok_or_else(missing)?;
    let (scheme, token) = value.split_once(' ').ok_or_else(missing)?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return Err(refused("unauthenticated", "the authorization scheme is not DPoP"));
    }
    Ok(token.trim())
}

/// A header's value; two of them could mean different things to different readers.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Result<Option<&'h str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(refused("unauthenticated", format!("the header {name} came twice")));
    }
    first.map(|value| value.to_str()).transpose().map_err(|_| {
        refused("unauthenticated", format!("the header {name} holds more than visible ASCII characters"))
    })
}

fn token_problem(error: &TokenError) -> Problem {
    let code = match error {
        TokenError::Length(_) | TokenError::Format | TokenError::Algorithm(_) | TokenError::Subject => {
            "token_malformed"
        }
        TokenError::Foreign(_) => "token_foreign",
        TokenError::Signature => "token_forged",
        TokenError::Audience(_) => "token_audience",
        TokenError::Expired(_) => "token_expired",
        TokenError::NotYet(_) => "token_not_yet_valid",
    };
    refused(code, error.to_string())
}

fn proof_problem(error: &ProofError) -> Problem {
    let code = match error {
        ProofError::Length(_) | ProofError::Format | ProofError::Type | ProofError::Algorithm(_) => {
            "proof_malformed"
        }
        ProofError::Key | ProofError::Signature | ProofError::ForeignKey => "proof_foreign",
        ProofError::Method(_) | ProofError::Path(_) | ProofError::Token => "proof_mismatch",
        ProofError::Node(_) => "proof_other_node",
        ProofError::Clock(_) => "clock_skew",
    };
    refused(code, error.to_string())
}

fn replay_problem(error: ReplayError) -> Problem {
    match error {
        ReplayError::Replayed => refused("proof_replayed", error.to_string()),
        ReplayError::TooMany => {
            Problem::new(429, "too_many_requests", "Too many requests", error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use cbrowse_protocol::identity::SigningKey;

    use super::*;

    const NOW: u64 = 1_000_000;
    const PATH: &str = "/v1/sessions";

    struct World {
        directory: tempfile::TempDir,
        access: Access,
        node: IdentityKey,
        issuer: SigningKey,
        client: SigningKey,
    }

    fn world() -> World {
        let directory = tempfile::tempdir().expect("a directory");
        let (node, issuer) = (SigningKey::generate().public(), SigningKey::generate());
        let access = Access::new(node, directory.path(), vec![issuer.public()]);
        World { directory, access, node, issuer, client: SigningKey::generate() }
    }

    impl World {
        fn token(&self, issuer: &SigningKey) -> String {
            let client = self.client.public();
            Claims::new(&issuer.public(), "ada", &client, Scopes::of_a_user(), NOW, 100).sign(issuer)
        }

        fn headers(&self, token: &str) -> HeaderMap {
            let binding = Binding { method: "POST", path: PATH, node: &self.node, token };
            let proof = Proof::create(&self.client, &binding, NOW);
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, format!("DPoP {token}").parse().expect("header"));
            headers.insert(PROOF_HEADER, proof.parse().expect("header"));
            headers
        }

        fn code(&self, headers: &HeaderMap, now: u64) -> String {
            let problem = self.access.authenticate(&Method::POST, PATH, headers, now).expect_err("refused");
            assert!(problem.status == 401 || problem.status == 429, "{problem:?}");
            problem.code
        }
    }

    #[test]
    fn a_token_with_its_proof_names_the_principal_once() {
        let world = world();
        let token = world.token(&world.issuer);
        let headers = world.headers(&token);
        let principal = world.access.authenticate(&Method::POST, PATH, &headers, NOW).expect("known");
        assert_eq!(principal.subject, "ada");
        assert!(principal.require(Scope::Create).is_ok());
        assert_eq!(principal.require(Scope::Admin).expect_err("no admin").status, 403);
        assert_eq!(world.code(&headers, NOW), "proof_replayed");
        assert!(world.access.authenticate(&Method::POST, PATH, &world.headers(&token), NOW).is_ok());
    }

    #[test]
    fn each_refusal_has_its_own_code() {
        let world = world();
        let token = world.token(&world.issuer);
        assert_eq!(world.code(&HeaderMap::new(), NOW), "unauthenticated");
        let without = |name: &str| {
            let mut headers = world.headers(&token);
            headers.remove(name);
            headers
        };
        assert_eq!(world.code(&without(PROOF_HEADER), NOW), "proof_missing");
        assert_eq!(world.code(&without("authorization"), NOW), "unauthenticated");
        let foreign = SigningKey::generate();
        assert_eq!(world.code(&world.headers(&world.token(&foreign)), NOW), "token_foreign");
        assert_eq!(world.code(&world.headers(&token), NOW + 100), "token_expired");
        assert_eq!(world.code(&world.headers(&token), NOW - 61), "token_not_yet_valid");
        assert_eq!(world.code(&world.headers("garbage"), NOW), "token_malformed");
        assert_eq!(world.code(&world.headers(&token), NOW + 61), "clock_skew");
        let mut twice = world.headers(&token);
        twice.append(AUTHORIZATION, "DPoP x".parse().expect("header"));
        assert_eq!(world.code(&twice, NOW), "unauthenticated");
        let mut bearer = world.headers(&token);
        bearer.insert(AUTHORIZATION, format!("Bearer {token}").parse().expect("header"));
        assert_eq!(world.code(&bearer, NOW), "unauthenticated");
    }

    #[test]
    fn a_proof_that_a_forged_node_collected_opens_nothing_here() {
        let world = world();
        let token = world.token(&world.issuer);
        let forged = SigningKey::generate().public();
        let binding = Binding { method: "POST", path: PATH, node: &forged, token: &token };
        let mut headers = world.headers(&token);
        let proof = Proof::create(&world.client, &binding, NOW);
        headers.insert(PROOF_HEADER, proof.parse().expect("header"));
        assert_eq!(world.code(&headers, NOW), "proof_other_node");
        let get = world.access.authenticate(&Method::GET, PATH, &world.headers(&token), NOW);
        assert_eq!(get.expect_err("other method").code, "proof_mismatch");
        let path = world.access.authenticate(&Method::POST, "/v1/seats", &world.headers(&token), NOW);
        assert_eq!(path.expect_err("other path").code, "proof_mismatch");
    }

    #[test]
    fn an_issuer_made_after_the_start_is_found() {
        let world = world();
        let own = SigningKey::generate();
        let token = world.token(&own);
        assert_eq!(world.code(&world.headers(&token), NOW), "token_foreign");
        fs::write(world.directory.path().join(ISSUER_PUBLIC_FILE), format!("{}\n", own.public()))
            .expect("write");
        assert_eq!(world.code(&world.headers(&token), NOW), "token_foreign", "looked at once a second");
        let found = world.access.authenticate(&Method::POST, PATH, &world.headers(&token), NOW + 1);
        assert_eq!(found.expect("found").subject, "ada");
        fs::write(world.directory.path().join(ISSUER_PUBLIC_FILE), "half").expect("write");
        assert!(world.access.authenticate(&Method::POST, PATH, &world.headers(&token), NOW + 2).is_ok());
    }

    #[test]
    fn no_refusal_repeats_a_secret() {
        let world = world();
        let (own, foreign) = (world.token(&world.issuer), world.token(&SigningKey::generate()));
        for (token, now) in [(&own, NOW + 100), (&own, NOW + 61), (&foreign, NOW)] {
            let headers = world.headers(token);
            let problem = world.access.authenticate(&Method::POST, PATH, &headers, now).expect_err("refused");
            let text = serde_json::to_string(&problem).expect("JSON");
            assert!(token.split('.').all(|part| !text.contains(part)), "{text}");
            assert!(!challenge(&problem).is_empty());
        }
    }
}
