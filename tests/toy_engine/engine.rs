//! A second engine, whole: it says in objects of a kind of its own what NetworkPolicies say.

use citrix_allowlist::crd::{ADDITIONAL_ANNOTATION, SELECTION_ANNOTATION};
use citrix_allowlist::direction::PolicyDirection as _;
use citrix_allowlist::engines::{Built, BuiltObject, Engine, Order, network_policy};
use citrix_allowlist::objects::desired::Body;
use citrix_allowlist::objects::digest::{self, Digest};
use citrix_allowlist::objects::key::Role;
use citrix_allowlist::objects::kind::{Kind, PolicyKind};
use citrix_allowlist::objects::managed;
use citrix_allowlist::objects::observed::{self, Observed};
use citrix_allowlist::objects::owner::owner_of;
use citrix_allowlist::plan::RememberedRule;
use connectivity_allowlist::net::{Direction, PortRange, PortSet, Protocol, canonical_set};
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::NetworkPolicySpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::sync::Arc;

/// The kind that it writes.
pub static TOY: Kind = Kind {
    group: "toys.example.com",
    version: "v1",
    name: "ToyPolicy",
    plural: "toypolicies",
    body: "spec",
    order: 1,
    annotations: &[SELECTION_ANNOTATION, ADDITIONAL_ANNOTATION],
    owner: owner_of,
    observe,
    owned: |body| json!(read(body)),
    parts: |body| vec![("spec", json!(read(body)))],
    policy: Some(PolicyKind {
        rules: |body| read(body).map(|spec| spec.rules()).unwrap_or_default(),
        widened,
        as_network_policy,
    }),
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    pods: LabelSelector,
    is_inbound: bool,
    allow: Vec<Allow>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Allow {
    tcp: Vec<(u16, u16)>,
    udp: Vec<(u16, u16)>,
    cidrs: Vec<IpNet>,
}

/// The engine.
#[derive(Debug)]
pub struct Toys;

impl Engine for Toys {
    fn kind(&self) -> &'static Kind {
        &TOY
    }

    /// One object for each direction: toys have no bounds.
    fn build(&self, order: &Order<'_>, _: Option<&Built>) -> Built {
        let mut built = Built::default();
        for direction in Direction::ALL {
            let Some(decided) = order.plan.direction(direction) else { continue };
            let allow = decided.rules().iter().map(|rule| allow(&rule.ports, rule.peers.iter().copied())).collect();
            let is_inbound = direction == Direction::Inbound;
            let spec = Spec { pods: order.pod_selector.clone(), is_inbound, allow };
            built.objects.push(BuiltObject {
                role: Role::Policy { direction, part: 1 },
                body: body(&spec),
                users: None,
            });
        }
        built
    }
}

fn allow(ports: &PortSet, networks: impl IntoIterator<Item = IpNet>) -> Allow {
    let of = |wanted: Protocol| {
        let ranges = ports.iter().filter(move |(protocol, _)| *protocol == wanted);
        ranges.map(|(_, range)| (range.first(), range.last())).collect()
    };
    Allow { tcp: of(Protocol::Tcp), udp: of(Protocol::Udp), cidrs: canonical_set(networks) }
}

impl Spec {
    fn rules(&self) -> Vec<RememberedRule> {
        let direction = if self.is_inbound { Direction::Inbound } else { Direction::Outbound };
        let rule = |allow: &Allow| {
            let of = |protocol, (first, last): &(u16, u16)| Some((protocol, PortRange::new(*first, *last)?));
            let tcp = allow.tcp.iter().filter_map(|range| of(Protocol::Tcp, range));
            let udp = allow.udp.iter().filter_map(|range| of(Protocol::Udp, range));
            Some((direction, PortSet::new(tcp.chain(udp))?, allow.cidrs.clone()))
        };
        self.allow.iter().filter_map(rule).collect()
    }
}

fn body(spec: &Spec) -> Arc<Body> {
    Body::new(&TOY, spec, Digest::of(spec))
}

fn read(body: &RawValue) -> Option<Spec> {
    serde_json::from_str(body.get()).ok()
}

fn observe(metadata: &ObjectMeta, body: Option<&RawValue>, reads_memory: bool) -> Observed {
    let spec = body.and_then(read);
    let digest = digest::of_object(&TOY, metadata, spec.as_ref().and_then(Digest::of));
    let edited_by = managed::edited_by(metadata, "f:spec", |_| true);
    let remembers = reads_memory && managed::owns(metadata, &["spec", "allow"]);
    let rules = || spec.map(|spec| spec.rules()).unwrap_or_default();
    observed::fold_policy(&TOY, metadata, digest, edited_by, remembers.then_some(rules))
}

fn widened(body: &RawValue, more: &[RememberedRule]) -> Option<Arc<Body>> {
    let mut spec = read(body)?;
    spec.allow.extend(more.iter().map(|(_, ports, networks)| allow(ports, networks.iter().copied())));
    Some(self::body(&spec))
}

fn as_network_policy(body: &RawValue) -> Option<NetworkPolicySpec> {
    let spec = read(body)?;
    let direction = if spec.is_inbound { Direction::Inbound } else { Direction::Outbound };
    let empty = NetworkPolicySpec {
        pod_selector: Some(spec.pods.clone()),
        policy_types: Some(vec![direction.policy_type().to_owned()]),
        egress: Some(Vec::new()),
        ingress: Some(Vec::new()),
    };
    Some(network_policy::widened(empty, &spec.rules()))
}
