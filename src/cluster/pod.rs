//! A pod as far as this program reads it. The whole type knows every kind of volume: hundreds of kilobytes of the binary, and of
//! memory for a list of pods, for fields without use.

use k8s_openapi::api::core::v1::ContainerPort;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{Metadata, NamespaceResourceScope, Resource};
use serde::Deserialize;

/// A pod.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
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
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Whether it uses its node's network, which policies do not govern.
    #[serde(default)]
    pub host_network: bool,
    /// Its ServiceAccount.
    #[serde(default)]
    pub service_account_name: Option<String>,
    /// Its containers.
    #[serde(default)]
    pub containers: Vec<Container>,
    /// Its init and sidecar containers.
    #[serde(default)]
    pub init_containers: Vec<Container>,
}

/// A container.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct Container {
    /// Its declared ports.
    #[serde(default)]
    pub ports: Vec<ContainerPort>,
}

/// The state of a pod.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    #[serde(default)]
    pub phase: String,
}

impl Resource for Pod {
    const API_VERSION: &'static str = "v1";
    const GROUP: &'static str = "";
    const KIND: &'static str = "Pod";
    const VERSION: &'static str = "v1";
    const URL_PATH_SEGMENT: &'static str = "pods";
    type Scope = NamespaceResourceScope;
}

impl Metadata for Pod {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &Self::Ty {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut Self::Ty {
        &mut self.metadata
    }
}
