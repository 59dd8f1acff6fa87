//! The configuration that makes a platform's DNS forward zones to the forwarder, as text to apply. Pure.

mod in_use;
mod texts;

use crate::facts::DNS_PORT;
use clap::ValueEnum;
use connectivity_allowlist::net::DomainName;
pub use in_use::{ZonesInUse, zones_in_use};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// The most servers that a zone is forwarded to: CoreDNS' plugin `forward`, and OpenShift with it, takes 15.
const MOST_SERVERS: usize = 15;

/// What answers the names that pods ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Platform {
    /// CoreDNS as kubeadm installs it, or from its own chart: a Corefile that you may edit
    Kubeadm,
    /// k3s: the ConfigMap coredns-custom
    K3s,
    /// RKE2: a HelmChartConfig
    Rke2,
    /// Azure: the ConfigMap coredns-custom
    Aks,
    /// Amazon: the CoreDNS add-on; not Auto Mode
    Eks,
    /// OpenShift: the DNS operator
    Openshift,
    /// Google, Standard clusters with kube-dns; not Autopilot, not Cloud DNS
    Gke,
    /// NodeLocal DNSCache, in front of any of them
    NodeLocal,
    /// Conditional forwarders of domain controllers
    ActiveDirectory,
}

impl Platform {
    /// Every platform.
    pub const ALL: [Self; 9] = [
        Self::Kubeadm,
        Self::K3s,
        Self::Rke2,
        Self::Aks,
        Self::Eks,
        Self::Openshift,
        Self::Gke,
        Self::NodeLocal,
        Self::ActiveDirectory,
    ];

    /// The value of `--for`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kubeadm => "kubeadm",
            Self::K3s => "k3s",
            Self::Rke2 => "rke2",
            Self::Aks => "aks",
            Self::Eks => "eks",
            Self::Openshift => "openshift",
            Self::Gke => "gke",
            Self::NodeLocal => "node-local",
            Self::ActiveDirectory => "active-directory",
        }
    }

    /// Why the servers to ask while the operator is away have to be named; `None` where the DNS of the platform knows its own.
    const fn needs_fallback(self) -> Option<&'static str> {
        match self {
            Self::Openshift => Some("its DNS operator takes addresses only, not the nodes' resolv.conf"),
            Self::Gke => Some(
                "the resolver that answers while the operator is away; `none` does without: then nothing answers these zones meanwhile",
            ),
            Self::ActiveDirectory => Some("the resolver that domain controllers ask while the operator is away"),
            Self::Kubeadm | Self::K3s | Self::Rke2 | Self::Aks | Self::Eks | Self::NodeLocal => None,
        }
    }
}

/// Who answers while the operator is away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// The servers that CoreDNS' own machine uses: `/etc/resolv.conf`.
    ResolvConf,
    /// These, in this order.
    Servers(Vec<SocketAddr>),
    /// Nobody.
    Nobody,
}

/// What is forwarded, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForwardedZones {
    /// The zones; none lies in another.
    pub zones: BTreeSet<DomainName>,
    /// The address of the forwarder.
    pub forwarder: SocketAddr,
    /// Who is asked after it.
    pub fallback: Fallback,
}

impl ForwardedZones {
    /// The configuration of a platform, with what to do with it in comments.
    ///
    /// # Errors
    /// What this platform cannot do, in a sentence with the flag.
    pub fn configuration(&self, platform: Platform) -> Result<String, String> {
        self.check(platform)?;
        Ok(texts::text(self, platform))
    }

    /// Whether a platform can do it.
    ///
    /// # Errors
    /// As [`ForwardedZones::configuration`].
    pub fn check(&self, platform: Platform) -> Result<(), String> {
        let name = platform.as_str();
        let servers = match &self.fallback {
            Fallback::ResolvConf => match platform.needs_fallback() {
                Some(why) => return Err(format!("--for {name} needs --fallback IP: {why}")),
                None => return Ok(()),
            },
            Fallback::Nobody if platform == Platform::Gke => return Ok(()),
            Fallback::Nobody => {
                return Err(format!(
                    "--fallback none is not for {name}: DNS of these zones would fail with the operator; an address is allowed"
                ));
            }
            Fallback::Servers(servers) => servers,
        };
        if servers.contains(&self.forwarder) {
            let forwarder = spelled(self.forwarder);
            return Err(format!(
                "--fallback {forwarder} is the forwarder itself: another resolver's address is allowed"
            ));
        }
        if servers.len() >= MOST_SERVERS {
            let (given, most) = (servers.len(), MOST_SERVERS - 1);
            return Err(format!("--fallback is given {given} times: at most {most} are allowed"));
        }
        let mut given = [("--address", self.forwarder)].into_iter().chain(servers.iter().map(|of| ("--fallback", *of)));
        match given.find(|(_, address)| platform == Platform::ActiveDirectory && address.port() != DNS_PORT) {
            Some((flag, address)) => Err(format!(
                "{flag} {address}: domain controllers ask port 53 only; an address without a port is allowed"
            )),
            None => Ok(()),
        }
    }

    /// Every server, the forwarder first.
    fn servers(&self) -> Vec<String> {
        let mut servers = vec![spelled(self.forwarder)];
        match &self.fallback {
            Fallback::ResolvConf => servers.push("/etc/resolv.conf".to_owned()),
            Fallback::Servers(others) => servers.extend(others.iter().map(|server| spelled(*server))),
            Fallback::Nobody => {}
        }
        servers
    }
}

/// An address, without the port of DNS.
fn spelled(address: SocketAddr) -> String {
    if address.port() == DNS_PORT { IpAddr::to_string(&address.ip()) } else { address.to_string() }
}

#[cfg(test)]
mod tests;
