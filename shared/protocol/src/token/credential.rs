//! What an operator hands to a user in one line: `TOKEN`, bound to a key the user has, or `TOKEN~SEED` with a fresh key.

use std::fmt;

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::{Claims, MAX_TOKEN_LENGTH, TokenError, thumbprint};
use crate::{encoding, identity::SigningKey};

/// A token, and with it the seed of its client key where the user had none.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    token: Zeroizing<String>,
    seed: Option<Zeroizing<[u8; 32]>>,
}

/// Why a text is no credential. Never carries any of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// The part before `~`.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The part after `~`.
    #[error("the part after ~ is not a key (43 characters of base64url); copy the whole line")]
    Seed,
    /// Key and token are of two different lines.
    #[error("the token is bound to another key than the one that came with it")]
    Mismatch,
}

impl Credential {
    /// A bare token, for a user who keeps the key it is bound to.
    pub fn bare(token: String) -> Self {
        Self { token: Zeroizing::new(token), seed: None }
    }

    /// A token with the 32 secret bytes of its key.
    pub fn with_seed(token: String, seed: [u8; 32]) -> Self {
        Self { token: Zeroizing::new(token), seed: Some(Zeroizing::new(seed)) }
    }

    /// 32 secret bytes for a new client key.
    pub fn fresh_seed() -> Zeroizing<[u8; 32]> {
        let mut seed = Zeroizing::new([0; 32]);
        rand::fill(&mut seed[..]).expect("the system's random source answers");
        seed
    }

    /// Reads either form; surrounding white space is dropped. Time and signature are not checked here.
    pub fn parse(text: &str) -> Result<Self, CredentialError> {
        let text = text.trim();
        // Room for the token, the tilde and 43 characters.
        if text.len() > MAX_TOKEN_LENGTH + 44 {
            return Err(TokenError::Length(text.len()).into());
        }
        let (token, seed) = text.split_once('~').map_or((text, None), |(token, seed)| (token, Some(seed)));
        let claims = Claims::peek(token)?;
        let seed = match seed {
            None => None,
            Some(text) => {
                let seed = Zeroizing::new(encoding::array_from_text(text).ok_or(CredentialError::Seed)?);
                if thumbprint(&SigningKey::from_seed(&seed).public()) != claims.cnf.jkt {
                    return Err(CredentialError::Mismatch);
                }
                Some(seed)
            }
        };
        Ok(Self { token: Zeroizing::new(token.to_owned()), seed })
    }

    /// The token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The secret bytes of the client key, when they came along.
    pub fn seed(&self) -> Option<&[u8; 32]> {
        self.seed.as_deref()
    }

    /// The one line that [`Credential::parse`] reads. A secret.
    pub fn to_line(&self) -> Zeroizing<String> {
        let mut line = self.token.clone();
        if let Some(seed) = &self.seed {
            line.push('~');
            line.push_str(&Zeroizing::new(encoding::to_text(&seed[..])));
        }
        line
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Credential(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Scopes;

    fn token(seed: &[u8; 32]) -> String {
        let issuer = SigningKey::generate();
        let client = SigningKey::from_seed(seed).public();
        Claims::new(&issuer.public(), "ada", &client, Scopes::of_a_user(), 0, 10).sign(&issuer)
    }

    #[test]
    fn both_forms_survive_their_text() {
        for credential in [Credential::bare(token(&[7; 32])), Credential::with_seed(token(&[7; 32]), [7; 32])]
        {
            let line = format!(" {}\n", credential.to_line().as_str());
            assert_eq!(Credential::parse(&line), Ok(credential));
        }
    }

    #[test]
    fn what_does_not_belong_together_is_refused_without_a_word_of_it() {
        let token = token(&[7; 32]);
        let other = Credential::with_seed(token.clone(), [8; 32]).to_line();
        assert_eq!(Credential::parse(&other), Err(CredentialError::Mismatch));
        assert_eq!(Credential::parse(&format!("{token}~short")), Err(CredentialError::Seed));
        assert_eq!(Credential::parse("hello"), Err(CredentialError::Token(TokenError::Format)));
        assert_eq!(Credential::parse(""), Err(CredentialError::Token(TokenError::Format)));
        assert!(Credential::parse(&"x".repeat(1 << 20)).is_err());
        assert_eq!(format!("{:?}", Credential::with_seed(token, [7; 32])), "Credential(…)");
    }
}
