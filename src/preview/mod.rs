//! What the controller would decide for a resource, a list and answers, and the objects to show of it. Pure.

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
use crate::plan::{Coverage, KnownZones, Plan, Selection};
use crate::status::{Kept, Outcome};
use connectivity_allowlist::Allowlist;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Assumptions about the cluster and the operator's flags: the same for every resource.
#[derive(Clone, Debug)]
pub struct Assumptions {
    /// The facts about the cluster.
    pub facts: Arc<ClusterFacts>,
    /// The ranges that may be opened.
    pub guard: Arc<Guard>,
    /// The engines that build objects from a plan.
    pub engines: Engines,
    /// Bounds on objects.
    pub limits: Limits,
    /// Namespaces where no policy is ever written.
    pub protected_namespaces: Vec<String>,
}

/// The simulated decision for one resource.
#[derive(Clone, Debug)]
pub struct Preview {
    /// The plan of its policies.
    pub plan: Arc<Plan>,
    /// Its objects, policies first. Policies are applied only in Enforce mode.
    pub objects: Vec<(ObjectKey, Desired)>,
    /// How much the policies allow.
    pub figures: Counts,
    /// By what wildcards are covered; what the cluster's DNS forwards is not known here.
    pub coverage: Arc<Coverage>,
    /// Everything that could not be honoured, in the order of status.
    pub problems: Vec<Problem>,
    /// Directions whose policies stay although nothing remains to allow.
    pub keep: Vec<Kept>,
}

/// Why nothing can be previewed of a resource.
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

/// Validates a resource. A suspended one is validated as if it were not, to show what it would do.
///
/// # Errors
/// Where no policy may be written for it.
pub fn request(resource: &CitrixAllowlist, assumptions: &Assumptions) -> Result<Request, PreviewRefusal> {
    let mut resource = resource.clone();
    resource.spec.suspend = false;
    pipeline::validate(&resource, &assumptions.protected_namespaces, &OwnPod::None).map_err(|refusal| match refusal {
        pipeline::Refusal::ProtectedNamespace(namespace) => PreviewRefusal::Protected(namespace),
        pipeline::Refusal::PodSelector(error) => PreviewRefusal::PodSelector(error),
        // It is neither suspended, nor in the namespace of the operator's own pod: both are excluded above.
        other => PreviewRefusal::PodSelector(format!("{other:?}")),
    })
}

/// What the controller would apply once names are answered, to a cluster with these `existing` objects.
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
        answers_read: Instant::now(),
        zones: KnownZones::default(),
        pods: AffectedPods::default(),
    };
    let world = World {
        request,
        existing,
        facts: &assumptions.facts,
        guard: &assumptions.guard,
        engines: &assumptions.engines,
        limits: &assumptions.limits,
        // Nothing is waited for: no further answer comes.
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
        let Decision { basis, coverage, mut problems, keep, .. } = decision;
        // Kept policies have notes of their own.
        problems.truncate(problems.len().saturating_sub(keep.len()));
        let (plan, prepared) = basis.map(|basis| (basis.plan, basis.prepared)).unwrap_or_default();
        let prepared = prepared.unwrap_or_default();
        let namespace = &request.resource.namespace;
        let mut objects = prepared.desired(namespace, &request.ownership());
        if namespace.is_empty() {
            // Like the resource, they get the namespace of the command that applies them.
            objects.iter_mut().for_each(|(_, desired)| desired.metadata.namespace = None);
        }
        Self { plan, objects, figures: prepared.figures(), coverage: coverage.unwrap_or_default(), problems, keep }
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
        let problems = i64::try_from(self.problems.len()).unwrap_or(i64::MAX);
        Summary { problems, ..self.figures.summary(&self.plan, &self.coverage) }
    }
}
