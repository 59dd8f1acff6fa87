//! Shrinks a seed that fails: fewer faults, and not further than needed.

use crate::seeded::{PANIC, Run, RunOutcome};
use std::time::{Duration, Instant};

/// How long a failure is shrunk, at least.
const PATIENCE: Duration = Duration::from_secs(120);
/// For how many runs of it, where it takes long.
const RUNS: u32 = 20;

/// The shortest run found that breaks the same law.
pub fn shrink(run: &Run, outcome: &RunOutcome) -> Run {
    if outcome.law.as_deref() == Some(PANIC) {
        return run.clone();
    }
    let fails = |run: &Run| run.quietly(None).0.law == outcome.law;
    let mut best = run.clone();
    let mut steps: Vec<usize> = match &run.only {
        Some(only) => only.clone(),
        None => outcome.begun.clone(),
    };
    let began = Instant::now();
    // A moment later, so that what broke the law is seen.
    let shorter = Run { until: Some(outcome.at + 1), ..best.clone() };
    if outcome.at > 0 && fails(&shorter) {
        best = shorter;
    }
    let end = began + PATIENCE.max(began.elapsed() * RUNS);
    let mut chunk = steps.len().div_ceil(2).max(1);
    while Instant::now() < end {
        let mut at = 0;
        let before = steps.len();
        while at < steps.len() && Instant::now() < end {
            let to = (at + chunk).min(steps.len());
            let fewer: Vec<usize> = steps[..at].iter().chain(&steps[to..]).copied().collect();
            let shorter = Run { only: Some(fewer.clone()), ..best.clone() };
            if fails(&shorter) {
                (best, steps) = (shorter, fewer);
            } else {
                at = to;
            }
        }
        if chunk == 1 && steps.len() == before {
            break;
        }
        chunk = chunk.div_ceil(2);
    }
    println!("seed {}: {} faults in place of {}: {:?}", run.seed, steps.len(), outcome.begun.len(), best.only);
    best
}
