//! The zones for which the names of the lists in use are asked through the forwarder. Pure.

use super::probes::{ZoneProbes, ZoneState};
use crate::counts::uncount;
use crate::resource_ref::ResourceRef;
use connectivity_allowlist::net::{DomainName, NamePattern};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a zone is served that no list in use has any more: somebody has to take its block out of the cluster's DNS.
const LEFT: Duration = Duration::from_secs(7 * 24 * 3600);

/// The zones that the forwarder serves.
#[derive(Debug, Default)]
pub struct Zones {
    /// Those of the flag, instead of those in use.
    fixed: Option<BTreeSet<DomainName>>,
    /// How many resources use each.
    counts: BTreeMap<DomainName, usize>,
    by_resource: HashMap<ResourceRef, Arc<BTreeSet<DomainName>>>,
    /// Since when nobody uses a zone that was used before. The cluster's DNS may forward it for a while yet.
    left: BTreeMap<DomainName, Instant>,
    /// Whether the cluster's DNS forwards those in use.
    pub(super) probes: ZoneProbes,
}

impl Zones {
    /// Serves `fixed`, or the zones in use where that is empty.
    pub fn set_fixed(&mut self, fixed: &[DomainName]) {
        self.fixed = (!fixed.is_empty()).then(|| fixed.iter().cloned().collect());
    }

    /// The zones that a resource uses, instead of its earlier ones.
    pub fn set(&mut self, resource: &ResourceRef, zones: &Arc<BTreeSet<DomainName>>, now: Instant) {
        if self.by_resource.get(resource).is_some_and(|known| Arc::ptr_eq(known, zones) || known == zones) {
            return;
        }
        self.remove(resource, now);
        for zone in zones.iter() {
            self.left.remove(zone);
            *self.counts.entry(zone.clone()).or_default() += 1;
        }
        self.by_resource.insert(resource.clone(), Arc::clone(zones));
    }

    /// A resource is gone.
    pub fn remove(&mut self, resource: &ResourceRef, now: Instant) {
        self.left.retain(|_, since| now.saturating_duration_since(*since) < LEFT);
        for zone in self.by_resource.remove(resource).iter().flat_map(|zones| zones.iter()) {
            if uncount(&mut self.counts, zone) {
                self.left.insert(zone.clone(), now);
            }
        }
    }

    /// A resource uses none for now; those that it used before count on.
    pub fn set_none(&mut self, resource: &ResourceRef) {
        self.by_resource.entry(resource.clone()).or_default();
    }

    /// Of how many resources the zones are known.
    #[must_use]
    pub fn resources(&self) -> usize {
        self.by_resource.len()
    }

    /// Whether the zones come from the flag.
    #[must_use]
    pub const fn are_fixed(&self) -> bool {
        self.fixed.is_some()
    }

    /// The zones in use that are to be probed now: those that are served.
    pub fn due(&mut self, now: Instant) -> Vec<DomainName> {
        let fixed = self.fixed.as_ref();
        let served: BTreeSet<&DomainName> = self.counts.keys().flat_map(|zone| served_of(fixed, zone)).collect();
        self.probes.due(served.into_iter(), now)
    }

    /// The resources that use a zone, or one that it lies in.
    pub fn users<'a>(&'a self, zone: &'a DomainName) -> impl Iterator<Item = &'a ResourceRef> {
        let uses = |zones: &BTreeSet<DomainName>| above(zone).any(|zone| zones.contains(zone));
        self.by_resource.iter().filter(move |(_, zones)| uses(zones)).map(|(resource, _)| resource)
    }

    /// Whether the cluster's DNS forwards these zones here. Of a zone that the flag leaves out, those that it has below are added:
    /// for example, `blob.example.net` where `example.net` is in use.
    #[must_use]
    pub fn states(&self, in_use: &BTreeSet<DomainName>) -> BTreeMap<DomainName, ZoneState> {
        let fixed = self.fixed.as_ref();
        let mut states: BTreeMap<DomainName, ZoneState> =
            in_use.iter().map(|zone| (zone.clone(), ZoneState::NotServed)).collect();
        let served = in_use.iter().flat_map(|zone| served_of(fixed, zone));
        states.extend(served.map(|zone| (zone.clone(), self.probes.state(zone.as_str()))));
        states
    }

    /// Whether the cluster's DNS forwards a name here.
    #[must_use]
    pub fn is_forwarded(&self, name: &DomainName) -> bool {
        above(name).any(|zone| self.probes.state(zone) == ZoneState::Forwarded)
    }

    /// Whether the upstream leads back here for a name.
    #[must_use]
    pub fn is_looping(&self, name: &DomainName) -> bool {
        above(name).any(|zone| self.probes.state(zone) == ZoneState::Looping)
    }

    /// Whether a name is in a zone that is served.
    #[must_use]
    pub fn serve(&self, name: &DomainName) -> bool {
        match &self.fixed {
            Some(fixed) => above(name).any(|zone| fixed.contains(zone)),
            None => above(name).any(|zone| self.counts.contains_key(zone) || self.left.contains_key(zone)),
        }
    }
}

/// The zones of names and wildcards: a wildcard's is what follows its stars, an exact name is its own unless it lies in another.
#[must_use]
pub fn zones_of<'a>(
    names: impl Iterator<Item = &'a DomainName>,
    patterns: impl Iterator<Item = &'a NamePattern>,
) -> BTreeSet<DomainName> {
    outermost(patterns.filter_map(NamePattern::zone).chain(names.cloned()).collect())
}

/// What is served of a zone in use: all of it, or only zones of the flag that lie in it.
fn served_of<'a>(fixed: Option<&'a BTreeSet<DomainName>>, zone: &'a DomainName) -> Vec<&'a DomainName> {
    match fixed {
        Some(fixed) if !above(zone).any(|zone| fixed.contains(zone)) => {
            fixed.iter().filter(|served| above(served).any(|above| above == zone.as_str())).collect()
        }
        _ => vec![zone],
    }
}

fn outermost(mut zones: BTreeSet<DomainName>) -> BTreeSet<DomainName> {
    let all = zones.clone();
    zones.retain(|zone| !above(zone).skip(1).any(|other| all.contains(other)));
    zones
}

/// A name, and each name above it.
pub fn above(name: &DomainName) -> impl Iterator<Item = &str> {
    let text = name.as_str();
    std::iter::once(text).chain(text.match_indices('.').map(|(dot, _)| &text[dot + 1..]))
}
