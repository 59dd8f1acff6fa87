//! Tests that a run leaves out, which are told rather than passed in silence.

use std::io::Write;

/// Says that a test is left out of this run, and why. It is written past the harness, which shows nothing of a test that
/// passes; `tests/run-tests.sh` shows the line and counts the test as skipped.
pub fn left_out(test: &str, why: &str) {
    // A line of its own: the harness may stand in the middle of one. Where nobody listens, nobody is told.
    let _ = writeln!(std::io::stderr().lock(), "\nleft out: {test}: {why}");
}
