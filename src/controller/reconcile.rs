//! One reconcile: `validate → gather → decide → apply → report`.

use super::Context;
use super::apply::{self, Applied};
use super::failure::Error;
use super::gather::gather;
use super::queue::{DirtyFlag, Requeue};
use super::report;
use super::session::Session;
use crate::cluster::apply::WriteError;
use crate::crd::CitrixAllowlist;
use crate::lock::lock;
use crate::names::Enforcement;
use crate::objects::key::ObjectKey;
use crate::objects::managed;
use crate::objects::owner::OwnerRef;
use crate::pipeline::{self, Carry, Decision, World};
use crate::resource_ref::ResourceRef;
use crate::status::Outcome;
use crate::telemetry::Counted;
use kube::ResourceExt;
use tracing::{Instrument as _, Span, debug_span};

/// Makes the cluster match a resource, and its status match the cluster.
pub(super) async fn reconcile(
    resource: &CitrixAllowlist,
    context: &Context,
    session: &mut Session,
    dirty: &DirtyFlag,
) -> Result<(Counted, Requeue), Error> {
    let owner = OwnerRef {
        resource: ResourceRef::new(resource.namespace().unwrap_or_default(), resource.name_any()),
        uid: resource.uid().unwrap_or_default().into(),
    };
    session.begin(&owner.uid, resource.metadata.generation.unwrap_or_default(), context.clock.instant());
    let (decision, applied) = match decide(resource, &owner, context, session).await {
        Ok(mut decision) => {
            // Before the writes: an interrupted write must not lose it.
            session.carry = std::mem::take(&mut decision.next);
            let writer = managed::writer_of_spec(&resource.metadata);
            let had_policies = resource.status.as_ref().is_some_and(|status| !status.policies.is_empty());
            let applied = apply::apply(&owner, &decision, context, session, (dirty, writer, had_policies));
            let applied = applied.instrument(debug_span!("apply")).await;
            (decision, applied)
        }
        Err(error) => (Decision::leave(Outcome::Applied, Carry::default()), Applied::failed(error)),
    };
    if context.settings.forwards() && decision.basis.is_none() {
        context.names.observe_nothing(&owner.resource);
    }
    // Otherwise `apply` has said what is in force.
    if context.settings.forwards() && (decision.objects.is_none() || applied.failure.is_some()) {
        let is_isolating = context.owned.of(&owner.resource, &owner.uid).keys().any(ObjectKey::is_policy);
        let enforcement = if is_isolating { Enforcement::AsBefore } else { Enforcement::None };
        // A first failure is usually over at once.
        if applied.failure.is_none() || session.failures > 0 {
            context.names.enforce(&owner.resource, enforcement);
        }
    }
    report::report((resource, &owner), decision, applied, context, session).await
}

async fn decide(
    resource: &CitrixAllowlist,
    owner: &OwnerRef,
    context: &Context,
    session: &mut Session,
) -> Result<Decision, WriteError> {
    let own_pod = context.settings.own_pod.borrow().clone();
    let request = match pipeline::validate(resource, &context.settings.protected_namespaces, &own_pod) {
        Ok(request) => request,
        Err(refusal) => return Ok(Decision::refuse(refusal, std::mem::take(&mut session.carry))),
    };
    // Before any wait: otherwise the garbage collector deletes a previous owner's policies, and opens its pods.
    let adopted = context.writer.adopt_previous(owner).await?;
    if adopted > 0 {
        context.owned.adopted(&owner.resource);
        tracing::info!(objects = adopted, "took over what a resource of the same name left behind");
    }
    let existing = context.owned.of(&owner.resource, &owner.uid);
    let (guard, facts) = lock(&context.shared.cluster).clone();
    let (span, carry) = (Span::current(), &session.carry);
    let gathered = gather(&request, owner, context, carry, &existing, (&guard, &facts), &span).await?;
    let world = World {
        request: &request,
        existing: &existing,
        facts: &facts,
        guard: &guard,
        engines: &context.settings.engines,
        limits: &context.settings.limits,
        first_policy_wait: context.settings.first_policy_wait,
        preview: false,
        gathered,
        now: context.clock.instant(),
    };
    let carry = std::mem::take(&mut session.carry);
    Ok(debug_span!("decide").in_scope(|| pipeline::decide(&world, carry, &context.shared.memo)))
}
