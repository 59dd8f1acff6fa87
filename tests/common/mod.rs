//! What the tests of the whole way share: a namespace, the stand-in API, a DNS server, and the operator between them.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod recorder;
pub mod world;

use citrix_allowlist::crd::CitrixAllowlist;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};
use std::time::{Duration, Instant};
use test_support::control_plane::TestNamespace;
use test_support::dns::DnsServer;
use test_support::operator::{Operator, OperatorConfig};
use test_support::standin::{Standin, StandinConfig};
use test_support::{ControlPlane, shared_control_plane};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_citrix-allowlist");

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
        let _ = rustls::crypto::ring::default_provider().install_default();
        let cluster = shared_control_plane().await.expect("a control plane");
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

    /// Every policy of the namespace, by name.
    pub async fn all_policies(&self) -> Vec<NetworkPolicy> {
        let mut policies = self.policies().list(&ListParams::default()).await.expect("policies").items;
        policies.sort_by_key(ResourceExt::name_any);
        policies
    }

    /// Waits until the condition of a resource has this status, and returns its reason.
    pub async fn condition(&self, name: &str, type_: &str, status: &str, within: Duration) -> String {
        let mut last = String::from("no such resource");
        let reason = eventually(within, async || {
            let resource = self.resources().get_opt(name).await.expect("an answer")?;
            last = format!("{:?}", resource.status);
            let condition = resource.status?.conditions.into_iter().find(|held| held.type_ == type_)?;
            (condition.status == status).then_some(condition.reason)
        })
        .await;
        reason.unwrap_or_else(|| panic!("{name}: {type_} did not become {status} in {within:?}: {last}"))
    }

    pub async fn ready(&self, name: &str) {
        self.condition(name, "Ready", "True", Duration::from_secs(20)).await;
    }
}

/// Asks every 20 ms until there is an answer, at most so long.
pub async fn eventually<T>(within: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
