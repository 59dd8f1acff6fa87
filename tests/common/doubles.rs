//! The whole controller with one resource, without a cluster: against a client that answers as the API server would and
//! records what it is asked, a vendor and a DNS that the caller brings, and whatever clock it runs by.

use axum::http::{Method, Request, Response};
use citrix_allowlist::clock::Clock;
use citrix_allowlist::cluster::apply::Writer;
use citrix_allowlist::cluster::freshness::Freshness;
use citrix_allowlist::cluster::lease::Leadership;
use citrix_allowlist::cluster::owned::OwnedObjects;
use citrix_allowlist::cluster::pods::PodLister;
use citrix_allowlist::cluster::report::StatusWriter;
use citrix_allowlist::cluster::resources::{ResourceChange, ResourceStore};
use citrix_allowlist::cluster::scope::Scope;
use citrix_allowlist::controller::{self, Context, LoopInputs, OwnPod, ReconcileState, Settings};
use citrix_allowlist::crd::CitrixAllowlist;
use citrix_allowlist::engines::{Engines, Limits};
use citrix_allowlist::facts::ClusterFacts;
use citrix_allowlist::feed::{FeedSettings, Feeds, MemoryStore};
use citrix_allowlist::guard::{Guard, GuardSettings};
use citrix_allowlist::memory::Pressure;
use citrix_allowlist::names::{Lookup, Names, NamesSettings};
use citrix_allowlist::resource_ref::{ResourceRef, Waker};
use citrix_allowlist::server::Health;
use citrix_allowlist::telemetry::Metrics;
use connectivity_allowlist::Fetch;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "web";
const NAME: &str = "daas";

/// The few calls that the controller makes.
pub struct TinyApi {
    version: AtomicU64,
    resource: Mutex<Value>,
    calls: Mutex<Vec<(String, Value)>>,
    changed: mpsc::UnboundedSender<CitrixAllowlist>,
}

impl TinyApi {
    fn answer(&self, method: &Method, path: &str, body: &[u8]) -> Value {
        let kind = path
            .rsplit('/')
            .find(|part| matches!(*part, "networkpolicies" | "configmaps" | "events" | "status" | "pods"));
        let version = self.version.fetch_add(1, Ordering::SeqCst).to_string();
        let mut object: Value = serde_json::from_slice(body).unwrap_or_else(|_| json!({ "metadata": {}, "items": [] }));
        let call = (format!("{method} {}", kind.unwrap_or(path)), object["status"].clone());
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(call);
        if kind == Some("status") {
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

    /// The calls so far, such as `POST networkpolicies` or `PATCH status`, each with the status it wrote.
    pub fn calls(&self) -> Vec<(String, Value)> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The controller, and what it is seen and prodded by.
pub struct Doubles {
    /// What it asked of the API server.
    pub api: Arc<TinyApi>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    look: mpsc::UnboundedSender<Vec<ResourceChange>>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), controller::QueueEnded>>,
    _facts: watch::Sender<Arc<ClusterFacts>>,
}

impl Doubles {
    /// Starts the controller; the resource is there, and not looked at yet.
    pub fn start(clock: Clock, vendor: Arc<dyn Fetch>, resolver: Arc<dyn Lookup>) -> Self {
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
        let metrics = Arc::new(Metrics::default());
        let (wake, woken) = mpsc::unbounded_channel();
        let waker = Waker::new(wake);
        let guard = Guard::new(GuardSettings::default(), &ClusterFacts::default());
        let feeds = Feeds::new(
            FeedSettings::default(),
            clock,
            waker.clone(),
            Arc::new(MemoryStore::default()),
            vendor,
            Arc::clone(&metrics) as _,
        );
        let names = Names::new(&NamesSettings::new(guard), clock, waker, resolver, Arc::clone(&metrics) as _);
        names.set_servers(vec!["10.96.0.10:53".parse().expect("an address")]);
        let leadership = Leadership::always();
        let owned = Arc::new(OwnedObjects::default());
        owned.current().all_listed();
        let settings = Settings {
            engines: Engines::default(),
            first_policy_wait: Duration::from_secs(300),
            protected_namespaces: vec![],
            limits: Limits::default(),
            own_pod: watch::channel(OwnPod::None).1,
            guard: GuardSettings::default(),
            concurrency: 8,
            pressure: Pressure::default(),
            settle: None,
        };
        let resources = Arc::new(ResourceStore::default());
        let context = Context {
            resources: Arc::clone(&resources),
            feeds: feeds.clone(),
            names: names.clone(),
            owned: Arc::clone(&owned),
            freshness: Freshness::new(client.clone(), Scope::of(vec![]), vec![], Arc::clone(&owned)),
            pods: PodLister(client.clone()),
            writer: Writer::new(client.clone(), leadership.clone(), owned, Arc::clone(&metrics) as _),
            reporter: StatusWriter::new(client, leadership.clone(), None, Arc::clone(&metrics) as _),
            metrics: Arc::clone(&metrics),
            shared: ReconcileState::new(&settings),
            settings,
            clock,
        };
        // The watch of resources: this one, and its status as it is written.
        resources.insert(serde_json::from_value(resource).expect("a resource"));
        resources.complete();
        tokio::spawn(async move {
            while let Some(resource) = changes.recv().await {
                resources.insert(resource);
            }
        });
        let (look, looks) = mpsc::unbounded_channel();
        let looks = futures::stream::unfold(looks, |mut looks| async move {
            let look: Vec<ResourceChange> = looks.recv().await?;
            Some((look, looks))
        });
        let (facts_sender, facts) = watch::channel(Arc::new(ClusterFacts::default()));
        let inputs = LoopInputs {
            changes: looks,
            woken,
            facts,
            leading: leadership.receiver(),
            facts_complete: watch::channel(true).1,
            health: Health::new(clock, Duration::from_secs(60), []),
        };
        let leading = leadership.receiver();
        tokio::spawn({
            let leading = leading.clone();
            async move { feeds.run(leading).await }
        });
        tokio::spawn(async move { names.run(leading).await });
        let stop = CancellationToken::new();
        let running = tokio::spawn(controller::run(Arc::new(context), inputs, stop.clone()));
        Self { api, metrics, look, stop, running, _facts: facts_sender }
    }

    /// Has the resource looked at.
    pub fn look(&self) {
        let change = ResourceChange::Changed(ResourceRef::new(NAMESPACE, NAME));
        self.look.send(vec![change]).expect("the controller runs");
    }

    /// Ends the controller.
    pub async fn end(self) {
        self.stop.cancel();
        self.running.await.expect("it ends").expect("well");
    }
}
