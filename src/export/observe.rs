//! A ConfigMap in the cluster. Pure.

use super::{CONFIG_MAP, ENDPOINTS_KEY, is_owned_key, of_data, read};
use crate::objects::observed::{self, Observed, RecoveredState};
use crate::objects::{digest, managed};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Folds a ConfigMap, with its memory.
#[must_use]
pub fn fold(map: &ConfigMap) -> Observed {
    fold_map(map, true)
}

pub(super) fn observe(metadata: &ObjectMeta, body: Option<&RawValue>, reads_memory: bool) -> Observed {
    // Data that the API server stores can be read.
    let data = body.and_then(|body| serde_json::from_str(body.get()).ok());
    fold_map(&ConfigMap { metadata: metadata.clone(), data, ..ConfigMap::default() }, reads_memory)
}

pub(super) fn owned(body: &RawValue) -> Value {
    let mut data: BTreeMap<String, String> = serde_json::from_str(body.get()).unwrap_or_default();
    data.retain(|key, _| is_owned_key(key));
    json!(data)
}

pub(super) fn parts(body: &RawValue) -> Vec<(&'static str, Value)> {
    vec![("data", owned(body))]
}

fn fold_map(map: &ConfigMap, reads_memory: bool) -> Observed {
    let digest = digest::of_object(&CONFIG_MAP, &map.metadata, map.data.as_ref().and_then(of_data));
    let edited_by = managed::edited_by(&map.metadata, "f:data", is_owned_key);
    let ours = reads_memory && edited_by.is_none() && managed::owns(&map.metadata, &["data", ENDPOINTS_KEY]);
    let memory = ours.then(|| {
        let (names, networks) = (read::remembered(map), read::remembered_networks(map));
        Arc::new(RecoveredState::Attribution { names, networks, learned: read::remembered_learned(map) })
    });
    Observed { memory, ..observed::fold(&CONFIG_MAP, &map.metadata, digest, edited_by) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(data: &[(&str, &str)]) -> ConfigMap {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        ConfigMap { data: Some(data.collect::<BTreeMap<_, _>>()), ..ConfigMap::default() }
    }

    #[test]
    fn only_owned_keys_of_a_config_map_count() {
        let digest = |map: &ConfigMap| fold(map).digest;
        let owned = map(&[("egress.cidrs", "20.1.2.3/32"), ("egress.fqdns", "")]);
        let same = map(&[("egress.cidrs", "20.1.2.3/32"), ("egress.fqdns", ""), ("another", "owner's")]);
        assert_eq!(digest(&owned), digest(&same));
        for other in [
            map(&[("egress.cidrs", "20.1.2.3/32")]),
            map(&[("egress.cidrs", "20.1.2.3/31"), ("egress.fqdns", "")]),
            // The same bytes, divided otherwise.
            map(&[("egress.cidrs", ""), ("egress.fqdns", "20.1.2.3/32")]),
            map(&[("ingress.cidrs", "20.1.2.3/32"), ("ingress.fqdns", "")]),
        ] {
            assert_ne!(digest(&owned), digest(&other), "{other:?}");
        }
    }
}
