//! Notes on what delays or prevents a difference: the controller's guards, as far as the cluster shows their inputs. Pure.

use crate::crd::{CitrixAllowlist, Mode, Problem};
use crate::direction::PolicyDirection as _;
use crate::engines::Layout;
use crate::export::{ExportedEndpoint, ExportedTarget};
use crate::pipeline;
use crate::plan::{self, EmptyReason};
use crate::preview::Preview;
use crate::preview::compute::Simulation;
use crate::status::{Kept, plural};
use crate::text::first_of;
use connectivity_allowlist::growth::{self, MOST_GROWTH};
use connectivity_allowlist::net::{Direction, DomainName};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The most addresses, and the most problems, that notes name.
const MOST_NAMED: usize = 5;

/// The cluster's state of a resource.
#[derive(Clone, Copy, Debug)]
pub struct LiveState<'a> {
    /// The resource in the cluster, where there is one.
    pub resource: Option<&'a CitrixAllowlist>,
    /// The endpoints in its ConfigMap.
    pub endpoints: &'a [ExportedEndpoint],
    /// Its policies.
    pub applied: Layout,
    /// The directions whose policies stay although nothing remains to allow.
    pub kept: &'a [Kept],
}

impl LiveState<'_> {
    /// Whether the spec equals the cluster's. For a changed spec the newest list is accepted at once: the user wants it.
    fn is_unchanged(&self, resource: &CitrixAllowlist) -> bool {
        self.resource.is_some_and(|live| live.spec == resource.spec)
    }
}

/// Whether the controller never accepts the list: an empty one after one with entries.
#[must_use]
pub fn is_never_accepted(resource: &CitrixAllowlist, live: &LiveState<'_>, simulation: &Simulation) -> bool {
    live.is_unchanged(resource) && !live.endpoints.is_empty() && simulation.allowlist.entries.is_empty()
}

/// Notes on a difference, each a sentence.
#[must_use]
pub fn notes(resource: &CitrixAllowlist, live: &LiveState<'_>, simulation: &Simulation) -> Vec<String> {
    let preview = &simulation.preview;
    if is_never_accepted(resource, live, simulation) {
        return vec!["the list is empty; the operator never accepts an empty list, so applied objects stay".to_owned()];
    }
    let mut notes = Vec::new();
    notes.extend(held_back(live, preview).filter(|_| live.is_unchanged(resource)));
    notes.extend(grown(resource, live, simulation));
    if resource.spec.mode == Mode::Enforce {
        notes.extend(Direction::ALL.into_iter().filter_map(|direction| absent(direction, live, preview)));
        let waiting = preview.plan.waiting.len();
        if waiting > 0 && live.applied == Layout::default() {
            let names = plural(waiting, "name", "names");
            notes.push(format!(
                "{waiting} {names} had no definitive answer here: where the operator gets none either, the first policy waits for it, --first-policy-wait (5m) at most"
            ));
        }
    }
    notes.extend(missing(resource, &simulation.missing));
    notes.extend(new_problems(live, preview));
    notes
}

/// Problems that the resource does not have now. An empty direction has a note of its own.
fn new_problems(live: &LiveState<'_>, preview: &Preview) -> Vec<String> {
    let status = live.resource.and_then(|resource| resource.status.clone()).unwrap_or_default();
    // If status does not list all problems, the new ones are not known.
    if usize::try_from(status.problems_total).is_ok_and(|total| total > status.problems.len()) {
        return Vec::new();
    }
    let is_new = |problem: &&Problem| {
        let same = |known: &Problem| (known.kind, &known.subject) == (problem.kind, &problem.subject);
        let is_direction = Direction::ALL.iter().any(|direction| direction.as_str() == problem.subject);
        !is_direction && !status.problems.iter().any(same)
    };
    let new: Vec<&Problem> = preview.problems.iter().filter(is_new).collect();
    let note = |problem: &&Problem| format!("new problem: {}", problem.sentence());
    let mut notes: Vec<String> = new.iter().take(MOST_NAMED).map(note).collect();
    if new.len() > MOST_NAMED {
        notes.push(format!("and {} more new problems: `render --summary` lists all", new.len() - MOST_NAMED));
    }
    notes
}

/// A list that drops more than half of the resource's endpoints waits until the next fetch returns the same.
fn held_back(live: &LiveState<'_>, preview: &Preview) -> Option<String> {
    let is_opened = |endpoint: &&ExportedEndpoint| !matches!(endpoint.target, ExportedTarget::Wildcard(..));
    let (before, after) = (live.endpoints.iter().filter(is_opened).count(), preview.plan.records.len());
    if pipeline::loses_most(before, after) {
        return Some(format!(
            "this leaves {after} of {before} endpoints: the operator holds such a list back (FeedShrank) until its next fetch returns the same, and changes nothing before; this is what it does then"
        ));
    }
    let had: BTreeSet<(Direction, String)> =
        live.endpoints.iter().map(|endpoint| (endpoint.direction, endpoint.target.text())).collect();
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
fn grown(resource: &CitrixAllowlist, live: &LiveState<'_>, simulation: &Simulation) -> Option<String> {
    const HELD_BACK: &str =
        "the operator holds it back (FeedGrew) until its next fetch returns the same; this is what it does then";
    let (mut names, mut networks) = (BTreeSet::new(), BTreeSet::new());
    for record in &simulation.preview.plan.records {
        match &record.endpoint.target {
            plan::Target::Name(name) => drop(names.insert(name)),
            plan::Target::Network(network) => drop(networks.insert(*network)),
        }
    }
    let (mut live_names, mut live_networks) = (BTreeSet::new(), BTreeSet::new());
    for endpoint in live.endpoints {
        match &endpoint.target {
            ExportedTarget::Name(name) => drop(live_names.insert(name)),
            ExportedTarget::Network(network) => drop(live_networks.insert(*network)),
            ExportedTarget::Wildcard(..) => {}
        }
    }
    let growth = growth::judge(None, None, &simulation.allowlist);
    if let Some(growth) = growth.filter(|_| !networks.is_subset(&live_networks)) {
        return Some(format!("{growth}: where they are not in use already, {HELD_BACK}"));
    }
    let pairs = [("names", live_names.len(), names.len()), ("networks", live_networks.len(), networks.len())];
    let grown = pairs.into_iter().find(|(_, before, after)| *after > (*before).max(1) * MOST_GROWTH);
    grown.filter(|_| !live.endpoints.is_empty() && live.is_unchanged(resource)).map(|(of, before, after)| {
        format!(
            "this opens {after} {of} where {before} are in use: where the whole list grows over {MOST_GROWTH} times as much, {HELD_BACK}"
        )
    })
}

/// A wanted direction that has nothing to allow.
fn absent(direction: Direction, live: &LiveState<'_>, preview: &Preview) -> Option<String> {
    if let Some(kept) = live.kept.iter().find(|kept| kept.direction == direction) {
        return Some(format!("{} (LastPolicyKept)", kept.sentence()));
    }
    let kind = direction.object_suffix();
    let why = match preview.plan.absence(direction)? {
        EmptyReason::NoMatch if live.applied.direction(direction) > 0 => {
            return Some(format!(
                "{kind}: the spec was changed and matches nothing of the list (NoMatch): its policies are deleted, and pods are no longer isolated by them"
            ));
        }
        why => why.sentence(),
    };
    Some(format!("{kind}: {why}: no policy is written, since it would cut everything"))
}

/// Addresses that answers lack, and that stay for the retention period.
fn missing(resource: &CitrixAllowlist, missing: &[(DomainName, IpAddr)]) -> Option<String> {
    let count = missing.len();
    let named = missing.iter().map(|(name, address)| format!("{name} {address}"));
    (count > 0).then(|| {
        format!(
            "the answers lack {count} {} that {} applied: {}; the operator removes them once they have been missing for spec.addressRetention ({})",
            plural(count, "address", "addresses"),
            plural(count, "is", "are"),
            first_of(named, MOST_NAMED),
            resource.spec.address_retention
        )
    })
}

#[cfg(test)]
mod tests;
