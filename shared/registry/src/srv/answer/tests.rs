use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, TXT};

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect(text)
}

fn service(priority: u16, weight: u16, port: u16, target: &str) -> Record {
    Record::from_rdata(name("s.example."), 30, RData::SRV(SRV::new(priority, weight, port, name(target))))
}

fn address(of: &str, address: &str) -> Record {
    let data = match address.parse().expect(address) {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Record::from_rdata(name(of), 10, data)
}

fn says(name: &str, text: &[&str]) -> Record {
    Record::from_rdata(
        self::name(name),
        60,
        RData::TXT(TXT::new(text.iter().map(ToString::to_string).collect())),
    )
}

fn alias_of(name: &str, other: &str) -> Record {
    Record::from_rdata(self::name(name), 5, RData::CNAME(CNAME(self::name(other))))
}

fn answer<const COUNT: usize>(records: [Record; COUNT]) -> Answer {
    let mut facts = Facts::default();
    facts.learn(records);
    Answer::new(&name("s.example."), facts)
}

/// As listed, as long as weights are the same.
fn told(mut answer: Answer) -> Told {
    answer.told(&mut |range| *range.start())
}

fn records(answer: Answer) -> Vec<NodeRecord> {
    told(answer).candidates.into_iter().map(|candidate| candidate.record.expect("a record")).collect()
}

fn ids(answer: Answer) -> Vec<String> {
    records(answer).into_iter().map(|record| record.id.to_string()).collect()
}

#[test]
fn consul_spells_addresses_out() {
    for (target, address) in [
        ("c0000201.addr.dc1.consul.", Some("192.0.2.1")),
        ("7F000001.ADDR.dc1.consul.", Some("127.0.0.1")),
        ("20010db8000000000000000000000001.addr.dc1.my.domain.", Some("2001:db8::1")),
        ("c0000201.addr.consul.", None),
        ("c000020.addr.dc1.consul.", None),
        ("c000020g.addr.dc1.consul.", None),
        ("0000_201.addr.dc1.consul.", None),
        ("c0000201.node.dc1.consul.", None),
        ("addr.", None),
    ] {
        assert_eq!(decode_consul(&name(target)), address.map(|text| text.parse().unwrap()), "{target}");
    }
}

#[test]
fn additional_records_save_lookups() {
    let mut answer = answer([
        service(10, 5, 7443, "N1.example."),
        service(20, 0, 7444, "n2.example."),
        service(10, 5, 7445, "7f000001.addr.dc1.consul."),
        service(30, 0, 7446, "localhost."),
        address("n1.example.", "10.0.0.1"),
        address("n1.example.", "fd00::1"),
        says("n1.example.", &["cbrowse=1", "region=eu"]),
        says("s.example.", &["cbrowse=1"]),
    ]);
    let open = [RecordType::A, RecordType::AAAA, RecordType::TXT].map(|kind| (name("n2.example."), kind));
    assert_eq!(answer.open_questions(), open, "nothing about the others");
    answer.unresolved.insert(name("n2.example."), "there is no such name".into());
    let Told { candidates, time_to_live } = told(answer);
    assert_eq!(time_to_live, Duration::from_secs(10), "that of the addresses");
    let first = candidates[0].record.as_ref().unwrap();
    assert_eq!((first.id.as_str(), first.address.as_str(), first.weight), ("10.0.0.1:7443", "10.0.0.1", 5));
    assert_eq!((first.meta[PRIORITY_KEY].as_str(), first.region.as_str()), ("10", "eu"));
    assert_eq!(
        (first.meta[TARGET_KEY].as_str(), first.meta[ADDRESSES_KEY].as_str()),
        ("n1.example", "fd00::1")
    );
    assert_eq!(candidates[1].record.as_ref().unwrap().id.as_str(), "127.0.0.1:7445");
    assert_eq!(candidates[2].record, Err("its target has no address (there is no such name)".into()));
    let local = candidates[3].record.as_ref().unwrap();
    assert_eq!((local.address.as_str(), local.meta[ADDRESSES_KEY].as_str()), ("127.0.0.1", "::1"));
}

#[test]
fn priorities_and_weights_order_the_candidates() {
    let answer = answer([
        service(20, 9, 1, "7f000001.addr.dc1.consul."),
        service(10, 0, 2, "7f000001.addr.dc1.consul."),
        service(10, 9, 3, "7f000001.addr.dc1.consul."),
    ]);
    assert_eq!(
        ids(answer),
        ["127.0.0.1:2", "127.0.0.1:3", "127.0.0.1:1"],
        "a draw of 0 finds the weight of 0"
    );
}

#[test]
fn a_weight_of_zero_is_no_refusal() {
    let answer = answer([service(1, 0, 1, "7f000001.addr.dc1.consul.")]);
    assert_eq!(records(answer)[0].weight, 1);
}

#[test]
fn an_ipv6_node_is_named_in_brackets() {
    let answer = answer([service(1, 1, 7443, "n.example."), address("n.example.", "2001:db8::1")]);
    let record = &records(answer)[0];
    assert_eq!((record.id.as_str(), record.endpoint()), ("[2001:db8::1]:7443", record.id.to_string()));
}

#[test]
fn a_node_keeps_its_name_when_a_server_turns_its_addresses_round() {
    let addresses = ["2001:db8::1", "10.0.0.2", "10.0.0.1"].map(|text| address("n.example.", text));
    let turned = |by: usize| {
        let mut addresses = addresses.clone();
        addresses.rotate_left(by);
        let [a, b, c] = addresses;
        records(answer([service(1, 1, 7443, "n.example."), a, b, c]))
    };
    assert_eq!(turned(0)[0].id.as_str(), "10.0.0.1:7443");
    assert_eq!(turned(0)[0].meta[ADDRESSES_KEY], "10.0.0.2 2001:db8::1");
    assert!(turned(0) == turned(1) && turned(1) == turned(2));
}

#[test]
fn the_root_as_target_means_not_available() {
    let answer = answer([service(0, 0, 0, ".")]);
    assert!(answer.unavailable && answer.services.is_empty());
}

#[test]
fn aliases_are_followed_and_their_time_counts() {
    let records = [
        alias_of("s.example.", "real.example."),
        Record::from_rdata(name("real.example."), 30, RData::SRV(SRV::new(1, 1, 7443, name("n.example.")))),
        alias_of("n.example.", "host.example."),
        address("host.example.", "10.0.0.1"),
        says("host.example.", &["cbrowse=1", "id=n1"]),
    ];
    let told = told(answer(records));
    assert_eq!(told.candidates[0].record.as_ref().unwrap().id.as_str(), "n1");
    assert_eq!(told.time_to_live, Duration::from_secs(5));
}

#[test]
fn aliases_in_a_circle_end() {
    let answer = answer([
        service(1, 1, 7443, "a.example."),
        alias_of("a.example.", "b.example."),
        alias_of("b.example.", "a.example."),
    ]);
    assert!(answer.open_questions().len() >= 2);
    assert!(told(answer).candidates[0].record.is_err());
}

#[test]
fn records_of_other_names_change_nothing() {
    let answer = answer([
        service(1, 1, 7443, "n.example."),
        Record::from_rdata(name("other.example."), 1, RData::SRV(SRV::new(0, 1, 1, name("n.example.")))),
        address("n.example.", "10.0.0.1"),
        address("other.example.", "10.0.0.9"),
        says("other.example.", &["cbrowse=1", "id=x"]),
        says("n.example.", &["v=spf1 -all"]),
    ]);
    let told = told(answer);
    assert_eq!((told.candidates.len(), told.time_to_live), (1, Duration::from_secs(10)));
    assert_eq!(told.candidates[0].record.as_ref().unwrap().id.as_str(), "10.0.0.1:7443");
}

#[test]
fn only_so_many_targets_are_asked_about() {
    for (targets, asked) in
        [(MOST_TARGETS - 1, MOST_TARGETS - 1), (MOST_TARGETS, MOST_TARGETS), (MOST_TARGETS + 1, MOST_TARGETS)]
    {
        let mut facts = Facts::default();
        facts.learn((0..targets).map(|index| service(1, 1, 7443, &format!("n{index}.example."))));
        let questions = Answer::new(&name("s.example."), facts).open_questions();
        assert_eq!(questions.len(), 1 + 3 * asked, "{targets}");
    }
}

#[test]
fn what_is_said_of_many_ports_of_one_host_is_bounded() {
    let pairs: Vec<String> = (0..4000).map(|count| format!("k{count}=v")).collect();
    let strings: Vec<&str> = std::iter::once("cbrowse=1").chain(pairs.iter().map(String::as_str)).collect();
    let long = ["cbrowse=1", &format!("rack={}", "x".repeat(250))];
    for (strings, reason) in [(&strings[..], "more than 80 pairs"), (&long, "")] {
        let mut facts = Facts::default();
        facts.learn([
            address("a.example.", "192.0.2.1"),
            says("a.example.", strings),
            says("s.example.", strings),
        ]);
        facts.learn((1..=2000).map(|port| service(1, 1, port, "a.example.")));
        let told = told(Answer::new(&name("s.example."), facts));
        assert_eq!(told.candidates.len(), 2000);
        for candidate in told.candidates {
            match candidate.record {
                Ok(record) => assert_eq!((reason, record.meta["rack"].len()), ("", 250)),
                Err(error) => assert!(!reason.is_empty() && error.contains(reason), "{error}"),
            }
        }
    }
}
