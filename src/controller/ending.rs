//! How a reconcile ends: what it has found, whichever station ended it, and what status says of that.

use super::apply::{self, Ended, Rendered};
use super::state::{State, Written};
use super::subject::Subject;
use super::{Context, Error};
use crate::cluster::apply::WriteError;
use crate::crd::{FeedStatus, REFRESH_ANNOTATION};
use crate::feed::FeedView;
use crate::names::{Addresses, NameState};
use crate::objects::key::{Kind, ObjectKey};
use crate::objects::observed::Observed;
use crate::plan::Plan;
use crate::reason::Reason;
use crate::render::{Figures, Remarks};
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
    /// Whether the rest is written, and told, in a later turn.
    pub later: bool,
}

impl Progress {
    /// Nothing found yet but what is applied; whichever station ends the way says with what outcome.
    pub fn begun(subject: &Subject<'_>, observed: &BTreeMap<ObjectKey, Observed>) -> Self {
        let findings = Findings {
            generation: subject.generation,
            outcome: Outcome::WaitingForFeed,
            feed: None,
            names: None,
            summary: None,
            policies: policy_names(observed.keys()),
            problems: Vec::new(),
            handled_refresh: None,
        };
        Self { findings, again: None, failure: None, wrote: false, told: None, unasked: false, later: false }
    }

    /// Ends with this outcome.
    pub fn with(mut self, outcome: Outcome) -> Self {
        self.findings.outcome = outcome;
        self
    }

    /// Ends with a write that was not carried out.
    pub fn refused(mut self, error: WriteError) -> Self {
        let Ended { outcome, problems, again, failure, .. } = apply::failed(error);
        self.findings.problems.extend(problems);
        Self { again, failure, ..self }.with(outcome)
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
        self.findings.names = Some(NameFindings {
            waiting,
            silent: !addresses.by_name.is_empty() && addresses.by_name.values().all(|name| name.state.is_failing()),
            unresolved: plan.names.saturating_sub(plan.names_resolved).saturating_sub(waiting),
            wildcards: plan.wildcards,
            required_wildcard: plan.required_wildcard_unhonoured,
        });
        self.findings.summary = Some(Figures::default().summary(plan));
        self.findings.problems.extend(plan.problems.iter().cloned());
    }

    pub fn rendered(&mut self, subject: &Subject<'_>, plan: &Plan, remarks: &Remarks) {
        self.findings.summary = Some(remarks.figures.summary(plan));
        self.findings.problems.extend(remarks.problems(&subject.who().name));
    }

    pub async fn apply(
        mut self,
        subject: &Subject<'_>,
        context: &Context,
        state: &mut State,
        rendered: Rendered<'_>,
    ) -> Self {
        let Ended { outcome, problems, again, failure, wrote, told, later } =
            apply::apply(subject, context, state, rendered).await;
        self.findings.problems.extend(problems);
        self.again = [self.again, again].into_iter().flatten().min();
        let observed = context.owned.of(subject.who(), &subject.identity.uid);
        self.findings.policies = policy_names(observed.keys());
        if let Some(summary) = &mut self.findings.summary {
            summary.policies = i64::try_from(self.findings.policies.len()).unwrap_or(i64::MAX);
        }
        Self { failure, wrote, told, later, ..self }.with(outcome)
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
    // What this process said last, where it has said something: who forges a status does not become its source.
    let base = state.written.as_ref().map(|written| Arc::clone(&written.status)).or_else(|| previous.clone());
    let next = status::status(base.as_deref(), findings, context.clock.now());
    context.metrics.resource(subject.who(), &next);
    let mut notes = Vec::new();
    if previous.as_deref() != Some(&next) {
        let next = Arc::new(next);
        context.resources.say(subject.who(), Arc::clone(&next));
        let got = context.reporter.write(resource, version.as_deref(), &next).await?;
        notes = status::notes(base.as_deref(), &next, transaction.as_deref());
        state.written = Some(Written { seen, got, status: next });
    }
    notes.extend(progress.told.take().map(|message| Note { warning: false, reason: Reason::Applied, message }));
    for note in notes {
        context.reporter.publish(resource, &note).await;
    }
    Ok(())
}
