//! Policies that stay although nothing remains to allow, and their sentences. Pure.

use crate::crd::Problem;
use crate::direction::PolicyDirection as _;
use crate::plan::EmptyReason;
use connectivity_allowlist::net::Direction;

/// A direction whose policies stay although nothing remains to allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The direction.
    pub direction: Direction,
    /// Why nothing remains.
    pub absence: EmptyReason,
    /// The names of the policies, sorted; at least one.
    pub policies: Vec<String>,
}

impl Kept {
    /// Which policies stay, and why, for a condition and for `diff`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let why = match self.absence {
            EmptyReason::NoMatch => "the list no longer has anything that the unchanged spec selects",
            failure => failure.sentence(),
        };
        format!(
            "{}: {why}; {} stays as it was applied, since without it the selected pods would be open",
            self.direction.object_suffix(),
            self.policies.join(", ")
        )
    }

    /// The problem that names the policies, and how the user has them deleted.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let edits = match (self.absence, self.direction) {
            (EmptyReason::NoMatch, Direction::Outbound) => {
                ", or edit customerId, cloud, geo, services, wildcards, additional or podSelector"
            }
            (EmptyReason::NoMatch, Direction::Inbound) => {
                ", or edit customerId, cloud, geo, services, wildcards, additional, inboundPorts or podSelector"
            }
            _ => "",
        };
        let message = format!(
            "kept: without it the selected pods are open; to let it go, delete the resource, set mode: Audit, take {} out of direction{edits}",
            self.direction
        );
        // The first of several policies is the subject; the message applies to all.
        Problem::new(self.absence.kind(), self.policies.first().map(String::as_str).unwrap_or_default(), None, message)
    }
}
