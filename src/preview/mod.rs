//! What the controller would make of a resource, a list and answers: its own decision, and the objects to show of it. Pure.

pub mod assumptions;
pub mod compute;
pub mod connection;
pub mod hosts;
pub mod live;
pub mod resource_list;
pub mod sources;
pub mod summary;

use crate::crd::{CitrixAllowlist, Mode, Problem, Summary};
use crate::engines::{Counts, Engines, Limits};
use crate::facts::ClusterFacts;
use crate::guard::Guard;
use crate::names::{Addresses, NameState};
use crate::objects::desired::Desired;
use crate::objects::key::ObjectKey;
use crate::objects::observed::Observed;
use crate::pipeline::{self, Accepted, AffectedPods, Carry, Decision, Gathered, Inputs, Memo, OwnPod, Request, World};
use crate::plan::{Plan, Selection};
use crate::status::{Kept, Outcome};
use connectivity_allowlist::Allowlist;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is assumed of the cluster and of the operator's flags: the same for every resource.
#[derive(Clone, Debug)]
pub struct Assumptions {
    /// What the cluster is.
    pub facts: Arc<ClusterFacts>,
    /// What may be opened.
    pub guard: Arc<Guard>,
    /// What makes objects of a plan.
    pub engines: Engines,
    /// Bounds on objects.
    pub limits: Limits,
    /// Namespaces where no policy is ever written.
    pub protected_namespaces: Vec<String>,
}

/// What comes out for one resource.
#[derive(Clone, Debug)]
pub struct Preview {
    /// What the policies must say.
    pub plan: Arc<Plan>,
    /// The objects that say so, policies first. Policies are applied only in Enforce mode.
    pub objects: Vec<(ObjectKey, Desired)>,
    /// How much the policies allow.
    pub figures: Counts,
    /// Everything that could not be honoured, in the order of status.
    pub problems: Vec<Problem>,
    /// Directions whose policies stay although nothing is left to allow.
    pub keep: Vec<Kept>,
}

/// Why nothing can be made of a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PreviewRefusal {
    /// Its namespace is protected.
    #[error(
        "metadata.namespace: {0} is protected, no policy is ever written there; --protected-namespace says which are"
    )]
    Protected(Arc<str>),
    /// Its pod selector cannot be used.
    #[error("spec.podSelector cannot be used: {0}")]
    PodSelector(String),
    /// No name at all was answered: the controller would wait.
    #[error("none of its {0} names was answered ({1}); is DNS reachable, or does --dns-server or --hosts help?")]
    NothingAnswered(usize, String),
}

/// Reads a resource. A suspended one is read as if it were not: what it would do is to be shown.
///
/// # Errors
/// Where no policy may be written for it.
pub fn request(resource: &CitrixAllowlist, assumptions: &Assumptions) -> Result<Request, PreviewRefusal> {
    let mut resource = resource.clone();
    resource.spec.suspend = false;
    pipeline::validate(&resource, &assumptions.protected_namespaces, &OwnPod::None).map_err(|refusal| match refusal {
        pipeline::Refusal::ProtectedNamespace(namespace) => PreviewRefusal::Protected(namespace),
        pipeline::Refusal::PodSelector(error) => PreviewRefusal::PodSelector(error),
        // Neither suspended nor beside an operator's pods: both were ruled out above.
        other => PreviewRefusal::PodSelector(format!("{other:?}")),
    })
}

/// What the controller would apply once names are answered, where `existing` is there already and `carry` is known.
///
/// # Errors
/// Where the controller would wait for DNS.
pub fn preview(
    request: &Request,
    (allowlist, selection): (&Arc<Allowlist>, Arc<Selection>),
    addresses: Arc<Addresses>,
    assumptions: &Assumptions,
    existing: &BTreeMap<ObjectKey, Observed>,
    carry: Carry,
) -> Result<Preview, PreviewRefusal> {
    let error = addresses.by_name.values().find_map(|known| match &known.state {
        NameState::Failing { error, ever_answered: false, .. } => Some(error.to_string()),
        _ => None,
    });
    let accepted = Accepted { list: Arc::clone(allowlist), held_back: None };
    let inputs = Inputs {
        view: None,
        newest: Arc::clone(allowlist),
        accepted,
        selection,
        recovered: None,
        answers: addresses,
        pods: AffectedPods::default(),
    };
    let world = World {
        request,
        existing,
        facts: &assumptions.facts,
        guard: &assumptions.guard,
        engines: &assumptions.engines,
        limits: &assumptions.limits,
        // What has no answer here is not waited for: the answer would not come.
        first_policy_wait: Duration::ZERO,
        preview: true,
        gathered: Gathered::Everything(Box::new(inputs)),
        now: Instant::now(),
    };
    let decision = pipeline::decide(&world, carry, &Memo::default());
    if let Some(Outcome::WaitingForNames { waiting, .. }) = decision.wait.as_ref().map(|wait| &wait.outcome) {
        return Err(PreviewRefusal::NothingAnswered(*waiting, error.unwrap_or_default()));
    }
    Ok(Preview::of(request, decision))
}

impl Preview {
    fn of(request: &Request, decision: Decision) -> Self {
        let Decision { basis, mut problems, keep, .. } = decision;
        // What is kept is told apart.
        problems.truncate(problems.len().saturating_sub(keep.len()));
        let (plan, prepared) = basis.map(|basis| (basis.plan, basis.prepared)).unwrap_or_default();
        let prepared = prepared.unwrap_or_default();
        let namespace = &request.resource.namespace;
        let mut objects = prepared.desired(namespace, &request.ownership());
        if namespace.is_empty() {
            // Left to whatever applies them, as the resource leaves it.
            objects.iter_mut().for_each(|(_, desired)| desired.metadata.namespace = None);
        }
        Self { plan, objects, figures: prepared.figures(), problems, keep }
    }

    /// The objects that are applied: in Audit mode no policies.
    #[must_use]
    pub fn applied(&self, mode: Mode) -> Vec<(ObjectKey, Desired)> {
        let is_applied = |(key, _): &&(ObjectKey, Desired)| mode == Mode::Enforce || !key.is_policy();
        self.objects.iter().filter(is_applied).cloned().collect()
    }

    /// The names of the policies.
    pub fn policies(&self) -> impl Iterator<Item = String> + '_ {
        self.objects.iter().filter(|(key, _)| key.is_policy()).map(|(key, _)| key.name.to_string())
    }

    /// The counts for status.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.figures.summary(&self.plan)
    }
}
