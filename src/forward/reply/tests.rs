use super::*;
use hickory_proto::op::{Edns, MessageType, OpCode, Query};
use hickory_proto::rr::Name;
use hickory_proto::rr::rdata::svcb::{Alpn, IpHint, Mandatory};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, NULL, TXT};
use std::net::Ipv4Addr;

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 53);

fn wire(text: &str) -> Name {
    absolute(&DomainName::parse(text).expect("a name")).expect("fits the wire")
}

fn v4(last: u8) -> IpAddr {
    IpAddr::from([20, 60, 0, last])
}

fn v6(last: u16) -> IpAddr {
    IpAddr::from([0x2603, 0x1030, 0, 0, 0, 0, 0, last])
}

fn address(owner: &str, address: IpAddr, ttl: u32) -> Record {
    let data = match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    };
    Record::from_rdata(wire(owner), ttl, data)
}

fn cname(owner: &str, target: &str, ttl: u32) -> Record {
    Record::from_rdata(wire(owner), ttl, RData::CNAME(CNAME(wire(target))))
}

fn rrsig(owner: &str) -> Record {
    let data = RData::Unknown { code: RecordType::RRSIG, rdata: NULL::with(vec![7; 40]) };
    Record::from_rdata(wire(owner), 60, data)
}

/// The parameters that every service here has: a protocol, and hints where there are some.
fn parameters(hints: &[IpAddr]) -> Vec<(SvcParamKey, SvcParamValue)> {
    let (mut of_v4, mut of_v6) = (Vec::new(), Vec::new());
    for hint in hints {
        match hint {
            IpAddr::V4(address) => of_v4.push(A(*address)),
            IpAddr::V6(address) => of_v6.push(AAAA(*address)),
        }
    }
    let mut all = vec![(SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(vec!["h2".to_owned()])))];
    all.extend((!of_v4.is_empty()).then_some((SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(of_v4)))));
    all.extend((!of_v6.is_empty()).then_some((SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(of_v6)))));
    all
}

/// A record of a service at its own name.
fn https(owner: &str, hints: &[IpAddr], ttl: u32) -> Record {
    let svcb = SVCB::new(1, Name::root(), parameters(hints));
    Record::from_rdata(wire(owner), ttl, RData::HTTPS(HTTPS(svcb)))
}

fn reply(answers: Vec<Record>) -> Message {
    let mut message = Message::new(1, MessageType::Response, OpCode::Query);
    message.answers = answers;
    message
}

/// A question for `host.example.com`, with DO or without.
fn question(kind: RecordType, wants_signatures: bool) -> ForwardedQuestion {
    let mut message = Message::query();
    message.add_query(Query::query(wire("host.example.com"), kind));
    let mut edns = Edns::new();
    edns.set_dnssec_ok(wants_signatures);
    message.set_edns(edns);
    ForwardedQuestion::read(&message.to_vec().expect("bytes")).expect("a question")
}

/// What a reply says of `host.example.com`: addresses, and for how many seconds, by family.
fn said(kind: RecordType, answers: Vec<Record>) -> Vec<(Family, Vec<IpAddr>, u64)> {
    let name = DomainName::parse("host.example.com").expect("a name");
    let heard = heard(&question(kind, false), &name, &reply(answers), SERVER);
    let of = |heard: HeardAnswer| match heard.answer {
        Answer::Addresses { addresses, ttl } => (heard.family, addresses.into_iter().collect(), ttl.as_secs()),
        Answer::Absent { .. } => panic!("only addresses are heard"),
    };
    heard.into_iter().map(of).collect()
}

#[test]
fn only_the_chain_of_the_asked_name_is_heard() {
    let answers = vec![
        cname("host.example.com", "edge.example.net", 20),
        address("edge.example.net", v4(1), 60),
        // What an upstream could poison with: names that nobody asked for.
        address("other.example.com", v4(2), 60),
        cname("more.example.com", "evil.example.org", 60),
        address("evil.example.org", v4(3), 60),
    ];
    assert_eq!(said(RecordType::A, answers.clone()), [(Family::V4, vec![v4(1)], 20)]);
    let all: Vec<IpAddr> = addresses(&reply(answers)).into_iter().collect();
    assert_eq!(all, [v4(1), v4(2), v4(3)], "each has to be in force before it is given");
}

#[test]
fn only_records_of_the_asked_kind_are_heard() {
    let answers = vec![address("host.example.com", v4(1), 60), address("host.example.com", v6(1), 30)];
    assert_eq!(said(RecordType::A, answers.clone()), [(Family::V4, vec![v4(1)], 60)]);
    assert_eq!(said(RecordType::AAAA, answers.clone()), [(Family::V6, vec![v6(1)], 30)]);
    let both = [(Family::V4, vec![v4(1)], 60), (Family::V6, vec![v6(1)], 30)];
    assert_eq!(said(RecordType::ANY, answers.clone()), both);
    assert_eq!(said(RecordType::TXT, answers), []);
    assert_eq!(said(RecordType::A, vec![]), [], "that a name has no address is not heard");
}

#[test]
fn hints_of_the_chain_alone_are_heard() {
    let answers = vec![
        cname("host.example.com", "edge.example.net", 20),
        https("edge.example.net", &[v4(1), v6(1)], 60),
        https("other.example.com", &[v4(2), v6(2)], 60),
        // Not what was asked for.
        address("edge.example.net", v4(3), 60),
    ];
    let both = [(Family::V4, vec![v4(1)], 20), (Family::V6, vec![v6(1)], 20)];
    assert_eq!(said(RecordType::HTTPS, answers.clone()), both);
    assert_eq!(said(RecordType::SVCB, answers), both);
    assert_eq!(said(RecordType::HTTPS, vec![https("host.example.com", &[], 60)]), []);
}

#[test]
fn hints_are_cut_and_other_parameters_stay() {
    let before = vec![https("host.example.com", &[v4(1), v4(2), v6(1)], 60)];
    assert_eq!(addresses(&reply(before.clone())), BTreeSet::from([v4(1), v4(2), v6(1)]));
    let cut_to = |given: &[IpAddr]| cut(reply(before.clone()), &given.iter().copied().collect()).answers;
    assert_eq!(cut_to(&[v4(2), v6(1)]), [https("host.example.com", &[v4(2), v6(1)], 60)]);
    assert_eq!(cut_to(&[v4(1)]), [https("host.example.com", &[v4(1)], 60)], "a hint without addresses is left out");
    assert_eq!(cut_to(&[]), [https("host.example.com", &[], 60)]);
}

/// Clients ignore a record that names a parameter as mandatory and does not have it.
#[test]
fn a_hint_that_is_left_out_is_not_mandatory_any_more() {
    let record = |mandatory: &[SvcParamKey], hints: &[IpAddr]| {
        let mut all = parameters(hints);
        let value = SvcParamValue::Mandatory(Mandatory(mandatory.to_vec()));
        all.extend((!mandatory.is_empty()).then_some((SvcParamKey::Mandatory, value)));
        all.rotate_right(usize::from(!mandatory.is_empty()));
        Record::from_rdata(wire("host.example.com"), 60, RData::SVCB(SVCB::new(1, Name::root(), all)))
    };
    let cut_to = |before: Record, given: IpAddr| cut(reply(vec![before]), &BTreeSet::from([given])).answers;
    let hints = [SvcParamKey::Ipv4Hint, SvcParamKey::Ipv6Hint];
    assert_eq!(cut_to(record(&hints, &[v4(1), v6(1)]), v6(1)), [record(&hints[1..], &[v6(1)])]);
    assert_eq!(cut_to(record(&hints[..1], &[v4(1)]), v6(1)), [record(&[], &[])]);
    let of_both = [SvcParamKey::Alpn, SvcParamKey::Ipv4Hint];
    assert_eq!(cut_to(record(&of_both, &[v4(1), v4(2)]), v4(1)), [record(&of_both, &[v4(1)])]);
}

#[test]
fn a_cut_reply_keeps_all_but_addresses_not_given() {
    let text = Record::from_rdata(wire("host.example.com"), 60, RData::TXT(TXT::new(vec!["text".to_owned()])));
    let mut before = reply(vec![
        cname("host.example.com", "edge.example.net", 20),
        address("edge.example.net", v4(1), 60),
        address("edge.example.net", v4(2), 60),
        text.clone(),
    ]);
    before.metadata.authentic_data = true;
    before.authorities = vec![text.clone()];
    before.additionals = vec![
        address("ns.example.net", v4(1), 60),
        address("ns.example.net", v6(1), 60),
        https("ns.example.net", &[v4(2)], 60),
        text.clone(),
    ];
    assert!(has_additional_addresses(&before));
    let mut after = before.clone();
    after.metadata.authentic_data = false;
    after.answers.remove(2);
    after.additionals = vec![address("ns.example.net", v4(1), 60), https("ns.example.net", &[], 60), text];
    assert_eq!(cut(before, &BTreeSet::from([v4(1)])), after);
    let none = cut(after, &BTreeSet::new());
    assert!(!has_additional_addresses(&none) && addresses(&none).is_empty());
}

#[test]
fn signed_is_what_was_asked_for_with_do_and_has_a_signature() {
    let signed = reply(vec![address("host.example.com", v4(1), 60), rrsig("host.example.com")]);
    let unsigned = reply(vec![address("host.example.com", v4(1), 60)]);
    assert!(is_signed(&question(RecordType::A, true), &signed));
    assert!(!is_signed(&question(RecordType::A, true), &unsigned), "most zones are not signed");
    assert!(!is_signed(&question(RecordType::A, false), &signed), "nobody checks it");
    let read = Message::from_vec(&signed.to_vec().expect("bytes")).expect("a reply");
    assert!(is_signed(&question(RecordType::A, true), &read), "as it comes from the wire");
}

#[test]
fn an_emptied_reply_has_no_record() {
    let mut before = reply(vec![address("host.example.com", v4(1), 60)]);
    before.authorities = vec![cname("host.example.com", "edge.example.net", 20)];
    before.additionals = vec![address("ns.example.net", v4(1), 60)];
    let after = emptied(before);
    assert!(after.answers.is_empty() && after.authorities.is_empty() && after.additionals.is_empty());
}
