//! What the operator would do, as a value. One chain of pure functions turns everything that may influence a decision into
//! a [`Decision`]; the controller executes it, and `render`, `diff` and `explain` print it.
//!
//! ```text
//! CitrixAllowlist ─▶ validate ─▶ Request ─▶ accept ─▶ select ─▶ (DNS is queried) ─▶ decide ─▶ Decision
//! ```
//!
//! Names are known only after `select`, so the chain has a gap: there the caller queries DNS for them.

mod accept;
mod carry;
mod decide;
mod decision;
mod hold;
mod memo;
mod pods;
mod prepared;
mod recover;
mod request;

pub use accept::{Accepted, NotYet, Shrunk, accept, is_unconfirmed, loses_most};
pub use carry::Carry;
pub use decide::{Gathered, Inputs, World, decide};
pub use decision::{Basis, Decision, DesiredObjects};
pub use hold::{Wait, waits_for_memory};
pub use memo::Memo;
pub use pods::{AffectedPods, MOST_PODS};
pub use prepared::Prepared;
pub use recover::{Recovered, learned, must_recover_again, recover};
pub use request::{Choices, OWN_POD_RETRY, OwnPod, Refusal, Request, validate};
