//! What TXT records beside SRV say about a node.
//!
//! ```text
//! n1.example.com.  TXT  "cbrowse=1" "id=n1" "region=eu-central" "tags=fast,gpu" "identity=…" "rack=r7"
//!                       "statement=cbs1.…" "+… the rest of it"
//! ```
//!
//! The strings are pairs as in RFC 6763 section 6: keys regardless of case, the first of a key counts, one without `=` is
//! there without a value, one without a key is nothing. The first string marks the record as ours (section 6.7), since
//! a name may have other TXT records; a string that begins with `+` goes on with the value before it, since one string
//! holds 255 bytes. `port` limits a record to the SRV records of that port.

use std::collections::BTreeMap;

use cbrowse_protocol::node::{MAX_META, NodeRecord};

use crate::meta::{Words, between_commas};

/// What the first string of a record of ours is. Another number will be another syntax.
const MARK: (&str, &str) = ("cbrowse", "1");
/// Which of a host's ports a record is about.
const PORT_KEY: &str = "port";
/// What cannot be the same for all nodes of a service.
const OWN_KEYS: [&str; 4] = ["id", "identity", "statement", PORT_KEY];

/// Most pairs that are said of one node: what its record has room for, and some for its fields. More: one host of many
/// ports, with as many pairs as fit a DNS answer, fills the memory of every client.
const MOST_PAIRS: usize = MAX_META + 16;

/// One record's pairs, of more than [`MOST_PAIRS`] one more; keys in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text(BTreeMap<String, String>);

impl Text {
    /// The record's strings; `None` when it is not one of ours.
    pub(super) fn parse(strings: &[Box<[u8]>]) -> Option<Self> {
        let (mark, strings) = strings.split_first()?;
        let (key, value) = pair(mark)?;
        if (key.as_str(), value.as_str()) != MARK {
            return None;
        }
        let mut pairs = BTreeMap::new();
        // The key whose value may go on; none after a pair that does not count.
        let mut open = None;
        for string in strings {
            if pairs.len() > MOST_PAIRS {
                break;
            }
            if let Some(rest) = string.strip_prefix(b"+") {
                if let Some(value) = open.as_ref().and_then(|key| pairs.get_mut(key)) {
                    String::push_str(value, &String::from_utf8_lossy(rest));
                }
                continue;
            }
            open = pair(string).filter(|(key, _)| !pairs.contains_key(key)).map(|(key, value)| {
                pairs.insert(key.clone(), value);
                key
            });
        }
        Some(Self(pairs))
    }

    /// Whether it is about that port, and about no other.
    fn is_about(&self, port: u16) -> Option<bool> {
        self.0.get(PORT_KEY).map(|text| text.parse() == Ok(port))
    }
}

/// RFC 6763 sections 6.4 and 6.5.
fn pair(string: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(string);
    let (key, value) = text.split_once('=').unwrap_or((&text, ""));
    (!key.is_empty()).then(|| (key.to_ascii_lowercase(), value.to_owned()))
}

/// What is said of the node at `port` of a host: the host's own records, the ones for that port first, before those that
/// stand at the service's name for all.
pub(super) fn about(port: u16, own: &mut [Text], all: &mut [Text]) -> BTreeMap<String, String> {
    // Servers give the records of a name in any order, and the same zone has to mean the same each time.
    own.sort_unstable();
    all.sort_unstable();
    let for_port = own.iter().filter(|text| text.is_about(port) == Some(true));
    let for_any = own.iter().filter(|text| text.is_about(port).is_none());
    let mut pairs = BTreeMap::new();
    let mut learn = |key: &String, value: &String| {
        if pairs.len() <= MOST_PAIRS && !pairs.contains_key(key) {
            pairs.insert(key.clone(), value.clone());
        }
    };
    for text in for_port.chain(for_any) {
        text.0.iter().for_each(|(key, value)| learn(key, value));
    }
    for text in all.iter() {
        let common = text.0.iter().filter(|(key, _)| !OWN_KEYS.contains(&key.as_str()));
        common.for_each(|(key, value)| learn(key, value));
    }
    pairs.remove(PORT_KEY);
    pairs
}

/// Puts the pairs in their fields of the record, and those that have none in its metadata.
pub(super) fn describe(record: &mut NodeRecord, pairs: BTreeMap<String, String>) -> Result<(), String> {
    if pairs.len() > MOST_PAIRS {
        return Err(format!("TXT: more than {MOST_PAIRS} pairs are said of it"));
    }
    fill(record, Words::from(pairs)).map_err(|error| format!("TXT: {error}"))
}

fn fill(record: &mut NodeRecord, mut words: Words) -> Result<(), String> {
    if let Some(id) = words.take("id") {
        record.id = id.parse().map_err(|error| format!("id: {error}"))?;
    }
    if let Some(tags) = words.take("tags") {
        record.tags = between_commas(&tags);
    }
    record.region = words.take("region").unwrap_or_default();
    record.zone = words.take("zone").unwrap_or_default();
    record.version = words.take("version").unwrap_or_default();
    record.browser_version = words.take("browser_version").unwrap_or_default();
    record.identity = words.value("identity")?;
    record.statement = words.value("statement")?;
    if let Some(capacity) = words.number("capacity")? {
        record.capacity = capacity;
    }
    if let Some(weight) = words.number("weight")? {
        record.weight = weight;
    }
    // What the SRV record says is not for TXT to say.
    for (key, value) in words.rest() {
        record.meta.entry(key).or_insert(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use cbrowse_protocol::{
        identity::SigningKey,
        statement::{SignedStatement, Statement},
    };

    use super::*;

    fn text<const COUNT: usize>(strings: [&str; COUNT]) -> Option<Text> {
        Text::parse(&strings.map(|string| string.as_bytes().into()))
    }

    fn ours<const COUNT: usize>(strings: [&str; COUNT]) -> Text {
        let marked: Vec<Box<[u8]>> =
            ["cbrowse=1"].into_iter().chain(strings).map(|string| string.as_bytes().into()).collect();
        Text::parse(&marked).expect("a marked record")
    }

    fn record() -> NodeRecord {
        serde_json::from_value(serde_json::json!({"id": "10.0.0.1:1", "address": "10.0.0.1", "port": 1,
            "weight": 3, "meta": {"srv_priority": "10"}}))
        .expect("a record")
    }

    #[test]
    fn only_marked_records_count() {
        for strings in [["v=spf1 -all", "region=x"], ["cbrowse=2", "region=x"], ["region=x", "cbrowse=1"]] {
            assert_eq!(text(strings), None, "{strings:?}");
        }
        // What Consul says of a host: one pair a record, whatever the operator's keys are.
        assert_eq!(text(["consul-network-segment="]), None);
        assert_eq!(text(["cbrowse=1"]), Some(Text::default()));
        assert_eq!(text(["CBrowse=1"]), Some(Text::default()));
        assert_eq!(Text::parse(&[]), None);
    }

    #[test]
    fn pairs_are_those_of_dns_service_discovery() {
        let Text(pairs) = ours(["Region=eu", "region=us", "flag", "=nothing", "", "url=a=b", "empty="]);
        let found: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(found, [("empty", ""), ("flag", ""), ("region", "eu"), ("url", "a=b")]);
    }

    #[test]
    fn a_long_value_goes_on_in_the_next_string() {
        let Text(pairs) = ours(["+lost", "a=1", "+2", "+3", "A=x", "+lost", "b", "+4"]);
        assert_eq!((pairs["a"].as_str(), pairs["b"].as_str(), pairs.len()), ("123", "4", 2));
    }

    #[test]
    fn a_whole_node_fits_and_a_statement_comes_through() {
        let (key, fleet) = (SigningKey::generate(), SigningKey::generate());
        let statement = Statement {
            identity: key.public(),
            id: "n1".parse().unwrap(),
            region: "eu-central".into(),
            not_after: 1,
        };
        let signed: SignedStatement = statement.sign(&fleet);
        let (identity, signed_text) = (key.public().to_string(), signed.to_string());
        let (head, tail) = signed_text.split_at(200);
        let strings = [
            "id=n1",
            "region=eu-central",
            "zone=eu-central-1a",
            "version=0.3.0",
            "tags=fast, gpu,",
            "capacity=4",
            "browser_version=156.0.1.1",
            "weight=0",
            "rack=r7",
            "srv_priority=0",
            &format!("identity={identity}"),
            &format!("statement={head}"),
            &format!("+{tail}"),
        ];
        assert!(strings.iter().all(|string| string.len() < 256));
        let mut record = record();
        describe(&mut record, about(1, &mut [ours(strings)], &mut [])).expect("all of it makes sense");
        assert_eq!(
            (record.id.as_str(), record.region.as_str(), record.zone.as_str()),
            ("n1", "eu-central", "eu-central-1a")
        );
        assert_eq!((record.version.as_str(), record.browser_version.as_str()), ("0.3.0", "156.0.1.1"));
        assert_eq!((record.capacity, record.weight, record.tags.join("+")), (4, 0, "fast+gpu".into()));
        assert_eq!((record.identity, record.statement), (Some(key.public()), Some(signed)));
        assert_eq!(record.meta, [("rack".into(), "r7".into()), ("srv_priority".into(), "10".into())].into());
    }

    #[test]
    fn the_port_comes_before_the_host_and_the_host_before_the_service() {
        let mut own = [
            ours(["id=host", "region=host", "zone=host"]),
            ours(["port=2", "id=two"]),
            ours(["port=1", "id=one", "region=one"]),
            ours(["port=x", "rack=never"]),
        ];
        let mut all = [ours(["id=all", "identity=all", "statement=all", "region=all", "version=all"])];
        let pairs = about(1, &mut own, &mut all);
        let found: Vec<_> = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(found, [("id", "one"), ("region", "one"), ("version", "all"), ("zone", "host")]);
        own.reverse();
        assert_eq!(about(1, &mut own, &mut all), pairs, "servers turn records round");
        assert_eq!(about(3, &mut own, &mut all)["id"], "host");
        assert_eq!(about(3, &mut [], &mut all).get("id"), None, "one id cannot be all nodes'");
    }

    #[test]
    fn a_value_that_makes_no_sense_is_named() {
        for (pair, reason) in [
            ("id=a b", "TXT: id"),
            ("capacity=-1", "TXT: capacity \"-1\""),
            ("capacity=many", "\"many\" is not a number"),
            ("weight=65536", "TXT: weight \"65536\""),
            ("identity=short", "TXT: identity"),
            ("statement=cbs9", "TXT: statement"),
        ] {
            let error = describe(&mut record(), about(1, &mut [ours([pair])], &mut [])).expect_err(pair);
            assert!(error.contains(reason), "{error}");
        }
        describe(&mut record(), about(1, &mut [ours(["id", "capacity=", "identity"])], &mut []))
            .expect("not said");
    }

    #[test]
    fn cut_or_flipped_strings_never_panic() {
        let whole = b"region=gr\xc3\xb6\xc3\x9fe";
        for at in 0..whole.len() {
            let mut flipped = whole.to_vec();
            flipped[at] ^= 0xff;
            for bytes in [whole[..at].to_vec(), flipped] {
                let strings: [Box<[u8]>; 3] =
                    [b"cbrowse=1"[..].into(), bytes.clone().into(), [b"+", &bytes[..]].concat().into()];
                let mut record = record();
                let _ = describe(&mut record, about(1, &mut [Text::parse(&strings).unwrap()], &mut []));
            }
        }
    }
}
