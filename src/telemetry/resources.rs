//! How the resources stand, counted as each one's status changes.

use super::metrics::{Labels, label, lock};
use super::reference;
use crate::crd::{CitrixAllowlistStatus, ProblemKind};
use crate::subscriber::Subscriber;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::HashMap;
use std::sync::Mutex;

/// The statuses that a condition can have.
const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

/// What one resource adds to the counts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Share {
    ready: &'static str,
    problems: Vec<ProblemKind>,
}

#[derive(Debug)]
pub(super) struct Resources {
    ready: Family<Labels<1>, Gauge>,
    problems: Family<Labels<1>, Gauge>,
    shares: Mutex<HashMap<Subscriber, Share>>,
}

impl Resources {
    /// Every count at zero: an alert needs the zero too.
    pub fn new(ready: Family<Labels<1>, Gauge>, problems: Family<Labels<1>, Gauge>) -> Self {
        let resources = Self { ready, problems, shares: Mutex::default() };
        for status in STATUSES {
            resources.add_ready(status, 0);
        }
        for kind in ProblemKind::ALL {
            resources.add_problem(kind, 0);
        }
        resources
    }

    pub fn put(&self, who: &Subscriber, status: &CitrixAllowlistStatus) {
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        let ready = ready.and_then(|ready| STATUSES.into_iter().find(|status| *status == ready.status));
        let problems = status.problems.iter().map(|problem| problem.kind).collect();
        let share = Share { ready: ready.unwrap_or("Unknown"), problems };
        let mut shares = lock(&self.shares);
        self.count(&share, 1);
        if let Some(before) = shares.insert(who.clone(), share) {
            self.count(&before, -1);
        }
    }

    pub fn remove(&self, who: &Subscriber) {
        let mut shares = lock(&self.shares);
        if let Some(before) = shares.remove(who) {
            self.count(&before, -1);
        }
    }

    fn count(&self, share: &Share, by: i64) {
        self.add_ready(share.ready, by);
        for kind in &share.problems {
            self.add_problem(*kind, by);
        }
    }

    fn add_ready(&self, status: &'static str, by: i64) {
        self.ready.get_or_create(&label(&reference::RESOURCES, [status.into()])).inc_by(by);
    }

    fn add_problem(&self, kind: ProblemKind, by: i64) {
        self.problems.get_or_create(&label(&reference::PROBLEMS, [format!("{kind:?}").into()])).inc_by(by);
    }
}
