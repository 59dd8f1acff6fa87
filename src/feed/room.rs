//! Which resource's list has room in the shared table. Pure.
//!
//! A list takes some 80 KiB of memory, and a request of the vendor's five a minute. So a namespace that names one customer
//! after another gets a bounded number of lists, and its further resources wait: they fill neither the memory nor the
//! queue of other namespaces.

use super::entry::Entry;
use super::request::FeedKey;
use super::table::Table;
use super::view::{FeedView, empty_view};
use crate::bound::{Bound, Full, Level, Taken};
use crate::crd::{Problem, ProblemKind};
use crate::resource_ref::ResourceRef;
use connectivity_allowlist::Cloud;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Who uses which lists, and whose list has no room.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// For each namespace the lists that its resources use, with how many use each.
    used: HashMap<Arc<str>, BTreeMap<FeedKey, usize>>,
    /// The resources that wait for room, and which bound has none for them.
    left_out: BTreeMap<ResourceRef, Level>,
}

impl Room {
    /// How many resources wait for room, by [`Level`].
    pub(super) fn left_out(&self) -> [usize; 3] {
        Level::ALL.map(|level| self.left_out.values().filter(|of| **of == level).count())
    }

    fn enter(&mut self, resource: &ResourceRef, key: &FeedKey) {
        *self.used.entry(Arc::clone(&resource.namespace)).or_default().entry(key.clone()).or_default() += 1;
        self.left_out.remove(resource);
    }

    /// Ends a use; returns the resources that may have room now: one of the namespace, and one of all.
    fn leave(&mut self, resource: &ResourceRef, key: &FeedKey) -> BTreeSet<ResourceRef> {
        let Some(lists) = self.used.get_mut(&resource.namespace) else { return BTreeSet::new() };
        if let Some(users) = lists.get_mut(key) {
            *users -= 1;
            if *users > 0 {
                return BTreeSet::new();
            }
            lists.remove(key);
        }
        if lists.is_empty() {
            self.used.remove(&resource.namespace);
        }
        // Each waits for room at its own level: another's would wake it in vain, and leave who has room now asleep.
        let waits = |level: Level, namespace: Option<&Arc<str>>| {
            let mut waiting = self.left_out.iter();
            waiting.find(|(other, of)| **of == level && namespace.is_none_or(|namespace| other.namespace == *namespace))
        };
        let found = [waits(Level::Namespace, Some(&resource.namespace)), waits(Level::Process, None)];
        found.into_iter().flatten().map(|(waiting, _)| waiting.clone()).collect()
    }
}

impl Table {
    /// Takes up a resource's use of a list. `Err` says which bound has no room for it: then the resource waits. One whose
    /// spec is `applied` had its list before this process began, and always has room.
    pub(super) fn admit(
        &mut self,
        resource: &ResourceRef,
        key: &FeedKey,
        bound: &Bound,
        applied: bool,
    ) -> Result<(), Full> {
        let own = self.room.used.get(&resource.namespace);
        if !applied && own.is_none_or(|lists| !lists.contains_key(key)) {
            let is_in_use = |entry: &&Entry| !entry.subscribers.is_empty();
            let process = match self.entries.get(key).filter(is_in_use) {
                Some(_) => 0,
                None => self.entries.values().filter(is_in_use).count(),
            };
            let taken = Taken { resource: 0, namespace: own.map_or(0, BTreeMap::len), process };
            let (room, level) = bound.room(taken, false);
            if room == 0 {
                self.room.left_out.insert(resource.clone(), level);
                return Err(bound.full(level));
            }
        }
        self.room.enter(resource, key);
        Ok(())
    }

    /// Ends a resource's use of a list, or its wait for room; returns the resources that may have room now.
    pub(super) fn dismiss(&mut self, resource: &ResourceRef, key: Option<&FeedKey>) -> BTreeSet<ResourceRef> {
        self.room.left_out.remove(resource);
        key.map(|key| self.room.leave(resource, key)).unwrap_or_default()
    }

    /// Forgets the lists that have been unneeded for the longest, where there are more than `most` in all.
    pub(super) fn forget_beyond(&mut self, most: usize) {
        let beyond = self.entries.len().saturating_sub(most);
        if beyond == 0 {
            return;
        }
        let unneeded = self.entries.iter().filter(|(_, entry)| !entry.in_flight);
        let mut unneeded: Vec<_> =
            unneeded.filter_map(|(key, entry)| Some((entry.unneeded_since?, key.clone()))).collect();
        unneeded.sort();
        for (_, key) in unneeded.into_iter().take(beyond) {
            self.entries.remove(&key);
        }
    }
}

/// What a resource sees whose list has no room.
pub(super) fn without_room(cloud: Cloud, full: Full) -> FeedView {
    let message =
        format!("there is no room for this resource's list, and it is not fetched: {}", full.sentence("lists"));
    let problem = Problem::new(ProblemKind::Limit, full.subject("lists"), None, &message);
    FeedView { message, problems: vec![problem], ..empty_view(cloud) }
}
