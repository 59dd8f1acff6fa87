//! `endpoints.json`, read back: whole for `explain` and `diff`, and in part to recover state after a restart. Pure.
//!
//! Both readers skip what they cannot read. The document may attribute an address that a policy allows, never add one.

use super::ENDPOINTS_KEY;
use connectivity_allowlist::net::{Direction, DomainName, NamePattern, PortRange, PortSet, Protocol};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// One endpoint of the ConfigMap.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportedEndpoint {
    /// Which way connections are opened.
    pub direction: Direction,
    /// The list's service, or the name of the `additional` entry.
    pub service: String,
    /// Its name, network or wildcard.
    pub target: ExportedTarget,
    /// Its ports, as the selected pods see them.
    pub ports: Option<PortSet>,
    /// The addresses of its name that are in use.
    pub addresses: Vec<IpAddr>,
    /// Whether its name was learned from what pods ask for.
    pub learned: bool,
}

/// The name, network or wildcard of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub enum ExportedTarget {
    /// A name.
    Name(DomainName),
    /// A network.
    Network(IpNet),
    /// A wildcard, and whether the spec has names for it.
    Wildcard(NamePattern, bool),
}

impl ExportedTarget {
    /// The name, network or wildcard as text.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Name(name) => name.to_string(),
            Self::Network(network) => network.to_string(),
            Self::Wildcard(pattern, _) => pattern.to_string(),
        }
    }
}

impl ExportedEndpoint {
    /// Whether the endpoint opens `address`.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        match &self.target {
            ExportedTarget::Network(network) => network.contains(&address),
            _ => self.addresses.contains(&address),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    direction: String,
    service: String,
    name: Option<String>,
    cidr: Option<String>,
    wildcard: Option<String>,
    tcp_ports: Option<String>,
    udp_ports: Option<String>,
    #[serde(default)]
    addresses: Vec<IpAddr>,
    #[serde(default)]
    honoured: bool,
    #[serde(default)]
    learned: bool,
}

/// The endpoints of ConfigMaps. What cannot be read is skipped: it is used only to explain.
#[must_use]
pub fn endpoints(config_maps: &[ConfigMap]) -> Vec<ExportedEndpoint> {
    let lines = config_maps.iter().flat_map(stored);
    lines.filter_map(|line| serde_json::from_str::<Line>(line.get()).ok()).filter_map(endpoint).collect()
}

fn endpoint(line: Line) -> Option<ExportedEndpoint> {
    let target = match (&line.name, &line.cidr, &line.wildcard) {
        (Some(name), _, _) => ExportedTarget::Name(DomainName::parse(name).ok()?),
        (_, Some(cidr), _) => ExportedTarget::Network(cidr.parse().ok()?),
        (_, _, Some(pattern)) => ExportedTarget::Wildcard(NamePattern::parse(pattern).ok()?, line.honoured),
        _ => return None,
    };
    let of = |protocol: Protocol, text: &Option<String>| -> Vec<(Protocol, PortRange)> {
        let items = text.iter().flat_map(|text| text.split(','));
        items.filter_map(|item| PortRange::parse(item).ok()).map(|range| (protocol, range)).collect()
    };
    let ranges = [of(Protocol::Tcp, &line.tcp_ports), of(Protocol::Udp, &line.udp_ports)].concat();
    Some(ExportedEndpoint {
        direction: Direction::ALL.into_iter().find(|direction| direction.as_str() == line.direction)?,
        service: line.service,
        target,
        ports: PortSet::new(ranges),
        addresses: line.addresses,
        learned: line.learned,
    })
}

/// How many endpoints a ConfigMap leaves out for its size.
#[must_use]
pub fn omitted(config_map: &ConfigMap) -> usize {
    #[derive(Deserialize)]
    struct Document {
        #[serde(default)]
        omitted: usize,
    }
    let text = config_map.data.as_ref().and_then(|data| data.get(ENDPOINTS_KEY));
    text.and_then(|text| serde_json::from_str::<Document>(text).ok()).map_or(0, |document| document.omitted)
}

/// The addresses that a ConfigMap attributes to names.
#[must_use]
pub fn remembered(config_map: &ConfigMap) -> BTreeMap<DomainName, Vec<IpAddr>> {
    let mut addresses: BTreeMap<DomainName, BTreeSet<IpAddr>> = BTreeMap::new();
    for endpoint in attributions(config_map) {
        let Some(name) = read::<Cow<str>>(endpoint.name).and_then(|name| DomainName::parse(&name).ok()) else {
            continue;
        };
        let listed = read::<Vec<&RawValue>>(endpoint.addresses).unwrap_or_default();
        let listed = listed.into_iter().filter_map(|address| read::<Cow<str>>(Some(address))?.parse::<IpAddr>().ok());
        addresses.entry(name).or_default().extend(listed);
    }
    addresses.retain(|_, addresses| !addresses.is_empty());
    addresses.into_iter().map(|(name, addresses)| (name, addresses.into_iter().collect())).collect()
}

/// The names that, by a ConfigMap, were learned. Whether a wildcard still has them, the selection decides.
#[must_use]
pub fn remembered_learned(config_map: &ConfigMap) -> BTreeSet<DomainName> {
    let learned = attributions(config_map).filter(|endpoint| read::<bool>(endpoint.learned) == Some(true));
    learned.filter_map(|endpoint| DomainName::parse(&read::<Cow<str>>(endpoint.name)?).ok()).collect()
}

/// The networks that, by a ConfigMap, the list or the spec gave: they belong to no name, and are removed with their entry.
#[must_use]
pub fn remembered_networks(config_map: &ConfigMap) -> BTreeSet<IpNet> {
    let networks =
        attributions(config_map).filter_map(|endpoint| read::<Cow<str>>(endpoint.cidr)?.parse::<IpNet>().ok());
    networks.map(|network| network.trunc()).collect()
}

/// The endpoints of a ConfigMap's `endpoints.json`, each as JSON text. They are not parsed at once: a document of 1 MiB can
/// have a hundred thousand objects, which would take more than 100 MiB.
fn stored(config_map: &ConfigMap) -> Vec<&RawValue> {
    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(borrow)]
        endpoints: Vec<&'a RawValue>,
    }
    let text = config_map.data.as_ref().and_then(|data| data.get(ENDPOINTS_KEY));
    let document = text.and_then(|text| serde_json::from_str::<Document>(text).ok());
    document.map(|document| document.endpoints).unwrap_or_default()
}

/// The part of an endpoint that is recovered.
#[derive(Deserialize)]
struct Attribution<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    addresses: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cidr: Option<&'a RawValue>,
    #[serde(borrow, default)]
    learned: Option<&'a RawValue>,
}

fn attributions(config_map: &ConfigMap) -> impl Iterator<Item = Attribution<'_>> {
    let objects = stored(config_map).into_iter().filter(|endpoint| endpoint.get().starts_with('{'));
    objects.filter_map(|endpoint| serde_json::from_str(endpoint.get()).ok())
}

/// A value; `None` where it is of another type.
fn read<'a, T: Deserialize<'a>>(value: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(value?.get()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_document_is_read_back_and_the_rest_is_skipped() {
        let text = r#"{"schema":"x","endpoints":[
            {"direction":"outbound","service":"DaaS","geo":"us","name":"a.example.com","tcpPorts":"80,443-444","addresses":["13.64.0.1"],"required":true},
            {"direction":"inbound","service":"Probe","geo":"all","cidr":"20.42.0.0/24","udpPorts":"123","required":false},
            {"direction":"outbound","service":"Workspace","geo":"all","wildcard":"*.example.com","tcpPorts":"443","required":true,"honoured":true},
            {"direction":"sideways","service":"x","name":"a.example.com"}, 7]}"#;
        let data = BTreeMap::from([(ENDPOINTS_KEY.to_owned(), text.to_owned())]);
        let found = endpoints(&[ConfigMap { data: Some(data), ..ConfigMap::default() }]);
        assert_eq!(found.len(), 3);
        assert!(found[0].covers("13.64.0.1".parse().expect("an address")));
        assert!(found[0].ports.as_ref().is_some_and(|ports| ports.contains(Protocol::Tcp, 444)));
        assert!(found[1].covers("20.42.0.9".parse().expect("an address")));
        assert!(matches!(&found[2].target, ExportedTarget::Wildcard(_, true)));
        assert!(endpoints(&[ConfigMap::default()]).is_empty());
    }
}
