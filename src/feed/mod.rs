//! The vendor's list.

mod allowlist;

pub use allowlist::{Allowlist, Entry, EntryGeo, ListProblem};
