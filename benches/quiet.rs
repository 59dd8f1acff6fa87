//! The whole controller with one resource, against a client that answers as the API server would: everything is in
//! place, nothing changes, and the resource is looked at again and again.

use citrix_allowlist::clock::Clock;
use citrix_allowlist::cluster::apply::Writer;
use citrix_allowlist::cluster::lease::Leadership;
use citrix_allowlist::cluster::owned::OwnedObjects;
use citrix_allowlist::cluster::pods::PodLister;
use citrix_allowlist::cluster::report::StatusWriter;
use citrix_allowlist::cluster::watch::ResourceChange;
use citrix_allowlist::controller::{self, Context, Inputs, OwnPod, Settings};
use citrix_allowlist::crd::CitrixAllowlist;
use citrix_allowlist::facts::ClusterFacts;
use citrix_allowlist::feed::client::{FetchError, FetchRequest, Fetched};
use citrix_allowlist::feed::{FeedSettings, Feeds, Fetch, MemoryStore};
use citrix_allowlist::guard::{Guard, GuardSettings};
use citrix_allowlist::names::{Answer, Family, Lookup, Names, NamesSettings, Outcome};
use citrix_allowlist::net::DomainName;
use citrix_allowlist::render::Limits;
use citrix_allowlist::server::Health;
use citrix_allowlist::subscriber::{Subscriber, Waker};
use citrix_allowlist::telemetry::Metrics;
use futures::future::BoxFuture;
use kube::Client;
use kube::client::Body;
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "web";
const NAME: &str = "daas";
/// How many names the list has, each of three addresses.
const NAMES: usize = 200;
/// Longer than a reconcile takes under a program that counts its instructions.
const PAUSE: Duration = Duration::from_millis(500);

struct Vendor;

impl Fetch for Vendor {
    fn fetch(&self, _: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        let fqdns: Vec<String> = (0..NAMES).map(|index| format!("name-{index}.example.com")).collect();
        let document = json!({
            "meta": { "version": "2026-06-01T00:00:00Z", "validUntil": "2030-06-01T00:00:00Z" },
            "services": [{ "name": "DaaS", "direction": "outbound", "tcpPorts": "443",
                "endpoints": [{ "fqdns": fqdns, "ips": ["13.107.6.152/31"] }] }],
        });
        let body = document.to_string().into_bytes();
        Box::pin(async { Ok(Fetched::Document { body, last_modified: None, content_type: None }) })
    }
}

/// Every name has the same three addresses for ever.
struct Steady;

impl Lookup for Steady {
    fn ask(&self, _: SocketAddr, name: &DomainName, family: Family) -> BoxFuture<'static, Outcome> {
        let number: u32 =
            name.as_str().chars().filter_map(|letter| letter.to_digit(10)).fold(0, |sum, digit| sum * 10 + digit);
        let ttl = Duration::from_secs(3600);
        let answer = match family {
            Family::V6 => Answer::Absent { nxdomain: false, ttl: Some(ttl) },
            Family::V4 => {
                let first = u32::from(Ipv4Addr::new(20, 64, 0, 1)) + number * 1009;
                let addresses: BTreeSet<IpAddr> =
                    (0..3).map(|offset| Ipv4Addr::from(first + offset * 7).into()).collect();
                Answer::Addresses { addresses, ttl }
            }
        };
        Box::pin(async { Ok(answer) })
    }
}

/// The few calls that the controller makes.
struct TinyApi {
    version: AtomicU64,
    resource: Mutex<Value>,
    changed: mpsc::UnboundedSender<CitrixAllowlist>,
}

impl TinyApi {
    fn answer(&self, path: &str, body: &[u8]) -> Value {
        let version = self.version.fetch_add(1, Ordering::SeqCst).to_string();
        let mut object: Value = serde_json::from_slice(body).unwrap_or_else(|_| json!({ "metadata": {}, "items": [] }));
        if path.ends_with("/status") {
            let mut resource = self.resource.lock().unwrap_or_else(PoisonError::into_inner);
            resource["status"] = object["status"].take();
            resource["metadata"]["resourceVersion"] = json!(version);
            // The watch lives as long as the controller.
            let _ = self.changed.send(serde_json::from_value(resource.clone()).expect("a resource"));
            return resource.clone();
        }
        object["metadata"]["uid"] = json!(format!("uid of {path}"));
        object["metadata"]["resourceVersion"] = json!(version);
        object
    }

    fn client(self: Arc<Self>) -> Client {
        let service = tower::service_fn(move |request: axum::http::Request<Body>| {
            let api = Arc::clone(&self);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.expect("a body");
                let answer = api.answer(parts.uri.path(), &body);
                Ok::<_, Infallible>(axum::http::Response::new(Body::from(answer.to_string().into_bytes())))
            }
        });
        Client::new(service, NAMESPACE)
    }
}

/// Brings everything about, then has the resource looked at so many times.
///
/// # Panics
/// Where a look changed something, or was no look.
pub fn reconciles(count: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(count));
}

async fn run(count: usize) {
    let clock = Clock::System;
    let resource = json!({
        "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
        "metadata": { "name": NAME, "namespace": NAMESPACE, "uid": "1", "generation": 1, "resourceVersion": "1" },
        "spec": { "customerId": "testcustomer", "geo": "us", "dnsEgress": "None", "ipFamilies": "IPv4" },
    });
    let (changed, mut changes) = mpsc::unbounded_channel();
    let api = Arc::new(TinyApi { version: AtomicU64::new(2), resource: Mutex::new(resource.clone()), changed });
    let client = Arc::clone(&api).client();
    let metrics = Arc::new(Metrics::default());
    let (wake, woken) = mpsc::unbounded_channel();
    let waker = Waker::new(wake);
    let guard = Guard::new(GuardSettings::default(), &ClusterFacts::default());
    let feeds = Feeds::new(
        FeedSettings::default(),
        clock,
        waker.clone(),
        Arc::new(MemoryStore::default()),
        Arc::new(Vendor),
        Arc::clone(&metrics) as _,
    );
    let names =
        Names::new(&NamesSettings::new(guard), clock, waker.clone(), Arc::new(Steady), Arc::clone(&metrics) as _);
    names.set_servers(vec![SocketAddr::from(([10, 96, 0, 10], 53))]);
    let leadership = Leadership::always();
    let owned = Arc::new(OwnedObjects::default());
    let settings = Settings {
        first_policy_wait: Duration::from_secs(300),
        protected_namespaces: vec![],
        limits: Limits::default(),
        own_pod: watch::channel(OwnPod::None).1,
        guard: GuardSettings::default(),
        concurrency: 8,
    };
    let context = Context::new(
        feeds.clone(),
        names.clone(),
        Arc::clone(&owned),
        PodLister::new(client.clone()),
        Writer::new(client.clone(), leadership.clone(), owned, Arc::clone(&metrics) as _),
        StatusWriter::new(client, leadership.clone(), None, Arc::clone(&metrics) as _),
        Arc::clone(&metrics),
        settings,
        clock,
    );
    let (store, mut writer) = reflector::store();
    writer.apply_watcher_event(&Event::Init);
    writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(resource).expect("a resource")));
    writer.apply_watcher_event(&Event::InitDone);
    tokio::spawn(async move {
        while let Some(resource) = changes.recv().await {
            writer.apply_watcher_event(&Event::Apply(resource));
        }
    });
    let who = Subscriber::new(NAMESPACE, NAME);
    let (look, looks) = mpsc::unbounded_channel();
    let looks = futures::stream::unfold(looks, |mut looks| async move {
        let look: Vec<ResourceChange> = looks.recv().await?;
        Some((look, looks))
    });
    let (_facts, facts) = watch::channel(Arc::new(ClusterFacts::default()));
    let inputs = Inputs {
        store,
        changes: looks,
        woken,
        facts,
        leading: leadership.receiver(),
        synced: vec![],
        health: Health::new(clock, Duration::from_secs(60), []),
    };
    let leading = leadership.receiver();
    tokio::spawn({
        let (feeds, leading) = (feeds, leading.clone());
        async move { feeds.run(leading).await }
    });
    tokio::spawn(async move { names.run(leading).await });
    tokio::spawn(controller::run(Arc::new(context), inputs, CancellationToken::new()));

    let unchanged = || total(&metrics.render(), "citrix_allowlist_reconciles_total{outcome=\"unchanged\"}");
    let waited = std::time::Instant::now();
    while total(&metrics.render(), "citrix_allowlist_writes_total{kind=\"CitrixAllowlist\"") == 0 {
        assert!(waited.elapsed() < Duration::from_secs(120), "everything is in place:\n{}", metrics.render());
        tokio::time::sleep(PAUSE).await;
    }
    // What the last answers brought about is over.
    tokio::time::sleep(4 * PAUSE).await;
    let before = unchanged();
    for _ in 0..count {
        look.send(vec![ResourceChange::Changed(who.clone())]).expect("the controller runs");
        tokio::time::sleep(PAUSE).await;
    }
    assert_eq!(unchanged() - before, count, "each look is one reconcile that changes nothing");
}

/// The sum of the series that begin so.
fn total(metrics: &str, series: &str) -> usize {
    let lines = metrics.lines().filter(|line| line.starts_with(series));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
}
