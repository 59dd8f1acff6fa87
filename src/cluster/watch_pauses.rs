//! How long a watch that failed waits before it is started again.

use kube::runtime::utils::Backoff;
use std::time::Duration;
use tokio::time::Instant;

/// The first pause (client-go's reflector).
const FIRST: Duration = Duration::from_millis(800);
/// The longest pause. kube's own grows to 30 s, and up to a minute with its jitter: for so long a spec that was edited after an outage of
/// the API server was not seen. A dozen watches of each replica are a few requests a second meanwhile.
const LONGEST: Duration = Duration::from_secs(8);
/// After so long without a failure the pauses are short again. Not with the first event: a watch may fail as soon as its list is read.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// A random part of a pause, between its half and its whole: so not all come back together.
pub(super) fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// The pauses of one watch, each [`jittered`].
#[derive(Debug)]
pub(super) struct WatchPauses {
    next: Duration,
    failed_at: Option<Instant>,
}

impl WatchPauses {
    pub const fn new() -> Self {
        Self { next: FIRST, failed_at: None }
    }
}

impl Iterator for WatchPauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let before = self.failed_at.replace(now);
        if before.is_some_and(|before| now.duration_since(before) >= FORGOTTEN) {
            self.next = FIRST;
        }
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        Some(jittered(pause))
    }
}

impl Backoff for WatchPauses {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_seconds_and_are_short_again_after_a_while() {
        let mut pauses = WatchPauses::new();
        for whole in [0.8, 1.6, 3.2, 6.4, 8.0, 8.0] {
            let pause = pauses.next().expect("it never gives up").as_secs_f64();
            assert!(pause >= whole / 2.0 && pause <= whole, "{pause} of {whole}");
            pauses.reset();
        }
        tokio::time::advance(FORGOTTEN).await;
        assert!(pauses.next().expect("it never gives up") <= FIRST);
    }
}
