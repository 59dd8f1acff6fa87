//! One change of what is in force, as the log and the history write it. Pure.

use super::allows::{InForce, PolicyAllows};
use super::cause::{Cause, WriteCause};
use super::difference::Difference;
use connectivity_allowlist::net::{canonical_set, cidr};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One change of what a resource's policies allow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrailRecord {
    /// When the operator learned of it.
    pub at: Timestamp,
    /// Why; never empty.
    pub causes: Vec<Cause>,
    /// The field manager that caused it, where the cluster shows one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Arc<str>>,
    /// The version of the list in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<Arc<str>>,
    /// The id of the request that brought that list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<Arc<str>>,
    /// The resource's generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<i64>,
    /// The policy that changed; absent for a difference that was found after a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Arc<str>>,
    /// The policy's resourceVersion after the change; absent where it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<Arc<str>>,
    /// Whether the policy stays in the cluster and only no longer belongs to the resource: nothing was opened.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub released: bool,
    /// Whether it is everything in force, and replaces what records before it led to: the first of a process that begins to lead.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub snapshot: bool,
    /// What changed, by the pods that it changed for.
    pub scopes: Difference,
    /// For which host names networks were added. A network without an entry stands in the list or the spec itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<IpNet, Vec<String>>,
}

/// What happened to one policy of a resource, as it was observed.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyStep {
    /// The policy.
    pub policy: Arc<str>,
    /// Its resourceVersion; `None` where it was deleted.
    pub resource_version: Option<Arc<str>>,
    /// What the resource's policies allowed before.
    pub before: Vec<Arc<PolicyAllows>>,
    /// What they allow since.
    pub after: Vec<Arc<PolicyAllows>>,
    /// Who did it.
    pub origin: ChangedBy,
}

/// Who changed a policy.
#[derive(Clone, Debug, PartialEq)]
pub enum ChangedBy {
    /// This process.
    Written(Arc<WriteCause>),
    /// Another client edited or created it; its field manager, where the cluster shows it.
    Edited(Option<Arc<str>>),
    /// Another client deleted it, or the garbage collector did.
    Deleted,
    /// Its owner changed, and it stays.
    Released,
}

impl InForce {
    /// The state after a record.
    pub fn replay(&mut self, record: &TrailRecord) {
        if record.snapshot {
            self.0.clear();
        }
        self.apply(&record.scopes);
    }
}

impl TrailRecord {
    /// The record of a step; `None` where it changed nothing that is in force. `is_gone` says that the resource is deleted or being
    /// deleted.
    #[must_use]
    pub fn of(step: &PolicyStep, is_gone: bool, at: Timestamp) -> Option<Self> {
        let scopes = Difference::of(&step.before, &step.after);
        if scopes.is_empty() {
            return None;
        }
        let unknown = WriteCause::default();
        let (causes, by, cause) = match &step.origin {
            ChangedBy::Written(cause) => (cause.causes.clone(), cause.by.clone(), &**cause),
            _ if is_gone => (vec![Cause::Deletion], None, &unknown),
            ChangedBy::Edited(by) => (vec![Cause::Drift], by.clone(), &unknown),
            ChangedBy::Deleted | ChangedBy::Released => (vec![Cause::Drift], None, &unknown),
        };
        let names = names(&scopes, cause);
        Some(Self {
            at,
            causes,
            by,
            list: cause.list.clone(),
            transaction_id: cause.transaction_id.clone(),
            generation: Some(cause.generation).filter(|generation| *generation > 0),
            policy: Some(Arc::clone(&step.policy)),
            resource_version: step.resource_version.clone(),
            released: step.origin == ChangedBy::Released,
            snapshot: false,
            scopes,
            names,
        })
    }

    /// The record of what changed while no process wrote the history, from what the history knows last; `None` where nothing did.
    #[must_use]
    pub fn found(known: &InForce, now: &[Arc<PolicyAllows>], at: Timestamp) -> Option<Self> {
        let scopes = Difference::between(known, &InForce::of(now));
        (!scopes.is_empty()).then(|| Self::without_cause(Cause::Restart, scopes, at))
    }

    /// Everything that is in force when a process begins to lead.
    #[must_use]
    pub fn snapshot(now: &[Arc<PolicyAllows>], at: Timestamp) -> Self {
        let scopes = Difference::between(&InForce::default(), &InForce::of(now));
        Self { snapshot: true, ..Self::without_cause(Cause::Restart, scopes, at) }
    }

    /// A record that says no more than what changed.
    #[must_use]
    pub fn without_cause(cause: Cause, scopes: Difference, at: Timestamp) -> Self {
        Self {
            at,
            causes: vec![cause],
            by: None,
            list: None,
            transaction_id: None,
            generation: None,
            policy: None,
            resource_version: None,
            released: false,
            snapshot: false,
            scopes,
            names: BTreeMap::new(),
        }
    }
}

/// The names whose addresses lie in the networks that were added.
fn names(scopes: &Difference, cause: &WriteCause) -> BTreeMap<IpNet, Vec<String>> {
    let mut names: BTreeMap<IpNet, Vec<String>> = BTreeMap::new();
    let Some(addresses) = &cause.addresses else { return names };
    let added = canonical_set(scopes.added_networks().copied());
    if added.is_empty() {
        return names;
    }
    for (name, known) in &addresses.by_name {
        for address in &known.addresses {
            let address = IpNet::from(*address);
            if cidr::covers(&added, &address) {
                names.entry(address).or_default().push(name.to_string());
            }
        }
    }
    names
}
