//! Keeps Kubernetes NetworkPolicies equal to what Citrix's Connectivity AllowList API says.
//!
//! Data goes one way, and each station hands the next a type of its own:
//!
//! ```text
//! CitrixAllowlist ─▶ feed ─▶ Allowlist ─▶ plan::select ─▶ Selection ─▶ names ─▶ Addresses
//!                                                                               │
//!       status ◀─ cluster ◀─ objects ◀─ engines ◀─ Plan ◀─ plan::decide ◀───────┘
//! ```

pub mod bound;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod controller;
mod counts;
pub mod crd;
mod diff;
pub mod direction;
pub mod engines;
mod explain;
pub mod explain_texts;
pub mod export;
pub mod facts;
pub mod feed;
mod fnv;
pub mod forward;
pub mod guard;
mod interner;
pub mod lock;
pub mod manifests;
pub mod memory;
pub mod names;
pub mod objects;
pub mod operator;
pub mod pipeline;
pub mod plan;
pub mod platforms;
mod preview;
pub mod reason;
pub mod resource_ref;
pub mod server;
pub mod status;
pub mod telemetry;
pub mod text;
pub mod trail;
