//! Everything that the operator is made of.

use super::arguments::RunArguments;
use super::debug_state::pieces;
use super::edges::Edges;
use super::feed_reports::{FeedReports, publish};
use super::{LIVENESS_TIMEOUT, own_pod};
use crate::cluster::access::Reviews;
use crate::cluster::apply::Writer;
use crate::cluster::askers::Askers;
use crate::cluster::client::Connected;
use crate::cluster::facts::Facts;
use crate::cluster::freshness::Freshness;
use crate::cluster::histories::Histories;
use crate::cluster::lease::Leadership;
use crate::cluster::owned::OwnedObjects;
use crate::cluster::owned::trail::TrailEvent;
use crate::cluster::pods::PodLister;
use crate::cluster::report::StatusWriter;
use crate::cluster::resources::{self, ResourceChange};
use crate::cluster::saved_lists::SavedLists;
use crate::cluster::scope::Scope;
use crate::cluster::watch::keep_owned;
use crate::controller::{Context, OwnPod, ReconcileState, Recorder, Settings};
use crate::engines::Engines;
use crate::facts::ClusterFacts;
use crate::feed::Feeds;
use crate::forward::{Forwarder, NotedFetch, OwnHosts};
use crate::guard::Guard;
use crate::memory::{Pressure, cgroup};
use crate::names::Names;
use crate::names::servers::servers_to_ask;
use crate::resource_ref::{ResourceRef, Waker};
use crate::server::{Authorizer, Content, Health};
use crate::telemetry::Metrics;
use futures::Stream;
use kube::Client;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// The operator's rooms, each with the others that it needs.
pub(super) struct Parts {
    pub context: Arc<Context>,
    pub facts: Facts,
    pub health: Health,
    pub leadership: Leadership,
    /// Resources that a list or a name wakes.
    pub woken: UnboundedReceiver<ResourceRef>,
    edges: Edges,
    scope: Scope,
    waker: Waker,
    warnings: Option<UnboundedReceiver<String>>,
    changes: Option<UnboundedReceiver<TrailEvent>>,
    own_pod: Option<watch::Sender<OwnPod>>,
    /// The hosts that the operator itself talks to, for the forwarder.
    own_hosts: OwnHosts,
}

impl Parts {
    /// Makes the rooms; nothing runs yet but the watch of the cluster's facts.
    pub fn new(arguments: &RunArguments, engines: Engines, edges: Edges, leadership: Leadership) -> Self {
        let (client, namespace, clock) =
            (edges.connected.client.clone(), edges.connected.namespace.clone(), edges.clock);
        let metrics = Arc::new(Metrics::default());
        metrics.limited_to(arguments.feed.requests_per_minute);
        let (wake, woken) = unbounded_channel();
        let waker = Waker::new(wake);
        let store = SavedLists::new(client.clone(), &namespace, leadership.clone());
        let (reports, warnings) = FeedReports::new(Arc::clone(&metrics));
        let own_hosts = OwnHosts::default();
        let vendor = NotedFetch { fetch: Arc::clone(&edges.vendor), hosts: own_hosts.clone() };
        let (store, vendor) = (Arc::new(store), Arc::new(vendor));
        let feeds = Feeds::new(arguments.feed.settings(), clock, waker.clone(), store, vendor, Arc::new(reports));
        // A kill for memory would affect every resource: so load is shed before.
        let pressure = Pressure::default();
        pressure.note((edges.memory)());
        feeds.put_off_under(pressure.clone());
        let guard = Guard::new(arguments.guard.settings(), &ClusterFacts::default());
        let mut settings = arguments.names.settings(guard);
        settings.learned_retention = arguments.forward.learned_retention;
        let observer = Arc::<Metrics>::clone(&metrics);
        let names = Names::new(&settings, clock, waker.clone(), Arc::clone(&edges.dns), observer);
        arguments.forward.apply_to(&names);

        let owned = Arc::new(OwnedObjects::default());
        let (changes, recorded) = unbounded_channel();
        owned.record_to(changes);
        let writer = Writer::new(client.clone(), leadership.clone(), Arc::clone(&owned), metrics.clone());
        let pod = edges.pod.clone();
        let reporter = StatusWriter::new(client.clone(), leadership.clone(), pod.clone(), metrics.clone());
        let unknown = pod.as_ref().map_or(OwnPod::None, |_| OwnPod::Unknown { namespace });
        let (own_pod_sender, own_pod) = watch::channel(unknown);
        let settings = Settings {
            first_policy_wait: arguments.names.first_policy_wait,
            protected_namespaces: arguments.cluster.policies.protected_namespace.clone(),
            engines,
            limits: arguments.cluster.policies.limits(),
            own_pod,
            guard: arguments.guard.settings(),
            concurrency: arguments.cluster.concurrency.into(),
            pressure,
            settle: arguments.forward.is_on().then_some(arguments.forward.forward_settle),
        };
        let scope = Scope::of(arguments.cluster.watch_namespace.clone());
        let context = Context {
            resources: Arc::default(),
            feeds,
            names,
            freshness: Freshness::new(client.clone(), scope.clone(), settings.engines.kinds(), Arc::clone(&owned)),
            owned,
            pods: PodLister(client.clone()),
            writer,
            reporter,
            metrics,
            shared: ReconcileState::new(&settings),
            settings,
            clock,
        };
        let facts = arguments.cluster.policies.facts(edges.resolv_conf.clone(), edges.connected.api_server);
        Self {
            context: Arc::new(context),
            facts: Facts::start(client, facts),
            health: Health::new(clock, LIVENESS_TIMEOUT, ["resources", "objects", "cluster facts"]),
            leadership,
            woken,
            edges,
            scope,
            waker,
            warnings: Some(warnings),
            changes: Some(recorded),
            own_hosts,
            own_pod: pod.map(|_| own_pod_sender),
        }
    }

    /// What the process serves over HTTP.
    pub fn content(&self, authorizes_debug_state: bool) -> Content {
        let (context, leadership) = (Arc::clone(&self.context), self.leadership.clone());
        let metrics = move || {
            let (mut lists, mut known) = (context.feeds.snapshot(), context.names.snapshot());
            if !leadership.is_leading() {
                // A standby's tables are not kept current: they would report old lists.
                lists.clear();
                known.names.clear();
                (known.learned, known.zones) = Default::default();
            }
            context.metrics.feeds_are(&lists, context.feeds.left_out(), context.clock.now());
            context.metrics.names_are(&known);
            context.metrics.memory_is(&context.settings.pressure);
            context.metrics.render()
        };
        let (context, leadership) = (Arc::clone(&self.context), self.leadership.clone());
        let state = move || {
            let names = context.names.clone();
            let known = names.held().into_iter().filter_map(move |name| names.known(&name));
            pieces(leadership.is_leading(), context.feeds.snapshot(), known)
        };
        let Connected { client, namespace, .. } = &self.edges.connected;
        let reviews = || Reviews::new(client.clone(), namespace.clone());
        Content {
            health: self.health.clone(),
            metrics: Arc::new(metrics),
            state: Arc::new(state),
            authorizer: authorizes_debug_state.then(|| Arc::new(reviews()) as Arc<dyn Authorizer>),
        }
    }

    /// The API server, the operator's namespace, and whether this replica leads.
    pub fn leader(&self) -> (Client, &str, Leadership) {
        let Connected { client, namespace, .. } = &self.edges.connected;
        (client.clone(), namespace, self.leadership.clone())
    }

    /// What answers names that the cluster's DNS forwards.
    pub fn forwarder(&self, arguments: &RunArguments) -> Forwarder {
        let (names, leadership) = (self.context.names.clone(), self.leadership.clone());
        let observer = Arc::<Metrics>::clone(&self.context.metrics);
        let (resources, listed) = (Arc::clone(&self.context.resources), self.context.resources.listed());
        let leads = Box::new(move || (leadership.is_leading() && *listed.borrow()).then(|| resources.count()));
        let client = &self.edges.connected.client;
        let (facts, resources) = (self.facts.receiver(), Arc::clone(&self.context.resources));
        let exchange = Arc::clone(&self.edges.exchange);
        let askers = Askers::new(client.clone(), self.scope.clone(), resources, facts, names.clone(), self.edges.clock);
        arguments.forward.forwarder(
            names,
            leads,
            askers,
            (self.edges.clock, exchange),
            self.own_hosts.clone(),
            observer,
        )
    }

    /// Starts to record what policies allow. It ends once [`OwnedObjects::close_trail`] is called and all is written.
    pub fn record(&mut self, retention: Duration) -> JoinHandle<()> {
        let client = self.edges.connected.client.clone();
        let recorder = Recorder {
            histories: Histories::new(client, self.leadership.clone()),
            resources: Arc::clone(&self.context.resources),
            metrics: Arc::clone(&self.context.metrics),
            clock: self.edges.clock,
            retention,
        };
        let (_, nothing) = unbounded_channel();
        tokio::spawn(recorder.run(self.changes.take().unwrap_or(nothing)))
    }

    /// Starts to watch the resources.
    pub fn follow_resources(&self) -> impl Stream<Item = Vec<ResourceChange>> + use<> {
        resources::follow(&self.edges.connected.client, &self.scope, Arc::clone(&self.context.resources))
    }

    /// Starts the tasks that the process can do without for a while.
    pub fn spawn_background(&mut self, arguments: &RunArguments, tasks: &mut JoinSet<()>) {
        let Connected { client, namespace, .. } = &self.edges.connected;
        if let (Some(pod), Some(own_pod), Some(warnings)) =
            (self.edges.pod.clone(), self.own_pod.take(), self.warnings.take())
        {
            let reference = own_pod::reference(namespace, pod.clone());
            tasks.spawn(own_pod::learn(client.clone(), namespace.clone(), pod, own_pod));
            tasks.spawn(publish(warnings, self.context.reporter.clone(), reference));
        }
        let (names, flags) = (self.context.names.clone(), arguments.names.dns_server.clone());
        tasks.spawn(follow_servers(names, self.facts.receiver(), self.edges.resolv_conf.clone(), flags));
        tasks.spawn(cgroup::watch(self.context.settings.pressure.clone(), self.edges.memory));
        let (resources, owned) = (self.context.resources.listed(), self.context.owned.listed());
        let facts = self.facts.completion();
        for (list, complete) in [("resources", resources), ("objects", owned), ("cluster facts", facts)] {
            tasks.spawn(report_readiness(self.health.clone(), list, complete));
        }
    }

    /// Starts the tasks that never end by themselves.
    pub fn spawn_vital(&self, arguments: &RunArguments, tasks: &mut JoinSet<()>) {
        let (names, exchange) = (self.context.names.clone(), Arc::clone(&self.edges.exchange));
        if let Some(prober) = arguments.forward.prober(names, exchange) {
            tasks.spawn(prober.run(self.leadership.receiver()));
        }
        let (client, scope) = (self.edges.connected.client.clone(), self.scope.clone());
        let owned = Arc::clone(&self.context.owned);
        tasks.spawn(keep_owned(client, scope, self.context.settings.engines.kinds(), owned, self.waker.clone()));
        let (feeds, leading) = (self.context.feeds.clone(), self.leadership.receiver());
        tasks.spawn(async move { feeds.run(leading).await });
        let (names, leading) = (self.context.names.clone(), self.leadership.receiver());
        tasks.spawn(async move { names.run(leading).await });
    }
}

/// Keeps the servers that `names` queries equal to those of the pods.
async fn follow_servers(
    names: Names,
    mut facts: watch::Receiver<Arc<ClusterFacts>>,
    resolv_conf: Vec<IpAddr>,
    flags: Vec<SocketAddr>,
) {
    loop {
        let servers = servers_to_ask(&resolv_conf, &facts.borrow_and_update(), &flags);
        names.set_servers(servers);
        if facts.changed().await.is_err() {
            return;
        }
    }
}

async fn report_readiness(health: Health, what: &'static str, mut synced: watch::Receiver<bool>) {
    // An error means that the watch has ended, and the process ends with it.
    if synced.wait_for(|synced| *synced).await.is_ok() {
        health.synced(what);
    }
}
