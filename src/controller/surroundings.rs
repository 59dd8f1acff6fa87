//! What stands around the policies: the pods they select, as far as a report needs them.

use super::Context;
use super::subject::Subject;
use crate::cluster::pods::{ListError, SelectedPods};
use crate::crd::{DirectionChoice, Mode, Problem, ProblemKind, WouldApply};
use crate::net::{Direction, Protocol};
use crate::objects::key::{Kind, ObjectKey};
use crate::objects::prepared::Desired;
use crate::render::{Figures, PreviousLayout, isolation};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use std::collections::BTreeSet;

/// The most newly isolated pods that status names.
const MOST_PODS: usize = 20;

/// The pods selected, where somebody has to know.
#[derive(Debug, Default)]
pub(super) struct Surroundings {
    selected: Option<SelectedPods>,
    others_policies: Vec<NetworkPolicy>,
    failed: bool,
}

/// Lists the pods where inbound ports are to be compared with what they declare, or Audit is to say whom Enforce would
/// isolate; nothing else needs them.
pub(super) async fn pods(subject: &Subject<'_>, context: &Context) -> Surroundings {
    let spec = &subject.resource.spec;
    let audit = spec.mode == Mode::Audit;
    if !audit && spec.direction == DirectionChoice::Outbound {
        return Surroundings::default();
    }
    let namespace = &subject.who().namespace;
    let list = async {
        let selected = context.pods.selected(namespace, &spec.pod_selector).await?;
        let others = match audit {
            true => context.pods.others_policies(namespace, &subject.identity.uid).await?,
            false => Vec::new(),
        };
        Ok::<_, ListError>((selected, others))
    };
    match list.await {
        Ok((selected, others_policies)) => Surroundings { selected: Some(selected), others_policies, failed: false },
        Err(error) => {
            tracing::warn!(resource = %subject.who(), %error, "the pods selected could not be listed");
            Surroundings { failed: true, ..Surroundings::default() }
        }
    }
}

impl Surroundings {
    /// The ports that selected pods declare; `None` where that is not known, or no pod is selected.
    pub fn declared_ports(&self) -> Option<&BTreeSet<(Protocol, u16)>> {
        self.selected.as_ref().filter(|selected| !selected.pods.is_empty()).map(|selected| &selected.declared_ports)
    }

    /// What is not known for want of the pods.
    pub fn problem(&self) -> Option<Problem> {
        let message = "pods or policies could not be listed: which ports pods declare, and whom Enforce would isolate, is not known";
        self.failed.then(|| Problem::new(ProblemKind::Limit, "pods", None, message))
    }

    /// What Enforce would keep in the cluster, and whom it would isolate.
    pub fn would_apply(&self, subject: &Subject<'_>, desired: &[(ObjectKey, Desired)], figures: Figures) -> WouldApply {
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let policies = || desired.iter().filter(|(key, _)| key.kind == Kind::Policy).map(|(key, _)| &*key.name);
        let layout = PreviousLayout::of(desired.iter().map(|(key, _)| key));
        let directions: Vec<Direction> =
            Direction::ALL.into_iter().filter(|direction| layout.direction(*direction) > 0).collect();
        let pods = self.selected.as_ref().map_or(&[][..], |selected| &selected.pods);
        let isolated =
            isolation::newly_isolated(pods, &subject.resource.spec.pod_selector, &directions, &self.others_policies);
        let names = isolated.iter().map(|(pod, direction)| format!("{pod} ({})", direction.object_suffix()));
        let distinct: BTreeSet<&str> = isolated.iter().map(|(pod, _)| pod.as_str()).collect();
        WouldApply {
            policies: policies().map(str::to_owned).collect(),
            rules: count(figures.rules),
            peers: count(figures.peers),
            newly_isolated_pods: names.take(MOST_PODS).collect(),
            newly_isolated_total: count(distinct.len()),
        }
    }
}
