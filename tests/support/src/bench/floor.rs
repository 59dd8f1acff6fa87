//! The floor under every figure: the same writes by a bare client that decides nothing.

use super::figures::Sample;
use anyhow::Context as _;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use std::time::{Duration, Instant};

/// What the operator wrote for one resource, to be written again by a bare client.
#[derive(Clone, Debug)]
pub struct Written {
    policies: Vec<NetworkPolicy>,
    config_maps: Vec<ConfigMap>,
}

impl Written {
    /// Reads what stands in a namespace for a resource.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn read(client: &Client, namespace: &str, resource: &str) -> anyhow::Result<Self> {
        let selector = kube::api::ListParams::default().labels(&format!("citrix-allowlist.io/allowlist={resource}"));
        let policies = Api::<NetworkPolicy>::namespaced(client.clone(), namespace).list(&selector).await?.items;
        let config_maps = Api::<ConfigMap>::namespaced(client.clone(), namespace).list(&selector).await?.items;
        anyhow::ensure!(!policies.is_empty(), "{resource} has no policies");
        Ok(Self { policies, config_maps })
    }

    /// Peers over all policies.
    #[must_use]
    pub fn peers(&self) -> usize {
        let rules = self.policies.iter().filter_map(|policy| policy.spec.as_ref()?.egress.as_ref()).flatten();
        rules.filter_map(|rule| rule.to.as_ref()).map(Vec::len).sum()
    }
}

fn bare<K: kube::Resource>(object: &mut K, name: &str, namespace: &str) {
    let labels = object.meta().labels.clone();
    *object.meta_mut() = kube::api::ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(namespace.to_owned()),
        labels,
        ..Default::default()
    };
}

/// How long the API server takes to create one such policy, one after the other.
///
/// # Errors
/// Where the API server refuses.
pub async fn creates(client: &Client, namespace: &str, written: &Written, runs: usize) -> anyhow::Result<Sample> {
    let api = Api::<NetworkPolicy>::namespaced(client.clone(), namespace);
    let mut sample = Sample::default();
    for run in 0..runs {
        let mut policy = written.policies.first().context("a policy")?.clone();
        bare(&mut policy, &format!("bare-{run}"), namespace);
        let sent = Instant::now();
        api.create(&PostParams::default(), &policy).await?;
        sample.add(sent.elapsed());
    }
    Ok(sample)
}

/// How long a bare client takes for `count` resources: first their policies, then their ConfigMaps and a status each on
/// `resources`, in parallel as the operator writes. Returns the times of the policies and of everything.
///
/// # Errors
/// Where the API server refuses.
pub async fn bulk(
    client: &Client,
    namespace: &str,
    written: &Written,
    resources: &Api<kube::api::DynamicObject>,
    names: &[String],
    parallel: usize,
) -> anyhow::Result<(Duration, Duration)> {
    let started = Instant::now();
    let policies = Api::<NetworkPolicy>::namespaced(client.clone(), namespace);
    let creates = names.iter().flat_map(|name| written.policies.iter().map(move |policy| (name, policy)));
    let results: Vec<anyhow::Result<()>> = futures::stream::iter(creates.enumerate())
        .map(|(index, (name, policy))| {
            let mut policy = policy.clone();
            bare(&mut policy, &format!("{name}-bare-{index}"), namespace);
            let api = policies.clone();
            async move { Ok(api.create(&PostParams::default(), &policy).await.map(drop)?) }
        })
        .buffer_unordered(parallel)
        .collect()
        .await;
    results.into_iter().collect::<anyhow::Result<()>>()?;
    let first = started.elapsed();
    let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    let results: Vec<anyhow::Result<()>> = futures::stream::iter(names.iter())
        .map(|name| {
            let (maps, resources) = (maps.clone(), resources.clone());
            let config_maps = written.config_maps.clone();
            async move {
                for (index, mut map) in config_maps.into_iter().enumerate() {
                    bare(&mut map, &format!("{name}-bare-{index}"), namespace);
                    maps.create(&PostParams::default(), &map).await?;
                }
                let status = json!({
                    "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
                    "metadata": { "name": name }, "status": { "problemsTotal": 1 },
                });
                let parameters = PatchParams::apply("bare").force();
                resources.patch_status(name, &parameters, &Patch::Apply(&status)).await?;
                Ok(())
            }
        })
        .buffer_unordered(parallel)
        .collect()
        .await;
    results.into_iter().collect::<anyhow::Result<()>>()?;
    Ok((first, started.elapsed()))
}
