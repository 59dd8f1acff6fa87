//! A fault's trial: the whole way set up, a fault on it, and the checks that every trial ends with.

use super::common::recorder::Recorder;
use super::common::world::{MOST_PEERS, World};
use super::common::{BINARY, eventually};
use super::matrix::Row;
use citrix_allowlist::crd::{CitrixAllowlist, REFRESH_ANNOTATION};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use test_support::control_plane::{Kubernetes, TestNamespace};
use test_support::fault_proxy::FaultProxy;
use test_support::operator::{Operator, OperatorConfig};
use test_support::rights::ChartRights;
use test_support::{ControlPlane, left_out, shared_control_plane};

/// The resource of every trial.
pub const RESOURCE: &str = "daas";
/// Most requests to the API server in a second of a fault, on average: eleven watches and a Lease that are tried again,
/// and a resource's writes.
const REQUESTS_PER_SECOND: u64 = 15;
/// What an operator may ask at once when it starts, or starts over.
const BURST: u64 = 60;
/// How long nothing may be written once all is right.
const QUIET: Duration = Duration::from_secs(2);

/// The control plane of a trial: the shared one, or its own where programs are stopped.
pub enum Cluster {
    Shared(&'static ControlPlane),
    Own(Box<ControlPlane>),
}

impl Deref for Cluster {
    type Target = ControlPlane;

    fn deref(&self) -> &ControlPlane {
        match self {
            Self::Shared(cluster) => cluster,
            Self::Own(cluster) => cluster,
        }
    }
}

impl Cluster {
    /// To stop and start its programs.
    pub fn own(&mut self) -> &mut ControlPlane {
        match self {
            Self::Shared(_) => panic!("the shared control plane is not to be disturbed"),
            Self::Own(cluster) => cluster,
        }
    }
}

/// A trial: everything on its way.
pub struct Trial {
    pub cluster: Cluster,
    pub client: Client,
    pub namespace: TestNamespace,
    /// What the operator may do: what the chart gives it.
    pub rights: ChartRights,
    pub world: World,
    pub proxy: FaultProxy,
    /// The ways of replicas that go each by one of their own.
    pub ways: Vec<FaultProxy>,
    pub recorder: Arc<Recorder>,
    pub operators: Vec<Operator>,
    /// When the fault began.
    pub began: Instant,
    config: OperatorConfig,
}

/// Shows that a trial has ended with its checks.
pub struct Closed(());

impl Closed {
    /// Of a trial that the machine lets nobody make, and that was reported as left out.
    pub const fn left_out() -> Self {
        Self(())
    }

    /// Leaves a trial out, and says so, where the oldest Kubernetes has not got what it stands on: a kind in a group and
    /// version. The newest has everything, or the trial fails.
    pub async fn without(row: &Row, group_version: &str, kind: &str) -> Option<Self> {
        let kubernetes = Kubernetes::chosen().expect("a choice");
        let cluster = super::common::cluster().await;
        if kubernetes == Kubernetes::Newest || cluster.serves(group_version, kind).await.expect("an answer") {
            return None;
        }
        let version = kubernetes.version().expect("a pin");
        left_out(row.test, &format!("Kubernetes {version} serves no {kind} in {group_version}"));
        Some(Self(()))
    }
}

impl Trial {
    /// On the shared control plane, without an operator and a resource yet.
    pub async fn bare() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self::on(Cluster::Shared(shared_control_plane().await.expect("a control plane"))).await
    }

    /// On a control plane of its own, without an operator and a resource yet.
    pub async fn bare_own() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = ControlPlane::builder().workspace_definitions().expect("the definitions");
        Self::on(Cluster::Own(Box::new(builder.start().await.expect("a control plane of its own")))).await
    }

    /// On the given control plane, without an operator and a resource yet.
    pub async fn on(cluster: Cluster) -> Self {
        Self::with_values(cluster, &json!({})).await
    }

    /// As [`Self::on`], with the rights that the chart gives with these values.
    pub async fn with_values(cluster: Cluster, values: &Value) -> Self {
        let client = cluster.client().await.expect("a client");
        let namespace = cluster.fresh_namespace("fault").await.expect("a namespace");
        let world = World::start().await;
        let rights = ChartRights::grant(&cluster, namespace.name(), values).await.expect("the chart's rights");
        let proxy = FaultProxy::start(rights.kubeconfig()).await.expect("a proxy");
        let recorder = Arc::new(Recorder::start(client.clone(), namespace.name()));
        recorder.publish(world.openings());
        let config = OperatorConfig::new(BINARY, proxy.kubeconfig())
            .flag("global-url", world.standin.base_url_global())
            .flag("japan-url", world.standin.base_url_japan())
            .flag("requests-per-minute", 1000)
            .flag("min-refresh", "1s")
            .flag("dns-server", world.dns.addr())
            .flag("dns-min-ttl", "1s")
            .flag("max-peers-per-policy", MOST_PEERS)
            .flag("watch-namespace", namespace.name())
            .variable("POD_NAMESPACE", namespace.name())
            .variable("RUST_LOG", "info,citrix_allowlist=debug");
        Self {
            cluster,
            client,
            namespace,
            rights,
            world,
            proxy,
            ways: vec![],
            recorder,
            operators: vec![],
            began: Instant::now(),
            config,
        }
    }

    /// On the shared control plane, with one operator, and the resource ready and right.
    pub async fn begin() -> Self {
        let mut trial = Self::bare().await;
        trial.settle().await;
        trial
    }

    /// As [`Self::begin`], on a control plane of its own.
    pub async fn begin_own() -> Self {
        let mut trial = Self::bare_own().await;
        trial.settle().await;
        trial
    }

    /// Starts one operator and the resource, and waits until all is right.
    pub async fn settle(&mut self) {
        let config = self.single();
        self.operators.push(Operator::start(&config).await.expect("an operator"));
        self.create().await;
        self.right(Duration::from_secs(30)).await;
        self.recorder.may_be_absent(false);
    }

    /// Has replicas that start from here on run with what `adjust` makes of their configuration.
    pub fn configure(&mut self, adjust: impl FnOnce(OperatorConfig) -> OperatorConfig) {
        self.config = adjust(self.config.clone());
    }

    /// What the only replica is started with.
    pub fn single(&self) -> OperatorConfig {
        self.config.clone().switch("no-leader-election")
    }

    /// What one of several replicas is started with.
    pub fn replica(&self, pod: &str) -> OperatorConfig {
        self.config.clone().variable("HOSTNAME", pod)
    }

    /// As one of several replicas, by another way to the API server.
    pub fn replica_by(&self, pod: &str, proxy: &FaultProxy) -> OperatorConfig {
        OperatorConfig { kubeconfig: PathBuf::from(proxy.kubeconfig()), ..self.replica(pod) }
    }

    /// The resource in YAML.
    pub fn manifest(&self) -> String {
        format!(
            "apiVersion: citrix-allowlist.io/v1alpha1\nkind: CitrixAllowlist\nmetadata: {{ name: {RESOURCE}, namespace: {} }}\nspec: {{ customerId: testcustomer, geo: us, dnsEgress: None, ipFamilies: IPv4, refresh: {{ minInterval: 1s }} }}\n",
            self.namespace.name()
        )
    }

    /// Creates the resource.
    pub async fn create(&self) {
        self.cluster.apply(&self.manifest()).await.expect("an accepted resource");
    }

    pub fn resources(&self) -> Api<CitrixAllowlist> {
        Api::namespaced(self.client.clone(), self.namespace.name())
    }

    pub fn policies(&self) -> Api<NetworkPolicy> {
        Api::namespaced(self.client.clone(), self.namespace.name())
    }

    /// The fault begins: what is asked from here on is counted.
    pub fn fault(&mut self) {
        self.began = Instant::now();
    }

    /// The list and DNS move on, and a fetch is asked for.
    pub async fn advance(&mut self) {
        self.world.advance(&self.recorder);
        self.ask().await;
    }

    /// Asks for a fetch, as soon as the API server takes it.
    pub async fn ask(&self) {
        let annotations = json!({ "metadata": { "annotations": { REFRESH_ANNOTATION: format!("{}-{:?}", self.world.step(), Instant::now()) } } });
        let resources = self.resources();
        let asked = eventually(Duration::from_secs(30), async || {
            let (parameters, merge) = (PatchParams::default(), Patch::Merge(&annotations));
            let patch = resources.patch(RESOURCE, &parameters, &merge);
            tokio::time::timeout(Duration::from_secs(2), patch).await.ok()?.ok()
        });
        asked.await.expect("a fetch can be asked for");
    }

    /// A condition of the resource, as it is now.
    pub async fn condition_now(&self, type_: &str) -> Option<Condition> {
        let resource = self.resources().get_opt(RESOURCE).await.ok()??;
        resource.status?.conditions.into_iter().find(|condition| condition.type_ == type_)
    }

    /// Waits until the resource says this of itself, and returns the message.
    pub async fn says(&self, type_: &str, status: &str, reason: &str) -> String {
        let said = eventually(Duration::from_secs(20), async || {
            let condition = self.condition_now(type_).await?;
            (condition.status == status && condition.reason == reason).then_some(condition.message)
        });
        match said.await {
            Some(message) => message,
            None => panic!("not {type_}={status} {reason}: {:?}\n{}", self.condition_now(type_).await, self.logs()),
        }
    }

    /// The logs of all operators.
    pub fn logs(&self) -> String {
        self.operators.iter().map(Operator::log).collect::<Vec<_>>().join("\n---\n")
    }

    /// Waits until the log holds this: it follows what it tells by a moment.
    pub async fn logged(&self, words: &str) {
        let reported = eventually(Duration::from_secs(20), async || self.logs().contains(words).then_some(()));
        assert!(reported.await.is_some(), "`{words}` is not in the log:\n{}", self.logs());
    }

    /// Waits until policies and ConfigMap are exactly what the newest list and answers say, and the resource is ready.
    pub async fn right(&self, within: Duration) -> Duration {
        let started = Instant::now();
        let right = eventually(within, async || {
            if !self.recorder.is_newest() {
                return None;
            }
            let ready = self.condition_now("Ready").await?;
            (ready.status == "True" && self.config_map_is_right().await?).then_some(())
        });
        if right.await.is_none() {
            let ready = self.condition_now("Ready").await;
            panic!("not right within {within:?}: {}; Ready {ready:?}\n{}", self.recorder.difference(), self.logs());
        }
        started.elapsed()
    }

    async fn config_map_is_right(&self) -> Option<bool> {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), self.namespace.name());
        let map = maps.get_opt(&format!("{RESOURCE}-cidrs")).await.ok()??;
        let data = map.data?;
        let networks: Vec<ipnet::Ipv4Net> =
            data.get("egress.cidrs")?.lines().filter_map(|line| line.parse().ok()).collect();
        let held: Vec<Ipv4Addr> = networks
            .iter()
            .flat_map(|network| u32::from(network.network())..=u32::from(network.broadcast()))
            .map(Ipv4Addr::from)
            .collect();
        let newest = self.world.openings();
        let has_all = newest.iter().all(|(address, _)| held.contains(address));
        Some(has_all && held.iter().all(|address| self.recorder.may_open(*address)))
    }

    /// The checks that every trial ends with: the right objects in time, without a restart, a hot loop or a version that
    /// was ever narrower or wider than it may be; and then nothing more to write.
    pub async fn close(mut self, row: &Row) -> Closed {
        let took = self.right(Duration::from_secs(row.within)).await;
        for way in self.all_ways() {
            let asked = way.since(self.began).len() as u64;
            let bound = BURST + REQUESTS_PER_SECOND * self.began.elapsed().as_secs();
            assert!(
                asked <= bound,
                "a hot loop: {asked} requests in {:?}: {}",
                self.began.elapsed(),
                busiest(way, self.began)
            );
        }
        // Status, ConfigMap and events of the last change may still be in flight.
        let quiet = eventually(Duration::from_secs(30), async || {
            let since = Instant::now();
            tokio::time::sleep(QUIET).await;
            self.all_ways().all(|way| way.writes_since(since) == 0).then_some(())
        });
        if quiet.await.is_none() {
            let busy: Vec<_> = self.all_ways().map(|way| busiest(way, self.began)).collect();
            panic!("it keeps writing: {busy:?}\n{}", self.logs());
        }
        for operator in &mut self.operators {
            operator.process().expect_running().expect("no restart was needed");
        }
        let tally = self.recorder.verdict();
        let asked: usize = self.all_ways().map(|way| way.since(self.began).len()).sum();
        println!(
            "{}: right {took:?} after the fault's end, {asked} requests in {:?}, {tally:?}",
            row.test,
            self.began.elapsed()
        );
        Closed(())
    }

    /// Every way that an operator goes to the API server.
    fn all_ways(&self) -> impl Iterator<Item = &FaultProxy> {
        std::iter::once(&self.proxy).chain(&self.ways)
    }

    /// Whether the API server has refused a request to a resource since the fault began.
    pub fn was_refused(&self, resource: &str) -> bool {
        let asked = self.proxy.since(self.began);
        asked.iter().any(|passed| passed.asked.resource == resource && passed.status == Some(403) && !passed.faulted)
    }

    /// Takes verbs on resources out of the operator's roles.
    pub async fn take_away(&self, rights: &[(&str, &str)]) {
        self.rights.take_away(&self.cluster, rights).await.expect("taken away");
    }

    /// Gives them back.
    pub async fn give_back(&self, rights: &[(&str, &str)]) {
        self.rights.give_back(&self.cluster, rights).await.expect("given back");
    }
}

/// What was asked most often since then.
fn busiest(way: &FaultProxy, since: Instant) -> String {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for passed in way.since(since) {
        let request = format!("{:?} {} {:?}", passed.asked.verb, passed.asked.resource, passed.status);
        *counts.entry(request).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    format!("{:?}", &counts[..counts.len().min(8)])
}

/// Waits.
pub async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
