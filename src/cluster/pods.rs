//! The pods that a resource selects, and the policies that isolate them already: listed for a report, not watched.

use super::client::{CallError, pages};
use super::pod::Pod;
use crate::engines::network_policy::isolation::{self, SelectedPods};
use crate::engines::network_policy::protocol;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ContainerPort;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ListParams};
use kube::core::{ParseExpressionError, Selector};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::time::Duration;

/// Objects in one page of a list: a namespace may hold thousands of pods, and policies are large.
const PAGE: u32 = 100;
/// How long one page may take.
const CALL_DEADLINE: Duration = Duration::from_secs(8);

/// Adds a pod, unless policies do not govern it: it has ended, or uses the node's network.
fn add(selected: &mut SelectedPods, pod: &Pod) {
    if matches!(&*pod.status.phase, "Succeeded" | "Failed") || pod.spec.host_network {
        return;
    }
    let containers = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    let port =
        |port: &ContainerPort| Some((protocol(port.protocol.as_deref())?, u16::try_from(port.container_port).ok()?));
    selected.declared_ports.extend(containers.flat_map(|container| &container.ports).filter_map(port));
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    selected.pods.push(isolation::PodLabels { name: pod.name_any(), labels });
}

/// Why pods or policies could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// Kubernetes does not accept the selector.
    #[error(transparent)]
    Selector(#[from] ParseExpressionError),
    /// The API server refused, or could not be reached.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Lists pods, and policies as far as they isolate.
#[derive(Clone)]
pub struct PodLister(pub Client);

impl PodLister {
    /// The pods of a namespace that `selector` selects.
    ///
    /// # Errors
    /// Kubernetes does not accept the selector, or the API server does not answer with all pods.
    pub async fn selected(&self, namespace: &str, selector: &LabelSelector) -> Result<SelectedPods, ListError> {
        let selector = Selector::try_from(selector.clone())?;
        let mut selected = SelectedPods::default();
        self.list(namespace, ListParams::default().labels_from(&selector), |pod| add(&mut selected, &pod)).await?;
        Ok(selected)
    }

    /// The policies of a namespace without their rules' peers, except those controlled by the resource `uid`.
    ///
    /// # Errors
    /// The API server does not answer with all of them.
    pub async fn others_policies(&self, namespace: &str, uid: &str) -> Result<Vec<NetworkPolicy>, ListError> {
        let mut others = Vec::new();
        self.list(namespace, ListParams::default(), |mut policy: NetworkPolicy| {
            if crate::objects::digest::controller_of(&policy.metadata).is_some_and(|controller| controller.uid == uid) {
                return;
            }
            policy.metadata.managed_fields = None;
            if let Some(spec) = &mut policy.spec {
                // Only the existence of rules counts: thousands of peers need not be kept.
                spec.egress.iter_mut().flatten().for_each(|rule| rule.to = None);
                spec.ingress.iter_mut().flatten().for_each(|rule| rule.from = None);
            }
            others.push(policy);
        })
        .await?;
        Ok(others)
    }

    async fn list<K>(&self, namespace: &str, parameters: ListParams, mut take: impl FnMut(K)) -> Result<(), ListError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.0.clone(), namespace);
        Ok(pages(&api, parameters.limit(PAGE), CALL_DEADLINE, &mut take).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connectivity_allowlist::net::Protocol;
    use serde_json::json;
    use std::collections::BTreeSet;

    #[test]
    fn unselected_pods_are_left_out_and_declared_ports_are_used() {
        let mut selected = SelectedPods::default();
        for pod in [
            json!({ "metadata": { "name": "plain", "labels": { "app": "vda" } }, "spec": { "containers": [
                { "name": "a", "ports": [{ "containerPort": 8443 }, { "containerPort": 53, "protocol": "UDP" }] },
                { "name": "b", "ports": [{ "containerPort": 9000, "protocol": "SCTP" }] },
            ], "initContainers": [{ "name": "c", "ports": [{ "containerPort": 9090, "protocol": "TCP" }] }] } }),
            json!({ "metadata": { "name": "on-the-node" }, "spec": { "hostNetwork": true, "containers": [
                { "name": "a", "ports": [{ "containerPort": 1 }] },
            ] } }),
            json!({ "metadata": { "name": "done" }, "spec": { "containers": [] }, "status": { "phase": "Succeeded" } }),
        ] {
            add(&mut selected, &serde_json::from_value(pod).expect("a pod"));
        }
        assert_eq!(selected.pods.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["plain"]);
        let ports = [(Protocol::Tcp, 8443), (Protocol::Tcp, 9090), (Protocol::Udp, 53)];
        assert_eq!(selected.declared_ports, BTreeSet::from(ports));
    }
}
