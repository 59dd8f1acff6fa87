//! Which list a resource follows. Pure.

use super::carry::Carry;
use super::request::Request;
use crate::crd::{Problem, ProblemKind};
use crate::feed::FeedView;
use crate::objects::key::ObjectKey;
use crate::objects::observed::{Observed, RecoveredObject, RecoveredState};
use crate::plan::Selection;
use crate::reason::Reason;
use connectivity_allowlist::net::Direction;
use connectivity_allowlist::{Allowlist, older};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// By how much a list would shrink a resource's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// Endpoints of the accepted list, or the names and networks that the resource's ConfigMap shows.
    pub before: usize,
    /// Endpoints of the newer list that is held back.
    pub after: usize,
}

/// The accepted list.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The list.
    pub list: Arc<Allowlist>,
    /// Set where a newer list is held back until the next fetch confirms it.
    pub held_back: Option<Shrunk>,
}

/// Whether less than half remains: then the list is accepted only once a second fetch confirms it.
#[must_use]
pub const fn loses_most(before: usize, after: usize) -> bool {
    after * 2 < before
}

/// Chooses the list for a spec of this generation: `newest`, unless it has less than half of the endpoints that the list
/// before gives to the unchanged spec, and no second fetch has confirmed it. `count` counts the endpoints.
pub fn accept(
    carry: &Carry,
    generation: i64,
    view: &FeedView,
    newest: &Arc<Allowlist>,
    count: impl Fn(&Arc<Allowlist>) -> usize,
) -> Accepted {
    let before = match &carry.accepted {
        Some((of, list)) if *of == generation => Some(list),
        // For a changed spec the newest list is accepted at once: the user wants the change.
        Some(_) => None,
        None => view.previous.as_ref(),
    };
    if let Some(list) = before.filter(|list| !Arc::ptr_eq(list, newest) && view.confirmations < 2) {
        let (before, after) = (count(list), count(newest));
        if loses_most(before, after) {
            return Accepted { list: Arc::clone(list), held_back: Some(Shrunk { before, after }) };
        }
    }
    Accepted { list: Arc::clone(newest), held_back: None }
}

/// Why the first list that this process knows of a resource is not followed yet. What is applied stays as it is meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotYet {
    /// A newer list was followed, which was published then, and is not known any more: it could not be saved.
    Behind(Timestamp),
    /// It has less than half of what the resource's ConfigMap shows, since saved lists are lost, and no second fetch has confirmed
    /// it.
    Shrunk(Shrunk),
}

impl NotYet {
    /// Whether the accepted list has to wait, by the resource's objects. An edited spec follows it at once.
    #[must_use]
    pub fn judge(
        (carry, request, view): (&Carry, &Request, &FeedView),
        (list, selection): (&Allowlist, &Selection),
        existing: &BTreeMap<ObjectKey, Observed>,
        objects: &[RecoveredObject],
        now: Timestamp,
    ) -> Option<Self> {
        if carry.accepted.is_some() || !request.is_applied(existing) {
            return None;
        }
        if let Some(newer) = request.reported_list.filter(|it| older::is_behind(list, *it, view.fetched_at, now)) {
            return Some(Self::Behind(newer));
        }
        let attributed = objects.iter().map(|object| match &*object.memory {
            RecoveredState::Attribution { names, networks, learned } => {
                names.keys().filter(|name| !learned.contains(*name)).count() + networks.len()
            }
            RecoveredState::Rules { .. } => 0,
        });
        let (before, after) = (attributed.sum(), selection.targets());
        let is_suspicious = view.confirmations < 2 && loses_most(before, after);
        is_suspicious.then_some(Self::Shrunk(Shrunk { before, after }))
    }

    /// The state of the list meanwhile.
    #[must_use]
    pub fn view(self, view: FeedView) -> FeedView {
        let (reason, message) = match self {
            Self::Behind(newer) => (
                Reason::FeedUnavailable,
                format!(
                    "the list {newer} was in use before and could not be saved: what is applied stays until it comes again"
                ),
            ),
            Self::Shrunk(Shrunk { before, after }) => (
                Reason::FeedShrank,
                format!(
                    "the newest list would leave {after} of {before} names and networks: what is applied stays until the next fetch confirms it"
                ),
            ),
        };
        FeedView { allowlist: None, current: false, reason, message, ..view }
    }
}

/// Whether a list that has nothing for a direction shows nothing yet: the resource has never followed it there, and no second
/// fetch has confirmed it.
#[must_use]
pub fn is_unconfirmed(carry: &Carry, view: &FeedView, list: &Arc<Allowlist>, direction: Direction) -> bool {
    view.confirmations < 2 && !carry.followed.get(&direction).is_some_and(|followed| Arc::ptr_eq(followed, list))
}

impl Shrunk {
    /// The problem in status while the list is held back.
    #[must_use]
    pub fn problem(self, newest: &Allowlist) -> Problem {
        let version = newest.version.as_deref().unwrap_or("without a version");
        let Self { before, after } = self;
        let message = format!(
            "the newest list would leave {after} of {before} endpoints to this spec: it is held back until the next fetch confirms it"
        );
        Problem::new(ProblemKind::FeedShrank, format!("list {version}"), None, message)
    }
}
