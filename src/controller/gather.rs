//! Gathers everything that a decision needs: the only step of a reconcile that reads.

use super::Context;
use crate::cluster::apply::WriteError;
use crate::cluster::pods::ListError;
use crate::names::RecoveredAddresses;
use crate::objects::key::ObjectKey;
use crate::objects::observed::{Observed, RecoveredObject};
use crate::objects::owner::OwnerRef;
use crate::pipeline::{self, AffectedPods, Behind, Carry, Gathered, Inputs, Request};
use crate::plan::Selection;
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
    // Policies of 0.1.0 carry no selection.
    let is_applied = existing.iter().any(|(key, observed)| {
        let selected = key.direction().map(|direction| request.selected.direction(direction));
        key.is_policy() && observed.selection.is_none_or(|selection| Some(selection) == selected)
    });
    let view = context.feeds.watch_applied(&request.resource, request.feed.clone(), is_applied);
    if let Some(transaction) = &view.transaction_id {
        span.record("transaction", tracing::field::display(transaction));
    }
    if let Some(token) = &request.refresh {
        context.feeds.refresh(&request.resource, token);
    }
    let Some(newest) = view.allowlist.clone() else { return Ok(Gathered::NoList(view)) };
    drop(stage);

    let stage = debug_span!("select").entered();
    let select = |list: &Arc<Allowlist>| context.shared.memo.selection(&request.choices, list, guard);
    let accepted = pipeline::accept(carry, request.generation, &view, &newest, |list| select(list).endpoints.len());
    let selection = select(&accepted.list);
    // The last policy of a direction would go.
    let lacks = |key: &ObjectKey| key.direction().is_some_and(|direction| !selection.has(direction));
    let is_suspicious = existing.keys().any(lacks) && pipeline::is_unconfirmed(carry, Some(&view), &accepted.list);
    if accepted.held_back.is_some() || is_suspicious {
        context.feeds.confirm(&request.resource);
    }
    let newer = match context.feeds.asks_vendor() {
        true => pipeline::newer_list(carry, request, existing, &accepted.list, &view, context.clock.now()),
        // An older document in the directory is its administrator's word.
        false => None,
    };
    if newer.is_some() && carry.behind.is_none() {
        context.feeds.hurry(&request.resource);
    }
    drop(stage);

    let objects = objects(owner, context, carry, &selection, newer.is_some()).await?;
    let suspects = |it: &[RecoveredObject]| pipeline::shrinks_applied(carry, request, &view, it, &selection);
    // While the list is behind, all that is applied stays in any case.
    let shrunk = objects.as_deref().filter(|_| newer.is_none()).and_then(suspects);
    if let Some(shrunk) = shrunk {
        context.feeds.confirm(&request.resource);
        return Ok(Gathered::NoList(shrunk.held_back(view)));
    }
    let recovered = objects.map(|it| pipeline::recover(&it, request.selected, &selection, facts, newer.is_some()));
    let behind = newer.map(|newer| Behind::new(newer, carry, &selection, recovered.as_ref()));
    let selection = match &behind {
        Some(behind) => Arc::new(behind.followed(&selection, existing)),
        None => selection,
    };
    let answers = {
        let _stage = debug_span!("names").entered();
        let known = recovered.as_ref().or(carry.recovered.as_ref()).map(|recovered| &recovered.addresses);
        let is_applied = |name: &DomainName| known.is_some_and(|known: &RecoveredAddresses| known.knows(name));
        context.names.watch_applied(&request.resource, &selection.names, request.retention, &is_applied)
    };
    let pods = pods(request, owner, context).instrument(debug_span!("pods")).await;
    let inputs = Inputs { view: Some(view), newest, accepted, behind, selection, recovered, answers, pods };
    Ok(Gathered::Everything(Box::new(inputs)))
}

/// The resource's objects: read once after this process began to lead, and again after the list was behind or the last policy
/// of a direction was kept.
async fn objects(
    owner: &OwnerRef,
    context: &Context,
    carry: &Carry,
    selection: &Selection,
    is_behind: bool,
) -> Result<Option<Vec<RecoveredObject>>, WriteError> {
    let objects = if pipeline::must_recover_again(carry, selection, is_behind) {
        None
    } else if carry.recovered.is_none() {
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
