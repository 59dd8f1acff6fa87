//! What the operator is measured on: a real control plane, a real CoreDNS, the stand-in for the API, a DNS server that
//! a script answers for, and a watch of our own that notes when what became visible.

use super::candidate::{Candidate, Running, Surroundings};
use super::list;
use crate::control_plane::ControlPlane;
use crate::coredns::CoreDns;
use crate::dns::DnsServer;
use crate::free_port::free_port;
use crate::standin::{Standin, StandinCloud, StandinConfig, Validity};
use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ObjectMeta, PartialObjectMeta, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Client, Resource};
use std::collections::HashMap;
use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How many resources are created at a time.
const CREATED_AT_A_TIME: usize = 16;

/// The parts, and what has been seen.
pub struct Stage {
    /// The control plane.
    pub cluster: ControlPlane,
    /// A client as administrator.
    pub client: Client,
    /// The API.
    pub standin: Standin,
    /// DNS that a script answers for.
    pub scripted: DnsServer,
    /// Where CoreDNS tells how much it was asked.
    pub dns_metrics: SocketAddr,
    /// What became visible when.
    pub seen: Arc<Seen>,
    /// Whom it is for.
    pub candidate: Candidate,
    kind: ApiResource,
    coredns: CoreDns,
    watches: Vec<JoinHandle<()>>,
}

/// When each object was first seen, and last seen changed.
#[derive(Debug, Default)]
pub struct Seen {
    objects: Mutex<HashMap<(&'static str, String, String), CachedAddress>>,
}

#[derive(Clone, Debug)]
struct CachedAddress {
    first: Instant,
    last: Instant,
    version: String,
    changes: usize,
}

impl Seen {
    fn put(&self, kind: &'static str, metadata: &ObjectMeta) {
        let key = (kind, metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default());
        let (now, version) = (Instant::now(), metadata.resource_version.clone().unwrap_or_default());
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = CachedAddress { first: now, last: now, version: version.clone(), changes: 1 };
        let held = objects.entry(key).or_insert(fresh);
        if held.version != version {
            held.last = now;
            held.version = version;
            held.changes += 1;
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

    fn get(&self, kind: &'static str, namespace: &str, name: &str) -> Option<CachedAddress> {
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

    /// How many objects of a kind in a namespace were seen.
    pub fn count(&self, kind: &'static str, namespace: &str) -> usize {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.keys().filter(|(of, within, _)| *of == kind && within == namespace).count()
    }

    /// How often objects of a kind in a namespace were seen new or changed.
    pub fn changes(&self, kind: &'static str, namespace: &str) -> usize {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let of = objects.iter().filter(|((of, within, _), _)| *of == kind && within == namespace);
        of.map(|(_, held)| held.changes).sum()
    }
}

impl Stage {
    /// Sets everything up but the operator.
    ///
    /// # Errors
    /// Where a part does not start.
    pub async fn set(candidate: &Candidate) -> anyhow::Result<Self> {
        // Ten thousand resources with their objects and the versions before these are more than the default of 2 GiB.
        let mut builder = ControlPlane::builder().etcd_flag("--quota-backend-bytes=8589934592");
        if candidate.definitions.is_empty() {
            builder = builder.workspace_definitions()?;
        }
        for file in &candidate.definitions {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let definition: CustomResourceDefinition =
                serde_saphyr::from_str(&text).with_context(|| file.display().to_string())?;
            builder = builder.definition(definition);
        }
        let cluster = builder.start().await?;
        let client = cluster.client().await?;
        let validity = Validity::Rolling(Duration::from_secs(6 * 3600));
        let (global, japan) = (list::document(), list::document());
        let standin = Standin::start(StandinConfig { validity, global, japan, ..StandinConfig::unlimited() }).await?;
        let dns_metrics = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port()?);
        let corefile = format!(
            ".:{{port}} {{\n bind {{address}}\n prometheus {dns_metrics}\n file {{zones}}/root.db . {{ reload 0 }}\n}}\n"
        );
        let dns = match candidate.dns_port {
            Some(port) => SocketAddr::new(apart().into(), port),
            None => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port()?),
        };
        let coredns = CoreDns::start_at(dns, &corefile, &[("root.db", &list::zone())])
            .await
            .with_context(|| format!("DNS at {dns}; a port below 1024 is for root"))?;
        let scripted = DnsServer::start().await?;
        scripted.default_to_fixture(3600);
        let seen = Arc::new(Seen::default());
        let watches = vec![
            follow::<NetworkPolicy>(&client, "NetworkPolicy", &seen),
            follow::<ConfigMap>(&client, "ConfigMap", &seen),
        ];
        let (candidate, kind) = (candidate.clone(), candidate.kind()?);
        Ok(Self { cluster, client, standin, scripted, dns_metrics, seen, candidate, kind, coredns, watches })
    }

    /// Starts the operator, with CoreDNS for its DNS, and waits until it is ready.
    ///
    /// # Errors
    /// Where it does not become so.
    pub async fn operator(&self) -> anyhow::Result<Running> {
        self.operator_asking(self.coredns.address()).await
    }

    /// As [`Self::operator`], with another DNS server.
    ///
    /// # Errors
    /// Where it does not become ready.
    pub async fn operator_asking(&self, dns: SocketAddr) -> anyhow::Result<Running> {
        let surroundings = Surroundings {
            kubeconfig: self.cluster.kubeconfig_path().to_path_buf(),
            dns,
            feeds: (self.standin.base_url_global(), self.standin.base_url_japan()),
        };
        self.candidate.start(&surroundings).await
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

    /// Creates one resource of the candidate over all names, and says when the API server was asked to.
    ///
    /// # Errors
    /// Where the API server refuses.
    pub async fn create(&self, namespace: &str, name: &str, customer: &str) -> anyhow::Result<Instant> {
        let text = self.candidate.resource_of(namespace, name, customer, &list::names());
        let resource: DynamicObject = serde_saphyr::from_str(&text).context("the candidate's resource")?;
        self.create_object(namespace, &resource).await
    }

    /// Creates one resource of this operator.
    ///
    /// # Errors
    /// Where the API server refuses.
    pub async fn create_own(&self, namespace: &str, name: &str, spec: serde_json::Value) -> anyhow::Result<Instant> {
        let resource: DynamicObject = serde_json::from_value(serde_json::json!({
            "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
            "metadata": { "name": name, "namespace": namespace }, "spec": spec,
        }))?;
        self.create_object(namespace, &resource).await
    }

    async fn create_object(&self, namespace: &str, resource: &DynamicObject) -> anyhow::Result<Instant> {
        let api = self.resources(namespace);
        let sent = Instant::now();
        api.create(&PostParams::default(), resource).await?;
        Ok(sent)
    }

    /// Creates many, some at a time, with whatever creates one.
    ///
    /// # Errors
    /// Where the API server refuses one.
    pub async fn create_all<'a, F>(&self, names: &'a [String], create: impl Fn(&'a str) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<Instant>>,
    {
        let mut created =
            futures::stream::iter(names).map(|name| create(name.as_str())).buffer_unordered(CREATED_AT_A_TIME);
        while let Some(result) = created.next().await {
            result?;
        }
        Ok(())
    }

    /// The candidate's resources of a namespace.
    #[must_use]
    pub fn resources(&self, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &self.kind)
    }

    /// How many of this operator's resources of a namespace say that they are ready.
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

    /// Publishes a list that differs for everybody.
    pub fn publish_another_list(&self) {
        self.standin.edit(StandinCloud::Global, |document| {
            let mut endpoints = document.services.iter_mut().flat_map(|service| &mut service.endpoints);
            if let Some(endpoint) = endpoints.next() {
                endpoint.ips.push(format!("20.200.{}.1", endpoint.ips.len()));
            }
        });
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for watch in &self.watches {
            watch.abort();
        }
    }
}

/// A loopback address that nobody else is likely to be on, for a port that cannot be chosen: all of 127.0.0.0/8 is
/// loopback, and the machine's own servers are on the first addresses of it.
fn apart() -> Ipv4Addr {
    Ipv4Addr::new(127, fastrand::u8(64..128), fastrand::u8(..), fastrand::u8(1..255))
}

fn follow<K>(client: &Client, kind: &'static str, seen: &Arc<Seen>) -> JoinHandle<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Send + Sync + serde::de::DeserializeOwned + 'static,
{
    // Metadata alone is asked for: the watch must cost the API server little.
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
