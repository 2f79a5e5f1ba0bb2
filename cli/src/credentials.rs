//! Who we are to a node: a token, and the client key that proves it is ours.

use std::time::{SystemTime, UNIX_EPOCH};

use cbrowse_protocol::{
    identity::{IdentityKey, SigningKey},
    token::{Binding, Claims, Credential, CredentialError, Proof, SCHEME, TokenError, thumbprint},
};
use http::HeaderValue;
use zeroize::Zeroizing;

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
