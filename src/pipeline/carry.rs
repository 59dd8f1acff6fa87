//! What one reconcile hands to the next. Pure.

use super::recover::Recovered;
use crate::plan::keep::SelectionDigest;
use connectivity_allowlist::Allowlist;
use connectivity_allowlist::net::{Direction, DomainName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// What one reconcile of a resource hands to the next. Made by [`super::decide`] alone. All of it can be lost: the cluster
/// remembers what matters.
#[derive(Clone, Debug, Default)]
pub struct Carry {
    /// The list that the rules follow, and for which generation of the spec.
    pub accepted: Option<(i64, Arc<Allowlist>)>,
    /// What was recovered from the resource's objects; `None` before they were asked.
    pub recovered: Option<Recovered>,
    /// Since when the first policy has waited for names.
    pub waiting_since: Option<Instant>,
    /// Whether the wait for names is over in this process.
    pub has_passed_wait: bool,
    /// What the spec selected when a direction first had nothing to allow in this process. Stands in for policies that do
    /// not say what was selected when they were written: those of 0.1.0.
    pub first_selected: BTreeMap<Direction, SelectionDigest>,
    /// Set while the last policy of a direction is kept: the names that are asked meanwhile. Whatever else the list names
    /// later, nothing but the objects knows its addresses.
    pub names_while_kept: Option<Arc<BTreeSet<DomainName>>>,
}
