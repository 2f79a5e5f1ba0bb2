//! Text of a catalog file to candidates: a file that does not parse fails with its line, an entry that makes no
//! sense is set aside with its line.

use std::path::Path;

use cbrowse_protocol::node::NodeRecord;
use serde::Deserialize;
use serde_json::value::RawValue;
use toml::Spanned;

use crate::{error::Cause, record, screen::Candidate};

/// Every entry of the file. The ending of the name tells JSON from TOML, and without one the first character does.
pub(super) fn candidates(path: &Path, text: &str) -> Result<Vec<Candidate>, Cause> {
    if is_json(path, text) { json(text) } else { toml(text) }
}

fn is_json(path: &Path, text: &str) -> bool {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("json") => true,
        Some("toml") => false,
        _ => {
            let text = text.trim_start();
            // TOML may begin with `[[nodes]]`; a JSON list of lists is no catalog.
            text.starts_with('{') || (text.starts_with('[') && !text.starts_with("[["))
        }
    }
}

/// Counted from 1.
pub(super) fn line_at(text: &[u8], offset: usize) -> usize {
    Lines::of(text).at(offset)
}

/// The lines of places that come in rising order. Counting from the start for each would take the square of a file's
/// length: ten thousand entries took seconds.
struct Lines<'text> {
    text: &'text [u8],
    offset: usize,
    line: usize,
}

impl<'text> Lines<'text> {
    fn of(text: &'text [u8]) -> Self {
        Self { text, offset: 0, line: 1 }
    }

    /// Counted from 1; a place before the last one is on the last one's line.
    fn at(&mut self, offset: usize) -> usize {
        let offset = offset.clamp(self.offset, self.text.len());
        self.line += self.text[self.offset..offset].split(|byte| *byte == b'\n').count() - 1;
        self.offset = offset;
        self.line
    }
}

#[derive(Deserialize)]
struct TomlFile {
    nodes: Vec<Spanned<toml::Value>>,
}

fn toml(text: &str) -> Result<Vec<Candidate>, Cause> {
    let file: TomlFile = toml::from_str(text).map_err(|error| Cause::Syntax {
        line: line_at(text.as_bytes(), error.span().map_or(0, |span| span.start)),
        message: format!("{} (a catalog file holds [[nodes]] tables)", error.message()),
    })?;
    let mut lines = Lines::of(text.as_bytes());
    let candidate = |entry: Spanned<toml::Value>| {
        let line = lines.at(entry.span().start);
        let value = entry.into_inner();
        let name = value.get("id").and_then(toml::Value::as_str).map(str::to_owned);
        let record = record::from_toml(value);
        named(line, name, record)
    };
    Ok(file.nodes.into_iter().map(candidate).collect())
}

#[derive(Deserialize)]
struct JsonFile<'text> {
    #[serde(borrow)]
    nodes: Vec<&'text RawValue>,
}

#[derive(Deserialize)]
struct JsonName {
    id: String,
}

fn json(text: &str) -> Result<Vec<Candidate>, Cause> {
    let parsed = if text.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<&RawValue>>(text)
    } else {
        serde_json::from_str::<JsonFile>(text).map(|file| file.nodes)
    };
    let entries = parsed.map_err(|error| Cause::Syntax {
        line: error.line().max(1),
        message: format!(
            "{} (a catalog file holds a list of nodes, or {{\"nodes\": […]}})",
            without_place(&error)
        ),
    })?;
    let mut lines = Lines::of(text.as_bytes());
    let candidate = |entry: &RawValue| {
        // The entries are slices of the text, so their distance from its start is their place in it.
        let offset = entry.get().as_ptr() as usize - text.as_ptr() as usize;
        let name = serde_json::from_str::<JsonName>(entry.get()).ok().map(|name| name.id);
        let record = record::from_json(entry.get().as_bytes());
        named(lines.at(offset), name, record)
    };
    Ok(entries.into_iter().map(candidate).collect())
}

/// The line is said already.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

fn named(line: usize, name: Option<String>, record: Result<NodeRecord, String>) -> Candidate {
    let entry = name.map_or_else(|| format!("line {line}"), |name| format!("{name} (line {line})"));
    Candidate { entry, record }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(path: &str, text: &str) -> Vec<Candidate> {
        candidates(Path::new(path), text).expect(path)
    }

    const TOML: &str = r#"
[[nodes]]
id = "a"
address = "127.0.0.1"
port = 7443
region = "eu-central"
tags = ["fast"]
meta = { rack = "r1" }

[[nodes]]
id = "b"
address = "127.0.0.1"
port = 70000
"#;

    #[test]
    fn toml_entries_carry_their_lines() {
        let entries = parsed("nodes.toml", TOML);
        let record = entries[0].record.as_ref().expect("a good entry");
        assert_eq!((record.region.as_str(), record.meta["rack"].as_str()), ("eu-central", "r1"));
        assert_eq!(entries[1].entry, "b (line 10)");
        assert!(entries[1].record.as_ref().unwrap_err().contains("70000"), "{:?}", entries[1].record);
    }

    #[test]
    fn lines_are_counted_from_place_to_place() {
        let mut lines = Lines::of(b"a\nb\n\nc");
        let found: Vec<_> = [0, 1, 2, 4, 5, 99, 0].map(|offset| lines.at(offset)).into();
        assert_eq!(found, [1, 1, 2, 3, 4, 4, 4]);
    }

    #[test]
    fn json_is_a_list_or_an_object_with_one() {
        let list = "[\n {\"id\":\"a\",\"address\":\"::1\",\"port\":1},\n {\"id\":\"b\",\n\"port\":1}, 7 ]";
        for text in [list.to_owned(), format!("{{\"more\": 1, \"nodes\":{list}}}")] {
            let entries = parsed("nodes.json", &text);
            assert!(entries[0].record.is_ok());
            assert_eq!(entries[1].entry, "b (line 3)");
            assert_eq!(entries[1].record, Err("missing field `address`".into()));
            assert_eq!(entries[2].entry, "line 4");
        }
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let entries = parsed("nodes.toml", TOML);
        let record = entries[0].record.clone().unwrap();
        let listing = crate::Listing { nodes: vec![record.clone()], ..crate::Listing::default() };
        for text in
            [serde_json::to_string(&listing.nodes).unwrap(), serde_json::to_string_pretty(&listing).unwrap()]
        {
            assert_eq!(parsed("-", &text)[0].record, Ok(record.clone()));
        }
    }

    #[test]
    fn a_broken_file_fails_with_its_line() {
        for (path, text, line) in [
            ("x.toml", "\n\n[[nodes]]\nid = \n", 4),
            ("x.toml", "", 1),
            ("x.json", "[\n{},\n", 3),
            ("x.json", "{\"other\":\n[]}", 2),
            ("x", "[1", 1),
            ("x", "[[nodes]", 1),
        ] {
            let Err(Cause::Syntax { line: found, message }) = candidates(Path::new(path), text) else {
                panic!("{text:?} was taken");
            };
            assert_eq!(found, line, "{text:?}: {message}");
        }
    }

    #[test]
    fn cut_or_flipped_input_never_panics() {
        for text in [TOML.to_owned(), r#"{"nodes":[{"id":"a","address":"::1","port":1}]}"#.to_owned()] {
            for at in 0..text.len() {
                let mut flipped = text.clone().into_bytes();
                flipped[at] ^= 1;
                for bytes in [text.as_bytes()[..at].to_vec(), flipped] {
                    let text = String::from_utf8_lossy(&bytes);
                    let _ = candidates(Path::new("x"), &text);
                    let _ = candidates(Path::new("x.json"), &text);
                }
            }
        }
    }
}
