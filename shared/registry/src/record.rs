//! A node's record out of what somebody wrote, or the reason why it is none: which field, and what would do there.

use cbrowse_protocol::node::NodeRecord;

/// A record as JSON. The reason names the field, and no line: the library counts lines from the entry's own start.
pub(crate) fn from_json(text: &[u8]) -> Result<NodeRecord, String> {
    serde_json::from_slice(text).map_err(|error| {
        // Following the path costs time, so only what failed is read once more for it.
        let mut reader = serde_json::Deserializer::from_slice(text);
        let path = match serde_path_to_error::deserialize::<_, NodeRecord>(&mut reader) {
            Err(error) => error.path().to_string(),
            Ok(_) => String::new(),
        };
        let message = error.to_string();
        let message = message.split_once(" at line ").map_or(&*message, |(message, _)| message);
        reason(&path, message)
    })
}

/// A record as a value of a TOML file.
pub(crate) fn from_toml(value: toml::Value) -> Result<NodeRecord, String> {
    serde_path_to_error::deserialize(value)
        .map_err(|error| reason(&error.path().to_string(), error.inner().message()))
}

fn reason(path: &str, message: &str) -> String {
    let message = message
        .replace("expected u16", "expected a whole number from 0 to 65535")
        .replace("expected u32", "expected a whole number from 0 to 4294967295");
    // The library's name for the whole is a dot.
    if path.is_empty() || path == "." { message } else { format!("{path}: {message}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_names_the_field_and_what_would_do() {
        for (fields, reason) in [
            (
                r#""port":1,"weight":-3"#,
                "weight: invalid value: integer `-3`, expected a whole number from 0 to 65535",
            ),
            (r#""port":1,"meta":{"a":{}}"#, "meta.a: invalid type: map, expected a string"),
            (r#""port":1,"tags":["a",7]"#, "tags[1]: invalid type: integer `7`, expected a string"),
            (r#""region":"""#, "missing field `port`"),
        ] {
            let text = format!(r#"{{"id":"a","address":"h",{fields}}}"#);
            assert_eq!(from_json(text.as_bytes()).expect_err(fields), reason);
            let value: toml::Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(from_toml(value).expect_err(fields), reason);
        }
    }
}
