//! What a decision could not honour, as status shows it. Pure.

use super::bounds;
use super::decide::{EmptyReason, Plan};
use super::rules::DirectionPlan;
use crate::crd::{Problem, ProblemKind};
use crate::direction::PolicyDirection as _;
use crate::guard::Guard;
use crate::names::{NameAddresses, NameState};
use connectivity_allowlist::net::{Direction, DomainName, PortRange, Protocol};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Reports the problems of one name.
pub(super) fn report(
    plan: &mut Plan,
    name: &DomainName,
    service: &str,
    known: Option<&NameAddresses>,
    has_addresses: bool,
    in_use: bool,
) {
    let mut problem = |kind: ProblemKind, message: &str| {
        plan.problems.push(Problem::new(kind, name.as_str(), Some(service), message));
    };
    let unresolved: Cow<'_, str> = match known.map_or(&NameState::Waiting, |known| &known.state) {
        NameState::Failing { error, stale: true, .. } if in_use => {
            format!("no server has answered for longer than --max-stale; what was known stays allowed: {error}").into()
        }
        _ if in_use => "".into(),
        _ if has_addresses => "has addresses only of an IP family that the policies do not hold (ipFamilies)".into(),
        NameState::Waiting => "not answered yet".into(),
        NameState::Answered => bounds::why_none(known).into(),
        NameState::Absent => "DNS says that the name has no addresses: it is gone, or the list is ahead of it".into(),
        NameState::Failing { error, .. } => format!("no server answers, and nothing is known: {error}").into(),
        NameState::LeftOut(_) => "".into(),
    };
    if !unresolved.is_empty() {
        problem(ProblemKind::Unresolved, &unresolved);
    }
    if let Some(evicted) = known.map(|known| known.evicted).filter(|evicted| *evicted > 0) {
        let message = format!("{evicted} addresses are left out: the name has more than is held of one");
        problem(ProblemKind::Limit, &message);
    }
}

pub(super) fn refused(name: &DomainName, service: &str, address: IpAddr, reason: &str, guard: &Guard) -> Problem {
    // A flag is named only if it helps.
    let advice =
        if guard.could_be_opened(address) { "; to allow it on purpose, pass --allow-private-cidr" } else { "" };
    let message = format!("the answer {address} is not opened: {reason}{advice}");
    Problem::new(ProblemKind::Refused, name.as_str(), Some(service), message)
}

pub(super) fn without_ipv4(direction: Direction, count: usize) -> Problem {
    let advice = match direction {
        Direction::Outbound => "pods have only IPv6 and the cluster shows no NAT64 prefix",
        Direction::Inbound => "pods have only IPv6",
    };
    let message = format!("IPv4 networks are left out ({count}): {advice}; ipFamilies decides");
    Problem::new(ProblemKind::Limit, format!("{direction} IPv4"), None, message)
}

pub(super) fn absent(direction: Direction, absence: EmptyReason) -> Problem {
    let hint = if absence == EmptyReason::Unusable { ", see the other problems" } else { "" };
    let (why, object) = (absence.sentence(), direction.object_suffix());
    let message = format!("{why}{hint}: no {object} policy is written, since it would cut everything");
    Problem::new(absence.kind(), direction.as_str(), None, message)
}

/// Ports of inbound rules that no selected pod declares.
pub(super) fn undeclared(inbound: &DirectionPlan, declared: &BTreeSet<(Protocol, u16)>) -> Vec<Problem> {
    let ranges: BTreeSet<(Protocol, PortRange)> = inbound.rules().iter().flat_map(|rule| rule.ports.iter()).collect();
    let open = |protocol: Protocol, range: PortRange| {
        declared.range((protocol, range.first())..=(protocol, range.last())).next().is_some()
    };
    let undeclared = ranges.into_iter().filter(|(protocol, range)| !open(*protocol, *range));
    let problem = |(protocol, range)| {
        let message = "no selected pod declares this port: a policy sees the pod's port and not the published one, which inboundPorts maps";
        Problem::new(ProblemKind::NoMatch, format!("{protocol} {range}"), None, message)
    };
    undeclared.map(problem).collect()
}
