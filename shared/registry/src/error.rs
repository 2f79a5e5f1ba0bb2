//! What can go wrong with a registry: which one, what, and whether asking again may help.

use std::{error::Error, fmt::Write as _, time::Duration};

use cbrowse_protocol::node::printable;
use rustls::pki_types::UnixTime;

use crate::{figures::Meter, uri::UriError};

/// How much of what a parser says an error repeats, in characters: it may quote a stranger's whole text.
const SHOWN_LENGTH: usize = 300;
const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// A catalog that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// One catalog failed.
    #[error("catalog {catalog}: {cause}")]
    One {
        /// Its name.
        catalog: String,
        /// What happened.
        cause: Cause,
    },
    /// Several were asked and none answered.
    #[error("no catalog could be read: {}", enumerate(.0))]
    All(Vec<CatalogError>),
}

/// What happened to one catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The name itself is wrong.
    #[error("{0}")]
    Uri(#[from] UriError),
    /// The environment or an option asks for what cannot be done.
    #[error("{0}")]
    Settings(String),
    /// Nobody answers there, or the connection broke.
    #[error("cannot be reached ({0}); check the address and that the registry runs")]
    Unreachable(String),
    /// TLS could not be agreed on, mostly because of the certificate.
    #[error("TLS failed ({message}); {}", .fault.advice(authority))]
    Tls {
        /// What the library said.
        message: String,
        /// The variable that names the authority's certificates.
        authority: &'static str,
        /// What is wrong, as far as it is known.
        fault: TlsFault,
    },
    /// No complete answer in time.
    #[error("no answer within {} s; check the address, or ask a nearer registry", .0.as_secs_f32())]
    Deadline(Duration),
    /// The registry does not let us: 401 or 403.
    #[error("refused with status {status} ({message}); check {token}, and the rights granted there")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What the registry said.
        message: String,
        /// The variable that holds the token or the user.
        token: &'static str,
    },
    /// Another answer than the one asked for.
    #[error("answered with status {status} ({message})")]
    Status {
        /// HTTP status.
        status: u16,
        /// What the registry said.
        message: String,
    },
    /// An answer that is not what this registry sends. The text may repeat parts of the answer; shown, it is made safe.
    #[error("the answer makes no sense ({}); is this the right address?", printable(.0, SHOWN_LENGTH))]
    Malformed(String),
    /// More than is read into memory.
    #[error("more than {limit} bytes; nothing was read")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A DNS server answered that it cannot or will not say.
    #[error("{0}")]
    Dns(String),
    /// Nothing of that name is there.
    #[error("{0}")]
    DoesNotExist(String),
    /// A file that cannot be read.
    #[error("cannot be read ({0})")]
    Io(String),
    /// A file that is not TOML or JSON of the right shape.
    #[error("line {line}: {message}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        message: String,
    },
}

/// Why two ends did not agree on TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    /// The registry's certificate holds no longer, or not yet.
    Dates,
    /// It is made for another name.
    Name,
    /// The registry wants a certificate of the client's, and was shown none or one that it does not believe.
    Client,
    /// What answers there does not speak TLS.
    Plain,
    /// It comes from an authority that is not believed, or something else.
    Other,
}

impl TlsFault {
    pub(crate) fn of(error: &rustls::Error) -> Self {
        use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error, InvalidMessage};
        match error {
            Error::InvalidCertificate(
                Certificate::Expired
                | Certificate::ExpiredContext { .. }
                | Certificate::NotValidYet
                | Certificate::NotValidYetContext { .. },
            ) => Self::Dates,
            Error::InvalidCertificate(
                Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
            ) => Self::Name,
            Error::AlertReceived(
                Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnknownCA
                | Alert::CertificateUnknown
                | Alert::CertificateExpired,
            ) => Self::Client,
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::Plain,
            _ => Self::Other,
        }
    }

    /// What the library says, in words for people: it counts in seconds.
    pub(crate) fn told(error: &rustls::Error) -> String {
        use rustls::{CertificateError as Certificate, Error, InvalidMessage};
        let days = |from: UnixTime, to: UnixTime| to.as_secs().saturating_sub(from.as_secs()) / SECONDS_A_DAY;
        match error {
            Error::InvalidCertificate(Certificate::ExpiredContext { time, not_after }) => {
                format!("certificate expired {} days ago", days(*not_after, *time))
            }
            Error::InvalidCertificate(Certificate::NotValidYetContext { time, not_before }) => {
                format!("certificate not valid yet, but in {} days", days(*time, *not_before))
            }
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => "the answer is not TLS".to_owned(),
            other => other.to_string(),
        }
    }

    fn advice(self, authority: &str) -> String {
        match self {
            Self::Dates => "renew the registry's certificate, or correct this machine's clock".to_owned(),
            Self::Name => "address the registry by a name that its certificate holds".to_owned(),
            Self::Client => "show a client certificate that the registry's authority signed".to_owned(),
            Self::Plain => "name the port that speaks it, or ask without TLS".to_owned(),
            Self::Other => format!("name the registry's own authority in {authority}, or check the address"),
        }
    }
}

/// A registration that could not be made, kept or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("registry {registry}: {cause}")]
pub struct RegistryError {
    /// Its name.
    pub registry: String,
    /// What happened.
    pub cause: Cause,
}

impl Cause {
    /// Whether the same question may get an answer a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Deadline(_) | Self::Dns(_) => true,
            // 429: too many requests; 5xx: no leader, restarting.
            Self::Status { status, .. } => *status == 429 || *status >= 500,
            _ => false,
        }
    }

    /// One word for counters; stable.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Uri(_) => "uri",
            Self::Settings(_) => "settings",
            Self::Unreachable(_) => "unreachable",
            Self::Tls { .. } => "tls",
            Self::Deadline(_) => "deadline",
            Self::Refused { .. } => "refused",
            Self::Status { .. } => "status",
            Self::Malformed(_) => "malformed",
            Self::TooLarge { .. } => "too_large",
            Self::Dns(_) => "dns",
            Self::DoesNotExist(_) => "does_not_exist",
            Self::Io(_) => "io",
            Self::Syntax { .. } => "syntax",
        }
    }

    /// Of a registry that is written to.
    pub(crate) fn at(self, registry: &Meter) -> RegistryError {
        RegistryError { registry: registry.name().to_owned(), cause: self }
    }

    /// Of a catalog that is read.
    pub(crate) fn of(self, catalog: &impl ToString) -> CatalogError {
        CatalogError::One { catalog: catalog.to_string(), cause: self }
    }
}

impl CatalogError {
    /// Whether the same question may get an answer a little later; for several, whether any of them may.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::One { cause, .. } => cause.is_transient(),
            Self::All(errors) => errors.iter().any(Self::is_transient),
        }
    }
}

impl RegistryError {
    /// Whether trying again may help.
    pub fn is_transient(&self) -> bool {
        self.cause.is_transient()
    }
}

fn enumerate(errors: &[CatalogError]) -> String {
    let mut text = String::new();
    for (index, error) in errors.iter().enumerate() {
        let _ = write!(text, "{}({}) {error}", if index == 0 { "" } else { "; " }, index + 1);
    }
    text
}

/// The innermost cause of a library's error: the layers above it say only that something below failed.
pub(crate) fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_is_transient() {
        let status = |status| Cause::Status { status, message: String::new() }.is_transient();
        assert!(status(500) && status(503) && status(429));
        assert!(!status(400) && !status(404) && !status(499));
        assert!(Cause::Unreachable(String::new()).is_transient());
        assert!(!Cause::Refused { status: 403, message: String::new(), token: "T" }.is_transient());
    }

    #[test]
    fn a_parsers_words_cannot_drive_a_terminal() {
        // serde repeats an unknown variant as it stands.
        let text = Cause::Malformed("unknown variant `\u{1b}[2J\u{202e}`".into()).of(&"etcd://h").to_string();
        assert!(!text.chars().any(cbrowse_protocol::node::is_unprintable), "{text:?}");
        assert!(text.contains("unknown variant"), "{text}");
        assert!(Cause::Malformed("x".repeat(1 << 20)).to_string().len() < 1000);
    }

    #[test]
    fn when_all_are_down_each_is_named_with_its_cause() {
        let error = CatalogError::All(vec![
            Cause::Unreachable("connection refused".into()).of(&"consul://a"),
            Cause::Deadline(Duration::from_secs(5)).of(&"dns+srv://b"),
        ]);
        let text = error.to_string();
        for part in ["consul://a", "connection refused", "dns+srv://b", "5 s"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
