//! Names resolved over real sockets, against servers that do what real ones do when things go wrong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on had better stop")]

use citrix_allowlist::clock::Clock;
use citrix_allowlist::facts::ClusterFacts;
use citrix_allowlist::guard::{Guard, GuardSettings};
use citrix_allowlist::names::{Addresses, HickoryLookup, NameState, Names, NamesSettings};
use citrix_allowlist::resource_ref::{ResourceRef, Waker};
use connectivity_allowlist::net::DomainName;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use test_support::dns::{Behaviour, DnsServer, DnsTransport, RecordType, Reply, Truncation};
use tokio::sync::{mpsc, watch};

const HOUR: Duration = Duration::from_secs(3600);

/// A table that runs, and what a controller would hold of it.
struct Rig {
    names: Names,
    wanted: Arc<BTreeSet<DomainName>>,
    who: ResourceRef,
    wakes: mpsc::UnboundedReceiver<ResourceRef>,
    _leading: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

/// Of one question: long enough that a busy machine makes none of them late.
const TIMEOUT: Duration = Duration::from_secs(5);

impl Drop for Rig {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Rig {
    fn new(servers: &[SocketAddr], wanted: &[&str]) -> Self {
        let mut settings = NamesSettings::new(Guard::new(GuardSettings::default(), &ClusterFacts::default()));
        settings.min_ttl = Duration::from_millis(300);
        settings.timeout = TIMEOUT;
        let (sender, wakes) = mpsc::unbounded_channel();
        let lookup = Arc::new(HickoryLookup::new(settings.timeout).unwrap());
        let names = Names::new(&settings, Clock::System, Waker::new(sender), lookup, Arc::new(()));
        names.set_servers(servers.to_vec());
        let (leading, leads) = watch::channel(true);
        let running = names.clone();
        let task = tokio::spawn(async move { running.run(leads).await });
        let wanted = Arc::new(wanted.iter().map(|text| name(text)).collect());
        Self { names, wanted, who: ResourceRef::new("citrix", "daas"), wakes, _leading: leading, task }
    }

    fn see(&self) -> Arc<Addresses> {
        self.names.watch(&self.who, &self.wanted, HOUR)
    }

    /// What is seen when, woken as a controller is, it is what was waited for.
    async fn until(&mut self, what: &str, is_so: impl Fn(&Addresses) -> bool) -> Arc<Addresses> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let seen = self.see();
            if is_so(&seen) {
                return seen;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let woken = tokio::time::timeout(left, self.wakes.recv()).await;
            assert!(woken.is_ok(), "never: {what}; instead {seen:#?}");
        }
    }

    async fn settled(&mut self) -> Arc<Addresses> {
        self.until("every name settled", |seen| seen.by_name.values().all(|known| known.state != NameState::Waiting))
            .await
    }
}

fn of<'a>(seen: &'a Addresses, text: &str) -> &'a [IpAddr] {
    &seen.by_name[&name(text)].addresses
}

fn public(count: u32) -> Vec<IpAddr> {
    (0..count).map(|n| IpAddr::V4(Ipv4Addr::from(u32::from(Ipv4Addr::new(20, 60, 0, 0)) + n))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_names_are_answered_in_one_burst_and_one_wake() {
    let server = DnsServer::start().await.unwrap();
    server.default_behaviour(|_, _| Behaviour::addresses(&[ip("20.60.0.1"), ip("2603:1030::1")], 30));
    let texts: Vec<String> = (0..200).map(|n| format!("host{n}.example.com")).collect();
    let wanted: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut rig = Rig::new(&[server.addr()], &wanted);
    let start = Instant::now();
    let first = rig.see();
    assert!(first.by_name.values().all(|known| known.state == NameState::Waiting));
    rig.wakes.recv().await.unwrap();
    let seen = rig.see();
    println!("200 names after {:?}", start.elapsed());
    // The test machine may be slow: within the coalescing window is what must hold, far less is usual.
    assert!(seen.by_name.values().filter(|known| known.state == NameState::Answered).count() > 0);
    let seen = rig.settled().await;
    for known in seen.by_name.values() {
        assert_eq!(known.addresses, [ip("20.60.0.1"), ip("2603:1030::1")]);
    }
    assert_eq!(server.questions().len(), 400, "one question for A and one for AAAA of each name");
    assert!(server.questions().iter().all(|question| question.edns_payload.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let server = DnsServer::start().await.unwrap();
    let addresses = public(60);
    server.set("cut.example.com", Behaviour::addresses(&addresses, 30).truncated(Truncation::Always));
    server.set("large.example.com", Behaviour::addresses(&public(1000), 30));
    let mut rig = Rig::new(&[server.addr()], &["cut.example.com", "large.example.com"]);
    let seen = rig.settled().await;
    assert_eq!(of(&seen, "cut.example.com"), addresses);
    assert_eq!(of(&seen, "large.example.com"), public(1000));
    assert_eq!(seen.by_name[&name("large.example.com")].evicted, 0);
    assert!(server.questions().iter().any(|question| question.transport == DnsTransport::Tcp));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_answer_without_tcp_is_a_failure() {
    let mut server = DnsServer::start().await.unwrap();
    server.set_addresses("cut.example.com", &public(4), 0);
    let mut rig = Rig::new(&[server.addr()], &["cut.example.com"]);
    assert_eq!(of(&*rig.settled().await, "cut.example.com"), public(4));
    server.set_tcp_refused(true).await.unwrap();
    server.set("cut.example.com", Behaviour::addresses(&public(60), 0).truncated(Truncation::Always));
    let failing = |seen: &Addresses| matches!(seen.by_name[&name("cut.example.com")].state, NameState::Failing { .. });
    let seen = rig.until("failing", failing).await;
    assert_eq!(of(&seen, "cut.example.com"), public(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_replicas_one_is_silent_and_delays_nobody() {
    let servers = DnsServer::start_replicas(3).await.unwrap();
    servers[0].set_addresses("host.example.com", &public(3), 30);
    servers[1].set_silent(true);
    let addresses: Vec<SocketAddr> = servers.iter().map(DnsServer::addr).collect();
    let mut rig = Rig::new(&addresses, &["host.example.com"]);
    let start = Instant::now();
    let seen = rig.settled().await;
    assert!(start.elapsed() < TIMEOUT, "waited for the silent one: {:?}", start.elapsed());
    assert_eq!(seen.by_name[&name("host.example.com")].state, NameState::Answered);
    assert_eq!(of(&seen, "host.example.com"), public(3));
    tokio::time::sleep(TIMEOUT.saturating_sub(start.elapsed()) + Duration::from_secs(1)).await;
    let health = rig.names.snapshot().servers;
    let silent = health.iter().find(|health| health.server == addresses[1]).unwrap();
    assert_eq!((silent.answered, silent.failing), (0, 2));
    assert_eq!(silent.error.as_deref(), Some("no answer in time"));
    assert!(health.iter().filter(|health| health.failing == 0).count() == 2);
    assert_eq!(rig.see().by_name[&name("host.example.com")].state, NameState::Answered, "two answers are enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn differing_replicas_are_merged_and_a_lie_names_its_server() {
    let [one, two, liar] =
        [DnsServer::start().await.unwrap(), DnsServer::start().await.unwrap(), DnsServer::start().await.unwrap()];
    one.set_addresses("host.example.com", &[ip("20.60.0.1")], 30);
    two.set_addresses("host.example.com", &[ip("20.60.0.2")], 30);
    liar.set_addresses("host.example.com", &[ip("169.254.169.254"), ip("10.0.0.1"), ip("::1"), ip("20.60.0.3")], 30);
    let mut rig = Rig::new(&[one.addr(), two.addr(), liar.addr()], &["host.example.com"]);
    let all = [ip("20.60.0.1"), ip("20.60.0.2"), ip("20.60.0.3")];
    let lies = [ip("10.0.0.1"), ip("169.254.169.254"), ip("::1")];
    let refused = |seen: &Addresses| seen.by_name[&name("host.example.com")].refused.clone();
    let refused_addresses = |seen: &Addresses| refused(seen).iter().map(|refused| refused.address).collect::<Vec<_>>();
    // A and AAAA are answered apart.
    let is_whole = |seen: &Addresses| of(seen, "host.example.com") == all && refused_addresses(seen) == lies;
    let refused = refused(&*rig.until("the union and every lie", is_whole).await);
    assert!(refused.iter().all(|refused| refused.server == liar.addr()));
}

#[tokio::test(flavor = "multi_thread")]
async fn chains_are_followed_and_loops_cut() {
    let server = DnsServer::start().await.unwrap();
    let links = [("a.example.net", 300), ("b.example.net", 7), ("c.example.net", 60)];
    server.set("chain.example.com", Behaviour::chain(&links, &public(2), 120));
    server.set(
        "loop.example.com",
        Reply::Loop { links: vec!["x.example.net".into(), "y.example.net".into()], ttl: 5 }.into(),
    );
    server.set("self.example.com", Reply::Loop { links: vec![], ttl: 5 }.into());
    server.set("nowhere.example.com", Behaviour::chain(&links, &[], 120));
    let mut rig = Rig::new(
        &[server.addr()],
        &["chain.example.com", "loop.example.com", "self.example.com", "nowhere.example.com"],
    );
    let seen = rig.settled().await;
    assert_eq!(of(&seen, "chain.example.com"), public(2));
    assert_eq!(seen.by_name[&name("nowhere.example.com")].state, NameState::Absent);
    for looping in ["loop.example.com", "self.example.com"] {
        let state = &seen.by_name[&name(looping)].state;
        assert!(
            matches!(state, NameState::Failing { error, ever_answered: false, .. } if error.contains("a loop of CNAMEs")),
            "{state:?}"
        );
    }
    let snapshot = rig.names.snapshot();
    let chain = snapshot.names.iter().find(|known| known.name == name("chain.example.com")).unwrap();
    assert!(chain.addresses.iter().all(|address| address.ttl == Duration::from_secs(7)), "the least along the chain");
    assert!(chain.next_question.unwrap() < Duration::from_secs(8));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_nobody_asked_for_are_ignored() {
    let server = DnsServer::start().await.unwrap();
    let foreign = citrix_allowlist::names::answer::absolute(&name("evil.example.net")).unwrap();
    let own = citrix_allowlist::names::answer::absolute(&name("host.example.com")).unwrap();
    let record = |owner, last| {
        use hickory_proto::rr::{RData, Record, rdata::A};
        Record::from_rdata(owner, 30, RData::A(A(Ipv4Addr::new(20, 60, 0, last))))
    };
    server.script("host.example.com", RecordType::A, Reply::Records(vec![record(foreign, 66), record(own, 1)]).into());
    let mut rig = Rig::new(&[server.addr()], &["host.example.com"]);
    assert_eq!(of(&*rig.settled().await, "host.example.com"), [ip("20.60.0.1")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rotation_adds_and_failures_take_nothing() {
    let server = DnsServer::start().await.unwrap();
    let mut pool = public(16);
    pool.extend((0..8).map(|n| IpAddr::V6(Ipv6Addr::new(0x2603, 0x1030, 0, 0, 0, 0, 0, n))));
    server.set("turn.example.com", Behaviour::rotating(&pool, 4, 0));
    let mut rig = Rig::new(&[server.addr()], &["turn.example.com"]);
    rig.until("the whole pool", |seen| of(seen, "turn.example.com") == pool).await;
    for behaviour in [Behaviour::servfail(), Behaviour::nxdomain(), Behaviour::nodata(), Behaviour::refused()] {
        server.set("turn.example.com", behaviour);
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(of(&rig.see(), "turn.example.com"), pool);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_datagrams_are_sent_again() {
    let server = DnsServer::start().await.unwrap();
    let found = Reply::Addresses { addresses: public(1), ttl: 30 };
    server.set("lossy.example.com", Behaviour::sequence(vec![Reply::Silence, found]));
    let mut rig = Rig::new(&[server.addr()], &["lossy.example.com"]);
    let seen = rig.settled().await;
    assert_eq!(seen.by_name[&name("lossy.example.com")].state, NameState::Answered);
    assert_eq!(server.count("lossy.example.com", RecordType::A), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_aaaa_without_soa_leaves_a_to_its_own_ttl() {
    for reply in [Reply::NoData { minimum: None }, Reply::NxDomain { minimum: None }] {
        let server = DnsServer::start().await.unwrap();
        server.script("nosoa.example.net", RecordType::A, Behaviour::addresses(&[ip("20.191.0.2")], 300));
        server.script("nosoa.example.net", RecordType::AAAA, reply.into());
        let mut rig = Rig::new(&[server.addr()], &["nosoa.example.net"]);
        assert_eq!(of(&*rig.settled().await, "nosoa.example.net"), [ip("20.191.0.2")]);
        let deadline = Instant::now() + Duration::from_secs(60);
        while server.count("nosoa.example.net", RecordType::AAAA) < 5 {
            assert!(Instant::now() < deadline, "AAAA is asked at the floor: {:#?}", server.questions());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(server.count("nosoa.example.net", RecordType::A), 1, "A says 300 s");
    }
}
