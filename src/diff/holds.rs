//! What keeps a difference from happening at once, or at all: the controller's guards, as far as a cluster shows what
//! they would see. Pure.

use crate::crd::{CitrixAllowlist, Mode, Problem};
use crate::direction::PolicyDirection as _;
use crate::engines::Layout;
use crate::export::{ExportedEndpoint, ExportedTarget};
use crate::pipeline;
use crate::plan::{self, EmptyReason};
use crate::preview::Preview;
use crate::preview::compute::Simulation;
use crate::status::{Kept, plural};
use connectivity_allowlist::growth::{self, MOST_GROWTH};
use connectivity_allowlist::net::{Direction, DomainName};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The most addresses, and the most problems, that notes name.
const MOST_NAMED: usize = 5;

/// What the cluster shows of a resource.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    /// The resource as the cluster has it, where it has one.
    pub resource: Option<&'a CitrixAllowlist>,
    /// The endpoints that its ConfigMap has.
    pub endpoints: &'a [ExportedEndpoint],
    /// Its policies.
    pub applied: Layout,
    /// The directions whose policies stay although nothing is left to allow.
    pub kept: &'a [Kept],
}

impl Standing<'_> {
    /// Whether the spec is the cluster's own. One that changed is the user's word: the newest list is believed at once.
    fn is_unchanged(&self, resource: &CitrixAllowlist) -> bool {
        self.resource.is_some_and(|stands| stands.spec == resource.spec)
    }

    fn has_policies(&self, direction: Direction) -> bool {
        match direction {
            Direction::Outbound => self.applied.outbound > 0,
            Direction::Inbound => self.applied.inbound > 0,
        }
    }
}

/// Whether the list is one that the controller never believes: an empty one, where there was something.
#[must_use]
pub fn is_never_believed(resource: &CitrixAllowlist, standing: &Standing<'_>, simulation: &Simulation) -> bool {
    standing.is_unchanged(resource) && !standing.endpoints.is_empty() && simulation.allowlist.entries.is_empty()
}

/// What there is to know about a difference beside it, each in a sentence.
#[must_use]
pub fn notes(resource: &CitrixAllowlist, standing: &Standing<'_>, simulation: &Simulation) -> Vec<String> {
    let preview = &simulation.preview;
    if is_never_believed(resource, standing, simulation) {
        return vec!["the list is empty; the operator never accepts an empty list, so applied objects stay".to_owned()];
    }
    let mut notes = Vec::new();
    notes.extend(held_back(standing, preview).filter(|_| standing.is_unchanged(resource)));
    notes.extend(grown(resource, standing, simulation));
    if resource.spec.mode == Mode::Enforce {
        notes.extend(Direction::ALL.into_iter().filter_map(|direction| absent(direction, standing, preview)));
        let waiting = preview.plan.waiting.len();
        if waiting > 0 && standing.applied == Layout::default() {
            let names = plural(waiting, "name", "names");
            notes.push(format!(
                "{waiting} {names} had no definitive answer here: where the operator gets none either, the first policy waits for it, --first-policy-wait (5m) at most"
            ));
        }
    }
    notes.extend(missing(resource, &simulation.missing));
    notes.extend(new_problems(standing, preview));
    notes
}

/// Problems that the resource does not have now. That a direction has nothing is told already.
fn new_problems(standing: &Standing<'_>, preview: &Preview) -> Vec<String> {
    let status = standing.resource.and_then(|resource| resource.status.clone()).unwrap_or_default();
    // Of more than status lists, nobody can tell which are new.
    if usize::try_from(status.problems_total).is_ok_and(|total| total > status.problems.len()) {
        return Vec::new();
    }
    let is_new = |problem: &&Problem| {
        let same = |held: &Problem| (held.kind, &held.subject) == (problem.kind, &problem.subject);
        let is_direction = Direction::ALL.iter().any(|direction| direction.as_str() == problem.subject);
        !is_direction && !status.problems.iter().any(same)
    };
    let new: Vec<&Problem> = preview.problems.iter().filter(is_new).collect();
    let told = |problem: &&Problem| {
        let service = problem.service.as_ref().map(|service| format!(" ({service})")).unwrap_or_default();
        format!("new problem: {:?} {}{service}: {}", problem.kind, problem.subject, problem.message)
    };
    let mut notes: Vec<String> = new.iter().take(MOST_NAMED).map(told).collect();
    if new.len() > MOST_NAMED {
        notes.push(format!("and {} more new problems: `render --summary` lists all", new.len() - MOST_NAMED));
    }
    notes
}

/// A list that drops more than half of what the resource has waits until the next fetch returns the same.
fn held_back(standing: &Standing<'_>, preview: &Preview) -> Option<String> {
    let is_opened = |endpoint: &&ExportedEndpoint| !matches!(endpoint.target, ExportedTarget::Wildcard(..));
    let (before, after) = (standing.endpoints.iter().filter(is_opened).count(), preview.plan.records.len());
    if pipeline::loses_most(before, after) {
        return Some(format!(
            "this leaves {after} of {before} endpoints: the operator holds such a list back (FeedShrank) until its next fetch returns the same, and changes nothing before; this is what it does then"
        ));
    }
    let had: BTreeSet<(Direction, String)> =
        standing.endpoints.iter().map(|endpoint| (endpoint.direction, endpoint.target.text())).collect();
    let opened = preview.plan.records.iter().map(|record| {
        let target = match &record.endpoint.target {
            plan::Target::Name(name) => name.to_string(),
            plan::Target::Network(network) => network.to_string(),
        };
        (record.endpoint.direction, target)
    });
    let wildcards = preview.plan.wildcard_uses.iter().map(|used| (used.direction, used.pattern.to_string()));
    let has: BTreeSet<(Direction, String)> = opened.chain(wildcards).collect();
    let lost = had.difference(&has).count();
    (lost * 2 > had.len()).then(|| {
        format!(
            "{lost} of the {} names, wildcards and networks are gone: where as much is missing of the whole list, the operator holds it back (FeedShrank) until its next fetch returns the same; this is what it does then",
            had.len()
        )
    })
}

/// A list that opens far more than the one in use waits until the next fetch returns the same.
fn grown(resource: &CitrixAllowlist, standing: &Standing<'_>, simulation: &Simulation) -> Option<String> {
    const HELD_BACK: &str =
        "the operator holds it back (FeedGrew) until its next fetch returns the same; this is what it does then";
    let (mut names, mut networks) = (BTreeSet::new(), BTreeSet::new());
    for record in &simulation.preview.plan.records {
        match &record.endpoint.target {
            plan::Target::Name(name) => drop(names.insert(name)),
            plan::Target::Network(network) => drop(networks.insert(*network)),
        }
    }
    let (mut held_names, mut known) = (BTreeSet::new(), BTreeSet::new());
    for endpoint in standing.endpoints {
        match &endpoint.target {
            ExportedTarget::Name(name) => drop(held_names.insert(name)),
            ExportedTarget::Network(network) => drop(known.insert(*network)),
            ExportedTarget::Wildcard(..) => {}
        }
    }
    if let Some(growth) = growth::judge(None, None, &simulation.allowlist).filter(|_| !networks.is_subset(&known)) {
        return Some(format!("{growth}: where they are not in use already, {HELD_BACK}"));
    }
    let pairs = [("names", held_names.len(), names.len()), ("networks", known.len(), networks.len())];
    let grown = pairs.into_iter().find(|(_, before, after)| *after > (*before).max(1) * MOST_GROWTH);
    grown.filter(|_| !standing.endpoints.is_empty() && standing.is_unchanged(resource)).map(|(of, before, after)| {
        format!(
            "this opens {after} {of} where {before} are in use: where the whole list grows over {MOST_GROWTH} times as much, {HELD_BACK}"
        )
    })
}

/// A direction that was asked for and has nothing to allow.
fn absent(direction: Direction, standing: &Standing<'_>, preview: &Preview) -> Option<String> {
    if let Some(kept) = standing.kept.iter().find(|kept| kept.direction == direction) {
        return Some(format!("{} (LastPolicyKept)", kept.sentence()));
    }
    let kind = direction.object_suffix();
    let why = match preview.plan.absence(direction)? {
        EmptyReason::NoMatch if standing.has_policies(direction) => {
            return Some(format!(
                "{kind}: the spec was changed and matches nothing of the list (NoMatch): its policies are deleted, and pods are no longer isolated by them"
            ));
        }
        EmptyReason::NoMatch => "the spec matches nothing of the list (NoMatch)",
        EmptyReason::EmptyList => "the list is empty",
        EmptyReason::Unusable => "nothing that the list has for the spec can be opened",
        EmptyReason::Unresolved => "none of its names has an address that may be opened",
    };
    Some(format!("{kind}: {why}: no policy is written, since it would cut everything"))
}

/// Addresses that answers lack, and that stay for a while all the same.
fn missing(resource: &CitrixAllowlist, missing: &[(DomainName, IpAddr)]) -> Option<String> {
    if missing.is_empty() {
        return None;
    }
    let count = missing.len();
    let named: Vec<String> =
        missing.iter().take(MOST_NAMED).map(|(name, address)| format!("{name} {address}")).collect();
    let more = count.saturating_sub(MOST_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Some(format!(
        "the answers lack {count} {} that {} applied: {}{more}; the operator removes them once they have been missing for spec.addressRetention ({})",
        plural(count, "address", "addresses"),
        if count == 1 { "is" } else { "are" },
        named.join(", "),
        resource.spec.address_retention
    ))
}

#[cfg(test)]
mod tests;
