//! The one place where the words of a resource meet those of the list's library. Pure.

use super::{CitrixAllowlistSpec, CloudChoice, DirectionChoice, GeoChoice, Problem, ProblemKind};
use connectivity_allowlist::{Cloud, Directions, Geo, ListProblem, ListProblemKind};

impl CitrixAllowlistSpec {
    /// The cloud that is asked: for `Auto`, Japan's for geo `jp` and the global one for every other.
    #[must_use]
    pub const fn asked_cloud(&self) -> Cloud {
        match (self.cloud, self.geo) {
            (CloudChoice::Japan, _) | (CloudChoice::Auto, GeoChoice::Jp) => Cloud::Japan,
            (CloudChoice::Global | CloudChoice::Auto, _) => Cloud::Global,
        }
    }
}

impl From<GeoChoice> for Geo {
    fn from(choice: GeoChoice) -> Self {
        match choice {
            GeoChoice::Us => Self::Us,
            GeoChoice::Eu => Self::Eu,
            GeoChoice::ApS => Self::ApS,
            GeoChoice::Jp => Self::Jp,
            GeoChoice::All => Self::All,
        }
    }
}

impl From<DirectionChoice> for Directions {
    fn from(choice: DirectionChoice) -> Self {
        match choice {
            DirectionChoice::Inbound => Self::Inbound,
            DirectionChoice::Outbound => Self::Outbound,
            DirectionChoice::All => Self::All,
        }
    }
}

impl From<&ListProblem> for Problem {
    fn from(listed: &ListProblem) -> Self {
        let kind = match listed.kind {
            ListProblemKind::Malformed => ProblemKind::Malformed,
            ListProblemKind::TooMany => ProblemKind::Limit,
        };
        Self::new(kind, &listed.subject, listed.service.as_deref(), &listed.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use connectivity_allowlist::EntryGeo;
    use serde_json::to_value;

    #[test]
    fn choices_are_written_as_the_api_writes_them() {
        for choice in [GeoChoice::Us, GeoChoice::Eu, GeoChoice::ApS, GeoChoice::Jp, GeoChoice::All] {
            assert_eq!(to_value(choice).expect("JSON"), Geo::from(choice).as_str());
        }
        for choice in [DirectionChoice::Inbound, DirectionChoice::Outbound, DirectionChoice::All] {
            assert_eq!(to_value(choice).expect("JSON"), Directions::from(choice).as_str());
        }
    }

    #[test]
    fn a_problem_of_the_list_is_one_of_status() {
        let listed = |kind| ListProblem {
            kind,
            direction: None,
            geo: EntryGeo::All,
            service: Some("DaaS".to_owned()),
            subject: "443x".to_owned(),
            message: "no port".to_owned(),
        };
        let kinds = [ListProblemKind::Malformed, ListProblemKind::TooMany];
        for (kind, shown) in kinds.into_iter().zip([ProblemKind::Malformed, ProblemKind::Limit]) {
            assert_eq!(Problem::from(&listed(kind)), Problem::new(shown, "443x", Some("DaaS"), "no port"));
        }
    }
}
