//! From everything that may influence it to a [`Decision`]. Pure.

use super::accept::{Accepted, is_unconfirmed};
use super::carry::Carry;
use super::decision::{Basis, Decision, DesiredObjects};
use super::hold;
use super::memo::Memo;
use super::pods::AffectedPods;
use super::recover::Recovered;
use super::request::Request;
use crate::crd::{FeedStatus, Mode, Problem, ProblemKind};
use crate::engines::{Counts, Engines, Layout, Limits};
use crate::facts::ClusterFacts;
use crate::feed::FeedView;
use crate::guard::{Guard, Origin};
use crate::memory;
use crate::names::{Addresses, NameState};
use crate::objects::key::ObjectKey;
use crate::objects::observed::Observed;
use crate::plan::keep;
use crate::plan::{self, Coverage, EmptyReason, Inherited, KnownZones, Plan, Selection};
use crate::status::{FeedFindings, Kept, NameFindings, Outcome};
use connectivity_allowlist::Allowlist;
use connectivity_allowlist::net::Direction;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything that may influence a decision.
#[derive(Debug)]
pub struct World<'a> {
    /// The validated resource.
    pub request: &'a Request,
    /// The resource's objects in the cluster.
    pub existing: &'a BTreeMap<ObjectKey, Observed>,
    /// The facts about the cluster.
    pub facts: &'a Arc<ClusterFacts>,
    /// The ranges that may be opened.
    pub guard: &'a Arc<Guard>,
    /// The engines that build objects from a plan.
    pub engines: &'a Engines,
    /// Bounds on objects.
    pub limits: &'a Limits,
    /// How long a first policy waits for names whose servers fail.
    pub first_policy_wait: Duration,
    /// Whether waiting objects are built too: to be shown, not applied.
    pub preview: bool,
    /// The inputs of this one decision.
    pub gathered: Gathered,
    /// The time.
    pub now: Instant,
}

/// How much could be gathered.
#[derive(Debug)]
pub enum Gathered {
    /// Nothing, since the process is close to its memory limit; with the message.
    WaitsForMemory(String),
    /// There is no list that may be followed yet.
    NoList(FeedView),
    /// All inputs.
    Everything(Box<Inputs>),
}

/// The inputs of one decision.
#[derive(Debug)]
pub struct Inputs {
    /// The state of the list; `None` where it did not come from the feed.
    pub view: Option<FeedView>,
    /// The newest list.
    pub newest: Arc<Allowlist>,
    /// The accepted list.
    pub accepted: Accepted,
    /// What the resource selects of it.
    pub selection: Arc<Selection>,
    /// The state recovered from the resource's objects, where they were read just now.
    pub recovered: Option<Recovered>,
    /// DNS' answers for the selected names.
    pub answers: Arc<Addresses>,
    /// When these were read.
    pub answers_read: Instant,
    /// Whether the cluster's DNS forwards the zones of the list.
    pub zones: KnownZones,
    /// The affected pods.
    pub pods: AffectedPods,
}

/// Decides what to do for one resource.
#[must_use]
pub fn decide(world: &World<'_>, carry: Carry, memo: &Memo) -> Decision {
    match &world.gathered {
        Gathered::WaitsForMemory(wait) => {
            let problems = vec![Problem::new(ProblemKind::Limit, "memory of the operator", None, wait)];
            let requeue_after = Some(memory::LOOK_AGAIN);
            Decision { problems, requeue_after, ..Decision::leave(Outcome::WaitingForMemory(wait.clone()), carry) }
        }
        Gathered::NoList(view) => with_feed(view, Decision::leave(Outcome::WaitingForFeed, carry)),
        Gathered::Everything(inputs) => with_list(world, inputs, carry, memo),
    }
}

fn with_list(world: &World<'_>, inputs: &Inputs, mut next: Carry, memo: &Memo) -> Decision {
    let Inputs { view, newest, accepted, pods, .. } = inputs;
    next.accepted = Some((world.request.generation, Arc::clone(&accepted.list)));
    let addresses = resolve(world, inputs, &mut next);
    let plan = plan(world, inputs, &addresses, &next, memo);

    let mut decision = Decision::leave(Outcome::Applied, next);
    if let Some(view) = view {
        decision = with_feed(view, decision);
    }
    decision.problems.extend(accepted.held_back.map(|shrunk| shrunk.problem(newest)));
    decision.problems.extend(pods.problem());
    let coverage = memo.coverage(&inputs.selection, &inputs.zones);
    // In order: those of wildcards are of the first kind.
    decision.problems.extend(coverage.problems.iter().chain(&plan.problems).cloned());
    decision.has_unasked_names = addresses.by_name.values().any(|name| name.state == NameState::Waiting);
    decision.names = Some(name_findings(&plan, &addresses, &coverage));
    let answers_read = inputs.answers_read;
    let mut basis = Basis { list: Arc::clone(&accepted.list), addresses, answers_read, plan, prepared: None };
    let layout = Layout::of(world.existing.keys());
    hold_back_first_policies(world, layout, &basis, &mut decision);
    let waits_whole = decision.wait.is_some() && layout == Layout::default();
    if !waits_whole || world.preview {
        let prepared = memo.prepared(
            world.engines,
            &world.request.pod_selector,
            &basis.plan,
            world.limits,
            world.engines.layouts(world.existing.keys()),
        );
        decision.problems.extend(prepared.problems(&world.request.resource.name));
        basis.prepared = Some(prepared);
    }
    let figures = basis.prepared.as_ref().map_or_else(Counts::default, |prepared| prepared.figures());
    decision.summary = Some(figures.summary(&basis.plan, &coverage));
    decision.coverage = Some(coverage);
    if !waits_whole {
        decision.next.has_passed_wait = true;
        choose_objects(world, inputs, &basis, &mut decision);
    }
    decision.basis = Some(basis);
    decision
}

/// The addresses of names: those that DNS answered, and recovered ones that have not been missing for a whole retention.
fn resolve(world: &World<'_>, inputs: &Inputs, next: &mut Carry) -> Arc<Addresses> {
    if inputs.recovered.is_some() {
        next.recovered.clone_from(&inputs.recovered);
    }
    let recovered = next.recovered.get_or_insert_default();
    let retention = world.request.retention;
    let is_accepted = |address| world.guard.check_address(address, Origin::Vendor).is_ok();
    let addresses = recovered.addresses.join(&inputs.answers, retention, is_accepted, world.now);
    // A name that is left out is not queried, so it delays nothing.
    let is_left_out = |state: &NameState| matches!(state, NameState::LeftOut(_));
    let answers = inputs.answers.by_name.values().all(|name| name.state.is_settled() || is_left_out(&name.state));
    let passed = recovered.unexplained.as_mut().map(|(_, missing)| missing.look(answers, world.now));
    if passed.is_some_and(|passed| passed >= retention) {
        recovered.unexplained = None;
    }
    addresses
}

fn plan(world: &World<'_>, inputs: &Inputs, addresses: &Arc<Addresses>, next: &Carry, memo: &Memo) -> Arc<Plan> {
    let Request { choices, .. } = world.request;
    let unexplained = next.recovered.as_ref().and_then(|recovered| recovered.unexplained.as_ref());
    let unexplained = unexplained.map(|(unexplained, _)| unexplained).filter(|unexplained| !unexplained.is_empty());
    match (unexplained, inputs.pods.declared_ports()) {
        (None, None) => memo.plan(choices, &inputs.selection, addresses, world.facts, world.guard),
        (unexplained, declared_ports) => Arc::new(plan::decide(&plan::PlanInputs {
            spec: choices.spec(),
            selection: &inputs.selection,
            addresses,
            facts: world.facts,
            guard: world.guard,
            inherited: unexplained.unwrap_or(&Inherited::default()),
            declared_ports,
        })),
    }
}

/// Decides whether first policies wait, and why.
fn hold_back_first_policies(world: &World<'_>, layout: Layout, basis: &Basis, decision: &mut Decision) {
    let mode = world.request.mode;
    let first = match mode {
        Mode::Enforce => hold::first_policies(&basis.plan, layout),
        // Audit has no policies to recover addresses from. It waits once in each process, so that after a restart its
        // report and its ConfigMap do not lose what DNS is about to answer.
        Mode::Audit if !decision.next.has_passed_wait => hold::first_policies(&basis.plan, Layout::default()),
        Mode::Audit => Vec::new(),
    };
    let since = *decision.next.waiting_since.get_or_insert(world.now);
    let (longest, now) = (world.first_policy_wait, world.now);
    let wait = hold::hold(&basis.plan, &first, &basis.addresses, since, longest, now)
        // Audit does not wait where nothing would be applied: it reports that.
        .filter(|wait| mode == Mode::Enforce || matches!(wait.outcome, Outcome::WaitingForNames { .. }));
    // Not when the wait has just ended: a failed write must not restart it.
    if first.is_empty() {
        decision.next.waiting_since = None;
    }
    decision.requeue_after =
        wait.as_ref().and_then(|wait| wait.until).map(|until| until.saturating_duration_since(now));
    decision.wait = wait;
    if let Some(wait) = &decision.wait {
        decision.outcome = wait.outcome.clone();
    }
}

/// Chooses the objects to apply, and the policies that stay although nothing remains to allow.
fn choose_objects(world: &World<'_>, inputs: &Inputs, basis: &Basis, decision: &mut Decision) {
    let Some(prepared) = &basis.prepared else { return };
    let Inputs { selection, pods, .. } = inputs;
    let request = world.request;
    let mut objects = prepared.desired(&request.resource.namespace, &request.ownership());
    let waiting = decision.wait.as_ref().map_or(&[][..], |wait| &wait.directions);
    // An applied direction is updated while the other one waits.
    objects.retain(|(key, _)| key.direction().is_none_or(|direction| !waiting.contains(&direction)));
    let figures = prepared.figures();
    let audit = (request.mode == Mode::Audit).then(|| pods.would_apply(request, &objects, figures));
    if audit.is_some() {
        objects.retain(|(key, _)| !key.is_policy());
    } else {
        decision.keep = kept(&basis.plan, request, world.existing, inputs, &mut decision.next);
    }
    let given = Direction::ALL.into_iter().filter(|direction| selection.has(*direction));
    decision.next.followed.extend(given.map(|direction| (direction, Arc::clone(&basis.list))));
    decision.next.names_while_kept = (!decision.keep.is_empty()).then(|| Arc::clone(&selection.names));
    let plan = &basis.plan;
    if let Some(would_apply) = &audit {
        decision.outcome = Outcome::Audit(Box::new(would_apply.clone()));
    } else if !decision.keep.is_empty() {
        decision.outcome = Outcome::LastPolicyKept(decision.keep.clone());
    } else if plan.outbound.is_none() && plan.inbound.is_none() {
        decision.outcome = nothing_allowed(plan);
    }
    decision.problems.extend(decision.keep.iter().map(Kept::problem));
    let expires = decision.next.recovered.as_ref().and_then(|recovered| recovered.left(request.retention));
    decision.requeue_after = decision.requeue_after.into_iter().chain(expires).min();
    decision.objects = Some(DesiredObjects { objects, audit });
}

/// Why nothing at all is allowed.
fn nothing_allowed(plan: &Plan) -> Outcome {
    let failed = |direction: &Direction| plan.absence(*direction).is_some_and(EmptyReason::is_failure);
    Direction::ALL.into_iter().find(failed).map_or(Outcome::NoMatch, Outcome::NothingUsable)
}

/// The directions whose policies stay although nothing remains to allow: only the user may have the last one deleted.
fn kept(
    plan: &Plan,
    request: &Request,
    existing: &BTreeMap<ObjectKey, Observed>,
    inputs: &Inputs,
    next: &mut Carry,
) -> Vec<Kept> {
    let mut all = Vec::new();
    for direction in Direction::ALL {
        let Some(mut absence) = plan.absence(direction) else { continue };
        let is_new = |view: &FeedView| is_unconfirmed(next, view, &inputs.accepted.list, direction);
        if absence == EmptyReason::NoMatch && inputs.view.as_ref().is_some_and(is_new) {
            absence = EmptyReason::Unconfirmed;
        }
        let now = request.selected.direction(direction);
        let first = next.first_selected.entry(direction).or_insert(now);
        let policies = || existing.iter().filter(|(key, _)| key.direction() == Some(direction));
        let applied = policies().map(|(_, observed)| Some(observed.selection.unwrap_or(*first)));
        let names: Vec<String> = policies().map(|(key, _)| key.name.to_string()).collect();
        if !names.is_empty() && keep::keeps(absence, applied, now) {
            all.push(Kept { direction, absence, policies: names });
        }
    }
    all
}

fn name_findings(plan: &Plan, addresses: &Addresses, coverage: &Coverage) -> NameFindings {
    let names = || addresses.by_name.values();
    let waiting = names().filter(|name| name.addresses.is_empty() && !name.state.is_definitive()).count();
    NameFindings {
        waiting,
        silent: !addresses.by_name.is_empty() && names().all(|name| name.state.is_failing()),
        unresolved: plan.names.saturating_sub(plan.names_resolved).saturating_sub(waiting),
        wildcards: coverage.wildcards.len(),
        uncovered: coverage.uncovered(),
        is_required_uncovered: coverage.is_required_uncovered,
    }
}

/// Adds the findings about the list.
fn with_feed(view: &FeedView, decision: Decision) -> Decision {
    let text =
        |time: &Option<jiff::Timestamp>| time.map(|time| time.round(jiff::Unit::Second).unwrap_or(time).to_string());
    let list = view.allowlist.as_deref();
    let feed = FeedFindings {
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
    };
    let problems = view.problems.iter().cloned().chain(decision.problems).collect();
    let handled_refresh = view.handled_refresh.as_deref().map(str::to_owned);
    Decision { feed: Some(feed), problems, handled_refresh, ..decision }
}
