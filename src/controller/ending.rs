//! How a reconcile ends: what it has found, whichever station ended it, and what status says of that.

use super::apply::{self, Ended, Rendered};
use super::reconcile::Subject;
use super::state::{State, Written};
use super::{Context, Error};
use crate::cluster::owned::{Kind, ObjectKey, Observed};
use crate::crd::{FeedStatus, Problem, REFRESH_ANNOTATION, Summary};
use crate::feed::FeedView;
use crate::names::{Addresses, NameState};
use crate::plan::Plan;
use crate::reason::Reason;
use crate::render::Objects;
use crate::status::{self, FeedFindings, Findings, NameFindings, Note, Outcome};
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How a reconcile ended, before it is reported.
pub(super) struct Progress {
    pub findings: Findings,
    /// When to look again although nothing changed; `None` for when something does.
    pub again: Option<Duration>,
    /// What went wrong, to be tried again after a back-off.
    pub failure: Option<Error>,
    /// Whether an object was written.
    pub wrote: bool,
    /// What rules that were in place already gained and lost, for an event.
    pub told: Option<String>,
    /// Whether there are names that no server has answered, or failed to, so far.
    pub unasked: bool,
}

/// What a reconcile has found so far, for whichever station ends it.
pub(super) struct Ending {
    pub generation: i64,
    pub feed: Option<FeedFindings>,
    pub names: Option<NameFindings>,
    pub summary: Option<Summary>,
    pub policies: Vec<String>,
    pub problems: Vec<Problem>,
    pub handled_refresh: Option<String>,
    pub again: Option<Duration>,
    pub unasked: bool,
}

impl Ending {
    pub fn new(subject: &Subject<'_>, observed: &BTreeMap<ObjectKey, Observed>) -> Self {
        Self {
            generation: subject.generation,
            feed: None,
            names: None,
            summary: None,
            policies: policy_names(observed.keys()),
            problems: Vec::new(),
            handled_refresh: None,
            again: None,
            unasked: false,
        }
    }

    /// Hands a request for a fetch to the feed, once for each value of the annotation.
    pub fn refreshed(&mut self, subject: &Subject<'_>, context: &Context) {
        let asked = subject.resource.annotations().get(REFRESH_ANNOTATION);
        let handled = subject.resource.status.as_ref().and_then(|status| status.last_handled_refresh.as_ref());
        if let Some(token) = asked.filter(|token| Some(*token) != handled) {
            context.feeds.refresh(subject.who(), token);
        }
    }

    pub fn planned(&mut self, plan: &Plan, addresses: &Addresses) {
        let waiting =
            addresses.by_name.values().filter(|name| name.addresses.is_empty() && !name.state.is_definitive()).count();
        self.unasked = addresses.by_name.values().any(|name| name.state == NameState::Waiting);
        self.names = Some(NameFindings {
            waiting,
            silent: !addresses.by_name.is_empty() && addresses.by_name.values().all(|name| name.state.is_failing()),
            unresolved: plan.names.saturating_sub(plan.names_resolved).saturating_sub(waiting),
            wildcards: plan.wildcards,
            required_wildcard: plan.required_wildcard_unhonoured,
        });
        self.summary = Some(Objects::default().summary(plan));
        self.problems.extend(plan.problems.iter().cloned());
    }

    pub fn rendered(&mut self, plan: &Plan, objects: &Objects) {
        self.summary = Some(objects.summary(plan));
        self.problems.extend(objects.problems.iter().cloned());
    }

    pub async fn apply(
        mut self,
        subject: &Subject<'_>,
        context: &Context,
        state: &mut State,
        rendered: Rendered<'_>,
    ) -> Progress {
        let Ended { outcome, problems, again, failure, wrote, told } =
            apply::apply(subject, context, state, rendered).await;
        self.problems.extend(problems);
        self.again = [self.again, again].into_iter().flatten().min();
        let observed = context.owned.of(subject.who(), &subject.identity.uid);
        self.policies = policy_names(observed.keys());
        if let Some(summary) = &mut self.summary {
            summary.policies = i64::try_from(self.policies.len()).unwrap_or(i64::MAX);
        }
        let mut progress = self.with(outcome);
        progress.failure = failure;
        progress.wrote = wrote;
        progress.told = told;
        progress
    }

    pub fn with(self, outcome: Outcome) -> Progress {
        let findings = Findings {
            generation: self.generation,
            outcome,
            feed: self.feed,
            names: self.names,
            summary: self.summary,
            policies: self.policies,
            problems: self.problems,
            handled_refresh: self.handled_refresh,
        };
        Progress { findings, again: self.again, failure: None, wrote: false, told: None, unasked: self.unasked }
    }
}

fn policy_names<'a>(keys: impl Iterator<Item = &'a ObjectKey>) -> Vec<String> {
    keys.filter(|key| key.kind == Kind::Policy).map(|key| key.name.to_string()).collect()
}

pub(super) fn feed_findings(view: &FeedView) -> FeedFindings {
    let text =
        |time: &Option<jiff::Timestamp>| time.map(|time| time.round(jiff::Unit::Second).unwrap_or(time).to_string());
    let list = view.allowlist.as_deref();
    FeedFindings {
        current: view.current,
        reason: view.reason,
        message: view.message.clone(),
        status: FeedStatus {
            cloud: view.cloud.as_str().to_owned(),
            version: list.and_then(|list| list.version.clone()),
            valid_until: text(&list.and_then(|list| list.valid_until)),
            fetched_at: text(&view.fetched_at),
            next_fetch: text(&view.next_fetch),
            transaction_id: view.transaction_id.clone(),
        },
    }
}

/// Writes the status where it says something new, and the events that go with it.
pub(super) async fn report(
    subject: &Subject<'_>,
    context: &Context,
    state: &mut State,
    progress: &mut Progress,
) -> Result<(), Error> {
    let resource = subject.resource;
    // The watch may not have brought our own last write yet: then that, not the store, is what the resource says.
    let seen = resource.metadata.resource_version.clone();
    let (version, previous) = match state.written.as_ref().filter(|written| written.seen == seen) {
        Some(written) => (written.got.clone(), Some(Arc::clone(&written.status))),
        None => (seen.clone(), resource.status.clone().map(Arc::new)),
    };
    let findings = progress.findings.clone();
    let transaction = findings.feed.as_ref().and_then(|feed| feed.status.transaction_id.clone());
    let next = status::status(previous.as_deref(), findings, context.clock.now());
    context.metrics.resource(subject.who(), &next);
    let mut notes = Vec::new();
    if previous.as_deref() != Some(&next) {
        let got = context.reporter.write(resource, version.as_deref(), &next).await?;
        notes = status::notes(previous.as_deref(), &next, transaction.as_deref());
        state.written = Some(Written { seen, got, status: Arc::new(next) });
    }
    notes.extend(progress.told.take().map(|message| Note { warning: false, reason: Reason::Applied, message }));
    for note in notes {
        context.reporter.publish(resource, &note).await;
    }
    Ok(())
}
