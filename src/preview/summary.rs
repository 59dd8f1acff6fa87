//! What a resource comes to, for people and for programs. Pure.

use crate::crd::{CitrixAllowlist, Mode, Problem, ProblemKind};
use crate::engines::as_network_policies;
use crate::plan::{EndpointRecord, Target};
use crate::text::{Style, line, table, wrap};
use connectivity_allowlist::Allowlist;
use connectivity_allowlist::net::PortSet;
use connectivity_allowlist::visible::visible;
use kube::ResourceExt as _;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The version of the schema that `--summary -o json|yaml` prints.
pub const SCHEMA: &str = "citrix-allowlist.io/summary/v1";

/// What a resource comes to.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviewSummary {
    /// The schema's name and version.
    pub schema: &'static str,
    /// The resource's namespace, where it says one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The resource's name.
    pub name: String,
    /// When the vendor published the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `Enforce` or `Audit`.
    pub mode: &'static str,
    /// Whether it is suspended.
    pub suspend: bool,
    /// A line for each service and direction.
    pub services: Vec<ServiceLine>,
    /// The policies that Enforce applies.
    pub policies: Vec<PolicyLine>,
    /// The counts of status.
    pub counts: crate::crd::Summary,
    /// Everything that cannot be honoured.
    pub problems: Vec<Problem>,
}

/// What one service opens in one direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceLine {
    /// The list's service, or the name of the `additional` entry.
    pub service: String,
    /// `outbound` or `inbound`.
    pub direction: &'static str,
    /// Distinct names.
    pub names: usize,
    /// Of these, names with an address in use.
    pub names_resolved: usize,
    /// Distinct addresses of its names.
    pub addresses: usize,
    /// Distinct networks that the list, or the spec, gives.
    pub networks: usize,
    /// Its ports, as `TCP 80,443; UDP 123`.
    pub ports: String,
}

/// One policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyLine {
    /// Its name.
    pub name: String,
    /// Its rules, those for DNS included.
    pub rules: usize,
    /// The peers of all its rules.
    pub peers: usize,
}

impl PreviewSummary {
    /// What `resource` comes to with a list.
    #[must_use]
    pub fn of(resource: &CitrixAllowlist, allowlist: &Allowlist, preview: &crate::preview::Preview) -> Self {
        Self {
            schema: SCHEMA,
            namespace: resource.namespace(),
            name: resource.name_any(),
            version: allowlist.version.clone(),
            mode: match resource.spec.mode {
                Mode::Enforce => "Enforce",
                Mode::Audit => "Audit",
            },
            suspend: resource.spec.suspend,
            services: services(&preview.plan.records),
            policies: as_network_policies(&preview.objects).iter().map(policy).collect(),
            counts: preview.summary(),
            problems: preview.problems.clone(),
        }
    }

    /// The summary for people, in at most 80 columns.
    #[must_use]
    pub fn shown(&self, style: Style) -> String {
        let name =
            self.namespace.as_ref().map_or_else(|| self.name.clone(), |namespace| format!("{namespace}/{}", self.name));
        let version = self.version.as_deref().unwrap_or("without a version");
        let standing = match self.mode {
            _ if self.suspend => "  suspended: nothing is applied",
            "Audit" => "  mode Audit: no policy is applied",
            _ => "",
        };
        let mut text = style.bold(&visible(&name));
        text.push_str(&line(&format!("  list {version}{standing}")));
        text.push('\n');
        let rows: Vec<Vec<String>> = self.services.iter().map(ServiceLine::row).collect();
        text.push_str(&table(&["SERVICE", "DIRECTION", "NAMES", "ADDRS", "NETS", "PORTS"], &rows));
        text.push('\n');
        let rows: Vec<Vec<String>> = self
            .policies
            .iter()
            .map(|policy| vec![policy.name.clone(), policy.rules.to_string(), policy.peers.to_string()])
            .collect();
        if rows.is_empty() {
            text.push_str("No policy: nothing can be allowed, and a policy that allows nothing cuts everything.\n");
        } else {
            text.push_str(&table(&["POLICY", "RULES", "PEERS"], &rows));
        }
        text.push('\n');
        text.push_str(&problems(&self.problems, style));
        text
    }
}

impl ServiceLine {
    fn row(&self) -> Vec<String> {
        vec![
            self.service.clone(),
            self.direction.to_owned(),
            format!("{}/{}", self.names_resolved, self.names),
            self.addresses.to_string(),
            self.networks.to_string(),
            self.ports.clone(),
        ]
    }
}

fn services(records: &[EndpointRecord]) -> Vec<ServiceLine> {
    let mut by_service: BTreeMap<(&str, connectivity_allowlist::net::Direction), Vec<&EndpointRecord>> =
        BTreeMap::new();
    for record in records {
        by_service.entry((&record.endpoint.service, record.endpoint.direction)).or_default().push(record);
    }
    let line =
        |((service, direction), records): ((&str, connectivity_allowlist::net::Direction), Vec<&EndpointRecord>)| {
            let mut names = BTreeSet::new();
            let mut resolved = BTreeSet::new();
            let mut networks = BTreeSet::new();
            let mut addresses: BTreeSet<std::net::IpAddr> = BTreeSet::new();
            let mut ports: Option<PortSet> = None;
            for record in records {
                match &record.endpoint.target {
                    Target::Name(name) => {
                        names.insert(name);
                        if record.in_use {
                            resolved.insert(name);
                        }
                    }
                    Target::Network(network) => {
                        networks.insert(network);
                    }
                }
                addresses.extend(record.addresses.iter());
                ports = Some(
                    ports.map_or_else(|| record.endpoint.ports.clone(), |held| held.union(&record.endpoint.ports)),
                );
            }
            ServiceLine {
                service: service.to_owned(),
                direction: direction.as_str(),
                names: names.len(),
                names_resolved: resolved.len(),
                addresses: addresses.len(),
                networks: networks.len(),
                ports: ports.as_ref().map(ToString::to_string).unwrap_or_default(),
            }
        };
    by_service.into_iter().map(line).collect()
}

fn policy(policy: &k8s_openapi::api::networking::v1::NetworkPolicy) -> PolicyLine {
    let spec = policy.spec.as_ref();
    let egress = spec.and_then(|spec| spec.egress.as_deref()).unwrap_or_default();
    let ingress = spec.and_then(|spec| spec.ingress.as_deref()).unwrap_or_default();
    let peers = egress.iter().map(|rule| rule.to.as_ref().map_or(0, Vec::len));
    let peers = peers.chain(ingress.iter().map(|rule| rule.from.as_ref().map_or(0, Vec::len)));
    PolicyLine { name: policy.name_any(), rules: egress.len() + ingress.len(), peers: peers.sum() }
}

/// How many problems there are of each kind, in the order of the documentation.
pub fn kinds(problems: &[Problem]) -> impl Iterator<Item = (String, usize)> + '_ {
    ProblemKind::ALL.into_iter().filter_map(|kind| {
        let count = problems.iter().filter(|problem| problem.kind == kind).count();
        (count > 0).then(|| (format!("{kind:?}"), count))
    })
}

/// Problems for people, each with its message.
#[must_use]
pub fn problems(problems: &[Problem], style: Style) -> String {
    if problems.is_empty() {
        return "No problems.\n".to_owned();
    }
    let mut text = format!(
        "{}\n",
        style.notable(&format!("{} {}:", problems.len(), crate::status::plural(problems.len(), "problem", "problems")))
    );
    for problem in problems {
        let service = problem.service.as_ref().map(|service| format!(" ({service})")).unwrap_or_default();
        text.push_str(&line(&format!("  {:?} {}{service}", problem.kind, problem.subject)));
        for wrapped in wrap(&problem.message, 76) {
            text.push_str(&format!("    {wrapped}\n"));
        }
    }
    text
}
