use super::*;
use hickory_proto::op::MessageType;
use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, SOA};
use proptest::prelude::*;
use std::net::Ipv4Addr;

fn wire(text: &str) -> Name {
    absolute(&DomainName::parse(text).expect("a name")).expect("fits the wire")
}

fn a(owner: &str, last: u8, ttl: u32) -> Record {
    Record::from_rdata(wire(owner), ttl, RData::A(A(Ipv4Addr::new(20, 60, 0, last))))
}

fn aaaa(owner: &str, ttl: u32) -> Record {
    Record::from_rdata(wire(owner), ttl, RData::AAAA(AAAA("2603:1030::1".parse().expect("an address"))))
}

fn cname(owner: &str, target: &str, ttl: u32) -> Record {
    Record::from_rdata(wire(owner), ttl, RData::CNAME(CNAME(wire(target))))
}

fn soa(ttl: u32, minimum: u32) -> Record {
    let host = wire("ns.example.com");
    Record::from_rdata(wire("example.com"), ttl, RData::SOA(SOA::new(host.clone(), host, 1, 2, 3, 4, minimum)))
}

fn reply(answers: Vec<Record>, authorities: Vec<Record>) -> Message {
    let mut message = Message::new(1, MessageType::Response, OpCode::Query);
    message.answers = answers;
    message.authorities = authorities;
    message
}

fn v4(message: &Message) -> LookupOutcome {
    read(message, &wire("host.example.com"), Family::V4)
}

fn found(lasts: &[u8], ttl: u64) -> LookupOutcome {
    let addresses = lasts.iter().map(|last| IpAddr::V4(Ipv4Addr::new(20, 60, 0, *last))).collect();
    Ok(Answer::Addresses { addresses, ttl: Duration::from_secs(ttl) })
}

fn nothing(nxdomain: bool, ttl: Option<u64>) -> LookupOutcome {
    Ok(Answer::Absent { nxdomain, ttl: ttl.map(Duration::from_secs) })
}

#[test]
fn addresses_of_the_asked_family_with_the_least_ttl() {
    let message =
        reply(vec![a("HOST.example.com", 1, 60), aaaa("host.example.com", 5), a("host.example.com", 2, 30)], vec![]);
    assert_eq!(v4(&message), found(&[1, 2], 30));
    let v6 = read(&message, &wire("host.example.com"), Family::V6);
    assert!(matches!(v6, Ok(Answer::Addresses { addresses, .. }) if addresses.len() == 1));
    assert_eq!(v4(&reply(vec![a("host.example.com", 1, 0)], vec![])), found(&[1], 0), "TTL 0 is legal");
}

/// A message of opcode 15 was read as an answer.
#[test]
fn only_a_reply_to_a_query_is_an_answer() {
    let mut message = reply(vec![a("host.example.com", 1, 60)], vec![]);
    for code in [OpCode::Status, OpCode::Notify, OpCode::Update, OpCode::Unknown(15)] {
        message.metadata.op_code = code;
        assert!(matches!(v4(&message), Err(Failure::Malformed(_))), "{code:?}");
    }
}

#[test]
fn a_chain_counts_in_any_order_and_owners_outside_are_ignored() {
    let mut records = vec![
        a("c.example.net", 1, 300),
        cname("b.example.net", "C.example.net", 7),
        cname("host.example.com", "b.example.net", 60),
        a("evil.example.net", 66, 1),
        cname("evil.example.net", "worse.example.net", 1),
        a("worse.example.net", 67, 1),
    ];
    assert_eq!(v4(&reply(records.clone(), vec![])), found(&[1], 7));
    records.reverse();
    assert_eq!(v4(&reply(records, vec![])), found(&[1], 7));
    assert_eq!(v4(&reply(vec![a("evil.example.net", 66, 60)], vec![soa(30, 20)])), nothing(false, Some(20)));
}

/// The names of a chain, from the queried one.
fn node(n: usize) -> String {
    if n == 0 { "host.example.com".to_owned() } else { format!("n{n}.example.net") }
}

#[test]
fn loops_and_endless_chains_are_failures() {
    let circle = vec![cname("host.example.com", "b.example.net", 60), cname("b.example.net", "host.example.com", 60)];
    assert_eq!(v4(&reply(circle, vec![])), Err(Failure::Malformed("a loop of CNAMEs")));
    let itself = vec![cname("host.example.com", "host.example.com", 60), a("host.example.com", 1, 60)];
    assert_eq!(v4(&reply(itself, vec![])), Err(Failure::Malformed("a loop of CNAMEs")));
    let chain = |length: usize| {
        let mut records: Vec<Record> = (0..length).map(|n| cname(&node(n), &node(n + 1), 60)).collect();
        records.push(a(&node(length), 1, 60));
        v4(&reply(records, vec![]))
    };
    assert_eq!(chain(LONGEST_CHAIN), found(&[1], 60));
    assert_eq!(chain(LONGEST_CHAIN + 1), Err(Failure::Malformed("a chain of more than 16 CNAMEs")));
}

#[test]
fn absence_lasts_for_the_soa_minimum_at_most() {
    let mut message = reply(vec![], vec![soa(300, 20)]);
    assert_eq!(v4(&message), nothing(false, Some(20)));
    message.authorities = vec![soa(10, 20)];
    message.metadata.response_code = ResponseCode::NXDomain;
    assert_eq!(v4(&message), nothing(true, Some(10)));
    message.answers = vec![cname("host.example.com", "b.example.net", 3)];
    assert_eq!(v4(&message), nothing(true, Some(3)));
    assert_eq!(v4(&reply(vec![], vec![])), nothing(false, None));
}

#[test]
fn a_reply_without_information_is_a_failure() {
    let ns = Record::from_rdata(wire("example.com"), 60, RData::NS(NS(wire("ns.example.com"))));
    assert!(v4(&reply(vec![], vec![ns.clone()])).is_err(), "a referral");
    assert_eq!(v4(&reply(vec![], vec![ns, soa(60, 60)])), nothing(false, Some(60)));
    let mut message = reply(vec![a("host.example.com", 1, 60)], vec![]);
    message.metadata.truncation = true;
    assert!(v4(&message).is_err(), "a truncated answer is not an answer");
    message.metadata.truncation = false;
    for (code, label) in [(ResponseCode::ServFail, "SERVFAIL"), (ResponseCode::Refused, "REFUSED")] {
        message.metadata.response_code = code;
        assert_eq!(v4(&message), Err(Failure::Code(label.into())));
    }
    message.metadata.response_code = ResponseCode::Unknown(4095);
    assert!(v4(&message).is_err());
}

proptest! {
    /// Any records in any order: no crash, and addresses only of names that the CNAMEs lead to.
    #[test]
    fn only_names_of_the_chain_speak(
        links in prop::collection::vec((0usize..6, 0usize..6), 0..8),
        owners in prop::collection::vec(0usize..6, 0..8),
    ) {
        let mut records: Vec<Record> = links.iter().map(|(from, to)| cname(&node(*from), &node(*to), 9)).collect();
        records.extend(owners.iter().map(|owner| a(&node(*owner), *owner as u8, 30)));
        let mut reachable = BTreeSet::from([0]);
        for _ in 0..links.len() {
            reachable.extend(links.iter().filter(|(from, _)| reachable.contains(from)).map(|(_, to)| *to).collect::<Vec<_>>());
        }
        if let Ok(Answer::Addresses { addresses, ttl }) = v4(&reply(records, vec![])) {
            prop_assert!(ttl <= Duration::from_secs(30));
            for address in addresses {
                let IpAddr::V4(address) = address else { return Err(TestCaseError::fail("not asked for")) };
                prop_assert!(reachable.contains(&usize::from(address.octets()[3])));
            }
        }
    }
}
