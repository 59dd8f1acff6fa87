//! A control plane with the stand-in API, DNS and the operator, and a watch that times what becomes visible.

use crate::control_plane::ControlPlane;
use crate::dns::DnsServer;
use crate::operator::{Operator, OperatorConfig};
use crate::standin::{Standin, StandinConfig, Validity};
use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DynamicObject, ObjectMeta, PartialObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource};
use std::collections::HashMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// TTL of every name, in seconds.
pub const TTL: u32 = 30;

/// The parts, and what has been seen.
pub struct Stage {
    /// The control plane.
    pub cluster: ControlPlane,
    /// A client as administrator.
    pub client: Client,
    /// The API.
    pub standin: Standin,
    /// DNS.
    pub dns: DnsServer,
    /// What became visible when.
    pub seen: Arc<Seen>,
    binary: PathBuf,
    watches: Vec<JoinHandle<()>>,
}

/// When each object was first seen, and last seen changed.
#[derive(Debug, Default)]
pub struct Seen {
    objects: Mutex<HashMap<(&'static str, String, String), Sighting>>,
}

#[derive(Clone, Debug)]
struct Sighting {
    first: Instant,
    last: Instant,
    version: String,
}

impl Seen {
    fn put(&self, kind: &'static str, metadata: &ObjectMeta) {
        let key = (kind, metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default());
        let (now, version) = (Instant::now(), metadata.resource_version.clone().unwrap_or_default());
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Sighting { first: now, last: now, version: version.clone() };
        let held = objects.entry(key).or_insert(fresh);
        if held.version != version {
            held.last = now;
            held.version = version;
        }
    }

    /// When an object was first seen.
    pub fn first(&self, kind: &'static str, namespace: &str, name: &str) -> Option<Instant> {
        self.get(kind, namespace, name).map(|held| held.first)
    }

    /// When an object was last seen changed.
    pub fn last(&self, kind: &'static str, namespace: &str, name: &str) -> Option<Instant> {
        self.get(kind, namespace, name).map(|held| held.last)
    }

    fn get(&self, kind: &'static str, namespace: &str, name: &str) -> Option<Sighting> {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get(&(kind, namespace.to_owned(), name.to_owned())).cloned()
    }

    /// How many objects of a kind in a namespace were seen changed after a moment, and the last of these changes.
    pub fn changed_since(&self, kind: &'static str, namespace: &str, since: Instant) -> (usize, Option<Instant>) {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let later = objects
            .iter()
            .filter(|((of, within, _), held)| *of == kind && within == namespace && held.last > since)
            .map(|(_, held)| held.last);
        let times: Vec<Instant> = later.collect();
        (times.len(), times.into_iter().max())
    }
}

impl Stage {
    /// Sets everything up but the operator.
    ///
    /// # Errors
    /// Where a part does not start.
    pub async fn set(binary: &Path) -> anyhow::Result<Self> {
        let cluster = ControlPlane::builder().workspace_definitions()?.start().await?;
        let client = cluster.client().await?;
        let validity = Validity::Rolling(Duration::from_secs(6 * 3600));
        let standin = Standin::start(StandinConfig { validity, ..StandinConfig::unlimited() }).await?;
        let dns = DnsServer::start().await?;
        dns.default_to_fixture(TTL);
        let seen = Arc::new(Seen::default());
        let watches = vec![
            follow::<NetworkPolicy>(&client, "NetworkPolicy", &seen),
            follow::<ConfigMap>(&client, "ConfigMap", &seen),
        ];
        Ok(Self { cluster, client, standin, dns, seen, binary: binary.to_owned(), watches })
    }

    /// Starts the operator and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not become so.
    pub async fn operator(&self) -> anyhow::Result<Operator> {
        let config = OperatorConfig::new(&self.binary, self.cluster.kubeconfig_path())
            .flag("global-url", self.standin.base_url_global())
            .flag("japan-url", self.standin.base_url_japan())
            .flag("requests-per-minute", 100_000)
            .flag("dns-server", self.dns.addr())
            .switch("no-leader-election")
            .variable("POD_NAMESPACE", "default")
            .variable("RUST_LOG", "warn");
        Operator::start(&config).await
    }

    /// Makes a namespace.
    ///
    /// # Errors
    /// Where the API server refuses.
    pub async fn namespace(&self, name: &str) -> anyhow::Result<()> {
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        Api::<Namespace>::all(self.client.clone()).create(&PostParams::default(), &namespace).await?;
        Ok(())
    }

    /// Creates one resource, and says when the API server had it.
    ///
    /// # Errors
    /// Where the API server refuses.
    pub async fn create(&self, namespace: &str, name: &str, spec: serde_json::Value) -> anyhow::Result<Instant> {
        let resource: DynamicObject = serde_json::from_value(serde_json::json!({
            "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
            "metadata": { "name": name, "namespace": namespace }, "spec": spec,
        }))?;
        let api = resources(&self.client, namespace);
        let sent = Instant::now();
        api.create(&PostParams::default(), &resource).await?;
        Ok(sent)
    }

    /// The resources of a namespace.
    #[must_use]
    pub fn resources(&self, namespace: &str) -> Api<DynamicObject> {
        resources(&self.client, namespace)
    }

    /// Changes a resource's spec.
    ///
    /// # Errors
    /// Where the API server refuses.
    pub async fn patch(&self, namespace: &str, name: &str, spec: serde_json::Value) -> anyhow::Result<Instant> {
        let sent = Instant::now();
        let patch = Patch::Merge(serde_json::json!({ "spec": spec }));
        self.resources(namespace).patch(name, &PatchParams::default(), &patch).await?;
        Ok(sent)
    }

    /// How many resources of a namespace say that they are ready.
    ///
    /// # Errors
    /// Where the API server does not answer.
    pub async fn ready(&self, namespace: &str) -> anyhow::Result<usize> {
        let listed = self.resources(namespace).list(&kube::api::ListParams::default()).await?;
        let says_ready = |resource: &&DynamicObject| {
            let conditions = resource.data.pointer("/status/conditions").and_then(|value| value.as_array());
            conditions.into_iter().flatten().any(|held| held["type"] == "Ready" && held["status"] == "True")
        };
        Ok(listed.items.iter().filter(says_ready).count())
    }

    /// Waits until a condition holds, looking often.
    ///
    /// # Errors
    /// Where it does not within the limit.
    pub async fn until(&self, what: &str, limit: Duration, mut holds: impl FnMut(&Seen) -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        while !holds(&self.seen) {
            anyhow::ensure!(Instant::now() < deadline, "{what}: not within {limit:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for watch in &self.watches {
            watch.abort();
        }
    }
}

fn resources(client: &Client, namespace: &str) -> Api<DynamicObject> {
    let kind = kube::api::ApiResource {
        group: "citrix-allowlist.io".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "citrix-allowlist.io/v1alpha1".to_owned(),
        kind: "CitrixAllowlist".to_owned(),
        plural: "citrixallowlists".to_owned(),
    };
    Api::namespaced_with(client.clone(), namespace, &kind)
}

fn follow<K>(client: &Client, kind: &'static str, seen: &Arc<Seen>) -> JoinHandle<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + serde::de::DeserializeOwned + 'static,
{
    let (api, seen) = (Api::<PartialObjectMeta<K>>::all(client.clone()), Arc::clone(seen));
    tokio::spawn(async move {
        let events = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
        events
            .for_each(|event: Result<PartialObjectMeta<K>, _>| {
                if let Ok(object) = event {
                    seen.put(kind, object.meta());
                }
                async {}
            })
            .await;
    })
}

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Memory resident now, in bytes.
    pub resident: u64,
    /// Processor time used so far.
    pub processor: Duration,
}

/// Reads what a process has used so far from `/proc`.
///
/// # Errors
/// Where it has ended.
pub fn usage(process: u32) -> anyhow::Result<Usage> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Fields after the name, which may hold anything and ends with the last parenthesis: utime and stime, in ticks of
    // a hundredth of a second on every Linux.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).context("/proc/stat");
    let processor = Duration::from_millis((ticks(11)? + ticks(12)?) * 10);
    Ok(Usage { resident: resident.unwrap_or(0u64) * 1024, processor })
}
