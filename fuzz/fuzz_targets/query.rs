//! What is asked for: ranges of versions survive being printed, and two queries have one text exactly when they mean
//! the same, since cached answers are named by it.
//!
//! The input is lines: `version RANGE`, `at VERSION`, `region TEXT`, `zone TEXT`, `tag TEXT`, `meta KEY=VALUE`; a blank
//! line begins the second query.
#![no_main]

use std::collections::BTreeSet;

use cbrowse_fuzz::assert_printable;
use cbrowse_registry::{Query, VersionRange};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (first, second) = text.split_once("\n\n").unwrap_or((text, ""));
    let (first, second) = (query(first), query(second));
    let (first_text, second_text) = (first.to_string(), second.to_string());
    assert_printable(&first_text);
    assert_eq!(
        first_text == second_text,
        meaning(&first) == meaning(&second),
        "{first_text} | {second_text}"
    );
});

fn query(text: &str) -> Query {
    let mut query = Query::default();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.to_owned();
        match word {
            "version" => query.version = range(&rest),
            "at" => {
                let _ = query.version.as_ref().is_some_and(|range| range.admits(&rest));
            }
            "region" => query.regions.push(rest),
            "zone" => query.zones.push(rest),
            "tag" => query.tags.push(rest),
            "meta" => query.meta.extend(rest.split_once('=').map(|(key, value)| (key.into(), value.into()))),
            _ => {}
        }
    }
    query
}

fn range(text: &str) -> Option<VersionRange> {
    match text.parse::<VersionRange>() {
        Ok(range) => {
            let printed = range.to_string();
            assert_printable(&printed);
            assert_eq!(printed.parse().as_ref(), Ok(&range));
            Some(range)
        }
        Err(error) => {
            assert_printable(&error);
            None
        }
    }
}

type Meaning<'a> = ([BTreeSet<&'a str>; 3], BTreeSet<&'a (String, String)>, Option<String>);

fn meaning(query: &Query) -> Meaning<'_> {
    let texts = [&query.regions, &query.zones, &query.tags];
    (
        texts.map(|texts| texts.iter().map(String::as_str).collect()),
        query.meta.iter().collect(),
        query.version.as_ref().map(ToString::to_string),
    )
}
