//! Which list a resource's rules follow. Pure.

use super::carry::Carry;
use crate::crd::{Problem, ProblemKind};
use crate::feed::FeedView;
use connectivity_allowlist::Allowlist;
use std::sync::Arc;

/// By how much a list would shrink a resource's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// Endpoints by the list that is followed.
    pub before: usize,
    /// Endpoints by the one that is held back.
    pub after: usize,
}

/// The list that is followed.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The list.
    pub list: Arc<Allowlist>,
    /// Set where a newer list is held back until the next fetch confirms it.
    pub held_back: Option<Shrunk>,
}

/// Whether less than half is left: then a change is not believed before it is confirmed.
#[must_use]
pub const fn loses_most(before: usize, after: usize) -> bool {
    after * 2 < before
}

/// Chooses the list for a spec of this generation: `newest`, unless it leaves less than half of what an unchanged spec has
/// by the list before, and no second fetch has confirmed it. `count` counts what a list gives to the spec.
pub fn accept(
    carry: &Carry,
    generation: i64,
    view: &FeedView,
    newest: &Arc<Allowlist>,
    count: impl Fn(&Arc<Allowlist>) -> usize,
) -> Accepted {
    let before = match &carry.accepted {
        Some((of, list)) if *of == generation => Some(list),
        // A spec that changed is the user's word: it is read against the newest list at once.
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
    /// What status says of the list that is held back.
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
