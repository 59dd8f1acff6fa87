//! What happened becomes what status says. Pure: every sentence that a person reads in a condition is made here.

mod kept;
mod notes;
#[cfg(test)]
mod tests;

pub use notes::{Note, notes};

use crate::crd::status::MOST_PROBLEMS;
pub use kept::Kept;

use crate::crd::{CitrixAllowlistStatus, FeedStatus, Problem, ProblemKind, Summary, WouldApply};
use crate::reason::Reason;
use connectivity_allowlist::net::Direction;
use connectivity_allowlist::visible::visible;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use std::collections::BTreeMap;

/// How far a reconcile came.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The policies in the cluster say what the plan says.
    Applied,
    /// Audit mode: computed, not applied.
    Audit(Box<WouldApply>),
    /// Suspended: nothing was looked at.
    Suspended,
    /// No list yet.
    WaitingForFeed,
    /// The first policy waits for this many names.
    WaitingForNames {
        /// Names without a definitive answer.
        waiting: usize,
        /// Whether no name at all has been answered.
        none_answered: bool,
    },
    /// The first policy waits until the operator is no longer close to its memory limit, as this says.
    WaitingForMemory(String),
    /// Nothing of this direction can be opened, by the vendor's failure or DNS's: a first policy would cut everything, and
    /// one that is there stays.
    NothingUsable(Direction),
    /// The spec matches nothing, so that nothing is applied.
    NoMatch,
    /// Directions that have nothing to allow any more, and whose policies stay: nobody but the user may take them away.
    LastPolicyKept(Vec<Kept>),
    /// Something in the spec cannot be acted on.
    InvalidSpec(String),
    /// The pods selected may not be isolated.
    Protected(String),
    /// Another owner's object is in the way, or somebody keeps changing ours.
    Conflict(String),
    /// The API server refused, and will again until somebody mends it.
    Refused(String),
    /// The API server could not take it; it is tried again.
    Unavailable(String),
}

/// Where the list stands, as the condition says it.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedFindings {
    /// Whether the newest fetch brought, or confirmed, a usable list that is still valid.
    pub current: bool,
    /// Why.
    pub reason: Reason,
    /// In a sentence.
    pub message: String,
    /// The block of figures.
    pub status: FeedStatus,
}

/// Where the names stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameFindings {
    /// Names without any answer yet.
    pub waiting: usize,
    /// Whether no name at all is being answered at the moment, so that what is known of them grows old.
    pub silent: bool,
    /// Names that are definitively absent, or fail.
    pub unresolved: usize,
    /// Wildcards nothing stands in for.
    pub wildcards: usize,
    /// Whether any of these wildcards is required by the vendor.
    pub required_wildcard: bool,
}

/// All that a reconcile found.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// The generation of the spec that was acted on.
    pub generation: i64,
    /// How far it came.
    pub outcome: Outcome,
    /// The list; `None` where it was not looked at.
    pub feed: Option<FeedFindings>,
    /// The names; `None` where it did not come that far.
    pub names: Option<NameFindings>,
    /// Counts; `None` where it did not come that far: what was counted before stays.
    pub summary: Option<Summary>,
    /// Policies in the cluster, as far as known.
    pub policies: Vec<String>,
    /// Everything that could not be honoured, in order.
    pub problems: Vec<Problem>,
    /// The refresh annotation that has been acted on.
    pub handled_refresh: Option<String>,
}

/// Makes the new status. Timestamps of conditions move only where their status does.
#[must_use]
pub fn status(previous: Option<&CitrixAllowlistStatus>, findings: Findings, now: Timestamp) -> CitrixAllowlistStatus {
    let before = previous.cloned().unwrap_or_default();
    if findings.outcome == Outcome::Suspended {
        return suspended(before, findings.generation, now);
    }
    let mut conditions =
        Conditions { previous: &before.conditions, generation: findings.generation, now, made: vec![] };
    let (ready, reason, message) = readiness(&findings);
    conditions.set("Ready", ready, reason, message.clone());
    if let Some(feed) = &findings.feed {
        conditions.set("FeedCurrent", feed.current.into(), feed.reason, feed.message.clone());
    }
    if let Some(names) = &findings.names {
        let (status, reason, message) = resolution(names, findings.summary.as_ref());
        conditions.set("NamesResolved", status, reason, message);
    }
    let applied = matches!(findings.outcome, Outcome::Applied);
    conditions.set("PoliciesApplied", applied.into(), reason, message.clone());
    match course(&findings) {
        Phase::Settled => {}
        Phase::Reconciling => conditions.set("Reconciling", ConditionStatus::True, reason, message),
        Phase::Stalled => conditions.set("Stalled", ConditionStatus::True, reason, message),
    }
    let made = conditions.made;
    CitrixAllowlistStatus {
        observed_generation: Some(findings.generation),
        conditions: made,
        feed: findings.feed.map(|feed| feed.status).or(before.feed),
        summary: findings.summary.or(before.summary),
        policies: findings.policies,
        would_apply: match findings.outcome {
            Outcome::Audit(would_apply) => Some(*would_apply),
            _ => None,
        },
        problems_total: i64::try_from(findings.problems.len()).unwrap_or(i64::MAX),
        problems: shown(findings.problems),
        last_handled_refresh: findings.handled_refresh.or(before.last_handled_refresh),
    }
}

/// As many problems as status holds, in order. Where there are more, each kind keeps its first, then its second, and so on:
/// hundreds of names without an address do not hide the one bound that is their cause.
fn shown(problems: Vec<Problem>) -> Vec<Problem> {
    let mut met: BTreeMap<ProblemKind, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, usize, Problem)> = Vec::with_capacity(problems.len());
    for (position, problem) in problems.into_iter().enumerate() {
        let rank = met.entry(problem.kind).or_default();
        *rank += 1;
        ranked.push((*rank, position, problem));
    }
    ranked.sort_unstable_by_key(|(rank, position, _)| (*rank, *position));
    ranked.truncate(MOST_PROBLEMS);
    ranked.sort_unstable_by_key(|(_, position, _)| *position);
    ranked.into_iter().map(|(_, _, problem)| problem).collect()
}

/// A suspended resource keeps all it said; only the generation follows, and the reason says so.
fn suspended(mut status: CitrixAllowlistStatus, generation: i64, now: Timestamp) -> CitrixAllowlistStatus {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    let was = match ready.map(|condition| condition.status.as_str()) {
        Some("True") => ConditionStatus::True,
        _ => ConditionStatus::False,
    };
    let mut conditions = Conditions { previous: &status.conditions, generation, now, made: vec![] };
    let message = "suspended: what is applied stays as it is until spec.suspend is false".to_owned();
    conditions.set("Ready", was, Reason::Suspended, message);
    let made = conditions.made;
    status.conditions.retain(|held| !matches!(held.type_.as_str(), "Ready" | "Reconciling" | "Stalled"));
    for condition in &mut status.conditions {
        condition.observed_generation = Some(generation);
    }
    status.conditions.splice(0..0, made);
    status.observed_generation = Some(generation);
    status
}

/// Where a resource is going, as kstatus tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing more to do until something changes.
    Settled,
    /// The operator works on it, or will try again.
    Reconciling,
    /// Nothing will change until somebody mends something.
    Stalled,
}

fn course(findings: &Findings) -> Phase {
    let rejected = findings.feed.as_ref().is_some_and(|feed| feed.reason == Reason::FeedRejected);
    match &findings.outcome {
        Outcome::Applied | Outcome::Audit(_) | Outcome::Suspended if !rejected => Phase::Settled,
        Outcome::WaitingForFeed if !rejected => Phase::Reconciling,
        Outcome::WaitingForNames { .. } | Outcome::WaitingForMemory(_) => Phase::Reconciling,
        Outcome::NothingUsable(_) | Outcome::Unavailable(_) => Phase::Reconciling,
        // The vendor or DNS may mend a failure by itself. What the list no longer has waits for somebody.
        Outcome::LastPolicyKept(kept) if kept.iter().all(|kept| kept.absence.is_failure()) => Phase::Reconciling,
        _ => Phase::Stalled,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConditionStatus {
    True,
    False,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// What policies allow still of before a start, for the end of a sentence. It is no failure, and Ready all the same: nothing
/// is cut, and it ends by itself.
fn inherited(findings: &Findings) -> String {
    match findings.summary.as_ref().map_or(0, |summary| summary.inherited) {
        0 => String::new(),
        count => format!(
            "; {count} {} from before the operator's start that nothing explains {} until DNS has answered for addressRetention",
            plural(usize::try_from(count).unwrap_or(usize::MAX), "CIDR", "CIDRs"),
            plural(usize::try_from(count).unwrap_or(usize::MAX), "stays", "stay"),
        ),
    }
}

fn readiness(findings: &Findings) -> (ConditionStatus, Reason, String) {
    let feed = findings.feed.as_ref();
    match &findings.outcome {
        Outcome::Applied => {
            let version = feed.and_then(|feed| feed.status.version.as_deref()).unwrap_or("without a version");
            let count = findings.policies.len();
            let policies = plural(count, "policy", "policies");
            let message = format!("{count} {policies} applied, from list {version}{}", inherited(findings));
            (ConditionStatus::True, Reason::Applied, message)
        }
        Outcome::Audit(would_apply) => {
            let count = would_apply.policies.len();
            let policies = plural(count, "policy", "policies");
            let message = format!("audit mode: {count} {policies} computed and not applied; see status.wouldApply");
            (ConditionStatus::True, Reason::Audit, message)
        }
        Outcome::Suspended => (ConditionStatus::False, Reason::Suspended, "suspended".to_owned()),
        Outcome::WaitingForFeed => match feed {
            Some(feed) if feed.reason != Reason::WaitingForFeed => {
                (ConditionStatus::False, feed.reason, feed.message.clone())
            }
            _ => (ConditionStatus::False, Reason::WaitingForFeed, "waiting for the first list".to_owned()),
        },
        Outcome::WaitingForNames { waiting, none_answered } => {
            let names = plural(*waiting, "name", "names");
            let message = if *none_answered {
                format!("no name has been answered yet, {waiting} {names} in all: is DNS reachable from the operator?")
            } else {
                format!("the first policy waits for DNS to answer {waiting} more {names}")
            };
            (ConditionStatus::False, Reason::WaitingForNames, message)
        }
        Outcome::NothingUsable(direction) => {
            let message = format!(
                "nothing {direction} has an address and ports that may be opened: no policy is written that would cut everything, and what was applied stays; see problems"
            );
            (ConditionStatus::False, Reason::Unresolved, message)
        }
        Outcome::NoMatch => {
            let message =
                "nothing to allow: the spec matches nothing of the list with an address and a port; see problems";
            (ConditionStatus::False, Reason::NoMatch, message.to_owned())
        }
        Outcome::LastPolicyKept(kept) => {
            let message = kept.iter().map(Kept::sentence).collect::<Vec<_>>().join("; ");
            (ConditionStatus::False, Reason::LastPolicyKept, format!("{message}; see problems for what lets it go"))
        }
        Outcome::WaitingForMemory(message) => (ConditionStatus::False, Reason::WaitingForMemory, message.clone()),
        Outcome::InvalidSpec(message) => (ConditionStatus::False, Reason::InvalidSpec, message.clone()),
        Outcome::Protected(message) => (ConditionStatus::False, Reason::Protected, message.clone()),
        Outcome::Conflict(message) => (ConditionStatus::False, Reason::Conflict, message.clone()),
        Outcome::Refused(message) | Outcome::Unavailable(message) => {
            (ConditionStatus::False, Reason::ApplyFailed, message.clone())
        }
    }
}

fn resolution(names: &NameFindings, summary: Option<&Summary>) -> (ConditionStatus, Reason, String) {
    let resolved = summary.map(|summary| summary.resolved.as_str()).unwrap_or("0/0");
    if names.waiting > 0 {
        let message = format!("{resolved} names have addresses, {} not answered yet", names.waiting);
        (ConditionStatus::False, Reason::WaitingForNames, message)
    } else if names.silent {
        let message = format!(
            "no name is being answered at the moment: the addresses known of {resolved} names stay allowed; is DNS reachable from the operator?"
        );
        (ConditionStatus::False, Reason::Unresolved, message)
    } else if names.unresolved > 0 {
        let message = format!("{resolved} names have addresses, {} without; see problems", names.unresolved);
        (ConditionStatus::False, Reason::Unresolved, message)
    } else if names.wildcards > 0 {
        let count = names.wildcards;
        let required = if names.required_wildcard { ", at least one of them required" } else { "" };
        let message = format!(
            "{resolved} names have addresses; DNS cannot enumerate {count} {}{required}: name what you use under spec.wildcards",
            plural(count, "wildcard", "wildcards")
        );
        (ConditionStatus::False, Reason::WildcardsUnenforceable, message)
    } else {
        (ConditionStatus::True, Reason::Resolved, format!("{resolved} names have addresses"))
    }
}

/// The longest message of a condition, in characters: Kubernetes refuses a status with one of more than 32,768 bytes,
/// and some hold what a server said.
const LONGEST_MESSAGE: usize = 1024;

/// A message cut to what a condition holds.
fn cut(message: String) -> String {
    match message.char_indices().nth(LONGEST_MESSAGE) {
        Some((at, _)) => format!("{}…", &message[..at]),
        None => message,
    }
}

/// One or many.
#[must_use]
pub const fn plural<'a>(count: usize, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

struct Conditions<'a> {
    previous: &'a [Condition],
    generation: i64,
    now: Timestamp,
    made: Vec<Condition>,
}

impl Conditions<'_> {
    fn set(&mut self, type_: &str, truth: ConditionStatus, reason: Reason, message: String) {
        let status = match truth {
            ConditionStatus::True => "True",
            ConditionStatus::False => "False",
        };
        let unmoved = self.previous.iter().find(|held| held.type_ == type_ && held.status == status);
        // Conditions carry whole seconds; anything finer is lost on the way and would look like a change.
        let now = Time(self.now.round(jiff::Unit::Second).unwrap_or(self.now));
        self.made.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: cut(visible(&message).into_owned()),
            observed_generation: Some(self.generation),
            last_transition_time: unmoved.map_or(now, |held| held.last_transition_time.clone()),
        });
    }
}
