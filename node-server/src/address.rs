//! Which addresses a client may ask a page to load.

/// Longest address in bytes; Chromium's own limit is 2 MiB, no person types more than this.
pub const MAX_ADDRESS_LENGTH: usize = 64 * 1024;

/// Why an address is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Of a scheme that pages of a session may not load.
    #[error("{0:?} cannot be opened: only http:, https: and about:blank addresses can")]
    Scheme(String),
    /// Too long.
    #[error("the address has {0} bytes; {MAX_ADDRESS_LENGTH} are allowed")]
    TooLong(usize),
    /// Control characters or blanks inside.
    #[error("{0:?} is no address: it holds a blank or a control character; write https://example.org/")]
    Character(String),
}

/// Only http, https and `about:blank`; nothing that Chromium would trim or reinterpret on the way.
pub fn check(address: &str) -> Result<(), AddressError> {
    if address.len() > MAX_ADDRESS_LENGTH {
        return Err(AddressError::TooLong(address.len()));
    }
    if address.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return Err(AddressError::Character(address.chars().take(80).collect()));
    }
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let head = address.get(..scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then(|| &address[scheme.len()..])
    });
    if rest.is_some_and(|rest| !rest.is_empty()) || address == "about:blank" {
        return Ok(());
    }
    Err(AddressError::Scheme(address.chars().take(80).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_web_and_a_blank_page() {
        for good in ["http://a", "http://a/", "HTTPS://example.org/x?y#z", "about:blank", "http://[::1]/"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "file:///etc/passwd",
            "view-source:http://a/",
            "chrome://settings",
            "javascript:alert(1)",
            "data:text/html,x",
            "blob:http://a/1",
            "filesystem:http://a/",
            "devtools://x",
            "about:config",
            "",
            "http://",
            "https://",
            "ftp://a/",
            "//a/",
        ] {
            assert!(matches!(check(bad), Err(AddressError::Scheme(_))), "{bad}");
        }
        for bad in [" http://a/", "java\nscript:x"] {
            assert_eq!(check(bad), Err(AddressError::Character(bad.into())));
        }
        assert!(matches!(check(&"x".repeat(MAX_ADDRESS_LENGTH + 1)), Err(AddressError::TooLong(_))));
    }
}
