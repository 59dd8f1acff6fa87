//! The connection to the cluster: kubectl's own flags.

use crate::cluster::client::{CallError, ClientError, ConnectOptions, Connected, connect};
use clap::Args;
use kube::config::KubeconfigError;
use std::path::PathBuf;

/// kubectl's flags for the connection, with kubectl's own defaults.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The cluster, as for kubectl")]
pub(crate) struct ConnectionArguments {
    /// Kubeconfig file, instead of KUBECONFIG and ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, instead of its current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// Cluster of the kubeconfig, instead of the context's
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
    /// User of the kubeconfig, instead of the context's
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}

/// Which namespace is meant.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "The cluster, as for kubectl")]
pub(crate) struct NamespaceArguments {
    /// Namespace, instead of the context's
    #[arg(short, long, value_name = "NS")]
    pub namespace: Option<String>,
}

impl ConnectionArguments {
    /// Prepares a client, without a request to the API server.
    pub async fn connect(&self, namespace: Option<&str>) -> anyhow::Result<Connected> {
        let options = ConnectOptions {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
            namespace: namespace.map(str::to_owned),
        };
        connect(&options).await.map_err(|error| {
            // A parser draws the place under its sentence.
            let text = error.to_string();
            anyhow::anyhow!("{}; {}", text.lines().next().unwrap_or_default(), remedy(&error))
        })
    }
}

/// What to do where the API server cannot be reached.
fn remedy(error: &ClientError) -> &'static str {
    match error {
        ClientError::Kubeconfig(
            KubeconfigError::CurrentContextNotSet
            | KubeconfigError::LoadContext(_)
            | KubeconfigError::LoadClusterOfContext(_),
        ) => "`kubectl config get-contexts` lists those there are, --context and --cluster choose",
        ClientError::Kubeconfig(_) => "--kubeconfig names another file",
        ClientError::NoCluster(_) => "--kubeconfig names one",
        ClientError::Proxy => "NO_PROXY names hosts that are reached without",
        ClientError::Setup(_) => "look at the user and the cluster in the kubeconfig",
    }
}

/// The names of the kind before a slash, as kubectl takes them.
const TYPES: [&str; 4] = ["cal", "citrixallowlist", "citrixallowlists", "citrixallowlists.citrix-allowlist.io"];

/// Reads the name of a CitrixAllowlist: `NAME`, or `TYPE/NAME` as kubectl prints it.
pub(crate) fn resource_name(text: &str) -> Result<String, String> {
    let (type_, name) = text.split_once('/').unwrap_or((TYPES[0], text));
    let is_type = TYPES.iter().any(|known| known.eq_ignore_ascii_case(type_));
    if is_type && !name.is_empty() && !name.contains('/') {
        Ok(name.to_owned())
    } else {
        Err(format!("`{text}` names no CitrixAllowlist: NAME, cal/NAME and citrixallowlist/NAME are allowed"))
    }
}

/// An error about a resource, with what to do where it is not there.
pub(crate) fn not_found(error: CallError, namespace: &str, name: &str) -> anyhow::Error {
    if error.is_not_found() && !is_unknown_path(&error) {
        anyhow::anyhow!(
            "citrixallowlist {namespace}/{name} is not there: `kubectl get citrixallowlists -A` lists those there are"
        )
    } else {
        anyhow::Error::new(error).context(format!("citrixallowlist {namespace}/{name}"))
    }
}

/// Whether the server does not know the path: the kind's CRD is missing, or it is no API server.
pub(crate) fn is_unknown_path(error: &CallError) -> bool {
    // Such a server answers without a Status, and kube makes one of the text.
    error.status().is_some_and(|status| status.code == 404 && status.reason != "NotFound")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_named_as_kubectl_names_it() {
        for text in ["prod", "cal/prod", "CitrixAllowlist/prod", "citrixallowlists.citrix-allowlist.io/prod"] {
            assert_eq!(resource_name(text).as_deref(), Ok("prod"), "{text}");
        }
        for text in ["", "pod/prod", "cal/", "/prod", "cal/prod/x"] {
            let error = resource_name(text).expect_err(text);
            assert!(error.starts_with(&format!("`{text}` names no CitrixAllowlist: NAME, cal/NAME")), "{error}");
        }
    }
}
