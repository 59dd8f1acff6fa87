use super::*;
use crate::clock::Clock;
use crate::facts::ClusterFacts;
use crate::forward::{Exchange, ExchangeError, Forwarded, Forwarder, ForwarderParts, QuestionTransport, Upstream};
use crate::guard::{Guard, GuardSettings};
use crate::names::{Enforcement, Family, Lookup, LookupOutcome, Names, NamesSettings, ObservedPattern};
use crate::resource_ref::{ResourceRef, Waker};
use connectivity_allowlist::net::NamePattern;
use futures::FutureExt as _;
use hickory_proto::op::{DnsResponse, Message, MessageType, Query};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use jiff::Timestamp;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::sync::mpsc;

const HOST: &str = "api.example.com";

fn host() -> DomainName {
    DomainName::parse(HOST).expect("a name")
}

struct Silent;

impl Fetch for Silent {
    fn fetch(&self, _: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        Box::pin(pending())
    }
}

#[test]
fn a_host_is_noted_while_a_request_to_it_is_open() {
    let hosts = OwnHosts::default();
    let noted = NotedFetch { fetch: Arc::new(Silent), hosts: hosts.clone() };
    let request =
        || FetchRequest::new("https://API.example.com:8443/connectivity?customerId=a".to_owned(), "1".to_owned());
    let (mut one, mut other) = (noted.fetch(request()), noted.fetch(request()));
    assert!(!hosts.contains(&host()), "nothing is sent yet");
    assert!((&mut one).now_or_never().is_none() && (&mut other).now_or_never().is_none());
    assert!(hosts.contains(&host()));
    drop(one);
    assert!(hosts.contains(&host()), "the other one is still open");
    drop(other);
    assert!(!hosts.contains(&host()));
}

/// The upstream: every name has one address.
struct Upstreams;

impl Exchange for Upstreams {
    fn exchange(
        &self,
        _: SocketAddr,
        mut question: Message,
        _: QuestionTransport,
    ) -> BoxFuture<'static, Result<DnsResponse, ExchangeError>> {
        Box::pin(async move {
            question.metadata.message_type = MessageType::Response;
            let name = question.queries[0].name().clone();
            question.answers.push(Record::from_rdata(name, 60, RData::A(A(Ipv4Addr::new(20, 60, 0, 1)))));
            DnsResponse::from_message(question).map_err(|_| ExchangeError::Malformed("a reply that cannot be written"))
        })
    }
}

/// The table asks nothing here.
struct NoLookup;

impl Lookup for NoLookup {
    fn ask(&self, _: SocketAddr, _: &DomainName, _: Family) -> BoxFuture<'static, LookupOutcome> {
        Box::pin(pending())
    }
}

/// The vendor's API may lie under a wildcard of the vendor's list.
#[tokio::test(start_paused = true)]
async fn what_the_operator_asks_for_is_neither_held_nor_learned() {
    let (clock, own) = (Clock::simulated(Timestamp::UNIX_EPOCH), OwnHosts::default());
    let guard = Guard::new(GuardSettings::default(), &ClusterFacts::default());
    let waker = Waker::new(mpsc::unbounded_channel().0);
    let names = Names::new(&NamesSettings::new(guard), clock, waker, Arc::new(NoLookup), Arc::new(()));
    let resource = ResourceRef::new("citrix", "daas");
    let pattern = NamePattern::parse("*.example.com").expect("a pattern");
    let zones = [pattern.zone().expect("a zone")].into();
    names.observe(&resource, &[ObservedPattern { pattern, within: vec![], opens: true }].into(), &Arc::new(zones));
    names.enforce(&resource, Enforcement::Begins);
    let forwarder = Forwarder::new(ForwarderParts {
        names: names.clone(),
        upstream: Upstream::new(vec![SocketAddr::from(([192, 0, 2, 1], 53))], Arc::new(Upstreams)),
        settle: Duration::ZERO,
        leads: Box::new(|| Some(1)),
        askers: Box::new(|_, _| Box::pin(async { None })),
        clock,
        own: own.clone(),
        observer: Arc::new(()),
    });
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_ascii(format!("{HOST}.")).expect("a name"), RecordType::A));
    let question = question.to_vec().expect("bytes");
    let ask = || forwarder.answer(&question, IpAddr::from([10, 96, 0, 10]), QuestionTransport::Udp);

    let open = own.open(host());
    let began = clock.instant();
    let answer = ask().await;
    assert_eq!((answer.how, clock.instant()), (Forwarded::Own, began));
    assert!(answer.reply.is_some() && names.learned(&resource).is_empty());

    drop(open);
    assert_eq!(ask().await.how, Forwarded::Early, "a pod's question waits for a policy, and here none comes");
    assert!(names.learned(&resource).contains(&host()));
}
