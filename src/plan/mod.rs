//! Allowlist, addresses and spec become a plan: rules, and what could not be honoured. Pure.
//!
//! Names are resolved between two steps: [`select`] chooses from a list what a spec wants, [`decide`] what that allows once DNS
//! has answered.

mod bounds;
mod coverage;
mod decide;
mod dns;
mod families;
mod inherited;
pub mod keep;
mod problems;
mod rules;
mod select;

pub use coverage::{Coverage, CoveredWildcard, KnownZones};
pub use decide::{EmptyReason, EndpointRecord, Plan, PlanInputs, decide};
pub use dns::{DnsPeer, DnsRule};
pub use families::{Families, Nat64};
pub use inherited::{Inherited, RememberedRule};
pub use rules::{DirectionPlan, Peers, Rule};
pub use select::{SelectedEndpoint, Selection, Target, WildcardUse, profile_ports, select};

use connectivity_allowlist::net::DomainName;

/// `a, b, c and 4 more`: names for a message, which holds few.
fn few<'a>(names: impl ExactSizeIterator<Item = &'a DomainName>) -> String {
    const MOST: usize = 3;
    let total = names.len();
    let shown: Vec<&str> = names.take(MOST).map(DomainName::as_str).collect();
    if total > MOST { format!("{} and {} more", shown.join(", "), total - MOST) } else { shown.join(", ") }
}
