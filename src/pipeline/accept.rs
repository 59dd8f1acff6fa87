//! Which list a resource follows. Pure.

use super::carry::Carry;
use super::request::Request;
use crate::crd::{Problem, ProblemKind};
use crate::feed::FeedView;
use crate::objects::observed::{RecoveredObject, RecoveredState};
use crate::plan::Selection;
use crate::reason::Reason;
use connectivity_allowlist::Allowlist;
use std::sync::Arc;

/// By how much a list would shrink a resource's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// Endpoints of the accepted list.
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

/// By how much the first list that this process knows would shrink what the resource's objects show, if it is suspicious: less
/// than half would remain, the spec is unchanged, and no second fetch has confirmed the list. This happens where saved lists are
/// lost.
#[must_use]
pub fn shrinks_applied(
    carry: &Carry,
    request: &Request,
    view: &FeedView,
    objects: &[RecoveredObject],
    selection: &Selection,
) -> Option<Shrunk> {
    let is_first = carry.accepted.is_none() && view.previous.is_none() && view.confirmations < 2;
    if !is_first || !request.is_reported {
        return None;
    }
    let attributed = objects.iter().map(|object| match &*object.memory {
        RecoveredState::Attribution { names, networks } => names.len() + networks.len(),
        RecoveredState::Rules { .. } => 0,
    });
    let (before, after) = (attributed.sum(), selection.targets());
    loses_most(before, after).then_some(Shrunk { before, after })
}

/// Whether a list that has nothing for a spec shows nothing yet: the resource has never followed it, and no second fetch has
/// confirmed it.
#[must_use]
pub fn is_unconfirmed(carry: &Carry, view: Option<&FeedView>, list: &Arc<Allowlist>) -> bool {
    let has_followed = carry.followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, list));
    view.is_some_and(|view| view.confirmations < 2) && !has_followed
}

impl Shrunk {
    /// The state of a first list that is held back: none is in use.
    #[must_use]
    pub fn held_back(self, view: FeedView) -> FeedView {
        let problem = view.allowlist.as_deref().map(|newest| self.problem(newest));
        let problems = view.problems.iter().cloned().chain(problem).collect();
        let message =
            "the newest list would take most of what is applied away: it is held back until the next fetch confirms it";
        FeedView {
            allowlist: None,
            problems,
            current: false,
            reason: Reason::FeedShrank,
            message: message.to_owned(),
            ..view
        }
    }

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
