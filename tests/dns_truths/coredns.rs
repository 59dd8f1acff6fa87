//! The real CoreDNS, as pods have it: a cache in front of others that drop, delay and truncate what they answer.

use crate::common::{Stage, holds};
use crate::{NAME, POLICY, applied, eager_without_server, holds_all, stage, start};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use test_support::coredns::CoreDns;
use test_support::cyclonus::{self, CasePeer, CaseProtocol, Traffic};
use test_support::fixture;
use tokio::net::UdpSocket;

/// What CoreDNS's `erratic` says of every name.
const ERRATIC: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 53));
/// How many addresses the name has, how many of them are answered at a time, and for how long.
const POOL: usize = 16;
const WIDTH: usize = 4;
const STEP: Duration = Duration::from_secs(2);

/// How long the rotation is watched: two minutes in a soak, else enough for twice round.
fn watched_for() -> Duration {
    let soak = std::env::var_os("CITRIX_ALLOWLIST_SOAK").is_some_and(|value| !value.is_empty());
    Duration::from_secs(if soak { 120 } else { 20 })
}

fn zone(serial: usize, pool: &[IpAddr]) -> String {
    let records = fixture::rotation(pool, WIDTH, serial).into_iter().map(|address| format!("truth 1 IN A {address}\n"));
    let steady = fixture::address_for(crate::STEADY).into_iter().filter(IpAddr::is_ipv4);
    let steady = steady.map(|address| format!("steady 5 IN A {address}\n"));
    format!(
        "$ORIGIN example.com.\n@ 60 IN SOA ns.example.com. host.example.com. {} 60 60 600 5\n@ 60 IN NS ns\n{}{}",
        serial + 1,
        records.collect::<String>(),
        steady.collect::<String>()
    )
}

/// Asks as a pod's resolver does; nothing where the answer is lost, truncated or a failure.
async fn ask(server: SocketAddr) -> Vec<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket");
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_ascii(NAME).expect("a name"), RecordType::A));
    socket.send_to(&question.to_vec().expect("bytes"), server).await.expect("sent");
    let mut buffer = [0; 1500];
    let received = tokio::time::timeout(Duration::from_millis(500), socket.recv(&mut buffer)).await;
    let Ok(Ok(length)) = received else { return Vec::new() };
    let answer = Message::from_vec(&buffer[..length]).expect("an answer");
    let address = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        _ => None,
    };
    answer.answers.iter().filter_map(|record| address(&record.data)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erratic_coredns_gives_no_client_a_refused_address() {
    let stage: Stage = stage().await;
    let pool = fixture::pool(NAME, POOL);
    let file = ".:{port} {\n bind {address}\n file {zones}/example.db example.com {\n reload 200ms\n }\n}\n";
    let rotating = CoreDns::start(file, &[("example.db", &zone(0, &pool))]).await.expect("CoreDNS");
    // Of three questions it drops one, and holds up or truncates others.
    let erratic = ".:{port} {\n bind {address}\n erratic {\n drop 3\n delay 4 150ms\n truncate 5\n }\n}\n";
    let erratic = CoreDns::start(erratic, &[]).await.expect("CoreDNS");
    let front = format!(
        ".:{{port}} {{\n bind {{address}}\n cache {{\n success 1000 1 1\n denial 1000 1 1\n servfail 1s\n }}\n \
         forward . {} {} {{\n policy round_robin\n max_fails 0\n }}\n}}\n",
        rotating.address(),
        erratic.address()
    );
    let front = CoreDns::start(&front, &[]).await.expect("CoreDNS");
    let config =
        eager_without_server(&stage).flag("dns-server", front.address()).flag("allow-private-cidr", "192.0.2.0/24");
    let operator = start(&config).await;
    let policies = applied(&stage).await;

    let writer = tokio::spawn({
        let pool = pool.clone();
        async move {
            for serial in 1.. {
                tokio::time::sleep(STEP).await;
                rotating.write_zone("example.db", &zone(serial, &pool)).expect("a zone");
            }
        }
    });
    // A pod may be given a new address a moment before the operator is: nothing can know it earlier. From then on, for as
    // long as a client may cache it, it is allowed.
    let every: Vec<IpAddr> = pool.iter().copied().chain([ERRATIC]).collect();
    policies.until("every address has been seen", |now| holds_all(now, &every)).await;

    let (started, begun) = (Instant::now(), policies.now()[POLICY].clone());
    let (mut answered, mut lost, mut refused) = (BTreeSet::new(), 0, Vec::new());
    while started.elapsed() < watched_for() {
        let answer = ask(front.address()).await;
        lost += usize::from(answer.is_empty());
        let policy = policies.now()[POLICY].clone();
        refused.extend(answer.iter().copied().filter(|address| !holds(&policy, *address)));
        answered.extend(answer);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    writer.abort();
    assert!(refused.is_empty(), "{refused:?}: {}", operator.log());
    assert_eq!(answered, every.into_iter().collect(), "the whole rotation was answered, and what is erratic too");
    assert!(lost > 0, "some answers were lost on the way");
    // And in the opinion of an outside judge, of every version of the policy in between.
    let pod = CasePeer::pod(stage.namespace.name(), []);
    let traffic: Vec<Traffic> =
        answered.iter().map(|address| Traffic::new(pod.clone(), *address, 443, CaseProtocol::Tcp)).collect();
    let versions = policies.since(started).into_iter().map(|now| now[POLICY].clone());
    for version in versions.chain([begun]) {
        let verdicts = cyclonus::judge(&[version], &traffic).await.expect("verdicts");
        assert!(verdicts.iter().all(|verdict| verdict.is_allowed()));
    }
}
