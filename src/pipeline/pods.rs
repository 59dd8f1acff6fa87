//! The pods that a resource's policies affect, as far as a report needs them. Pure.

use super::request::Request;
use crate::crd::{DirectionChoice, Mode, Problem, ProblemKind, WouldApply};
use crate::direction::PolicyDirection as _;
use crate::engines::network_policy::isolation::{self, SelectedPods};
use crate::engines::{Counts, Layout};
use crate::objects::desired::Desired;
use crate::objects::key::ObjectKey;
use connectivity_allowlist::net::{Direction, Protocol};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use std::collections::BTreeSet;

/// The most newly isolated pods that are named.
pub const MOST_PODS: usize = 20;

/// The pods that a resource's policies affect.
#[derive(Clone, Debug, Default)]
pub struct AffectedPods {
    /// The selected pods; `None` where they were not listed.
    pub selected: Option<SelectedPods>,
    /// Policies in the namespace that are not the resource's own.
    pub others_policies: Vec<NetworkPolicy>,
    /// Whether they could not be listed.
    pub failed: bool,
}

impl AffectedPods {
    /// Whether pods have to be listed: to compare inbound ports with declared ones, or to report which pods Enforce would
    /// isolate.
    #[must_use]
    pub fn are_needed(request: &Request) -> bool {
        request.mode == Mode::Audit || request.direction != DirectionChoice::Outbound
    }

    /// The ports that selected pods declare; `None` where that is not known, or no pod is selected.
    #[must_use]
    pub fn declared_ports(&self) -> Option<&BTreeSet<(Protocol, u16)>> {
        self.selected.as_ref().filter(|selected| !selected.pods.is_empty()).map(|selected| &selected.declared_ports)
    }

    /// The problem of pods that could not be listed.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        let message = "pods or policies could not be listed: which ports pods declare, and whom Enforce would isolate, is not known";
        self.failed.then(|| Problem::new(ProblemKind::Limit, "pods", None, message))
    }

    /// The policies that Enforce would apply, and the pods that it would isolate.
    #[must_use]
    pub fn would_apply(&self, request: &Request, desired: &[(ObjectKey, Desired)], figures: Counts) -> WouldApply {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let keys = || desired.iter().map(|(key, _)| key);
        let layout = Layout::of(keys());
        let directions: Vec<Direction> =
            Direction::ALL.into_iter().filter(|direction| layout.direction(*direction) > 0).collect();
        let pods = self.selected.as_ref().map_or(&[][..], |selected| &selected.pods);
        let isolated = isolation::newly_isolated(pods, &request.pod_selector, &directions, &self.others_policies);
        let names = isolated.iter().map(|(pod, direction)| format!("{pod} ({})", direction.object_suffix()));
        let distinct: BTreeSet<&str> = isolated.iter().map(|(pod, _)| pod.as_str()).collect();
        WouldApply {
            policies: keys().filter(|key| key.is_policy()).map(|key| key.name.to_string()).collect(),
            rules: count(figures.rules),
            peers: count(figures.peers),
            newly_isolated_pods: names.take(MOST_PODS).collect(),
            newly_isolated_total: count(distinct.len()),
        }
    }
}
