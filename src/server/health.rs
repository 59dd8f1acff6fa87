//! Whether the process lives, and whether it is ready.

use crate::clock::Clock;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Told by the process, asked by the kubelet. Cheap to clone: clones are the same.
///
/// A standby is ready: its caches are warm, and a rolling update waits for it. Live is judged by the main loop's
/// heartbeat alone: an API server or a vendor that is away is not mended by a restart.
#[derive(Clone, Debug)]
pub struct Health {
    clock: Clock,
    patience: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    beat: Instant,
    pending: BTreeSet<&'static str>,
}

impl Health {
    /// A process that is alive now and dead when [`Self::beat`] is not called for `patience`; and ready when
    /// [`Self::synced`] was called for each of `pending`.
    #[must_use]
    pub fn new(clock: Clock, patience: Duration, pending: impl IntoIterator<Item = &'static str>) -> Self {
        let state = State { beat: clock.instant(), pending: pending.into_iter().collect() };
        Self { clock, patience, state: Arc::new(Mutex::new(state)) }
    }

    /// The main loop goes round.
    pub fn beat(&self) {
        self.lock().beat = self.clock.instant();
    }

    /// One of the things that readiness waits for is there.
    pub fn synced(&self, what: &str) {
        self.lock().pending.remove(what);
    }

    /// Whether the process lives.
    ///
    /// # Errors
    /// How long the main loop has been standing still.
    pub fn live(&self) -> Result<(), String> {
        let silent = self.clock.instant().saturating_duration_since(self.lock().beat);
        if silent > self.patience {
            return Err(format!("the main loop has been standing still for {} s", silent.as_secs()));
        }
        Ok(())
    }

    /// Whether the process is ready.
    ///
    /// # Errors
    /// What it waits for.
    pub fn ready(&self) -> Result<(), String> {
        let state = self.lock();
        if state.pending.is_empty() {
            return Ok(());
        }
        Err(format!("waiting for {}", Vec::from_iter(state.pending.iter().copied()).join(", ")))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
