//! The zones in use, read from what the operator exports. Pure.

use crate::crd::CitrixAllowlist;
use crate::export::{self, ENDPOINTS_KEY, ExportedEndpoint, ExportedTarget};
use crate::names::zones;
use crate::objects::{managed, owner};
use connectivity_allowlist::net::{DomainName, NamePattern};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt as _;
use std::collections::BTreeSet;

/// The zones of the lists in use, and what is not known of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZonesInUse {
    /// The zones; none lies in another.
    pub zones: BTreeSet<DomainName>,
    /// What may be missing, a sentence each.
    pub notes: Vec<String>,
}

/// The zones of every resource's names and wildcards that are of the vendor's list. Learned names and the user's own do not count,
/// as in the operator.
#[must_use]
pub fn zones_in_use(resources: &[CitrixAllowlist], config_maps: &[ConfigMap]) -> ZonesInUse {
    let (mut names, mut patterns, mut notes) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
    for resource in resources {
        let (namespace, name) = (resource.namespace().unwrap_or_default(), resource.name_any());
        let uid = resource.uid().unwrap_or_default();
        let Some(map) = config_maps.iter().find(|map| is_of(map, &namespace, &name, &uid)) else {
            notes.push(format!(
                "citrixallowlist {namespace}/{name} has no ConfigMap of the operator yet: its zones are missing; `explain {name} -n {namespace}` says why"
            ));
            continue;
        };
        match export::omitted(map) {
            0 => {}
            omitted => notes.push(format!(
                "ConfigMap {namespace}/{}: {omitted} endpoints are left out for its size: their zones may be missing; --zone names them",
                map.name_any()
            )),
        }
        for endpoint in export::endpoints(std::slice::from_ref(map)) {
            if !endpoint.learned && !is_additional(resource, &endpoint) {
                collect(endpoint.target, &mut names, &mut patterns);
            }
        }
    }
    let mut zones = zones::zones_of(names.iter(), patterns.iter());
    notes.extend(leave_out(&mut zones, resources));
    ZonesInUse { zones, notes }
}

/// Leaves out zones that the operator refuses, since a block for one would break its names. Served zones that lie in one stay.
fn leave_out(zones: &mut BTreeSet<DomainName>, resources: &[CitrixAllowlist]) -> Option<String> {
    let statuses = || resources.iter().filter_map(|resource| resource.status.as_ref()?.forwarder.as_ref());
    let names = |texts: &[String]| texts.iter().filter_map(|text| DomainName::parse(text).ok()).collect::<Vec<_>>();
    let left_out: BTreeSet<DomainName> = statuses().flat_map(|status| names(&status.not_served)).collect();
    let left_out: Vec<&DomainName> = left_out.iter().filter(|zone| zones.remove(*zone)).collect();
    let is_below =
        |zone: &DomainName| zones::above(zone).any(|above| left_out.iter().any(|left| left.as_str() == above));
    zones.extend(statuses().flat_map(|status| names(&status.zones)).filter(is_below));
    let list = left_out.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    (!left_out.is_empty()).then(|| {
        format!("the operator does not serve {list}: left out; add them to --forward-zone (forwarder.zones in the chart's values)")
    })
}

fn collect(target: ExportedTarget, names: &mut BTreeSet<DomainName>, patterns: &mut BTreeSet<NamePattern>) {
    match target {
        ExportedTarget::Name(name) => {
            names.insert(name);
        }
        ExportedTarget::Wildcard(pattern, _) => {
            patterns.insert(pattern);
        }
        ExportedTarget::Network(_) => {}
    }
}

/// Whether it is the ConfigMap with a resource's endpoints, as the operator wrote it: the cluster's DNS shall not follow another
/// writer's, nor a resource of the same name that is gone.
fn is_of(map: &ConfigMap, namespace: &str, name: &str, uid: &str) -> bool {
    let is_owned = owner::owner_of(&map.metadata).is_some_and(|owner| {
        &*owner.resource.namespace == namespace && &*owner.resource.name == name && &*owner.uid == uid
    });
    is_owned && managed::owns(&map.metadata, &["data", ENDPOINTS_KEY])
}

/// Whether an endpoint is one of the resource's `additional`.
fn is_additional(resource: &CitrixAllowlist, endpoint: &ExportedEndpoint) -> bool {
    let own = resource.spec.additional.iter().filter(|own| own.name == endpoint.service);
    let mut names = own.flat_map(|own| &own.fqdns);
    names.any(|name| DomainName::parse(name).is_ok_and(|name| endpoint.target == ExportedTarget::Name(name)))
}
