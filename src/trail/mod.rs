//! The trail: every change of what policies allow, with its cause, for the log and for a resource's history. Pure.
//!
//! What is in force is read from the policies in the cluster, not from a plan: so the trail also shows what others changed, what a
//! deletion opened, and that Audit opened pods although the plan stayed the same.

pub mod allows;
pub mod cause;
pub mod difference;
pub mod history;
pub mod record;
pub mod rows;

pub use allows::{AllowedRule, Governed, InForce, IsolatedPods, PolicyAllows};
pub use cause::{Cause, WriteCause};
pub use difference::{Difference, Isolation};
pub use record::TrailRecord;

#[cfg(test)]
mod tests;
