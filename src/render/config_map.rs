//! The ConfigMap `<name>-cidrs`, which other firewalls, proxies and scripts read, and which attributes addresses to
//! names for memory after a restart.

mod endpoints;

use crate::crd::{Problem, ProblemKind};
use crate::direction::PolicyDirection as _;
use crate::objects::key::Role;
use crate::plan::Plan;
use connectivity_allowlist::net::{Direction, DomainName, cidr};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

pub use endpoints::SCHEMA;

/// The key that holds every endpoint with what is known of it.
pub const ENDPOINTS_KEY: &str = "endpoints.json";
/// Metadata and keys of an object, in bytes, generously.
const FRAME_BYTES: usize = 4096;

/// Whether the operator keeps a key of its ConfigMaps; any other is somebody else's.
#[must_use]
pub fn is_owned_key(key: &str) -> bool {
    let list = |direction: Direction| {
        key.strip_prefix(direction.object_suffix()).is_some_and(|rest| matches!(rest, ".cidrs" | ".fqdns"))
    };
    key == ENDPOINTS_KEY || Direction::ALL.into_iter().any(list)
}

/// The lists of the ConfigMap: a line for each CIDR or name.
#[derive(Default)]
pub(super) struct Lists {
    by_key: BTreeMap<String, Vec<String>>,
}

impl Lists {
    pub(super) fn add_names(&mut self, direction: Direction, names: BTreeSet<&DomainName>) {
        let lines = names.into_iter().map(ToString::to_string).collect();
        self.by_key.insert(format!("{}.fqdns", direction.object_suffix()), lines);
        self.by_key.entry(format!("{}.cidrs", direction.object_suffix())).or_default();
    }

    pub(super) fn add_networks(&mut self, direction: Direction, networks: &[IpNet]) {
        let lines = networks.iter().map(cidr::text).collect();
        self.by_key.insert(format!("{}.cidrs", direction.object_suffix()), lines);
    }
}

/// The data of ConfigMaps of at most `bytes` each. The lists are never cut short, but go on in the next; `endpoints.json`
/// stands in the first, shortened where it does not fit: then it says so.
pub(super) fn config_maps(plan: &Plan, lists: &Lists, bytes: usize) -> (Vec<BTreeMap<String, String>>, bool) {
    let bytes = bytes.saturating_sub(FRAME_BYTES).max(8 * FRAME_BYTES);
    let whole = endpoints::whole(plan, bytes);
    // A quarter at most is kept free for it, what it would take JSON-escaped.
    let reserved = whole.as_ref().map_or(usize::MAX, |(_, taken)| *taken).min(bytes / 4);
    // Every list is in the first, if only empty, so that what mounts the file finds it.
    let first = lists.by_key.keys().map(|key| (key.clone(), String::new())).collect();
    let mut maps: Vec<BTreeMap<String, String>> = vec![first];
    let mut room = bytes - reserved;
    for (key, lines) in &lists.by_key {
        for line in lines {
            // A line break takes two bytes in JSON.
            let taken = line.len() + 2;
            if taken > room {
                maps.push(BTreeMap::new());
                room = bytes;
            }
            room -= taken;
            if let Some(map) = maps.last_mut() {
                let text = map.entry(key.clone()).or_default();
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    let left = reserved + if maps.len() == 1 { room } else { 0 };
    let whole = whole.filter(|(_, taken)| *taken <= left).map(|(whole, _)| whole);
    let is_shortened = whole.is_none();
    if let Some(first) = maps.first_mut() {
        first.insert(ENDPOINTS_KEY.to_owned(), whole.unwrap_or_else(|| endpoints::shortened(plan, left)));
    }
    (maps, is_shortened)
}

/// What is said of a ConfigMap whose `endpoints.json` is shortened.
pub(super) fn shortened(owner: &str) -> Problem {
    let message = "endpoints.json is shortened to fit into a ConfigMap, and says how; the lists beside it are whole";
    Problem::new(ProblemKind::Limit, Role::Export { part: 1 }.object_name(owner), None, message)
}

/// The addresses that a ConfigMap attributes to names. Tolerant: what cannot be read is passed over, since it is memory
/// and no more. It may attribute an address that a policy holds, never add one.
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

/// The networks that a ConfigMap says the list or the spec gave: they are no name's, and go when nobody asks for them
/// any more. Tolerant like [`remembered`].
#[must_use]
pub fn remembered_networks(config_map: &ConfigMap) -> BTreeSet<IpNet> {
    let networks =
        attributions(config_map).filter_map(|endpoint| read::<Cow<str>>(endpoint.cidr)?.parse::<IpNet>().ok());
    networks.map(|network| network.trunc()).collect()
}

/// The endpoints of a ConfigMap's `endpoints.json`, each as it is written there. Nothing is built of them: a document of
/// 1 MiB can hold a hundred thousand objects, which would take more than 100 MiB.
#[must_use]
pub fn stored(config_map: &ConfigMap) -> Vec<&RawValue> {
    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(borrow)]
        endpoints: Vec<&'a RawValue>,
    }
    let text = config_map.data.as_ref().and_then(|data| data.get(ENDPOINTS_KEY));
    let document = text.and_then(|text| serde_json::from_str::<Document>(text).ok());
    document.map(|document| document.endpoints).unwrap_or_default()
}

/// What is remembered of an endpoint.
#[derive(Deserialize)]
struct Attribution<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    addresses: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cidr: Option<&'a RawValue>,
}

fn attributions(config_map: &ConfigMap) -> impl Iterator<Item = Attribution<'_>> {
    let objects = stored(config_map).into_iter().filter(|endpoint| endpoint.get().starts_with('{'));
    objects.filter_map(|endpoint| serde_json::from_str(endpoint.get()).ok())
}

/// What a value stands for; `None` where it is of another kind.
fn read<'a, T: Deserialize<'a>>(value: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(value?.get()).ok()
}
