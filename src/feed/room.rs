//! Which resource's list has room in the shared table. Pure.
//!
//! A list takes some 80 KiB of memory, and a request of the vendor's five a minute. So a namespace that names one customer
//! after another gets a bounded number of lists, and its further resources wait: they fill neither the memory nor the
//! queue of other namespaces.

use super::request::FeedKey;
use super::table::Table;
use super::view::{FeedView, empty_view};
use crate::bound::{Bound, Full, Level, Taken};
use crate::counts::{count, uncount};
use crate::crd::{Problem, ProblemKind};
use crate::resource_ref::ResourceRef;
use connectivity_allowlist::Cloud;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Who uses which lists, and whose list has no room.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// For each namespace the lists that its resources use, with how many use each.
    used: HashMap<Arc<str>, BTreeMap<FeedKey, usize>>,
    /// The resources that wait for room, with the list that each wants, and which bound has none for it.
    left_out: BTreeMap<ResourceRef, (FeedKey, Level)>,
}

impl Room {
    /// How many resources wait for room, by [`Level`].
    pub(super) fn left_out(&self) -> [usize; 3] {
        Level::ALL.map(|level| self.left_out.values().filter(|(_, of)| *of == level).count())
    }

    fn enter(&mut self, resource: &ResourceRef, key: &FeedKey) {
        count(self.used.entry(Arc::clone(&resource.namespace)).or_default(), key);
        self.left_out.remove(resource);
    }

    /// Ends a use.
    fn leave(&mut self, resource: &ResourceRef, key: &FeedKey) {
        let Some(lists) = self.used.get_mut(&resource.namespace) else { return };
        uncount(lists, key);
        if lists.is_empty() {
            self.used.remove(&resource.namespace);
        }
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
        if !applied && let Err(full) = self.has_room(resource, key, bound, || self.in_use()) {
            self.room.left_out.insert(resource.clone(), (key.clone(), full.level));
            return Err(full);
        }
        self.room.enter(resource, key);
        Ok(())
    }

    /// Ends a resource's use of a list, or its wait for room.
    pub(super) fn dismiss(&mut self, resource: &ResourceRef, key: Option<&FeedKey>) {
        self.room.left_out.remove(resource);
        if let Some(key) = key {
            self.room.leave(resource, key);
        }
    }

    /// Takes the first resource that would have room now from those that wait. If it still wants its list when it is woken, it
    /// gets the room or waits again; else the next call finds the next resource. So no room is lost on one that wants it no
    /// more.
    pub(super) fn take_first_with_room(&mut self, bound: &Bound) -> Option<ResourceRef> {
        let in_use = if self.room.left_out.is_empty() { 0 } else { self.in_use() };
        let mut waiting = self.room.left_out.iter();
        let (first, _) = waiting.find(|(resource, (key, _))| self.has_room(resource, key, bound, || in_use).is_ok())?;
        let first = first.clone();
        self.room.left_out.remove(&first);
        Some(first)
    }

    /// How many lists resources use.
    fn in_use(&self) -> usize {
        self.entries.values().filter(|entry| !entry.subscribers.is_empty()).count()
    }

    /// Whether a list has room that is new to its resource. `in_use` is what [`Table::in_use`] says. `Err` says which bound has
    /// none.
    fn has_room(
        &self,
        resource: &ResourceRef,
        key: &FeedKey,
        bound: &Bound,
        in_use: impl FnOnce() -> usize,
    ) -> Result<(), Full> {
        let own = self.room.used.get(&resource.namespace);
        if own.is_some_and(|lists| lists.contains_key(key)) {
            return Ok(());
        }
        let is_used = self.entries.get(key).is_some_and(|entry| !entry.subscribers.is_empty());
        let process = if is_used { 0 } else { in_use() };
        let taken = Taken { resource: 0, namespace: own.map_or(0, BTreeMap::len), process };
        match bound.room(taken, false) {
            (0, level) => Err(bound.full(level)),
            _ => Ok(()),
        }
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
