//! One reconcile: the stations in their order, and what each hands the next.

use super::activation;
use super::apply::{self, Ended, Rendered};
use super::state::{Shrunk, State, Written};
use super::surroundings;
use super::{Context, Error, Mender};
use crate::cluster::apply::OwnerIdentity;
use crate::cluster::owned::{Kind, Memory, ObjectKey, Observed};
use crate::crd::{CitrixAllowlist, FeedStatus, Mode, Problem, ProblemKind, REFRESH_ANNOTATION, Summary};
use crate::facts::ClusterFacts;
use crate::feed::{Allowlist, FeedRequest, FeedView};
use crate::names::Addresses;
use crate::plan::{self, Inherited, Plan, Selection, Target};
use crate::render::{self, Objects};
use crate::status::{self, FeedFindings, Findings, NameFindings, Outcome};
use crate::subscriber::Subscriber;
use ipnet::IpNet;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt as _};
use kube::runtime::controller::Action;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tracing::{Instrument as _, Span, debug_span};

/// A resource being reconciled.
pub(super) struct Subject<'a> {
    pub resource: &'a CitrixAllowlist,
    pub identity: OwnerIdentity,
    pub generation: i64,
    /// The span of this reconcile.
    pub span: Span,
}

impl<'a> Subject<'a> {
    pub fn of(resource: &'a CitrixAllowlist) -> Self {
        let subscriber = Subscriber::new(resource.namespace().unwrap_or_default(), resource.name_any());
        let uid = resource.uid().unwrap_or_default().into();
        Self {
            resource,
            identity: OwnerIdentity { subscriber, uid },
            generation: resource.metadata.generation.unwrap_or_default(),
            span: Span::current(),
        }
    }

    pub fn who(&self) -> &Subscriber {
        &self.identity.subscriber
    }

    fn mode(&self) -> Mode {
        self.resource.spec.mode
    }
}

/// After how many failures in a row those are told that pass by themselves.
const TOLD_AFTER: u32 = 5;

/// How a reconcile ended, before it is reported.
struct Progress {
    findings: Findings,
    /// When to look again although nothing changed; `None` for when something does.
    again: Option<Duration>,
    /// What went wrong, to be tried again after a back-off.
    failure: Option<Error>,
    /// Whether an object was written.
    wrote: bool,
}

/// Brings the cluster to what a resource asks for, and its status to what is so.
pub(super) async fn reconcile(
    resource: &CitrixAllowlist,
    context: &Context,
    state: &mut State,
) -> Result<(&'static str, Action), Error> {
    let subject = Subject::of(resource);
    if state.uid != subject.identity.uid {
        *state = State { uid: Arc::clone(&subject.identity.uid), ..State::default() };
    }
    let mut progress = advance(&subject, context, state).await;
    // The cluster moved on between decision and write: the decision is made anew at once, and there is nothing to tell
    // of, unless it goes on.
    let passing = |failure: &Error| failure.mender() == Mender::Nobody && state.failures < TOLD_AFTER;
    if progress.failure.as_ref().is_some_and(passing)
        && let Some(failure) = progress.failure.take()
    {
        return Err(failure);
    }
    report(&subject, context, state, &mut progress).instrument(debug_span!("status")).await?;
    match progress.failure {
        Some(failure) => Err(failure),
        None => {
            let action = progress.again.map_or_else(Action::await_change, Action::requeue);
            Ok((outcome(&progress), action))
        }
    }
}

/// How a reconcile that did not fail is counted.
fn outcome(progress: &Progress) -> &'static str {
    match progress.findings.outcome {
        Outcome::WaitingForFeed | Outcome::WaitingForNames { .. } | Outcome::NothingResolved(_) => "waiting",
        Outcome::Suspended
        | Outcome::Audit(_)
        | Outcome::Protected(_)
        | Outcome::InvalidSpec(_)
        | Outcome::NoMatch
        | Outcome::Conflict(_) => "held",
        Outcome::Applied | Outcome::Refused(_) | Outcome::Unavailable(_) if progress.wrote => "changed",
        Outcome::Applied | Outcome::Refused(_) | Outcome::Unavailable(_) => "unchanged",
    }
}

/// The way through: each station either hands on, or ends the way with an outcome.
async fn advance(subject: &Subject<'_>, context: &Context, state: &mut State) -> Progress {
    let spec = &subject.resource.spec;
    let observed = context.owned.of(subject.who(), &subject.identity.uid);
    let mut ended = Ending::new(subject, &observed);
    if spec.suspend {
        return ended.with(Outcome::Suspended);
    }
    if let Err(outcome) = permitted(subject, context) {
        return ended.with(outcome);
    }
    let (guard, facts) = context.surroundings();

    let station = debug_span!("feed").entered();
    let view = context.feeds.watch(subject.who(), FeedRequest::from_spec(spec));
    if let Some(transaction) = &view.transaction_id {
        // The reconcile's own span, so that every line of it can be told to the vendor's support.
        subject.span.record("transaction", tracing::field::display(transaction));
    }
    ended.refreshed(subject, context);
    ended.handled_refresh = view.handled_refresh.as_deref().map(str::to_owned);
    ended.feed = Some(feed_findings(&view));
    ended.problems.extend(view.problems.iter().cloned());
    let Some(newest) = &view.allowlist else {
        return ended.with(Outcome::WaitingForFeed);
    };

    drop(station);
    let station = debug_span!("select").entered();
    let (allowlist, shrunk) =
        state.believe(subject.generation, &view, newest, |list| plan::select(spec, list, &guard).endpoints.len());
    if let Some(shrunk) = shrunk {
        context.feeds.confirm(subject.who());
        ended.problems.push(held_back(newest, shrunk));
    }
    let selection = plan::select(spec, &allowlist, &guard);
    drop(station);

    let station = debug_span!("names").entered();
    remember(subject, context, state, &selection, &facts);
    let retention = spec.address_retention.duration();
    let addresses = context.names.watch(subject.who(), &selection.names, retention);
    drop(station);

    let now = context.clock.instant();
    let inherited = match &state.inherited {
        Some((inherited, until)) if now < *until => inherited,
        _ => &Inherited::default(),
    };
    let pods = surroundings::pods(subject, context).instrument(debug_span!("pods")).await;
    ended.problems.extend(pods.problem());
    let plan = debug_span!("decide").in_scope(|| {
        plan::decide(&plan::Inputs {
            spec,
            selection: &selection,
            addresses: &addresses,
            facts: &facts,
            guard: &guard,
            inherited,
            declared_ports: pods.declared_ports(),
        })
    });
    ended.planned(&plan, &addresses);

    let owner = render::Owner {
        name: subject.resource.name_any(),
        namespace: subject.who().namespace.to_string(),
        uid: Some(subject.identity.uid.to_string()),
    };
    let applied = observed.keys().filter(|key| key.kind == Kind::Policy).map(|key| &*key.name);
    let layout = render::PreviousLayout::of(applied, &owner.name);
    let first = match subject.mode() {
        Mode::Enforce => activation::first_policies(&plan, layout),
        // What is reported first would be what is isolated first.
        Mode::Audit if !observed.keys().any(|key| key.kind == Kind::ConfigMap) => {
            activation::first_policies(&plan, render::PreviousLayout::default())
        }
        Mode::Audit => Vec::new(),
    };
    let since = *state.waiting_since.get_or_insert(now);
    let hold = activation::hold(&plan, &first, &addresses, since, context.settings.first_policy_wait, now)
        // That nothing would be applied is what Audit is there to say.
        .filter(|hold| subject.mode() == Mode::Enforce || matches!(hold.outcome, Outcome::WaitingForNames { .. }));
    if hold.is_none() {
        state.waiting_since = None;
    }
    ended.again = hold.as_ref().and_then(|hold| hold.until).map(|until| until.saturating_duration_since(now));
    if let Some(hold) = hold.as_ref().filter(|_| layout == render::PreviousLayout::default()) {
        return ended.with(hold.outcome.clone());
    }

    let mut objects =
        debug_span!("render").in_scope(|| render::objects(&owner, spec, &plan, &context.settings.limits, &layout));
    ended.rendered(&plan, &objects);
    if hold.is_some() {
        // One direction is applied already and is kept right; the other appears when it may.
        objects.leave_out(&first, &owner.name);
    }
    let would_apply = (subject.mode() == Mode::Audit).then(|| pods.would_apply(&spec.pod_selector, &objects));
    let inherited_until = state.inherited.as_ref().filter(|(rules, _)| !rules.is_empty()).map(|(_, until)| *until);
    let inherited_ends = inherited_until.map(|until| until.saturating_duration_since(now));
    ended.again = [ended.again, inherited_ends].into_iter().flatten().min();
    let held = hold.map(|hold| hold.outcome);
    let rendered = Rendered { plan: &plan, objects, would_apply, held, allowlist: &allowlist, addresses: &addresses };
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
    match context.settings.own_pod.get() {
        Some(own) if own.namespace == **namespace && selector.matches(&own.labels) => Err(Outcome::Protected(
            "spec.podSelector matches the operator's own pods: a policy would cut it off from the API server"
                .to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Takes over, once, what the resource's objects remember from before this process led: addresses that a ConfigMap
/// attributes to a name still wanted, and that a policy of ours allows, count as seen now. What policies allow beyond
/// that stays for one retention where nothing tells whose it was.
fn remember(subject: &Subject<'_>, context: &Context, state: &mut State, selection: &Selection, facts: &ClusterFacts) {
    if std::mem::replace(&mut state.remembered, true) {
        return;
    }
    let Some(memories) = context.owned.take_memory(subject.who(), &subject.identity.uid) else { return };
    let mut rules = Vec::new();
    let mut attributed: BTreeMap<_, Vec<std::net::IpAddr>> = BTreeMap::new();
    let mut given = BTreeSet::new();
    for memory in memories {
        match &*memory {
            Memory::Rules(of_policy) => rules.extend(of_policy.iter().cloned()),
            Memory::Attribution { names, networks } => {
                attributed.extend(names.clone());
                given.extend(networks.iter().copied());
            }
        }
    }
    let nat64 = facts.nat64_prefix.and_then(plan::Nat64::new);
    let allowed = |address: &std::net::IpAddr| {
        let translated = match (address, nat64) {
            (std::net::IpAddr::V4(address), Some(nat64)) => Some(IpNet::V6(nat64.embed((*address).into()))),
            _ => None,
        };
        let forms = [Some(IpNet::from(*address)), translated];
        let mut networks = rules.iter().flat_map(|(_, _, networks)| networks);
        networks.any(|network| forms.iter().flatten().any(|form| network.contains(form)))
    };
    for name in selection.names.iter() {
        let known: Vec<_> = attributed.get(name).into_iter().flatten().copied().filter(allowed).collect();
        if !known.is_empty() {
            context.names.seed(name, &known);
        }
    }
    // What belonged to a name or an entry no longer wanted was published, or edited, away: it is not inherited.
    let listed = selection.endpoints.iter().filter_map(|endpoint| match &endpoint.target {
        Target::Network(network) => Some(*network),
        Target::Name(_) => None,
    });
    let addresses = attributed.values().flatten().map(|address| IpNet::from(*address));
    let explained = addresses.chain(given).chain(listed);
    let inherited = Inherited::unexplained(&rules, explained, nat64);
    if !inherited.is_empty() {
        let until = context.clock.instant() + subject.resource.spec.address_retention.duration();
        state.inherited = Some((inherited, until));
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

fn feed_findings(view: &FeedView) -> FeedFindings {
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

/// What a reconcile has found so far, for whichever station ends it.
struct Ending {
    generation: i64,
    feed: Option<FeedFindings>,
    names: Option<NameFindings>,
    summary: Option<Summary>,
    policies: Vec<String>,
    problems: Vec<Problem>,
    handled_refresh: Option<String>,
    again: Option<Duration>,
}

impl Ending {
    fn new(subject: &Subject<'_>, observed: &BTreeMap<ObjectKey, Observed>) -> Self {
        Self {
            generation: subject.generation,
            feed: None,
            names: None,
            summary: None,
            policies: policy_names(observed.keys()),
            problems: Vec::new(),
            handled_refresh: None,
            again: None,
        }
    }

    /// Hands a request for a fetch to the feed, once for each value of the annotation.
    fn refreshed(&mut self, subject: &Subject<'_>, context: &Context) {
        let asked = subject.resource.annotations().get(REFRESH_ANNOTATION);
        let handled = subject.resource.status.as_ref().and_then(|status| status.last_handled_refresh.as_ref());
        if let Some(token) = asked.filter(|token| Some(*token) != handled) {
            context.feeds.refresh(subject.who(), token);
        }
    }

    fn planned(&mut self, plan: &Plan, addresses: &Addresses) {
        let waiting =
            addresses.by_name.values().filter(|name| name.addresses.is_empty() && !name.state.is_definitive()).count();
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

    fn rendered(&mut self, plan: &Plan, objects: &Objects) {
        self.summary = Some(objects.summary(plan));
        self.problems.extend(objects.problems.iter().cloned());
    }

    async fn apply(
        mut self,
        subject: &Subject<'_>,
        context: &Context,
        state: &mut State,
        rendered: Rendered<'_>,
    ) -> Progress {
        let Ended { outcome, problems, again, failure, wrote } = apply::apply(subject, context, state, rendered).await;
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
        progress
    }

    fn with(self, outcome: Outcome) -> Progress {
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
        Progress { findings, again: self.again, failure: None, wrote: false }
    }
}

fn policy_names<'a>(keys: impl Iterator<Item = &'a ObjectKey>) -> Vec<String> {
    keys.filter(|key| key.kind == Kind::Policy).map(|key| key.name.to_string()).collect()
}

/// Writes the status where it says something new, and the events that go with it.
async fn report(
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
    if previous.as_deref() == Some(&next) {
        return Ok(());
    }
    let got = context.reporter.write(resource, version.as_deref(), &next).await?;
    for note in status::notes(previous.as_deref(), &next, transaction.as_deref()) {
        context.reporter.publish(resource, &note).await;
    }
    state.written = Some(Written { seen, got, status: Arc::new(next) });
    Ok(())
}
