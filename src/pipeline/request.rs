//! A validated resource: no later stage reads the raw spec. Pure.

use crate::crd::{
    CitrixAllowlist, CitrixAllowlistSpec, CoveredBy, DirectionChoice, Mode, Observe, REFRESH_ANNOTATION, Refresh,
};
use crate::feed::FeedRequest;
use crate::objects::key::ObjectKey;
use crate::objects::observed::Observed;
use crate::objects::owner::Ownership;
use crate::plan::keep::Selected;
use crate::resource_ref::ResourceRef;
use crate::status::Outcome;
use connectivity_allowlist::net::DomainName;
use connectivity_allowlist::older::publication;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::ResourceExt as _;
use kube::core::{Selector, SelectorExt as _};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How soon to check again whether the labels of the operator's own pod are known.
pub const OWN_POD_RETRY: Duration = Duration::from_secs(2);

/// The fields of a spec that decide what is selected and how it is allowed. All others have their defaults, so that resources
/// which differ only in those share results.
#[derive(Clone, Debug, PartialEq)]
pub struct Choices(CitrixAllowlistSpec);

impl Choices {
    /// Those of a spec.
    #[must_use]
    pub fn of(spec: &CitrixAllowlistSpec) -> Self {
        Self(CitrixAllowlistSpec {
            pod_selector: LabelSelector::default(),
            refresh: Refresh::default(),
            mode: Mode::default(),
            suspend: false,
            ..spec.clone()
        })
    }

    /// As a spec.
    #[must_use]
    pub const fn spec(&self) -> &CitrixAllowlistSpec {
        &self.0
    }
}

/// A validated resource.
#[derive(Clone, Debug)]
pub struct Request {
    /// Namespace and name of the resource.
    pub resource: ResourceRef,
    /// Its uid; empty where it is in no cluster.
    pub uid: Arc<str>,
    /// The generation of the spec.
    pub generation: i64,
    /// Whether policies are applied.
    pub mode: Mode,
    /// Which way connections are to be allowed.
    pub direction: DirectionChoice,
    /// The list it follows.
    pub feed: FeedRequest,
    /// What it selects of the list.
    pub choices: Choices,
    /// The pods it selects.
    pub pod_selector: LabelSelector,
    /// Digests of what it selects, by direction.
    pub selected: Selected,
    /// How long an address is kept after the last answer that had it.
    pub retention: Duration,
    /// A refresh annotation that status does not report as handled.
    pub refresh: Option<String>,
    /// When the list was published that status names.
    pub reported_list: Option<Timestamp>,
    /// The wildcards that status says are covered by the names that pods ask for.
    pub reported_observed: BTreeSet<String>,
    /// The names that status suggests, and that an earlier process had learned.
    pub reported_suggestions: BTreeSet<DomainName>,
}

impl Request {
    /// Whether policies are applied for what it selects now. Those of 0.1.0 do not say for what they were.
    #[must_use]
    pub fn is_applied(&self, existing: &BTreeMap<ObjectKey, Observed>) -> bool {
        existing.iter().any(|(key, observed)| {
            let selected = key.direction().map(|direction| self.selected.direction(direction));
            key.is_policy() && observed.selection.is_none_or(|selection| Some(selection) == selected)
        })
    }

    /// What its objects carry of it.
    #[must_use]
    pub fn ownership(&self) -> Ownership {
        Ownership {
            resource: self.resource.clone(),
            uid: Some(Arc::clone(&self.uid)).filter(|uid| !uid.is_empty()),
            selected: self.selected,
        }
    }
}

/// The operator's own pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnPod {
    /// There is none, or it may not be read.
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

/// Why nothing is decided for a resource: what is applied stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `spec.suspend` is true.
    Suspended,
    /// Its namespace is protected.
    ProtectedNamespace(Arc<str>),
    /// It selects the operator's own pods.
    OwnPods,
    /// Its pod selector cannot be used, and why.
    PodSelector(String),
    /// Whether it selects the operator's own pods is not known yet.
    OwnLabelsUnknown,
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Suspended => Self::Suspended,
            Refusal::ProtectedNamespace(namespace) => Self::Protected(format!(
                "namespace {namespace} is protected: policies there could cut the cluster's own traffic; see --protected-namespace"
            )),
            Refusal::OwnPods => Self::Protected(
                "spec.podSelector matches the operator's own pods: a policy would cut it off from the API server"
                    .to_owned(),
            ),
            Refusal::PodSelector(error) => Self::InvalidSpec(format!("spec.podSelector cannot be used: {error}")),
            Refusal::OwnLabelsUnknown => Self::Unavailable("the operator's own labels are not known yet".to_owned()),
        }
    }
}

/// Validates a resource.
///
/// # Errors
/// Where nothing may be decided for it.
pub fn validate(resource: &CitrixAllowlist, protected: &[String], own_pod: &OwnPod) -> Result<Request, Refusal> {
    let spec = &resource.spec;
    let namespace: Arc<str> = resource.namespace().unwrap_or_default().into();
    if spec.suspend {
        return Err(Refusal::Suspended);
    }
    if protected.iter().any(|protected| **protected == *namespace) {
        return Err(Refusal::ProtectedNamespace(namespace));
    }
    let selector =
        Selector::try_from(spec.pod_selector.clone()).map_err(|error| Refusal::PodSelector(error.to_string()))?;
    match own_pod {
        OwnPod::Known { namespace: own, labels } if **own == *namespace && selector.matches(labels) => {
            return Err(Refusal::OwnPods);
        }
        OwnPod::Unknown { namespace: own } if **own == *namespace => return Err(Refusal::OwnLabelsUnknown),
        _ => {}
    }
    let handled = resource.status.as_ref().and_then(|status| status.last_handled_refresh.as_ref());
    let refresh = resource.annotations().get(REFRESH_ANNOTATION).filter(|token| Some(*token) != handled).cloned();
    let reported = resource.status.as_ref().and_then(|status| status.feed.as_ref()?.version.as_deref());
    let wildcards = || resource.status.iter().flat_map(|status| &status.wildcards);
    let observed = wildcards().filter(|wildcard| wildcard.covered_by == CoveredBy::Observed);
    // Where names are allowed by now, pods have to ask for them again: who may write status must not open any.
    let observe = |pattern: &str| {
        let named = spec.wildcards.iter().find(|wildcard| wildcard.pattern == pattern);
        named.and_then(|wildcard| wildcard.observe).unwrap_or(spec.observe_wildcards)
    };
    let with_names = wildcards().filter(|wildcard| !wildcard.suggested.is_empty());
    let suggesting = with_names.filter(|wildcard| observe(&wildcard.pattern) == Observe::Suggest);
    let suggestions = suggesting.flat_map(|wildcard| &wildcard.suggested);
    Ok(Request {
        resource: ResourceRef::new(namespace, resource.name_any()),
        uid: resource.uid().unwrap_or_default().into(),
        generation: resource.metadata.generation.unwrap_or_default(),
        mode: spec.mode,
        direction: spec.direction,
        feed: FeedRequest::from_spec(spec),
        choices: Choices::of(spec),
        pod_selector: spec.pod_selector.clone(),
        selected: Selected::by(spec),
        retention: spec.address_retention.duration(),
        refresh,
        reported_list: reported.and_then(publication),
        reported_observed: observed.map(|wildcard| wildcard.pattern.clone()).collect(),
        reported_suggestions: suggestions.filter_map(|name| DomainName::parse(name).ok()).collect(),
    })
}
