//! The shared table on a paused clock against a client that records: how often the vendor is asked, for whom first, and
//! what resources see meanwhile.

use citrix_allowlist::bound::Bound;
use citrix_allowlist::clock::Clock;
use citrix_allowlist::feed::store::{Saved, SavedList, SavedRequests, StoreError};
use citrix_allowlist::feed::{
    CompletedFetch, FeedKey, FeedObserver, FeedRequest, FeedSettings, FeedView, Feeds, Format, ListStore, MemoryStore,
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

mod kept;
mod rate;
mod room;
mod versions;

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
        Self::observed(settings, clock, store, client, Arc::new(()))
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
