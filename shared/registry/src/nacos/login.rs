//! Logging in with a user and a password, and keeping the token that comes of it fresh.
//!
//! The token travels as `Authorization: Bearer …`, which Nacos 1, 2, 3 and r-nacos all take, and so never in a URL.

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Method,
    header::{AUTHORIZATION, HeaderValue},
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};

use super::{
    answer::{self, Granted},
    server::{WORDS, remaining},
};
use crate::{
    environment::Environment,
    error::Cause,
    http::{Answer, Question, Transport},
};

/// Where to log in: Nacos 3 (and 2.4 and later), then what came before it.
const PATHS: [&str; 2] = ["/nacos/v3/auth/user/login", "/nacos/v1/auth/login"];
/// The part of a token's life after which the next one is fetched: Nacos's own client leaves a tenth, too. Smaller:
/// more logins; larger: a question may arrive with a token that has just ended.
const RENEWAL: f64 = 0.9;
/// Longest time a token is used. A server that says more may mean it; asking once a day costs nothing.
const LONGEST_USE: Duration = Duration::from_secs(24 * 3600);

/// Who we are, and the token that says so. Prints nothing.
pub(super) struct Login {
    credentials: Option<Credentials>,
    /// Held while logging in, so that many questions at once cause one login.
    token: Mutex<Option<Token>>,
}

struct Credentials {
    user: String,
    password: String,
}

struct Token {
    header: HeaderValue,
    renew_at: Instant,
}

impl Login {
    pub(super) fn new(environment: &Environment) -> Result<Self, Cause> {
        let credentials = match (environment.get("NACOS_USERNAME"), environment.get("NACOS_PASSWORD")) {
            (Some(user), Some(password)) => {
                Some(Credentials { user: user.to_owned(), password: password.to_owned() })
            }
            (None, None) => None,
            (user, _) => {
                let (set, missing) = match user {
                    Some(_) => ("NACOS_USERNAME", "NACOS_PASSWORD"),
                    None => ("NACOS_PASSWORD", "NACOS_USERNAME"),
                };
                return Err(Cause::Settings(format!(
                    "{set} is set and {missing} is not; a login needs both"
                )));
            }
        };
        Ok(Self { credentials, token: Mutex::new(None) })
    }

    /// The question with a token, where there is a user; logs in when there is no token, or one that is about to end.
    pub(super) async fn sign(
        &self,
        transport: &Transport,
        question: Question,
        until: Instant,
    ) -> Result<Question, Cause> {
        let Some(credentials) = &self.credentials else { return Ok(question) };
        let token = timeout_at(until, self.token.lock()).await;
        // Whoever holds it has asked for as long as we may.
        let mut token = token.map_err(|_| Cause::Unreachable("the login takes too long".into()))?;
        let fresh = token.as_ref().filter(|token| Instant::now() < token.renew_at);
        let header = match fresh {
            Some(token) => token.header.clone(),
            None => token.insert(log_in(transport, credentials, until).await?).header.clone(),
        };
        Ok(question.header(AUTHORIZATION, header))
    }

    /// Whether logging in anew may help a question that was refused: the server may have forgotten the token (a
    /// restart), or ended it early. The next question gets a new one.
    pub(super) async fn distrust(&self, question: &Question) -> bool {
        let Some(refused) = question.headers.get(AUTHORIZATION) else { return false };
        let mut token = self.token.lock().await;
        if token.as_ref().is_some_and(|token| token.header == *refused) {
            *token = None;
        }
        true
    }
}

async fn log_in(transport: &Transport, credentials: &Credentials, until: Instant) -> Result<Token, Cause> {
    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let form = format!("username={}&password={}", encoded(&credentials.user), encoded(&credentials.password));
    let mut answer = None;
    for path in PATHS {
        let question = Question::new(Method::POST, path).form(form.clone());
        let found = transport.ask(&question, remaining(until)).await?;
        let is_missing = answer::is_no_such_api(found.status, &found.body);
        answer = Some(found);
        if !is_missing {
            break;
        }
    }
    let answer = checked(answer.expect("there is a path"), credentials)?;
    token(&answer::granted(&answer.body)?)
}

/// The answer if the login succeeded. A server may repeat what it was sent; the error does not.
fn checked(answer: Answer, credentials: &Credentials) -> Result<Answer, Cause> {
    let masked = |message: &str| {
        let said = message.replace(&credentials.password, "…");
        format!("the login of {:?}: {said}", credentials.user)
    };
    answer.ok().map_err(|cause| match cause {
        Cause::Refused { status, message, token } => {
            Cause::Refused { status, message: masked(&message), token }
        }
        // Before Nacos 2 a wrong password was an error of the server's.
        Cause::Status { status, message } if message.contains("unknown user") => {
            Cause::Refused { status, message: masked(&message), token: WORDS.token }
        }
        Cause::Status { status, message } => Cause::Status { status, message: masked(&message) },
        cause => cause,
    })
}

fn token(granted: &Granted) -> Result<Token, Cause> {
    let header = HeaderValue::from_str(&format!("Bearer {}", granted.access_token));
    let mut header =
        header.map_err(|_| Cause::Malformed("a token with characters that no token has".into()))?;
    header.set_sensitive(true);
    let life = Duration::from_secs(granted.token_ttl).min(LONGEST_USE);
    Ok(Token { header, renew_at: Instant::now() + life.mul_f64(RENEWAL) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_needs_a_user_and_a_password() {
        let with = |name, value| Login::new(&Environment::default().with(name, value));
        for (set, missing) in [("NACOS_USERNAME", "NACOS_PASSWORD"), ("NACOS_PASSWORD", "NACOS_USERNAME")] {
            let Err(Cause::Settings(text)) = with(set, "hunter2") else { panic!("{set} alone was taken") };
            assert!(text.contains(missing) && !text.contains("hunter2"), "{text}");
        }
        assert!(Login::new(&Environment::default()).is_ok_and(|login| login.credentials.is_none()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_it_ends_and_shows_nowhere() {
        let granted = |token_ttl| Granted { access_token: "hunter2".into(), token_ttl };
        let lasting = |ttl| token(&granted(ttl)).expect("a token").renew_at - Instant::now();
        assert_eq!(lasting(100), Duration::from_secs(90));
        assert_eq!(lasting(0), Duration::ZERO);
        assert_eq!(lasting(u64::MAX), LONGEST_USE.mul_f64(RENEWAL));
        let question = Question::get("/").header(AUTHORIZATION, token(&granted(1)).expect("a token").header);
        assert!(!format!("{question:?}").contains("hunter2"));
        let broken = Granted { access_token: "hunter2\n".into(), token_ttl: 1 };
        assert!(token(&broken).is_err_and(|error| !error.to_string().contains("hunter2")));
    }
}
