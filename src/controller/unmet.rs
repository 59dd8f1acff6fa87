//! The watchdog: which resources changed and have not been reconciled since. Pure: `now` is an argument.
//!
//! No wake should ever be lost. If one is, the watchdog reports it, and the resource is requested again.

use crate::resource_ref::ResourceRef;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// How long a resource may wait for its reconcile before it is overdue: twice the longest time of one.
pub(super) const OVERDUE_AFTER: Duration = Duration::from_secs(120);

/// The changes that no reconcile has met yet.
#[derive(Debug, Default)]
pub(super) struct Unmet {
    changes: HashMap<ResourceRef, Change>,
    /// The resources of which a reconcile waits for its permit: it meets changes that come meanwhile.
    waiting: HashSet<ResourceRef>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    /// When the oldest unmet change came.
    first: Instant,
    /// When the newest came.
    last: Instant,
    /// Whether a reconcile waits for its permit: then no wake was lost.
    is_queued: bool,
    /// When it was last reported.
    reported: Option<Instant>,
}

impl Unmet {
    /// A resource changed, or has to be reconciled for another reason.
    pub fn changed(&mut self, resource: &ResourceRef, now: Instant) {
        let is_queued = self.waiting.contains(resource);
        let new = Change { first: now, last: now, is_queued, reported: None };
        self.changes.entry(resource.clone()).or_insert(new).last = now;
    }

    /// A reconcile of the resource waits for its permit.
    pub fn queued(&mut self, resource: &ResourceRef) {
        self.waiting.insert(resource.clone());
        if let Some(change) = self.changes.get_mut(resource) {
            change.is_queued = true;
        }
    }

    /// The reconcile has its permit, and begins to read.
    pub fn begins(&mut self, resource: &ResourceRef) {
        self.waiting.remove(resource);
    }

    /// A reconcile that began to read at `began` has ended, well or not. Later changes are not met.
    pub fn reconciled(&mut self, resource: &ResourceRef, began: Instant) {
        let Some(change) = self.changes.get_mut(resource) else { return };
        if change.last <= began {
            self.changes.remove(resource);
        } else {
            change.first = change.first.max(began);
            change.is_queued = false;
        }
    }

    /// A resource is deleted.
    pub fn forget(&mut self, resource: &ResourceRef) {
        self.changes.remove(resource);
        self.waiting.remove(resource);
    }

    /// How many wait longer than [`OVERDUE_AFTER`], and those not reported for as long: each with its wait, and whether it is
    /// queued. If it is not, its wake was lost.
    pub fn overdue(&mut self, now: Instant) -> (usize, Vec<(ResourceRef, Duration, bool)>) {
        let mut count = 0;
        let mut new = Vec::new();
        for (resource, change) in &mut self.changes {
            let wait = now.saturating_duration_since(change.first);
            if wait < OVERDUE_AFTER {
                continue;
            }
            count += 1;
            if change.reported.is_none_or(|reported| now.saturating_duration_since(reported) >= OVERDUE_AFTER) {
                change.reported = Some(now);
                new.push((resource.clone(), wait, change.is_queued));
            }
        }
        new.sort_unstable();
        (count, new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn resource(name: &str) -> ResourceRef {
        ResourceRef::new("web", name)
    }

    #[test]
    fn what_comes_while_a_reconcile_is_queued_is_not_lost() {
        let (mut unmet, start) = (Unmet::default(), Instant::now());
        unmet.queued(&resource("waits"));
        unmet.changed(&resource("waits"), start);
        let late = (resource("waits"), OVERDUE_AFTER, true);
        assert_eq!(unmet.overdue(start + OVERDUE_AFTER), (1, vec![late]));
        unmet.begins(&resource("waits"));
        unmet.reconciled(&resource("waits"), start + OVERDUE_AFTER);
        unmet.changed(&resource("waits"), start + OVERDUE_AFTER + SECOND);
        let lost = (resource("waits"), OVERDUE_AFTER, false);
        assert_eq!(unmet.overdue(start + 2 * OVERDUE_AFTER + SECOND), (1, vec![lost]));
    }

    #[test]
    fn an_overdue_resource_is_counted_and_reported_now_and_then() {
        let (mut unmet, start) = (Unmet::default(), Instant::now());
        for name in ["met", "lost", "late"] {
            unmet.changed(&resource(name), start);
        }
        unmet.reconciled(&resource("met"), start + SECOND);
        assert_eq!(unmet.overdue(start + OVERDUE_AFTER - SECOND), (0, vec![]));
        unmet.queued(&resource("late"));
        let (late, lost) = ((resource("late"), OVERDUE_AFTER, true), (resource("lost"), OVERDUE_AFTER, false));
        assert_eq!(unmet.overdue(start + OVERDUE_AFTER), (2, vec![late, lost]));
        unmet.reconciled(&resource("late"), start + OVERDUE_AFTER);
        assert_eq!(unmet.overdue(start + OVERDUE_AFTER + SECOND), (1, vec![]));
        assert_eq!(unmet.overdue(start + 2 * OVERDUE_AFTER), (1, vec![(resource("lost"), 2 * OVERDUE_AFTER, false)]));
        unmet.forget(&resource("lost"));
        assert_eq!(unmet.overdue(start + 3 * OVERDUE_AFTER), (0, vec![]));
    }

    #[test]
    fn a_change_after_the_read_begins_needs_another_reconcile() {
        let (mut unmet, start) = (Unmet::default(), Instant::now());
        unmet.changed(&resource("a"), start);
        unmet.changed(&resource("a"), start + 3 * SECOND);
        unmet.reconciled(&resource("a"), start + 2 * SECOND);
        assert_eq!(unmet.overdue(start + OVERDUE_AFTER + SECOND), (0, vec![]), "the first one was met");
        assert_eq!(unmet.overdue(start + OVERDUE_AFTER + 3 * SECOND).0, 1);
        unmet.reconciled(&resource("a"), start + 3 * SECOND);
        assert_eq!(unmet.overdue(start + 3 * OVERDUE_AFTER).0, 0);
    }
}
