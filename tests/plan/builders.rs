//! Short ways to write specs, lists and answers.

use citrix_allowlist::crd::{CitrixAllowlistSpec, Problem};
use citrix_allowlist::engines::network_policy::NETWORK_POLICY;
use citrix_allowlist::engines::network_policy::evaluate::{Connection, evaluate};
use citrix_allowlist::engines::{Counts, Engines, Layout, Limits, as_network_policies};
use citrix_allowlist::export::config_maps;
use citrix_allowlist::facts::ClusterFacts;
use citrix_allowlist::guard::{Guard, GuardSettings};
use citrix_allowlist::names::{Addresses, NameAddresses, NameState};
use citrix_allowlist::objects::key::ObjectKey;
use citrix_allowlist::objects::owner::Ownership;
use citrix_allowlist::pipeline::Prepared;
use citrix_allowlist::plan::keep::Selected;
use citrix_allowlist::plan::{self, Coverage, Inherited, KnownZones, Plan, Selection};
use citrix_allowlist::resource_ref::ResourceRef;
use connectivity_allowlist::net::{Direction, DomainName, NamePattern, PortRange, PortSet, Protocol};
use connectivity_allowlist::{Allowlist, Entry, EntryGeo};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::sync::Arc;

/// A spec with the given fields, `customerId` aside.
pub fn spec(fields: Value) -> CitrixAllowlistSpec {
    let mut spec = json!({ "customerId": "testcustomer" });
    let (Value::Object(spec_fields), Value::Object(fields)) = (&mut spec, fields) else {
        panic!("a spec is an object")
    };
    spec_fields.extend(fields);
    serde_json::from_value(spec).expect("a spec")
}

pub fn name(text: &str) -> DomainName {
    DomainName::parse(text).expect("a name")
}

/// `443`, `80,443`, `8080-8090` of one protocol.
fn ranges(protocol: Protocol, text: Option<&str>) -> Vec<(Protocol, PortRange)> {
    let items = text.into_iter().flat_map(|text| text.split(','));
    items.map(|item| (protocol, PortRange::parse(item).expect("ports"))).collect()
}

pub fn ports(tcp: Option<&str>, udp: Option<&str>) -> Option<PortSet> {
    PortSet::new([ranges(Protocol::Tcp, tcp), ranges(Protocol::Udp, udp)].concat())
}

fn texts<'a>(endpoint: &'a Value, key: &str) -> Vec<&'a str> {
    endpoint[key].as_array().into_iter().flatten().map(|text| text.as_str().expect("a text")).collect()
}

/// A list in the form of the API's `format=json`, of which every part can be understood.
pub fn list(document: &Value) -> Allowlist {
    let mut entries = Vec::new();
    for service in document["services"].as_array().expect("services") {
        let direction = match service["direction"].as_str() {
            Some("inbound") => Direction::Inbound,
            _ => Direction::Outbound,
        };
        for endpoint in service["endpoints"].as_array().expect("endpoints") {
            let (patterns, names): (Vec<&str>, Vec<&str>) =
                texts(endpoint, "fqdns").into_iter().partition(|text| text.contains('*'));
            entries.push(Arc::new(Entry {
                service: service["name"].as_str().expect("a name").into(),
                direction,
                geo: match endpoint["geo"].as_str() {
                    None | Some("all") => EntryGeo::All,
                    Some(region) => EntryGeo::Region(region.into()),
                },
                names: names.into_iter().map(|text| name(&text.replace("CUSTOMER_ID", "testcustomer"))).collect(),
                patterns: patterns.into_iter().map(|text| NamePattern::parse(text).expect("a pattern")).collect(),
                networks: texts(endpoint, "ips").into_iter().map(|text| text.parse().expect("a CIDR")).collect(),
                ports: ports(service["tcpPorts"].as_str(), service["udpPorts"].as_str()),
                required: Some(service["required"].as_bool().unwrap_or(false)),
                notes: service["notes"].as_str().map(Into::into),
            }));
        }
    }
    Allowlist { entries, ..Allowlist::default() }
}

pub fn answered(addresses: &[&str]) -> NameAddresses {
    let mut addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().expect("an address")).collect();
    addresses.sort_unstable();
    NameAddresses {
        addresses,
        state: NameState::Answered,
        refused: Vec::new(),
        evicted: 0,
        reached: citrix_allowlist::names::Reached::default(),
    }
}

pub fn answers(by_name: &[(&str, &[&str])]) -> Addresses {
    let by_name = by_name.iter().map(|(text, addresses)| (name(text), Arc::new(answered(addresses))));
    Addresses { by_name: by_name.collect() }
}

/// All that a decision rests on, to be changed where a test differs.
#[derive(Debug)]
pub struct Case {
    pub spec: CitrixAllowlistSpec,
    pub list: Allowlist,
    pub addresses: Addresses,
    pub facts: ClusterFacts,
    pub inherited: Inherited,
    pub limits: Limits,
    pub previous: Layout,
}

impl Case {
    pub fn new(fields: Value, document: &Value, by_name: &[(&str, &[&str])]) -> Self {
        Self {
            spec: spec(fields),
            list: list(document),
            addresses: answers(by_name),
            facts: ClusterFacts::default(),
            inherited: Inherited::default(),
            limits: Limits::default(),
            previous: Layout::default(),
        }
    }

    pub fn guard(&self) -> Guard {
        Guard::new(GuardSettings::default(), &self.facts)
    }

    pub fn select(&self) -> Selection {
        self.select_with(&[])
    }

    /// What it selects once these names are learned.
    pub fn select_with(&self, learned: &[&str]) -> Selection {
        let learned = learned.iter().map(|text| DomainName::parse(text).expect("a name")).collect();
        plan::select(&self.spec, &self.list, &self.guard(), &Arc::new(learned))
    }

    pub fn plan(&self) -> Plan {
        plan::decide(&plan::PlanInputs {
            spec: &self.spec,
            selection: &self.select(),
            addresses: &self.addresses,
            facts: &self.facts,
            guard: &self.guard(),
            inherited: &self.inherited,
            declared_ports: None,
        })
    }

    /// What could not be honoured, where nothing is forwarded.
    pub fn problems(&self) -> Vec<Problem> {
        let coverage = Coverage::of(&self.select(), &KnownZones::default());
        [coverage.problems, self.plan().problems].concat()
    }

    pub fn objects(&self) -> Objects {
        self.objects_of(&self.plan())
    }

    /// The objects of another plan under the same bounds.
    pub fn objects_of(&self, plan: &Plan) -> Objects {
        let (engines, selector) = (Engines::default(), &self.spec.pod_selector);
        Objects::of(&Prepared::of(&engines, selector, plan, &self.limits, &[self.previous], None))
    }
}

/// The layout that objects show.
pub fn layout_of(objects: &Objects) -> Layout {
    let names = objects.policies.iter().filter_map(|policy| policy.metadata.name.as_deref());
    let keys: Vec<ObjectKey> = names.map(|name| ObjectKey::new(&NETWORK_POLICY, "web", name)).collect();
    Layout::of(&keys)
}

pub fn owner() -> Ownership {
    Ownership {
        resource: ResourceRef::new("connectors", "tokyo"),
        uid: Some("0b6f6d0c-5a5e-4a39-9f0b-1f1d3b1c5a11".into()),
        selected: Selected::by(&spec(json!({}))),
    }
}

pub fn allows(policies: &[NetworkPolicy], direction: Direction, peer: IpAddr, protocol: Protocol, port: u16) -> bool {
    let verdict = evaluate(policies, Connection { direction, peer, protocol, port });
    !verdict.isolating.is_empty() && verdict.is_allowed()
}

/// `Kind subject: message`, for comparison.
pub fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|problem| format!("{:?} {}: {}", problem.kind, problem.subject, problem.message)).collect()
}

/// The API overview's own example.
pub fn overview() -> Value {
    json!({
        "services": [{
            "name": "DaaS", "direction": "outbound", "tcpPorts": "80,443", "required": true,
            "notes": "Citrix Cloud control plane access",
            "endpoints": [{ "geo": "us", "fqdns": ["testcustomer.xendesktop.net"], "ips": ["13.107.6.152/31"] }]
        }]
    })
}

/// The objects of [`owner`].
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    /// The policies, egress before ingress, by number.
    pub policies: Vec<NetworkPolicy>,
    /// The ConfigMaps, by number.
    pub config_maps: Vec<ConfigMap>,
    /// What is not as it should be.
    pub problems: Vec<Problem>,
    /// How much the policies allow.
    pub figures: Counts,
}

impl Objects {
    fn of(prepared: &Prepared) -> Self {
        let desired = prepared.desired(&owner().resource.namespace, &owner());
        let (problems, figures) = (prepared.problems(&owner().resource.name), prepared.figures());
        Self { policies: as_network_policies(&desired), config_maps: config_maps(&desired), problems, figures }
    }
}
