//! The state of a resource, and answers, as trees for people. Pure.

use super::durations::when;
use super::format::{ANSWERED, of_address, of_learned, of_name, of_operator, queue, together};
use super::memory::{OperatorMemory, OperatorReport};
use super::verdict::{Judged, Nearest, QueryResult};
use super::wildcards;
use crate::crd::{CitrixAllowlist, CitrixAllowlistStatus, Mode, Problem, ProblemKind};
use crate::explain_texts;
use crate::manifests::items::full_name;
use crate::operator::debug_state::{KnownName, ListState};
use crate::preview::summary::{self, PolicyLine};
use crate::text::{Style, Tone, Tree, table};
use jiff::Timestamp;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

/// The most subjects listed under one kind of problem; the rest are counted.
const MOST_SUBJECTS: usize = 10;
/// The most connections listed under one answer; the rest are counted.
const MOST_CONNECTIONS: usize = 12;

/// The state of a resource.
#[must_use]
pub fn state(
    resource: &CitrixAllowlist,
    policies: &[NetworkPolicy],
    offline: bool,
    operator: Option<&OperatorReport>,
    now: Timestamp,
    style: Style,
) -> Tree {
    let memory = operator.and_then(OperatorReport::memory);
    let status = resource.status.clone().unwrap_or_default();
    let mut children = Vec::new();
    if offline {
        children.push(Tree::leaf("offline: what the operator would make of it; nothing is known of a cluster"));
    } else {
        children.push(ready(&status, style));
    }
    children.push(list(&status, memory.and_then(|memory| memory.list.as_ref()), now));
    children.push(names(&status, memory));
    children.extend(wildcards::tree(&status, now));
    children.push(of_policies(resource, policies, &status));
    let conditions: Vec<Tree> = status.conditions.iter().filter(|condition| is_bad(condition)).map(condition).collect();
    if !conditions.is_empty() {
        children.push(Tree::node("conditions", conditions));
    }
    children.push(problems(&status, style));
    if !offline {
        children.push(Tree::leaf(format!("next: {}", next(resource, &status, now))));
        children.extend(operator.map(of_operator));
    }
    let selects = if resource.spec.pod_selector == Default::default() {
        "every pod of the namespace"
    } else {
        "pods by spec.podSelector"
    };
    let name = full_name(resource);
    let lead = name.chars().count();
    Tree::node(format!("{name} selects {selects}"), children).led(lead, style, Tone::Bold)
}

/// A line for each resource.
#[must_use]
pub fn overview(resources: &[CitrixAllowlist]) -> String {
    let row = |resource: &CitrixAllowlist| {
        let status = resource.status.clone().unwrap_or_default();
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        let (ready, reason) = ready.map_or(("Unknown", "not seen yet"), |ready| (&ready.status, &ready.reason));
        let summary = status.summary.unwrap_or_default();
        // An older operator's status has no such word.
        let state = if summary.status.is_empty() { reason.to_owned() } else { summary.status };
        vec![
            resource.namespace().unwrap_or_default(),
            resource.name_any(),
            format!("{:?}", resource.spec.mode),
            ready.to_owned(),
            state,
            status.problems_total.to_string(),
            summary.resolved,
            status.policies.len().to_string(),
        ]
    };
    let rows: Vec<Vec<String>> = resources.iter().map(row).collect();
    table(&["NAMESPACE", "NAME", "MODE", "READY", "STATUS", "PROBLEMS", "NAMES", "POLICIES"], &rows)
}

fn ready(status: &CitrixAllowlistStatus, style: Style) -> Tree {
    let Some(ready) = status.conditions.iter().find(|condition| condition.type_ == "Ready") else {
        return Tree::leaf("not seen by the operator yet: is it running, and does it watch this namespace?");
    };
    let (word, tone) = if ready.status == "True" { ("Ready", Tone::Good) } else { ("not Ready", Tone::Bad) };
    let text = format!("{word}: {}: {}", ready.reason, ready.message);
    Tree::node(text, explained(ready)).led(word.len(), style, tone)
}

fn condition(condition: &Condition) -> Tree {
    Tree::node(
        format!("{}={} {}: {}", condition.type_, condition.status, condition.reason, condition.message),
        explained(condition),
    )
}

fn explained(condition: &Condition) -> Vec<Tree> {
    let text = explain_texts::reason_of(&condition.reason).map(|reason| reason.text());
    let text = text.filter(|text| text.remedy != "Nothing.");
    text.map(|text| Tree::leaf(format!("{} {}", text.means, text.remedy))).into_iter().collect()
}

/// Whether a condition other than Ready is bad.
fn is_bad(condition: &Condition) -> bool {
    matches!(condition.type_.as_str(), "FeedCurrent" | "NamesResolved" | "WildcardsCovered")
        && condition.status != "True"
        || condition.type_ == "Stalled" && condition.status == "True"
}

fn list(status: &CitrixAllowlistStatus, known: Option<&ListState>, now: Timestamp) -> Tree {
    let Some(feed) = &status.feed else { return Tree::leaf("list: none yet") };
    let version = feed.version.as_deref().unwrap_or("without a version");
    let mut children = Vec::new();
    if let Some(until) = &feed.valid_until {
        children.push(Tree::leaf(format!("valid until {}", when(until, now))));
    }
    if let Some(fetched) = &feed.fetched_at {
        children.push(Tree::leaf(format!("fetched or confirmed {}", when(fetched, now))));
    }
    // The operator's own time is newer: status is not written for it alone.
    let newer = known.and_then(|known| known.next_fetch.as_ref());
    if let Some(next) = feed.next_fetch.as_ref().map(|of_status| newer.unwrap_or(of_status)) {
        children.push(Tree::leaf(format!("asked for again about {}", when(next, now))));
    }
    children.extend(known.and_then(queue).map(Tree::leaf));
    if let Some(transaction) = &feed.transaction_id {
        children.push(Tree::leaf(format!("transaction id {transaction}")));
    }
    Tree::node(format!("list: {}, version {version}", feed.cloud), children)
}

fn names(status: &CitrixAllowlistStatus, memory: Option<&OperatorMemory>) -> Tree {
    // Without a list so far, the summary has the state alone.
    let counted = status.summary.as_ref().filter(|summary| !summary.resolved.is_empty());
    let Some(summary) = counted else { return Tree::leaf("names: not counted yet") };
    let text = format!(
        "names: {} with addresses ({} addresses) of {} services; {} wildcards that nothing covers",
        summary.resolved, summary.addresses, summary.services, summary.wildcards
    );
    let known: Vec<&KnownName> = memory.iter().flat_map(|memory| &memory.names).collect();
    if known.len() <= MOST_SUBJECTS {
        return Tree::node(text, known.into_iter().map(|known| Tree::leaf(of_name(known))).collect());
    }
    // Of many, those that fail; the others are alike.
    let (well, failing): (Vec<_>, Vec<_>) = known.into_iter().partition(|known| known.state == ANSWERED);
    let mut children = first_leaves(&failing, |known| of_name(known));
    children.extend(together(&well).map(Tree::leaf));
    Tree::node(text, children)
}

/// A leaf that counts the items beyond the most that are listed.
fn more_than(count: usize, most: usize) -> Option<Tree> {
    (count > most).then(|| Tree::leaf(format!("and {} more; -o yaml lists them", count - most)))
}

/// A leaf for each of the first items, and one that counts the others.
fn first_leaves<T>(items: &[T], text: impl Fn(&T) -> String) -> Vec<Tree> {
    let leaves = items.iter().take(MOST_SUBJECTS).map(|item| Tree::leaf(text(item)));
    leaves.chain(more_than(items.len(), MOST_SUBJECTS)).collect()
}

fn of_policies(resource: &CitrixAllowlist, policies: &[NetworkPolicy], status: &CitrixAllowlistStatus) -> Tree {
    let line = |policy: &NetworkPolicy| {
        let PolicyLine { name, rules, peers } = summary::policy(policy);
        Tree::leaf(format!("{name}: {rules} rules, {peers} peers"))
    };
    let children: Vec<Tree> = policies.iter().map(line).collect();
    let text = match (children.is_empty(), resource.spec.mode, &status.would_apply) {
        (true, Mode::Audit, Some(would)) => {
            let (policies, peers) = (would.policies.join(", "), would.peers);
            format!("policies: none, mode Audit; Enforce would apply {policies} with {peers} peers")
        }
        (true, _, _) => "policies: none; nothing is restricted by this resource".to_owned(),
        (false, _, _) => "policies".to_owned(),
    };
    Tree::node(text, children)
}

fn problems(status: &CitrixAllowlistStatus, style: Style) -> Tree {
    if status.problems.is_empty() {
        return Tree::leaf("problems: none");
    }
    let kinds = ProblemKind::ALL.into_iter().filter_map(|kind| {
        let of_kind: Vec<&Problem> = status.problems.iter().filter(|problem| problem.kind == kind).collect();
        if of_kind.is_empty() { None } else { Some(problem_kind(kind, &of_kind)) }
    });
    let total = usize::try_from(status.problems_total).unwrap_or_default().max(status.problems.len());
    let shown = status.problems.len();
    let cut = if shown < total { format!(", of which status lists {shown}") } else { String::new() };
    let text = format!("problems: {total}{cut}");
    let lead = text.chars().count();
    Tree::node(text, kinds.collect()).led(lead, style, Tone::Notable)
}

fn problem_kind(kind: ProblemKind, problems: &[&Problem]) -> Tree {
    let text = kind.text();
    let mut children = vec![Tree::leaf(format!("{} {}", text.means, text.remedy))];
    let line = |problem: &&Problem| format!("{}: {}", problem.about(), problem.message);
    children.extend(first_leaves(problems, line));
    Tree::node(format!("{kind}: {}", problems.len()), children)
}

fn next(resource: &CitrixAllowlist, status: &CitrixAllowlistStatus, now: Timestamp) -> String {
    if resource.spec.suspend {
        return "nothing, until spec.suspend is false".to_owned();
    }
    let behind = status.observed_generation != resource.metadata.generation;
    let first = if behind { "the newest spec is acted on; " } else { "" };
    let fetch = status.feed.as_ref().and_then(|feed| feed.next_fetch.as_ref());
    let fetch = fetch.map_or_else(
        || "the list is asked for".to_owned(),
        |next| format!("the list is asked for again about {}", when(next, now)),
    );
    format!(
        "{first}{fetch}; DNS is asked again as TTLs run out; `refresh {}` asks for the list now",
        resource.name_any()
    )
}

/// The basis of an answer.
#[derive(Clone, Copy, Debug)]
pub struct TreeContext<'a> {
    /// The resource.
    pub resource: &'a CitrixAllowlist,
    /// When its ConfigMap last changed.
    pub attributed_at: Option<Timestamp>,
    /// The operator's state, where it was requested.
    pub operator: Option<&'a OperatorReport>,
    /// The time.
    pub now: Timestamp,
}

impl<'a> TreeContext<'a> {
    fn memory(&self) -> Option<&'a OperatorMemory> {
        self.operator.and_then(OperatorReport::memory)
    }

    /// Since when, and for how long, the basis of an answer is valid.
    fn validity(&self) -> Option<String> {
        let feed = self.resource.status.as_ref()?.feed.as_ref()?;
        let until = feed.valid_until.as_ref().map(|until| format!("list valid until {}", when(until, self.now)));
        if let Some(memory) = self.memory() {
            let queue = memory.list.as_ref().and_then(queue);
            let parts: Vec<String> = until.into_iter().chain(queue).collect();
            return (!parts.is_empty()).then(|| parts.join("; "));
        }
        let since = self.attributed_at.map(|time| format!("addresses as of {}, ", when(&time.to_string(), self.now)));
        let until = until.map(|until| format!("; {until}")).unwrap_or_default();
        let kept = self.resource.spec.address_retention;
        Some(format!("{}each kept for {kept} after DNS last gave it{until}", since.unwrap_or_default()))
    }
}

/// An answer.
#[must_use]
pub fn answer(answer: &QueryResult, basis: &TreeContext<'_>, style: Style) -> Tree {
    let (word, tone) = verdict(answer.allowed);
    let port = match (answer.protocol, answer.port) {
        (Some("UDP"), Some(port)) => format!(" UDP port {port}"),
        (_, Some(port)) => format!(" port {port}"),
        (Some(protocol), None) => format!(" {protocol}"),
        (None, None) => String::new(),
    };
    let preposition = if answer.direction == "outbound" { "to" } else { "from" };
    let mut children = Vec::new();
    if answer.reason != Nearest::Allowed {
        children.push(Tree::leaf(answer.message.clone()));
    }
    let shown = answer.connections.iter().take(MOST_CONNECTIONS);
    children.extend(shown.map(|judged| connection(judged, &answer.peer, basis, style)));
    children.extend(more_than(answer.connections.len(), MOST_CONNECTIONS));
    let name = basis.memory().and_then(|memory| memory.name(&answer.peer));
    if let Some(name) = name.filter(|name| name.state != ANSWERED || !answer.allowed) {
        children.push(Tree::leaf(format!("DNS: {}", of_name(name))));
    }
    children.extend(name.and_then(|name| name.learned.as_ref()).map(of_learned).map(Tree::leaf));
    if let Some(validity) = basis.validity().filter(|_| answer.reason == Nearest::Allowed) {
        children.push(Tree::leaf(validity));
    }
    Tree::node(format!("{word}: {preposition} {}{port}", answer.peer), children).led(word.len(), style, tone)
}

fn verdict(allowed: bool) -> (&'static str, Tone) {
    if allowed { ("allowed", Tone::Good) } else { ("not allowed", Tone::Bad) }
}

fn connection(judged: &Judged, peer: &str, basis: &TreeContext<'_>, style: Style) -> Tree {
    let (word, tone) = verdict(judged.allowed);
    let mut children = Vec::new();
    for by in &judged.by {
        let whose = if by.own { "" } else { " (another policy)" };
        let cidr = by.cidr.as_ref().map_or_else(|| "everybody".to_owned(), |cidr| format!("network {cidr}"));
        let asked: Vec<String> = by.asked_by.iter().map(|asked| format!("{}: {}", asked.service, asked.name)).collect();
        let asked = if asked.is_empty() { String::new() } else { format!(", for {}", asked.join("; ")) };
        children.push(Tree::leaf(format!("{}{whose}, rule {}, {cidr}{asked}", by.policy, by.rule)));
    }
    children.extend(judged.seen.iter().flat_map(|seen| of_address(seen, peer, basis.now)));
    if basis.memory().is_some_and(|memory| memory.is_recovered(judged)) {
        children.push(Tree::leaf(
            "DNS has not given it since the operator started: it is remembered from the policies, and goes once it has been missing for spec.addressRetention",
        ));
    }
    for policy in &judged.perhaps {
        children.push(Tree::leaf(format!(
            "{policy} allows it if this is the address of a pod that it selects, or a port of the name it says"
        )));
    }
    let text = format!("{word}: {} {} {}", judged.address, judged.protocol, judged.port);
    Tree::node(text, children).led(word.len(), style, tone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::Summary;

    #[test]
    fn names_are_not_counted_before_the_first_list() {
        let with =
            |summary: Summary| CitrixAllowlistStatus { summary: Some(summary), ..CitrixAllowlistStatus::default() };
        let waiting = Summary { status: "WaitingForFeed".to_owned(), ..Summary::default() };
        assert!(names(&with(waiting), None).drawn().contains("names: not counted yet"));
        let counted = Summary { resolved: "0/2".to_owned(), ..Summary::default() };
        assert!(names(&with(counted), None).drawn().contains("names: 0/2 with addresses"));
    }
}
