//! The floor under every figure: the same writes by a bare client that decides nothing.

use super::figures::Sample;
use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How many writes are in flight, as this operator has them by default.
const IN_FLIGHT: usize = 8;

/// What an operator wrote for one resource, to be written again by a bare client.
#[derive(Clone, Debug)]
pub struct Written {
    policies: Vec<NetworkPolicy>,
    config_maps: Vec<ConfigMap>,
    status: Value,
}

impl Written {
    /// Reads the policy of another operator.
    ///
    /// # Errors
    /// Where it is not there.
    pub async fn policy(client: &Client, namespace: &str, policy: &str) -> anyhow::Result<Self> {
        let policy = Api::<NetworkPolicy>::namespaced(client.clone(), namespace).get(policy).await?;
        Ok(Self { policies: vec![policy], config_maps: Vec::new(), status: Value::Null })
    }

    /// Reads what stands in a namespace for a resource of this operator.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn read(
        client: &Client,
        namespace: &str,
        resources: &Api<DynamicObject>,
        name: &str,
    ) -> anyhow::Result<Self> {
        let selector = kube::api::ListParams::default().labels(&format!("citrix-allowlist.io/allowlist={name}"));
        let policies = Api::<NetworkPolicy>::namespaced(client.clone(), namespace).list(&selector).await?.items;
        let config_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace).list(&selector).await?.items;
        anyhow::ensure!(!policies.is_empty(), "{name} has no policies");
        let status = resources.get(name).await?.data["status"].take();
        Ok(Self { policies, config_maps, status })
    }

    /// Peers over all policies.
    #[must_use]
    pub fn peers(&self) -> usize {
        let rules = self.policies.iter().filter_map(|policy| policy.spec.as_ref()?.egress.as_ref()).flatten();
        rules.filter_map(|rule| rule.to.as_ref()).map(Vec::len).sum()
    }
}

fn bare<K: Resource>(object: &mut K, name: &str, namespace: &str) {
    let (labels, owner_references) = (object.meta().labels.clone(), object.meta().owner_references.clone());
    *object.meta_mut() = kube::api::ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels,
        // Its owner goes with it: a garbage collector would remove what it does not find the owner of.
        owner_references,
        ..Default::default()
    };
}

/// How long the API server takes for one such policy, one after the other, in milliseconds.
#[derive(Debug, Default)]
pub struct Bare {
    /// Server-side applies, each of a policy that is not there yet.
    pub applied: Sample,
    /// Plain creations.
    pub created: Sample,
}

/// Writes the policy `runs` times by each way, in turns, so that both meet the same machine.
///
/// # Errors
/// Where the API server refuses.
pub async fn bare_writes(client: &Client, namespace: &str, written: &Written, runs: usize) -> anyhow::Result<Bare> {
    let api = Api::<NetworkPolicy>::namespaced(client.clone(), namespace);
    let mut taken = Bare::default();
    for run in 0..runs {
        let mut policy = written.policies.first().context("a policy")?.clone();
        let name = format!("bare-applied-{run}");
        bare(&mut policy, &name, namespace);
        let sent = Instant::now();
        api.patch(&name, &PatchParams::apply("bare").force(), &Patch::Apply(&policy)).await?;
        taken.applied.add_time(sent.elapsed());
        bare(&mut policy, &format!("bare-created-{run}"), namespace);
        let sent = Instant::now();
        api.create(&PostParams::default(), &policy).await?;
        taken.created.add_time(sent.elapsed());
    }
    Ok(taken)
}

/// How long the API server takes to apply a ConfigMap of one short text, in milliseconds, `runs` times.
///
/// # Errors
/// Where the API server refuses.
pub async fn small_applies(client: &Client, namespace: &str, runs: usize) -> anyhow::Result<Sample> {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let mut taken = Sample::default();
    for run in 0..runs {
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "noted" },
            "data": { "requests": format!("{run}") },
        });
        let sent = Instant::now();
        api.patch("noted", &PatchParams::apply("bare").force(), &Patch::Apply(&map)).await?;
        taken.add_time(sent.elapsed());
    }
    Ok(taken)
}

/// How long a bare client takes.
#[derive(Clone, Copy, Debug)]
pub struct Bulk {
    /// For the policies.
    pub policies: Duration,
    /// For these, ConfigMaps and status.
    pub everything: Duration,
    /// For another apply of the policies, each with a port less.
    pub applied: Duration,
}

/// How long a bare client takes to write what was written for each of `names`: first the policies, then the ConfigMaps,
/// then a status and an event each on `resources`, as many at a time as the operator has in flight; and how long to change
/// the policies after that.
///
/// # Errors
/// Where the API server refuses.
pub async fn bulk(
    client: &Client,
    namespace: &str,
    written: &Written,
    resources: &Api<DynamicObject>,
    names: &[String],
) -> anyhow::Result<Bulk> {
    let started = Instant::now();
    create_each(client, namespace, &written.policies, names).await?;
    let policies = started.elapsed();
    create_each(client, namespace, &written.config_maps, names).await?;
    let events = Api::<k8s_openapi::api::events::v1::Event>::namespaced(client.clone(), namespace);
    all(names.iter().map(|name| {
        let status = json!({
            "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
            "metadata": { "name": name }, "status": written.status,
        });
        let event = serde_json::from_value(json!({
            "metadata": { "name": format!("{name}-bare"), "namespace": namespace },
            "eventTime": "2026-06-01T00:00:00.000000Z", "reportingController": "bare", "reportingInstance": "bare",
            "action": "Apply", "reason": "Applied", "type": "Normal", "note": "everything is as it should be",
            "regarding": { "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
                "name": name, "namespace": namespace },
        }));
        let events = events.clone();
        async move {
            let parameters = PatchParams::apply("bare").force();
            resources.patch_status(name, &parameters, &Patch::Apply(&status)).await?;
            events.create(&PostParams::default(), &event?).await?;
            Ok(())
        }
    }))
    .await?;
    let everything = started.elapsed();
    let started = Instant::now();
    apply_each(client, namespace, &written.policies, names).await?;
    Ok(Bulk { policies, everything, applied: started.elapsed() })
}

/// Applies the policies again, each with other ports than before.
async fn apply_each(
    client: &Client,
    namespace: &str,
    policies: &[NetworkPolicy],
    names: &[String],
) -> anyhow::Result<()> {
    let api = Api::<NetworkPolicy>::namespaced(client.clone(), namespace);
    let mut policies = policies.to_vec();
    for rule in policies.iter_mut().filter_map(|policy| policy.spec.as_mut()?.egress.as_mut()).flatten() {
        rule.ports = Some(vec![serde_json::from_value(json!({ "port": 8443, "protocol": "TCP" }))?]);
    }
    let pairs = names.iter().flat_map(|name| policies.iter().enumerate().map(move |pair| (name, pair)));
    all(pairs.map(|(name, (index, policy))| {
        let (mut policy, api, name) = (policy.clone(), api.clone(), format!("{name}-bare-{index}"));
        bare(&mut policy, &name, namespace);
        async move { Ok(api.patch(&name, &PatchParams::apply("bare").force(), &Patch::Apply(&policy)).await.map(drop)?) }
    }))
    .await
}

async fn create_each<K>(client: &Client, namespace: &str, objects: &[K], names: &[String]) -> anyhow::Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + Serialize + DeserializeOwned,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let pairs = names.iter().flat_map(|name| objects.iter().enumerate().map(move |pair| (name, pair)));
    all(pairs.map(|(name, (index, object))| {
        let (mut object, api) = (object.clone(), api.clone());
        bare(&mut object, &format!("{name}-bare-{index}"), namespace);
        async move { Ok(api.create(&PostParams::default(), &object).await.map(drop)?) }
    }))
    .await
}

async fn all<F>(writes: impl Iterator<Item = F>) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut writes = futures::stream::iter(writes).buffer_unordered(IN_FLIGHT);
    while let Some(result) = writes.next().await {
        result?;
    }
    Ok(())
}
