//! What watches the operator holds: alert rules and dashboard ask for what a running operator says, by the judgement of
//! promtool and of a real Prometheus.

#[path = "../common/mod.rs"]
mod common;

mod files;
mod pictures;
mod prometheus;
mod queries;
mod rules;
mod traces;
