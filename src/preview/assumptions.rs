//! The operator's flags about the cluster and about what may be opened, for the commands that simulate it.

use crate::engines::Engines;
use crate::facts::ClusterFacts;
use crate::guard::Guard;
use crate::operator::{GuardArguments, PolicyArguments};
use crate::preview::Assumptions;
use clap::Args;
use std::sync::Arc;

/// The operator's flags: give the same here.
#[derive(Debug, Args)]
#[command(next_help_heading = "As the operator runs")]
pub(crate) struct AssumptionArguments {
    #[command(flatten)]
    pub guard: GuardArguments,
    #[command(flatten)]
    pub policies: PolicyArguments,
}

impl AssumptionArguments {
    /// The assumptions where only the flags are known of the cluster.
    pub fn assumptions(&self) -> Assumptions {
        let facts = ClusterFacts {
            service_networks: self.policies.service_cidr.clone(),
            pod_networks: self.policies.pod_cidr.clone(),
            nat64_prefix: self.policies.nat64_prefix,
            ..ClusterFacts::default()
        };
        Assumptions {
            guard: Arc::new(Guard::new(self.guard.settings(), &facts)),
            facts: Arc::new(facts),
            engines: Engines::default(),
            limits: self.policies.limits(),
            protected_namespaces: self.policies.protected_namespace.clone(),
        }
    }
}
