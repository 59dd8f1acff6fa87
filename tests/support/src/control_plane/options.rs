//! What a test may ask of its control plane.

use std::path::{Path, PathBuf};

use anyhow::Context;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::ControlPlane;
use crate::tools::workspace_root;

/// The addresses that Services get, from which a cluster's IP families can be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceNetworks {
    /// 10.96.0.0/16 alone.
    #[default]
    Ipv4,
    /// fd00:10:96::/112 alone.
    Ipv6,
    /// Both, IPv4 first.
    DualStack,
}

impl ServiceNetworks {
    /// The value of `--service-cluster-ip-range`.
    pub(super) fn range(self) -> &'static str {
        match self {
            Self::Ipv4 => "10.96.0.0/16",
            Self::Ipv6 => "fd00:10:96::/112",
            Self::DualStack => "10.96.0.0/16,fd00:10:96::/112",
        }
    }

    /// An address of the first family: the API server wants its own to be of that family. Nothing is published under it.
    pub(super) fn advertised_address(self) -> &'static str {
        match self {
            Self::Ipv4 | Self::DualStack => "127.0.0.1",
            Self::Ipv6 => "::1",
        }
    }
}

/// Options of a control plane to be started; made by [`ControlPlane::builder`].
#[derive(Clone, Debug)]
pub struct ControlPlaneBuilder {
    pub(super) service_networks: ServiceNetworks,
    pub(super) api_server_flags: Vec<String>,
    pub(super) etcd_flags: Vec<String>,
    pub(super) api_server_port: Option<u16>,
    pub(super) etcd_port: Option<u16>,
    pub(super) controller_manager: bool,
    pub(super) pod_security: Option<String>,
    pub(super) definitions: Vec<CustomResourceDefinition>,
}

impl Default for ControlPlaneBuilder {
    fn default() -> Self {
        Self {
            service_networks: ServiceNetworks::default(),
            api_server_flags: Vec::new(),
            etcd_flags: Vec::new(),
            api_server_port: None,
            etcd_port: None,
            controller_manager: true,
            pod_security: None,
            definitions: Vec::new(),
        }
    }
}

impl ControlPlaneBuilder {
    /// The networks of Services; IPv4 alone unless told.
    #[must_use]
    pub fn service_networks(mut self, networks: ServiceNetworks) -> Self {
        self.service_networks = networks;
        self
    }

    /// One more flag for kube-apiserver, `--name=value`.
    #[must_use]
    pub fn api_server_flag(mut self, flag: impl Into<String>) -> Self {
        self.api_server_flags.push(flag.into());
        self
    }

    /// One more flag for etcd, `--name=value`.
    #[must_use]
    pub fn etcd_flag(mut self, flag: impl Into<String>) -> Self {
        self.etcd_flags.push(flag.into());
        self
    }

    /// The port of kube-apiserver instead of a free one.
    #[must_use]
    pub fn api_server_port(mut self, port: u16) -> Self {
        self.api_server_port = Some(port);
        self
    }

    /// The client port of etcd instead of a free one.
    #[must_use]
    pub fn etcd_port(mut self, port: u16) -> Self {
        self.etcd_port = Some(port);
        self
    }

    /// Leaves kube-controller-manager out: no garbage collection, no default ServiceAccounts, no end to a namespace that
    /// is deleted; a second less to start.
    #[must_use]
    pub fn without_controller_manager(mut self) -> Self {
        self.controller_manager = false;
        self
    }

    /// The Pod Security level (`privileged`, `baseline`, `restricted`) enforced in namespaces that name none.
    #[must_use]
    pub fn pod_security(mut self, level: impl Into<String>) -> Self {
        self.pod_security = Some(level.into());
        self
    }

    /// A definition to install before kube-controller-manager starts: its garbage collector looks for new kinds every
    /// 30 seconds only, and would take that long to notice a deleted owner of a kind installed later.
    #[must_use]
    pub fn definition(mut self, definition: CustomResourceDefinition) -> Self {
        self.definitions.push(definition);
        self
    }

    /// Every CustomResourceDefinition in the YAML files of the workspace's `crds/`, as [`Self::definition`] installs
    /// them.
    ///
    /// # Errors
    ///
    /// When a file there cannot be read or is no CustomResourceDefinition.
    pub fn workspace_definitions(mut self) -> anyhow::Result<Self> {
        for file in yaml_files(&workspace_root().join("crds"))? {
            let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            let definition = serde_saphyr::from_str(&text)
                .with_context(|| format!("{} is no CustomResourceDefinition", file.display()))?;
            self.definitions.push(definition);
        }
        Ok(self)
    }

    /// Starts it, and returns when it can be used: the API server is ready, the definitions are established, and the
    /// `default` namespace and (with a controller manager) its ServiceAccount exist.
    ///
    /// # Errors
    ///
    /// When a program is missing, ends, or is not ready within two minutes; with the end of its log.
    pub async fn start(self) -> anyhow::Result<ControlPlane> {
        ControlPlane::launch(self).await
    }

    /// The cluster of [`ControlPlane::existing_kubeconfig`], with the definitions applied to it,
    /// and otherwise [`Self::start`].
    ///
    /// # Errors
    ///
    /// When that cluster cannot be reached; or as [`Self::start`].
    pub async fn start_or_existing(self) -> anyhow::Result<ControlPlane> {
        match ControlPlane::existing_kubeconfig() {
            Some(kubeconfig) => {
                let cluster = ControlPlane::from_existing_kubeconfig(&kubeconfig).await?;
                cluster.install(&self.definitions).await?;
                Ok(cluster)
            }
            None => self.start().await,
        }
    }
}

/// The YAML files of a folder in the order of their names; none where there is no such folder.
fn yaml_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
