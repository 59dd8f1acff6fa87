//! What comes to the forwarder: a question as the cluster's DNS sends it, and an upstream's reply to one. Each input is read as both.

use citrix_allowlist::forward::{ForwardedQuestion, reply};
use citrix_allowlist::names::answer::{Answer, Family};
use connectivity_allowlist::net::DomainName;
use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::EdnsCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 53);
/// The option that says who asked.
const CLIENT: EdnsCode = EdnsCode::Unknown(0xffee);
/// Bytes of a header.
const HEADER: usize = 12;

/// Reads an input as a question and as a reply.
pub fn judge(input: &[u8]) {
    check_question(input);
    check_reply(input);
}

fn check_question(input: &[u8]) {
    let question = match ForwardedQuestion::read(input) {
        Ok(question) => question,
        Err(Some(refusal)) => {
            let refusal = Message::from_vec(&refusal).expect("a refusal can be read");
            assert_eq!(refusal.metadata.message_type, MessageType::Response);
            assert_eq!(refusal.metadata.id.to_be_bytes(), input[..2]);
            return;
        }
        Err(None) => {
            assert!(input.len() < HEADER || input[2] & 0x80 != 0, "a question gets a reply");
            return;
        }
    };
    let edns = question.message.edns.as_ref();
    assert!(edns.is_none_or(|edns| edns.options().get(CLIENT).is_none()), "who asked goes no further");
    if let Ok(written) = question.message.to_vec() {
        let again = ForwardedQuestion::read(&written).expect("what is asked of the upstream is a question");
        assert!(again.name == question.name && again.spelled.eq_case(&question.spelled));
        assert_eq!((again.kind, again.wants_signatures), (question.kind, question.wants_signatures));
        assert_eq!(again.client, None);
    }
    for own in [question.refuse(ResponseCode::Refused), question.answer_with_text("citrix-allowlist")] {
        assert_eq!((&own[..2], own[2] & 0x80), (&input[..2], 0x80), "a reply to this question");
        let own = Message::from_vec(&own).expect("a reply can be read");
        assert!(own.queries.first().is_some_and(|asked| asked.name().eq_case(&question.spelled)));
    }
    if let Some((label, zone)) = question.probe() {
        assert!(label.len() < 64 && question.spelled.base_name().to_ascii().to_lowercase().starts_with(zone.as_str()));
    }
    for length in [0, 1, HEADER, input.len()] {
        let reply = input[..length.min(input.len())].to_vec();
        assert_eq!(question.answer_with(reply.clone()).len(), reply.len(), "whatever an upstream sends");
    }
}

fn check_reply(input: &[u8]) {
    let Ok(message) = Message::from_vec(input) else { return };
    let asked = message.queries.first().and_then(|query| DomainName::parse(&query.name().to_ascii()).ok());
    let name = asked.unwrap_or_else(|| DomainName::parse("host.example.com").expect("a name"));
    let all = reply::addresses(&message);
    let kinds = [RecordType::A, RecordType::AAAA, RecordType::ANY, RecordType::HTTPS, RecordType::TXT];
    for (kind, wants_signatures) in kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        let question = question(&name, kind, wants_signatures);
        assert!(wants_signatures || !reply::is_signed(&question, &message));
        for heard in reply::heard(&question, &name, &message, SERVER) {
            let Answer::Addresses { addresses, .. } = heard.answer else { panic!("only addresses are heard") };
            assert!(!addresses.is_empty() && addresses.is_subset(&all));
            assert!(addresses.iter().all(|address| Family::of(*address) == heard.family));
            assert!(addresses.is_subset(&of_chain(&name, &message)), "only the chain of the asked name speaks");
        }
    }
    let given: BTreeSet<IpAddr> = all.iter().copied().step_by(2).collect();
    let others = |message: &Message| message.answers.iter().filter(|record| !is_address(record)).count();
    let before = others(&message);
    let cut = reply::cut(message.clone(), &given);
    check_cut(&cut, &given);
    assert_eq!((others(&cut), cut.authorities.len()), (before, message.authorities.len()), "nothing else is cut");
    if let Ok(written) = cut.to_vec() {
        let again = Message::from_vec(&written).expect("what was written can be read");
        if !again.metadata.truncation {
            check_cut(&again, &given);
        }
    }
    let emptied = reply::emptied(message);
    assert!(reply::addresses(&emptied).is_empty() && !reply::has_additional_addresses(&emptied));
}

fn check_cut(cut: &Message, given: &BTreeSet<IpAddr>) {
    assert_eq!(reply::addresses(cut), *given, "what is in force is given, and nothing else");
    assert!(in_records(cut.additionals.iter()).is_subset(given));
}

fn question(name: &DomainName, kind: RecordType, wants_signatures: bool) -> ForwardedQuestion {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name.as_str()).expect("a name"), kind));
    let mut edns = Edns::new();
    edns.set_dnssec_ok(wants_signatures);
    message.set_edns(edns);
    ForwardedQuestion::read(&message.to_vec().expect("bytes")).expect("a question")
}

fn is_address(record: &Record) -> bool {
    matches!(record.data, RData::A(_) | RData::AAAA(_))
}

/// The addresses of every record whose owner CNAMEs lead to from a name.
fn of_chain(name: &DomainName, message: &Message) -> BTreeSet<IpAddr> {
    let mut first = Name::from_ascii(name.as_str()).expect("a name");
    first.set_fqdn(true);
    let (mut owners, mut at) = (vec![first], 0);
    while let Some(owner) = owners.get(at).cloned() {
        at += 1;
        for record in message.answers.iter().filter(|record| record.name == owner) {
            if let RData::CNAME(target) = &record.data
                && !owners.contains(&target.0)
            {
                owners.push(target.0.clone());
            }
        }
    }
    in_records(message.answers.iter().filter(|record| owners.contains(&record.name)))
}

fn in_records<'a>(records: impl Iterator<Item = &'a Record>) -> BTreeSet<IpAddr> {
    let mut message = Message::query();
    message.answers = records.cloned().collect();
    reply::addresses(&message)
}
