//! What a restart reads back: `endpoints.json` of a resource's ConfigMap, which others may have written, and the
//! ConfigMaps of the operator's own lists.

use citrix_allowlist::cluster::saved_lists;
use citrix_allowlist::crd::{CitrixAllowlistSpec, FIELD_MANAGER};
use citrix_allowlist::engines::{Engines, Layout, Limits, as_network_policies, network_policy};
use citrix_allowlist::export::{ENDPOINTS_KEY, config_maps, endpoints, fold, remembered, remembered_networks};
use citrix_allowlist::facts::ClusterFacts;
use citrix_allowlist::guard::{Guard, GuardSettings, Origin};
use citrix_allowlist::names::{Addresses, NameAddresses, NameState, Reached};
use citrix_allowlist::objects::observed::{RecoveredObject, RecoveredState};
use citrix_allowlist::objects::owner::Ownership;
use citrix_allowlist::pipeline::{Prepared, recover};
use citrix_allowlist::plan::keep::Selected;
use citrix_allowlist::plan::{self, EndpointRecord, Plan, SelectedEndpoint, Selection, Target};
use citrix_allowlist::resource_ref::ResourceRef;
use connectivity_allowlist::EntryGeo;
use connectivity_allowlist::document::{Reading, parse};
use connectivity_allowlist::net::{Direction, PortRange, PortSet, Protocol, canonical_set, cidr};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

/// What was applied before the restart, and what is asked for after it.
struct Scene {
    spec: CitrixAllowlistSpec,
    guard: Guard,
    facts: ClusterFacts,
    selection: Selection,
    rules: RecoveredState,
    applied: Vec<IpNet>,
}

static SCENE: LazyLock<Scene> = LazyLock::new(|| {
    let spec: CitrixAllowlistSpec =
        serde_json::from_value(json!({ "customerId": "testcustomer", "direction": "all" })).expect("a spec");
    let facts =
        ClusterFacts { nat64_prefix: Some("64:ff9b::/96".parse().expect("a prefix")), ..ClusterFacts::default() };
    let guard = Guard::new(GuardSettings::default(), &facts);
    let list = json!({ "services": [
        { "name": "A", "direction": "outbound", "tcpPorts": "443", "endpoints": [{ "fqdns": ["a.example.com", "b.example.com"] }] },
        { "name": "B", "direction": "inbound", "tcpPorts": "443", "endpoints": [{ "ips": ["20.9.0.0/24"] }] },
    ] });
    let list = parse(list.to_string().as_bytes(), &Reading::default()).expect("a list").allowlist;
    let https = PortSet::new(PortRange::single(443).map(|range| (Protocol::Tcp, range))).expect("ports");
    // With the metadata service, which an older version may have let through.
    let applied = ["20.1.0.0/24", "20.1.2.3/32", "169.254.169.254/32", "2603::/120", "64:ff9b::1401:203/128"];
    let applied: Vec<IpNet> = applied.iter().map(|text| text.parse().expect("a network")).collect();
    let rules = RecoveredState::Rules {
        rules: vec![(Direction::Outbound, https, applied.clone())],
        users: Vec::new(),
        selection: None,
    };
    let selection = plan::select(&spec, &list, &guard, &Arc::default());
    Scene { spec, guard, facts, selection, rules, applied: canonical_set(applied) }
});

/// Reads an input as the text of `endpoints.json`, and as a whole ConfigMap.
pub fn judge(input: &[u8]) {
    if let Ok(text) = std::str::from_utf8(input) {
        check_memory(&ours(text));
        check_writing(text);
    }
    if let Ok(map) = serde_json::from_slice::<ConfigMap>(input) {
        let _ = fold(&map);
        check_saved(&map);
    }
}

/// A ConfigMap that says of itself to be the operator's own: its writer can say so.
fn ours(text: &str) -> ConfigMap {
    let fields = json!({ "f:data": { format!("f:{ENDPOINTS_KEY}"): {} } });
    let entry = ManagedFieldsEntry {
        manager: Some(FIELD_MANAGER.to_owned()),
        fields_v1: Some(FieldsV1(fields)),
        ..ManagedFieldsEntry::default()
    };
    let mut map =
        ConfigMap { data: Some(BTreeMap::from([(ENDPOINTS_KEY.to_owned(), text.to_owned())])), ..ConfigMap::default() };
    map.metadata.managed_fields = Some(vec![entry]);
    map
}

/// Whatever a ConfigMap says, what is allowed after a restart was applied before it.
fn check_memory(map: &ConfigMap) {
    let scene = &*SCENE;
    let folded = fold(map).memory.expect("it is ours");
    let told = [Arc::new(scene.rules.clone()), folded].map(|memory| RecoveredObject { memory, written_at: None });
    let mut recovered = recover(&told, Selected::by(&scene.spec), &scene.selection, &scene.facts);
    let inherited = recovered.unexplained.map(|(inherited, _)| inherited).unwrap_or_default();
    let allowed = |address: IpAddr| scene.guard.check_address(address, Origin::Vendor).is_ok();
    let known = Arc::new(waiting());
    let joined = recovered.addresses.join(&known, Duration::from_secs(3600), allowed, Instant::now());
    let held: usize = joined.by_name.values().map(|known| known.addresses.len()).sum();
    assert!(held <= 2000, "{held} addresses of two names");
    let plan = plan::decide(&plan::PlanInputs {
        spec: &scene.spec,
        selection: &scene.selection,
        addresses: &joined,
        facts: &scene.facts,
        guard: &scene.guard,
        inherited: &inherited,
        declared_ports: None,
    });
    let objects = objects(&scene.spec, &plan);
    for policy in &objects.policies {
        for (direction, _, networks) in network_policy::remembered(std::slice::from_ref(policy)) {
            let added: Vec<_> = networks.iter().filter(|network| !cidr::covers(&scene.applied, network)).collect();
            assert!(direction == Direction::Inbound || added.is_empty(), "{added:?} were not applied");
            assert!(networks.iter().all(|network| !network.contains(&IpAddr::from([169, 254, 169, 254]))));
        }
    }
}

/// Every name, before DNS has answered.
fn waiting() -> Addresses {
    let known = |name: &connectivity_allowlist::net::DomainName| {
        let nothing = NameAddresses {
            addresses: Vec::new(),
            state: NameState::Waiting,
            refused: Vec::new(),
            evicted: 0,
            reached: Reached::default(),
        };
        (name.clone(), Arc::new(nothing))
    };
    Addresses { by_name: SCENE.selection.names.iter().map(known).collect() }
}

/// What was read and is written again reads the same; and people are told nothing that was not there.
fn check_writing(text: &str) {
    let map = ours(text);
    let (names, networks) = (remembered(&map), remembered_networks(&map));
    assert!(names.values().all(|addresses| !addresses.is_empty() && addresses.is_sorted()));
    let told = endpoints(std::slice::from_ref(&map));
    assert!(told.iter().all(|endpoint| endpoint.addresses.len() <= text.len() / 2));
    let https = PortSet::new(PortRange::single(443).map(|range| (Protocol::Tcp, range))).expect("ports");
    let endpoint = |target| SelectedEndpoint {
        direction: Direction::Outbound,
        service: "A".into(),
        geo: EntryGeo::All,
        target,
        ports: https.clone(),
        origin: Origin::Vendor,
        required: true,
        notes: None,
        stands_in_for: None,
        learned: false,
    };
    let of_names = names.iter().map(|(name, addresses)| EndpointRecord {
        endpoint: endpoint(Target::Name(name.clone())),
        addresses: addresses.as_slice().into(),
        in_use: true,
    });
    let of_networks = networks.iter().map(|network| EndpointRecord {
        endpoint: endpoint(Target::Network(*network)),
        addresses: [].into(),
        in_use: true,
    });
    let plan = Plan { records: of_names.chain(of_networks).collect(), ..Plan::default() };
    let objects = objects(&SCENE.spec, &plan);
    let written = objects.config_maps.first().cloned().unwrap_or_default();
    // Remarks are left out, and repeated addresses too, before anything else: neither stands here.
    assert_eq!((remembered(&written), remembered_networks(&written)), (names, networks));
}

/// The operator's own lists: what is read is written again as the same, and believed only where nobody else wrote it.
fn check_saved(map: &ConfigMap) {
    let _ = saved_lists::read_requests(map);
    let Ok(list) = saved_lists::read_list(map) else { return };
    let managers = map.metadata.managed_fields.iter().flatten().map(|entry| entry.manager.as_deref());
    assert!(managers.clone().any(|manager| manager == Some(FIELD_MANAGER)));
    let Ok(mut written) = saved_lists::list_object(list.clone()) else { return };
    assert_eq!(written.metadata.name, map.metadata.name);
    written.metadata.managed_fields = map.metadata.managed_fields.clone();
    let again = saved_lists::read_list(&written).expect("what was written can be read");
    assert!((again.key, again.state, again.document) == (list.key, list.state, list.document));
}

/// What a plan becomes.
pub(super) struct Objects {
    pub policies: Vec<NetworkPolicy>,
    pub config_maps: Vec<ConfigMap>,
}

/// The objects that a plan becomes.
pub(super) fn objects(spec: &CitrixAllowlistSpec, plan: &Plan) -> Objects {
    let owner = Ownership { resource: ResourceRef::new("web", "daas"), uid: None, selected: Selected::by(spec) };
    let (limits, layouts) = (Limits::default(), [Layout::default()]);
    let prepared = Prepared::of(&Engines::default(), &spec.pod_selector, plan, &limits, &layouts, None);
    let desired = prepared.desired(&"web".into(), &owner);
    Objects { policies: as_network_policies(&desired), config_maps: config_maps(&desired) }
}
