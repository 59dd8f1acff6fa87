//! What the operator remembers of a resource's names and list, as `explain` tells it. Pure.

use super::verdict::{Judged, Nearest, QueryResult};
use crate::crd::CitrixAllowlistSpec;
use crate::export::{ExportedEndpoint, ExportedTarget};
use crate::operator::debug_state::{DebugState, KnownName, ListState};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// What the operator says, or why it says nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OperatorReport {
    /// What it remembers of the resource.
    Read(Box<OperatorMemory>),
    /// It was not to be read.
    Unread {
        /// Why, in one sentence.
        error: String,
    },
}

impl OperatorReport {
    /// What it remembers, where it was read.
    #[must_use]
    pub fn memory(&self) -> Option<&OperatorMemory> {
        match self {
            Self::Read(memory) => Some(memory),
            Self::Unread { .. } => None,
        }
    }
}

/// What the operator remembers of one resource.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorMemory {
    /// Where it was read: a pod, or an address.
    pub source: String,
    /// The list that the resource follows; absent where the operator has none for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<ListState>,
    /// The names that the resource wants, sorted.
    pub names: Vec<KnownName>,
}

/// When an address was given for a name, and how long it stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenAddress {
    /// The name.
    pub name: String,
    /// The server that gave it last.
    pub server: SocketAddr,
    /// When DNS last gave it.
    pub resolved_at: String,
    /// With which TTL, in seconds.
    pub ttl_seconds: u64,
    /// The earliest that it is removed, would DNS not give it again; later while DNS fails.
    pub valid_until: String,
    /// About when the name is asked again; absent while it is being asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_question: Option<String>,
    /// Whether the newest answer lacks it.
    pub missing: bool,
}

impl OperatorMemory {
    /// What `state` holds of a resource, with the names that its endpoints want.
    #[must_use]
    pub fn of(source: String, state: DebugState, spec: &CitrixAllowlistSpec, endpoints: &[ExportedEndpoint]) -> Self {
        let wanted: BTreeSet<&str> = endpoints
            .iter()
            .filter_map(|endpoint| match &endpoint.target {
                ExportedTarget::Name(name) => Some(name.as_str()),
                ExportedTarget::Network(_) | ExportedTarget::Wildcard(..) => None,
            })
            .collect();
        let list = state.list_of(spec).cloned();
        let mut names = state.names;
        names.retain(|name| wanted.contains(name.name.as_str()));
        names.sort_by(|a, b| a.name.cmp(&b.name));
        Self { source, list, names }
    }

    /// What is known of a name.
    #[must_use]
    pub fn name(&self, name: &str) -> Option<&KnownName> {
        self.names.iter().find(|known| known.name == name)
    }

    /// Says of every connection of an answer when its address was given for the names that ask for it; and of an address
    /// that is not allowed, where DNS gave it and the guard refuses it.
    pub fn attribute(&self, answer: &mut QueryResult, now: Timestamp) {
        let asked = answer.peer.clone();
        for judged in &mut answer.connections {
            let asking = judged.by.iter().flat_map(|by| &by.asked_by).map(|asked| asked.name.as_str());
            let names: BTreeSet<&str> = asking.chain([asked.as_str()]).collect();
            let known = names.into_iter().filter_map(|name| self.name(name));
            judged.seen = known.filter_map(|known| sighting(known, judged.address, now)).collect();
        }
        if answer.reason == Nearest::AddressNotSeen
            && let Some((name, why)) = asked.parse().ok().and_then(|address| self.refusals(address).into_iter().next())
        {
            answer.reason = Nearest::Refused;
            answer.message = format!(
                "DNS gives {asked} for {name}, and the guard refuses it: {why}; to allow it on purpose, pass --allow-private-cidr to the operator"
            );
        }
    }

    /// Whether a connection rests on what policies said before the operator started: a name that is known asks for its
    /// address, and DNS has not given it since.
    #[must_use]
    pub fn is_remembered(&self, judged: &Judged) -> bool {
        let asking = judged.by.iter().filter(|by| by.own).flat_map(|by| &by.asked_by);
        judged.seen.is_empty() && asking.map(|asked| self.name(&asked.name)).any(|known| known.is_some())
    }

    /// The names that DNS has given an address for and the guard refuses, each with the reason.
    #[must_use]
    pub fn refusals(&self, address: IpAddr) -> Vec<(String, String)> {
        let refusal = |known: &KnownName| {
            known.addresses.iter().find(|held| held.address == address).and_then(|held| held.refused.clone())
        };
        self.names.iter().filter_map(|known| Some((known.name.clone(), refusal(known)?))).collect()
    }

    /// Leaves the names that the answers are about.
    pub fn narrow(&mut self, answers: &[QueryResult]) {
        let mut about: BTreeSet<&str> = answers.iter().map(|answer| answer.peer.as_str()).collect();
        let judged = answers.iter().flat_map(|answer| &answer.connections);
        about.extend(judged.flat_map(|judged| judged.seen.iter().map(|seen| seen.name.as_str())));
        self.names.retain(|known| about.contains(known.name.as_str()));
    }
}

fn sighting(known: &KnownName, address: IpAddr, now: Timestamp) -> Option<SeenAddress> {
    let held = known.addresses.iter().find(|held| held.address == address && held.refused.is_none())?;
    // Missing is counted from the first answer that lacks it: what the newest answer has stays a whole retention more.
    let retention_left = known.retention_seconds.saturating_sub(held.missing_seconds.unwrap_or_default());
    let ttl_left = held.ttl_seconds.saturating_sub(held.last_seen_seconds);
    Some(SeenAddress {
        name: known.name.clone(),
        server: held.server,
        resolved_at: ago(now, held.last_seen_seconds).to_string(),
        ttl_seconds: held.ttl_seconds,
        valid_until: ahead(now, retention_left.max(ttl_left)).to_string(),
        next_question: known.next_question_seconds.map(|wait| ahead(now, wait).to_string()),
        missing: held.missing_seconds.is_some(),
    })
}

fn ago(now: Timestamp, seconds: u64) -> Timestamp {
    moved(now, -i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn ahead(now: Timestamp, seconds: u64) -> Timestamp {
    moved(now, i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// To the second: the operator tells no finer.
fn moved(now: Timestamp, seconds: i64) -> Timestamp {
    let moved = now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    Timestamp::from_second(moved.as_second()).unwrap_or(moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::debug_state::KnownAddress;

    fn known(missing: Option<u64>, refused: Option<&str>) -> KnownName {
        KnownName {
            name: "a.example.com".to_owned(),
            state: "answered".to_owned(),
            error: None,
            retention_seconds: 3600,
            next_question_seconds: Some(18),
            evicted: 0,
            addresses: vec![KnownAddress {
                address: IpAddr::from([13, 64, 0, 1]),
                server: SocketAddr::from(([10, 96, 0, 10], 53)),
                first_seen_seconds: 900,
                last_seen_seconds: 12,
                ttl_seconds: 30,
                missing_seconds: missing,
                refused: refused.map(str::to_owned),
            }],
        }
    }

    fn seen(known: &KnownName) -> Option<SeenAddress> {
        sighting(known, IpAddr::from([13, 64, 0, 1]), "2026-06-01T00:00:30.5Z".parse().expect("a time"))
    }

    #[test]
    fn an_address_stays_a_retention_after_an_answer_that_lacks_it() {
        let held = seen(&known(None, None)).expect("seen");
        assert_eq!(
            (held.resolved_at.as_str(), held.valid_until.as_str()),
            ("2026-06-01T00:00:18Z", "2026-06-01T01:00:30Z")
        );
        assert_eq!((held.next_question.as_deref(), held.missing), (Some("2026-06-01T00:00:48Z"), false));
        let missing = seen(&known(Some(3000), None)).expect("seen");
        assert_eq!((missing.valid_until.as_str(), missing.missing), ("2026-06-01T00:10:30Z", true));
        let over = seen(&known(Some(3600), None)).expect("seen");
        assert_eq!(over.valid_until, "2026-06-01T00:00:48Z", "its TTL is left");
    }

    #[test]
    fn what_is_refused_is_no_sighting_and_says_why() {
        let refused = known(None, Some("loopback"));
        assert_eq!(seen(&refused), None);
        let memory = OperatorMemory { source: "here".to_owned(), list: None, names: vec![refused] };
        assert_eq!(
            memory.refusals(IpAddr::from([13, 64, 0, 1])),
            [("a.example.com".to_owned(), "loopback".to_owned())]
        );
        assert!(memory.refusals(IpAddr::from([13, 64, 0, 2])).is_empty());
    }
}
