//! What the operator would do for one resource.

use super::carry::Carry;
use super::hold::Wait;
use super::prepared::Prepared;
use super::request::{OWN_POD_RETRY, Refusal};
use crate::crd::{Problem, Summary, WouldApply};
use crate::names::Addresses;
use crate::objects::changes::{self, Changes};
use crate::objects::desired::Desired;
use crate::objects::key::ObjectKey;
use crate::objects::observed::Observed;
use crate::plan::{Coverage, Plan};
use crate::status::{FeedFindings, Kept, NameFindings, Outcome};
use connectivity_allowlist::Allowlist;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the operator would do for one resource, and why.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The outcome once `objects` are applied.
    pub outcome: Outcome,
    /// The objects to apply; `None` where the cluster stays as it is.
    pub objects: Option<DesiredObjects>,
    /// What the objects were made from; `None` without a list.
    pub basis: Option<Basis>,
    /// Directions whose policies stay although nothing remains to allow, and why. The ConfigMaps stay with them.
    pub keep: Vec<Kept>,
    /// Why first policies are left out for now.
    pub wait: Option<Wait>,
    /// Findings about the list; `None` where it was not read.
    pub feed: Option<FeedFindings>,
    /// By what wildcards are covered; `None` without a list.
    pub coverage: Option<Arc<Coverage>>,
    /// Findings about the names; `None` without a list.
    pub names: Option<NameFindings>,
    /// Whether a selected name has neither an answer nor a failure so far.
    pub has_unasked_names: bool,
    /// Counts; `None` without a list.
    pub summary: Option<Summary>,
    /// Everything that could not be honoured, in order.
    pub problems: Vec<Problem>,
    /// The refresh annotation that has been handled.
    pub handled_refresh: Option<String>,
    /// When to decide again although nothing changed.
    pub requeue_after: Option<Duration>,
    /// What the next reconcile has to know.
    pub next: Carry,
}

/// The objects to apply.
#[derive(Clone, Debug)]
pub struct DesiredObjects {
    /// Every object, policies first.
    pub objects: Vec<(ObjectKey, Desired)>,
    /// In Audit mode: the policies that Enforce would add.
    pub audit: Option<WouldApply>,
}

/// What objects were made from.
#[derive(Clone, Debug)]
pub struct Basis {
    /// The list.
    pub list: Arc<Allowlist>,
    /// The addresses of names.
    pub addresses: Arc<Addresses>,
    /// When the answers among them were read.
    pub answers_read: Instant,
    /// What policies should allow.
    pub plan: Arc<Plan>,
    /// The contents of the objects; `None` where they wait.
    pub prepared: Option<Arc<Prepared>>,
}

impl Decision {
    /// Changes nothing, with this outcome.
    #[must_use]
    pub fn leave(outcome: Outcome, next: Carry) -> Self {
        Self {
            outcome,
            objects: None,
            basis: None,
            keep: Vec::new(),
            wait: None,
            feed: None,
            coverage: None,
            names: None,
            has_unasked_names: false,
            summary: None,
            problems: Vec::new(),
            handled_refresh: None,
            requeue_after: None,
            next,
        }
    }

    /// The writes that apply the decision to a cluster with these objects. Kept policies stay as they are, and so do the
    /// ConfigMaps, which describe them.
    #[must_use]
    pub fn changes(&self, existing: &BTreeMap<ObjectKey, Observed>) -> Changes {
        let Some(desired) = &self.objects else { return Changes::default() };
        let mut changes = changes::decide(&desired.objects, existing);
        if !self.keep.is_empty() {
            let stays = |key: &ObjectKey| self.keep.iter().any(|kept| key.direction() == Some(kept.direction));
            changes.writes.retain(|change| !stays(change.key()) && change.key().is_policy());
        }
        changes
    }

    /// Changes nothing, since nothing may be decided.
    #[must_use]
    pub fn refuse(refusal: Refusal, next: Carry) -> Self {
        // Nothing else wakes the resource.
        let requeue_after = (refusal == Refusal::OwnLabelsUnknown).then_some(OWN_POD_RETRY);
        Self { requeue_after, ..Self::leave(refusal.into(), next) }
    }
}
