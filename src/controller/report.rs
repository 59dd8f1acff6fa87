//! Reports what a reconcile found: the only step that writes status and events.

use super::Context;
use super::apply::Applied;
use super::changed::LastInputs;
use super::failure::{Error, ErrorClass};
use super::queue::Requeue;
use super::session::Session;
use crate::crd::{CitrixAllowlist, CitrixAllowlistStatus};
use crate::objects::key::ObjectKey;
use crate::objects::owner::OwnerRef;
use crate::pipeline::Decision;
use crate::reason::Reason;
use crate::resource_ref::ResourceRef;
use crate::status::{self, Findings, Note, Outcome};
use crate::telemetry::Counted;
use crate::trail::PolicyAllows;
use kube::Resource as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{Instrument as _, debug_span};

/// A wait is not reported for this long after it began: usually the list and the answers arrive sooner, and the status write
/// would delay the first policy.
const WAIT_DEBOUNCE: Duration = Duration::from_millis(500);

/// A failure that passes by itself is reported only after this many in a row.
const REPORT_FAILURES_AFTER: u32 = 5;

/// How long ConfigMaps may stay behind policies while pods may ask for further names, at most.
const OBJECTS_BEHIND: Duration = Duration::from_millis(150);

/// How long they may where an answer with a new address is held for `settle`: the ConfigMaps are written before it goes out, so that
/// a restart forgets no name that was given out. Their write takes some time itself.
pub(super) fn objects_behind(settle: Option<Duration>) -> Duration {
    (settle.unwrap_or_default() * 3 / 5).min(OBJECTS_BEHIND)
}

/// How long status and events may stay behind policies meanwhile.
const STATUS_BEHIND: Duration = Duration::from_secs(2);

/// What was last reported of a resource.
#[derive(Clone, Debug, Default)]
pub struct Reported {
    /// Whether this process has written its status, or found it up to date.
    is_current: bool,
    /// The status last written.
    written: Option<Written>,
    /// What its policies allowed after the last reconcile, to report what changed.
    pub allowed: Option<Vec<Arc<PolicyAllows>>>,
    /// Events of what changed that are not published yet.
    untold: Vec<Note>,
    /// What the last applied decision was made from.
    pub inputs: Option<LastInputs>,
    /// Set where policies were written, and ConfigMaps, status and events wait for other resources' policies, or for those of
    /// further names.
    pub deferred: Option<Deferred>,
}

/// What is still to be reported of written policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferred {
    /// Since when status and events wait.
    since: Instant,
    /// Since when ConfigMaps wait, if they do.
    objects_since: Option<Instant>,
    /// Whether pods may wait for policies of the resource itself by its next reconcile.
    pub expects_names: bool,
}

impl Reported {
    /// Adds events of what changed. Of each reason, the newest stay until status is written.
    fn tell(&mut self, notes: Vec<Note>) {
        let is_older = |known: &Note| notes.iter().all(|note| note.reason != known.reason);
        self.untold.retain(is_older);
        self.untold.extend(notes);
    }

    /// Whether ConfigMaps were left for the next reconcile, since pods may ask for further names.
    pub fn leaves_objects(&self) -> bool {
        self.deferred.as_ref().is_some_and(|deferred| deferred.expects_names && deferred.objects_since.is_some())
    }

    /// Whether ConfigMaps may be left for the next reconcile, no longer than `behind`.
    pub fn may_leave_objects(&self, behind: Duration, now: Instant) -> bool {
        let since = self.deferred.as_ref().and_then(|deferred| deferred.objects_since);
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)) < behind
    }
}

/// A status that was written.
#[derive(Clone, Debug)]
struct Written {
    /// The resourceVersion of the resource that it was decided on.
    read: Option<String>,
    /// The resourceVersion that the write produced.
    version: Option<String>,
    status: Arc<CitrixAllowlistStatus>,
}

/// Writes status and events where they are new and it is time for them. Returns how the reconcile is counted, and when the
/// next one is due.
pub(super) async fn report(
    (resource, owner): (&CitrixAllowlist, &OwnerRef),
    decision: Decision,
    mut applied: Applied,
    context: &Context,
    session: &mut Session,
) -> Result<(Counted, Requeue), Error> {
    let now = context.clock.instant();
    session.reported.tell(std::mem::take(&mut applied.notes));
    let (mut since, mut objects_since) = (now, now);
    if let Some(deferred) = session.reported.deferred.take() {
        applied.wrote = true;
        (since, objects_since) = (deferred.since, deferred.objects_since.unwrap_or(now));
    }
    let expects_names = applied.expects_names;
    let leaves_status =
        expects_names && applied.outcome.is_none() && now.saturating_duration_since(since) < STATUS_BEHIND;
    if (applied.deferred || leaves_status) && applied.failure.is_none() {
        let objects_since = applied.deferred.then_some(objects_since);
        session.reported.deferred = Some(Deferred { since, objects_since, expects_names });
        // The next name wakes it sooner.
        let waited = objects_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let left = objects_behind(context.settings.settle).saturating_sub(waited);
        let requeue_after = if expects_names { left } else { Duration::ZERO };
        return Ok((Counted::Changed, Some(requeue_after)));
    }
    // An object changed between decision and write: it is decided again at once, and reported only if it goes on.
    let is_passing =
        |failure: &Error| failure.class() == ErrorClass::Conflict && session.failures < REPORT_FAILURES_AFTER;
    if applied.failure.as_ref().is_some_and(is_passing)
        && let Some(failure) = applied.failure.take()
    {
        return Err(failure);
    }
    let requeue_after = [decision.requeue_after, applied.requeue_after].into_iter().flatten().min();
    let observed = context.owned.of(&owner.resource, &owner.uid);
    let is_quiet = applied.failure.is_none() && !applied.wrote;
    let has_unasked_names = decision.has_unasked_names;
    let findings = findings(resource, decision, applied.outcome, applied.problems, observed.keys());
    let counted = counted(&findings.outcome, applied.wrote);
    let observed_generation = resource.status.as_ref().and_then(|status| status.observed_generation);
    let is_reported = observed_generation == Some(findings.generation);
    if !is_reported
        && is_quiet
        && let Some(wait) = debounce(&findings, has_unasked_names, session, context.clock.instant())
    {
        return Ok((Counted::Waiting, Some(wait)));
    }
    // A process that has just begun to lead has not queried all names yet. The last answer wakes the resource, and until then
    // its status stays.
    let is_provisional = has_unasked_names && !session.reported.is_current && is_quiet && is_reported;
    if !is_provisional {
        let reported = &mut session.reported;
        write(resource, owner, findings, context, reported).instrument(debug_span!("status")).await?;
        session.reported.is_current = true;
    }
    match applied.failure {
        Some(failure) => Err(failure),
        None => Ok((counted, requeue_after)),
    }
}

fn findings<'a>(
    resource: &CitrixAllowlist,
    decision: Decision,
    outcome: Option<Outcome>,
    problems: Vec<crate::crd::Problem>,
    objects: impl Iterator<Item = &'a ObjectKey>,
) -> Findings {
    let policies: Vec<String> = objects.filter(|key| key.is_policy()).map(|key| key.name.to_string()).collect();
    let is_applied = decision.objects.is_some();
    let summary = decision.summary.map(|mut summary| {
        if is_applied {
            summary.policies = i64::try_from(policies.len()).unwrap_or(i64::MAX);
        }
        summary
    });
    Findings {
        generation: resource.metadata.generation.unwrap_or_default(),
        outcome: outcome.unwrap_or(decision.outcome),
        feed: decision.feed,
        names: decision.names,
        coverage: decision.coverage,
        summary,
        policies,
        problems: decision.problems.into_iter().chain(problems).collect(),
        handled_refresh: decision.handled_refresh,
    }
}

/// For how long a wait is not reported yet. Only where nothing was answered at all: a failure is reported at once.
fn debounce(findings: &Findings, has_unasked_names: bool, session: &Session, now: Instant) -> Option<Duration> {
    let is_unanswered = match &findings.outcome {
        Outcome::WaitingForFeed => findings.feed.as_ref().is_some_and(|feed| feed.reason == Reason::WaitingForFeed),
        Outcome::WaitingForNames { .. } => has_unasked_names,
        _ => false,
    };
    let (_, since) = session.generation_since?;
    let left = WAIT_DEBOUNCE.saturating_sub(now.saturating_duration_since(since));
    (is_unanswered && !left.is_zero()).then_some(left)
}

/// Writes the status where it is new, and its events.
async fn write(
    resource: &CitrixAllowlist,
    owner: &OwnerRef,
    findings: Findings,
    context: &Context,
    reported: &mut Reported,
) -> Result<(), Error> {
    // The watch may not show our last write yet: then the write, not the store, is the resource's status.
    let read = resource.metadata.resource_version.clone();
    let (version, previous) = match reported.written.as_ref().filter(|written| written.read == read) {
        Some(written) => (written.version.clone(), Some(Arc::clone(&written.status))),
        None => (read.clone(), resource.status.clone().map(Arc::new)),
    };
    let transaction = findings.feed.as_ref().and_then(|feed| feed.status.transaction_id.clone());
    // The status that this process wrote last, if any: a forged status is no base for the next one.
    let base = reported.written.as_ref().map(|written| Arc::clone(&written.status)).or_else(|| previous.clone());
    let next = status::status(base.as_deref(), findings, context.clock.now());
    context.metrics.resource(&owner.resource, &next);
    let mut notes = Vec::new();
    if previous.as_deref() != Some(&next) {
        let next = Arc::new(next);
        context.resources.say(&owner.resource, Arc::clone(&next));
        let version = context.reporter.write(resource, version.as_deref(), &next).await?;
        notes = status::notes(base.as_deref(), &next, transaction.as_deref());
        notes.iter().for_each(|note| log(&owner.resource, note));
        reported.written = Some(Written { read, version, status: next });
    }
    notes.append(&mut reported.untold);
    for note in notes {
        context.reporter.publish(&resource.object_ref(&()), &note).await;
    }
    Ok(())
}

/// Logs what an event tells. The lines of a list stand with its fetches, once for all its resources.
fn log(resource: &ResourceRef, note: &Note) {
    let Note { warning, reason, message } = note;
    match warning {
        _ if reason.is_failure() || *reason == Reason::Fetched => {}
        true => tracing::warn!(%resource, %reason, "{message}"),
        false => tracing::info!(%resource, %reason, "{message}"),
    }
}

/// How a reconcile with this outcome is counted.
const fn counted(outcome: &Outcome, wrote: bool) -> Counted {
    match outcome {
        Outcome::WaitingForFeed
        | Outcome::WaitingForNames { .. }
        | Outcome::WaitingForMemory(_)
        | Outcome::NothingUsable(_) => Counted::Waiting,
        Outcome::Suspended
        | Outcome::Audit(_)
        | Outcome::Protected(_)
        | Outcome::InvalidSpec(_)
        | Outcome::NoMatch
        | Outcome::LastPolicyKept(_)
        | Outcome::Conflict(_) => Counted::Held,
        Outcome::Applied | Outcome::Refused(_) | Outcome::Unavailable(_) if wrote => Counted::Changed,
        Outcome::Applied | Outcome::Refused(_) | Outcome::Unavailable(_) => Counted::Unchanged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_maps_are_left_behind_for_a_short_while() {
        let (began, behind) = (Instant::now(), objects_behind(Some(Duration::from_millis(250))));
        assert_eq!(behind, OBJECTS_BEHIND);
        let mut reported = Reported::default();
        assert!(reported.may_leave_objects(behind, began) && !reported.leaves_objects());
        let deferred = Deferred { since: began, objects_since: Some(began), expects_names: true };
        reported.deferred = Some(deferred.clone());
        assert!(reported.may_leave_objects(behind, began + behind / 2) && reported.leaves_objects());
        assert!(!reported.may_leave_objects(behind, began + behind), "an answer is given out soon after");
        reported.deferred = Some(Deferred { objects_since: None, ..deferred });
        assert!(reported.may_leave_objects(behind, began + behind) && !reported.leaves_objects(), "only status is");
    }

    #[test]
    fn config_maps_are_written_at_once_where_no_answer_is_held() {
        let behind = objects_behind(Some(Duration::ZERO));
        assert!(!Reported::default().may_leave_objects(behind, Instant::now()));
        assert_eq!(objects_behind(Some(Duration::from_millis(60))), Duration::from_millis(36));
    }
}
