//! The station that writes: from rendered objects to an outcome.

use super::carry_out::write;
use super::conflicts::{UNNAMED, altered, contested, who_undid};
use super::contention::Verdict;
use super::state::State;
use super::subject::Subject;
use super::{Context, Error};
use crate::cluster::apply::WriteError;
use crate::cluster::changes::{self, Change, Changes, ForeignEdit, Interference};
use crate::cluster::key::{Kind, ObjectKey};
use crate::cluster::moves::Moving;
use crate::cluster::owned::Observed;
use crate::cluster::prepared::Desired;
use crate::crd::{FIELD_MANAGER, Mode, Problem, ProblemKind, WouldApply};
use crate::feed::Allowlist;
use crate::names::Addresses;
use crate::net::{Direction, cidr};
use crate::plan::keep::{self, Selected};
use crate::plan::{Absence, Plan};
use crate::render;
use crate::status::{Kept, Outcome};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How soon it is looked again whether an object that is not ours is still in the way.
const CONFLICT_RETRY: Duration = Duration::from_secs(60);

/// What the station before this one hands on.
pub(super) struct Rendered<'a> {
    pub plan: &'a Plan,
    /// What the spec selects.
    pub selected: Selected,
    /// What Enforce keeps in the cluster.
    pub objects: Vec<(ObjectKey, Desired)>,
    /// What of that is only reported: in Audit mode.
    pub would_apply: Option<WouldApply>,
    /// Why a direction's first policies are left out for now.
    pub held: Option<Outcome>,
    pub allowlist: &'a Arc<Allowlist>,
    pub addresses: &'a Addresses,
}

/// How the station ended.
pub(super) struct Ended {
    pub outcome: Outcome,
    pub problems: Vec<Problem>,
    pub again: Option<Duration>,
    pub failure: Option<Error>,
    /// Whether an object was written.
    pub wrote: bool,
    /// What rules that were in place already gained and lost, for an event.
    pub told: Option<String>,
    /// Whether nothing but policies was written yet, since others wait whose policies may have to change.
    pub later: bool,
}

impl Ended {
    fn well(outcome: Outcome) -> Self {
        Self { outcome, problems: Vec::new(), again: None, failure: None, wrote: false, told: None, later: false }
    }
}

/// Writes what differs, and says how it went.
pub(super) async fn apply(
    subject: &Subject<'_>,
    context: &Context,
    state: &mut State,
    rendered: Rendered<'_>,
) -> Ended {
    let Rendered { plan, selected, mut objects, would_apply, held, allowlist, addresses } = rendered;
    let audit = would_apply.is_some();
    if audit {
        objects.retain(|(key, _)| key.kind != Kind::Policy);
    }
    let observed = context.owned.of(subject.who(), &subject.identity.uid);
    let mut changes = changes::decide(&objects, &observed);
    let kept = if audit { Vec::new() } else { keep_last(plan, subject, selected, &observed, state, &mut changes) };
    let before = std::mem::take(&mut state.kept);
    state.kept =
        kept.iter().map(|kept| (kept.direction, before.get(&kept.direction).copied().unwrap_or_default())).collect();
    find_undone(state, &observed, &mut changes);
    let (left, put_off) = leave_contested(context, state, &mut changes);
    let activates = !audit && !observed.keys().any(|key| key.kind == Kind::Policy);
    let is_policy = |change: &Change| change.key().kind == Kind::Policy;
    let later = left.is_none() && changes.writes.iter().any(is_policy) && context.turns.are_wanted_for_policies();
    if later {
        changes.writes.retain(is_policy);
    }
    let moving = Moving { owner: &subject.who().name, desired: &objects, put_off: &put_off };
    let ineffective = match write(subject, context, state, activates, &moving, &mut changes).await {
        Ok(ineffective) => ineffective,
        Err(error) => return failed(error),
    };
    context.names.allowed(addresses);
    let told = tell_applied(subject, context, state, Applied { plan, kept: &kept, changes: &changes, allowlist });
    let mut problems = Vec::new();
    let mut ended = Ended::well(match would_apply {
        Some(would_apply) => Outcome::Audit(Box::new(would_apply)),
        None if !kept.is_empty() => {
            problems.extend(kept.iter().map(Kept::problem));
            Outcome::LastPolicyKept(kept)
        }
        None if plan.outbound.is_none() && plan.inbound.is_none() => nothing_allowed(plan),
        None => held.unwrap_or(Outcome::Applied),
    });
    ended.problems = problems;
    ended.wrote = !changes.writes.is_empty();
    ended.told = told.filter(|_| !activates);
    ended.later = later;
    if let Some(key) = ineffective.first() {
        ended.problems.extend(ineffective.iter().map(altered));
        ended.again = Some(CONFLICT_RETRY);
        ended.outcome = Outcome::Conflict(altered(key).message);
    }
    if let Some(again) = left {
        let now = context.clock.instant();
        let contested: Vec<_> =
            state.contention.contested(now).into_iter().map(|(key, manager)| contested(key, manager)).collect();
        let left = Some(again.saturating_duration_since(now));
        ended.again = [ended.again, left].into_iter().flatten().min();
        let message = contested.first().map(|problem| problem.message.clone()).unwrap_or_default();
        // Beside those that stay other than they are written.
        ended.problems.extend(contested);
        ended.outcome = Outcome::Conflict(message);
    }
    ended
}

/// Why nothing at all is allowed.
fn nothing_allowed(plan: &Plan) -> Outcome {
    let failed = |direction: &Direction| plan.absence(*direction).is_some_and(Absence::is_failure);
    Direction::ALL.into_iter().find(failed).map_or(Outcome::NoMatch, Outcome::NothingUsable)
}

/// Takes out the deletions of policies that only the user may take away, and says which stay. The ConfigMap that says the
/// same stays with them.
fn keep_last(
    plan: &Plan,
    subject: &Subject<'_>,
    selected: Selected,
    observed: &BTreeMap<ObjectKey, Observed>,
    state: &mut State,
    changes: &mut Changes,
) -> Vec<Kept> {
    let mut all = Vec::new();
    for direction in Direction::ALL {
        let Some(absence) = plan.absence(direction) else { continue };
        let is_of_direction = |key: &ObjectKey| {
            key.kind == Kind::Policy && render::direction_of(&key.name, &subject.who().name) == Some(direction)
        };
        let (now, policies): (_, Vec<_>) =
            (selected.direction(direction), observed.iter().filter(|(key, _)| is_of_direction(key)).collect());
        let first = state.first_selected.entry(direction).or_insert(now);
        let applied = policies.iter().map(|(_, observed)| Some(observed.selection.unwrap_or(*first)));
        if keep::keeps(absence, applied, now) && !policies.is_empty() {
            changes.writes.retain(|change| !is_of_direction(change.key()) && change.key().kind != Kind::ConfigMap);
            let policies = policies.into_iter().map(|(key, _)| key.name.to_string()).collect();
            all.push(Kept { direction, absence, policies });
        }
    }
    all
}

/// Finds the edits that leave no field manager behind: a deletion, or a field that was cut out. They show by what is to be
/// written: the same as the last time. Nor does a second operator, which writes under the same name: [`who_undid`] tells it.
fn find_undone(state: &State, observed: &BTreeMap<ObjectKey, Observed>, changes: &mut Changes) {
    for change in &changes.writes {
        let key = change.key();
        let undone = changes.digests.get(key).copied();
        let left = state.left.get(key);
        let told = changes.foreign_edits.iter().any(|edit| edit.key == *key);
        if !told && undone.is_some() && undone == left.map(|left| left.digest) {
            let what = match change {
                Change::Create(..) => Interference::Deleted,
                Change::Update(..) | Change::Delete(..) => Interference::Edited,
            };
            let manager = who_undid(left, observed.get(key)).into();
            changes.foreign_edits.push(ForeignEdit { key: key.clone(), manager, what });
        }
    }
}

/// Takes out the writes to objects that somebody keeps changing; returns when to look again, and which they are.
fn leave_contested(
    context: &Context,
    state: &mut State,
    changes: &mut Changes,
) -> (Option<Instant>, BTreeSet<ObjectKey>) {
    let now = context.clock.instant();
    let (mut again, mut put_off) = (None, BTreeSet::new());
    for edit in &changes.foreign_edits {
        if let Verdict::Leave(until) = state.contention.found(edit, now) {
            changes.writes.retain(|change| *change.key() != edit.key);
            again = Some(again.map_or(until, |held: Instant| held.min(until)));
            put_off.insert(edit.key.clone());
        }
    }
    (again, put_off)
}

/// How it ends where a write was not carried out.
pub(super) fn failed(error: WriteError) -> Ended {
    let message = error.to_string();
    match error {
        WriteError::NotOurs(key) => Ended {
            outcome: Outcome::Conflict(message.clone()),
            problems: vec![Problem::new(ProblemKind::Conflict, &*key.name, None, message)],
            again: Some(CONFLICT_RETRY),
            failure: None,
            wrote: false,
            told: None,
            later: false,
        },
        WriteError::Refused { .. } => {
            Ended { failure: Some(Error::Write(error)), ..Ended::well(Outcome::Refused(message)) }
        }
        WriteError::Changed(_) | WriteError::Unavailable { .. } | WriteError::NotLeading => {
            Ended { failure: Some(Error::Write(error)), ..Ended::well(Outcome::Unavailable(message)) }
        }
    }
}

/// What was applied, to be told.
struct Applied<'a> {
    plan: &'a Plan,
    kept: &'a [Kept],
    changes: &'a Changes,
    allowlist: &'a Arc<Allowlist>,
}

/// One log line for each applied change: which list, how much was added and removed, and why. Returns the same in a
/// sentence.
fn tell_applied(
    subject: &Subject<'_>,
    context: &Context,
    state: &mut State,
    Applied { plan, kept, changes, allowlist }: Applied<'_>,
) -> Option<String> {
    let before = state.allowed.take();
    let known = before.as_deref().unwrap_or_default();
    let stays = |direction: Direction| kept.iter().any(|kept| kept.direction == direction);
    let mut now: Vec<(Direction, IpNet)> = Direction::ALL
        .into_iter()
        .filter_map(|direction| Some((direction, plan.direction(direction)?)))
        .flat_map(|(direction, rules)| rules.networks().map(move |network| (direction, network)))
        .chain(known.iter().copied().filter(|(direction, _)| stays(*direction)))
        .collect();
    now.sort_unstable_by_key(|(direction, network)| (*direction, cidr::order(network)));
    now.dedup();
    let now = context.allowed.share(now);
    state.allowed = Some(Arc::clone(&now));
    if changes.writes.iter().all(|change| change.key().kind != Kind::Policy) {
        return None;
    }
    let (added, removed) = (beyond(&now, known), beyond(known, &now));
    let opened = opened(subject, plan, changes);
    let cause = match changes.foreign_edits.first().map(|edit| &edit.manager) {
        Some(manager) if &**manager == UNNAMED => "somebody deleted an object, or fields of it".to_owned(),
        Some(manager) if &**manager == FIELD_MANAGER => {
            "something else wrote an object under the operator's own name".to_owned()
        }
        Some(manager) => format!("{manager} changed an object"),
        None if !opened.is_empty() => "the spec no longer asks for it".to_owned(),
        None if before.is_none() => "first seen by this process".to_owned(),
        None if added.is_empty() && removed.is_empty() => "an object was missing or differed".to_owned(),
        None => "the list, an answer or the spec changed".to_owned(),
    };
    let version = allowlist.version.as_deref().unwrap_or("without a version");
    tracing::info!(
        resource = %subject.who(),
        generation = subject.generation,
        list = version,
        writes = changes.writes.len(),
        added = added.len(),
        removed = removed.len(),
        added_sample = sample(&added),
        removed_sample = sample(&removed),
        deleted = sample(&opened),
        cause,
        "applied"
    );
    let (more, fewer) = (added.len(), removed.len());
    let deleted = match opened.is_empty() {
        true => String::new(),
        false => format!("; deleted {}: the pods that it selected are no longer isolated by it", opened.join(", ")),
    };
    Some(format!("{more} CIDRs added, {fewer} removed, from list {version}: {cause}{deleted}"))
}

/// The policies that were deleted with no other of their direction left.
fn opened(subject: &Subject<'_>, plan: &Plan, changes: &Changes) -> Vec<String> {
    let is_last = |key: &ObjectKey| {
        let gone = subject.mode() == Mode::Audit;
        render::direction_of(&key.name, &subject.who().name)
            .is_some_and(|direction| gone || plan.direction(direction).is_none())
    };
    let deleted = changes.writes.iter().filter_map(|change| match change {
        Change::Delete(key, _) if key.kind == Kind::Policy && is_last(key) => Some(key.name.to_string()),
        _ => None,
    });
    deleted.collect()
}

/// What the first of two sorted lists has beyond the second, as text.
fn beyond(all: &[(Direction, IpNet)], known: &[(Direction, IpNet)]) -> Vec<String> {
    let mut known = known.iter().peekable();
    let is_more = |network: &&(Direction, IpNet)| {
        while known.next_if(|known| known < network).is_some() {}
        known.peek() != Some(network)
    };
    all.iter().filter(is_more).map(|(_, network)| cidr::text(network)).collect()
}

/// The first few of many, for a line that people read.
fn sample(networks: &[String]) -> String {
    networks.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(",")
}
