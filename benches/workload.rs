//! Inputs of the size that is asked for, for whatever measures the stations of the way.

use citrix_allowlist::crd::CitrixAllowlistSpec;
use citrix_allowlist::engines::{Engines, Layout, Limits};
use citrix_allowlist::facts::ClusterFacts;
use citrix_allowlist::guard::{Guard, GuardSettings};
use citrix_allowlist::names::{Addresses, NameAddresses, NameState};
use citrix_allowlist::objects::owner::Ownership;
use citrix_allowlist::pipeline::Prepared;
use citrix_allowlist::plan::keep::Selected;
use citrix_allowlist::plan::{self, Inherited, Plan, Selection};
use citrix_allowlist::resource_ref::ResourceRef;
use connectivity_allowlist::Allowlist;
use connectivity_allowlist::document::{self, Reading};
use connectivity_allowlist::net::canonical_set;
use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// The sizes that growth is judged by, in peers.
pub const SIZES: [usize; 3] = [200, 2_000, 20_000];

/// Names and the addresses of each; a quarter of the peers are networks of the list itself.
const ADDRESSES: usize = 3;
const PORTS: [&str; 4] = ["443", "80,443", "443,8443", "443,8080-8090"];

/// Everything that the stations hand each other, for about so many peers.
pub struct Workload {
    /// The vendor's document.
    pub document: Vec<u8>,
    /// The spec.
    pub spec: CitrixAllowlistSpec,
    /// What the document says.
    pub list: Allowlist,
    /// What the spec wants of it.
    pub selection: Selection,
    /// What DNS says.
    pub addresses: Addresses,
    /// What that comes to.
    pub plan: Plan,
    /// Its networks, before they are merged.
    pub networks: Vec<IpNet>,
    /// What the objects say.
    pub prepared: Prepared,
    guard: Guard,
    facts: ClusterFacts,
}

/// Addresses that look drawn at random, the same each time (Knuth's multiplicative hash).
fn address(number: usize) -> Ipv4Addr {
    let spread = u32::try_from(number).unwrap_or(u32::MAX).wrapping_mul(2_654_435_769) >> 8;
    Ipv4Addr::from(u32::from(Ipv4Addr::new(20, 0, 0, 0)) | spread)
}

fn document(peers: usize) -> Vec<u8> {
    let (names, networks) = (peers * 3 / 4 / ADDRESSES, peers / 4);
    let service = |(number, ports): (usize, &&str)| {
        let fqdns: Vec<String> =
            (number..names).step_by(PORTS.len()).map(|index| format!("name-{index}.example.com")).collect();
        let ips: Vec<String> = (number..networks)
            .step_by(PORTS.len())
            .map(|index| format!("{}/{}", address(1_000_000 + index), if index % 8 == 0 { 30 } else { 32 }))
            .collect();
        json!({ "name": format!("Service {number}"), "direction": "outbound", "tcpPorts": ports, "required": true,
            "notes": "what the vendor says of it", "endpoints": [{ "geo": "us", "fqdns": fqdns, "ips": ips }] })
    };
    let services: Vec<_> = PORTS.iter().enumerate().map(service).collect();
    json!({ "meta": { "version": "2026-06-01T00:00:00Z", "validUntil": "2026-06-04T00:00:00Z" }, "services": services })
        .to_string()
        .into_bytes()
}

/// Reads a document as the feed does.
pub fn parse(document: &[u8]) -> Allowlist {
    let read = document::parse(document, &Reading::for_customer("acme")).expect("the document is well formed");
    read.received_at(Timestamp::UNIX_EPOCH)
}

impl Workload {
    /// Inputs for about so many peers.
    pub fn of(peers: usize) -> Self {
        let facts = ClusterFacts::default();
        let guard = Guard::new(GuardSettings::default(), &facts);
        let spec: CitrixAllowlistSpec =
            serde_json::from_value(json!({ "customerId": "acme", "geo": "us" })).expect("a spec");
        let document = document(peers);
        let list = parse(&document);
        let selection = plan::select(&spec, &list, &guard, &Arc::default());
        let by_name = selection.names.iter().enumerate().map(|(index, name)| {
            let mut addresses: Vec<IpAddr> =
                (0..ADDRESSES).map(|number| address(index * ADDRESSES + number).into()).collect();
            addresses.sort_unstable();
            let known = NameAddresses {
                addresses,
                state: NameState::Answered,
                refused: Vec::new(),
                evicted: 0,
                reached: citrix_allowlist::names::Reached::default(),
            };
            (name.clone(), Arc::new(known))
        });
        let addresses = Addresses { by_name: by_name.collect() };
        let mut workload = Self {
            document,
            spec,
            list,
            selection,
            addresses,
            plan: Plan::default(),
            networks: Vec::new(),
            prepared: Prepared::default(),
            guard,
            facts,
        };
        workload.plan = workload.decide();
        workload.networks = workload.plan.outbound.iter().flat_map(|plan| plan.networks()).collect();
        workload.prepared = workload.build();
        workload
    }

    /// The station of that name; its result goes where nobody can leave it out.
    pub fn station(&self, name: &str) {
        use std::hint::black_box;
        match name {
            "parse" => drop(black_box(parse(black_box(&self.document)))),
            "select" => drop(black_box(self.select())),
            "decide" => drop(black_box(self.decide())),
            "merge" => drop(black_box(canonical_set(black_box(&self.networks).iter().copied()))),
            "render" => drop(black_box(self.build())),
            "compare" => self.compare(),
            _ => panic!("no station is called {name}"),
        }
    }

    /// What the spec wants of the list.
    pub fn select(&self) -> Selection {
        plan::select(&self.spec, &self.list, &self.guard, &Arc::default())
    }

    /// What that means.
    pub fn decide(&self) -> Plan {
        plan::decide(&plan::PlanInputs {
            spec: &self.spec,
            selection: &self.selection,
            addresses: &self.addresses,
            facts: &self.facts,
            guard: &self.guard,
            inherited: &Inherited::default(),
            declared_ports: None,
        })
    }

    /// What the objects say.
    pub fn build(&self) -> Prepared {
        let layouts = [Layout::default()];
        Prepared::of(&Engines::default(), &self.spec.pod_selector, &self.plan, &Limits::default(), &layouts, None)
    }

    /// One owner's objects made ready, and what they are compared with the cluster by.
    pub fn compare(&self) {
        let selected = Selected::by(&self.spec);
        let owner = Ownership { resource: ResourceRef::new("web", "daas"), uid: Some("1".into()), selected };
        for (_, desired) in self.prepared.desired(&"web".into(), &owner) {
            std::hint::black_box(desired.digest());
        }
    }
}
