//! Whether the process lives, and whether it is ready.

use crate::clock::Clock;
use crate::lock::lock;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The process's health: set by the process, read by the kubelet. Cheap to clone: clones are the same.
///
/// A standby is ready: its caches are warm, and a rolling update waits for it. Only the main loop's heartbeat decides whether the
/// process is live: a restart does not help against an unreachable API server or vendor.
#[derive(Clone, Debug)]
pub struct Health {
    clock: Clock,
    timeout: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    beat: Instant,
    pending: BTreeSet<&'static str>,
}

impl Health {
    /// A process that is live until [`Self::beat`] is not called for `timeout`, and ready once [`Self::synced`] was called for each
    /// of `pending`.
    #[must_use]
    pub fn new(clock: Clock, timeout: Duration, pending: impl IntoIterator<Item = &'static str>) -> Self {
        let state = State { beat: clock.instant(), pending: pending.into_iter().collect() };
        Self { clock, timeout, state: Arc::new(Mutex::new(state)) }
    }

    /// A turn of the main loop.
    pub fn beat(&self) {
        lock(&self.state).beat = self.clock.instant();
    }

    /// One of the things that readiness waits for is complete.
    pub fn synced(&self, what: &str) {
        lock(&self.state).pending.remove(what);
    }

    /// Whether the process lives.
    ///
    /// # Errors
    /// How long the main loop has been standing still.
    pub fn live(&self) -> Result<(), String> {
        let silent = self.clock.instant().saturating_duration_since(lock(&self.state).beat);
        if silent > self.timeout {
            return Err(format!("the main loop has been standing still for {} s", silent.as_secs()));
        }
        Ok(())
    }

    /// Whether the process is ready.
    ///
    /// # Errors
    /// What it waits for.
    pub fn ready(&self) -> Result<(), String> {
        let state = lock(&self.state);
        if state.pending.is_empty() {
            return Ok(());
        }
        Err(format!("waiting for {}", Vec::from_iter(state.pending.iter().copied()).join(", ")))
    }
}
