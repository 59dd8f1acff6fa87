//! What the operator is told about the cluster and about what may be opened, as flags of the commands that do as it does.

use crate::engines::network_policy::budget::Cni;
use crate::engines::{Engines, Limits};
use crate::facts::ClusterFacts;
use crate::guard::Guard;
use crate::operator::{CniArgument, GuardArguments, network, prefix};
use crate::preview::Assumptions;
use clap::Args;
use ipnet::{IpNet, Ipv6Net};
use std::sync::Arc;

/// What the operator is told about the cluster and about what may be opened: give the same here.
#[derive(Debug, Args)]
#[command(next_help_heading = "As the operator runs")]
pub(crate) struct AssumptionArguments {
    #[command(flatten)]
    pub guard: GuardArguments,
    /// Namespaces where no policy is ever written
    #[arg(long, value_name = "NS", value_delimiter = ',', default_value = "kube-system")]
    pub protected_namespace: Vec<String>,
    /// Ranges of Services
    #[arg(long, value_name = "CIDR", value_parser = network, value_delimiter = ',')]
    pub service_cidr: Vec<IpNet>,
    /// Ranges of pods
    #[arg(long, value_name = "CIDR", value_parser = network, value_delimiter = ',')]
    pub pod_cidr: Vec<IpNet>,
    /// Prefix under which IPv6-only pods reach IPv4 addresses
    #[arg(long, value_name = "CIDR", value_parser = prefix)]
    pub nat64_prefix: Option<Ipv6Net>,
    /// Most peers of one NetworkPolicy
    #[arg(long, default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub max_peers_per_policy: u32,
    /// Network plugin whose limits are watched
    #[arg(long, value_enum)]
    pub cni: Option<CniArgument>,
}

impl AssumptionArguments {
    /// What is assumed where nothing but the flags is known of the cluster.
    pub fn assumptions(&self) -> Assumptions {
        let facts = ClusterFacts {
            service_networks: self.service_cidr.clone(),
            pod_networks: self.pod_cidr.clone(),
            nat64_prefix: self.nat64_prefix,
            ..ClusterFacts::default()
        };
        Assumptions {
            guard: Arc::new(Guard::new(self.guard.settings(), &facts)),
            facts: Arc::new(facts),
            engines: Engines::default(),
            limits: Limits {
                peers: usize::try_from(self.max_peers_per_policy).unwrap_or(usize::MAX),
                cni: self.cni.map(Cni::from),
                ..Limits::default()
            },
            protected_namespaces: self.protected_namespace.clone(),
        }
    }
}

impl From<CniArgument> for Cni {
    fn from(argument: CniArgument) -> Self {
        match argument {
            CniArgument::Aws => Self::AwsVpc,
            CniArgument::AzureNpm => Self::AzureNpm,
            CniArgument::Calico => Self::Calico,
            CniArgument::Cilium => Self::Cilium,
            CniArgument::KubeRouter => Self::KubeRouter,
        }
    }
}
