//! What the cluster itself is, as far as policies depend on it. Pure: `cluster` finds it out.

use ipnet::{IpNet, Ipv6Net};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the cluster tells about itself, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// Ranges of Services: `ServiceCIDR` objects, or by flag.
    pub service_networks: Vec<IpNet>,
    /// Ranges of pods: nodes' `podCIDRs`, or by flag.
    pub pod_networks: Vec<IpNet>,
    /// The prefix under which IPv6-only pods reach IPv4 addresses, where the cluster has one.
    pub nat64_prefix: Option<Ipv6Net>,
    /// The DNS servers that pods are given.
    pub dns: Vec<DnsServer>,
}

impl ClusterFacts {
    /// Whether pods have IPv4 and IPv6 addresses, in this order, judged by the pods' and else the Services' ranges;
    /// both where neither is known, since an unused family in a policy allows nothing that exists.
    #[must_use]
    pub fn families(&self) -> (bool, bool) {
        let ranges = if self.pod_networks.is_empty() { &self.service_networks } else { &self.pod_networks };
        let ipv4 = ranges.iter().any(|network| matches!(network, IpNet::V4(_)));
        let ipv6 = ranges.iter().any(|network| matches!(network, IpNet::V6(_)));
        if ipv4 || ipv6 { (ipv4, ipv6) } else { (true, true) }
    }
}

impl ClusterFacts {
    /// The same without the endpoints behind DNS Services, which come and go, and which no policy depends on.
    #[must_use]
    pub fn without_endpoints(&self) -> Self {
        let mut facts = self.clone();
        for service in facts.dns.iter_mut().filter_map(|server| server.service.as_mut()) {
            service.endpoints.clear();
        }
        facts
    }
}

/// A DNS server that pods are given in their `resolv.conf`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsServer {
    /// The address that pods ask: a Service's ClusterIP, a node-local cache, a cloud's resolver.
    pub address: IpAddr,
    /// The Service behind it, where it is one's ClusterIP.
    pub service: Option<DnsService>,
}

/// A Service that answers DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsService {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The labels of its pods; empty where the Service has no selector.
    pub selector: BTreeMap<String, String>,
    /// Ports that clients use (the Service's) and pods listen on (its targets), sorted: 53, 5353, 8053.
    pub ports: Vec<u16>,
    /// Its ready endpoints with the port each listens on, sorted.
    pub endpoints: Vec<std::net::SocketAddr>,
}
