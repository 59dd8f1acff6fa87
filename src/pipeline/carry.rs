//! What one reconcile hands to the next. Pure.

use super::recover::Recovered;
use crate::plan::keep::SelectionDigest;
use connectivity_allowlist::Allowlist;
use connectivity_allowlist::net::{Direction, DomainName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// What one reconcile of a resource hands to the next. Only [`super::decide`] makes it. All of it can be recovered from the
/// cluster.
#[derive(Clone, Debug, Default)]
pub struct Carry {
    /// The accepted list, and for which generation of the spec.
    pub accepted: Option<(i64, Arc<Allowlist>)>,
    /// The last list that gave the resource something, by direction.
    pub followed: BTreeMap<Direction, Arc<Allowlist>>,
    /// The state recovered from the resource's objects; `None` before they were read.
    pub recovered: Option<Recovered>,
    /// Since when the first policy has waited for names.
    pub waiting_since: Option<Instant>,
    /// Whether the wait for names is over in this process.
    pub has_passed_wait: bool,
    /// What the spec selected when a direction first had nothing to allow in this process. It replaces the selection that
    /// policies of 0.1.0 lack.
    pub first_selected: BTreeMap<Direction, SelectionDigest>,
    /// The names that are queried while the last policy of a direction is kept; `None` while none is. If the list later has
    /// other names, only the objects know their addresses.
    pub names_while_kept: Option<Arc<BTreeSet<DomainName>>>,
}
