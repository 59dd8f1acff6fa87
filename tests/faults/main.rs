//! Faults between the operator, its cluster and the vendor: for each, what is kept, what is said, and how it recovers.

mod answers;
#[path = "../common/mod.rs"]
mod common;
mod forwarder;
mod leaders;
mod matrix;
mod objects;
mod outages;
mod pods;
mod relay;
mod rights;
mod soak;
mod trial;
mod vendor;
