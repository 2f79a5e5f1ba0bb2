//! What a person means who types an address: the web only, and https where no scheme is named.

/// The address to open, from what was typed: `example.org` means `https://example.org`. The node checks again.
///
/// # Errors
/// In words: blanks, or a scheme that is not of the web.
pub fn parse(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return Err("an address has no blanks, and is not empty".to_owned());
    }
    let lower = text.to_ascii_lowercase();
    if lower.starts_with("http://") || lower.starts_with("https://") || lower == "about:blank" {
        return Ok(text.to_owned());
    }
    let host = text.split(['/', '?', '#']).next().unwrap_or_default();
    // What stands before a colon is a scheme, unless a port follows.
    let is_host = match host.rsplit_once(':') {
        _ if host.ends_with(']') => host.starts_with('['),
        Some((name, port)) => {
            !name.is_empty() && !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
        }
        None => !host.is_empty(),
    };
    if is_host {
        return Ok(format!("https://{text}"));
    }
    Err("only http:, https: and about:blank addresses can be opened".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_typed_without_its_scheme() {
        for (typed, meant) in [
            ("example.org", "https://example.org"),
            ("example.org:8443/a?b=c:d", "https://example.org:8443/a?b=c:d"),
            ("[::1]:80/", "https://[::1]:80/"),
            ("[::1]", "https://[::1]"),
            ("HTTP://example.org/", "HTTP://example.org/"),
            ("about:blank", "about:blank"),
        ] {
            assert_eq!(parse(typed).as_deref(), Ok(meant));
        }
        for refused in [
            "",
            "a b",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "view-source:http://a/",
            "about:config",
            "//a/",
            ":80",
        ] {
            assert!(parse(refused).is_err(), "{refused:?}");
        }
    }
}
