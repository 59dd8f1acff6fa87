//! The ConfigMap `<name>-cidrs`, written and read. Other firewalls, proxies and scripts read it. After a restart the operator
//! reads from it which addresses belong to which names. Pure.

mod document;
mod observe;
mod read;

use crate::crd::{Problem, ProblemKind};
use crate::direction::PolicyDirection as _;
use crate::objects::desired::{Body, Desired};
use crate::objects::digest::Digest;
use crate::objects::key::{ObjectKey, Role};
use crate::objects::kind::Kind;
use crate::objects::owner::owner_of;
use crate::plan::Plan;
use connectivity_allowlist::net::{Direction, canonical_set, cidr};
pub use document::SCHEMA;
use k8s_openapi::api::core::v1::ConfigMap;
pub use observe::fold;
pub use read::{
    ExportedEndpoint, ExportedTarget, endpoints, omitted, remembered, remembered_learned, remembered_networks,
};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The ConfigMap.
pub static CONFIG_MAP: Kind = Kind {
    group: "",
    version: "v1",
    name: "ConfigMap",
    plural: "configmaps",
    body: "data",
    order: u8::MAX,
    annotations: &[],
    owner: owner_of,
    observe: observe::observe,
    owned: observe::owned,
    parts: observe::parts,
    policy: None,
};

/// The key with every endpoint, its ports and addresses.
pub const ENDPOINTS_KEY: &str = "endpoints.json";
/// Metadata and keys of an object, in bytes, generously.
const FRAME_BYTES: usize = 4096;

/// Whether the operator owns a key of its ConfigMaps. It leaves every other alone.
#[must_use]
pub fn is_owned_key(key: &str) -> bool {
    let list = |direction: Direction| {
        key.strip_prefix(direction.object_suffix()).is_some_and(|rest| matches!(rest, ".cidrs" | ".fqdns"))
    };
    key == ENDPOINTS_KEY || Direction::ALL.into_iter().any(list)
}

/// The bodies of a plan's ConfigMaps, and whether `endpoints.json` had to be shortened.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// The bodies, by number.
    pub bodies: Vec<Arc<Body>>,
    /// Whether `endpoints.json` is shortened.
    pub is_shortened: bool,
}

/// Builds the ConfigMaps of a plan, of at most `bytes` each.
#[must_use]
pub fn build(plan: &Plan, bytes: usize) -> Contents {
    let mut lists = Lists::new();
    for direction in Direction::ALL {
        let suffix = direction.object_suffix();
        let names = plan.fqdns(direction).into_iter().map(ToString::to_string);
        let networks = plan.direction(direction).map(|decided| canonical_set(decided.networks())).unwrap_or_default();
        lists.insert(format!("{suffix}.fqdns"), names.collect());
        lists.insert(format!("{suffix}.cidrs"), networks.iter().map(cidr::text).collect());
    }
    let (maps, is_shortened) = data(plan, &lists, bytes);
    Contents { bodies: maps.iter().map(body).collect(), is_shortened }
}

/// A ConfigMap's body.
///
/// # Panics
/// Never: texts always become JSON.
#[must_use]
pub fn body(data: &BTreeMap<String, String>) -> Arc<Body> {
    Body::new(&CONFIG_MAP, data, of_data(data))
}

/// The ConfigMaps among objects.
#[must_use]
pub fn config_maps(objects: &[(ObjectKey, Desired)]) -> Vec<ConfigMap> {
    let of_kind = objects.iter().filter(|(key, _)| *key.kind == CONFIG_MAP);
    let map = |(_, desired): &(ObjectKey, Desired)| {
        let data = serde_json::from_str(desired.body.json.get()).unwrap_or_default();
        ConfigMap { metadata: desired.metadata.clone(), data, ..ConfigMap::default() }
    };
    of_kind.map(map).collect()
}

/// The digest of the operator's own keys in a ConfigMap's data.
fn of_data(data: &BTreeMap<String, String>) -> Option<Digest> {
    let owned = data.iter().filter(|(key, _)| is_owned_key(key));
    Digest::of_texts(owned.flat_map(|(key, value)| [key.as_str(), value.as_str()]))
}

/// The lists of the ConfigMap by their keys: a line for each CIDR or name.
type Lists = BTreeMap<String, Vec<String>>;

/// The data of ConfigMaps of at most `bytes` each. The lists are never cut short, but continue in the next ConfigMap.
/// `endpoints.json` is in the first; if it does not fit, it is shortened and says so.
fn data(plan: &Plan, lists: &Lists, bytes: usize) -> (Vec<BTreeMap<String, String>>, bool) {
    let bytes = bytes.saturating_sub(FRAME_BYTES).max(8 * FRAME_BYTES);
    let whole = document::whole(plan, bytes);
    // Its JSON-escaped size is reserved, a quarter at most.
    let reserved = whole.as_ref().map_or(usize::MAX, |(_, taken)| *taken).min(bytes / 4);
    // Every list is in the first, even an empty one, so that a pod that mounts the file finds it.
    let first = lists.keys().map(|key| (key.clone(), String::new())).collect();
    let mut maps: Vec<BTreeMap<String, String>> = vec![first];
    let mut room = bytes - reserved;
    for (key, lines) in lists {
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
        first.insert(ENDPOINTS_KEY.to_owned(), whole.unwrap_or_else(|| document::shortened(plan, left)));
    }
    (maps, is_shortened)
}

/// The problem of a ConfigMap whose `endpoints.json` is shortened.
#[must_use]
pub fn shortened(owner: &str) -> Problem {
    let message = "endpoints.json is shortened to fit into a ConfigMap, and says how; the lists beside it are whole";
    Problem::new(ProblemKind::Limit, Role::Export { part: 1 }.object_name(owner), None, message)
}
