//! What the controller would make of a resource, a list and answers: its own stations, called in its order. Pure.

use crate::crd::{CitrixAllowlist, Mode, Problem, Summary};
use crate::facts::ClusterFacts;
use crate::feed::Allowlist;
use crate::guard::Guard;
use crate::names::{Addresses, NameState};
use crate::objects::key::ObjectKey;
use crate::plan::keep::Selected;
use crate::plan::{self, Inherited, Plan, Selection};
use crate::render::{self, Limits, Objects, Owner, PreviousLayout};
use kube::ResourceExt as _;

/// Everything that is the same for every resource.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// What the cluster is.
    pub facts: ClusterFacts,
    /// What may be opened.
    pub guard: Guard,
    /// Bounds on objects.
    pub limits: Limits,
    /// Namespaces where no policy is ever written.
    pub protected_namespaces: Vec<String>,
}

/// What comes out for one resource.
#[derive(Clone, Debug)]
pub struct Computed {
    /// What the policies must say.
    pub plan: Plan,
    /// The objects that say so. Their policies are applied only in Enforce mode.
    pub objects: Objects,
    /// Everything that could not be honoured, in the order of status.
    pub problems: Vec<Problem>,
}

/// Why nothing can be made of a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its namespace is protected.
    #[error(
        "metadata.namespace: {0} is protected, no policy is ever written there; --protected-namespace says which are"
    )]
    Protected(String),
    /// No name at all was answered: the controller would wait.
    #[error("none of its {0} names was answered ({1}); is DNS reachable, or does --dns-server or --hosts help?")]
    NothingAnswered(usize, String),
}

/// What a resource wants of a list.
///
/// # Errors
/// Where no policy may be written for it.
pub fn select(
    resource: &CitrixAllowlist,
    allowlist: &Allowlist,
    surroundings: &Surroundings,
) -> Result<Selection, Refusal> {
    let namespace = resource.namespace().unwrap_or_default();
    if surroundings.protected_namespaces.contains(&namespace) {
        return Err(Refusal::Protected(namespace));
    }
    Ok(plan::select(&resource.spec, allowlist, &surroundings.guard))
}

/// What the controller would apply once names are answered. `applied` are the policies that are there already.
///
/// # Errors
/// Where the controller would wait for DNS.
pub fn compute(
    resource: &CitrixAllowlist,
    selection: &Selection,
    addresses: &Addresses,
    surroundings: &Surroundings,
    applied: &[ObjectKey],
) -> Result<Computed, Refusal> {
    let mut failing = addresses.by_name.values().filter_map(|known| match &known.state {
        NameState::Failing { error, ever_answered: false, .. } => Some(error.to_string()),
        _ => None,
    });
    let unanswered = addresses.by_name.values().filter(|known| !known.state.is_definitive()).count();
    if unanswered > 0 && unanswered == addresses.by_name.len() {
        return Err(Refusal::NothingAnswered(unanswered, failing.next().unwrap_or_default()));
    }
    let plan = plan::decide(&plan::Inputs {
        spec: &resource.spec,
        selection,
        addresses,
        facts: &surroundings.facts,
        guard: &surroundings.guard,
        inherited: &Inherited::default(),
        declared_ports: None,
    });
    let owner = Owner {
        name: resource.name_any(),
        namespace: resource.namespace().unwrap_or_default(),
        uid: resource.uid(),
        selected: Selected::by(&resource.spec),
    };
    let layout = PreviousLayout::of(applied);
    let mut objects = render::objects(&owner, &resource.spec, &plan, &surroundings.limits, &layout);
    if resource.namespace().is_none() {
        // Left to whatever applies them, as the resource leaves it.
        objects.policies.iter_mut().for_each(|policy| policy.metadata.namespace = None);
        objects.config_maps.iter_mut().for_each(|config_map| config_map.metadata.namespace = None);
    }
    let problems = plan.problems.iter().chain(&objects.problems).cloned().collect();
    Ok(Computed { plan, objects, problems })
}

impl Computed {
    /// The objects that are applied: in Audit mode no policies.
    #[must_use]
    pub fn applied(&self, mode: Mode) -> Objects {
        let mut objects = self.objects.clone();
        if mode == Mode::Audit {
            objects.policies.clear();
        }
        objects
    }

    /// The counts for status.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.objects.figures.summary(&self.plan)
    }
}
