//! The flags of the forwarder, and its composition.

use super::values::{dns_server, listening, period, settle, suffix};
use crate::clock::Clock;
use crate::cluster::askers::Askers;
use crate::cluster::leader_endpoints::LeaderEndpoints;
use crate::forward::{Exchange, ForwardObserver, Forwarder, ForwarderParts, Leads, OwnHosts, Prober, Upstream};
use crate::names::Names;
use anyhow::Context as _;
use clap::Args;
use connectivity_allowlist::net::DomainName;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug, Args)]
#[command(next_help_heading = "Names that the cluster's DNS forwards")]
pub(crate) struct ForwardArguments {
    /// Address, UDP and TCP, where the cluster's DNS asks for names of the lists' zones: they are learned under wildcards, and given
    /// out once policies allow their addresses
    #[arg(long, env = "CITRIX_ALLOWLIST_FORWARD_LISTEN", value_name = "ADDR", value_parser = listening, requires = "forward_upstream")]
    pub forward_listen: Option<SocketAddr>,
    /// Zones that are served, instead of those of the names and wildcards of the lists in use
    #[arg(long, env = "CITRIX_ALLOWLIST_FORWARD_ZONE", value_name = "ZONE", value_parser = suffix, value_delimiter = ',')]
    pub forward_zone: Vec<DomainName>,
    /// DNS servers that are asked for these zones; none that forwards them to the operator
    #[arg(long, env = "CITRIX_ALLOWLIST_FORWARD_UPSTREAM", value_name = "IP[:PORT]", value_parser = dns_server, value_delimiter = ',')]
    pub forward_upstream: Vec<SocketAddr>,
    /// Service without a selector, in the operator's namespace, that is pointed at the replica that leads
    #[arg(long, env = "CITRIX_ALLOWLIST_FORWARD_SERVICE", value_name = "NAME", requires = "forward_listen")]
    pub forward_service: Option<String>,
    /// Believe the cluster's DNS about who asked (EDNS option 0xffee): a name then counts for the resources that select that pod
    #[arg(long, env = "CITRIX_ALLOWLIST_FORWARD_CLIENTS", requires = "forward_listen")]
    pub forward_clients: bool,
    /// How long the network plugin takes to follow a policy: an answer with new addresses waits for so long
    #[arg(long, env = "CITRIX_ALLOWLIST_FORWARD_SETTLE", value_parser = settle, default_value = "250ms")]
    pub forward_settle: Duration,
    /// How long a learned name outlives its last question
    #[arg(long, env = "CITRIX_ALLOWLIST_LEARNED_RETENTION", value_parser = period, default_value = "168h")]
    pub learned_retention: Duration,
}

impl ForwardArguments {
    /// Whether the forwarder runs.
    pub const fn is_on(&self) -> bool {
        self.forward_listen.is_some()
    }

    /// Has `names` asked as the forwarder asks.
    pub fn apply_to(&self, names: &Names) {
        if self.is_on() {
            names.forward_to(self.forward_upstream.clone(), &self.forward_zone);
        }
    }

    /// Where the Service leads while this process does.
    ///
    /// # Errors
    /// The pod's address is not known.
    pub fn endpoints(&self, namespace: &str) -> anyhow::Result<Option<LeaderEndpoints>> {
        let (Some(service), Some(listen)) = (&self.forward_service, self.forward_listen) else { return Ok(None) };
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let address = variable("POD_IP").and_then(|text| text.parse::<IpAddr>().ok());
        let address =
            address.context("--forward-service: POD_IP has to have the pod's address, by the downward API")?;
        Ok(Some(LeaderEndpoints {
            namespace: namespace.to_owned(),
            service: service.clone(),
            address: SocketAddr::new(address, listen.port()),
            pod: variable("POD_NAME").zip(variable("POD_UID")),
        }))
    }

    /// The forwarder.
    pub fn forwarder(
        &self,
        names: Names,
        leads: Leads,
        askers: Askers,
        (clock, exchange): (Clock, Arc<dyn Exchange>),
        own: OwnHosts,
        observer: Arc<dyn ForwardObserver>,
    ) -> Forwarder {
        let (askers, is_told) = (Arc::new(askers), self.forward_clients);
        Forwarder::new(ForwarderParts {
            names,
            upstream: Upstream::new(self.forward_upstream.clone(), exchange),
            settle: self.forward_settle,
            leads,
            askers: Box::new(move |server, client| {
                let askers = Arc::clone(&askers);
                Box::pin(async move { if is_told { askers.of(server, client).await } else { None } })
            }),
            clock,
            own,
            observer,
        })
    }

    /// What finds out whether the forwarder is asked.
    pub fn prober(&self, names: Names, exchange: Arc<dyn Exchange>) -> Option<Prober> {
        self.is_on().then(|| Prober::new(names, self.forward_upstream.clone(), exchange))
    }
}
