//! The connection to the API server: its address, our identity, and how long a call may take.

use super::proxy::ProxyEnvironment;
use kube::api::{Api, ListParams};
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::Status;
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// How long a connection to the API server may take to open.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may stay silent after a request. It is above the 295 s after which a kube watcher ends an idle watch
/// itself (290 s requested of the server, 5 s of margin), so that it never cuts one.
pub const READ_TIMEOUT: Duration = Duration::from_secs(305);

/// How long the API server may leave a request unread.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long one call other than a watch may take from end to end, unless its caller knows better.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Which cluster to use, by kubectl's own flags. Everything unset is found as kubectl finds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectOptions {
    /// A kubeconfig file instead of `KUBECONFIG` and `~/.kube/config` (`--kubeconfig`).
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context instead of its current one (`--context`).
    pub context: Option<String>,
    /// The kubeconfig's cluster instead of the context's (`--cluster`).
    pub cluster: Option<String>,
    /// The kubeconfig's user instead of the context's (`--user`).
    pub user: Option<String>,
    /// The namespace instead of the context's or the pod's (`--namespace`).
    pub namespace: Option<String>,
}

/// A client and its context.
#[derive(Clone)]
pub struct Connected {
    /// The client. It neither retries nor limits the time of a call by itself: see [`deadline`].
    pub client: Client,
    /// The namespace of `--namespace`, else the context's, or inside a cluster `POD_NAMESPACE`, or the service account's.
    pub namespace: String,
    /// Whether the client acts as a pod of the cluster, with its service account.
    pub in_cluster: bool,
    /// The API server's address, if the configuration gives no name.
    pub api_server: Option<std::net::IpAddr>,
}

/// Why the API server cannot be used. The user can fix all of them.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The kubeconfig cannot be used.
    #[error("kubeconfig: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// There is no kubeconfig, and this is no pod either.
    #[error("no kubeconfig (KUBECONFIG, ~/.kube/config), and not inside a cluster: {0}")]
    NoCluster(#[source] InClusterError),
    /// The proxy of the environment is no URL.
    #[error("HTTPS_PROXY or HTTP_PROXY is no URL such as http://proxy.example.com:3128")]
    Proxy,
    /// The client cannot be built: certificates, keys, the proxy's protocol.
    #[error("the client cannot be set up: {0}")]
    Setup(#[source] kube::Error),
}

/// Finds the cluster and prepares a client. Sends nothing to the API server yet.
///
/// # Errors
/// Neither a kubeconfig nor a pod's service account gives a usable configuration.
pub async fn connect(options: &ConnectOptions) -> Result<Connected, ClientError> {
    let environment = |name: &str| std::env::var(name).ok();
    let (mut config, explicit_proxy) = match read_kubeconfig(options)? {
        Some(kubeconfig) => {
            let explicit_proxy = cluster_has_proxy(&kubeconfig, options);
            let selection = KubeConfigOptions {
                context: options.context.clone(),
                cluster: options.cluster.clone(),
                user: options.user.clone(),
            };
            (Config::from_custom_kubeconfig(kubeconfig, &selection).await?, explicit_proxy)
        }
        None => {
            let mut config = Config::incluster().map_err(ClientError::NoCluster)?;
            if let Some(namespace) = environment("POD_NAMESPACE").filter(|namespace| !namespace.is_empty()) {
                config.default_namespace = namespace;
            }
            (config, false)
        }
    };
    let in_cluster = config.root_cert_file.is_some();
    if !explicit_proxy {
        let proxy = environment_proxy(&config, &ProxyEnvironment::read(environment));
        config.proxy_url = proxy.map(|proxy| proxy.parse()).transpose().map_err(|_| ClientError::Proxy)?;
    }
    if let Some(namespace) = &options.namespace {
        config.default_namespace.clone_from(namespace);
    }
    bound(&mut config);
    let namespace = config.default_namespace.clone();
    // IPv6 is in brackets there.
    let host = config.cluster_url.host().map(|host| host.trim_matches(['[', ']']));
    let api_server = host.and_then(|host| host.parse().ok());
    let client = Client::try_from(config).map_err(ClientError::Setup)?;
    Ok(Connected { client, namespace, in_cluster, api_server })
}

/// Bounds what kube leaves open: it retries 15 times up to 1,000 s apart, and waits for an answer for ever.
fn bound(config: &mut Config) {
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    // Otherwise the time that a pooled connection idled before the request counts as silence.
    config.reset_reader_on_write = true;
}

fn environment_proxy(config: &Config, environment: &ProxyEnvironment) -> Option<String> {
    let scheme = config.cluster_url.scheme_str()?;
    let host = config.cluster_url.host()?;
    let port = config.cluster_url.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
    environment.proxy_for(scheme, host, port)
}

/// The kubeconfig as kubectl finds it; `None` without one, or if it is empty and no context was given.
fn read_kubeconfig(options: &ConnectOptions) -> Result<Option<Kubeconfig>, KubeconfigError> {
    if let Some(path) = &options.kubeconfig {
        return Kubeconfig::read_from(path).map(Some);
    }
    let listed: Vec<PathBuf> = match std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()) {
        Some(value) => std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => std::env::home_dir().map(|home| home.join(".kube").join("config")).into_iter().collect(),
    };
    let merged = listed
        .iter()
        .filter(|path| path.exists())
        .try_fold(Kubeconfig::default(), |merged, path| merged.merge(Kubeconfig::read_from(path)?))?;
    let empty = merged.contexts.is_empty() && merged.clusters.is_empty() && merged.current_context.is_none();
    let chosen = options.context.is_some() || options.cluster.is_some() || options.user.is_some();
    Ok((!empty || chosen).then_some(merged))
}

/// Whether the chosen cluster has its own proxy, which no environment overrules.
fn cluster_has_proxy(kubeconfig: &Kubeconfig, options: &ConnectOptions) -> bool {
    let context = options.context.as_ref().or(kubeconfig.current_context.as_ref());
    let of_context = || {
        let named = kubeconfig.contexts.iter().find(|named| Some(&named.name) == context)?;
        named.context.as_ref().map(|context| &context.cluster)
    };
    let Some(name) = options.cluster.as_ref().or_else(of_context) else { return false };
    let cluster = kubeconfig.clusters.iter().find(|named| &named.name == name).and_then(|named| named.cluster.as_ref());
    cluster.and_then(|cluster| cluster.proxy_url.as_ref()).is_some_and(|proxy| !proxy.is_empty())
}

/// Why a call to the API server failed.
#[derive(Debug, Error)]
pub enum CallError {
    /// No answer in time. Whether a write happened is not known.
    #[error("the API server did not answer within {} s", .0.as_secs_f32())]
    Deadline(Duration),
    /// The API server refused, or could not be reached.
    #[error("{}", describe(.0))]
    Api(#[from] kube::Error),
}

impl CallError {
    /// The API server's answer, if there was one.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status),
            Self::Api(_) | Self::Deadline(_) => None,
        }
    }

    /// The HTTP status code, if there was an answer.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        self.status().map(|status| status.code)
    }

    /// Whether the object, or its whole kind, does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether RBAC or an admission plugin forbids it.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }
}

/// An error for people: the API server's own message, or the innermost cause of a failed connection.
#[must_use]
pub fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => format!("{} ({})", status.message, status.code),
        kube::Error::Api(status) => format!("the API server answered {} {}", status.code, status.reason),
        other => {
            let mut innermost: &dyn std::error::Error = other;
            while let Some(source) = innermost.source() {
                innermost = source;
            }
            format!("the API server cannot be reached: {innermost}")
        }
    }
}

/// Limits the time of a call. A call past the limit is dropped with its connection.
///
/// # Errors
/// [`CallError::Deadline`] when `limit` has passed, [`CallError::Api`] when the call itself failed.
pub async fn deadline<T>(limit: Duration, call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(CallError::Deadline(limit)),
    }
}

/// Lists objects page by page, each page within `limit`, and passes each object on. `parameters` set the page size.
///
/// # Errors
/// The API server does not answer with all of them; some have been passed on then.
pub async fn pages<K>(
    api: &Api<K>,
    mut parameters: ListParams,
    limit: Duration,
    mut take: impl FnMut(K),
) -> Result<(), CallError>
where
    K: Clone + Debug + DeserializeOwned,
{
    loop {
        let page = deadline(limit, api.list(&parameters)).await?;
        page.items.into_iter().for_each(&mut take);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters = parameters.continue_token(&token),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
