//! Faults between the operator and its cluster: for each, what is kept, what is said, and how it recovers.

mod answers;
#[path = "../common/mod.rs"]
mod common;
mod leaders;
mod matrix;
mod objects;
mod outages;
mod rights;
mod soak;
mod trial;
