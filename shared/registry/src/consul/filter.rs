//! What the server is asked to leave out, in Consul's own filter language ("Filtering" in its API documentation).
//!
//! ```text
//! (OWN) and (Service.Meta["region"] == "eu" or Service.Meta["region"] == "us") and "gpu" in Service.Tags
//! ```
//!
//! Ranges of versions and health are not told here: the language has no word for the one, and could only say what
//! `passing=1` does for the other.

use std::fmt::Write as _;

use crate::query::Query;

/// Longest expression in bytes that a query becomes; beyond it the query is applied here alone. Longer: proxies refuse
/// the request's first line, which is up to three times as long (8 KiB is a usual limit).
const MAX_LENGTH: usize = 2048;

/// The user's own expression together with what `query` says.
pub(super) fn expression(own: Option<&str>, query: &Query) -> Option<String> {
    let conditions =
        Some(conditions(query).join(" and ")).filter(|text| (1..=MAX_LENGTH).contains(&text.len()));
    match (own, conditions) {
        (Some(own), Some(conditions)) => Some(format!("({own}) and {conditions}")),
        (Some(own), None) => Some(own.to_owned()),
        (None, conditions) => conditions,
    }
}

/// All of which have to hold.
fn conditions(query: &Query) -> Vec<String> {
    let regions = one_of("region", &query.regions);
    let zones = one_of("zone", &query.zones);
    let tags = query.tags.iter().map(|tag| format!("{} in Service.Tags", literal(tag)));
    let meta = query.meta.iter().filter(|(_, value)| !value.is_empty());
    let meta = meta.map(|(key, value)| equals(key, value));
    regions.into_iter().chain(zones).chain(tags).chain(meta).collect()
}

fn one_of(key: &str, values: &[String]) -> Option<String> {
    // An empty field is not in the metadata at all, and what is not there equals nothing.
    if values.is_empty() || values.iter().any(String::is_empty) {
        return None;
    }
    let choices: Vec<String> = values.iter().map(|value| equals(key, value)).collect();
    Some(if choices.len() == 1 { choices.concat() } else { format!("({})", choices.join(" or ")) })
}

fn equals(key: &str, value: &str) -> String {
    format!("Service.Meta[{}] == {}", literal(key), literal(value))
}

/// Text in quotes. The language ends a text at the next quote, whatever stands before it, and only then reads escapes as
/// Go does; so everything that is not plainly harmless is escaped by its number.
pub(super) fn literal(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || matches!(character, ' ' | '-' | '_' | '.' | ':' | '/') {
            quoted.push(character);
        } else {
            // A string takes everything.
            let _ = write!(quoted, "\\U{:08x}", u32::from(character));
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(change: impl FnOnce(&mut Query)) -> Query {
        let mut query = Query::default();
        change(&mut query);
        query
    }

    #[test]
    fn conditions_become_an_expression() {
        let everything = query(|query| {
            query.regions = vec!["eu".into(), "us".into()];
            query.zones = vec!["eu-1".into()];
            query.tags = vec!["gpu".into(), "fast".into()];
            query.meta = vec![("rack".into(), "r1".into())];
            query.version = Some(">=0.1".parse().expect("a range"));
        });
        assert_eq!(
            expression(None, &everything).expect("conditions"),
            "(Service.Meta[\"region\"] == \"eu\" or Service.Meta[\"region\"] == \"us\") \
             and Service.Meta[\"zone\"] == \"eu-1\" and \"gpu\" in Service.Tags and \"fast\" in Service.Tags \
             and Service.Meta[\"rack\"] == \"r1\""
        );
        let tagged = query(|query| query.tags = vec!["gpu".into()]);
        assert_eq!(
            expression(Some("a or b"), &tagged).as_deref(),
            Some("(a or b) and \"gpu\" in Service.Tags")
        );
        assert_eq!(expression(Some("a or b"), &Query::default()).as_deref(), Some("a or b"));
        assert_eq!(expression(None, &Query::of_all()), None);
    }

    #[test]
    fn no_value_breaks_out_of_its_quotes() {
        for hostile in
            ["\"", "\\", "\\\"", "`", "eu\" or \"a\" == \"a", "\n", "\u{0}", "größe", "\u{10ffff}", "'"]
        {
            let text = literal(hostile);
            let inner = &text[1..text.len() - 1];
            assert!(!inner.contains(['"', '`', '\n']) && inner.is_ascii(), "{text}");
            let escapes = inner.match_indices('\\');
            for (at, _) in escapes {
                assert!(inner[at + 1..].starts_with('U') && inner.len() >= at + 10, "{text}");
            }
        }
        assert_eq!(literal("a\"ü"), "\"a\\U00000022\\U000000fc\"");
    }

    #[test]
    fn what_cannot_be_said_is_left_to_the_reader() {
        assert_eq!(expression(None, &query(|query| query.regions = vec![String::new(), "eu".into()])), None);
        let long = |length: usize| query(|query| query.tags = vec!["t".repeat(length)]);
        let around = "\"\" in Service.Tags".len();
        assert!(expression(None, &long(MAX_LENGTH - around)).is_some());
        assert_eq!(expression(None, &long(MAX_LENGTH - around + 1)), None);
        assert_eq!(expression(Some("a"), &long(MAX_LENGTH)).as_deref(), Some("a"), "the user's own stays");
    }
}
