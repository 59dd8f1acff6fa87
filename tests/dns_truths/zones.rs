//! One zone for each truth, played by the scriptable server.

use crate::common::watched::{Objects, PATIENCE, generations};
use crate::common::{Stage, cidrs, holds};
use crate::{NAME, POLICY, STEADY, applied, eager, eager_without_server, holds_all, stage, start};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use test_support::dns::{Behaviour, DnsServer, DnsTransport, RecordType, Reply, Truncation};
use test_support::fixture;

/// The addresses that a policy allows beyond those of the steady name.
fn of_the_name(policies: &Objects<NetworkPolicy>) -> BTreeSet<IpAddr> {
    let steady: BTreeSet<IpAddr> = fixture::address_for(STEADY).into_iter().collect();
    let hosts = policies.get(POLICY).map(cidrs).unwrap_or_default().into_iter().flat_map(|network| match network {
        ipnet::IpNet::V4(network) => network.hosts().map(IpAddr::from).collect::<Vec<_>>(),
        ipnet::IpNet::V6(network) => vec![IpAddr::from(network.network())],
    });
    hosts.filter(|address| !steady.contains(address)).collect()
}

async fn problem(stage: &Stage, subject: &str, words: &str) {
    let resources = stage.watch_resources().await;
    resources
        .until(&format!("a problem of {subject} that says {words}"), |now| {
            let problems = now["truth"].status.iter().flat_map(|status| &status.problems);
            problems.clone().any(|problem| problem.subject == subject && problem.message.contains(words))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_over_sixteen_addresses_costs_few_writes() {
    let stage = stage().await;
    let pool = fixture::pool(NAME, 16);
    stage.dns.set(NAME, Behaviour::rotating(&pool, 4, 1));
    let _operator = start(&eager(&stage)).await;
    let policies = applied(&stage).await;
    policies.until("all sixteen", |now| holds_all(now, &pool)).await;
    let whole = generations(&policies.now());
    let rounds = stage.dns.count(NAME, RecordType::A);
    let deadline = Instant::now() + PATIENCE;
    // Twice round again: nothing leaves, and so nothing is written.
    while stage.dns.count(NAME, RecordType::A) < rounds + 8 && Instant::now() < deadline {
        policies.until("all sixteen still", |now| holds_all(now, &pool)).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(generations(&policies.now()), whole);
    assert!(whole[POLICY].1.is_some_and(|generation| generation <= 4), "four windows, four writes at most: {whole:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_of_zero_is_queried_no_oftener_than_the_floor() {
    let stage = stage().await;
    let pool = fixture::pool(NAME, 2);
    stage.dns.set_addresses(NAME, &pool[..1], 0);
    let _operator = start(&eager(&stage)).await;
    let policies = applied(&stage).await;
    let (asked, started) = (stage.dns.count(NAME, RecordType::A), Instant::now());
    stage.dns.set_addresses(NAME, &pool[1..], 0);
    policies.until("the change", |now| holds_all(now, &pool)).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let questions = stage.dns.count(NAME, RecordType::A) - asked;
    let most = usize::try_from(started.elapsed().as_secs()).unwrap_or_default() + 1;
    assert!((2..=most).contains(&questions), "{questions} questions in {:?} at a floor of a second", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ttl_of_a_day_is_asked_again_within_the_ceiling() {
    let stage = stage().await;
    let pool = fixture::pool(NAME, 2);
    stage.dns.set_addresses(NAME, &pool[..1], 86_400);
    let _operator = start(&eager(&stage).flag("dns-max-ttl", "2s")).await;
    let policies = applied(&stage).await;
    stage.dns.set_addresses(NAME, &pool[1..], 86_400);
    policies.until("the change", |now| holds_all(now, &pool)).await;
    assert!(holds(&policies.now()[POLICY], pool[0]), "it may be cached for a day");
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_are_followed_at_their_least_ttl_and_loops_are_cut() {
    let stage = stage().await;
    let pool = fixture::pool(NAME, 2);
    let links = [("one.example.net", 3600), ("two.example.net", 1), ("three.example.net", 3600)];
    stage.dns.set(NAME, Behaviour::chain(&links, &pool[..1], 3600));
    let _operator = start(&eager(&stage)).await;
    let policies = applied(&stage).await;
    stage.dns.set(NAME, Behaviour::chain(&links, &pool[1..], 3600));
    policies.until("the end of the chain moved", |now| holds_all(now, &pool)).await;
    let before = generations(&policies.now());

    // A chain that bites its tail, and one without an end, say nothing: what was known stays.
    for links in [vec!["one.example.net".to_owned(), "two.example.net".to_owned()], vec![]] {
        let asked = stage.dns.count(NAME, RecordType::A);
        stage.dns.set(NAME, Reply::Loop { links, ttl: 1 }.into());
        let deadline = Instant::now() + PATIENCE;
        while stage.dns.count(NAME, RecordType::A) < asked + 2 {
            assert!(Instant::now() < deadline, "it is asked on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(generations(&policies.now()), before);
    }
    stage.dns.set(NAME, Behaviour::chain(&links, &pool, 3600));
    let reason = stage.reason("truth", "NamesResolved", "Resolved").await;
    assert!(reason.contains("2/2"), "{reason}");
    assert_eq!(generations(&policies.now()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_answer_is_repeated_over_tcp_and_read_in_full() {
    let stage = stage().await;
    let pool = fixture::pool(NAME, 1000);
    stage.dns.set(NAME, Behaviour::addresses(&pool, 5).truncated(Truncation::Always));
    let _operator = start(&eager(&stage)).await;
    let policies = applied(&stage).await;
    let now = policies.now();
    let held: Vec<&NetworkPolicy> = now.values().collect();
    let missing = pool.iter().filter(|address| !held.iter().any(|policy| holds(policy, **address))).count();
    assert_eq!(missing, 0, "of {} addresses", pool.len());
    assert!(now.keys().all(|name| name.starts_with(POLICY)), "{:?}", now.keys());
    let asked = stage.dns.questions();
    let over = |transport| asked.iter().any(|question| question.name == NAME && question.transport == transport);
    assert!(over(DnsTransport::Udp) && over(DnsTransport::Tcp));
    // One more than a name may have: it is left out, and reported.
    let more = fixture::pool(NAME, 1005);
    stage.dns.set_addresses(NAME, &more, 5);
    problem(&stage, NAME, "5 addresses are left out").await;
    let now = policies.now();
    assert!(pool.iter().all(|address| now.values().any(|policy| holds(policy, *address))), "the known ones stay");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_servfail_takes_nothing_away() {
    let stage = stage().await;
    let pool = fixture::pool(NAME, 3);
    stage.dns.set_addresses(NAME, &pool, 1);
    let _operator = start(&eager(&stage)).await;
    let policies = applied(&stage).await;
    let before = generations(&policies.now());
    for behaviour in [Behaviour::servfail(), Behaviour::refused(), Behaviour::silent()] {
        let asked = stage.dns.count(NAME, RecordType::A);
        stage.dns.set(NAME, behaviour.clone());
        stage.dns.set(STEADY, behaviour);
        let deadline = Instant::now() + PATIENCE;
        while stage.dns.count(NAME, RecordType::A) < asked + 2 {
            assert!(Instant::now() < deadline, "it is asked on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(generations(&policies.now()), before);
    }
    stage.reason("truth", "NamesResolved", "Unresolved").await;
    assert_eq!(of_the_name(&policies.now()), pool.into_iter().collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_replicas_one_is_silent_and_delays_nobody() {
    let stage = stage().await;
    let replicas = DnsServer::start_replicas(3).await.expect("replicas");
    let pool = fixture::pool(NAME, 3);
    replicas[0].set_addresses(NAME, &pool[..1], 1);
    replicas[0].set_addresses(STEADY, &fixture::address_for(STEADY), 5);
    replicas[1].set_silent(true);
    let servers =
        replicas.iter().fold(eager_without_server(&stage), |config, server| config.flag("dns-server", server.addr()));
    let operator = start(&servers).await;
    let policies = applied(&stage).await;
    replicas[0].set_addresses(NAME, &pool[1..2], 1);
    policies.until("a change", |now| holds_all(now, &pool[..2])).await;
    stage.reason("truth", "NamesResolved", "Resolved").await;
    assert!(replicas.iter().all(|server| !server.questions().is_empty()), "every one of them is asked");
    assert!(operator.get("/metrics").await.expect("metrics").contains("timeout"), "and the silent one is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_replicas_one_lies_and_no_lie_is_opened() {
    let stage = stage().await;
    let (honest, liar) = (&stage.dns, DnsServer::start().await.expect("a server"));
    let third = DnsServer::start_on(([127, 0, 0, 1], 0).into(), honest.zone()).await.expect("a server");
    let pool = fixture::pool(NAME, 2);
    honest.set_addresses(NAME, &pool[..1], 1);
    liar.set_addresses(STEADY, &fixture::address_for(STEADY), 5);
    let lies = [
        "169.254.169.254",
        "10.96.0.1",
        "127.0.0.1",
        "192.168.1.1",
        "0.0.0.0",
        "224.0.0.1",
        "100.64.0.1",
        "::1",
        "fd00::1",
        "::ffff:10.0.0.1",
    ];
    let lies: Vec<IpAddr> = lies.iter().map(|text| text.parse().expect("an address")).collect();
    // The truth is in its answer too: what replicas say is united, and each address judged by itself.
    liar.set_addresses(NAME, &[&lies[..], &pool[1..]].concat(), 1);
    let config = [honest.addr(), liar.addr(), third.addr()]
        .into_iter()
        .fold(eager_without_server(&stage), |config, server| config.flag("dns-server", server));
    let _operator = start(&config).await;
    stage.apply("truth", "{ customerId: testcustomer, geo: us, dnsEgress: None, ipFamilies: Dual }").await;
    stage.ready("truth").await;
    let policies = stage.watch_policies().await;
    policies.until("the union", |now| holds_all(now, &pool)).await;
    problem(&stage, NAME, "169.254.169.254 is not opened: the cloud's own address").await;
    let opened: Vec<_> = lies.iter().filter(|lie| holds(&policies.now()[POLICY], **lie)).collect();
    assert!(opened.is_empty(), "{opened:?}");

    // Records of a name that nobody asked for do not count either.
    let stranger: IpAddr = "8.8.8.8".parse().expect("an address");
    let owner = Name::from_ascii("elsewhere.example.org.").expect("a name");
    let IpAddr::V4(ipv4) = stranger else { panic!("IPv4") };
    liar.script(NAME, RecordType::A, Reply::Records(vec![Record::from_rdata(owner, 1, RData::A(A(ipv4)))]).into());
    let asked = liar.count(NAME, RecordType::A);
    let deadline = Instant::now() + PATIENCE;
    while liar.count(NAME, RecordType::A) < asked + 2 {
        assert!(Instant::now() < deadline, "it is asked on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!holds(&policies.now()[POLICY], stranger));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_flaps_to_nxdomain_keeps_its_addresses() {
    let stage = stage().await;
    let pool = fixture::pool(NAME, 3);
    let there = Reply::Addresses { addresses: pool.clone(), ttl: 1 };
    let gone = Reply::NxDomain { minimum: Some(1) };
    stage.dns.set(NAME, Behaviour::cycle(vec![there.clone(), gone.clone(), gone, there]));
    let _operator = start(&eager(&stage)).await;
    let policies = applied(&stage).await;
    policies.until("its addresses", |now| holds_all(now, &pool)).await;
    let before = generations(&policies.now());
    let asked = stage.dns.count(NAME, RecordType::A);
    let deadline = Instant::now() + PATIENCE;
    while stage.dns.count(NAME, RecordType::A) < asked + 8 {
        assert!(Instant::now() < deadline, "it is asked on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(generations(&policies.now()), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_name_goes_after_exactly_one_retention() {
    let stage = stage().await;
    let pool = fixture::pool(NAME, 3);
    stage.dns.set_addresses(NAME, &pool, 1);
    let _operator = start(&eager(&stage)).await;
    let policies = applied(&stage).await;
    stage.dns.set(NAME, Reply::NxDomain { minimum: Some(1) }.into());
    let since = Instant::now();
    // The shortest retention there is; an eighth of it more for gathering removals.
    tokio::time::sleep(Duration::from_secs(58)).await;
    policies.until("they are gone", |now| of_the_name(now).is_empty()).await;
    assert!(since.elapsed() >= Duration::from_secs(60), "gone after {:?}", since.elapsed());
    assert!(holds_all(&policies.now(), &fixture::address_for(STEADY)[..1]));
    assert_eq!(policies.since(since).len(), 2, "in one write");
    problem(&stage, NAME, "DNS says that the name has no addresses").await;
}
