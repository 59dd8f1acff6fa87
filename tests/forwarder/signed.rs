//! Signed answers, from which nothing can be taken, and the hints of HTTPS records, which are addresses too.

use crate::client::{Client, addresses};
use crate::{Forwarding, unseen};
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::svcb::{Alpn, IpHint, SVCB, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, HTTPS, NULL};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde_json::json;
use std::net::IpAddr;
use test_support::dns::Reply;

/// Longer than a test: the operator asks for no name again.
const TTL: u32 = 600;

fn record(name: &str, data: RData) -> Record {
    Record::from_rdata(Name::from_ascii(format!("{name}.")).expect("a name"), TTL, data)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Addresses with a signature, which the server gives to those who ask for it.
fn signed(name: &str, all: &[IpAddr]) -> Reply {
    let of = |address: &IpAddr| match address {
        IpAddr::V4(address) => RData::A(A(*address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
    };
    let signature = RData::Unknown { code: RecordType::RRSIG, rdata: NULL::with(vec![7; 60]) };
    Reply::Records(all.iter().map(of).chain([signature]).map(|data| record(name, data)).collect())
}

/// A service with hints of both families.
fn https(name: &str, all: &[IpAddr]) -> Reply {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in all {
        match address {
            IpAddr::V4(address) => v4.push(A(*address)),
            IpAddr::V6(address) => v6.push(AAAA(*address)),
        }
    }
    let parameters = vec![
        (SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(vec!["h2".to_owned()]))),
        (SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(v4))),
        (SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(v6))),
    ];
    Reply::Records(vec![record(name, RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), parameters))))])
}

/// The hints of a reply, and how many other parameters it has.
fn hints(reply: &Message) -> (Vec<IpAddr>, usize) {
    let (mut found, mut others) = (Vec::new(), 0);
    for record in &reply.answers {
        let RData::HTTPS(https) = &record.data else { continue };
        for (_, value) in &https.0.svc_params {
            match value {
                SvcParamValue::Ipv4Hint(hint) => found.extend(hint.0.iter().map(|of| IpAddr::V4(of.0))),
                SvcParamValue::Ipv6Hint(hint) => found.extend(hint.0.iter().map(|of| IpAddr::V6(of.0))),
                _ => others += 1,
            }
        }
    }
    (found, others)
}

/// The reply to a question with DO.
async fn ask_for_signatures(forwarding: &Forwarding, name: &str) -> Message {
    let mut question = Client::question(name, RecordType::A);
    question.edns.as_mut().expect("it has one").set_dnssec_ok(true);
    forwarding.client().send(&question).await.expect("a reply in two seconds")
}

/// A name whose first address is in force, and whose second one is new.
async fn partly_in_force(forwarding: &Forwarding, name: &str) -> [IpAddr; 2] {
    let both = [address("203.0.114.1"), address("203.0.114.2")];
    forwarding.stage.dns.script(name, RecordType::A, signed(name, &both[..1]).into());
    assert_eq!(forwarding.client().resolve(name).await, both[..1]);
    forwarding.stage.dns.script(name, RecordType::A, signed(name, &both).into());
    both
}

fn count(reply: &Message, kind: RecordType) -> usize {
    reply.answers.iter().filter(|record| record.record_type() == kind).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_answer_partly_in_force_waits_whole() {
    let forwarding = Forwarding::start().await;
    let both = partly_in_force(&forwarding, &unseen(0)).await;
    let reply = ask_for_signatures(&forwarding, &unseen(0)).await;
    assert!(forwarding.allows(&both).await, "it waited for the new one");
    assert_eq!(addresses(&reply), both);
    assert_eq!(count(&reply, RecordType::RRSIG), 1, "with its signature: {reply}");
    assert_eq!((forwarding.answered("waited").await, forwarding.answered("cut").await), (2.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_do_the_same_answer_is_cut() {
    let forwarding = Forwarding::start().await;
    let both = partly_in_force(&forwarding, &unseen(0)).await;
    let reply = forwarding.client().ask(&unseen(0), RecordType::A).await;
    assert_eq!(addresses(&reply), both[..1]);
    assert_eq!(count(&reply, RecordType::RRSIG), 0, "nobody asked for it");
    assert_eq!(forwarding.answered("cut").await, 1.0);
}

/// What policies will never allow is not worth a wait, and may not be taken out.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_answer_with_a_refused_address_goes_out_whole() {
    let forwarding = Forwarding::start().await;
    let both = [address("203.0.114.1"), address("10.11.12.13")];
    forwarding.stage.dns.script(&unseen(0), RecordType::A, signed(&unseen(0), &both[..1]).into());
    forwarding.client().resolve(&unseen(0)).await;
    forwarding.stage.dns.script(&unseen(0), RecordType::A, signed(&unseen(0), &both).into());
    let reply = ask_for_signatures(&forwarding, &unseen(0)).await;
    assert_eq!((addresses(&reply), count(&reply, RecordType::RRSIG)), (both.to_vec(), 1));
    assert_eq!(forwarding.answered("barred").await, 1.0);
    assert!(!forwarding.allows(&both[1..]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn hints_of_an_unseen_name_are_allowed_before_its_answer() {
    let forwarding = Forwarding::start().await;
    forwarding.stage.patch("daas", json!({ "ipFamilies": "Dual" })).await;
    forwarding.stage.observed("daas").await;
    let both = [address("203.0.114.1"), address("2603:1030::1")];
    forwarding.stage.dns.script(&unseen(0), RecordType::HTTPS, https(&unseen(0), &both).into());
    let reply = forwarding.client().ask(&unseen(0), RecordType::HTTPS).await;
    assert!(forwarding.allows(&both).await, "before the answer is there");
    assert_eq!(hints(&reply), (both.to_vec(), 1));
    assert_eq!((forwarding.answered("waited").await, forwarding.answered("early").await), (1.0, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hint_not_in_force_is_cut_from_a_rotating_answer() {
    let forwarding = Forwarding::start().await;
    let (dns, client) = (&forwarding.stage.dns, forwarding.client());
    let pool: Vec<IpAddr> = (1..=4).map(|last| IpAddr::from([203, 0, 114, last])).collect();
    dns.script(&unseen(0), RecordType::HTTPS, https(&unseen(0), &pool[..2]).into());
    assert_eq!(hints(&client.ask(&unseen(0), RecordType::HTTPS).await).0, pool[..2]);
    dns.script(&unseen(0), RecordType::HTTPS, https(&unseen(0), &pool[1..3]).into());
    let reply = client.ask(&unseen(0), RecordType::HTTPS).await;
    assert_eq!(hints(&reply), (pool[1..2].to_vec(), 1), "the new one is being applied, the protocol stays");
    assert_eq!(forwarding.answered("cut").await, 1.0);
    let applied = async || forwarding.allows(&pool[2..3]).await.then_some(());
    crate::common::eventually(std::time::Duration::from_secs(5), applied).await.expect("it is applied meanwhile");
}
