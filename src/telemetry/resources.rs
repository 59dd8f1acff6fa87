//! Counts the resources by status, as each one's status changes.

use super::metrics::{Labels, label};
use super::reference;
use crate::crd::{CitrixAllowlistStatus, ProblemKind};
use crate::explain_texts::reason_of;
use crate::lock::lock;
use crate::resource_ref::ResourceRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use std::collections::HashMap;
use std::sync::Mutex;

/// The statuses that a condition can have.
const STATUSES: [&str; 3] = ["True", "False", "Unknown"];

/// The conditions that a resource can have.
const TYPES: [&str; 7] =
    ["Ready", "FeedCurrent", "NamesResolved", "WildcardsCovered", "PoliciesApplied", "Reconciling", "Stalled"];

/// A condition's type, status and reason.
type ConditionLabels = [&'static str; 3];

/// What one resource adds to the counts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Share {
    ready: &'static str,
    conditions: Vec<ConditionLabels>,
    problems: Vec<ProblemKind>,
    wildcards: i64,
}

impl Share {
    fn of(status: &CitrixAllowlistStatus) -> Self {
        let conditions: Vec<ConditionLabels> = status.conditions.iter().filter_map(labels_of).collect();
        let ready = conditions.iter().find(|[type_, ..]| *type_ == "Ready");
        Self {
            ready: ready.map_or("Unknown", |[_, status, _]| status),
            conditions,
            problems: status.problems.iter().map(|problem| problem.kind).collect(),
            wildcards: status.summary.as_ref().map_or(0, |summary| summary.wildcards),
        }
    }
}

/// A condition in words of this program: no others become labels.
fn labels_of(condition: &Condition) -> Option<ConditionLabels> {
    let type_ = TYPES.into_iter().find(|type_| *type_ == condition.type_)?;
    let status = STATUSES.into_iter().find(|status| *status == condition.status)?;
    Some([type_, status, reason_of(&condition.reason)?.as_str()])
}

#[derive(Debug)]
pub(super) struct Resources {
    ready: Family<Labels<1>, Gauge>,
    conditions: Family<Labels<3>, Gauge>,
    problems: Family<Labels<1>, Gauge>,
    wildcards: Gauge,
    shares: Mutex<HashMap<ResourceRef, Share>>,
}

impl Resources {
    /// Every count at zero: an alert needs the zero too. There are too many conditions; one that no resource has is not counted.
    pub fn new(
        ready: Family<Labels<1>, Gauge>,
        conditions: Family<Labels<3>, Gauge>,
        problems: Family<Labels<1>, Gauge>,
        wildcards: Gauge,
    ) -> Self {
        let resources = Self { ready, conditions, problems, wildcards, shares: Mutex::default() };
        for status in STATUSES {
            resources.add_ready(status, 0);
        }
        for kind in ProblemKind::ALL {
            resources.add_problem(kind, 0);
        }
        resources
    }

    pub fn put(&self, resource: &ResourceRef, status: &CitrixAllowlistStatus) {
        let share = Share::of(status);
        let mut shares = lock(&self.shares);
        self.count(&share, 1);
        if let Some(before) = shares.insert(resource.clone(), share) {
            self.count(&before, -1);
        }
    }

    pub fn remove(&self, resource: &ResourceRef) {
        let mut shares = lock(&self.shares);
        if let Some(before) = shares.remove(resource) {
            self.count(&before, -1);
        }
    }

    pub fn clear(&self) {
        for (_, before) in lock(&self.shares).drain() {
            self.count(&before, -1);
        }
    }

    fn count(&self, share: &Share, by: i64) {
        self.add_ready(share.ready, by);
        for kind in &share.problems {
            self.add_problem(*kind, by);
        }
        for labels in &share.conditions {
            self.add_condition(*labels, by);
        }
        self.wildcards.inc_by(share.wildcards.saturating_mul(by));
    }

    fn add_ready(&self, status: &'static str, by: i64) {
        self.ready.get_or_create(&label(&reference::RESOURCES, [status.into()])).inc_by(by);
    }

    fn add_problem(&self, kind: ProblemKind, by: i64) {
        self.problems.get_or_create(&label(&reference::PROBLEMS, [format!("{kind:?}").into()])).inc_by(by);
    }

    fn add_condition(&self, labels: ConditionLabels, by: i64) {
        let labels = label(&reference::CONDITIONS, labels.map(Into::into));
        let before = self.conditions.get_or_create(&labels).inc_by(by);
        if before + by == 0 {
            self.conditions.remove(&labels);
        }
    }
}
