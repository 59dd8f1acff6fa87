//! A pod as far as this program reads it. The whole type knows every kind of volume: hundreds of kilobytes of the binary, and of
//! memory for a list of pods, for fields without use.

use k8s_openapi::api::core::v1::{self, ContainerPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::Deserialize;

/// A pod.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Resource)]
#[resource(inherit = "v1::Pod")]
pub struct Pod {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// Its desired state.
    #[serde(default)]
    pub spec: PodSpec,
    /// Its current state.
    #[serde(default)]
    pub status: PodStatus,
}

/// The part of a pod's spec that matters to policies.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// Whether it uses its node's network, which policies do not govern.
    pub host_network: bool,
    /// Its ServiceAccount.
    pub service_account_name: Option<String>,
    /// Its containers.
    pub containers: Vec<Container>,
    /// Its init and sidecar containers.
    pub init_containers: Vec<Container>,
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct Container {
    /// Its declared ports.
    pub ports: Vec<ContainerPort>,
}

/// The state of a pod.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: String,
}
