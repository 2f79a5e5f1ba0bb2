//! Lines and bodies as etcd 3.4.23 sent them, shortened; and the same cut and flipped.

use super::*;
use crate::capped::MAX_ENTRIES;

const RANGE: &str = r#"{"header":{"cluster_id":"15875391935852295136","member_id":"7383792418829112008","revision":"5","raft_term":"2"},
    "kvs":[{"key":"YS9uMQ==","create_revision":"2","mod_revision":"4","version":"1","value":"e30=","lease":"1353509777463445510"},
           {"key":"YS9uMg==","create_revision":"5","mod_revision":"5","version":"1"}],"more":true,"count":"7"}"#;
const GRANT: &str = r#"{"header":{"revision":"1"},"ID":"1353509777463445510","TTL":"2"}"#;
const ALIVE: &str = r#"{"result":{"header":{"revision":"1"},"ID":"123","TTL":"15"}}"#;
const EXPIRED: &str = r#"{"result":{"header":{"revision":"1"},"ID":"123"}}"#;
const CREATED: &str = r#"{"result":{"header":{"revision":"2"},"created":true}}"#;
const EVENTS: &str = r#"{"result":{"header":{"revision":"9"},"events":[{"kv":{"key":"YS9uMQ==","create_revision":"2","mod_revision":"3",
    "version":"2","value":"e30="}},{"type":"DELETE","kv":{"key":"YS9uMQ==","mod_revision":"4"}}]}}"#;
const COMPACTED: &str =
    r#"{"result":{"header":{"cluster_id":"1","raft_term":"2"},"canceled":true,"compact_revision":"3"}}"#;
const FAULT: &str = r#"{"error":"etcdserver: requested lease not found","message":"etcdserver: requested lease not found","code":5}"#;
const STREAM_FAULT: &str = r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader","http_status":"Service Unavailable"}}"#;

fn revision(number: i64) -> Revision {
    Revision::try_from(number).expect("a revision")
}

#[test]
fn a_page_has_entries_and_says_whether_more_follow() {
    let page = range(RANGE.as_bytes()).expect("a range");
    assert_eq!((page.revision, page.more, page.count, page.entries.len()), (revision(5), true, 7, 2));
    let [first, second] = &*page.entries else { panic!("two entries") };
    assert_eq!((&*first.key, &*first.value), (&b"a/n1"[..], &b"{}"[..]));
    let lease = Some(LeaseId(1_353_509_777_463_445_510));
    assert_eq!(first.mark, Mark { created: revision(2), modified: revision(4), lease });
    assert_eq!((&*second.value, second.mark.lease), (&b""[..], None));
    let empty = range(br#"{"header":{"revision":"1"}}"#).expect("an empty range");
    assert_eq!((empty.entries.len(), empty.more, empty.count), (0, false, 0));
}

#[test]
fn what_is_no_range_is_malformed() {
    for text in [
        "",
        "{}",
        "null",
        "[]",
        "<html>",
        r#"{"header":{}}"#,
        r#"{"header":{"revision":"-1"}}"#,
        r#"{"header":{"revision":"9223372036854775808"}}"#,
        r#"{"header":{"revision":"1"},"kvs":[{"key":"?"}]}"#,
        r#"{"header":{"revision":"1"},"kvs":[{"value":""}]}"#,
        r#"{"header":{"revision":1.5}}"#,
    ] {
        assert!(matches!(range(text.as_bytes()), Err(Cause::Malformed(_))), "{text}");
    }
    assert_eq!(put(br#"{"header":{"revision":8}}"#), Ok(revision(8)), "a plain number will do");
}

#[test]
fn a_lease_lasts_as_long_as_the_server_says_within_reason() {
    let (id, time) = grant(GRANT.as_bytes()).expect("a lease");
    assert_eq!((id.text().as_str(), time), ("1353509777463445510", Duration::from_secs(2)));
    assert_eq!(keepalive(ALIVE.as_bytes()), Ok(Some(Duration::from_secs(15))));
    assert_eq!(keepalive(EXPIRED.as_bytes()), Ok(None));
    assert_eq!(keepalive(EXPIRED.replace("123\"", "123\",\"TTL\":\"-1\"").as_bytes()), Ok(None));
    let endless = ALIVE.replace("\"15\"", "\"9223372036854775807\"");
    assert_eq!(keepalive(endless.as_bytes()), Ok(Some(LONGEST_LEASE)));
    assert!(matches!(keepalive(STREAM_FAULT.as_bytes()), Err(Cause::Status { status: 503, .. })));
    for text in [r#"{"ID":"1"}"#, r#"{"ID":"0","TTL":"5"}"#, r#"{"ID":"1","TTL":"-5"}"#, "{}"] {
        assert!(matches!(grant(text.as_bytes()), Err(Cause::Malformed(_))), "{text}");
    }
}

#[test]
fn a_watch_says_what_happened_in_order() {
    assert_eq!(watch_line(CREATED.as_bytes()), Ok(Word::Created));
    let Ok(Word::Events(events)) = watch_line(EVENTS.as_bytes()) else { panic!("events") };
    assert_eq!(events.revision, Some(revision(4)), "the last change, not the header's");
    assert!(matches!(&*events.events, [Event::Put(entry), Event::Delete(key)] if entry.key == *key));
    let part = EVENTS.replace("\"events\"", "\"fragment\":true,\"events\"");
    assert!(matches!(watch_line(part.as_bytes()), Ok(Word::Events(Events { revision: None, .. }))));
    let progress = br#"{"result":{"header":{"revision":"7"}}}"#;
    assert_eq!(watch_line(progress), Ok(Word::Progress(revision(7))));
    let unknown = EVENTS.replace("DELETE", "RENAME");
    assert!(matches!(watch_line(unknown.as_bytes()), Err(Cause::Malformed(_))));
}

#[test]
fn a_watch_that_ends_says_why() {
    assert_eq!(watch_line(COMPACTED.as_bytes()), Ok(Word::Compacted));
    let Ok(Word::Over(fault)) = watch_line(STREAM_FAULT.as_bytes()) else { panic!("over") };
    assert_eq!((fault.code, fault.message.as_str()), (14, "etcdserver: no leader"));
    let refused =
        br#"{"result":{"created":true,"canceled":true,"cancel_reason":"etcdserver: permission denied"}}"#;
    let Ok(Word::Over(fault)) = watch_line(refused) else { panic!("over, although created") };
    assert!(matches!(fault.cause(), Cause::Refused { status: 403, .. }));
}

#[test]
fn a_fault_is_told_from_other_text() {
    let found = fault(FAULT.as_bytes()).expect("a fault");
    assert!(found.is_absence() && found.message.contains("lease"), "{found:?}");
    let stream = fault(STREAM_FAULT.as_bytes()).expect("a stream that never began");
    assert_eq!((stream.code, stream.message.as_str()), (14, "etcdserver: no leader"));
    assert_eq!(fault(br#"{"error":{}}"#), None);
    assert_eq!(fault(b"404 page not found\n"), None);
    assert_eq!(fault(b"{}"), None);
}

#[test]
fn an_error_never_repeats_a_token() {
    assert_eq!(token(br#"{"header":{},"token":"hunter2.9"}"#), Ok("hunter2.9".to_owned()));
    for text in [r#"{"token":["hunter2"]}"#, r#""hunter2""#, r#"{"token":hunter2}"#] {
        let error = token(text.as_bytes()).expect_err(text).to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn flipped_and_cut_input_is_an_error_or_another_answer_and_never_a_panic() {
    let parsers: [fn(&[u8]) -> bool; 7] = [
        |bytes| range(bytes).is_ok(),
        |bytes| put(bytes).is_ok(),
        |bytes| grant(bytes).is_ok(),
        |bytes| keepalive(bytes).is_ok(),
        |bytes| watch_line(bytes).is_ok(),
        |bytes| token(bytes).is_ok(),
        |bytes| fault(bytes).is_some(),
    ];
    for text in [RANGE, GRANT, ALIVE, EXPIRED, CREATED, EVENTS, COMPACTED, FAULT, STREAM_FAULT] {
        for (index, byte) in text.bytes().enumerate() {
            for parser in parsers {
                assert!(!parser(&text.as_bytes()[..index]), "half an answer was taken: {:?}", &text[..index]);
                for flip in [0x01, 0x20, 0x80, 0xff] {
                    let mut flipped = text.as_bytes().to_vec();
                    flipped[index] = byte ^ flip;
                    parser(&flipped);
                }
            }
        }
    }
}

#[test]
fn more_than_can_be_judged_is_left_for_the_next_question() {
    let entries = |count: usize| vec![r#"{"key":"YQ=="}"#; count].join(",");
    let page = format!(r#"{{"header":{{"revision":"7"}},"kvs":[{}]}}"#, entries(MAX_ENTRIES + 1));
    let page = range(page.as_bytes()).expect("a page");
    assert_eq!((page.entries.len(), page.more), (MAX_ENTRIES, true));
    let events = |count: usize| {
        let events = vec![r#"{"type":"DELETE","kv":{"key":"YQ==","mod_revision":"8"}}"#; count].join(",");
        watch_line(format!(r#"{{"result":{{"header":{{"revision":"8"}},"events":[{events}]}}}}"#).as_bytes())
    };
    assert!(matches!(events(MAX_ENTRIES), Ok(Word::Events(told)) if told.events.len() == MAX_ENTRIES));
    assert_eq!(events(MAX_ENTRIES + 1), Ok(Word::Compacted), "a listing says it sooner");
}
