//! A summary of what a resource does, for people and for programs. Pure.

use crate::crd::{CitrixAllowlist, Mode, Problem, ProblemKind};
use crate::engines::as_network_policies;
use crate::plan::{EndpointRecord, Target};
use crate::preview::Preview;
use crate::status::plural;
use crate::text::{Style, Tone, line, table, wrap};
use connectivity_allowlist::Allowlist;
use connectivity_allowlist::net::Direction;
use connectivity_allowlist::visible::visible;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt as _;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The version of the schema that `--summary -o json|yaml` prints.
pub const SCHEMA: &str = "citrix-allowlist.io/summary/v1";

/// The summary of a resource.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PreviewSummary {
    /// The schema's name and version.
    pub schema: &'static str,
    /// The resource's namespace, where it has one.
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
    /// The summary of `resource` with a list.
    #[must_use]
    pub fn of(resource: &CitrixAllowlist, allowlist: &Allowlist, preview: &Preview) -> Self {
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
        let name = self.namespace.as_ref().map(|namespace| format!("{namespace}/")).unwrap_or_default() + &self.name;
        let version = self.version.as_deref().unwrap_or("without a version");
        let state = match self.mode {
            _ if self.suspend => "  suspended: nothing is applied",
            "Audit" => "  mode Audit: no policy is applied",
            _ => "",
        };
        let mut text = style.paint(Tone::Bold, &visible(&name));
        text.push_str(&line(&format!("  list {version}{state}")));
        text.push('\n');
        let rows: Vec<Vec<String>> = self.services.iter().map(ServiceLine::row).collect();
        text.push_str(&table(&["SERVICE", "DIRECTION", "NAMES", "ADDRS", "NETS", "PORTS"], &rows));
        text.push('\n');
        let row = |policy: &PolicyLine| vec![policy.name.clone(), policy.rules.to_string(), policy.peers.to_string()];
        let rows: Vec<Vec<String>> = self.policies.iter().map(row).collect();
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
    let mut by_service: BTreeMap<(&str, Direction), Vec<&EndpointRecord>> = BTreeMap::new();
    for record in records {
        by_service.entry((&record.endpoint.service, record.endpoint.direction)).or_default().push(record);
    }
    by_service.into_iter().map(|((service, direction), records)| service_line(service, direction, &records)).collect()
}

fn service_line(service: &str, direction: Direction, records: &[&EndpointRecord]) -> ServiceLine {
    let (mut names, mut resolved, mut networks) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for record in records {
        match &record.endpoint.target {
            Target::Network(network) => drop(networks.insert(network)),
            Target::Name(name) => {
                names.insert(name);
                resolved.extend(record.in_use.then_some(name));
            }
        }
    }
    let addresses: BTreeSet<_> = records.iter().flat_map(|record| record.addresses.iter()).collect();
    let ports = records.iter().map(|record| record.endpoint.ports.clone()).reduce(|all, more| all.union(&more));
    ServiceLine {
        service: service.to_owned(),
        direction: direction.as_str(),
        names: names.len(),
        names_resolved: resolved.len(),
        addresses: addresses.len(),
        networks: networks.len(),
        ports: ports.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

/// The rules and peers of a policy.
#[must_use]
pub fn policy(policy: &NetworkPolicy) -> PolicyLine {
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
    let count = problems.len();
    let heading = format!("{count} {}:", plural(count, "problem", "problems"));
    let mut text = style.paint(Tone::Notable, &heading) + "\n";
    for problem in problems {
        text.push_str(&line(&format!("  {} {}", problem.kind, problem.about())));
        for wrapped in wrap(&problem.message, 76) {
            text.push_str(&format!("    {wrapped}\n"));
        }
    }
    text
}
