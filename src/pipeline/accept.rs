//! Which list a resource follows. Pure.

use super::carry::Carry;
use crate::crd::{Problem, ProblemKind};
use crate::feed::FeedView;
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
