//! One turn of a resource: its reconcile with a deadline, and what follows from how it ended.

use super::state::State;
use super::subject::Subject;
use super::turns::Want;
use super::{Context, backoff, reconcile};
use crate::cluster::apply::WriteError;
use crate::cluster::report::StatusError;
use crate::crd::CitrixAllowlist;
use crate::subscriber::Subscriber;
use futures::FutureExt as _;
use kube::runtime::controller::Action;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument as _;

/// The longest that one reconcile may take: a policy, a ConfigMap and a status, each with its own deadline, on a bad day.
pub(super) const RECONCILE_DEADLINE: Duration = Duration::from_secs(60);

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
pub(super) enum Mender {
    /// Nobody's: the cluster moved on meanwhile, and the decision is made anew.
    Nobody,
    /// The cluster's: it recovers, sooner or later.
    Cluster,
    /// A person's: nothing changes before somebody acts.
    Person,
}

impl Error {
    pub(super) const fn mender(&self) -> Mender {
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

/// Takes a resource's turn: one reconcile, guarded, counted, and tried again where it failed.
pub(super) async fn take_turn(resource: Arc<CitrixAllowlist>, context: Arc<Context>) -> Result<Action, Error> {
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
