//! From a resource to its preview: the list and the answers from any source, the decision by the controller's own pipeline.

use super::sources::{Known, Sources};
use super::{Assumptions, Preview};
use crate::crd::CitrixAllowlist;
use crate::manifests::items::full_name;
use crate::objects::key::ObjectKey;
use crate::objects::observed::Observed;
use crate::pipeline::Carry;
use crate::plan;
use anyhow::Context as _;
use connectivity_allowlist::Allowlist;
use connectivity_allowlist::net::DomainName;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// The simulated reconcile of a resource.
pub(crate) struct Simulation {
    pub allowlist: Arc<Allowlist>,
    pub preview: Preview,
    /// Names that no server has answered.
    pub unanswered: Vec<DomainName>,
    /// Applied addresses that the newest answers lack.
    pub missing: Vec<(DomainName, IpAddr)>,
}

/// The state of a resource in the cluster.
#[derive(Debug, Default)]
pub(crate) struct Existing {
    /// Its objects.
    pub objects: BTreeMap<ObjectKey, Observed>,
    /// What the previous reconcile would hand on.
    pub carry: Carry,
    /// The names that it has learned.
    pub learned: Arc<BTreeSet<DomainName>>,
}

/// Simulates a reconcile of a resource.
pub(crate) fn compute(
    resource: &CitrixAllowlist,
    place: &str,
    sources: &mut Sources,
    assumptions: &Assumptions,
    known: &Known,
    existing: &Existing,
) -> anyhow::Result<Simulation> {
    let place = || format!("{place}: {}", full_name(resource));
    let request = super::request(resource, assumptions).with_context(place)?;
    let allowlist = Arc::new(sources.lists.allowlist(&resource.spec).with_context(place)?);
    let selection = Arc::new(plan::select(request.choices.spec(), &allowlist, &assumptions.guard, &existing.learned));
    let answered = sources.answers.addresses(&selection.names, known, &assumptions.guard).with_context(place)?;
    let unanswered = answered.addresses.by_name.iter().filter(|(_, known)| !known.state.is_definitive());
    let unanswered = unanswered.map(|(name, _)| name.clone()).collect();
    let addresses = Arc::new(answered.addresses);
    let (list, carry) = ((&allowlist, selection), existing.carry.clone());
    let preview = super::preview(&request, list, addresses, assumptions, &existing.objects, carry);
    Ok(Simulation { preview: preview.with_context(place)?, allowlist, unanswered, missing: answered.missing })
}
