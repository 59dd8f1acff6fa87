//! A worker: one reconcile of a resource with a deadline, and when the next is due.

use super::backoff::Backoff;
use super::failure::{Error, ErrorClass, RECONCILE_DEADLINE};
use super::permits::Priority;
use super::queue::{DirtyFlag, Requeue};
use super::run_loop::Work as _;
use super::session::Session;
use super::{Context, reconcile};
use crate::crd::CitrixAllowlist;
use crate::lock::lock;
use crate::names::Enforcement;
use crate::resource_ref::ResourceRef;
use crate::telemetry::Counted;
use futures::FutureExt as _;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tracing::Instrument as _;

/// Reconciles a resource once: guarded, counted, and retried after a failure.
pub(super) async fn work(key: ResourceRef, context: Arc<Context>, dirty: DirtyFlag) -> Requeue {
    // A deleted resource leaves no session behind.
    context.resources.get(&key)?;
    lock(&context.shared.unmet).queued(&key);
    let session = Arc::clone(lock(&context.shared.sessions).entry(key.clone()).or_default());
    let mut session = session.lock().await;
    let has_only_reports = session.reported.deferred.as_ref().is_some_and(|deferred| !deferred.expects_names);
    let priority = if has_only_reports { Priority::Low } else { Priority::High };
    let _permit = context.shared.permits.take(&key.namespace, priority).await;
    // A reconcile that writes nothing never waits. A thousand in a row would delay the reading of DNS answers by a second,
    // and each would run again for them.
    tokio::task::yield_now().await;
    dirty.mark_processing();
    lock(&context.shared.unmet).begins(&key);
    let began = context.clock.instant();
    let resource = context.resources.get(&key)?;
    let requeue_after = match resource.metadata.deletion_timestamp {
        // Boxed, since thousands may wait for a permit at once: only a running reconcile takes its whole memory.
        None => Box::pin(with_permit(&resource, &context, &mut session, &key, &dirty)).await,
        Some(_) => {
            // The garbage collector takes its policies.
            if context.settings.forwards() {
                context.names.observe_nothing(&key);
                context.names.enforce(&key, Enforcement::None);
            }
            None
        }
    };
    lock(&context.shared.unmet).reconciled(&key, began);
    if context.resources.get(&key).is_none() {
        // It was deleted meanwhile, and may have subscribed to tables after it was forgotten.
        context.forget(&key);
        return None;
    }
    requeue_after
}

async fn with_permit(
    resource: &CitrixAllowlist,
    context: &Context,
    session: &mut Session,
    key: &ResourceRef,
    dirty: &DirtyFlag,
) -> Requeue {
    let started = context.clock.instant();
    let span = tracing::info_span!(
        "reconcile",
        allowlist = %key,
        generation = resource.metadata.generation,
        transaction = tracing::field::Empty,
        outcome = tracing::field::Empty,
    );
    let reconcile = reconcile::reconcile(resource, context, session, dirty).instrument(span.clone());
    // A panic over one resource must not stop the others.
    let guarded = AssertUnwindSafe(tokio::time::timeout(RECONCILE_DEADLINE, reconcile)).catch_unwind();
    let result = match guarded.await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Error::Deadline),
        Err(_) => Err(Error::Defect),
    };
    let outcome = result.as_ref().map_or(Counted::Failed, |(counted, _)| *counted);
    span.record("outcome", outcome.as_str());
    let _entered = span.enter();
    context.metrics.reconciled(outcome, context.clock.instant().saturating_duration_since(started));
    match result {
        Ok((_, requeue_after)) => {
            (session.failures, session.backoff) = (0, Backoff::default());
            requeue_after
        }
        Err(error) => {
            session.failures = session.failures.saturating_add(1);
            let delay = session.backoff.failed(context.clock.instant(), fastrand::f64());
            if error.class() == ErrorClass::Conflict {
                // The change wakes the resource by itself; this is for a change that no watch shows.
                return Some(delay.min(Duration::from_secs(5)));
            }
            tracing::warn!(failures = session.failures, retry_in = ?delay, %error, "reconcile failed");
            Some(delay)
        }
    }
}
