//! Pages' own words, cut to what may be shown: a page can make any of them as long as it likes.

use serde_json::Value;

/// Longest address and text of a page that is shown, in bytes: a page can make both as long as it likes, and all tabs
/// together must fit one control message.
pub(super) const MAX_SHOWN_ADDRESS: usize = 2048;
/// Longest title, in bytes.
pub(super) const MAX_SHOWN_TEXT: usize = 1024;

/// An address that is too long to be shown is known by its origin.
pub(super) fn shown_address(value: &Value) -> String {
    let url = value.as_str().unwrap_or_default();
    if url.len() <= MAX_SHOWN_ADDRESS {
        return url.to_owned();
    }
    let origin: Vec<&str> = url.splitn(4, '/').take(3).collect();
    format!("{}/", cut(&origin.join("/"), MAX_SHOWN_ADDRESS))
}

pub(super) fn shortened(value: &Value, limit: usize) -> String {
    cut(value.as_str().unwrap_or_default(), limit).to_owned()
}

pub(super) fn cut(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_page_says_of_itself_is_cut_before_it_travels() {
        let longest = format!("https://a.example/{}", "x".repeat(MAX_SHOWN_ADDRESS - 18));
        assert_eq!(shown_address(&json!(longest)), longest);
        assert_eq!(shown_address(&json!(format!("{longest}x"))), "https://a.example/");
        assert!(
            shown_address(&json!("data:".to_owned() + &"y".repeat(1 << 20))).len() <= MAX_SHOWN_ADDRESS + 1
        );
        // A cut never falls into a character.
        assert_eq!(cut("aé", 2), "a");
        assert_eq!(shortened(&json!("é".repeat(MAX_SHOWN_TEXT)), MAX_SHOWN_TEXT).len(), MAX_SHOWN_TEXT);
    }
}
