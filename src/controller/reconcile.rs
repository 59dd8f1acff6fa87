//! One reconcile: the stations in their order, and what each hands the next.

use super::activation;
use super::apply::Rendered;
use super::ending::{Progress, feed_findings, report};
use super::failure::Mender;
use super::queue::Again;
use super::recall;
use super::state::{Shrunk, State, ToldLater};
use super::subject::Subject;
use super::surroundings;
use super::{Context, Error, OwnPod};
use crate::crd::{CitrixAllowlist, Mode, Problem, ProblemKind};
use crate::feed::{Allowlist, FeedRequest};
use crate::guard::Origin;
use crate::memory;
use crate::names::NameState;
use crate::net::DomainName;
use crate::objects::key::{Kind, ObjectKey};
use crate::plan::keep::Selected;
use crate::plan::{self, Inherited};
use crate::reason::Reason;
use crate::render;
use crate::status::Outcome;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt as _};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{Instrument as _, debug_span};

/// How soon a resource in the operator's own namespace is looked at again while its labels are not known.
const OWN_POD_RETRY: Duration = Duration::from_secs(2);

/// For how long nothing is told of a wait that has just begun: a list and the answers for its names mostly take less, and
/// the policy would wait behind what is written of their absence.
const UNTOLD: Duration = Duration::from_millis(500);

/// After how many failures in a row those are told that pass by themselves.
const TOLD_AFTER: u32 = 5;

/// Brings the cluster to what a resource asks for, and its status to what is so.
pub(super) async fn reconcile(
    resource: &CitrixAllowlist,
    context: &Context,
    state: &mut State,
) -> Result<(&'static str, Again), Error> {
    let subject = Subject::of(resource);
    if state.uid != subject.identity.uid {
        *state = State { uid: Arc::clone(&subject.identity.uid), ..State::default() };
    }
    if state.looked_at.is_none_or(|(generation, _)| generation != subject.generation) {
        state.looked_at = Some((subject.generation, context.clock.instant()));
    }
    let before = state.told_later.take();
    let mut progress = advance(&subject, context, state).await;
    if let Some(before) = before {
        progress.wrote = true;
        progress.told = progress.told.or(before.told);
    }
    if progress.later && progress.failure.is_none() {
        state.told_later = Some(ToldLater { told: progress.told });
        return Ok(("changed", Some(Duration::ZERO)));
    }
    // The cluster moved on between decision and write: the decision is made anew at once, and there is nothing to tell
    // of, unless it goes on.
    let passing = |failure: &Error| failure.mender() == Mender::Nobody && state.failures < TOLD_AFTER;
    if progress.failure.as_ref().is_some_and(passing)
        && let Some(failure) = progress.failure.take()
    {
        return Err(failure);
    }
    if let Some(left) = untold(&subject, state, &progress, context.clock.instant()) {
        return Ok(("waiting", Some(left)));
    }
    if !is_provisional(&subject, state, &progress) {
        report(&subject, context, state, &mut progress).instrument(debug_span!("status")).await?;
        state.reported = true;
    }
    match progress.failure {
        Some(failure) => Err(failure),
        None => Ok((outcome(&progress), progress.again)),
    }
}

/// How long from now on nothing is to be told of a wait; `None` where there is something to tell. Only of what has not
/// been answered at all: a failure is told at once.
fn untold(subject: &Subject<'_>, state: &State, progress: &Progress, now: Instant) -> Option<Duration> {
    let unanswered = match &progress.findings.outcome {
        Outcome::WaitingForFeed => {
            progress.findings.feed.as_ref().is_some_and(|feed| feed.reason == Reason::WaitingForFeed)
        }
        Outcome::WaitingForNames { .. } => progress.unasked,
        _ => false,
    };
    let said = subject.resource.status.as_ref().and_then(|status| status.observed_generation);
    let (_, since) = state.looked_at?;
    let left = UNTOLD.saturating_sub(now.saturating_duration_since(since));
    let quiet = progress.failure.is_none() && !progress.wrote;
    (unanswered && quiet && said != Some(subject.generation) && !left.is_zero()).then_some(left)
}

/// Whether what was found is about to be found anew: this process has just taken over, and names have not been asked
/// yet. The last of them wakes the resource; until then its status stays what it was, rather than to say twice what
/// has not changed.
fn is_provisional(subject: &Subject<'_>, state: &State, progress: &Progress) -> bool {
    let said = subject.resource.status.as_ref().and_then(|status| status.observed_generation);
    let quiet = progress.failure.is_none() && !progress.wrote;
    progress.unasked && !state.reported && quiet && said == Some(subject.generation)
}

/// How a reconcile that did not fail is counted.
fn outcome(progress: &Progress) -> &'static str {
    match progress.findings.outcome {
        Outcome::WaitingForFeed
        | Outcome::WaitingForNames { .. }
        | Outcome::WaitingForMemory(_)
        | Outcome::NothingUsable(_) => "waiting",
        Outcome::Suspended
        | Outcome::Audit(_)
        | Outcome::Protected(_)
        | Outcome::InvalidSpec(_)
        | Outcome::NoMatch
        | Outcome::LastPolicyKept(_)
        | Outcome::Conflict(_) => "held",
        Outcome::Applied | Outcome::Refused(_) | Outcome::Unavailable(_) if progress.wrote => "changed",
        Outcome::Applied | Outcome::Refused(_) | Outcome::Unavailable(_) => "unchanged",
    }
}

/// The way through: each station either hands on, or ends the way with an outcome.
async fn advance(subject: &Subject<'_>, context: &Context, state: &mut State) -> Progress {
    let spec = &subject.resource.spec;
    let mut ended = Progress::begun(subject, &context.owned.of(subject.who(), &subject.identity.uid));
    if spec.suspend {
        return ended.with(Outcome::Suspended);
    }
    if let Err(outcome) = permitted(subject, context) {
        ended.again = matches!(outcome, Outcome::Unavailable(_)).then_some(OWN_POD_RETRY);
        return ended.with(outcome);
    }
    // Before anything is waited for: what a forerunner's policies close must not be opened by the garbage collector.
    match context.writer.inherit(&subject.identity).await {
        Ok(0) => {}
        Ok(objects) => tracing::info!(objects, "took over what a resource of the same name left behind"),
        Err(error) => return ended.refused(error),
    }
    let observed = context.owned.of(subject.who(), &subject.identity.uid);
    let is_known = state.believed.is_some() || observed.keys().any(|key| key.kind == Kind::Policy);
    if let Some(wait) = activation::memory(is_known, &context.settings.pressure) {
        ended.again = Some(memory::LOOK_AGAIN);
        ended.findings.problems.push(Problem::new(ProblemKind::Limit, "memory of the operator", None, &wait));
        return ended.with(Outcome::WaitingForMemory(wait));
    }
    let (guard, facts) = context.surroundings();

    let station = debug_span!("feed").entered();
    let view = context.feeds.watch(subject.who(), FeedRequest::from_spec(spec));
    if let Some(transaction) = &view.transaction_id {
        // The reconcile's own span, so that every line of it can be told to the vendor's support.
        subject.span.record("transaction", tracing::field::display(transaction));
    }
    ended.refreshed(subject, context);
    ended.findings.handled_refresh = view.handled_refresh.as_deref().map(str::to_owned);
    ended.findings.feed = Some(feed_findings(&view));
    ended.findings.problems.extend(view.problems.iter().cloned());
    let Some(newest) = &view.allowlist else {
        return ended.with(Outcome::WaitingForFeed);
    };

    drop(station);
    let station = debug_span!("select").entered();
    let (allowlist, shrunk) = state.believe(subject.generation, &view, newest, |list| {
        context.decisions.selection(spec, list, &guard).endpoints.len()
    });
    if let Some(shrunk) = shrunk {
        context.feeds.confirm(subject.who());
        ended.findings.problems.push(held_back(newest, shrunk));
    }
    let selection = context.decisions.selection(spec, &allowlist, &guard);
    drop(station);

    recall::remember(subject, context, state, &selection, &facts);
    if let Err(error) = recall::recall(subject, context, state, &selection, &facts).await {
        return ended.refused(error);
    }
    let station = debug_span!("names").entered();
    let retention = spec.address_retention.duration();
    let applied = |name: &DomainName| state.memory.knows(name);
    let known = context.names.watch_applied(subject.who(), &selection.names, retention, &applied);

    let now = context.clock.instant();
    let believable = |address| guard.check_address(address, Origin::Vendor).is_ok();
    let addresses = state.memory.join(&known, retention, believable, now);
    // What is left out is not asked: it holds nobody's time.
    let is_left_out = |state: &NameState| matches!(state, NameState::LeftOut(_));
    let answers = known.by_name.values().all(|name| name.state.is_settled() || is_left_out(&name.state));
    let passed = state.inherited.as_mut().map(|(_, missing)| missing.look(answers, now));
    if passed.is_some_and(|passed| passed >= retention) {
        state.inherited = None;
    }
    let inherited = state.inherited.as_ref().map(|(inherited, _)| inherited).filter(|inherited| !inherited.is_empty());
    drop(station);
    let pods = surroundings::pods(subject, context).instrument(debug_span!("pods")).await;
    ended.findings.problems.extend(pods.problem());
    let plan = debug_span!("decide").in_scope(|| match (inherited, pods.declared_ports()) {
        (None, None) => context.decisions.plan(spec, &selection, &addresses, &facts, &guard),
        (inherited, declared_ports) => Arc::new(plan::decide(&plan::Inputs {
            spec,
            selection: &selection,
            addresses: &addresses,
            facts: &facts,
            guard: &guard,
            inherited: inherited.unwrap_or(&Inherited::default()),
            declared_ports,
        })),
    });
    ended.planned(&plan, &addresses);

    let owner = render::Owner {
        name: subject.resource.name_any(),
        namespace: subject.who().namespace.to_string(),
        uid: Some(subject.identity.uid.to_string()),
        selected: Selected::by(spec),
    };
    let layout = render::PreviousLayout::of(observed.keys());
    let first = match subject.mode() {
        Mode::Enforce => activation::first_policies(&plan, layout),
        // Audit has no policies to remember addresses by: it waits once in each process, so that after a restart its
        // report and its ConfigMap do not lose what DNS is about to say.
        Mode::Audit if !state.passed => activation::first_policies(&plan, render::PreviousLayout::default()),
        Mode::Audit => Vec::new(),
    };
    let since = *state.waiting_since.get_or_insert(now);
    let hold = activation::hold(&plan, &first, &addresses, since, context.settings.first_policy_wait, now)
        // That nothing would be applied is what Audit is there to say.
        .filter(|hold| subject.mode() == Mode::Enforce || matches!(hold.outcome, Outcome::WaitingForNames { .. }));
    // Not where it has just ended: a write that fails must not begin it anew.
    if first.is_empty() {
        state.waiting_since = None;
    }
    ended.again = hold.as_ref().and_then(|hold| hold.until).map(|until| until.saturating_duration_since(now));
    if let Some(hold) = hold.as_ref().filter(|_| layout == render::PreviousLayout::default()) {
        return ended.with(hold.outcome.clone());
    }
    state.passed = true;

    let (remarks, mut objects) = debug_span!("render").in_scope(|| {
        let prepared = context.decisions.prepared(&spec.pod_selector, &plan, &context.settings.limits, layout);
        (prepared.remarks.clone(), prepared.desired(&subject.who().namespace, &owner))
    });
    ended.rendered(subject, &plan, &remarks);
    if hold.is_some() {
        // One direction is applied already and is kept right; the other appears when it may.
        let waits = |key: &ObjectKey| key.direction().is_some_and(|direction| first.contains(&direction));
        objects.retain(|(key, _)| !waits(key));
    }
    let would_apply = (subject.mode() == Mode::Audit).then(|| pods.would_apply(subject, &objects, remarks.figures));
    let inherited_left = state.inherited.as_ref().and_then(|(_, missing)| missing.left(retention));
    ended.again = [ended.again, inherited_left, state.memory.left(retention)].into_iter().flatten().min();
    let held = hold.map(|hold| hold.outcome);
    let selected = owner.selected;
    let rendered =
        Rendered { plan: &plan, selected, objects, would_apply, held, allowlist: &allowlist, addresses: &addresses };
    ended.apply(subject, context, state, rendered).instrument(debug_span!("apply")).await
}

/// Whether the pods selected may be isolated at all.
fn permitted(subject: &Subject<'_>, context: &Context) -> Result<(), Outcome> {
    let namespace = &subject.who().namespace;
    if context.settings.protected_namespaces.iter().any(|protected| **protected == **namespace) {
        return Err(Outcome::Protected(format!(
            "namespace {namespace} is protected: policies there could cut the cluster's own traffic; see --protected-namespace"
        )));
    }
    let selector = Selector::try_from(subject.resource.spec.pod_selector.clone())
        .map_err(|error| Outcome::InvalidSpec(format!("spec.podSelector cannot be used: {error}")))?;
    match &*context.settings.own_pod.borrow() {
        OwnPod::Known { namespace: own, labels } if **own == **namespace && selector.matches(labels) => {
            Err(Outcome::Protected(
                "spec.podSelector matches the operator's own pods: a policy would cut it off from the API server"
                    .to_owned(),
            ))
        }
        OwnPod::Unknown { namespace: own } if **own == **namespace => {
            Err(Outcome::Unavailable("the operator's own labels are not known yet".to_owned()))
        }
        _ => Ok(()),
    }
}

fn held_back(newest: &Allowlist, shrunk: Shrunk) -> Problem {
    let version = newest.version.as_deref().unwrap_or("without a version");
    let Shrunk { before, after } = shrunk;
    let message = format!(
        "the newest list would leave {after} of {before} endpoints to this spec: it is held back until the next fetch confirms it"
    );
    Problem::new(ProblemKind::FeedShrank, format!("list {version}"), None, message)
}
