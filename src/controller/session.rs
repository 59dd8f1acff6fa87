//! What the controller keeps of a resource between its reconciles. All of it can be recovered from the cluster.

use super::backoff::Backoff;
use super::contention::Conflicts;
use super::report::Reported;
use crate::pipeline::Carry;
use std::sync::Arc;
use std::time::Instant;

/// What is kept of one resource.
#[derive(Debug, Default)]
pub struct Session {
    /// Its uid: a new resource of the same name starts over.
    uid: Arc<str>,
    /// The generation, and when this process first reconciled it.
    pub generation_since: Option<(i64, Instant)>,
    /// Failures in a row.
    pub failures: u32,
    /// When it is tried again after them.
    pub backoff: Backoff,
    /// What the last decision hands to the next.
    pub carry: Carry,
    /// The last write of its objects, and who keeps changing them.
    pub conflicts: Conflicts,
    /// What was last reported of it.
    pub reported: Reported,
}

impl Session {
    /// Begins a reconcile of the resource with this uid and generation.
    pub fn begin(&mut self, uid: &str, generation: i64, now: Instant) {
        if *self.uid != *uid {
            *self = Self { uid: uid.into(), ..Self::default() };
        }
        if self.generation_since.is_none_or(|(of, _)| of != generation) {
            self.generation_since = Some((generation, now));
        }
    }

    /// The generation that is reconciled.
    pub fn generation(&self) -> i64 {
        self.generation_since.map(|(generation, _)| generation).unwrap_or_default()
    }
}
