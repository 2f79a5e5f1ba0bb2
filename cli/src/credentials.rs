//! Who we are to a node: a token, and the client key that proves it is ours.

use std::time::{SystemTime, UNIX_EPOCH};

use cbrowse_protocol::{
    identity::{IdentityKey, SigningKey},
    token::{Binding, Claims, Credential, CredentialError, Proof, SCHEME, TokenError, thumbprint},
};
use http::HeaderValue;
use zeroize::Zeroizing;

use crate::{
    failure::{Exit, Failure},
    keyring::{Keyring, KeyringError, Secret as Kept},
};

/// The environment variable that holds a credential on machines without a keyring.
pub const TOKEN_VARIABLE: &str = "CBROWSE_TOKEN";

/// A token with its key, ready to make proofs.
#[derive(Debug)]
pub struct Credentials {
    token: Secret,
    key: SigningKey,
    claims: Claims,
}

struct Secret(Zeroizing<String>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("…")
    }
}

/// Why a token and a key do not make credentials. Carries nothing of either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Not a credential.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// A bare token, and no key on this machine.
    #[error("the token is bound to a key that this machine does not have")]
    NoKey,
    /// A bare token, bound to another key than this machine's.
    #[error("the token is bound to another client key than this machine's")]
    OtherKey,
    /// Not for cbrowse, or not now.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Where credentials came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// [`TOKEN_VARIABLE`].
    Environment,
    /// `cbrowse login`.
    Login,
}

impl From<CredentialsError> for Failure {
    fn from(error: CredentialsError) -> Self {
        let (code, hint) = match &error {
            CredentialsError::Credential(_) => {
                ("token_malformed", "copy the whole line that cbrowse-node token printed")
            }
            CredentialsError::NoKey | CredentialsError::OtherKey => (
                "token_other_key",
                "ask for a token made for this machine: send the operator what cbrowse login --show-key prints",
            ),
            CredentialsError::Token(TokenError::Expired(_)) => (
                "token_expired",
                "ask the operator for a new token (cbrowse-node token), then: cbrowse login --with-token",
            ),
            CredentialsError::Token(TokenError::NotYet(_)) => {
                ("clock_skew", "set this machine's clock (NTP)")
            }
            CredentialsError::Token(_) => {
                ("token_malformed", "ask the operator for a token of cbrowse-node token")
            }
        };
        Self::new(Exit::Authentication, code, error.to_string()).hint(hint)
    }
}

/// The credentials of this user at `now`: from the environment, else from the login. Blocks, see [`Keyring`]; `keyring`
/// is opened only when the environment holds no token.
pub fn find(
    variable: Option<&str>,
    keyring: impl FnOnce() -> Keyring,
    now: SystemTime,
) -> Result<(Credentials, Origin), Failure> {
    if let Some(text) = variable.filter(|text| !text.trim().is_empty()) {
        let credential = Credential::parse(text).map_err(CredentialsError::from)?;
        let own = if credential.seed().is_some() { None } else { own_seed(&keyring())? };
        return Ok((Credentials::new(&credential, own.as_deref(), now)?, Origin::Environment));
    }
    let keyring = keyring();
    let line = keyring.get(Kept::Login)?.ok_or_else(not_logged_in)?;
    let text = std::str::from_utf8(&line).map_err(|_| KeyringError::Entry("login"))?;
    let credential = Credential::parse(text).map_err(|_| KeyringError::Entry("login"))?;
    let own = if credential.seed().is_some() { None } else { own_seed(&keyring)? };
    Ok((Credentials::new(&credential, own.as_deref(), now)?, Origin::Login))
}

/// Nobody ever logged in here.
pub fn not_logged_in() -> Failure {
    Failure::new(Exit::Authentication, "not_logged_in", "nobody is logged in").hint(format!(
        "get a line from the node's operator (cbrowse-node token), then: cbrowse login --with-token; machines set {TOKEN_VARIABLE}"
    ))
}

/// The seed of this machine's own client key, if it has one.
pub fn own_seed(keyring: &Keyring) -> Result<Option<Zeroizing<[u8; 32]>>, KeyringError> {
    let Some(bytes) = keyring.get(Kept::ClientKey)? else { return Ok(None) };
    let seed = bytes.as_slice().try_into().map_err(|_| KeyringError::Entry("client-key"))?;
    Ok(Some(Zeroizing::new(seed)))
}

/// The public half of this machine's own client key; made and kept where there is none.
pub fn own_key(keyring: &Keyring) -> Result<IdentityKey, KeyringError> {
    if let Some(seed) = own_seed(keyring)? {
        return Ok(SigningKey::from_seed(&seed).public());
    }
    let seed = Credential::fresh_seed();
    keyring.set(Kept::ClientKey, &seed[..])?;
    Ok(SigningKey::from_seed(&seed).public())
}

impl Credentials {
    /// Puts a credential together with the client key of this machine, which a bare token needs. At `now` the token must
    /// hold by its own word; whether its issuer is accepted only a node can tell.
    pub fn new(
        credential: &Credential,
        own_seed: Option<&[u8; 32]>,
        now: SystemTime,
    ) -> Result<Self, CredentialsError> {
        let claims = Claims::peek(credential.token())?;
        let seed = credential.seed().or(own_seed).ok_or(CredentialsError::NoKey)?;
        let key = SigningKey::from_seed(seed);
        if thumbprint(&key.public()) != claims.cnf.jkt {
            return Err(CredentialsError::OtherKey);
        }
        claims.check(seconds(now))?;
        Ok(Self { token: Secret(Zeroizing::new(credential.token().to_owned())), key, claims })
    }

    /// The user that the token names.
    pub fn subject(&self) -> &str {
        &self.claims.sub
    }

    /// What the token says.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// This client's public key.
    pub fn public_key(&self) -> IdentityKey {
        self.key.public()
    }

    /// The values of `authorization` and `dpop` for one request, marked so that nothing logs them. `path` is without query.
    pub fn headers(
        &self,
        method: &str,
        path: &str,
        node: &IdentityKey,
        now: SystemTime,
    ) -> (HeaderValue, HeaderValue) {
        let binding = Binding { method, path, node, token: &self.token.0 };
        let proof = Proof::create(&self.key, &binding, seconds(now));
        let authorization = Zeroizing::new(format!("{SCHEME} {}", self.token.0.as_str()));
        (sensitive(&authorization), sensitive(&proof))
    }
}

fn sensitive(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).expect("tokens and proofs are base64url and dots");
    value.set_sensitive(true);
    value
}

/// Seconds since the Unix epoch; a clock before it counts as standing there.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, os::fd::AsRawFd as _, time::Duration};

    use cbrowse_protocol::token::Scopes;

    use super::*;
    use crate::{context::Paths, keyring::PassphraseSource};

    const NOW: SystemTime = UNIX_EPOCH;

    fn token_for(seed: &[u8; 32]) -> String {
        let issuer = SigningKey::generate();
        let client = SigningKey::from_seed(seed).public();
        Claims::new(&issuer.public(), "ada", &client, Scopes::of_a_user(), 0, 100).sign(&issuer)
    }

    struct World {
        directory: tempfile::TempDir,
        passphrase: std::fs::File,
    }

    impl World {
        fn new() -> Self {
            let mut passphrase = tempfile::tempfile().expect("a file");
            passphrase.write_all(b"p\n").expect("written");
            Self { directory: tempfile::tempdir().expect("a directory"), passphrase }
        }

        fn keyring(&self) -> Keyring {
            let source = PassphraseSource::new(Some(self.passphrase.as_raw_fd()));
            Keyring::open(&Paths::below(self.directory.path()), source)
        }
    }

    #[test]
    fn the_environment_wins_and_needs_no_keyring_when_it_brings_its_key() {
        let line = Credential::with_seed(token_for(&[7; 32]), [7; 32]).to_line();
        let found = find(Some(&line), || panic!("not needed"), NOW).expect("credentials");
        assert_eq!((found.0.subject(), found.1), ("ada", Origin::Environment));
    }

    #[test]
    fn a_bare_token_needs_the_key_it_was_made_for() {
        let world = World::new();
        let none = find(Some(&token_for(&[7; 32])), || world.keyring(), NOW).expect_err("no key yet");
        assert_eq!((none.exit, none.code), (Exit::Authentication, "token_other_key"));
        let key = own_key(&world.keyring()).expect("made");
        assert_eq!(own_key(&world.keyring()).expect("kept"), key);
        let other = find(Some(&token_for(&[7; 32])), || world.keyring(), NOW).expect_err("another key");
        assert_eq!(other.code, "token_other_key");
        let seed = own_seed(&world.keyring()).expect("read").expect("kept");
        let found = find(Some(&token_for(&seed)), || world.keyring(), NOW).expect("the right key");
        assert_eq!(found.0.public_key(), key);
    }

    #[test]
    fn a_login_is_found_again_until_it_ends() {
        let world = World::new();
        let none = find(None, || world.keyring(), NOW).expect_err("nobody");
        assert_eq!((none.exit, none.code), (Exit::Authentication, "not_logged_in"));
        let line = Credential::with_seed(token_for(&[7; 32]), [7; 32]).to_line();
        world.keyring().set(Kept::Login, line.as_bytes()).expect("kept");
        let found = find(Some(" "), || world.keyring(), NOW).expect("credentials");
        assert_eq!(found.1, Origin::Login);
        let late = find(None, || world.keyring(), NOW + Duration::from_secs(100)).expect_err("expired");
        assert_eq!((late.exit, late.code), (Exit::Authentication, "token_expired"));
        world.keyring().set(Kept::Login, b"\xff").expect("spoiled");
        assert_eq!(find(None, || world.keyring(), NOW).expect_err("damaged").exit, Exit::Profile);
    }

    #[test]
    fn nothing_that_is_printed_holds_the_token() {
        let token = token_for(&[7; 32]);
        let credential = Credential::with_seed(token.clone(), [7; 32]);
        let credentials = Credentials::new(&credential, None, NOW).expect("credentials");
        let node = SigningKey::generate().public();
        let headers = credentials.headers("GET", "/v1/sessions", &node, NOW);
        let printed = format!("{credentials:?} {headers:?}");
        assert!(token.split('.').all(|part| !printed.contains(part)), "{printed}");
    }
}
