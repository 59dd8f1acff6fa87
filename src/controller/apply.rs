//! Writes a decision's objects: the only step of a reconcile that does.

use super::changed::{self, Causes, LastInputs, Moments};
use super::conflicts::{altered, contested_by, reverted_by};
use super::contention::{Conflicts, Reaction};
use super::execute::write;
use super::queue::DirtyFlag;
use super::report::objects_behind;
use super::session::Session;
use super::{Context, Error};
use crate::cluster::apply::WriteError;
use crate::crd::{Problem, ProblemKind};
use crate::names::Enforcement;
use crate::objects::changes::{Change, Changes, ForeignEdit, Interference};
use crate::objects::key::ObjectKey;
use crate::objects::moves::Moving;
use crate::objects::observed::Observed;
use crate::objects::owner::OwnerRef;
use crate::pipeline::{Basis, Decision};
use crate::status::{Kept, Note, Outcome};
use connectivity_allowlist::net::Direction;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How soon a resource in conflict is reconciled again: nothing wakes it when another owner's object is gone.
const CONFLICT_RETRY: Duration = Duration::from_secs(60);

/// How the writes of a decision ended.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// What status reports instead of the decision's outcome, where the writes ended otherwise.
    pub outcome: Option<Outcome>,
    /// Conflicts that were found.
    pub problems: Vec<Problem>,
    /// When to reconcile again although nothing changed.
    pub requeue_after: Option<Duration>,
    /// What went wrong; it is retried after a back-off.
    pub failure: Option<Error>,
    /// Whether an object was written.
    pub wrote: bool,
    /// What changed, as events.
    pub notes: Vec<Note>,
    /// Whether policies changed, and pods may soon wait for those of further names.
    pub expects_names: bool,
    /// Whether only policies were written so far, since others wait for theirs: other resources, or pods for the next name.
    pub deferred: bool,
}

impl Applied {
    /// A write, or a read before it, failed.
    pub fn failed(error: WriteError) -> Self {
        let message = error.to_string();
        let outcome = match error {
            WriteError::NotOurs(key) => {
                let problems = vec![Problem::new(ProblemKind::Conflict, &*key.name, None, &message)];
                let outcome = Some(Outcome::Conflict(message));
                return Self { problems, outcome, requeue_after: Some(CONFLICT_RETRY), ..Self::default() };
            }
            WriteError::Refused { .. } => Outcome::Refused(message),
            WriteError::Changed(_) | WriteError::Unavailable { .. } | WriteError::NotLeading => {
                Outcome::Unavailable(message)
            }
        };
        Self { outcome: Some(outcome), failure: Some(error.into()), ..Self::default() }
    }
}

/// Writes what differs from the decision: the only step of a reconcile that writes objects. `spec_writer` is the field manager that
/// wrote the spec last, and `had_policies` what status says of before.
pub(super) async fn apply(
    owner: &OwnerRef,
    decision: &Decision,
    context: &Context,
    session: &mut Session,
    (dirty, spec_writer, had_policies): (&DirtyFlag, Option<Arc<str>>, bool),
) -> Applied {
    let (Some(desired), Some(basis)) = (&decision.objects, &decision.basis) else { return Applied::default() };
    let observed = context.owned.of(&owner.resource, &owner.uid);
    let before = context.owned.allowed(&owner.resource);
    let mut changes = decision.changes(&observed);
    let conflicts = &mut session.conflicts;
    detect_reverted(conflicts, &observed, &mut changes);
    let inputs = LastInputs::of(basis, session.generation(), desired.audit.is_some());
    let is_first = !had_policies && !observed.keys().any(ObjectKey::is_policy);
    let transaction = decision.feed.as_ref().and_then(|feed| feed.status.transaction_id.as_deref());
    let causes =
        changed::causes(&inputs, session.reported.inputs.as_ref(), is_first, (spec_writer, transaction), &changes);
    let written = write_all(owner, decision, (context, &causes), session, (dirty, &observed, &mut changes)).await;
    let after = context.owned.allowed(&owner.resource);
    let last = session.reported.allowed.replace(after.clone());
    let moments = Moments { last: last.as_deref(), before: &before, after: &after };
    let notes = changed::notes(&moments, &causes, &changes);
    match written {
        Ok(applied) => {
            session.reported.inputs = Some(inputs);
            Applied { notes, ..applied }
        }
        Err(error) => Applied { notes, ..Applied::failed(error) },
    }
}

/// Writes the changes, as far as it is time for them.
async fn write_all(
    owner: &OwnerRef,
    decision: &Decision,
    (context, causes): (&Context, &Causes),
    session: &mut Session,
    (dirty, observed, changes): (&DirtyFlag, &BTreeMap<ObjectKey, Observed>, &mut Changes),
) -> Result<Applied, WriteError> {
    let (Some(desired), Some(basis)) = (&decision.objects, &decision.basis) else { return Ok(Applied::default()) };
    let conflicts = &mut session.conflicts;
    let (paused, put_off) = skip_contested(context, conflicts, changes);
    let activates = desired.audit.is_none() && !observed.keys().any(ObjectKey::is_policy);
    let is_policy = |change: &Change| change.key().is_policy();
    let wrote_policies = changes.writes.iter().any(is_policy);
    let mut deferred = paused.is_none() && wrote_policies && context.shared.permits.are_wanted_for_policies();
    if deferred {
        changes.writes.retain(is_policy);
    }
    let mut others = Vec::new();
    let comes_in_a_row = context.settings.forwards() && (wrote_policies || session.reported.leaves_objects());
    if comes_in_a_row {
        (changes.writes, others) = std::mem::take(&mut changes.writes).into_iter().partition(is_policy);
    }
    let moving = Moving { desired: &desired.objects, put_off: &put_off };
    if context.settings.forwards() && activates && wrote_policies {
        context.names.enforce(&owner.resource, Enforcement::Begins);
    }
    let mut ineffective = write(owner, (context, causes), conflicts, activates, &moving, changes).await?;
    let is_contested = !put_off.is_empty() || !ineffective.is_empty();
    if context.settings.forwards() {
        context.names.enforce(&owner.resource, enforcement(decision, basis, is_contested, context));
    }
    // Names come in a row: where pods ask for one, they soon ask for another, which must not wait for the reports of the first.
    let expects_names = comes_in_a_row && !deferred && paused.is_none() && (!activates || dirty.is_dirty());
    if !others.is_empty() {
        if expects_names
            && session.reported.may_leave_objects(objects_behind(context.settings.settle), context.clock.instant())
        {
            deferred = true;
        } else {
            let policies = std::mem::replace(&mut changes.writes, others);
            ineffective.extend(write(owner, (context, causes), conflicts, false, &moving, changes).await?);
            changes.writes.splice(..0, policies);
        }
    }
    context.names.allowed(&basis.addresses);
    let mut applied = Applied { wrote: !changes.writes.is_empty(), expects_names, deferred, ..Applied::default() };
    if let Some(key) = ineffective.first() {
        applied.problems.extend(ineffective.iter().map(altered));
        applied.requeue_after = Some(CONFLICT_RETRY);
        applied.outcome = Some(Outcome::Conflict(altered(key).message));
    }
    if let Some(until) = paused {
        let now = context.clock.instant();
        let contested = session.conflicts.contested(now).into_iter();
        let contested: Vec<_> = contested.map(|(key, manager)| contested_by(key, manager)).collect();
        let wait = until.saturating_duration_since(now);
        applied.requeue_after = Some(applied.requeue_after.map_or(wait, |other| other.min(wait)));
        let message = contested.first().map(|problem| problem.message.clone()).unwrap_or_default();
        applied.problems.extend(contested);
        applied.outcome = Some(Outcome::Conflict(message));
    }
    Ok(applied)
}

/// What is in force once a decision is written.
fn enforcement(decision: &Decision, basis: &Basis, is_contested: bool, context: &Context) -> Enforcement {
    let keeps = |kept: &Kept| kept.direction == Direction::Outbound;
    let policies = decision.objects.iter().flat_map(|desired| &desired.objects).filter(|(key, _)| key.is_policy());
    if is_contested {
        Enforcement::Contested
    } else if decision.keep.iter().any(keeps) {
        Enforcement::AsBefore
    } else if policies.count() == 0 {
        Enforcement::None
    } else {
        let in_use = context.shared.memo.in_use(&basis.plan);
        let answers = Arc::clone(&basis.addresses);
        Enforcement::Applied { decided: basis.answers_read, answers, in_use }
    }
}

/// Finds the foreign edits that leave no field manager behind: a deletion, a removed field, or an edit by a second operator
/// under our name. They show in what is to be written: it equals the last write. For example, a policy that was written with
/// digest D and is to be written with D again was changed in between. [`reverted_by`] finds by whom.
fn detect_reverted(conflicts: &Conflicts, observed: &BTreeMap<ObjectKey, Observed>, changes: &mut Changes) {
    for change in &changes.writes {
        let key = change.key();
        let next = changes.digests.get(key).copied();
        let last = conflicts.written.get(key);
        let is_known = changes.foreign_edits.iter().any(|edit| edit.key == *key);
        if !is_known && next.is_some() && next == last.map(|last| last.digest) {
            let what = match change {
                Change::Create(..) => Interference::Deleted,
                Change::Update(..) | Change::Delete(..) => Interference::Edited,
            };
            let manager = reverted_by(last, observed.get(key)).into();
            changes.foreign_edits.push(ForeignEdit { key: key.clone(), manager, what });
        }
    }
}

/// Removes the writes to contested objects. Returns when to reconcile again, and the objects.
fn skip_contested(
    context: &Context,
    conflicts: &mut Conflicts,
    changes: &mut Changes,
) -> (Option<Instant>, BTreeSet<ObjectKey>) {
    let now = context.clock.instant();
    let (mut first, mut put_off) = (None, BTreeSet::new());
    for edit in &changes.foreign_edits {
        if let Reaction::BackOff(until) = conflicts.found(edit, now) {
            changes.writes.retain(|change| *change.key() != edit.key);
            first = Some(first.map_or(until, |first: Instant| first.min(until)));
            put_off.insert(edit.key.clone());
        }
    }
    (first, put_off)
}
