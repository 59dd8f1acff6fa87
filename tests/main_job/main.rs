//! The main job, end to end on real parts: a resource becomes policies that say what the vendor's list says, and they
//! stay right.

#[path = "../common/mod.rs"]
mod common;

mod exact;
mod failures;
mod first;
mod follow;
mod last_policy;
mod memory;
mod modes;
mod owners;
mod quiet;
mod repair;
mod tenants;
mod trail;
