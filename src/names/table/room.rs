//! How much of the table each resource and namespace has, and what has no room. Pure.

use super::{GroupId, Table};
use crate::bound::{Level, Taken};
use crate::counts::{count, uncount};
use crate::names::addresses::{Addresses, NameAddresses, NameState};
use crate::resource_ref::ResourceRef;
use connectivity_allowlist::net::DomainName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How far apart resources without room are woken to try again, in the order in which they came.
const TRY_AGAIN: Duration = Duration::from_millis(200);

/// What one namespace has of the table.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// Its names, each with the number of groups that want it there.
    pub(super) names: BTreeMap<DomainName, usize>,
    /// How many addresses are cached of them.
    addresses: usize,
}

/// A resource without some of its names.
#[derive(Debug)]
struct Short {
    came: u64,
    left_out: [usize; 3],
}

/// All that is left out.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    by_subscriber: BTreeMap<ResourceRef, Short>,
    /// When the next resource tries again, since there may be room; `None` until something has left.
    pub(super) next: Option<Instant>,
    /// The last resource that tried since something left.
    tried: u64,
}

/// The names that a resource gets of those it wants.
pub(super) struct Admitted {
    pub(super) names: Arc<BTreeSet<DomainName>>,
    pub(super) left_out: Vec<(DomainName, Level)>,
}

impl Table {
    /// The `wanted` names that have room: those the resource has already, then those `applied` by an earlier process, then the
    /// others in their order: those of the list and the spec, and then those that pods asked for.
    pub(super) fn admit(
        &self,
        resource: &ResourceRef,
        wanted: &Arc<BTreeSet<DomainName>>,
        before: Option<GroupId>,
        applied: &dyn Fn(&DomainName) -> bool,
    ) -> Admitted {
        let group = before.and_then(|id| self.groups.get(&id));
        let has = |name: &DomainName| group.is_some_and(|group| group.names.contains(name));
        let space = self.spaces.get(&resource.namespace);
        let in_space = |name: &DomainName| space.and_then(|space| space.names.get(name)).copied().unwrap_or_default();
        let mut taken =
            Taken { resource: 0, namespace: space.map_or(0, |space| space.names.len()), process: self.names.len() };
        // Names that it has and no longer wants leave their room to new ones.
        if let Some(group) = group {
            let alone = group.subscribers.len() == 1;
            let alone_here = group.namespaces.get(&resource.namespace) == Some(&1);
            for name in group.names.iter() {
                if wanted.contains(name) {
                    taken.resource += 1;
                    continue;
                }
                taken.namespace -= usize::from(alone_here && in_space(name) == 1);
                let wanted_by_one = self.names.get(name).is_some_and(|entry| entry.groups.len() == 1);
                taken.process -= usize::from(alone && wanted_by_one);
            }
        }
        let mut names: BTreeSet<DomainName> = wanted.iter().filter(|name| has(name)).cloned().collect();
        let mut left_out = Vec::new();
        let learned = self.learned.names(resource);
        for first in [true, false] {
            let mut waiting: Vec<_> = wanted.iter().filter(|name| !has(name) && applied(name) == first).collect();
            waiting.sort_by_key(|name| learned.contains(*name));
            for name in waiting {
                let (new_here, new) = (in_space(name) == 0, !self.names.contains_key(name));
                // A name that the namespace, or any other, has already costs no more there.
                let here = Taken {
                    namespace: if new_here { taken.namespace } else { 0 },
                    process: if new { taken.process } else { 0 },
                    ..taken
                };
                match self.bounds.names.room(here, first) {
                    (0, level) => left_out.push((name.clone(), level)),
                    _ => {
                        taken.resource += 1;
                        taken.namespace += usize::from(new_here);
                        taken.process += usize::from(new);
                        names.insert(name.clone());
                    }
                }
            }
        }
        let names = if left_out.is_empty() { Arc::clone(wanted) } else { Arc::new(names) };
        Admitted { names, left_out }
    }

    /// Asserts that the running counts are right, and within the bounds.
    #[cfg(test)]
    pub(in crate::names) fn check_counts(&self) {
        let cached: usize = self.names.values().map(|entry| entry.cached.cached().len()).sum();
        assert_eq!(self.addresses, cached);
        assert!(self.names.len() <= self.bounds.names.process && cached <= self.bounds.addresses_in_all.process);
        for group in self.groups.values() {
            let cached: usize = group.names.iter().map(|name| self.names[name].cached.cached().len()).sum();
            assert_eq!(group.addresses, cached);
            assert!(group.names.len() <= self.bounds.names.resource);
        }
        let wanting: BTreeSet<&Arc<str>> = self.groups.values().flat_map(|group| group.namespaces.keys()).collect();
        for namespace in wanting {
            let groups = self.groups.values().filter(|group| group.namespaces.contains_key(namespace));
            let names: BTreeSet<&DomainName> = groups.flat_map(|group| group.names.iter()).collect();
            let cached: usize = names.iter().map(|name| self.names[*name].cached.cached().len()).sum();
            let space = self.spaces.get(namespace);
            assert_eq!(space.map_or(0, |space| space.names.len()), names.len());
            assert_eq!(space.map_or(0, |space| space.addresses), cached);
            assert!(names.len() <= self.bounds.names.namespace);
        }
    }

    /// Notes what a resource was left without.
    pub(super) fn note_shortage(&mut self, resource: &ResourceRef, left_out: &[(DomainName, Level)]) {
        if left_out.is_empty() {
            self.shortage.by_subscriber.remove(resource);
            return;
        }
        let mut counts = [0; 3];
        for (_, level) in left_out {
            counts[*level as usize] += 1;
        }
        let came = self.number();
        let short = self.shortage.by_subscriber.entry(resource.clone()).or_insert(Short { came, left_out: counts });
        short.left_out = counts;
    }

    /// What is known, with the names that are left out.
    pub(super) fn with_left_out(&self, known: &Arc<Addresses>, left_out: Vec<(DomainName, Level)>) -> Arc<Addresses> {
        if left_out.is_empty() {
            return Arc::clone(known);
        }
        let nothing = Level::ALL.map(|level| {
            let state = NameState::LeftOut(self.bounds.names.full(level));
            Arc::new(NameAddresses { state, ..NameAddresses::default() })
        });
        let mut all = Addresses::clone(known);
        all.by_name.extend(left_out.into_iter().map(|(name, level)| (name, Arc::clone(&nothing[level as usize]))));
        Arc::new(all)
    }

    /// A namespace wants the names of a group from now on.
    pub(super) fn enter(&mut self, namespace: &Arc<str>, names: &BTreeSet<DomainName>) {
        let space = self.spaces.entry(Arc::clone(namespace)).or_default();
        for name in names {
            if count(&mut space.names, name) {
                space.addresses += self.names.get(name).map_or(0, |entry| entry.counted);
            }
        }
    }

    /// A namespace no longer wants the names of a group.
    pub(super) fn exit(&mut self, namespace: &Arc<str>, names: &BTreeSet<DomainName>, now: Instant) {
        let Some(space) = self.spaces.get_mut(namespace) else { return };
        for name in names {
            if uncount(&mut space.names, name) {
                let counted = self.names.get(name).map_or(0, |entry| entry.counted);
                space.addresses = space.addresses.saturating_sub(counted);
            }
        }
        if space.names.is_empty() {
            self.spaces.remove(namespace);
        }
        if !self.shortage.by_subscriber.is_empty() {
            self.shortage.tried = 0;
            self.shortage.next.get_or_insert(now + TRY_AGAIN);
        }
    }

    /// Counts the cached addresses of a name again.
    pub(super) fn count_addresses(&mut self, name: &DomainName) {
        let Some(entry) = self.names.get_mut(name) else { return };
        let (before, after) = (entry.counted, entry.cached.cached().len());
        if before == after {
            return;
        }
        entry.counted = after;
        self.addresses = (self.addresses + after).saturating_sub(before);
        let mut namespaces: BTreeSet<Arc<str>> = BTreeSet::new();
        for id in &entry.groups {
            let Some(group) = self.groups.get_mut(id) else { continue };
            group.addresses = (group.addresses + after).saturating_sub(before);
            namespaces.extend(group.namespaces.keys().cloned());
        }
        for namespace in &namespaces {
            if let Some(space) = self.spaces.get_mut(namespace) {
                space.addresses = (space.addresses + after).saturating_sub(before);
            }
        }
    }

    /// How many more addresses a name may have, and the bound: as many as any resource that wants it has room for.
    pub(super) fn room_for_addresses(&self, name: &DomainName) -> (usize, Level) {
        let groups = self.names.get(name).into_iter().flat_map(|entry| &entry.groups);
        let mut most = (0, Level::Process);
        for group in groups.filter_map(|id| self.groups.get(id)) {
            for namespace in group.namespaces.keys() {
                let of_space = self.spaces.get(namespace).map_or(0, |space| space.addresses);
                let taken = Taken { resource: group.addresses, namespace: of_space, process: self.addresses };
                most = most.max(self.bounds.addresses_in_all.room(taken, false));
            }
        }
        most
    }

    /// The resource that tries again now, since something has left: one at a time, in the order in which they came.
    pub(super) fn try_again(&mut self, now: Instant) -> Option<ResourceRef> {
        if self.shortage.next.is_none_or(|next| next > now) {
            return None;
        }
        let waiting = self.shortage.by_subscriber.iter().filter(|(_, short)| {
            short.came > self.shortage.tried && short.left_out[1..].iter().any(|left_out| *left_out > 0)
        });
        let next = waiting.min_by_key(|(_, short)| short.came).map(|(resource, short)| (resource.clone(), short.came));
        self.shortage.next = next.as_ref().map(|_| now + TRY_AGAIN);
        let (resource, came) = next?;
        self.shortage.tried = came;
        Some(resource)
    }

    /// How many names are left out, and how many names have addresses left out, by bound.
    pub(in crate::names) fn left_out(&self) -> ([usize; 3], [usize; 3]) {
        let mut names = [0; 3];
        for short in self.shortage.by_subscriber.values() {
            names.iter_mut().zip(short.left_out).for_each(|(sum, count)| *sum += count);
        }
        let mut addresses = [0; 3];
        for full in self.names.values().filter_map(|entry| entry.view.reached.left_out) {
            addresses[full.level as usize] += 1;
        }
        (names, addresses)
    }
}
