//! What the operator reaches of the world outside it, as a value: a simulation gives others.

use super::arguments::RunArguments;
use crate::clock::Clock;
use crate::cluster::client::{ConnectOptions, Connected, connect};
use crate::feed::settings::client_settings;
use crate::forward::{Exchange, SocketExchange};
use crate::memory::{MemoryUsage, cgroup};
use crate::names::servers::{RESOLV_CONF, nameservers};
use crate::names::{HickoryLookup, Lookup, QUERY_TIMEOUT};
use anyhow::Context as _;
use connectivity_allowlist::{Fetch, HttpClient};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The API server, the vendor, DNS, the clocks and the machine.
pub struct Edges {
    /// The API server.
    pub connected: Connected,
    /// The name of the operator's own pod, inside a cluster.
    pub pod: Option<String>,
    /// What tells this process from other replicas in the election, besides a random part.
    pub candidate: String,
    /// The vendor's API.
    pub vendor: Arc<dyn Fetch>,
    /// DNS.
    pub dns: Arc<dyn Lookup>,
    /// DNS, for the forwarder.
    pub exchange: Arc<dyn Exchange>,
    /// The servers that the machine's own resolv.conf names, where pods are given the same.
    pub resolv_conf: Vec<IpAddr>,
    /// The wall clock and the monotonic one.
    pub clock: Clock,
    /// The process's memory and its limit.
    pub memory: fn() -> Option<MemoryUsage>,
}

impl Edges {
    /// Those of a real process. Sends nothing yet.
    ///
    /// # Errors
    /// A flag, a file or the environment that cannot be used.
    pub async fn real(arguments: &RunArguments, to: &ConnectOptions) -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let mut connected = connect(to).await?;
        if let Some(namespace) = variable("POD_NAMESPACE") {
            connected.namespace = namespace;
        }
        // Outside a cluster the machine's resolv.conf is not what pods are given.
        let resolv_conf = match connected.in_cluster {
            true => nameservers(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default()),
            false => Vec::new(),
        };
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("--extra-ca-file {} cannot be read", path.display()))
        };
        let extra_ca = arguments.feed.extra_ca_file.as_ref().map(read).transpose()?;
        let pod = variable("POD_NAME");
        Ok(Self {
            connected,
            candidate: pod.clone().or_else(|| variable("HOSTNAME")).unwrap_or_else(|| "local".into()),
            pod,
            vendor: Arc::new(HttpClient::new(&client_settings(extra_ca))?),
            dns: Arc::new(HickoryLookup::new(QUERY_TIMEOUT).context("DNS cannot be set up")?),
            exchange: Arc::new(SocketExchange),
            resolv_conf,
            clock: Clock::System,
            memory: cgroup::read,
        })
    }
}
