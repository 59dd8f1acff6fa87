//! The endpoints that a resource's ConfigMap attributes addresses to: `endpoints.json`, read back. Pure.

use crate::render::config_map;
use connectivity_allowlist::net::{Direction, DomainName, NamePattern, PortRange, PortSet, Protocol};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;
use std::net::IpAddr;

/// One endpoint as the ConfigMap has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Which way connections are opened.
    pub direction: Direction,
    /// The list's service, or the name of the `additional` entry.
    pub service: String,
    /// What it is about.
    pub target: Target,
    /// Its ports, as the selected pods see them.
    pub ports: Option<PortSet>,
    /// The addresses of its name that are in use.
    pub addresses: Vec<IpAddr>,
}

/// What an endpoint is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// A name.
    Name(DomainName),
    /// A network.
    Network(IpNet),
    /// A wildcard, and whether the spec names what stands in for it.
    Wildcard(NamePattern, bool),
}

impl Target {
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

impl Endpoint {
    /// Whether the endpoint opens `address`.
    #[must_use]
    pub fn covers(&self, address: IpAddr) -> bool {
        match &self.target {
            Target::Network(network) => network.contains(&address),
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
}

/// The endpoints that ConfigMaps hold. What cannot be understood is passed over: it only ever explains.
#[must_use]
pub fn endpoints(config_maps: &[ConfigMap]) -> Vec<Endpoint> {
    let lines = config_maps.iter().flat_map(config_map::stored);
    lines.filter_map(|line| serde_json::from_str::<Line>(line.get()).ok()).filter_map(endpoint).collect()
}

fn endpoint(line: Line) -> Option<Endpoint> {
    let target = match (&line.name, &line.cidr, &line.wildcard) {
        (Some(name), _, _) => Target::Name(DomainName::parse(name).ok()?),
        (_, Some(cidr), _) => Target::Network(cidr.parse().ok()?),
        (_, _, Some(pattern)) => Target::Wildcard(NamePattern::parse(pattern).ok()?, line.honoured),
        _ => return None,
    };
    let of = |protocol: Protocol, text: &Option<String>| -> Vec<(Protocol, PortRange)> {
        let items = text.iter().flat_map(|text| text.split(','));
        items.filter_map(|item| PortRange::parse(item).ok()).map(|range| (protocol, range)).collect()
    };
    let ranges = [of(Protocol::Tcp, &line.tcp_ports), of(Protocol::Udp, &line.udp_ports)].concat();
    Some(Endpoint {
        direction: Direction::ALL.into_iter().find(|direction| direction.as_str() == line.direction)?,
        service: line.service,
        target,
        ports: PortSet::new(ranges),
        addresses: line.addresses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::config_map::ENDPOINTS_KEY;
    use std::collections::BTreeMap;

    #[test]
    fn what_the_operator_writes_is_read_back_and_the_rest_passed_over() {
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
        assert!(matches!(&found[2].target, Target::Wildcard(_, true)));
        assert!(endpoints(&[ConfigMap::default()]).is_empty());
    }
}
