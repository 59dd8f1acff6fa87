//! `explain`: the state of a resource, and why a connection is or is not allowed.

mod durations;
mod format;
mod glossary;
mod list;
mod memory;
mod operator;
mod query;
mod tree;
mod unlearned;
mod verdict;
mod wildcards;

use crate::cluster::client::{CALL_TIMEOUT, Connected, deadline};
use crate::cluster::pod::Pod;
use crate::crd::{CitrixAllowlist, CitrixAllowlistStatus, FeedStatus};
use crate::engines::{Engines, as_network_policies};
use crate::export::{self, ExportedEndpoint, endpoints};
use crate::manifests::items::{NOTHING_OF_OURS, Read, Resources, full_name};
use crate::objects::desired::KeyedObject;
use crate::operator::debug_state::DebugState;
use crate::preview::Assumptions;
use crate::preview::assumptions::AssumptionArguments;
use crate::preview::compute::{self, Existing, Simulation};
use crate::preview::connection::{ConnectionArguments, NamespaceArguments, not_found, resource_name};
use crate::preview::live::{self, Live};
use crate::preview::sources::{Known, SourceArguments, Sources};
use crate::text::output::{Form, Printer, style};
use crate::text::{Tone, Tree};
use anyhow::{Context as _, bail};
use clap::Args;
use connectivity_allowlist::net::Direction;
use connectivity_allowlist::visible::visible;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::Api;
use kube::core::{Selector, SelectorExt as _};
use memory::{OperatorMemory, OperatorReport};
use operator::{Found, OperatorArguments};
use query::{ConnectionQuery, Transport};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use verdict::{QueryResult, Scene};

/// The exit code if an answer is no, as that of `kubectl auth can-i`.
const NOT_ALLOWED: u8 = 1;

/// The version of the schema that `-o json|yaml` prints.
const SCHEMA: &str = "citrix-allowlist.io/explain/v1";

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// The CitrixAllowlist; without one, all are listed, or a question is about the only one there is; with -f, all in
    /// there are explained
    #[arg(value_name = "NAME", value_parser = resource_name)]
    name: Option<String>,
    /// List those of all namespaces
    #[arg(short = 'A', long, conflicts_with_all = ["name", "filename"])]
    all_namespaces: bool,
    /// Whether selected pods may reach this, which may end in /tcp or /udp, or be a URL; may be repeated
    #[arg(long, value_name = "HOST[:PORT]|IP[:PORT]")]
    to: Vec<ConnectionQuery>,
    /// Whether this may reach selected pods, on the pods' port; may be repeated
    #[arg(long, value_name = "IP[:PORT]")]
    from: Vec<ConnectionQuery>,
    /// Transport protocol of questions that say none; without it, TCP where there is a port, and either where there is none
    #[arg(long, value_enum)]
    protocol: Option<Transport>,
    /// A pod: take every NetworkPolicy into account that selects it
    #[arg(long, value_name = "POD", conflicts_with = "filename")]
    pod: Option<String>,
    /// Explain what manifests would come to instead, without a cluster
    #[arg(short, long, value_name = "FILE|DIR|-")]
    filename: Vec<PathBuf>,
    /// What a reason, a kind of problem or an alert means, without a cluster
    #[arg(long, value_name = "WORD", conflicts_with_all = ["name", "all_namespaces", "to", "from", "pod", "filename"])]
    term: Option<String>,
    /// Print it for programs
    #[arg(short, long, value_enum)]
    output: Option<Form>,
    #[command(flatten)]
    namespace: NamespaceArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    operator: OperatorArguments,
    #[command(flatten)]
    sources: SourceArguments,
    #[command(flatten)]
    assumptions: AssumptionArguments,
}

/// The explained resource.
struct Explained {
    resource: CitrixAllowlist,
    /// Its own policies.
    own: Vec<NetworkPolicy>,
    /// Every policy that selects the pod; without a pod, its own.
    policies: Vec<NetworkPolicy>,
    config_maps: Vec<ConfigMap>,
    /// The pod, and whether the resource selects it.
    pod: Option<(String, bool)>,
    offline: bool,
    /// The operator's state, or why it could not be read; absent where it was not requested.
    operator: Option<Result<Found, String>>,
}

impl Explained {
    /// A resource with these objects, without pod and operator.
    fn of(resource: CitrixAllowlist, objects: &[KeyedObject], offline: bool) -> Self {
        let (own, config_maps) = (as_network_policies(objects), export::config_maps(objects));
        Self { resource, policies: own.clone(), own, config_maps, pod: None, offline, operator: None }
    }
}

/// What `-o json|yaml` prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Explanation<'a> {
    schema: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_selected: Option<bool>,
    /// Names of the policies that the answers rest on.
    policies: Vec<String>,
    status: CitrixAllowlistStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<OperatorReport>,
    answers: Vec<QueryResult>,
}

pub(crate) fn run(arguments: &ExplainArguments) -> anyhow::Result<ExitCode> {
    if let Some(word) = &arguments.term {
        glossary::print(word, arguments.output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_listing = arguments.all_namespaces || arguments.name.is_none() && !list::asks(arguments);
    if is_listing && arguments.filename.is_empty() {
        return list::all(arguments);
    }
    let out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut printer = Printer::new(out, arguments.output.unwrap_or(Form::Yaml));
    let are_allowed = if arguments.filename.is_empty() {
        present(&mut printer, arguments, of_cluster(arguments)?, false)?
    } else {
        present_files(&mut printer, arguments)?
    };
    printer.finish()?;
    Ok(if are_allowed { ExitCode::SUCCESS } else { ExitCode::from(NOT_ALLOWED) })
}

/// Explains the resources of manifests, one after the other. Returns whether every answer is yes.
fn present_files<W: Write>(printer: &mut Printer<W>, arguments: &ExplainArguments) -> anyhow::Result<bool> {
    let mut sources = Sources::new(&arguments.sources, &arguments.filename)?;
    let assumptions = arguments.assumptions.assumptions();
    let namespace = arguments.namespace.namespace.as_ref();
    let (mut any, mut one_of_many, mut are_allowed) = (false, false, true);
    let mut pending: Option<Read> = None;
    for read in Resources::of(&arguments.filename)? {
        let read = read?;
        any = true;
        let is_wanted = arguments.name.as_ref().is_none_or(|name| read.resource.name_any() == *name)
            && namespace.is_none_or(|namespace| read.resource.namespace().as_ref() == Some(namespace));
        if is_wanted && let Some(before) = pending.replace(read) {
            one_of_many = true;
            are_allowed &= present(printer, arguments, of_file(before, &mut sources, &assumptions)?, one_of_many)?;
        }
    }
    match pending {
        Some(last) => {
            Ok(present(printer, arguments, of_file(last, &mut sources, &assumptions)?, one_of_many)? && are_allowed)
        }
        None if any => bail!("-f: no such CitrixAllowlist is in there"),
        None => bail!(NOTHING_OF_OURS),
    }
}

/// Prints the explanation of one resource. Returns whether every answer is yes.
fn present<W: Write>(
    printer: &mut Printer<W>,
    arguments: &ExplainArguments,
    mut subject: Explained,
    one_of_many: bool,
) -> anyhow::Result<bool> {
    let now = Timestamp::now();
    let read = subject.operator.take();
    let endpoints = endpoints(&subject.config_maps);
    let mut answers = answers(arguments, &subject, &endpoints);
    let are_allowed = answers.iter().all(|answer| answer.allowed);
    let resource = &subject.resource;
    let memory = |found: Found| OperatorMemory::of(found.source, found.state, &resource.spec, &endpoints);
    let mut operator = read.map(|read| match read {
        Ok(found) => OperatorReport::Read(Box::new(memory(found))),
        Err(error) => OperatorReport::Unread { error },
    });
    if let Some(OperatorReport::Read(memory)) = &mut operator {
        answers.iter_mut().for_each(|answer| memory.attribute(answer, now));
        if !answers.is_empty() {
            memory.narrow(&answers);
        }
    }
    if arguments.output.is_some() {
        printer.value(&Explanation {
            schema: SCHEMA,
            namespace: resource.namespace(),
            name: resource.name_any(),
            pod: subject.pod.as_ref().map(|(pod, _)| pod.as_str()),
            pod_selected: subject.pod.as_ref().map(|(_, selected)| *selected),
            policies: subject.policies.iter().map(ResourceExt::name_any).collect(),
            status: resource.status.clone().unwrap_or_default(),
            operator,
            answers,
        })?;
        return Ok(are_allowed);
    }
    let style = style();
    if answers.is_empty() {
        let tree = tree::state(resource, &subject.own, subject.offline, operator.as_ref(), now, style);
        printer.people(&tree.drawn())?;
        return Ok(true);
    }
    if one_of_many {
        printer.people(&format!("{}\n", style.paint(Tone::Bold, &visible(&full_name(resource)))))?;
    }
    let attributed_at = attributed_at(&subject.config_maps);
    let basis = tree::TreeContext { resource, attributed_at, operator: operator.as_ref(), now };
    for answer in &answers {
        printer.people(&tree::answer(answer, &basis, style).drawn())?;
    }
    if let Some(OperatorReport::Unread { error }) = &operator {
        let text = format!("The operator's own memory, of when DNS gave what, could not be read: {error}");
        printer.people(&Tree::leaf(text).drawn())?;
    }
    if subject.pod.is_none() && !subject.offline {
        printer.people("Other policies may select the same pods: --pod NAME takes them into account.\n")?;
    }
    Ok(are_allowed)
}

/// The answers to the queries, `--to` before `--from`.
fn answers(arguments: &ExplainArguments, subject: &Explained, endpoints: &[ExportedEndpoint]) -> Vec<QueryResult> {
    let status = subject.resource.status.clone().unwrap_or_default();
    let own: BTreeSet<String> = subject.own.iter().map(ResourceExt::name_any).collect();
    let name = subject.resource.name_any();
    let scene = Scene {
        resource: &name,
        policies: &subject.policies,
        own: &own,
        endpoints,
        spec: &subject.resource.spec,
        status: &status,
        pod: subject.pod.as_ref().map(|(pod, selected)| (pod.as_str(), *selected)),
    };
    let to = arguments.to.iter().map(|query| (Direction::Outbound, query));
    let from = arguments.from.iter().map(|query| (Direction::Inbound, query));
    let protocol = arguments.protocol.map(Into::into);
    to.chain(from)
        .map(|(direction, query)| verdict::answer(&scene, direction, &query.clone().by_default(protocol)))
        .collect()
}

/// When the ConfigMap last changed: it changes only with the rules.
fn attributed_at(config_maps: &[ConfigMap]) -> Option<Timestamp> {
    let entries = config_maps.iter().flat_map(|map| map.metadata.managed_fields.iter().flatten());
    entries.filter_map(|entry| entry.time.as_ref()).map(|time| time.0).max()
}

fn of_cluster(arguments: &ExplainArguments) -> anyhow::Result<Explained> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let connected = arguments.connection.connect(arguments.namespace.namespace.as_deref()).await?;
        let api: Api<CitrixAllowlist> = Api::namespaced(connected.client.clone(), &connected.namespace);
        let resource = match &arguments.name {
            Some(name) => {
                let resource = deadline(CALL_TIMEOUT, api.get(name)).await;
                resource.map_err(|error| not_found(error, &connected.namespace, name))?
            }
            None => list::only(&api, &connected.namespace).await?,
        };
        let (name, engines) = (&resource.name_any(), Engines::default());
        let wanted = |state: &DebugState| state.list_of(&resource.spec).is_some();
        let (live, operator) = futures::join!(
            live::of(&connected.client, &engines, &connected.namespace, name),
            operator::read(&connected.client, &arguments.operator, wanted)
        );
        let live = live?;
        let explained = match &arguments.pod {
            Some(pod) => with_pod(&connected, resource, live, pod).await?,
            None => Explained::of(resource, &live.objects, false),
        };
        Ok(Explained { operator, ..explained })
    })
}

async fn with_pod(
    connected: &Connected,
    resource: CitrixAllowlist,
    live: Live,
    pod: &str,
) -> anyhow::Result<Explained> {
    let api: Api<Pod> = Api::namespaced(connected.client.clone(), &connected.namespace);
    let found = deadline(CALL_TIMEOUT, api.get(pod)).await;
    let found = found.with_context(|| format!("--pod: pod {}/{pod}", connected.namespace))?;
    let labels = found.metadata.labels.unwrap_or_default();
    let selects = |selector| -> anyhow::Result<bool> { Ok(Selector::try_from(selector)?.matches(&labels)) };
    let mut policies = Vec::new();
    let explained = Explained::of(resource, &live.objects, false);
    for policy in explained.own.iter().chain(&live.other_policies) {
        let selector = policy.spec.as_ref().and_then(|spec| spec.pod_selector.clone()).unwrap_or_default();
        let of = || format!("NetworkPolicy {}: podSelector", policy.name_any());
        if selects(selector).with_context(of)? {
            policies.push(policy.clone());
        }
    }
    let selected = selects(explained.resource.spec.pod_selector.clone()).context("spec.podSelector")?;
    Ok(Explained { policies, pod: Some((pod.to_owned(), selected)), ..explained })
}

/// A resource of a manifest, with the status that the operator would report.
fn of_file(mut read: Read, sources: &mut Sources, assumptions: &Assumptions) -> anyhow::Result<Explained> {
    let Simulation { allowlist, preview, .. } =
        compute::compute(&read.resource, &read.place, sources, assumptions, &Known::default(), &Existing::default())?;
    let spec = &read.resource.spec;
    let objects = preview.applied(spec.mode);
    let status = CitrixAllowlistStatus {
        feed: Some(FeedStatus {
            cloud: spec.asked_cloud().as_str().to_owned(),
            version: allowlist.version.clone(),
            valid_until: allowlist.valid_until.map(|time| time.to_string()),
            ..FeedStatus::default()
        }),
        summary: Some(preview.summary()),
        policies: as_network_policies(&objects).iter().map(ResourceExt::name_any).collect(),
        problems_total: i64::try_from(preview.problems.len()).unwrap_or(i64::MAX),
        problems: preview.problems,
        ..CitrixAllowlistStatus::default()
    };
    read.resource.status = Some(status);
    Ok(Explained::of(read.resource, &objects, true))
}
