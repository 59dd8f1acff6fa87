//! The operator's debug state of a resource's names and list, as `explain` prints it. Pure.

use super::verdict::{Judged, Nearest, QueryResult};
use crate::crd::CitrixAllowlistSpec;
use crate::export::{ExportedEndpoint, ExportedTarget};
use crate::operator::debug_state::{DebugState, KnownName, ListState};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// The operator's state of a resource, or why it could not be read.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum OperatorReport {
    /// The state.
    Read(Box<OperatorMemory>),
    /// It could not be read.
    Unread {
        /// Why, in one sentence.
        error: String,
    },
}

impl OperatorReport {
    /// The state, where it was read.
    #[must_use]
    pub fn memory(&self) -> Option<&OperatorMemory> {
        match self {
            Self::Read(memory) => Some(memory),
            Self::Unread { .. } => None,
        }
    }
}

/// The operator's state of one resource.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperatorMemory {
    /// Where it was read: a pod, or an address.
    pub source: String,
    /// The list that the resource follows; absent where the operator has none for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub list: Option<ListState>,
    /// The resource's names, sorted.
    pub names: Vec<KnownName>,
}

/// When DNS returned an address for a name, and how long it stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenAddress {
    /// The name.
    pub name: String,
    /// The server that returned it last.
    pub server: SocketAddr,
    /// When DNS last returned it.
    pub resolved_at: String,
    /// With which TTL, in seconds.
    pub ttl_seconds: u64,
    /// The earliest removal, if DNS stops returning it; later while DNS fails.
    pub valid_until: String,
    /// About when the name is queried again; absent while it is being queried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_question: Option<String>,
    /// Whether the newest answer lacks it.
    pub missing: bool,
    /// Since when it is in force for every resource that wants the name; absent where it is not, or nothing is forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_force_since: Option<String>,
}

impl OperatorMemory {
    /// The part of `state` about a resource, with the names of its endpoints.
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

    /// The state of a name.
    #[must_use]
    pub fn name(&self, name: &str) -> Option<&KnownName> {
        self.names.iter().find(|known| known.name == name)
    }

    /// Adds to every connection of an answer when DNS returned its address. An address that is not allowed gets the reason
    /// `Refused`, if DNS returned it and the guard refuses it.
    pub fn attribute(&self, answer: &mut QueryResult, now: Timestamp) {
        let peer = answer.peer.clone();
        for judged in &mut answer.connections {
            let names = judged.by.iter().flat_map(|by| &by.asked_by).map(|asked| asked.name.as_str());
            let names: BTreeSet<&str> = names.chain([peer.as_str()]).collect();
            let known = names.into_iter().filter_map(|name| self.name(name));
            judged.seen = known.filter_map(|known| seen_address(known, judged.address, now)).collect();
        }
        if answer.reason == Nearest::AddressNotSeen
            && let Some((name, why)) = peer.parse().ok().and_then(|address| self.refusal(address))
        {
            answer.reason = Nearest::Refused;
            answer.message = format!(
                "DNS gives {peer} for {name}, and the guard refuses it: {why}; to allow it on purpose, pass --allow-private-cidr to the operator"
            );
        }
    }

    /// Whether a connection is allowed by state from before the operator's start: a known name needs its address, and DNS has
    /// not returned it since.
    #[must_use]
    pub fn is_recovered(&self, judged: &Judged) -> bool {
        let mut asked_by = judged.by.iter().filter(|by| by.own).flat_map(|by| &by.asked_by);
        judged.seen.is_empty() && asked_by.any(|asked| self.name(&asked.name).is_some())
    }

    /// The first name for which DNS returned an address that the guard refuses, with the reason.
    #[must_use]
    pub fn refusal(&self, address: IpAddr) -> Option<(&str, &str)> {
        let known = self.names.iter().flat_map(|known| known.addresses.iter().map(|cached| (&*known.name, cached)));
        known
            .filter(|(_, cached)| cached.address == address)
            .find_map(|(name, cached)| Some((name, cached.refused.as_deref()?)))
    }

    /// Keeps only the names that the answers are about.
    pub fn narrow(&mut self, answers: &[QueryResult]) {
        let mut about: BTreeSet<&str> = answers.iter().map(|answer| answer.peer.as_str()).collect();
        let judged = answers.iter().flat_map(|answer| &answer.connections);
        about.extend(judged.flat_map(|judged| judged.seen.iter().map(|seen| seen.name.as_str())));
        self.names.retain(|known| about.contains(known.name.as_str()));
    }
}

fn seen_address(known: &KnownName, address: IpAddr, now: Timestamp) -> Option<SeenAddress> {
    let cached = known.addresses.iter().find(|cached| cached.address == address && cached.refused.is_none())?;
    // Missing time counts from the first answer that lacks the address: one in the newest answer stays a whole retention.
    let retention_left = known.retention_seconds.saturating_sub(cached.missing_seconds.unwrap_or_default());
    let ttl_left = cached.ttl_seconds.saturating_sub(cached.last_seen_seconds);
    let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
    Some(SeenAddress {
        name: known.name.clone(),
        server: cached.server,
        resolved_at: after(now, -signed(cached.last_seen_seconds)),
        ttl_seconds: cached.ttl_seconds,
        valid_until: after(now, signed(retention_left.max(ttl_left))),
        next_question: known.next_question_seconds.map(|wait| after(now, signed(wait))),
        missing: cached.missing_seconds.is_some(),
        in_force_since: cached.in_force_seconds.map(|since| after(now, -signed(since))),
    })
}

/// The time `seconds` after `now`, to the second, as the operator reports it.
fn after(now: Timestamp, seconds: i64) -> String {
    let time = now.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
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
                in_force_seconds: None,
            }],
            learned: None,
        }
    }

    fn seen(known: &KnownName) -> Option<SeenAddress> {
        seen_address(known, IpAddr::from([13, 64, 0, 1]), "2026-06-01T00:00:30.5Z".parse().expect("a time"))
    }

    #[test]
    fn an_address_stays_a_retention_after_an_answer_that_lacks_it() {
        let cached = seen(&known(None, None)).expect("seen");
        assert_eq!((&*cached.resolved_at, &*cached.valid_until), ("2026-06-01T00:00:18Z", "2026-06-01T01:00:30Z"));
        assert_eq!((cached.next_question.as_deref(), cached.missing), (Some("2026-06-01T00:00:48Z"), false));
        let missing = seen(&known(Some(3000), None)).expect("seen");
        assert_eq!((missing.valid_until.as_str(), missing.missing), ("2026-06-01T00:10:30Z", true));
        let over = seen(&known(Some(3600), None)).expect("seen");
        assert_eq!(over.valid_until, "2026-06-01T00:00:48Z", "its TTL is left");
    }

    #[test]
    fn a_refused_address_is_not_seen_and_has_its_reason() {
        let refused = known(None, Some("loopback"));
        assert_eq!(seen(&refused), None);
        let memory = OperatorMemory { source: "here".to_owned(), list: None, names: vec![refused] };
        assert_eq!(memory.refusal(IpAddr::from([13, 64, 0, 1])), Some(("a.example.com", "loopback")));
        assert_eq!(memory.refusal(IpAddr::from([13, 64, 0, 2])), None);
    }
}
