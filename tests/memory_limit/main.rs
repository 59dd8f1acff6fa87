//! The operator in a real memory cgroup, of the chart's size: version 1 or 2, whichever the machine has. Needs root; left out
//! elsewhere.

#[path = "../common/mod.rs"]
mod common;

mod bounds;
mod shed;
