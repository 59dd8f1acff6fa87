//! Puts together what was seen of the cluster. Pure.

use crate::facts::{ClusterDns, ClusterFacts, DnsService};
use crate::guard::is_public;
use connectivity_allowlist::net::canonical_set;
use ipnet::{IpNet, Ipv6Net};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Services that answer DNS in clusters whose pods' nameserver is not itself a Service's ClusterIP (a node-local cache,
/// or an operator outside the cluster): Kubernetes' own name for it, and OpenShift's. The first that exists counts.
pub const WELL_KNOWN: [(&str, &str); 2] = [("kube-system", "kube-dns"), ("openshift-dns", "dns-default")];

/// What the administrator configured, and this pod's surroundings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FactsSettings {
    /// The nameservers in this pod's `resolv.conf`; empty outside a cluster. Loopback ones are ignored.
    pub nameservers: Vec<IpAddr>,
    /// Ranges of Services instead of the cluster's `ServiceCIDR` objects (`--service-cidr`); if empty, the cluster's.
    pub service_networks: Vec<IpNet>,
    /// Ranges of pods instead of the nodes' `podCIDRs` (`--pod-cidr`); if empty, the nodes'.
    pub pod_networks: Vec<IpNet>,
    /// The cluster's NAT64 prefix (`--nat64-prefix`).
    pub nat64_prefix: Option<Ipv6Net>,
    /// The API server's address, if the configuration gives no name.
    pub api_server: Option<IpAddr>,
}

impl FactsSettings {
    /// The nameservers that pods can reach: not those on the loopback of wherever this process runs.
    pub(super) fn usable_nameservers(&self) -> BTreeSet<IpAddr> {
        self.nameservers.iter().copied().filter(|address| !address.is_loopback() && !address.is_unspecified()).collect()
    }
}

/// A Service's namespace and name.
pub(super) type ServiceKey = (String, String);

/// The relevant part of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SeenService {
    pub addresses: Vec<IpAddr>,
    pub selector: BTreeMap<String, String>,
    /// The Service's own DNS ports, and their numeric targets.
    pub ports: BTreeSet<u16>,
}

/// The relevant part of an EndpointSlice: where its ready endpoints answer DNS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SeenSlice {
    pub endpoints: BTreeSet<SocketAddr>,
    pub ports: BTreeSet<u16>,
}

fn is_dns(name: Option<&str>, protocol: Option<&str>, port: u16) -> bool {
    matches!(name, Some("dns" | "dns-tcp" | "dns-udp")) || protocol == Some("UDP") || port == 53
}

impl SeenService {
    pub fn of(service: &Service) -> Self {
        let Some(spec) = &service.spec else { return Self::default() };
        let listed = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
        let addresses: BTreeSet<IpAddr> = listed.filter_map(|address| address.parse().ok()).collect();
        let mut ports = BTreeSet::new();
        for port in spec.ports.iter().flatten() {
            let Ok(number) = u16::try_from(port.port) else { continue };
            if is_dns(port.name.as_deref(), port.protocol.as_deref(), number) {
                ports.insert(number);
                if let Some(IntOrString::Int(target)) = &port.target_port {
                    ports.extend(u16::try_from(*target));
                }
            }
        }
        ports.remove(&0);
        Self { addresses: addresses.into_iter().collect(), selector: spec.selector.clone().unwrap_or_default(), ports }
    }
}

impl SeenSlice {
    pub fn of(slice: &EndpointSlice) -> Self {
        let dns = |udp: bool| -> BTreeSet<u16> {
            let ports = slice.ports.iter().flatten().filter(|port| (port.protocol.as_deref() == Some("UDP")) == udp);
            let number = |port: &EndpointPort| {
                let number = port.port.and_then(|port| u16::try_from(port).ok()).filter(|number| *number != 0)?;
                is_dns(port.name.as_deref(), port.protocol.as_deref(), number).then_some(number)
            };
            ports.filter_map(number).collect()
        };
        let (over_udp, over_tcp) = (dns(true), dns(false));
        // Queries use UDP first; a truncated answer is queried again over TCP on the same port.
        let queried = if over_udp.is_empty() { &over_tcp } else { &over_udp };
        let ready =
            slice.endpoints.iter().flatten().filter(|endpoint| {
                endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
            });
        let addresses = ready.flat_map(|endpoint| &endpoint.addresses).filter_map(|text| text.parse::<IpAddr>().ok());
        let endpoints =
            addresses.flat_map(|address| queried.iter().map(move |port| SocketAddr::new(address, *port))).collect();
        Self { endpoints, ports: over_udp.union(&over_tcp).copied().collect() }
    }
}

/// The state of one query to the cluster. A known answer survives a later failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer<T> {
    Pending,
    Unavailable,
    Known(T),
}

impl<T> Answer<T> {
    pub fn fail(&mut self) {
        if matches!(self, Self::Pending) {
            *self = Self::Unavailable;
        }
    }

    const fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Pending | Self::Unavailable => None,
        }
    }

    const fn is_pending(&self) -> bool {
        matches!(self, Self::Pending)
    }
}

/// Where Services are looked up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// With this ClusterIP.
    At(IpAddr),
    /// With this namespace and name.
    Named(ServiceKey),
}

/// Everything seen of the cluster so far.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub settings: FactsSettings,
    pub services: BTreeMap<Place, Answer<BTreeMap<ServiceKey, SeenService>>>,
    pub slices: BTreeMap<ServiceKey, Answer<BTreeMap<String, SeenSlice>>>,
    pub service_networks: Answer<Vec<IpNet>>,
    pub pod_networks: Answer<Vec<IpNet>>,
    pub node_addresses: Answer<Vec<IpAddr>>,
    pub api_servers: Answer<Vec<IpAddr>>,
}

/// The distinct public addresses, in order. All others are refused anyway, and a private node that comes or goes then changes
/// nothing.
pub(super) fn public(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpAddr> {
    let public: BTreeSet<IpAddr> = addresses.into_iter().filter(|address| is_public(*address)).collect();
    public.into_iter().collect()
}

impl Picture {
    pub fn new(settings: FactsSettings) -> Self {
        let well_known = WELL_KNOWN.map(|(namespace, name)| Place::Named((namespace.to_owned(), name.to_owned())));
        let places = settings.usable_nameservers().into_iter().map(Place::At).chain(well_known);
        let given = |networks: &[IpNet]| match networks {
            [] => Answer::Pending,
            given => Answer::Known(canonical_set(given.iter().copied())),
        };
        Self {
            services: places.map(|place| (place, Answer::Pending)).collect(),
            slices: BTreeMap::new(),
            service_networks: given(&settings.service_networks),
            pod_networks: given(&settings.pod_networks),
            node_addresses: Answer::Pending,
            api_servers: Answer::Pending,
            settings,
        }
    }

    fn seen(&self) -> BTreeMap<&ServiceKey, &SeenService> {
        self.services.values().filter_map(Answer::known).flatten().collect()
    }

    /// The DNS servers of pods, with the Service of each if it has one.
    fn servers(&self) -> Vec<(IpAddr, Option<&ServiceKey>)> {
        let seen = self.seen();
        let mut listed = BTreeSet::new();
        let usable = self.settings.usable_nameservers();
        let nameservers = self.settings.nameservers.iter().copied();
        let nameservers = nameservers.filter(|address| usable.contains(address) && listed.insert(*address));
        let service_at = |address: &IpAddr| seen.iter().find(|(_, service)| service.addresses.contains(address));
        let mut servers: Vec<(IpAddr, Option<&ServiceKey>)> =
            nameservers.map(|address| (address, service_at(&address).map(|(key, _)| *key))).collect();
        if servers.iter().all(|(_, service)| service.is_none()) {
            let well_known = WELL_KNOWN.iter().find_map(|(namespace, name)| {
                seen.iter().find(|(key, service)| {
                    (key.0.as_str(), key.1.as_str()) == (*namespace, *name) && !service.addresses.is_empty()
                })
            });
            if let Some((key, service)) = well_known {
                servers.extend(service.addresses.iter().map(|address| (*address, Some(*key))));
            }
        }
        servers
    }

    /// The Services whose endpoints matter.
    pub fn wanted(&self) -> BTreeSet<ServiceKey> {
        self.servers().into_iter().filter_map(|(_, service)| service.cloned()).collect()
    }

    /// Whether every query has been answered or refused.
    pub fn is_complete(&self) -> bool {
        let endpoints = |key: &ServiceKey| self.slices.get(key).is_some_and(|answer| !answer.is_pending());
        self.services.values().all(|answer| !answer.is_pending())
            && !self.service_networks.is_pending()
            && !self.pod_networks.is_pending()
            && !self.node_addresses.is_pending()
            && !self.api_servers.is_pending()
            && self.wanted().iter().all(endpoints)
    }

    /// The facts seen so far.
    pub fn facts(&self) -> ClusterFacts {
        let seen = self.seen();
        let service = |key: &ServiceKey| -> Option<DnsService> {
            let service = seen.get(key)?;
            let slices = self.slices.get(key).and_then(Answer::known);
            let slices = || slices.into_iter().flat_map(BTreeMap::values);
            let ports: BTreeSet<u16> =
                service.ports.iter().chain(slices().flat_map(|slice| &slice.ports)).copied().collect();
            let endpoints: BTreeSet<SocketAddr> = slices().flat_map(|slice| &slice.endpoints).copied().collect();
            Some(DnsService {
                namespace: key.0.clone(),
                name: key.1.clone(),
                selector: service.selector.clone(),
                ports: ports.into_iter().collect(),
                endpoints: endpoints.into_iter().collect(),
            })
        };
        let dns =
            |(address, key): (IpAddr, Option<&ServiceKey>)| ClusterDns { address, service: key.and_then(service) };
        let api_servers = self.api_servers.known().into_iter().flatten().copied();
        ClusterFacts {
            service_networks: self.service_networks.known().cloned().unwrap_or_default(),
            pod_networks: self.pod_networks.known().cloned().unwrap_or_default(),
            node_addresses: self.node_addresses.known().cloned().unwrap_or_default(),
            api_servers: public(api_servers.chain(self.settings.api_server)),
            nat64_prefix: self.settings.nat64_prefix,
            dns: self.servers().into_iter().map(dns).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
