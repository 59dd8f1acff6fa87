//! The watchdog: which resources changed and have not been reconciled since. Pure: `now` is an argument.
//!
//! No wake should ever be lost. Where one is all the same, this is how somebody learns of it, and the resource is
//! reconciled after all.

use crate::subscriber::Subscriber;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How long a resource may wait for its reconcile before it counts as overdue: twice the longest time that one may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// The changes that no reconcile has met yet.
#[derive(Debug, Default)]
pub(super) struct Unmet {
    changes: HashMap<Subscriber, Change>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    /// When the oldest that is not met came.
    first: Instant,
    /// When the newest came.
    last: Instant,
    /// When it was last told.
    told: Option<Instant>,
}

impl Unmet {
    /// A resource changed, or has to be reconciled for another reason.
    pub fn changed(&mut self, who: &Subscriber, now: Instant) {
        let change = self.changes.entry(who.clone()).or_insert(Change { first: now, last: now, told: None });
        change.last = now;
    }

    /// A reconcile that began to read at `began` has ended, well or not. What changed after that is not met.
    pub fn reconciled(&mut self, who: &Subscriber, began: Instant) {
        let Some(change) = self.changes.get_mut(who) else { return };
        if change.last <= began {
            self.changes.remove(who);
        } else {
            change.first = change.first.max(began);
        }
    }

    /// A resource is gone.
    pub fn forget(&mut self, who: &Subscriber) {
        self.changes.remove(who);
    }

    /// How many wait longer than [`PATIENCE`]; and those of them that have not been told for as long, with their wait.
    pub fn overdue(&mut self, now: Instant) -> (usize, Vec<(Subscriber, Duration)>) {
        let mut count = 0;
        let mut new = Vec::new();
        for (who, change) in &mut self.changes {
            let wait = now.saturating_duration_since(change.first);
            if wait < PATIENCE {
                continue;
            }
            count += 1;
            if change.told.is_none_or(|told| now.saturating_duration_since(told) >= PATIENCE) {
                change.told = Some(now);
                new.push((who.clone(), wait));
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

    fn resource(name: &str) -> Subscriber {
        Subscriber::new("web", name)
    }

    #[test]
    fn what_no_reconcile_met_in_time_is_counted_until_one_does_and_told_now_and_then() {
        let (mut unmet, start) = (Unmet::default(), Instant::now());
        for name in ["met", "lost", "late"] {
            unmet.changed(&resource(name), start);
        }
        unmet.reconciled(&resource("met"), start + SECOND);
        assert_eq!(unmet.overdue(start + PATIENCE - SECOND), (0, vec![]));
        let (late, lost) = ((resource("late"), PATIENCE), (resource("lost"), PATIENCE));
        assert_eq!(unmet.overdue(start + PATIENCE), (2, vec![late, lost]));
        unmet.reconciled(&resource("late"), start + PATIENCE);
        assert_eq!(unmet.overdue(start + PATIENCE + SECOND), (1, vec![]));
        assert_eq!(unmet.overdue(start + 2 * PATIENCE), (1, vec![(resource("lost"), 2 * PATIENCE)]));
        unmet.forget(&resource("lost"));
        assert_eq!(unmet.overdue(start + 3 * PATIENCE), (0, vec![]));
    }

    #[test]
    fn a_change_that_came_after_a_reconcile_began_to_read_is_not_met_by_it() {
        let (mut unmet, start) = (Unmet::default(), Instant::now());
        unmet.changed(&resource("a"), start);
        unmet.changed(&resource("a"), start + 3 * SECOND);
        unmet.reconciled(&resource("a"), start + 2 * SECOND);
        assert_eq!(unmet.overdue(start + PATIENCE + SECOND), (0, vec![]), "the first one was met");
        assert_eq!(unmet.overdue(start + PATIENCE + 3 * SECOND).0, 1);
        unmet.reconciled(&resource("a"), start + 3 * SECOND);
        assert_eq!(unmet.overdue(start + 3 * PATIENCE).0, 0);
    }
}
