//! What is said of policies that stay although nothing is left to allow. Pure.

use crate::crd::{Problem, ProblemKind};
use crate::direction::PolicyDirection as _;
use crate::plan::EmptyReason;
use connectivity_allowlist::net::Direction;

/// A direction whose policies stay although nothing is left to allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub direction: Direction,
    /// Why there is nothing.
    pub absence: EmptyReason,
    /// The names of the policies, sorted; at least one.
    pub policies: Vec<String>,
}

impl Kept {
    /// What stays, and why, for a condition and for `diff`.
    #[must_use]
    pub fn sentence(&self) -> String {
        let why = match self.absence {
            EmptyReason::NoMatch => "the list no longer has anything that the unchanged spec selects",
            EmptyReason::EmptyList => "the list is empty",
            EmptyReason::Unusable => "nothing that the list has for the spec can be opened",
            EmptyReason::Unresolved => "none of its names has an address that may be opened",
        };
        format!(
            "{}: {why}; {} stays as it was applied, since without it the selected pods would be open",
            self.direction.object_suffix(),
            self.policies.join(", ")
        )
    }

    /// What would go, and what lets it go.
    #[must_use]
    pub fn problem(&self) -> Problem {
        let (kind, edits) = match (self.absence, self.direction) {
            (EmptyReason::NoMatch, Direction::Outbound) => (
                ProblemKind::NoMatch,
                ", or edit customerId, cloud, geo, services, wildcards, additional or podSelector",
            ),
            (EmptyReason::NoMatch, Direction::Inbound) => (
                ProblemKind::NoMatch,
                ", or edit customerId, cloud, geo, services, wildcards, additional, inboundPorts or podSelector",
            ),
            (EmptyReason::Unresolved, _) => (ProblemKind::Unresolved, ""),
            (EmptyReason::EmptyList | EmptyReason::Unusable, _) => (ProblemKind::NoMatch, ""),
        };
        let message = format!(
            "kept: without it the selected pods are open; to let it go, delete the resource, set mode: Audit, take {} out of direction{edits}",
            self.direction
        );
        // Many policies have one subject: the message speaks of all.
        Problem::new(kind, self.policies.first().map(String::as_str).unwrap_or_default(), None, message)
    }
}
