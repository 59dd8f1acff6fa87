//! The documents the API serves: `format=json` as it is published, and what `format=zscaler` makes of it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A list in `format=json`, as the vendor's overview shows it. Fields not named here are kept and passed on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// When it was published and when to ask again.
    pub meta: Meta,
    /// The entries; several may carry one service's name.
    pub services: Vec<Service>,
    /// Whatever else stands beside them.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// A document's `meta`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// When the list was published, RFC 3339.
    pub version: String,
    /// When to ask again, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<String>,
    /// Whatever else stands beside them.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One entry of a document: endpoints of one service, direction and set of ports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// The service, such as `DaaS`.
    pub name: String,
    /// `inbound`, `outbound`, or absent (matches both).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Names and networks, by geo.
    pub endpoints: Vec<Endpoint>,
    /// TCP ports: numbers and ranges, comma-separated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_ports: Option<String>,
    /// UDP ports: numbers and ranges, comma-separated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp_ports: Option<String>,
    /// Whether the vendor calls it essential for core functionality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// A remark for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Whatever else stands beside them.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// Names and networks of one geo.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `us`, `eu`, `ap-s`, `jp`, `all`, or absent (matches every geo).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geo: Option<String>,
    /// Names, wildcards and `CUSTOMER_ID` placeholders among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fqdns: Vec<String>,
    /// Networks in CIDR form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ips: Vec<String>,
    /// Whatever else stands beside them.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Document {
    /// Every name of every endpoint, in order, repeats included.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.services.iter().flat_map(|service| &service.endpoints).flat_map(|e| &e.fqdns).map(String::as_str)
    }

    /// What is left for one `geo` and `direction`, each `all` or a value: entries without endpoints are left out.
    #[must_use]
    pub fn filtered(&self, geo: &str, direction: &str) -> Self {
        let fits =
            |have: Option<&str>, want: &str| want == "all" || have.is_none_or(|have| have == "all" || have == want);
        let services = self
            .services
            .iter()
            .filter(|service| fits(service.direction.as_deref(), direction))
            .map(|service| Service {
                endpoints: service.endpoints.iter().filter(|e| fits(e.geo.as_deref(), geo)).cloned().collect(),
                ..service.clone()
            })
            .filter(|service| !service.endpoints.is_empty())
            .collect();
        Self { services, ..self.clone() }
    }

    /// The document with `placeholder` replaced in every name.
    #[must_use]
    pub fn substituted(&self, placeholder: &str, value: &str) -> Self {
        let mut document = self.clone();
        for endpoint in document.services.iter_mut().flat_map(|service| &mut service.endpoints) {
            for name in &mut endpoint.fqdns {
                *name = name.replace(placeholder, value);
            }
        }
        document
    }

    /// The document in `format=zscaler`: an entry per service, geo, protocol and address family.
    ///
    /// `update_interval` is in hours. Names stand in `services`; `ipv6_services` is there only when some entry has
    /// IPv6 networks, and holds those alone. Ports stay the text they were.
    #[must_use]
    pub fn zscaler(&self, update_interval: u32) -> Value {
        let mut ids = Vec::new();
        let mut services = Vec::new();
        let mut ipv6_services = Vec::new();
        for service in &self.services {
            for endpoint in &service.endpoints {
                let (ipv6, ipv4): (Vec<&String>, Vec<&String>) = endpoint.ips.iter().partition(|ip| ip.contains(':'));
                for (protocol, ports) in protocols(service) {
                    if !endpoint.fqdns.is_empty() || !ipv4.is_empty() {
                        let entry = entry(&mut ids, service, endpoint, protocol, "ipv4", ports, &endpoint.fqdns, &ipv4);
                        services.push(entry);
                    }
                    if !ipv6.is_empty() {
                        ipv6_services.push(entry(&mut ids, service, endpoint, protocol, "ipv6", ports, &[], &ipv6));
                    }
                }
            }
        }
        let mut document = json!({ "usage": { "update_interval": update_interval }, "services": services });
        if !ipv6_services.is_empty() {
            document["ipv6_services"] = Value::Array(ipv6_services);
        }
        document
    }
}

/// The protocols of an entry with their ports; one without any is shown under TCP with none.
fn protocols(service: &Service) -> Vec<(&'static str, &str)> {
    let mut protocols = Vec::new();
    if let Some(ports) = &service.tcp_ports {
        protocols.push(("tcp", ports.as_str()));
    }
    if let Some(ports) = &service.udp_ports {
        protocols.push(("udp", ports.as_str()));
    }
    if protocols.is_empty() {
        protocols.push(("tcp", ""));
    }
    protocols
}

#[allow(clippy::too_many_arguments)] // The parts of one id, each of its own kind, used in this file alone.
fn entry(
    ids: &mut Vec<String>,
    service: &Service,
    endpoint: &Endpoint,
    protocol: &str,
    family: &str,
    ports: &str,
    domains: &[String],
    cidrs: &[&String],
) -> Value {
    let direction = service.direction.as_deref().unwrap_or("all");
    let geo = endpoint.geo.as_deref().unwrap_or("all");
    let name = format!("{} {direction} {geo} {protocol} {family}", service.name);
    let stem = name.to_lowercase().replace(' ', "-");
    // Entries of one service that differ in ports alone would share an id.
    let mut id = stem.clone();
    let mut repeat = 2;
    while ids.contains(&id) {
        id = format!("{stem}-{repeat}");
        repeat += 1;
    }
    ids.push(id.clone());
    json!({
        "id": id, "name": name, "type": "non-real-time", "protocol": protocol, "ports": ports,
        "domains": domains, "cidrs": cidrs,
    })
}
