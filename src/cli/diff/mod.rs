//! `diff`: what a resource, or a new list, would change in a cluster.

mod openings;
mod report;

use super::connection::{ConnectionArguments, NamespaceArguments};
use super::live::{self, Live};
use super::manifest::Documents;
use super::output::{Form, Printer, style};
use super::pipeline::{Computed, Surroundings};
use super::refresh::not_found;
use super::render::{self, Item, Read};
use super::sources::{self, SourceArguments, Sources, SurroundingArguments};
use super::validate::Validator;
use crate::cluster::client::{CALL_TIMEOUT, Connected, deadline};
use crate::cluster::pods::PodLister;
use crate::crd::CitrixAllowlist;
use crate::net::Direction;
use crate::render::{PreviousLayout, config_map, isolation};
use anyhow::{Context as _, bail};
use clap::Args;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::ResourceExt;
use kube::api::Api;
use report::{Report, State};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

/// The exit code where something would change, as `kubectl diff` has it.
const DIFFERS: u8 = 1;

#[derive(Debug, Args)]
pub(super) struct DiffArguments {
    /// A CitrixAllowlist of the cluster, as it is: what a new list (--feed) or new answers would change
    #[arg(required_unless_present = "filename", conflicts_with = "filename")]
    name: Option<String>,
    /// Manifests as YAML or JSON: files, folders, or - for standard input
    #[arg(short, long, value_name = "FILE|DIR|-")]
    filename: Vec<PathBuf>,
    /// Compare the objects' YAML line by line
    #[arg(long, conflicts_with = "output")]
    raw: bool,
    /// Ask DNS for every name, instead of only for those that the cluster knows no address of
    #[arg(long)]
    resolve: bool,
    /// Print it for programs
    #[arg(short, long, value_enum)]
    output: Option<Form>,
    #[command(flatten)]
    namespace: NamespaceArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
    #[command(flatten)]
    sources: SourceArguments,
    #[command(flatten)]
    surroundings: SurroundingArguments,
}

pub(super) fn run(arguments: &DiffArguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connected = runtime.block_on(arguments.connection.connect(arguments.namespace.namespace.as_deref()))?;
    let resources = match &arguments.name {
        Some(name) => vec![runtime.block_on(one(&connected, name))?],
        None => read(arguments)?,
    };
    let mut sources = Sources::new(&arguments.sources)?;
    let surroundings = runtime.block_on(live::surroundings(&connected, &arguments.surroundings));
    let mut differs = false;
    let mut printer = Printer::new(std::io::stdout().lock(), arguments.output.unwrap_or(Form::Yaml));
    for mut read in resources {
        let namespace = read.resource.namespace().unwrap_or_else(|| connected.namespace.clone());
        read.resource.metadata.namespace = Some(namespace.clone());
        let live = runtime.block_on(live::of(&connected.client, &namespace, &read.resource.name_any()))?;
        let before = State { policies: live.policies.clone(), config_maps: live.config_maps.clone() };
        let after = desired(&read, &live, &mut sources, &surroundings, arguments.resolve)?;
        if arguments.raw {
            let text = report::unified(&report::raw(&before)?, &report::raw(&after)?, style());
            differs |= !text.is_empty();
            printer.raw(&text)?;
            continue;
        }
        let mut report = Report::of(&read.resource, &before, &after, &live.foreign);
        report.newly_isolated_pods = runtime.block_on(newly_isolated(&connected, &read.resource, &live, &after));
        differs |= !report.is_empty();
        match arguments.output {
            Some(_) => printer.value(&report)?,
            None => printer.raw(&report.shown(style()))?,
        }
    }
    printer.finish()?;
    Ok(if differs { ExitCode::from(DIFFERS) } else { ExitCode::SUCCESS })
}

async fn one(connected: &Connected, name: &str) -> anyhow::Result<Read> {
    let api: Api<CitrixAllowlist> = Api::namespaced(connected.client.clone(), &connected.namespace);
    let resource = deadline(CALL_TIMEOUT, api.get(name)).await;
    let resource = resource.map_err(|error| not_found(error, &connected.namespace, name))?;
    Ok(Read { resource, place: "cluster".to_owned() })
}

fn read(arguments: &DiffArguments) -> anyhow::Result<Vec<Read>> {
    let mut validator: Option<Validator> = None;
    let mut found = Vec::new();
    for path in sources::inputs(&arguments.filename)? {
        let (name, reader) = sources::open(&path)?;
        for document in Documents::new(&name, reader) {
            let document = document.with_context(|| format!("{name} cannot be read"))?;
            for item in render::read(&document, &mut validator)? {
                if let Item::Ours(read) = item {
                    found.push(*read);
                }
            }
        }
    }
    if found.is_empty() {
        bail!("-f: no CitrixAllowlist of citrix-allowlist.io/v1alpha1 is in there");
    }
    Ok(found)
}

/// The pods that no policy isolates yet, and that the desired ones would.
async fn newly_isolated(connected: &Connected, resource: &CitrixAllowlist, live: &Live, after: &State) -> Vec<String> {
    let types = after.policies.iter().filter_map(|policy| policy.spec.as_ref()?.policy_types.as_ref()).flatten();
    let types: BTreeSet<&String> = types.collect();
    let written = |direction: &Direction| types.iter().any(|name| *name == direction.policy_type());
    let directions: Vec<Direction> = Direction::ALL.into_iter().filter(written).collect();
    if directions.is_empty() {
        return Vec::new();
    }
    let namespace = resource.namespace().unwrap_or_default();
    let selector = &resource.spec.pod_selector;
    let pods = match PodLister::new(connected.client.clone()).selected(&namespace, selector).await {
        Ok(selected) => selected.pods,
        Err(error) => {
            eprintln!("note: which pods would be isolated for the first time is not known: {error}");
            return Vec::new();
        }
    };
    let existing: Vec<NetworkPolicy> = live.policies.iter().chain(&live.other_policies).cloned().collect();
    let isolated = isolation::newly_isolated(&pods, selector, &directions, &existing);
    isolated.into_iter().map(|(pod, direction)| format!("{pod} ({})", direction.object_suffix())).collect()
}

/// What the controller would leave in the cluster.
fn desired(
    read: &Read,
    live: &Live,
    sources: &mut Sources,
    surroundings: &Surroundings,
    resolve: bool,
) -> anyhow::Result<State> {
    let resource = &read.resource;
    if resource.spec.suspend {
        return Ok(State { policies: live.policies.clone(), config_maps: live.config_maps.clone() });
    }
    let known =
        if resolve { BTreeMap::new() } else { live.config_maps.iter().flat_map(config_map::remembered).collect() };
    let applied: Vec<String> = live.policies.iter().map(ResourceExt::name_any).collect();
    let (_, computed) = render::compute(resource, &read.place, sources, surroundings, &known, &applied)?;
    Ok(kept(resource, live, &computed))
}

/// A direction that is empty because the vendor or DNS failed keeps its policies, and the ConfigMaps stay with them.
fn kept(resource: &CitrixAllowlist, live: &Live, computed: &Computed) -> State {
    let objects = computed.applied(resource.spec.mode);
    let mut state = State { policies: objects.policies, config_maps: objects.config_maps };
    let mut keeps = false;
    for policy in &live.policies {
        let layout = PreviousLayout::of([policy.name_any().as_str()], &resource.name_any());
        let direction = if layout.outbound > 0 { Direction::Outbound } else { Direction::Inbound };
        if computed.keeps(direction) && resource.spec.mode == crate::crd::Mode::Enforce {
            state.policies.push(policy.clone());
            keeps = true;
        }
    }
    if keeps {
        state.config_maps.clone_from(&live.config_maps);
    }
    state.policies.sort_by_key(ResourceExt::name_any);
    state
}
