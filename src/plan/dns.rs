//! The rules for the cluster's DNS, which an egress policy would otherwise cut.

use super::families::Families;
use crate::facts::{ClusterDns, ClusterFacts, DNS_PORT, DnsService};
use crate::guard::platform::is_platform;
use connectivity_allowlist::net::{PortRange, PortSet, Protocol};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// The default address of Kubernetes' NodeLocal DNSCache.
const NODE_LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10));
/// The addresses of AKS LocalDNS: one for pods by default, the other for pods that query the cluster's DNS.
const AKS_LOCAL: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(169, 254, 10, 10)), IpAddr::V4(Ipv4Addr::new(169, 254, 10, 11))];

/// DNS servers on the same ports. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsRule {
    ports: PortSet,
    peers: BTreeSet<DnsPeer>,
}

impl DnsRule {
    /// The ports, UDP and TCP.
    #[must_use]
    pub const fn ports(&self) -> &PortSet {
        &self.ports
    }

    /// The servers, in order; at least one.
    pub fn peers(&self) -> impl Iterator<Item = &DnsPeer> {
        self.peers.iter()
    }
}

/// A DNS server, or the pods behind one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DnsPeer {
    /// An address, as a network of one.
    Network(IpNet),
    /// Pods of a namespace.
    Pods {
        /// The namespace's name.
        namespace: String,
        /// The labels that select them; never empty, since that would select every pod of the namespace.
        labels: BTreeMap<String, String>,
    },
}

/// The rules that let pods query the cluster's DNS, in the order of their ports; never empty.
pub(super) fn rules(facts: &ClusterFacts, families: Families) -> Vec<DnsRule> {
    let mut by_ports: BTreeMap<PortSet, BTreeSet<DnsPeer>> = BTreeMap::new();
    let mut allow = |ports: &[u16], peer: DnsPeer| {
        // Some clouds answer DNS where they hand out the machine's identity: allow only port 53 there.
        let only_dns = matches!(&peer, DnsPeer::Network(network) if is_platform(network.addr()));
        let ports: Vec<u16> = ports.iter().copied().filter(|port| !only_dns || *port == DNS_PORT).collect();
        if let Some(ports) = both_protocols(&ports) {
            by_ports.entry(ports).or_default().insert(peer);
        }
    };
    let address = |address: IpAddr| DnsPeer::Network(IpNet::from(address));
    for server in &facts.dns {
        match &server.service {
            Some(service) => behind_service(server, service, &facts.pod_networks, &mut allow),
            None => allow(&[DNS_PORT], address(server.address)),
        }
        if AKS_LOCAL.contains(&server.address) {
            AKS_LOCAL.into_iter().for_each(|local| allow(&[DNS_PORT], address(local)));
        }
    }
    if facts.dns.is_empty() {
        // The labels of kubeadm and nearly every distribution.
        let labels = BTreeMap::from([("k8s-app".to_owned(), "kube-dns".to_owned())]);
        allow(&[DNS_PORT], DnsPeer::Pods { namespace: "kube-system".to_owned(), labels });
    }
    // A node-local cache that intercepts the Service's address answers from here, unseen in any pod's resolv.conf.
    let behind_a_service = facts.dns.is_empty() || facts.dns.iter().any(|server| server.service.is_some());
    if behind_a_service && (families.ipv4 || facts.dns.is_empty()) {
        allow(&[DNS_PORT], address(NODE_LOCAL));
    }
    by_ports.into_iter().map(|(ports, peers)| DnsRule { ports, peers }).collect()
}

/// Allows a Service by its address, for policies that see packets before they are redirected, and by its pods, for those that see
/// them after.
fn behind_service(
    server: &ClusterDns,
    service: &DnsService,
    pod_networks: &[IpNet],
    allow: &mut impl FnMut(&[u16], DnsPeer),
) {
    let default = [DNS_PORT];
    let ports = if service.ports.is_empty() { &default[..] } else { &service.ports };
    allow(ports, DnsPeer::Network(IpNet::from(server.address)));
    if !service.selector.is_empty() {
        let labels = service.selector.clone();
        allow(ports, DnsPeer::Pods { namespace: service.namespace.clone(), labels });
    }
    // A selector misses servers on the host's network, and a Service without one has nothing else. The selector covers pods,
    // whose addresses come and go.
    for endpoint in service.listed_endpoints(pod_networks) {
        allow(&[endpoint.port()], DnsPeer::Network(IpNet::from(endpoint.ip())));
    }
}

fn both_protocols(ports: &[u16]) -> Option<PortSet> {
    let ranges = ports.iter().filter_map(|port| PortRange::single(*port));
    PortSet::new(ranges.flat_map(|range| [(Protocol::Tcp, range), (Protocol::Udp, range)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUAL: Families = Families { ipv4: true, ipv6: true, nat64: None };

    fn shown(facts: &ClusterFacts) -> Vec<String> {
        let peer = |peer: &DnsPeer| match peer {
            DnsPeer::Network(network) => network.to_string(),
            DnsPeer::Pods { namespace, labels } => format!("{namespace}{labels:?}"),
        };
        let rule =
            |rule: &DnsRule| format!("{}: {}", rule.ports(), rule.peers().map(peer).collect::<Vec<_>>().join(" "));
        rules(facts, DUAL).iter().map(rule).collect()
    }

    fn server(address: &str) -> ClusterDns {
        ClusterDns { address: address.parse().expect("an address"), service: None }
    }

    fn service(address: &str, ports: &[u16]) -> ClusterDns {
        let service = DnsService {
            namespace: "openshift-dns".into(),
            name: "dns-default".into(),
            selector: BTreeMap::from([("dns".to_owned(), "default".to_owned())]),
            ports: ports.to_vec(),
            endpoints: ["10.128.0.9:5353", "192.168.7.7:5353"].map(|text| text.parse().expect("a socket")).to_vec(),
        };
        ClusterDns { service: Some(service), ..server(address) }
    }

    #[test]
    fn a_cluster_that_shows_nothing_gets_the_usual_servers() {
        let usual = r#"TCP 53; UDP 53: 169.254.20.10/32 kube-system{"k8s-app": "kube-dns"}"#;
        assert_eq!(shown(&ClusterFacts::default()), [usual]);
    }

    #[test]
    fn a_service_is_its_address_its_pods_and_its_servers_on_hosts() {
        let mut facts = ClusterFacts { dns: vec![service("172.30.0.10", &[53, 5353])], ..Default::default() };
        let pods = r#"openshift-dns{"dns": "default"}"#;
        let both = format!("TCP 53,5353; UDP 53,5353: 172.30.0.10/32 {pods}");
        let local = "TCP 53; UDP 53: 169.254.20.10/32";
        assert_eq!(shown(&facts), [both.as_str(), local]);
        facts.pod_networks = vec!["10.128.0.0/14".parse().expect("a network")];
        let on_hosts = "TCP 5353; UDP 5353: 192.168.7.7/32";
        assert_eq!(shown(&facts), [both.as_str(), local, on_hosts]);
    }

    #[test]
    fn a_service_without_selector_is_its_servers() {
        let mut headless = service("10.96.0.10", &[53]);
        headless.service.as_mut().expect("a service").selector.clear();
        let facts = ClusterFacts { dns: vec![headless], ..Default::default() };
        let servers = "TCP 5353; UDP 5353: 10.128.0.9/32 192.168.7.7/32";
        assert_eq!(shown(&facts), ["TCP 53; UDP 53: 10.96.0.10/32 169.254.20.10/32", servers]);
    }

    /// An endpoint of a Service without a selector was allowed on any port of its own.
    #[test]
    fn a_clouds_own_address_is_allowed_on_the_port_of_dns_alone() {
        let mut service = service("10.96.0.10", &[53]);
        let inner = service.service.as_mut().expect("a service");
        inner.selector.clear();
        inner.endpoints = ["169.254.169.254:80", "168.63.129.16:53", "168.63.129.16:32526"]
            .map(|text| text.parse().expect("a socket"))
            .to_vec();
        let facts = ClusterFacts { dns: vec![service], ..Default::default() };
        assert_eq!(shown(&facts), ["TCP 53; UDP 53: 10.96.0.10/32 168.63.129.16/32 169.254.20.10/32"]);
    }

    #[test]
    fn clouds_own_resolvers_are_allowed_where_pods_are_given_them() {
        let only = |address: &str| shown(&ClusterFacts { dns: vec![server(address)], ..Default::default() });
        assert_eq!(only("169.254.169.254"), ["TCP 53; UDP 53: 169.254.169.254/32"]);
        assert_eq!(only("168.63.129.16"), ["TCP 53; UDP 53: 168.63.129.16/32"]);
        assert_eq!(only("169.254.10.10"), ["TCP 53; UDP 53: 169.254.10.10/32 169.254.10.11/32"]);
    }
}
