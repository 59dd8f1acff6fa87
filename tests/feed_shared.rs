//! The shared table on a paused clock against a client that records: how often the vendor is asked, for whom first, and
//! what resources see meanwhile.

use citrix_allowlist::bound::Bound;
use citrix_allowlist::clock::Clock;
use citrix_allowlist::feed::store::{Saved, SavedList, SavedRequests, StoreError};
use citrix_allowlist::feed::{
    CompletedFetch, FeedKey, FeedObserver, FeedRequest, FeedSettings, FeedView, Feeds, Format, ListStore, MemoryStore,
    NoObserver,
};
use citrix_allowlist::memory::{MemoryUsage, Pressure};
use citrix_allowlist::reason::Reason;
use citrix_allowlist::resource_ref::{ResourceRef, Waker};
use connectivity_allowlist::{Cloud, Directions, Fetch, FetchError, FetchRequest, Fetched, Geo, Validators};
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

type Answers = dyn Fn(&FetchRequest, usize) -> Result<Fetched, FetchError> + Send + Sync;

/// Records requests and answers them after 200 milliseconds.
struct Recorder {
    start: Instant,
    sent: Mutex<Vec<(Duration, FetchRequest)>>,
    answers: Box<Answers>,
}

impl Recorder {
    fn new(answers: impl Fn(&FetchRequest, usize) -> Result<Fetched, FetchError> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), sent: Mutex::default(), answers: Box::new(answers) })
    }

    fn sent(&self) -> Vec<(Duration, FetchRequest)> {
        self.sent.lock().expect("unpoisoned").clone()
    }

    fn count(&self) -> usize {
        self.sent().len()
    }

    /// The most requests in any 60 seconds.
    fn busiest_minute(&self) -> usize {
        let sent = self.sent();
        let minute = Duration::from_secs(60);
        sent.iter()
            .map(|(at, _)| sent.iter().filter(|(other, _)| other >= at && *other < *at + minute).count())
            .max()
            .unwrap_or(0)
    }
}

impl Fetch for Recorder {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        Box::pin(async move {
            let count = {
                let mut sent = self.sent.lock().expect("unpoisoned");
                sent.push((self.start.elapsed(), request.clone()));
                sent.len()
            };
            tokio::time::sleep(Duration::from_millis(200)).await;
            (self.answers)(&request, count)
        })
    }
}

fn epoch() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().expect("a time")
}

fn customer_of(request: &FetchRequest) -> String {
    let (_, after) = request.url.split_once("customerId=").expect("a customer");
    after.split('&').next().unwrap_or_default().to_owned()
}

fn document(names: &[String], valid_until: &str) -> Result<Fetched, FetchError> {
    let value = json!({
        "meta": { "version": "2026-06-01T00:00:00Z", "validUntil": valid_until },
        "services": [{ "name": "DaaS", "direction": "outbound", "tcpPorts": "443", "endpoints": [{ "fqdns": names }] }],
    });
    let validators = Validators::new(None, Some("Mon, 01 Jun 2026 00:00:00 GMT".to_owned()));
    Ok(Fetched::Document { body: value.to_string().into_bytes(), validators, content_type: None })
}

/// A list for the customer that is asked for, valid for a day from the epoch.
fn daily(request: &FetchRequest, _: usize) -> Result<Fetched, FetchError> {
    document(&[format!("{}.xendesktop.net", customer_of(request)), "a.example.net".into()], "2026-06-02T00:00:00Z")
}

/// A list of the first so many names, the same for everybody.
fn names(count: usize, valid_until: &str) -> Result<Fetched, FetchError> {
    let names: Vec<String> = (0..count).map(|index| format!("n{index}.example.net")).collect();
    document(&names, valid_until)
}

fn unavailable() -> Result<Fetched, FetchError> {
    Err(FetchError::Unavailable { detail: "api.example answers 500".into(), retry_after: None })
}

fn request(customer: &str) -> FeedRequest {
    FeedRequest {
        cloud: Cloud::Global,
        customer: customer.into(),
        geo: Geo::Us,
        directions: Directions::Outbound,
        min_interval: Duration::from_secs(300),
        max_interval: Duration::from_secs(86_400),
    }
}

fn who(namespace: &str, name: &str) -> ResourceRef {
    ResourceRef::new(namespace, name)
}

/// A process: a table that runs until dropped.
struct Process {
    feeds: Feeds,
    woken: mpsc::UnboundedReceiver<ResourceRef>,
    leading: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Process {
    fn start(settings: FeedSettings, clock: Clock, store: Arc<dyn ListStore>, client: Arc<dyn Fetch>) -> Self {
        Self::observed(settings, clock, store, client, Arc::new(NoObserver))
    }

    fn observed(
        settings: FeedSettings,
        clock: Clock,
        store: Arc<dyn ListStore>,
        client: Arc<dyn Fetch>,
        observer: Arc<dyn FeedObserver>,
    ) -> Self {
        let (sender, woken) = mpsc::unbounded_channel();
        let feeds = Feeds::new(settings, clock, Waker::new(sender), store, client, observer);
        let (leading, is_leading) = watch::channel(true);
        let running = {
            let feeds = feeds.clone();
            tokio::spawn(async move { feeds.run(is_leading).await })
        };
        Self { feeds, woken, leading, running }
    }

    fn simple(client: &Arc<Recorder>) -> Self {
        let store = Arc::new(MemoryStore::default());
        Self::start(FeedSettings::default(), Clock::simulated(epoch()), store, client.clone())
    }

    fn view(&self, who: &ResourceRef) -> FeedView {
        self.feeds.view(who).expect("a subscriber")
    }

    fn wakes(&mut self) -> Vec<ResourceRef> {
        let mut wakes = Vec::new();
        while let Ok(woken) = self.woken.try_recv() {
            wakes.push(woken);
        }
        wakes
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn customers(count: usize) -> Vec<(ResourceRef, FeedRequest)> {
    (0..count)
        .map(|index| (who(&format!("ns{}", index % 50), &format!("cr{index}")), request(&format!("cust{index}"))))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn five_hundred_customers_keep_the_rate_limit_across_crashes() {
    let client = Recorder::new(daily);
    let clock = Clock::simulated(epoch());
    let store = Arc::new(MemoryStore::default());
    let customers = customers(500);
    let start = |client: &Arc<Recorder>| {
        let process = Process::start(FeedSettings::default(), clock, store.clone(), client.clone());
        for (who, request) in &customers {
            process.feeds.watch(who, request.clone());
        }
        process
    };
    // A crash loop: the process lives twenty seconds at a time, for ten minutes.
    for _ in 0..30 {
        let process = start(&client);
        pass(20).await;
        drop(process);
    }
    assert!(client.count() >= 45, "it gets ahead all the same: {}", client.count());
    // A crash in the middle of a request counts it.
    for _ in 0..10 {
        let process = start(&client);
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(process);
    }
    let process = start(&client);
    pass(95 * 60).await;
    assert_eq!(client.busiest_minute(), 5);
    assert!(customers.iter().all(|(who, _)| process.view(who).allowlist.is_some()), "{} requests", client.count());
    let asked = client.sent();
    let distinct: BTreeSet<String> = asked.iter().map(|(_, request)| customer_of(request)).collect();
    assert_eq!(distinct.len(), 500);
    assert!(asked.len() <= 505, "only what a crash cut off was asked twice: {}", asked.len());

    // Everything is known: another restart asks for nothing, and serves at once.
    drop(process);
    let process = Process::start(FeedSettings::default(), clock, store.clone(), client.clone());
    process.feeds.restore().await;
    let (who, request) = &customers[77];
    let view = process.feeds.watch(who, request.clone());
    assert_eq!(view.allowlist.expect("a list").entries[0].names[1].as_str(), "cust77.xendesktop.net");
    for (who, request) in &customers {
        process.feeds.watch(who, request.clone());
    }
    pass(3600).await;
    assert_eq!(client.count(), asked.len());

    // A day after the epoch they are all due, and take their turns again.
    pass(24 * 3600).await;
    assert_eq!(client.busiest_minute(), 5);
    assert!(client.count() >= asked.len() + 500);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_resources_of_a_customer_cost_one_request() {
    let client = Recorder::new(daily);
    let mut process = Process::simple(&client);
    let all: Vec<ResourceRef> = (0..1000).map(|index| who("citrix", &format!("cr{index}"))).collect();
    for who in &all {
        process.feeds.watch(who, request("acme"));
    }
    pass(3600).await;
    assert_eq!(client.count(), 1);
    let mut wakes = process.wakes();
    wakes.sort();
    let mut expected = all.clone();
    expected.sort();
    assert_eq!(wakes, expected);
    let request = &client.sent()[0].1;
    assert!(
        request.url.ends_with("/v2/allowlist?customerId=acme&format=json&geo=all&direction=all"),
        "{}",
        request.url
    );
    assert_eq!(request.transaction_id.len(), 36);
    let view = process.view(&all[999]);
    assert_eq!(view.transaction_id.as_deref(), Some(request.transaction_id.as_str()));
    assert_eq!((view.reason, view.current, view.confirmations), (Reason::Fetched, true, 1));
    assert_eq!(view.next_fetch, Some(epoch() + SignedDuration::from_hours(24)));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_is_one_request_for_each_value() {
    let client = Recorder::new(daily);
    let process = Process::simple(&client);
    let me = who("citrix", "me");
    process.feeds.watch(&me, request("acme"));
    pass(10).await;
    for _ in 0..3 {
        process.feeds.refresh(&me, "now");
        process.feeds.watch(&me, request("acme"));
        pass(10).await;
    }
    assert_eq!(client.count(), 2);
    assert_eq!(process.view(&me).handled_refresh.as_deref(), Some("now"));
    assert_eq!(process.view(&me).confirmations, 2);
    process.feeds.refresh(&me, "again");
    pass(10).await;
    assert_eq!(client.count(), 3);
    // A storm of them keeps the rate.
    for value in 0..100 {
        process.feeds.refresh(&me, &format!("storm {value}"));
        pass(1).await;
    }
    assert!(client.busiest_minute() <= 5);
    pass(120).await;
    assert_eq!(process.view(&me).handled_refresh.as_deref(), Some("storm 99"));
}

#[tokio::test(start_paused = true)]
async fn a_failure_keeps_the_list_and_says_so() {
    let down = Arc::new(AtomicBool::new(false));
    let client = Recorder::new({
        let down = down.clone();
        move |_, count| match (down.load(Ordering::SeqCst), count) {
            (true, _) => unavailable(),
            (false, 1) => names(4, "2026-06-01T01:00:00Z"),
            (false, _) => names(4, "2026-06-02T00:00:00Z"),
        }
    });
    let mut process = Process::simple(&client);
    let me = who("citrix", "me");
    assert_eq!(process.feeds.watch(&me, request("acme")).reason, Reason::WaitingForFeed);
    pass(60).await;
    down.store(true, Ordering::SeqCst);
    pass(3600 + 300).await;
    let failing = process.view(&me);
    assert_eq!((failing.reason, failing.current), (Reason::FeedUnavailable, false));
    assert_eq!(failing.message, "api.example answers 500; the list of 2026-06-01T00:00:00Z stays in use");
    assert!(failing.allowlist.is_some());
    let failed = client.count();
    assert!(failed >= 3, "it tries again and again: {failed}");
    down.store(false, Ordering::SeqCst);
    pass(1800).await;
    assert_eq!((process.view(&me).reason, client.count()), (Reason::Fetched, failed + 1));
    assert_eq!(process.wakes().len(), client.count(), "one wake for each completed fetch");
    let conditional = client.sent()[1].1.validators.clone();
    assert!(conditional.is_empty(), "past its validUntil a list has to come whole: {conditional:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_repeated_hourly_or_on_a_new_spec() {
    let client = Recorder::new(|_, _| Err(FetchError::Rejected { status: 404, detail: String::new() }));
    let process = Process::simple(&client);
    let me = who("citrix", "me");
    process.feeds.watch(&me, request("acme"));
    pass(3500).await;
    assert_eq!(client.count(), 1);
    assert_eq!(process.view(&me).reason, Reason::FeedRejected);
    assert!(process.view(&me).message.contains("404") && process.view(&me).message.contains("spec.customerId"));
    process.feeds.watch(&me, request("acme"));
    pass(1).await;
    assert_eq!(client.count(), 1, "the same again is no change");
    process.feeds.watch(&me, FeedRequest { geo: Geo::Eu, ..request("acme") });
    pass(1).await;
    assert_eq!(client.count(), 2);
    pass(3950).await;
    assert_eq!(client.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_429_pauses_the_whole_host() {
    let client = Recorder::new(|request, count| match count {
        1 => Err(FetchError::RateLimited { retry_after: Some(Duration::from_secs(600)) }),
        _ => daily(request, count),
    });
    let process = Process::simple(&client);
    let (first, second, third) = (who("a", "one"), who("a", "two"), who("b", "three"));
    process.feeds.watch(&first, request("acme1"));
    pass(1).await;
    process.feeds.watch(&second, request("acme2"));
    process.feeds.watch(&third, FeedRequest { cloud: Cloud::Japan, ..request("acme3") });
    pass(590).await;
    assert_eq!(client.count(), 2, "only Japan's host was asked");
    assert_eq!(process.view(&first).reason, Reason::RateLimited);
    assert!(process.view(&third).allowlist.is_some());
    pass(100).await;
    assert_eq!(client.count(), 4);
    assert!(process.view(&first).allowlist.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_shrunk_list_is_believed_at_the_second_fetch() {
    let client = Recorder::new(|_, count| names(if count == 1 { 10 } else { 3 }, "2026-06-01T01:00:00Z"));
    let process = Process::simple(&client);
    let me = who("citrix", "me");
    process.feeds.watch(&me, FeedRequest { min_interval: Duration::from_secs(1000), ..request("acme") });
    pass(3600 + 310).await;
    let held_back = process.view(&me);
    assert_eq!((held_back.reason, held_back.problems.len(), client.count()), (Reason::FeedShrank, 1, 2));
    assert_eq!(held_back.allowlist.expect("the old list").entries[0].names.len(), 10);
    pass(1100).await;
    let believed = process.view(&me);
    assert_eq!(believed.allowlist.expect("the new list").entries[0].names.len(), 3);
    assert_eq!((believed.confirmations, believed.problems.len(), client.count()), (2, 0, 3));
}

/// Formerly each start asked at once for the answer that had ended the process: six times in 195 s.
#[tokio::test(start_paused = true)]
async fn a_process_that_dies_at_each_answer_does_not_ask_each_time() {
    let client = Recorder::new(daily);
    let (clock, store) = (Clock::simulated(epoch()), Arc::new(MemoryStore::default()));
    let me = who("citrix", "me");
    let began = || client.count();
    // The process ends while the answer arrives, and is started again ten seconds later.
    for _ in 0..90 {
        let process = Process::start(FeedSettings::default(), clock, store.clone(), client.clone());
        process.feeds.watch(&me, request("acme"));
        process.feeds.refresh(&me, "now");
        let before = began();
        for _ in 0..200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if began() > before {
                break;
            }
        }
    }
    assert!((5..=8).contains(&began()), "{} in a quarter of an hour: 15 s, 30 s, 1, 2, 4 minutes apart", began());
    let [begun] = &store.saved().requests.begun[..] else { panic!("one fetch is begun") };
    assert_eq!(usize::try_from(begun.times), Ok(began()));

    let process = Process::start(FeedSettings::default(), clock, store.clone(), client.clone());
    process.feeds.watch(&me, request("acme"));
    pass(1).await;
    let message = process.view(&me).message;
    assert!(message.starts_with("the first list has not arrived yet; the fetch of 2026-06-01T"), "{message}");
    pass(910).await;
    assert_eq!(process.view(&me).reason, Reason::Fetched);
    pass(1).await;
    drop(process);
    let sent = began();
    let process = Process::start(FeedSettings::default(), clock, store.clone(), client.clone());
    process.feeds.watch(&me, request("acme"));
    pass(60).await;
    assert_eq!(
        (process.view(&me).reason, began()),
        (Reason::Fetched, sent),
        "the saved list says that its fetch completed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failure_takes_back_the_note_that_a_fetch_was_begun() {
    let client = Recorder::new(|_, _| unavailable());
    let store = Arc::new(MemoryStore::default());
    let process = Process::start(FeedSettings::default(), Clock::simulated(epoch()), store.clone(), client.clone());
    process.feeds.watch(&who("citrix", "me"), request("acme"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(store.saved().requests.begun.len(), 1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(store.saved().requests.begun, []);
}

/// Formerly a list was read however little memory was left for it.
#[tokio::test(start_paused = true)]
async fn a_large_list_waits_while_memory_is_short_and_others_do_not() {
    let client = Recorder::new(|request, _| {
        names(if customer_of(request) == "large" { 8000 } else { 10 }, "2026-06-02T00:00:00Z")
    });
    let process = Process::simple(&client);
    let pressure = Pressure::default();
    pressure.note(Some(MemoryUsage { used: 90 << 20, limit: 100 << 20 }));
    process.feeds.put_off_under(pressure.clone());
    let (large, small) = (who("a", "large"), who("a", "small"));
    process.feeds.watch(&large, request("large"));
    process.feeds.watch(&small, request("small"));
    pass(2).await;
    assert_eq!(process.view(&small).reason, Reason::Fetched);
    let waits = process.view(&large);
    assert_eq!((waits.reason, waits.allowlist.is_none()), (Reason::FeedUnavailable, true));
    assert!(waits.message.contains("waits: the operator is close to its memory limit of 100 MiB"), "{}", waits.message);
    pressure.note(Some(MemoryUsage { used: 10 << 20, limit: 100 << 20 }));
    pass(60).await;
    assert_eq!(process.view(&large).reason, Reason::Fetched);
}

#[tokio::test(start_paused = true)]
async fn a_resource_may_ask_for_an_early_confirmation_of_a_list() {
    let client = Recorder::new(|_, count| {
        names(if count == 1 { 10 } else { 6 }, if count == 1 { "2026-06-01T01:00:00Z" } else { "2026-06-09T00:00:00Z" })
    });
    let process = Process::simple(&client);
    let me = who("citrix", "me");
    process.feeds.watch(&me, request("acme"));
    pass(4000).await;
    let new = process.view(&me);
    assert_eq!((new.confirmations, client.count()), (1, 2));
    assert_eq!(new.previous.expect("the list before").entries[0].names.len(), 10);
    process.feeds.confirm(&me);
    pass(300).await;
    assert_eq!((process.view(&me).confirmations, client.count()), (2, 3));
    assert!(process.view(&me).previous.is_none());
    process.feeds.confirm(&me);
    pass(600).await;
    assert_eq!(client.count(), 3, "what is confirmed needs no confirmation");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_confirms_a_suspicious_list_at_once() {
    // Two of three networks change their service, so that the list as a whole shrinks by nothing, and one resource's
    // part of it to nothing.
    let client = Recorder::new(|_, count| {
        let service = if count == 1 { "Gateway Service" } else { "NetScaler Gateway" };
        let of = |name: &str, ips: &[&str]| {
            json!({ "name": name, "direction": "outbound", "tcpPorts": "443", "required": true,
                "endpoints": [{ "geo": "us", "ips": ips }] })
        };
        let value = json!({
            "meta": { "version": "2026-06-01T00:00:00Z", "validUntil": "2099-06-04T12:00:00Z" },
            "services": [of(service, &["20.192.0.0/24", "20.192.1.0/24"]), of("Other", &["20.192.9.0/24"])],
        });
        let body = value.to_string().into_bytes();
        Ok(Fetched::Document { body, validators: Validators::default(), content_type: None })
    });
    let process = Process::simple(&client);
    let me = who("citrix", "gw");
    process.feeds.watch(&me, request("testcustomer"));
    pass(3600).await;
    process.feeds.refresh(&me, "first");
    pass(10).await;
    let held = process.view(&me);
    assert_eq!((held.confirmations, held.handled_refresh.as_deref(), client.count()), (1, Some("first"), 2));
    assert!(held.previous.is_some(), "what the resource goes on to follow");
    // What the controller does for a resource that its list would shrink, with each of its looks.
    process.feeds.confirm(&me);
    pass(60).await;
    process.feeds.confirm(&me);
    assert_eq!(client.count(), 2, "by itself only after the shortest interval");
    process.feeds.refresh(&me, "second");
    pass(10).await;
    let confirmed = process.view(&me);
    assert_eq!((confirmed.confirmations, confirmed.handled_refresh.as_deref()), (2, Some("second")));
    assert!(confirmed.previous.is_none());
    assert_eq!(client.count(), 3);
}

/// A list of these networks, published on a day of June 2026, valid until the first: past it at once.
fn networks(day: u32, ips: &[&str]) -> Result<Fetched, FetchError> {
    let value = json!({
        "meta": { "version": format!("2026-06-{day:02}T00:00:00Z"), "validUntil": "2026-06-01T00:00:00Z" },
        "services": [{ "name": "Net", "direction": "outbound", "tcpPorts": "443", "required": true,
            "endpoints": [{ "geo": "us", "ips": ips }] }],
    });
    let validators = Validators::new(None, Some("Mon, 01 Jun 2026 00:00:00 GMT".to_owned()));
    Ok(Fetched::Document { body: value.to_string().into_bytes(), validators, content_type: None })
}

const OLD: [&str; 3] = ["20.111.0.0/24", "20.111.1.0/24", "20.111.2.0/24"];
const NEW: [&str; 4] = ["20.111.0.0/24", "20.111.1.0/24", "20.111.2.0/24", "20.111.8.0/24"];

#[tokio::test(start_paused = true)]
async fn an_older_list_of_another_edge_takes_nothing_back() {
    let client = Recorder::new(|_, count| if count % 2 == 1 { networks(2, &NEW) } else { networks(1, &OLD) });
    let store = Arc::new(MemoryStore::default());
    let clock = Clock::simulated("2026-06-02T12:00:00Z".parse().expect("a time"));
    let process = Process::start(FeedSettings::default(), clock, store.clone(), client.clone());
    let me = who("citrix", "me");
    process.feeds.watch(&me, request("acme"));
    pass(10).await;
    let first = process.view(&me);
    for token in 0..6 {
        process.feeds.refresh(&me, &token.to_string());
        pass(60).await;
        let view = process.view(&me);
        let list = view.allowlist.clone().expect("a list");
        assert_eq!(list.entries[0].networks.len(), 4, "after {} fetches", client.count());
        assert_eq!((list.version.as_deref(), view.digest), (Some("2026-06-02T00:00:00Z"), first.digest));
        let older = client.count().is_multiple_of(2);
        assert_eq!(view.message.contains("older list, 2026-06-01T00:00:00Z"), older, "{}", view.message);
    }
    assert_eq!(client.count(), 7);
    assert_eq!(store.saved().lists[0].state.older_since, None, "the newest answer was the newer list");
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_list_yields_to_its_predecessor_across_restarts() {
    let client = Recorder::new(|_, count| if count == 1 { networks(2, &NEW) } else { networks(1, &OLD) });
    let store = Arc::new(MemoryStore::default());
    let clock = Clock::simulated("2026-06-02T12:00:00Z".parse().expect("a time"));
    let me = who("citrix", "me");
    let networks_after = async |hours: u64| {
        let process = Process::start(FeedSettings::default(), clock, store.clone(), client.clone());
        process.feeds.restore().await;
        process.feeds.watch(&me, request("acme"));
        pass(hours * 3600).await;
        process.view(&me).allowlist.expect("a list").entries[0].networks.len()
    };
    for _ in 0..4 {
        assert_eq!(networks_after(20).await, 4, "80 hours of older answers");
    }
    assert_eq!(networks_after(30).await, 3, "110 hours: longer than the usual validity of 84");
}

#[tokio::test(start_paused = true)]
async fn an_expired_list_is_fetched_unconditionally_until_a_newer_one() {
    // A server that takes only the services for its content: validUntil rolls on, Last-Modified stays.
    let clock = Clock::simulated(epoch());
    let client = Recorder::new(move |request, _| {
        if !request.validators.is_empty() {
            return Ok(Fetched::NotModified);
        }
        let until = Timestamp::from_second((clock.now().as_second() / 7200 + 1) * 7200).expect("a time");
        names(4, &until.to_string())
    });
    let process = Process::start(FeedSettings::default(), clock, Arc::new(MemoryStore::default()), client.clone());
    let me = who("citrix", "me");
    process.feeds.watch(&me, FeedRequest { max_interval: Duration::from_secs(5000), ..request("acme") });
    for hour in 1..=24 {
        pass(3600).await;
        let view = process.view(&me);
        assert_eq!((view.reason, view.current), (Reason::Fetched, true), "hour {hour}: {}", view.message);
    }
    let conditional = client.sent().iter().filter(|(_, request)| !request.validators.is_empty()).count();
    assert!(conditional > 8, "within its validity it is asked whether it changed: {conditional}");
}

#[tokio::test(start_paused = true)]
async fn a_304_that_nobody_asked_for_is_no_confirmation() {
    let client = Recorder::new(|_, count| if count == 1 { networks(1, &OLD) } else { Ok(Fetched::NotModified) });
    let process = Process::simple(&client);
    let me = who("citrix", "me");
    process.feeds.watch(&me, request("acme"));
    pass(900).await;
    let view = process.view(&me);
    assert_eq!((view.reason, view.confirmations), (Reason::FeedMalformed, 1));
    assert!(
        view.message.starts_with("the API answers 304 to a request without condition; the list of"),
        "{}",
        view.message
    );
}

#[tokio::test(start_paused = true)]
async fn one_template_serves_every_customer() {
    let client = Recorder::new(daily);
    let settings = FeedSettings { shared_template: true, ..FeedSettings::default() };
    let process = Process::start(settings, Clock::simulated(epoch()), Arc::new(MemoryStore::default()), client.clone());
    for (who, request) in customers(300) {
        process.feeds.watch(&who, request);
    }
    pass(60).await;
    assert_eq!(client.count(), 1);
    let list = process.view(&who("ns42", "cr42")).allowlist.expect("a list");
    assert_eq!(list.entries[0].names[1].as_str(), "cust42.xendesktop.net");
    // A further customer is served without any request.
    let view = process.feeds.watch(&who("late", "late"), request("Late1"));
    assert_eq!(view.allowlist.expect("a list").entries[0].names[1].as_str(), "late1.xendesktop.net");
}

#[tokio::test(start_paused = true)]
async fn static_lists_and_format_zscaler_are_asked_for_as_they_are() {
    let client = Recorder::new(|request, _| {
        let body = if request.url.contains("static") {
            json!({ "DaaS": { "AllowList": ["<CUSTOMER_ID>.xendesktop.net"], "LatestChangeLog": "" } })
        } else {
            json!({ "usage": { "update_interval": 2 }, "services": [{ "id": "daas-outbound-us-tcp-ipv4",
                "protocol": "tcp", "ports": "443", "domains": ["a.example.net"], "cidrs": [] }] })
        };
        Ok(Fetched::Document {
            body: body.to_string().into_bytes(),
            validators: Validators::default(),
            content_type: None,
        })
    });
    let static_list_urls = [(Cloud::Japan, "https://static.example/static.json".to_owned())].into_iter().collect();
    let settings = FeedSettings { format: Format::Zscaler, static_list_urls, ..FeedSettings::default() };
    let process = Process::start(settings, Clock::simulated(epoch()), Arc::new(MemoryStore::default()), client.clone());
    let (japan, us, eu) = (who("a", "japan"), who("a", "us"), who("a", "eu"));
    process.feeds.watch(&japan, FeedRequest { cloud: Cloud::Japan, ..request("acme") });
    process.feeds.watch(&us, request("acme"));
    process.feeds.watch(&eu, FeedRequest { geo: Geo::Eu, directions: Directions::All, ..request("acme") });
    pass(10).await;
    let mut urls: Vec<String> = client.sent().into_iter().map(|(_, request)| request.url).collect();
    urls.sort();
    assert_eq!(
        urls,
        [
            "https://api.cloud.com/connectivity/v2/allowlist?customerId=acme&format=zscaler&geo=eu&direction=all",
            "https://api.cloud.com/connectivity/v2/allowlist?customerId=acme&format=zscaler&geo=us&direction=outbound",
            "https://static.example/static.json",
        ]
    );
    let list = process.view(&japan).allowlist.expect("a list");
    assert_eq!(list.entries[0].names[0].as_str(), "acme.xendesktop.net");
    let seconds = |view: FeedView| view.next_fetch.map(|at| at.as_second() - epoch().as_second());
    assert_eq!(seconds(process.view(&us)), Some(7200));
    assert_eq!(seconds(process.view(&japan)), Some(86_400));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_lead_asks_for_nothing() {
    let client = Recorder::new(daily);
    let process = Process::simple(&client);
    process.leading.send_replace(false);
    let me = who("citrix", "me");
    process.feeds.watch(&me, request("acme"));
    pass(3600).await;
    assert_eq!(client.count(), 0);
    process.leading.send_replace(true);
    pass(1).await;
    assert_eq!(client.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_needs_is_forgotten_here_and_in_the_store() {
    let client = Recorder::new(daily);
    let store = Arc::new(MemoryStore::default());
    let process = Process::start(FeedSettings::default(), Clock::simulated(epoch()), store.clone(), client.clone());
    let (me, other) = (who("citrix", "me"), who("citrix", "other"));
    process.feeds.watch(&me, request("acme"));
    process.feeds.watch(&other, request("other"));
    pass(10).await;
    assert_eq!(store.saved().lists.len(), 2);
    process.feeds.unwatch(&me);
    pass(300).await;
    assert!(process.feeds.watch(&me, request("acme")).allowlist.is_some(), "still known");
    process.feeds.unwatch(&me);
    pass(700).await;
    assert_eq!(process.feeds.snapshot().len(), 1);
    let kept: Vec<String> = store.saved().lists.iter().map(|list| list.key.to_string()).collect();
    assert_eq!(kept, ["Global/other/json"]);
    assert_eq!(client.count(), 2);
}

/// A store that cannot be read for a while, or holds what cannot be read.
struct BrokenStore {
    failures: Mutex<u32>,
    lists: Vec<SavedList>,
}

impl ListStore for BrokenStore {
    fn load(&self) -> BoxFuture<'_, Result<Saved, StoreError>> {
        Box::pin(async {
            let mut failures = self.failures.lock().expect("unpoisoned");
            if *failures > 0 {
                *failures -= 1;
                return Err(StoreError("the API server is away".into()));
            }
            Ok(Saved { lists: self.lists.clone(), ..Saved::default() })
        })
    }
    fn save(&self, _: SavedList) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Err(StoreError("no".into())) })
    }
    fn save_requests(&self, _: SavedRequests) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::pending())
    }
    fn retain(&self, _: BTreeSet<FeedKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async { Ok(()) })
    }
}

#[derive(Default)]
struct Heard {
    warnings: Mutex<Vec<String>>,
    fetched: Mutex<Vec<(Reason, bool)>>,
}

impl FeedObserver for Heard {
    fn fetched(&self, fetch: &CompletedFetch<'_>) {
        self.fetched.lock().expect("unpoisoned").push((fetch.reason, fetch.changed));
    }
    fn store_warning(&self, message: &str) {
        self.warnings.lock().expect("unpoisoned").push(message.to_owned());
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_delays_and_is_reported_and_harms_nothing() {
    let saved = Arc::new(MemoryStore::default());
    let client = Recorder::new(daily);
    let before = Process::start(FeedSettings::default(), Clock::simulated(epoch()), saved.clone(), client.clone());
    before.feeds.watch(&who("citrix", "me"), request("acme"));
    pass(10).await;
    drop(before);
    let mut corrupt = saved.saved().lists[0].clone();
    corrupt.document = Arc::from(&corrupt.document[..corrupt.document.len() / 2]);

    let store = Arc::new(BrokenStore { failures: Mutex::new(2), lists: vec![corrupt] });
    let heard = Arc::new(Heard::default());
    let process =
        Process::observed(FeedSettings::default(), Clock::simulated(epoch()), store, client.clone(), heard.clone());
    let me = who("citrix", "me");
    process.feeds.watch(&me, request("acme"));
    pass(2).await;
    assert_eq!(client.count(), 1, "the rate counts as used up where nothing is known");
    // Five seconds of it go to a store that takes no note of what is sent.
    pass(10).await;
    assert_eq!(client.count(), 2, "once it is known, what is corrupt is asked for again");
    assert!(process.view(&me).allowlist.is_some());
    let warnings = heard.warnings.lock().expect("unpoisoned").clone();
    let expected = [
        "cannot be read, requests wait",
        "cannot be read, requests wait",
        "is ignored (the gzip data is broken",
        "what was sent is not saved",
        "is not saved: a restart fetches it again",
    ];
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
    for (warning, expected) in warnings.iter().zip(expected) {
        assert!(warning.contains(expected), "{warning} does not hold {expected}");
    }
    assert_eq!(*heard.fetched.lock().expect("unpoisoned"), [(Reason::Fetched, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_greedy_namespace_starves_nobody() {
    let client = Recorder::new(daily);
    let settings =
        FeedSettings { lists: Bound { resource: 1, namespace: 400, process: 1000 }, ..FeedSettings::default() };
    let store = Arc::new(MemoryStore::default());
    let process = Process::start(settings, Clock::simulated(epoch()), store, client.clone());
    for index in 0..400 {
        process.feeds.watch(&who("greedy", &format!("cr{index}")), request(&format!("greedy{index}")));
    }
    pass(120).await;
    let modest = who("modest", "only");
    let view = process.feeds.watch(&modest, request("modest"));
    assert_eq!((view.reason, view.allowlist), (Reason::WaitingForFeed, None));
    assert!(view.next_fetch.is_some());
    pass(62).await;
    assert!(process.view(&modest).allowlist.is_some());
    let waiting = process.feeds.snapshot().iter().filter(|entry| entry.queue_place.is_some()).count();
    assert!(waiting > 300, "{waiting}");
}

#[tokio::test(start_paused = true)]
async fn a_day_of_an_expired_list_is_a_handful_of_requests() {
    let client = Recorder::new(|_, _| names(4, "2020-01-01T00:00:00Z"));
    let process = Process::simple(&client);
    let me = who("citrix", "me");
    process.feeds.watch(&me, request("acme"));
    pass(24 * 3600).await;
    assert!((8..=10).contains(&client.count()), "doubling from five minutes: {}", client.count());
    assert_eq!((process.view(&me).reason, process.view(&me).current), (Reason::FeedExpired, false));
}

#[tokio::test(start_paused = true)]
async fn an_unusable_customer_is_never_sent() {
    let client = Recorder::new(daily);
    let process = Process::simple(&client);
    let view = process.feeds.watch(&who("citrix", "me"), request("../../x"));
    assert_eq!(view.reason, Reason::FeedRejected);
    pass(3600).await;
    assert_eq!(client.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_redirect_on_the_same_host_counts_against_the_rate() {
    let client = Recorder::new(|request, count| {
        if request.url.contains("/moved/") && !request.url.contains("customerId=loop") {
            return names(4, "2026-06-02T00:00:00Z");
        }
        Ok(Fetched::Moved {
            url: format!(
                "https://api.cloud.com/moved/{count}?{}",
                request.url.split_once('?').map_or("", |(_, query)| query)
            ),
        })
    });
    let process = Process::simple(&client);
    let (me, circle) = (who("citrix", "me"), who("citrix", "circle"));
    process.feeds.watch(&me, request("acme"));
    process.feeds.watch(&circle, request("loop"));
    pass(50).await;
    assert!(process.view(&me).allowlist.is_some());
    pass(120).await;
    assert!(client.busiest_minute() <= 5);
    assert!(process.view(&circle).message.starts_with("the API redirects in circles"));
}

#[tokio::test(start_paused = true)]
async fn lists_beyond_a_bound_wait_and_cost_nobody_else() {
    let client = Recorder::new(daily);
    let settings = FeedSettings {
        lists: Bound { resource: 1, namespace: 2, process: 8 },
        requests_per_minute: 1000.try_into().expect("a rate"),
        ..FeedSettings::default()
    };
    let store = Arc::new(MemoryStore::default());
    let mut process = Process::start(settings, Clock::simulated(epoch()), store, client.clone());
    let watch =
        |of: &Process, namespace: &str, customer: &str| of.feeds.watch(&who(namespace, customer), request(customer));
    for customer in ["one", "two"] {
        assert!(watch(&process, "greedy", customer).problems.is_empty(), "{customer}");
    }
    let waiting = watch(&process, "greedy", "three");
    assert_eq!(waiting.problems.len(), 1, "{waiting:?}");
    assert!(waiting.message.contains("may have 2 (--max-lists-per-namespace)"), "{}", waiting.message);
    assert!(watch(&process, "modest", "three").problems.is_empty(), "another namespace has room");
    let applied = process.feeds.watch_applied(&who("greedy", "applied"), request("four"), true);
    assert!(applied.problems.is_empty(), "an applied spec keeps its list over a restart");
    process.feeds.unwatch(&who("greedy", "applied"));
    assert!(watch(&process, "greedy", "one").problems.is_empty(), "a list that is used already costs nothing");
    assert_eq!(process.feeds.left_out(), [0, 1, 0]);
    pass(60).await;
    assert_eq!(client.count(), 3, "the list without room is not fetched for its sake");

    process.wakes();
    process.feeds.unwatch(&who("greedy", "two"));
    assert_eq!(process.wakes(), [who("greedy", "three")]);
    let admitted = watch(&process, "greedy", "three");
    assert!(admitted.allowlist.is_some() && admitted.problems.is_empty(), "{admitted:?}");
    assert_eq!(process.feeds.left_out(), [0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_goes_wakes_who_waits_for_that_very_room() {
    let client = Recorder::new(daily);
    let settings = FeedSettings { lists: Bound { resource: 1, namespace: 2, process: 4 }, ..FeedSettings::default() };
    let store = Arc::new(MemoryStore::default());
    let mut process = Process::start(settings, Clock::simulated(epoch()), store, client.clone());
    let places = [("a", "one"), ("a", "two"), ("b", "three")];
    for (namespace, customer) in places {
        let view = process.feeds.watch(&who(namespace, customer), request(customer));
        assert!(view.problems.is_empty(), "{namespace}/{customer}");
    }
    process.feeds.watch(&who("a", "full"), request("four"));
    process.feeds.watch(&who("c", "late"), request("five"));
    assert_eq!(process.feeds.left_out(), [0, 1, 1], "one by its namespace, one by the process");
    process.wakes();
    process.feeds.unwatch(&who("b", "three"));
    assert_eq!(process.wakes(), [who("c", "late")], "not the one that its namespace has no room for");
    assert!(process.feeds.watch(&who("c", "late"), request("five")).problems.is_empty());
}

#[tokio::test(start_paused = true)]
async fn no_room_is_lost_on_a_resource_that_wants_it_no_more() {
    let lists = Bound { resource: 1, namespace: 2, process: 40 };
    let settings = FeedSettings { lists, ..FeedSettings::default() };
    let store = Arc::new(MemoryStore::default());
    let mut process = Process::start(settings, Clock::simulated(epoch()), store, Recorder::new(daily));
    for (name, customer) in [("1", "one"), ("2", "two"), ("3", "three"), ("4", "three"), ("5", "four")] {
        process.feeds.watch(&who("a", name), request(customer));
    }
    assert_eq!(process.feeds.left_out(), [0, 3, 0]);
    process.wakes();
    process.feeds.unwatch(&who("a", "1"));
    assert_eq!(process.wakes(), [who("a", "3")]);
    pass(61).await;
    assert_eq!(process.wakes()[0], who("a", "4"), "the first says nothing more: a suspended or invalid one does that");
    process.feeds.watch(&who("a", "5"), request("four"));
    for name in ["3", "4"] {
        process.feeds.watch(&who("a", name), request("three"));
    }
    process.feeds.watch(&who("a", "2"), request("four"));
    process.wakes();
    assert!(process.feeds.watch(&who("a", "3"), request("three")).problems.is_empty(), "the room that `2` left");
    pass(1).await;
    assert!(process.wakes().contains(&who("a", "4")), "the list that it waits for is one of its namespace now");
}

#[tokio::test(start_paused = true)]
async fn lists_that_nothing_needs_are_forgotten_beyond_the_bound() {
    let client = Recorder::new(daily);
    let lists = Bound { resource: 1, namespace: 100, process: 8 };
    let settings =
        FeedSettings { lists, requests_per_minute: 1000.try_into().expect("a rate"), ..FeedSettings::default() };
    let store = Arc::new(MemoryStore::default());
    let process = Process::start(settings, Clock::simulated(epoch()), store, client.clone());
    for number in 0..40 {
        let customer = format!("made{number}");
        process.feeds.watch(&who("churn", "one"), request(&customer));
        pass(2).await;
    }
    assert!(process.feeds.snapshot().len() <= 9, "{}", process.feeds.snapshot().len());
    assert!(process.feeds.snapshot().iter().any(|list| list.key.customer.as_deref() == Some("made39")));
}
