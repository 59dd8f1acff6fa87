//! The process's memory, which a fault makes short.

use citrix_allowlist::memory::MemoryUsage;
use std::sync::atomic::{AtomicBool, Ordering};

static SHORT: AtomicBool = AtomicBool::new(false);

/// Makes memory short, or not.
pub fn short(is: bool) {
    SHORT.store(is, Ordering::Relaxed);
}

/// What the process uses of its 256 MiB.
#[expect(clippy::unnecessary_wraps, reason = "a machine may have no limit")]
pub fn read() -> Option<MemoryUsage> {
    let percent = if SHORT.load(Ordering::Relaxed) { 90 } else { 30 };
    Some(MemoryUsage { used: (256 << 20) * percent / 100, limit: 256 << 20 })
}
