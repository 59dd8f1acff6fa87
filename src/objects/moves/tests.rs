use super::*;
use crate::engines::network_policy::{self, fold};
use crate::engines::{Engines, Layout, Limits};
use crate::objects::changes::{self, Change};
use crate::objects::observed::Observed;
use crate::objects::owner::Ownership;
use crate::pipeline::Prepared;
use crate::plan::{DirectionPlan, Peers, Plan, Rule};
use connectivity_allowlist::net::{PortRange, Protocol};
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use proptest::prelude::*;
use serde_json::value::to_raw_value;
use std::net::{IpAddr, Ipv4Addr};

/// How many neighbouring addresses are allowed or not.
const ADDRESSES: u32 = 256;
const PORTS: [u16; 2] = [80, 443];

fn address(number: u32) -> IpAddr {
    Ipv4Addr::from(0x1400_0000 + number).into()
}

fn ports(of: &[u16]) -> PortSet {
    PortSet::new(of.iter().map(|port| (Protocol::Tcp, PortRange::new(*port, *port).expect("a port")))).expect("ports")
}

/// A list's networks: where each begins, how long it is, and whether its ports are 443 or both.
type Networks = Vec<(u32, u8, bool)>;

fn rules(networks: &Networks) -> Vec<Rule> {
    let of = |both: bool| {
        let of_ports = networks.iter().filter(|(.., is_both)| *is_both == both);
        let peers = of_ports.map(|(start, length, _)| IpNet::new(address(*start), *length).expect("a network").trunc());
        Some(Rule { ports: ports(if both { &PORTS } else { &PORTS[1..] }), peers: Peers::new(peers)? })
    };
    [false, true].into_iter().filter_map(of).collect()
}

/// The cluster, as far as the resource's policies go.
#[derive(Clone, Debug, Default)]
struct Cluster {
    policies: BTreeMap<ObjectKey, NetworkPolicy>,
    version: u32,
}

impl Cluster {
    fn observed(&self) -> BTreeMap<ObjectKey, Observed> {
        self.policies.iter().map(|(key, policy)| (key.clone(), fold(policy))).collect()
    }

    fn carry_out(&mut self, change: &Change) {
        self.version += 1;
        match change {
            Change::Create(key, desired) | Change::Update(key, desired, _) => {
                let mut metadata = desired.metadata.clone();
                metadata.resource_version = Some(self.version.to_string());
                let spec = serde_json::from_str(desired.body.json.get()).expect("a spec");
                self.policies.insert(key.clone(), NetworkPolicy { metadata, spec: Some(spec) });
            }
            Change::Delete(key, _) => drop(self.policies.remove(key)),
        }
    }

    fn allowed(&self) -> BTreeSet<(u32, u16)> {
        allowed(self.policies.values().filter_map(|policy| policy.spec.as_ref()))
    }
}

fn allowed<'a>(specs: impl Iterator<Item = &'a NetworkPolicySpec>) -> BTreeSet<(u32, u16)> {
    let rules: Vec<RememberedRule> = specs.flat_map(network_policy::rules).collect();
    let all = (0..ADDRESSES).flat_map(|number| PORTS.map(|port| (number, port)));
    let holds = |(number, port): &(u32, u16)| {
        rules.iter().any(|(_, ports, networks)| {
            ports.contains(Protocol::Tcp, *port) && networks.iter().any(|network| network.contains(&address(*number)))
        })
    };
    all.filter(holds).collect()
}

/// The objects of a list, given those in the cluster.
fn desired(networks: &Networks, most_peers: usize, cluster: &Cluster) -> Vec<(ObjectKey, Desired)> {
    let plan = Plan { outbound: DirectionPlan::new(rules(networks), Vec::new(), Vec::new()), ..Plan::default() };
    let limits = Limits { peers: most_peers, ..Limits::default() };
    let layouts = [Layout::of(cluster.policies.keys())];
    let prepared = Prepared::of(&Engines::default(), &LabelSelector::default(), &plan, &limits, &layouts, None);
    let all = prepared.desired(&"web".into(), &Ownership::of_daas());
    all.into_iter().filter(|(key, _)| key.is_policy()).collect()
}

/// The writes, without that of number `put_off`, whose object is contested; and whether there is such a one.
fn writes(cluster: &Cluster, desired: &[(ObjectKey, Desired)], put_off: Option<usize>) -> (Vec<Change>, bool) {
    let mut writes = changes::decide(desired, &cluster.observed()).writes;
    let contested = put_off.and_then(|number| writes.get(number)).map(|change| change.key().clone());
    let contested: BTreeSet<ObjectKey> = contested.into_iter().collect();
    writes.retain(|change| !contested.contains(change.key()));
    let moving = Moving { desired, put_off: &contested };
    let current = moving.to_read(&writes).into_iter().filter_map(|key| {
        let spec = to_raw_value(&cluster.policies.get(&key)?.spec).expect("JSON");
        Some((key, spec))
    });
    (moving.in_order(writes, &current.collect()), !contested.is_empty())
}

fn networks() -> impl Strategy<Value = Networks> {
    prop::collection::vec((0..ADDRESSES, 25u8..=32, any::<bool>()), 1..24)
}

/// Few peers, so that there are many policies; or enough that neighbours are placed together.
fn most_peers() -> impl Strategy<Value = usize> {
    prop_oneof![9 => 1usize..8, 1 => Just(150)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    /// 66 addresses that were allowed before and after were in no policy for 25 ms. While the second write was denied, 57
    /// stayed out.
    #[test]
    fn every_version_allows_what_stays_allowed_whatever_fails(
        lists in prop::collection::vec((networks(), most_peers(), any::<prop::sample::Index>(), 0usize..12), 1..5),
    ) {
        let mut cluster = Cluster::default();
        for (networks, most_peers, end, put_off) in lists {
            let desired = desired(&networks, most_peers, &cluster);
            let wanted: Vec<NetworkPolicySpec> = desired
                .iter()
                .map(|(_, desired)| serde_json::from_str(desired.body.json.get()).expect("a spec"))
                .collect();
            let wanted = allowed(wanted.iter());
            let before = cluster.allowed();
            let stays: BTreeSet<_> = before.intersection(&wanted).copied().collect();
            let either: BTreeSet<_> = before.union(&wanted).copied().collect();
            let (writes, is_put_off) = writes(&cluster, &desired, Some(put_off));
            // The writes before the first failure are executed.
            let executed = end.index(writes.len() + 1);
            for change in &writes[..executed] {
                cluster.carry_out(change);
                let now = cluster.allowed();
                let lost: Vec<_> = stays.difference(&now).collect();
                prop_assert!(lost.is_empty(), "{lost:?} after {change:?}");
                prop_assert!(now.is_subset(&either));
            }
            if executed == writes.len() && !is_put_off {
                prop_assert_eq!(changes::decide(&desired, &cluster.observed()).writes, vec![]);
                prop_assert_eq!(cluster.allowed(), wanted);
            }
            for key in writes.iter().map(Change::key) {
                let of_key = writes.iter().filter(|change| change.key() == key).count();
                prop_assert!(of_key <= 2, "{of_key} writes of {key:?}");
            }
        }
    }

    /// The same networks, each spelled as its two halves.
    #[test]
    fn another_spelling_of_the_same_networks_writes_nothing(networks in networks(), most_peers in 1usize..8) {
        let mut cluster = Cluster::default();
        for change in &writes(&cluster, &desired(&networks, most_peers, &cluster), None).0 {
            cluster.carry_out(change);
        }
        let halves: Networks = networks
            .iter()
            .flat_map(|(start, length, both)| match length {
                32 => vec![(*start, 32, *both)],
                _ => {
                    let first = start & !((1 << (32 - length)) - 1);
                    vec![(first, length + 1, *both), (first + (1 << (31 - length)), length + 1, *both)]
                }
            })
            .collect();
        prop_assert_eq!(writes(&cluster, &desired(&halves, most_peers, &cluster), None).0, vec![]);
    }
}

#[test]
fn a_single_changed_policy_is_written_without_a_read() {
    let mut cluster = Cluster::default();
    for networks in [vec![(0, 32, false)], vec![(0, 32, false), (9, 32, true)]] {
        let desired = desired(&networks, 100, &cluster);
        let writes = changes::decide(&desired, &cluster.observed()).writes;
        let moving = Moving { desired: &desired, put_off: &BTreeSet::new() };
        assert_eq!((writes.len(), moving.to_read(&writes)), (1, vec![]));
        writes.iter().for_each(|change| cluster.carry_out(change));
    }
}
