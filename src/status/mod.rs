//! Status from the findings of a reconcile. Pure: every sentence of a condition is made here.

mod kept;
mod notes;
mod wildcards;

use crate::crd::status::MOST_PROBLEMS;
use crate::crd::{CitrixAllowlistStatus, FeedStatus, Problem, ProblemKind, Summary, WouldApply};
use crate::plan::Coverage;
use crate::reason::Reason;
use connectivity_allowlist::net::Direction;
use connectivity_allowlist::visible::visible;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
pub use kept::Kept;
pub use notes::{Note, notes};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a reconcile ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The policies in the cluster match the plan.
    Applied,
    /// Audit mode: computed, not applied.
    Audit(Box<WouldApply>),
    /// Suspended: nothing was read.
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
    /// The first policy waits until the operator is no longer close to its memory limit; with the message.
    WaitingForMemory(String),
    /// Nothing of this direction can be opened, since the vendor or DNS fails. A first policy would cut everything, and an
    /// existing one stays.
    NothingUsable(Direction),
    /// The spec matches nothing, so that nothing is applied.
    NoMatch,
    /// Directions that have nothing to allow any more, and whose policies stay: only the user may have them deleted.
    LastPolicyKept(Vec<Kept>),
    /// Something in the spec cannot be used.
    InvalidSpec(String),
    /// The pods selected may not be isolated.
    Protected(String),
    /// Another owner's object has a needed name, or another client keeps changing ours.
    Conflict(String),
    /// The API server refused, and will again until a person fixes the cause.
    Refused(String),
    /// The API server is unavailable; the write is retried.
    Unavailable(String),
}

/// The state of the list, for its condition.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedFindings {
    /// Whether the newest fetch brought, or confirmed, a usable list that is still valid.
    pub current: bool,
    /// Why.
    pub reason: Reason,
    /// In a sentence.
    pub message: String,
    /// The list's block in status.
    pub status: FeedStatus,
}

/// The state of the names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameFindings {
    /// Names without any answer yet.
    pub waiting: usize,
    /// Whether no name at all is being answered at the moment, so that known addresses grow old.
    pub silent: bool,
    /// Names that are definitively absent, or fail.
    pub unresolved: usize,
    /// Wildcards of the list.
    pub wildcards: usize,
    /// Those that nothing covers.
    pub uncovered: usize,
    /// Whether any of these is required by the vendor.
    pub is_required_uncovered: bool,
}

/// Everything that a reconcile found.
#[derive(Clone, Debug, PartialEq)]
pub struct Findings {
    /// The generation of the reconciled spec.
    pub generation: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// The list; `None` where it was not read.
    pub feed: Option<FeedFindings>,
    /// The names; `None` without a list.
    pub names: Option<NameFindings>,
    /// By what wildcards are covered; `None` without a list: then what was known before stays.
    pub coverage: Option<Arc<Coverage>>,
    /// Counts; `None` without a list: then the previous counts stay.
    pub summary: Option<Summary>,
    /// Policies in the cluster, as far as known.
    pub policies: Vec<String>,
    /// Everything that could not be honoured, in order.
    pub problems: Vec<Problem>,
    /// The refresh annotation that has been handled.
    pub handled_refresh: Option<String>,
}

/// Makes the new status. Timestamps of conditions move only where their status does.
#[must_use]
pub fn status(previous: Option<&CitrixAllowlistStatus>, findings: Findings, now: Timestamp) -> CitrixAllowlistStatus {
    let before = previous.cloned().unwrap_or_default();
    if findings.outcome == Outcome::Suspended {
        return suspended(before, findings.generation, now);
    }
    let has_no_list = matches!(findings.outcome, Outcome::WaitingForFeed);
    let mut conditions =
        Conditions { previous: &before.conditions, generation: findings.generation, now, made: vec![] };
    let (reason, message) = readiness(&findings);
    let applied = matches!(findings.outcome, Outcome::Applied);
    conditions.set("Ready", applied || matches!(findings.outcome, Outcome::Audit(_)), reason, message.clone());
    if let Some(feed) = &findings.feed {
        conditions.set("FeedCurrent", feed.current, feed.reason, feed.message.clone());
    }
    if let Some(names) = &findings.names {
        let (reason, message) = resolution(names, findings.summary.as_ref());
        conditions.set("NamesResolved", reason == Reason::Resolved, reason, message);
        let (reason, message) = wildcards::covered(names);
        conditions.set("WildcardsCovered", reason == Reason::WildcardsCovered, reason, message);
    }
    conditions.set("PoliciesApplied", applied, reason, message.clone());
    if let Some(phase) = phase(&findings) {
        conditions.set(phase, true, reason, message);
    }
    let made = conditions.made;
    let problems_total = i64::try_from(findings.problems.len()).unwrap_or(i64::MAX);
    let summary = findings.summary.or(before.summary).unwrap_or_default();
    CitrixAllowlistStatus {
        observed_generation: Some(findings.generation),
        summary: Some(Summary { status: worst(&made), problems: problems_total, ..summary }),
        conditions: made,
        feed: match findings.feed.map(|feed| feed.status) {
            // What is applied is of the list before, and a successor has to know which that was.
            Some(now) if has_no_list => {
                let before = before.feed.unwrap_or_default();
                Some(FeedStatus { version: before.version, valid_until: before.valid_until, ..now })
            }
            now => now.or(before.feed),
        },
        wildcards: match &findings.coverage {
            Some(coverage) => wildcards::wildcards(coverage, &before.wildcards, now),
            None => before.wildcards,
        },
        forwarder: findings.coverage.as_ref().map_or(before.forwarder, |coverage| wildcards::forwarder(coverage)),
        policies: findings.policies,
        would_apply: match findings.outcome {
            Outcome::Audit(would_apply) => Some(*would_apply),
            _ => None,
        },
        problems_total,
        problems: shown(findings.problems),
        last_handled_refresh: findings.handled_refresh.or(before.last_handled_refresh),
    }
}

/// The reason of the worst condition: of `Ready`, and of those others that are False.
fn worst(conditions: &[Condition]) -> String {
    let says = |condition: &&Condition| condition.type_ == "Ready" || condition.status == "False";
    let reasons: Vec<&str> = conditions.iter().filter(says).map(|condition| &*condition.reason).collect();
    let worst = Reason::WORST_FIRST.iter().map(|reason| reason.as_str()).find(|reason| reasons.contains(reason));
    worst.unwrap_or_default().to_owned()
}

/// The problems that fit into status, in order. If there are more, each kind keeps its first, then its second, and so on:
/// hundreds of names without an address do not hide the one bound that is their cause.
fn shown(problems: Vec<Problem>) -> Vec<Problem> {
    let mut ranks: BTreeMap<ProblemKind, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, usize, Problem)> = Vec::with_capacity(problems.len());
    for (position, problem) in problems.into_iter().enumerate() {
        let rank = ranks.entry(problem.kind).or_default();
        *rank += 1;
        ranked.push((*rank, position, problem));
    }
    ranked.sort_unstable_by_key(|(rank, position, _)| (*rank, *position));
    ranked.truncate(MOST_PROBLEMS);
    ranked.sort_unstable_by_key(|(_, position, _)| *position);
    ranked.into_iter().map(|(_, _, problem)| problem).collect()
}

/// A suspended resource keeps its whole status, except for the generation and the reason.
fn suspended(mut status: CitrixAllowlistStatus, generation: i64, now: Timestamp) -> CitrixAllowlistStatus {
    let was_ready = status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let mut conditions = Conditions { previous: &status.conditions, generation, now, made: vec![] };
    let message = "suspended: what is applied stays as it is until spec.suspend is false".to_owned();
    conditions.set("Ready", was_ready, Reason::Suspended, message);
    let made = conditions.made;
    status.conditions.retain(|known| !matches!(known.type_.as_str(), "Ready" | "Reconciling" | "Stalled"));
    for condition in &mut status.conditions {
        condition.observed_generation = Some(generation);
    }
    status.conditions.splice(0..0, made);
    status.summary.get_or_insert_default().status = worst(&status.conditions);
    status.observed_generation = Some(generation);
    status
}

/// The phase of a resource in kstatus' terms: `Reconciling` while the operator works on it, or retries; `Stalled` where nothing
/// changes until a person acts; `None` where there is nothing more to do until something changes.
fn phase(findings: &Findings) -> Option<&'static str> {
    const RECONCILING: Option<&str> = Some("Reconciling");
    let rejected = findings.feed.as_ref().is_some_and(|feed| feed.reason == Reason::FeedRejected);
    match &findings.outcome {
        Outcome::Applied | Outcome::Audit(_) | Outcome::Suspended if !rejected => None,
        Outcome::WaitingForFeed if !rejected => RECONCILING,
        Outcome::WaitingForNames { .. } | Outcome::WaitingForMemory(_) => RECONCILING,
        Outcome::NothingUsable(_) | Outcome::Unavailable(_) => RECONCILING,
        // The vendor or DNS may recover. What the list no longer has needs a person.
        Outcome::LastPolicyKept(kept) if kept.iter().all(|kept| kept.absence.is_failure()) => RECONCILING,
        _ => Some("Stalled"),
    }
}

/// The networks that policies still allow from before the operator's start, for the end of a sentence. The resource is Ready
/// all the same: nothing is cut, and they expire.
fn inherited(findings: &Findings) -> String {
    let count = findings.summary.as_ref().map_or(0, |summary| summary.inherited);
    let (cidrs, stay) = if count == 1 { ("CIDR", "stays") } else { ("CIDRs", "stay") };
    match count {
        0 => String::new(),
        _ => format!(
            "; {count} {cidrs} from before the operator's start that nothing explains {stay} until DNS has answered for addressRetention"
        ),
    }
}

fn readiness(findings: &Findings) -> (Reason, String) {
    let feed = findings.feed.as_ref();
    match &findings.outcome {
        Outcome::Applied => {
            let version = feed.and_then(|feed| feed.status.version.as_deref()).unwrap_or("without a version");
            let count = findings.policies.len();
            let policies = plural(count, "policy", "policies");
            (Reason::Applied, format!("{count} {policies} applied, from list {version}{}", inherited(findings)))
        }
        Outcome::Audit(would_apply) => {
            let count = would_apply.policies.len();
            let policies = plural(count, "policy", "policies");
            let message = format!("audit mode: {count} {policies} computed and not applied; see status.wouldApply");
            (Reason::Audit, message)
        }
        Outcome::Suspended => (Reason::Suspended, "suspended".to_owned()),
        Outcome::WaitingForFeed => match feed {
            Some(feed) if feed.reason != Reason::WaitingForFeed => (feed.reason, feed.message.clone()),
            _ => (Reason::WaitingForFeed, "waiting for the first list".to_owned()),
        },
        Outcome::WaitingForNames { waiting, none_answered } => {
            let names = plural(*waiting, "name", "names");
            let message = if *none_answered {
                format!("no name has been answered yet, {waiting} {names} in all: is DNS reachable from the operator?")
            } else {
                format!("the first policy waits for DNS to answer {waiting} more {names}")
            };
            (Reason::WaitingForNames, message)
        }
        Outcome::NothingUsable(direction) => {
            let message = format!(
                "nothing {direction} has an address and ports that may be opened: no policy is written that would cut everything, and what was applied stays; see problems"
            );
            (Reason::Unresolved, message)
        }
        Outcome::NoMatch => {
            let message =
                "nothing to allow: the spec matches nothing of the list with an address and a port; see problems";
            (Reason::NoMatch, message.to_owned())
        }
        Outcome::LastPolicyKept(kept) => {
            let message = kept.iter().map(Kept::sentence).collect::<Vec<_>>().join("; ");
            (Reason::LastPolicyKept, format!("{message}; see problems for what lets it go"))
        }
        Outcome::WaitingForMemory(message) => (Reason::WaitingForMemory, message.clone()),
        Outcome::InvalidSpec(message) => (Reason::InvalidSpec, message.clone()),
        Outcome::Protected(message) => (Reason::Protected, message.clone()),
        Outcome::Conflict(message) => (Reason::Conflict, message.clone()),
        Outcome::Refused(message) | Outcome::Unavailable(message) => (Reason::ApplyFailed, message.clone()),
    }
}

fn resolution(names: &NameFindings, summary: Option<&Summary>) -> (Reason, String) {
    let resolved = summary.map(|summary| summary.resolved.as_str()).unwrap_or("0/0");
    if names.waiting > 0 {
        let message = format!("{resolved} names are resolved, {} not answered yet", names.waiting);
        (Reason::WaitingForNames, message)
    } else if names.silent {
        let message = format!(
            "no name is being answered at the moment: the addresses known of {resolved} names stay allowed; is DNS reachable from the operator?"
        );
        (Reason::Unresolved, message)
    } else if names.unresolved > 0 {
        let message = format!("{resolved} names are resolved, {} are not; see problems", names.unresolved);
        (Reason::Unresolved, message)
    } else {
        (Reason::Resolved, format!("{resolved} names are resolved"))
    }
}

/// The longest message of a condition, in characters. Kubernetes refuses a status with one of more than 32,768 bytes, and
/// some contain a server's text.
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
    fn set(&mut self, type_: &str, is_true: bool, reason: Reason, message: String) {
        let status = if is_true { "True" } else { "False" };
        let same = self.previous.iter().find(|known| known.type_ == type_ && known.status == status);
        // Conditions carry whole seconds: a finer time is lost on the way and would look like a change.
        let now = Time(self.now.round(jiff::Unit::Second).unwrap_or(self.now));
        self.made.push(Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.as_str().to_owned(),
            message: cut(visible(&message).into_owned()),
            observed_generation: Some(self.generation),
            last_transition_time: same.map_or(now, |known| known.last_transition_time.clone()),
        });
    }
}
