//! What hostile input is given to, and what has to hold of it: a judge for each reader of what comes from outside.
//!
//! `make fuzz` gives them what libFuzzer makes up, and `tests/corpora.rs`, which has these files too, what it kept of that.

pub mod dns;
pub mod endpoints;
pub mod forward;
pub mod list;
pub mod manifest;
mod sight;

use peak_alloc::PeakAlloc;
use std::time::Duration;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The most that one input may take in memory beyond what was taken before, in bytes. The operator's own limit is 256 MiB by
/// default, of which it uses some 30 at rest.
const MOST_MEMORY: usize = 100 << 20;

/// The longest that one input may keep a processor. A judge reads an input several times, and what libFuzzer counts makes that
/// some five times slower: what takes five seconds here takes the operator less than one. What tests run is not optimised.
const LONGEST: Duration = Duration::from_secs(if cfg!(test) { 15 } else { 5 });

/// Gives an input to a judge, and sees what that takes. One at a time: memory is the whole process's.
///
/// # Panics
/// Where the judge does, or the input takes too much.
pub fn hold(judge: fn(&[u8]), input: &[u8]) {
    let (before, began) = (MEMORY.current_usage(), on_processor());
    MEMORY.reset_peak_usage();
    judge(input);
    let most = MEMORY.peak_usage().saturating_sub(before);
    assert!(most <= MOST_MEMORY, "{} bytes took {} MiB of memory", input.len(), most >> 20);
    let took = on_processor().saturating_sub(began);
    assert!(took <= LONGEST, "{} bytes took {took:?}", input.len());
}

/// How long this thread has had a processor, to some milliseconds: a busy machine makes no input slow. Nothing is measured but
/// on Linux.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|number| number.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}
