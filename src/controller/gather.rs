//! Gathers everything that a decision needs: the only step of a reconcile that reads.

use super::Context;
use crate::cluster::apply::WriteError;
use crate::cluster::pods::ListError;
use crate::names::RecoveredAddresses;
use crate::objects::key::ObjectKey;
use crate::objects::observed::{Observed, RecoveredObject};
use crate::objects::owner::OwnerRef;
use crate::pipeline::{self, AffectedPods, Carry, Gathered, Inputs, NotYet, Request};
use crate::plan::{KnownZones, Selection};
use crate::{crd::Mode, facts::ClusterFacts, guard::Guard};
use connectivity_allowlist::Allowlist;
use connectivity_allowlist::net::DomainName;
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::{Instrument as _, Span, debug_span};

/// Gathers what a decision for `request` needs, and subscribes the resource to its list and names. The transaction id of the
/// list goes into `span`, the reconcile's own: the vendor's support asks for it.
///
/// # Errors
/// Where the resource's objects cannot be read: nothing is decided without them.
pub(super) async fn gather(
    request: &Request,
    owner: &OwnerRef,
    context: &Context,
    carry: &Carry,
    existing: &BTreeMap<ObjectKey, Observed>,
    (guard, facts): (&Arc<Guard>, &ClusterFacts),
    span: &Span,
) -> Result<Gathered, WriteError> {
    if let Some(wait) = pipeline::waits_for_memory(carry, existing, &context.settings.pressure) {
        return Ok(Gathered::WaitsForMemory(wait));
    }
    let stage = debug_span!("feed").entered();
    let view = context.feeds.watch_applied(&request.resource, request.feed.clone(), request.is_applied(existing));
    if let Some(transaction) = &view.transaction_id {
        span.record("transaction", tracing::field::display(transaction));
    }
    if let Some(token) = &request.refresh {
        context.feeds.refresh(&request.resource, token);
    }
    let Some(newest) = view.allowlist.clone() else { return Ok(Gathered::NoList(view)) };
    drop(stage);

    // The names that a selection needs are among what is recovered.
    let mut objects = objects(owner, context, carry, None).await?;
    if let Some(objects) = objects.as_ref().filter(|_| context.settings.forwards()) {
        let mut learned = pipeline::learned(objects);
        learned.extend(request.reported_suggestions.iter().cloned());
        context.names.restore_learned(&request.resource, &learned);
    }
    let stage = debug_span!("select").entered();
    let learned = context.names.learned(&request.resource);
    let select = |list: &Arc<Allowlist>| context.shared.memo.selection(&request.choices, list, guard, &learned);
    let accepted = pipeline::accept(carry, request.generation, &view, &newest, |list| select(list).listed());
    let selection = select(&accepted.list);
    // The last policy of a direction would go.
    let lacks = |key: &ObjectKey| {
        // Of a list that was followed, nothing has to be looked at.
        let new = |direction: &_| pipeline::is_unconfirmed(carry, &view, &accepted.list, *direction);
        key.direction().filter(new).is_some_and(|direction| !selection.has(direction))
    };
    if accepted.held_back.is_some() || existing.keys().any(lacks) {
        context.feeds.confirm(&request.resource);
    }
    drop(stage);

    if objects.is_none() {
        objects = self::objects(owner, context, carry, Some(&selection)).await?;
    }
    // An older document in the directory is its administrator's word.
    if let Some(objects) = objects.as_deref().filter(|_| context.feeds.asks_vendor())
        && let Some(not_yet) =
            NotYet::judge((carry, request, &view), (&accepted.list, &selection), existing, objects, context.clock.now())
    {
        match not_yet {
            NotYet::Behind(_) => context.feeds.hurry(&request.resource),
            NotYet::Shrunk(_) => context.feeds.confirm(&request.resource),
        }
        return Ok(Gathered::NoList(not_yet.view(view)));
    }
    let recovered = objects.map(|objects| pipeline::recover(&objects, request.selected, &selection, facts));
    let mut zones = KnownZones::default();
    if context.settings.forwards() {
        context.names.observe(&request.resource, &selection.observed, &selection.zones);
        zones.states = Some(context.names.zone_states(&selection.zones));
        zones.reported.clone_from(&request.reported_observed);
    }
    let (answers, answers_read) = {
        let _stage = debug_span!("names").entered();
        let known = recovered.as_ref().or(carry.recovered.as_ref()).map(|recovered| &recovered.addresses);
        let is_applied = |name: &DomainName| known.is_some_and(|known: &RecoveredAddresses| known.knows(name));
        context.names.watch_applied(&request.resource, &selection.names, request.retention, &is_applied)
    };
    let pods = pods(request, owner, context).instrument(debug_span!("pods")).await;
    let inputs =
        Inputs { view: Some(view), newest, accepted, selection, recovered, answers, answers_read, zones, pods };
    Ok(Gathered::Everything(Box::new(inputs)))
}

/// The resource's objects: read once after this process began to lead, and again where the `selection` needs them after the last
/// policy of a direction was kept.
async fn objects(
    owner: &OwnerRef,
    context: &Context,
    carry: &Carry,
    selection: Option<&Selection>,
) -> Result<Option<Vec<RecoveredObject>>, WriteError> {
    let objects = if selection.is_some_and(|selection| pipeline::must_recover_again(carry, selection)) {
        None
    } else if carry.recovered.is_none() && selection.is_none() {
        // Taken once only. Where a reconcile ended before its decision, the objects are read again.
        context.owned.take_memory(&owner.resource, &owner.uid)
    } else {
        return Ok(None);
    };
    Ok(Some(match objects {
        Some(objects) => objects,
        None => context.writer.memories(owner).await?,
    }))
}

/// Lists the affected pods, where the decision needs them.
async fn pods(request: &Request, owner: &OwnerRef, context: &Context) -> AffectedPods {
    if !AffectedPods::are_needed(request) {
        return AffectedPods::default();
    }
    let namespace = &request.resource.namespace;
    let list = async {
        let selected = context.pods.selected(namespace, &request.pod_selector).await?;
        let others = match request.mode {
            Mode::Audit => context.pods.others_policies(namespace, &owner.uid).await?,
            Mode::Enforce => Vec::new(),
        };
        Ok::<_, ListError>((selected, others))
    };
    match list.await {
        Ok((selected, others_policies)) => AffectedPods { selected: Some(selected), others_policies, failed: false },
        Err(error) => {
            tracing::warn!(resource = %request.resource, %error, "the pods selected could not be listed");
            AffectedPods { failed: true, ..AffectedPods::default() }
        }
    }
}
