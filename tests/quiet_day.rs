//! A day in which nothing changes but the vendor's `validUntil` and which of its addresses a name answers with, on a
//! paused clock and against a client that records: no policy and no ConfigMap is written, and one status for each
//! completed fetch.

use axum::http::{Method, Request, Response};
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
use futures::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use kube::Client;
use kube::client::Body;
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a list is valid: a fetch every so often.
const VALID: SignedDuration = SignedDuration::from_hours(2);
const NAMESPACE: &str = "web";
const NAME: &str = "daas";

/// The vendor: one list for ever, valid anew with each fetch.
struct Vendor {
    clock: Clock,
    fetches: AtomicUsize,
}

impl Fetch for Vendor {
    fn fetch(&self, _: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        Box::pin(async {
            self.fetches.fetch_add(1, Ordering::SeqCst);
            let document = json!({
                "meta": { "version": "2026-06-01T00:00:00Z", "validUntil": (self.clock.now() + VALID).to_string() },
                "services": [{ "name": "DaaS", "direction": "outbound", "tcpPorts": "443",
                    "endpoints": [{ "fqdns": ["a.example.com", "b.example.com"], "ips": ["13.107.6.152/31"] }] }],
            });
            Ok(Fetched::Document { body: document.to_string().into_bytes(), last_modified: None, content_type: None })
        })
    }
}

/// DNS: every name has six addresses and answers with two of them, others each time, for 30 s.
#[derive(Default)]
struct Rotating {
    questions: AtomicUsize,
}

impl Lookup for Rotating {
    fn ask(&self, _: SocketAddr, name: &DomainName, family: Family) -> BoxFuture<'static, Outcome> {
        let question = self.questions.fetch_add(1, Ordering::SeqCst);
        let first = name.as_str().as_bytes()[0];
        let answer = match family {
            Family::V6 => Answer::Absent { nxdomain: false, ttl: Some(Duration::from_secs(30)) },
            Family::V4 => {
                let address = |index: usize| {
                    let last = u8::try_from(10 * (index % 6)).expect("small");
                    IpAddr::V4(Ipv4Addr::new(20, 64, first, last + 1))
                };
                // Questions of both families are counted, so every second one is of this.
                let addresses = BTreeSet::from([address(question), address(question + 1), address(question + 3)]);
                Answer::Addresses { addresses, ttl: Duration::from_secs(30) }
            }
        };
        Box::pin(async { Ok(answer) })
    }
}

/// The few calls that a quiet controller makes, answered as the API server would, and recorded.
struct TinyApi {
    version: AtomicU64,
    resource: Mutex<Value>,
    calls: Mutex<Vec<String>>,
    changed: mpsc::UnboundedSender<CitrixAllowlist>,
}

impl TinyApi {
    fn next_version(&self) -> String {
        self.version.fetch_add(1, Ordering::SeqCst).to_string()
    }

    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> Value {
        let kind = path
            .rsplit('/')
            .find(|part| matches!(*part, "networkpolicies" | "configmaps" | "events" | "status" | "pods"));
        self.calls.lock().expect("unpoisoned").push(format!("{method} {}", kind.unwrap_or(path)));
        let mut object: Value = serde_json::from_slice(body).unwrap_or_else(|_| json!({ "metadata": {}, "items": [] }));
        if kind == Some("status") {
            let mut resource = self.resource.lock().expect("unpoisoned");
            resource["status"] = object["status"].take();
            resource["metadata"]["resourceVersion"] = json!(self.next_version());
            let changed = serde_json::from_value(resource.clone()).expect("a resource");
            self.changed.send(changed).expect("the watch runs");
            return resource.clone();
        }
        object["metadata"]["uid"] = json!(format!("uid-of-{}", kind.unwrap_or_default()));
        object["metadata"]["resourceVersion"] = json!(self.next_version());
        object
    }

    fn client(self: &Arc<Self>) -> Client {
        let api = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = Arc::clone(&api);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await.expect("a body");
                let answer = api.answer(&parts.method, parts.uri.path(), &body);
                Ok::<_, Infallible>(Response::new(Body::from(answer.to_string().into_bytes())))
            }
        });
        Client::new(service, NAMESPACE)
    }

    /// Calls so far that begin so, such as `POST`, or `PATCH status`.
    fn count(&self, call: &str) -> usize {
        self.calls.lock().expect("unpoisoned").iter().filter(|made| made.starts_with(call)).count()
    }

    /// Writes so far other than of status.
    fn writes(&self) -> usize {
        let calls = self.calls.lock().expect("unpoisoned");
        calls.iter().filter(|call| !call.starts_with("GET") && !call.ends_with("status")).count()
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_day_writes_one_status_for_each_fetch_and_nothing_else() {
    let epoch: Timestamp = "2026-06-01T00:00:00Z".parse().expect("a time");
    let clock = Clock::simulated(epoch);
    let resource = json!({
        "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
        "metadata": { "name": NAME, "namespace": NAMESPACE, "uid": "1", "generation": 1, "resourceVersion": "1" },
        "spec": { "customerId": "testcustomer", "geo": "us", "dnsEgress": "None", "ipFamilies": "IPv4" },
    });
    let (changed, mut changes) = mpsc::unbounded_channel();
    let api = Arc::new(TinyApi {
        version: AtomicU64::new(2),
        resource: Mutex::new(resource.clone()),
        calls: Mutex::default(),
        changed,
    });
    let client = api.client();
    let vendor = Arc::new(Vendor { clock, fetches: AtomicUsize::new(0) });
    let resolver = Arc::new(Rotating::default());
    let metrics = Arc::new(Metrics::default());
    let (wake, woken) = mpsc::unbounded_channel();
    let waker = Waker::new(wake);
    let guard = Guard::new(GuardSettings::default(), &ClusterFacts::default());
    let feeds = Feeds::new(
        FeedSettings::default(),
        clock,
        waker.clone(),
        Arc::new(MemoryStore::default()),
        Arc::clone(&vendor) as Arc<dyn Fetch>,
        Arc::clone(&metrics) as _,
    );
    let names =
        Names::new(&NamesSettings::new(guard), clock, waker, Arc::clone(&resolver) as _, Arc::clone(&metrics) as _);
    names.set_servers(vec!["10.96.0.10:53".parse().expect("an address")]);
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
        metrics,
        settings,
        clock,
    );

    // The watch of resources: this one, and its status as it is written.
    let (store, mut writer) = reflector::store();
    let first: CitrixAllowlist = serde_json::from_value(resource).expect("a resource");
    writer.apply_watcher_event(&Event::Init);
    writer.apply_watcher_event(&Event::InitApply(first));
    writer.apply_watcher_event(&Event::InitDone);
    tokio::spawn(async move {
        while let Some(resource) = changes.recv().await {
            writer.apply_watcher_event(&Event::Apply(resource));
        }
    });
    let once = stream::iter([vec![ResourceChange::Changed(Subscriber::new(NAMESPACE, NAME))]]).chain(stream::pending());
    let (_facts, facts) = watch::channel(Arc::new(ClusterFacts::default()));
    let stop = CancellationToken::new();
    let inputs = Inputs {
        store,
        changes: once,
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
    let running = tokio::spawn(controller::run(Arc::new(context), inputs, stop.clone()));

    // An hour in which every address of the rotation is seen.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let (fetches, statuses, writes) = (vendor.fetches.load(Ordering::SeqCst), api.count("PATCH status"), api.writes());
    assert_eq!((api.count("POST networkpolicies"), fetches), (1, 1), "a policy: {:?}", api.calls);
    let questions = resolver.questions.load(Ordering::SeqCst);
    tokio::time::sleep(DAY).await;
    let fetches = vendor.fetches.load(Ordering::SeqCst) - fetches;
    let statuses = api.count("PATCH status") - statuses;
    let asked = resolver.questions.load(Ordering::SeqCst) - questions;
    println!("in a day: {fetches} fetches, {asked} questions, {statuses} writes of status");
    assert!((11..=14).contains(&fetches), "{fetches} fetches of a list that is valid for two hours");
    assert!(asked > 4_000, "{asked} questions with a TTL of 30 s");
    assert_eq!(statuses, fetches, "one write of status for each completed fetch");
    assert_eq!(api.writes(), writes, "and nothing else: {:?}", api.calls);
    stop.cancel();
    running.await.expect("it ends");
}
