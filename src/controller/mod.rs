//! The controller: which change wakes which resource, and the reconcile as a handful of calls.

mod activation;
mod apply;
mod backoff;
mod contention;
mod decisions;
mod ending;
mod reconcile;
mod state;
mod subject;
mod surroundings;
mod turns;

use crate::clock::Clock;
use crate::cluster::apply::{WriteError, Writer};
use crate::cluster::owned::OwnedObjects;
use crate::cluster::pods::PodLister;
use crate::cluster::report::{StatusError, StatusWriter};
use crate::cluster::watch::ResourceChange;
use crate::crd::CitrixAllowlist;
use crate::facts::ClusterFacts;
use crate::feed::Feeds;
use crate::guard::{Guard, GuardSettings};
use crate::names::Names;
use crate::net::Direction;
use crate::render::Limits;
use crate::server::Health;
use crate::shared::Shared;
use crate::subscriber::Subscriber;
use crate::telemetry::Metrics;
use decisions::Decisions;
use futures::{FutureExt as _, Stream, StreamExt};
use ipnet::IpNet;
use kube::runtime::controller::{Action, Config, applier};
use kube::runtime::reflector::{ObjectRef, Store};
use state::{State, States};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use subject::Subject;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use turns::{Turns, Want};

/// The longest that one reconcile may take: a policy, a ConfigMap and a status, each with its own deadline, on a bad day.
const RECONCILE_DEADLINE: Duration = Duration::from_secs(60);
/// How long the writes in hand may still take once the process is asked to leave.
const DRAIN: Duration = Duration::from_secs(8);

/// What the operator's flags say about reconciling.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long names that fail in passing hold a resource's first policy (`--first-policy-wait`).
    pub first_policy_wait: Duration,
    /// Namespaces where no policy is ever written (`--protected-namespace`).
    pub protected_namespaces: Vec<String>,
    /// Bounds on what is rendered.
    pub limits: Limits,
    /// The operator's own pod, where it runs in one.
    pub own_pod: watch::Receiver<OwnPod>,
    /// What may be opened.
    pub guard: GuardSettings,
    /// How many reconciles run at a time.
    pub concurrency: usize,
}

/// The operator's own pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnPod {
    /// It runs in none, or may not read it.
    None,
    /// Its labels are not known yet: nothing is decided in its namespace.
    Unknown {
        /// Its namespace.
        namespace: String,
    },
    /// A pod that no resource may isolate.
    Known {
        /// Its namespace.
        namespace: String,
        /// Its labels.
        labels: BTreeMap<String, String>,
    },
}

/// All that a reconcile works with.
pub struct Context {
    /// The vendor's lists.
    pub feeds: Feeds,
    /// The names.
    pub names: Names,
    /// What the operator keeps in the cluster.
    pub owned: Arc<OwnedObjects>,
    /// Lists the pods selected, where a report needs them.
    pub pods: PodLister,
    /// Writes objects.
    pub writer: Writer,
    /// Writes status and events.
    pub reporter: StatusWriter,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// What the flags say.
    pub settings: Settings,
    /// The time.
    pub clock: Clock,
    surroundings: Mutex<(Arc<Guard>, Arc<ClusterFacts>)>,
    turns: Turns,
    states: States,
    /// What resources allow, by direction, sorted.
    allowed: Shared<[(Direction, IpNet)]>,
    decisions: Decisions,
}

impl Context {
    /// A context with nothing reconciled yet.
    #[expect(clippy::too_many_arguments, reason = "each is a room of its own, and this is where they meet")]
    pub fn new(
        feeds: Feeds,
        names: Names,
        owned: Arc<OwnedObjects>,
        pods: PodLister,
        writer: Writer,
        reporter: StatusWriter,
        metrics: Arc<Metrics>,
        settings: Settings,
        clock: Clock,
    ) -> Self {
        let facts = Arc::new(ClusterFacts::default());
        let guard = Arc::new(Guard::new(settings.guard.clone(), &facts));
        let turns = Turns::new(settings.concurrency);
        let surroundings = Mutex::new((guard, facts));
        Self {
            feeds,
            names,
            owned,
            pods,
            writer,
            reporter,
            metrics,
            settings,
            clock,
            surroundings,
            turns,
            states: States::default(),
            allowed: Shared::default(),
            decisions: Decisions::default(),
        }
    }

    /// The guard and the facts it was made from, as of now.
    fn surroundings(&self) -> (Arc<Guard>, Arc<ClusterFacts>) {
        let surroundings = self.surroundings.lock().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&surroundings.0), Arc::clone(&surroundings.1))
    }

    /// Takes in new facts about the cluster. Says whether policies may depend on what changed: most endpoints of DNS
    /// decide only whom `names` asks.
    pub fn learn(&self, facts: Arc<ClusterFacts>) -> bool {
        let guard = Arc::new(Guard::new(self.settings.guard.clone(), &facts));
        self.names.set_guard((*guard).clone());
        let mut surroundings = self.surroundings.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *surroundings, (guard, Arc::clone(&facts)));
        before.1.as_policies_see() != facts.as_policies_see()
    }

    /// A resource is gone: its objects go with it by garbage collection, and nobody asks for its list and names any more.
    pub fn forget(&self, who: &Subscriber) {
        self.feeds.unwatch(who);
        self.names.unwatch(who);
        self.states.forget(who);
        self.owned.forget_owner(who);
        self.metrics.forget(who);
    }
}

/// Why a reconcile failed, by station.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Writing objects.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Writing status.
    #[error(transparent)]
    Status(#[from] StatusError),
    /// It took too long.
    #[error("not done within {} s", RECONCILE_DEADLINE.as_secs())]
    Deadline,
    /// The operator's own fault: it panicked.
    #[error("a defect in the operator, to be reported with the panic logged above; what is applied stays")]
    Defect,
}

/// Whose a failure is to mend, and so how soon to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mender {
    /// Nobody's: the cluster moved on meanwhile, and the decision is made anew.
    Nobody,
    /// The cluster's: it recovers, sooner or later.
    Cluster,
    /// A person's: nothing changes before somebody acts.
    Person,
}

impl Error {
    const fn mender(&self) -> Mender {
        match self {
            Self::Write(WriteError::Changed(_) | WriteError::NotLeading)
            | Self::Status(StatusError::Changed | StatusError::NotLeading) => Mender::Nobody,
            Self::Write(WriteError::Refused { .. } | WriteError::NotOurs(_)) => Mender::Person,
            Self::Write(WriteError::Unavailable { .. })
            | Self::Status(StatusError::Failed(_))
            | Self::Deadline
            | Self::Defect => Mender::Cluster,
        }
    }
}

async fn take_turn(resource: Arc<CitrixAllowlist>, context: Arc<Context>) -> Result<Action, Error> {
    if resource.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let who = Subject::of(&resource).who().clone();
    let state = context.states.of(&who);
    let mut state = state.lock().await;
    let want = if state.told_later.is_some() { Want::Rest } else { Want::Policies };
    let _turn = context.turns.take(&who.namespace, want).await;
    // Thousands may wait for their turn at once: only whose turn it is has room for a whole reconcile.
    Box::pin(with_turn(&resource, &context, &mut state, &who)).await
}

async fn with_turn(
    resource: &CitrixAllowlist,
    context: &Context,
    state: &mut State,
    who: &Subscriber,
) -> Result<Action, Error> {
    let started = context.clock.instant();
    let span = tracing::info_span!(
        "reconcile",
        allowlist = %who,
        generation = resource.metadata.generation,
        transaction = tracing::field::Empty,
        outcome = tracing::field::Empty,
    );
    let reconcile = reconcile::reconcile(resource, context, state).instrument(span.clone());
    // A defect that one resource brings out must not stop the others.
    let guarded = AssertUnwindSafe(tokio::time::timeout(RECONCILE_DEADLINE, reconcile)).catch_unwind();
    let result = match guarded.await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Error::Deadline),
        Err(_) => Err(Error::Defect),
    };
    let outcome = result.as_ref().map_or("failed", |(outcome, _)| outcome);
    span.record("outcome", outcome);
    let _entered = span.enter();
    context.metrics.reconciled(outcome, context.clock.instant().saturating_duration_since(started));
    match result {
        Ok((_, action)) => {
            state.failures = 0;
            Ok(action)
        }
        Err(error) => {
            state.failures = state.failures.saturating_add(1);
            let delay = match error.mender() {
                // What changed wakes the resource by itself; this is for a change that no watch shows.
                Mender::Nobody => backoff::delay(state.failures, fastrand::f64()).min(Duration::from_secs(5)),
                Mender::Cluster | Mender::Person => backoff::delay(state.failures, fastrand::f64()),
            };
            if error.mender() != Mender::Nobody {
                tracing::warn!(failures = state.failures, retry_in = ?delay, %error, "reconcile failed");
            }
            Ok(Action::requeue(delay))
        }
    }
}

/// Everything the loop listens to.
pub struct Inputs<Changes> {
    /// The resources.
    pub store: Store<CitrixAllowlist>,
    /// Which of them changed in what their users ask for.
    pub changes: Changes,
    /// Whom the tables and the owned objects wake.
    pub woken: UnboundedReceiver<Subscriber>,
    /// What the cluster is.
    pub facts: watch::Receiver<Arc<ClusterFacts>>,
    /// Whether this process leads.
    pub leading: watch::Receiver<bool>,
    /// What has to be known before anything is decided: a first policy without the cluster's DNS would cut it.
    pub synced: Vec<watch::Receiver<bool>>,
    /// Beaten by the loop.
    pub health: Health,
}

/// How often the loop shows that it goes round.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Reconciles while this process leads, until `stop`; then finishes the writes in hand.
pub async fn run<Changes>(context: Arc<Context>, inputs: Inputs<Changes>, stop: CancellationToken)
where
    Changes: Stream<Item = Vec<ResourceChange>> + Send + 'static,
{
    let Inputs { store, changes, mut woken, mut facts, mut leading, synced, health } = inputs;
    let mut synced = stream_of(synced).fuse();
    let mut known = false;
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    let (queue, requests) = tokio::sync::mpsc::unbounded_channel::<ObjectRef<CitrixAllowlist>>();
    let requests = Arc::new(tokio::sync::Mutex::new(requests));
    let mut changes = Box::pin(changes);
    let request = |who: &Subscriber| {
        // The queue lives as long as this loop.
        let _ = queue.send(ObjectRef::new(&who.name).within(&who.namespace));
    };
    let request_all = || {
        for resource in store.state() {
            let _ = queue.send(ObjectRef::from_obj(&*resource));
        }
    };
    context.learn(facts.borrow_and_update().clone());
    let mut term: Option<Term> = None;
    loop {
        let leads = *leading.borrow_and_update();
        // Here and not where it changes: a change that comes together with another is seen only here.
        context.metrics.leading(leads);
        if leads && known && term.is_none() {
            tracing::info!("leading: reconciling");
            tokio::select! {
                () = context.feeds.restore() => {}
                () = stop.cancelled() => break,
            }
            while requests.lock().await.try_recv().is_ok() {}
            term = Some(Term::begin(Arc::clone(&context), store.clone(), Arc::clone(&requests)));
            request_all();
        } else if !leads && let Some(ended) = term.take() {
            tracing::warn!("no longer leading: standing by");
            ended.abort().await;
            context.states.clear();
            context.metrics.forget_resources();
            // Whoever leads meanwhile writes what we shall have to remember.
            context.owned.start_over();
            // Nor is anything decided before it has been listed again, however soon this process leads again.
            known = false;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            Some(changes) = changes.next() => for change in changes {
                match change {
                    ResourceChange::Changed(who) if term.is_some() => request(&who),
                    ResourceChange::Changed(_) => {}
                    ResourceChange::Gone(who) => context.forget(&who),
                }
            },
            Some(who) = woken.recv() => if term.is_some() { request(&who) },
            Ok(()) = facts.changed() => {
                let newest = facts.borrow_and_update().clone();
                if context.learn(newest) && term.is_some() {
                    request_all();
                }
            }
            Ok(()) = leading.changed() => {}
            _ = heartbeat.tick() => health.beat(),
            Some(all) = synced.next() => known = all,
        }
    }
    if let Some(term) = term {
        term.finish().await;
    }
}

/// Whether all of these are true, each time one of them changes.
fn stream_of(receivers: Vec<watch::Receiver<bool>>) -> impl Stream<Item = bool> + Unpin {
    let state = (receivers, true);
    Box::pin(futures::stream::unfold(state, |(mut receivers, first)| async move {
        if !first && receivers.is_empty() {
            return None;
        }
        if !first {
            let changes = receivers.iter_mut().map(|receiver| Box::pin(receiver.changed()));
            // A sender that is gone never changes again: its watch has ended, and the process with it.
            if futures::future::select_all(changes).await.0.is_err() {
                return None;
            }
        }
        // Every one is marked as seen, whether or not an earlier one is false already.
        let values: Vec<bool> = receivers.iter_mut().map(|receiver| *receiver.borrow_and_update()).collect();
        let all = values.into_iter().all(|value| value);
        Some((all, (receivers, false)))
    }))
}

/// The reconciling of one term of leadership.
struct Term {
    finish: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Term {
    fn begin(
        context: Arc<Context>,
        store: Store<CitrixAllowlist>,
        requests: Arc<tokio::sync::Mutex<UnboundedReceiver<ObjectRef<CitrixAllowlist>>>>,
    ) -> Self {
        let finish = CancellationToken::new();
        let stopped = finish.clone();
        let task = tokio::spawn(async move {
            let mut requests = requests.lock_owned().await;
            let queue = futures::stream::poll_fn(move |waker| requests.poll_recv(waker))
                .map(Ok::<_, Infallible>)
                .take_until(stopped.cancelled_owned());
            applier(
                |resource, context| Box::pin(take_turn(resource, context)),
                |_, _: &Error, _| Action::requeue(RECONCILE_DEADLINE),
                context,
                store,
                Box::pin(queue),
                Config::default(),
            )
            // A resource that was woken and is gone meanwhile is no failure.
            .for_each(|_| async {})
            .await;
        });
        Self { finish, task }
    }

    /// Takes nothing new on and waits for what is in hand.
    async fn finish(mut self) {
        self.finish.cancel();
        if tokio::time::timeout(DRAIN, &mut self.task).await.is_err() {
            tracing::warn!("writes in hand did not end in time");
            self.task.abort();
        }
    }

    /// Drops everything in hand: its writes would be refused.
    async fn abort(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}
