//! What the tests of the whole way share: a namespace, the stand-in API, a DNS server, and the operator between them.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod client;
pub mod group;
pub mod listed;
pub mod recorder;
pub mod trail;
pub mod watched;
pub mod world;

use citrix_allowlist::crd::{CitrixAllowlist, CitrixAllowlistStatus};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, ResourceExt};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use test_support::control_plane::TestNamespace;
use test_support::dns::DnsServer;
use test_support::operator::{Operator, OperatorConfig};
use test_support::standin::{Standin, StandinConfig};
use test_support::{ControlPlane, shared_control_plane};
use watched::{Objects, Watched};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_citrix-allowlist");

/// The control plane that the tests of a binary share.
pub async fn cluster() -> &'static ControlPlane {
    let _ = rustls::crypto::ring::default_provider().install_default();
    shared_control_plane().await.expect("a control plane")
}

/// A control plane for one test alone, with nothing in it that writes by itself.
pub async fn own_cluster() -> &'static ControlPlane {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = ControlPlane::builder().without_controller_manager();
    let started = builder.workspace_definitions().expect("definitions").start().await;
    // It ends with the process, as the shared one does.
    Box::leak(Box::new(started.expect("a control plane")))
}

/// A namespace with everything that a resource in it needs.
pub struct Stage {
    pub cluster: &'static ControlPlane,
    pub client: Client,
    pub namespace: TestNamespace,
    pub standin: Standin,
    pub dns: DnsServer,
}

impl Stage {
    /// The stand-in without a limit, and DNS that knows every name of the fixture, TTL 5 s.
    pub async fn set() -> Self {
        Self::with(StandinConfig::unlimited()).await
    }

    pub async fn with(config: StandinConfig) -> Self {
        Self::on(cluster().await, config).await
    }

    pub async fn on(cluster: &'static ControlPlane, config: StandinConfig) -> Self {
        let dns = DnsServer::start().await.expect("a DNS server");
        dns.default_to_fixture(5);
        Self {
            cluster,
            client: cluster.client().await.expect("a client"),
            namespace: cluster.fresh_namespace("web").await.expect("a namespace"),
            standin: Standin::start(config).await.expect("the stand-in"),
            dns,
        }
    }

    /// An operator for this namespace alone, as the administrator, without a Lease.
    pub fn operator_config(&self) -> OperatorConfig {
        OperatorConfig::new(BINARY, self.cluster.kubeconfig_path())
            .flag("global-url", self.standin.base_url_global())
            .flag("japan-url", self.standin.base_url_japan())
            .flag("requests-per-minute", 1000)
            .flag("min-refresh", "1s")
            .flag("dns-server", self.dns.addr())
            .flag("watch-namespace", self.namespace.name())
            .switch("no-leader-election")
            .variable("POD_NAMESPACE", self.namespace.name())
            .variable("RUST_LOG", "info,citrix_allowlist=debug")
    }

    /// The same without one flag, to be given otherwise.
    pub fn operator_config_without(&self, flag: &str) -> OperatorConfig {
        let mut config = self.operator_config();
        config.arguments.retain(|argument| !argument.starts_with(&format!("--{flag}=")));
        config
    }

    pub async fn operator(&self) -> Operator {
        Operator::start(&self.operator_config()).await.expect("an operator")
    }

    /// Applies a resource with this spec, in YAML flow style.
    pub async fn apply(&self, name: &str, spec: &str) {
        let manifest = format!(
            "apiVersion: citrix-allowlist.io/v1alpha1\nkind: CitrixAllowlist\nmetadata: {{ name: {name}, namespace: {} }}\nspec: {spec}\n",
            self.namespace.name()
        );
        self.cluster.apply(&manifest).await.expect("an accepted resource");
    }

    pub fn resources(&self) -> Api<CitrixAllowlist> {
        Api::namespaced(self.client.clone(), self.namespace.name())
    }

    pub fn policies(&self) -> Api<NetworkPolicy> {
        Api::namespaced(self.client.clone(), self.namespace.name())
    }

    pub fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), self.namespace.name())
    }

    /// A watch on the namespace's policies.
    pub async fn watch_policies(&self) -> Watched<NetworkPolicy> {
        Watched::start(self.client.clone(), self.namespace.name()).await
    }

    /// A watch on the namespace's resources.
    pub async fn watch_resources(&self) -> Watched<CitrixAllowlist> {
        Watched::start(self.client.clone(), self.namespace.name()).await
    }

    /// Every policy of the namespace, by name.
    pub async fn all_policies(&self) -> Vec<NetworkPolicy> {
        let mut policies = self.policies().list(&ListParams::default()).await.expect("policies").items;
        policies.sort_by_key(ResourceExt::name_any);
        policies
    }

    /// Waits until the condition of a resource has this status, and returns its reason.
    pub async fn condition(&self, name: &str, type_: &str, status: &str) -> String {
        self.until(name, type_, |condition| condition.status == status).await.reason
    }

    /// Waits until the condition of a resource has this reason, and returns its message.
    pub async fn reason(&self, name: &str, type_: &str, reason: &str) -> String {
        self.until(name, type_, |condition| condition.reason == reason).await.message
    }

    /// Waits until the message of a condition holds these words.
    pub async fn says(&self, name: &str, type_: &str, words: &str) {
        self.until(name, type_, |condition| condition.message.contains(words)).await;
    }

    async fn until(&self, name: &str, type_: &str, holds: impl Fn(&Condition) -> bool) -> Condition {
        let resources = self.watch_resources().await;
        let find = |resources: &Objects<CitrixAllowlist>| {
            let conditions = resources.get(name)?.status.as_ref()?.conditions.iter();
            conditions.filter(|condition| condition.type_ == type_).find(|condition| holds(condition)).cloned()
        };
        resources.find(&format!("{type_} of {name}"), find).await
    }

    /// Waits until the status speaks of the newest spec.
    pub async fn observed(&self, name: &str) {
        let resources = self.watch_resources().await;
        let current = |resources: &Objects<CitrixAllowlist>| {
            let observed = resources[name].status.as_ref().and_then(|status| status.observed_generation);
            observed.is_some() && observed == resources[name].metadata.generation
        };
        resources.until("observedGeneration follows", current).await;
    }

    /// The resource as it is now.
    pub async fn resource(&self, name: &str) -> CitrixAllowlist {
        self.resources().get(name).await.expect("the resource")
    }

    /// Its status.
    pub async fn status(&self, name: &str) -> CitrixAllowlistStatus {
        self.resource(name).await.status.expect("a status")
    }

    /// Sets an annotation of a resource.
    pub async fn annotate(&self, name: &str, key: &str, value: &str) {
        let patch = Patch::Merge(serde_json::json!({ "metadata": { "annotations": { key: value } } }));
        self.resources().patch(name, &PatchParams::default(), &patch).await.expect("an accepted annotation");
    }

    /// Changes a resource as a person would, by a merge patch of its spec.
    pub async fn patch(&self, name: &str, spec: serde_json::Value) {
        let patch = Patch::Merge(serde_json::json!({ "spec": spec }));
        self.resources().patch(name, &PatchParams::default(), &patch).await.expect("an accepted change");
    }

    pub async fn ready(&self, name: &str) {
        self.condition(name, "Ready", "True").await;
    }
}

/// The CIDRs that a policy's rules name, in both directions.
pub fn cidrs(policy: &NetworkPolicy) -> BTreeSet<IpNet> {
    let spec = policy.spec.iter();
    let egress = spec.clone().flat_map(|spec| spec.egress.iter().flatten()).flat_map(|rule| rule.to.iter().flatten());
    let ingress = spec.flat_map(|spec| spec.ingress.iter().flatten()).flat_map(|rule| rule.from.iter().flatten());
    let blocks = egress.chain(ingress).filter_map(|peer| peer.ip_block.as_ref());
    blocks.map(|block| block.cidr.parse().expect("a CIDR")).collect()
}

/// Whether a policy's rules name a network that holds the address.
pub fn holds(policy: &NetworkPolicy, address: IpAddr) -> bool {
    cidrs(policy).iter().any(|network| network.contains(&address))
}

/// Asks every 20 ms until there is an answer, at most so long.
pub async fn eventually<T>(within: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let deadline = std::time::Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return Some(answer);
        }
        if std::time::Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
