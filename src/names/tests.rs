//! The table as a whole, on a paused clock, with scripted servers.

use super::*;
use crate::facts::ClusterFacts;
use crate::guard::GuardSettings;
use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

const HOUR: Duration = Duration::from_secs(3600);

/// How long a scripted server takes for a query, and the outcome.
type Script = dyn Fn(SocketAddr, &str, Family, usize) -> (Duration, LookupOutcome) + Send + Sync;

struct Scripted {
    script: Mutex<Arc<Script>>,
    queried: Mutex<BTreeMap<(SocketAddr, String, Family), usize>>,
    in_flight: Arc<AtomicUsize>,
    most_in_flight: Arc<AtomicUsize>,
}

impl Scripted {
    fn new(
        script: impl Fn(SocketAddr, &str, Family, usize) -> (Duration, LookupOutcome) + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            script: Mutex::new(Arc::new(script)),
            queried: Mutex::default(),
            in_flight: Arc::default(),
            most_in_flight: Arc::default(),
        })
    }

    fn script(
        &self,
        script: impl Fn(SocketAddr, &str, Family, usize) -> (Duration, LookupOutcome) + Send + Sync + 'static,
    ) {
        *self.script.lock().expect("no panic") = Arc::new(script);
    }

    /// Queries since the last call, by this part of them.
    fn counted<K: Ord>(&self, part: impl Fn(SocketAddr, Family) -> K) -> BTreeMap<K, usize> {
        let mut counts = BTreeMap::new();
        for ((server, _, family), count) in std::mem::take(&mut *self.queried.lock().expect("no panic")) {
            *counts.entry(part(server, family)).or_default() += count;
        }
        counts
    }

    fn questions(&self) -> BTreeMap<SocketAddr, usize> {
        self.counted(|server, _| server)
    }

    fn total(&self) -> usize {
        self.questions().values().sum()
    }
}

impl Lookup for Scripted {
    fn ask(&self, server: SocketAddr, name: &DomainName, family: Family) -> BoxFuture<'static, LookupOutcome> {
        let before = {
            let mut queried = self.queried.lock().expect("no panic");
            let count = queried.entry((server, name.as_str().to_owned(), family)).or_default();
            *count += 1;
            *count - 1
        };
        let (latency, outcome) = self.script.lock().expect("no panic")(server, name.as_str(), family, before);
        let (in_flight, most) = (self.in_flight.clone(), self.most_in_flight.clone());
        most.fetch_max(in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        async move {
            tokio::time::sleep(latency).await;
            in_flight.fetch_sub(1, Ordering::SeqCst);
            outcome
        }
        .boxed()
    }
}

#[derive(Default)]
struct Counting {
    refused: AtomicUsize,
    misses: Mutex<Vec<Duration>>,
    stretched: Mutex<Vec<f64>>,
    results: Mutex<BTreeMap<&'static str, usize>>,
}

impl NamesObserver for Counting {
    fn asked(&self, _: SocketAddr, _: Family, result: &'static str, _: Duration) {
        *self.results.lock().expect("no panic").entry(result).or_default() += 1;
    }

    fn refused(&self, _: &DomainName, _: &RefusedAddress) {
        self.refused.fetch_add(1, Ordering::SeqCst);
    }

    fn stretched(&self, factor: f64) {
        self.stretched.lock().expect("no panic").push(factor);
    }

    fn predicted_miss(&self, _: &DomainName, wait: Duration) {
        self.misses.lock().expect("no panic").push(wait);
    }
}

struct Rig {
    names: Names,
    servers: Arc<Scripted>,
    observer: Arc<Counting>,
    wakes: mpsc::UnboundedReceiver<ResourceRef>,
    leading: watch::Sender<bool>,
    task: JoinHandle<()>,
}

pub(super) fn server(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 128, 0, last], 53))
}

pub(super) fn ip(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(20, 60, 0, last))
}

fn name(text: &str) -> DomainName {
    DomainName::parse(text).expect("a name")
}

fn wanted<T: AsRef<str>>(names: &[T]) -> Arc<BTreeSet<DomainName>> {
    Arc::new(names.iter().map(|text| name(text.as_ref())).collect())
}

fn many(prefix: &str, number: usize, count: usize) -> Arc<BTreeSet<DomainName>> {
    Arc::new((0..count).map(|host| name(&format!("{prefix}-{number}-{host}.example.com"))).collect())
}

fn daas(number: usize) -> ResourceRef {
    ResourceRef::new("citrix", format!("daas-{number}"))
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn has(lasts: &[u8], ttl: u64) -> LookupOutcome {
    let addresses = lasts.iter().map(|last| ip(*last)).collect();
    Ok(Answer::Addresses { addresses, ttl: Duration::from_secs(ttl) })
}

fn nothing(ttl: u64) -> LookupOutcome {
    Ok(Answer::Absent { nxdomain: false, ttl: Some(Duration::from_secs(ttl)) })
}

/// A records `lasts` after a millisecond, no AAAA, TTL 30.
fn plain(family: Family, lasts: &[u8]) -> (Duration, LookupOutcome) {
    (ms(1), if family == Family::V4 { has(lasts, 30) } else { nothing(30) })
}

pub(super) fn guard() -> Guard {
    Guard::new(GuardSettings::default(), &ClusterFacts::default())
}

impl Rig {
    fn new(servers: &[u8], lookup: Arc<Scripted>) -> Self {
        Self::with(&NamesSettings::new(guard()), servers, lookup)
    }

    fn with(settings: &NamesSettings, servers: &[u8], lookup: Arc<Scripted>) -> Self {
        let (sender, wakes) = mpsc::unbounded_channel();
        let observer = Arc::new(Counting::default());
        let clock = Clock::simulated(Timestamp::UNIX_EPOCH);
        let names = Names::new(settings, clock, Waker::new(sender), lookup.clone(), observer.clone());
        names.set_servers(servers.iter().map(|last| server(*last)).collect());
        let (leading, leads) = watch::channel(true);
        let running = names.clone();
        let task = tokio::spawn(async move { running.run(leads).await });
        Self { names, servers: lookup, observer, wakes, leading, task }
    }

    fn watch(&self, number: usize, wanted: &Arc<BTreeSet<DomainName>>) -> Arc<Addresses> {
        self.names.watch(&daas(number), wanted, HOUR)
    }

    fn addresses(&self, text: &str) -> Vec<IpAddr> {
        self.watch(0, &wanted(&[text])).by_name[&name(text)].addresses.clone()
    }

    /// Lets time pass, and gives the wakes in it.
    async fn pass(&mut self, time: Duration) -> Vec<ResourceRef> {
        tokio::time::sleep(time).await;
        std::iter::from_fn(|| self.wakes.try_recv().ok()).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_resources_cost_one_question_for_each_name() {
    let mut rig = Rig::new(&[1, 2], Scripted::new(|_, _, family, _| plain(family, &[1])));
    let names = || many("host", 0, 200);
    for number in 0..1000 {
        // Each resource has its own set of the same names, as controllers make them.
        rig.watch(number, &names());
    }
    let woken = rig.pass(ms(500)).await;
    assert_eq!(woken.len(), 1000, "each once");
    assert_eq!(woken.into_iter().collect::<BTreeSet<_>>().len(), 1000);
    assert_eq!(rig.servers.questions(), BTreeMap::from([(server(1), 400), (server(2), 400)]));
    assert!(rig.servers.most_in_flight.load(Ordering::SeqCst) <= 2 * places::IN_FLIGHT_PER_SERVER);
    let start = Instant::now();
    let shared = rig.watch(0, &names());
    for number in 1..1000 {
        assert!(Arc::ptr_eq(&shared, &rig.watch(number, &names())), "one map for all");
    }
    println!("1,000 watches of known names: {:?}", start.elapsed());
    for _ in 0..20 {
        assert_eq!(rig.pass(Duration::from_secs(30)).await, [], "no change, no wake");
    }
    // 600 s at TTL 30, queried again within a second after: between 19 and 20 rounds.
    for (_, count) in rig.servers.questions() {
        assert!((19 * 400..=20 * 400).contains(&count), "{count} questions");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_server_delays_nobody_and_cancels_nothing() {
    let script = |from, _: &str, family, _| {
        if from == server(9) { (HOUR, has(&[9], 30)) } else { plain(family, &[1]) }
    };
    let mut rig = Rig::new(&[1, 9], Scripted::new(script));
    let names = many("host", 0, 500);
    rig.watch(0, &names);
    assert_eq!(rig.pass(ms(50)).await, [daas(0)]);
    let seen = rig.watch(0, &names);
    assert!(seen.by_name.values().all(|known| known.state == NameState::Answered && known.addresses == [ip(1)]));
    assert_eq!(rig.pass(Duration::from_secs(300)).await, []);
    let queries = rig.servers.questions();
    assert!(queries[&server(1)] >= 9 * 1000, "the living one is queried every TTL: {queries:?}");
    let results = rig.observer.results.lock().expect("no panic").clone();
    assert!(results["timeout"] > 0 && results["answered"] > 0 && results["nodata"] > 0, "{results:?}");
}

#[tokio::test(start_paused = true)]
async fn a_rotating_name_grows_at_once_and_shrinks_in_few_steps() {
    // Sixty addresses in turn, four at a time; after an hour and a half the name moves on to a single one.
    let moved = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let has_moved = moved.clone();
    let script = move |_, _: &str, family, before: usize| {
        let first = (before % 15 * 4) as u8;
        let lasts = if has_moved.load(Ordering::SeqCst) { vec![100] } else { (first..first + 4).collect() };
        plain(family, &lasts)
    };
    let mut rig = Rig::new(&[1], Scripted::new(script));
    let names = wanted(&["turn.example.com"]);
    rig.watch(0, &names);
    let wakes = rig.pass(Duration::from_secs(15 * 31)).await.len();
    assert!((14..=16).contains(&wakes), "each new window wakes at once: {wakes}");
    assert_eq!(rig.pass(Duration::from_secs(4900)).await, [], "the whole pool is known");
    assert_eq!(rig.addresses("turn.example.com").len(), 60);
    rig.watch(0, &names);
    moved.store(true, Ordering::SeqCst);
    let early = rig.pass(Duration::from_secs(3590 - 15 * 31)).await;
    assert_eq!(early.len(), 1, "the new one is added, and nothing removed: {early:?}");
    let late = rig.pass(Duration::from_secs(1500)).await.len();
    assert!((1..=3).contains(&late), "sixty addresses went in {late} steps");
    assert_eq!(rig.addresses("turn.example.com"), [ip(100)]);
}

#[tokio::test(start_paused = true)]
async fn a_name_nobody_wants_is_forgotten() {
    let mut rig = Rig::new(&[1], Scripted::new(|_, _, family, _| plain(family, &[1])));
    rig.watch(0, &wanted(&["a.example.com", "b.example.com"]));
    rig.watch(1, &wanted(&["b.example.com"]));
    rig.pass(ms(500)).await;
    rig.watch(0, &wanted(&["c.example.com"]));
    let names = |rig: &Rig| rig.names.held();
    assert_eq!(names(&rig), [name("b.example.com"), name("c.example.com")]);
    rig.names.unwatch(&daas(1));
    rig.names.unwatch(&daas(1));
    assert_eq!(names(&rig), [name("c.example.com")]);
    rig.names.unwatch(&daas(0));
    assert_eq!(names(&rig), []);
    rig.pass(ms(500)).await;
    rig.servers.questions();
    rig.pass(HOUR).await;
    assert_eq!(rig.servers.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_longest_retention_wins_and_goes_with_its_subscriber() {
    let rig = Rig::new(&[1], Scripted::new(|_, _, family, _| plain(family, &[1])));
    let names = wanted(&["a.example.com"]);
    let retention = |rig: &Rig| rig.names.snapshot().names[0].retention;
    rig.names.watch(&daas(0), &names, HOUR);
    rig.names.watch(&daas(1), &names, 5 * HOUR);
    rig.names.watch(&daas(2), &names, 2 * HOUR);
    assert_eq!(retention(&rig), 5 * HOUR);
    rig.names.unwatch(&daas(1));
    assert_eq!(retention(&rig), 2 * HOUR);
    rig.names.watch(&daas(2), &names, HOUR / 2);
    assert_eq!(retention(&rig), HOUR);
}

#[tokio::test(start_paused = true)]
async fn standbys_query_nothing_and_leaders_start_with_the_overdue() {
    let mut rig = Rig::new(&[1], Scripted::new(|_, _, family, _| plain(family, &[1])));
    rig.leading.send_replace(false);
    rig.watch(0, &wanted(&["a.example.com"]));
    assert_eq!(rig.pass(HOUR).await, []);
    assert_eq!(rig.servers.total(), 0);
    rig.leading.send_replace(true);
    assert_eq!(rig.pass(ms(100)).await, [daas(0)]);
    rig.leading.send_replace(false);
    rig.pass(ms(100)).await;
    rig.servers.questions();
    rig.servers.script(|_, _, family, _| plain(family, &[2]));
    rig.pass(5 * HOUR).await;
    assert_eq!(rig.servers.total(), 0);
    rig.leading.send_replace(true);
    assert_eq!(rig.pass(ms(100)).await, [daas(0)]);
    assert_eq!(rig.addresses("a.example.com"), [ip(1), ip(2)], "the hours as a standby are not a retention");
}

#[tokio::test(start_paused = true)]
async fn new_servers_are_queried_soon_and_removed_ones_no_more() {
    let script = |from: SocketAddr, _: &str, family, _| plain(family, if from == server(2) { &[2] } else { &[1] });
    let mut rig = Rig::new(&[1], Scripted::new(script));
    assert_eq!(rig.addresses("a.example.com"), Vec::<IpAddr>::new());
    rig.pass(ms(500)).await;
    rig.names.set_servers(vec![server(2), server(1), server(2)]);
    rig.pass(ms(1100)).await;
    assert_eq!(rig.addresses("a.example.com"), [ip(1), ip(2)]);
    rig.names.set_servers(vec![server(2)]);
    rig.servers.questions();
    rig.pass(Duration::from_secs(100)).await;
    assert_eq!(rig.servers.questions().keys().copied().collect::<Vec<_>>(), [server(2)]);
    assert_eq!(rig.names.snapshot().servers.len(), 1);
    rig.names.set_servers(Vec::new());
    rig.pass(Duration::from_secs(100)).await;
    assert_eq!(rig.addresses("a.example.com"), [ip(1), ip(2)]);
    let state = rig.names.snapshot().names[0].state.clone();
    assert!(matches!(state, NameState::Failing { error, .. } if &*error == "no DNS server is known"));
}

#[tokio::test(start_paused = true)]
async fn early_allow_latency_is_counted_once() {
    let script = |_, _: &str, family, before: usize| plain(family, if before == 0 { &[1] } else { &[1, 2] });
    let mut rig = Rig::new(&[1], Scripted::new(script));
    let names = wanted(&["a.example.com"]);
    rig.watch(0, &names);
    rig.pass(ms(101)).await;
    rig.names.allowed(&rig.watch(0, &names));
    rig.names.allowed(&rig.watch(0, &names));
    let misses = |rig: &Rig| std::mem::take(&mut *rig.observer.misses.lock().expect("no panic"));
    let first = misses(&rig);
    assert_eq!(first.len(), 1);
    assert!((ms(99)..=ms(102)).contains(&first[0]), "{first:?}");
    rig.pass(Duration::from_secs(40)).await;
    rig.names.allowed(&rig.watch(0, &names));
    assert_eq!(misses(&rig).len(), 1, "only the new one");
}

#[tokio::test(start_paused = true)]
async fn the_run_ends_with_its_leader() {
    let mut rig = Rig::new(&[1], Scripted::new(|_, _, family, _| plain(family, &[1])));
    let (replaced, _) = watch::channel(true);
    drop(std::mem::replace(&mut rig.leading, replaced));
    (&mut rig.task).await.expect("ends by itself");
    rig.leading = watch::channel(true).0;
    let running = rig.names.clone();
    let leads = rig.leading.subscribe();
    rig.task = tokio::spawn(async move { running.run(leads).await });
    rig.watch(0, &wanted(&["a.example.com"]));
    assert_eq!(rig.pass(ms(100)).await, [daas(0)], "and can be started again");
}

mod families;
mod forwarded;
mod tenants;
mod wakes;
