//! `diff`: what a resource, or a new list, would change in a cluster.

mod holds;
mod openings;
mod report;

use crate::cluster::client::{CALL_TIMEOUT, Connected, deadline};
use crate::cluster::pods::PodLister;
use crate::crd::CitrixAllowlist;
use crate::direction::PolicyDirection as _;
use crate::engines::network_policy::isolation;
use crate::engines::{Layout, as_network_policies};
use crate::export;
use crate::manifests::items::{NOTHING_OF_OURS, Read, Resources};
use crate::objects::desired::KeyedObject;
use crate::objects::key::ObjectKey;
use crate::pipeline::Carry;
use crate::plan::keep::SelectionDigest;
use crate::preview::assumptions::AssumptionArguments;
use crate::preview::compute::{self, Existing};
use crate::preview::connection::{ConnectionArguments, NamespaceArguments, not_found, resource_name};
use crate::preview::live::{self, Live};
use crate::preview::sources::{Known, SourceArguments, Sources};
use crate::preview::{Assumptions, Preview};
use crate::text::output::{self, Form, Printer, style};
use anyhow::{Context as _, bail};
use clap::Args;
use connectivity_allowlist::net::Direction;
use holds::LiveState;
use kube::ResourceExt;
use kube::api::Api;
use report::DiffReport;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// The exit code where something would change, as `kubectl diff` has it.
const DIFFERS: u8 = 1;

#[derive(Debug, Args)]
pub(crate) struct DiffArguments {
    /// A CitrixAllowlist of the cluster, as it is: what a new list (--feed) or new answers would change
    #[arg(value_name = "NAME", value_parser = resource_name, required_unless_present = "filename", conflicts_with = "filename")]
    name: Option<String>,
    /// Manifests as YAML or JSON: files, folders, or - for standard input
    #[arg(short, long, value_name = "FILE|DIR|-")]
    filename: Vec<PathBuf>,
    /// Compare the objects' YAML line by line
    #[arg(long, conflicts_with = "output")]
    raw: bool,
    /// Ask DNS for every name, instead of only for those that the cluster knows no address of; what is applied stays
    /// for addressRetention all the same
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
    assumptions: AssumptionArguments,
}

pub(crate) fn run(arguments: &DiffArguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connected = runtime.block_on(arguments.connection.connect(arguments.namespace.namespace.as_deref()))?;
    let resources: Box<dyn Iterator<Item = anyhow::Result<Read>>> = match &arguments.name {
        Some(name) => Box::new(std::iter::once(runtime.block_on(one(&connected, name)))),
        None => Box::new(Resources::of(&arguments.filename)?),
    };
    let mut work = Work {
        arguments,
        connected: &connected,
        sources: Sources::new(&arguments.sources, &arguments.filename)?,
        assumptions: runtime.block_on(live::assumptions(&connected, &arguments.assumptions)),
        printer: Printer::new(std::io::stdout().lock(), arguments.output.unwrap_or(Form::Yaml)),
    };
    let (mut differs, mut any) = (false, false);
    for read in resources {
        any = true;
        differs |= work.resource(read?, &runtime)?;
    }
    work.printer.finish()?;
    if !any {
        bail!(NOTHING_OF_OURS);
    }
    Ok(if differs { ExitCode::from(DIFFERS) } else { ExitCode::SUCCESS })
}

struct Work<'a, W> {
    arguments: &'a DiffArguments,
    connected: &'a Connected,
    sources: Sources,
    assumptions: Assumptions,
    printer: Printer<W>,
}

impl<W: std::io::Write> Work<'_, W> {
    /// Prints what would change for one resource; returns whether anything would.
    fn resource(&mut self, mut read: Read, runtime: &tokio::runtime::Runtime) -> anyhow::Result<bool> {
        let namespace = read.resource.namespace().unwrap_or_else(|| self.connected.namespace.clone());
        read.resource.metadata.namespace = Some(namespace.clone());
        let name = read.resource.name_any();
        let live = runtime.block_on(live::of(&self.connected.client, &self.assumptions.engines, &namespace, &name))?;
        let current = match &self.arguments.name {
            Some(_) => Some(read.resource.clone()),
            None => runtime.block_on(current(self.connected, &namespace, &name))?,
        };
        let (after, mut notes) = self.desired(&read, &live, current.as_ref())?;
        let before = &live.objects;
        if self.arguments.raw {
            let text = report::unified(&report::raw(before)?, &report::raw(&after)?, style());
            self.printer.people(&text)?;
            print_notes(&namespace, &name, &notes);
            return Ok(!text.is_empty());
        }
        let mut report = DiffReport::of(&read.resource, before, &after, &live.foreign);
        report.newly_isolated_pods = runtime.block_on(newly_isolated(self.connected, &read.resource, &live, &after));
        notes.extend(report.unexplained());
        let differs = !report.is_empty();
        match self.arguments.output {
            Some(_) => {
                report.notes = notes;
                self.printer.value(&report)?;
            }
            None if differs => {
                report.notes = notes;
                self.printer.people(&report.shown(style()))?;
            }
            // Empty standard output means that nothing changes.
            None => print_notes(&namespace, &name, &notes),
        }
        Ok(differs)
    }

    /// The objects that the controller would leave in the cluster, and notes on them.
    fn desired(
        &mut self,
        read: &Read,
        live: &Live,
        current: Option<&CitrixAllowlist>,
    ) -> anyhow::Result<(Vec<KeyedObject>, Vec<String>)> {
        let resource = &read.resource;
        if resource.spec.suspend {
            let note = "suspended: what is applied stays until spec.suspend is false".to_owned();
            return Ok((live.objects.clone(), vec![note]));
        }
        let config_maps = export::config_maps(&live.objects);
        let known = Known {
            addresses: config_maps.iter().flat_map(export::remembered).collect(),
            ask_again: self.arguments.resolve || self.sources.answers.are_saved(),
        };
        let learned = Arc::new(config_maps.iter().flat_map(export::remembered_learned).collect());
        let existing = Existing { objects: live.observed(), carry: carry(current), learned };
        let simulation =
            compute::compute(resource, &read.place, &mut self.sources, &self.assumptions, &known, &existing)?;
        let endpoints = export::endpoints(&config_maps);
        let (preview, applied) = (&simulation.preview, Layout::of(existing.objects.keys()));
        let state = LiveState { resource: current, endpoints: &endpoints, applied, kept: &preview.keep };
        let notes = holds::notes(resource, &state, &simulation);
        let after = if holds::is_never_accepted(resource, &state, &simulation) {
            live.objects.clone()
        } else {
            with_kept(resource, live, preview)
        };
        Ok((after, notes))
    }
}

/// Prints notes on a resource on standard error.
fn print_notes(namespace: &str, name: &str, notes: &[String]) {
    for note in notes {
        output::warn(&format!("note: {namespace}/{name}: {note}"));
    }
}

async fn one(connected: &Connected, name: &str) -> anyhow::Result<Read> {
    let api: Api<CitrixAllowlist> = Api::namespaced(connected.client.clone(), &connected.namespace);
    let resource = deadline(CALL_TIMEOUT, api.get(name)).await;
    let resource = resource.map_err(|error| not_found(error, &connected.namespace, name))?;
    Ok(Read { resource, place: "cluster".to_owned() })
}

/// The resource in the cluster.
async fn current(connected: &Connected, namespace: &str, name: &str) -> anyhow::Result<Option<CitrixAllowlist>> {
    let api: Api<CitrixAllowlist> = Api::namespaced(connected.client.clone(), namespace);
    let found = deadline(CALL_TIMEOUT, api.get_opt(name)).await;
    found.with_context(|| format!("citrixallowlist {namespace}/{name}"))
}

/// The pods that no policy isolates yet, and the desired ones would.
async fn newly_isolated(
    connected: &Connected,
    resource: &CitrixAllowlist,
    live: &Live,
    after: &[KeyedObject],
) -> Vec<String> {
    let after = as_network_policies(after);
    let types = after.iter().filter_map(|policy| policy.spec.as_ref()?.policy_types.as_ref()).flatten();
    let types: BTreeSet<&String> = types.collect();
    let written = |direction: &Direction| types.iter().any(|name| *name == direction.policy_type());
    let directions: Vec<Direction> = Direction::ALL.into_iter().filter(written).collect();
    if directions.is_empty() {
        return Vec::new();
    }
    let namespace = resource.namespace().unwrap_or_default();
    let selector = &resource.spec.pod_selector;
    let pods = match PodLister(connected.client.clone()).selected(&namespace, selector).await {
        Ok(selected) => selected.pods,
        Err(error) => {
            output::warn(&format!("note: which pods would be isolated for the first time is not known: {error}"));
            return Vec::new();
        }
    };
    let mut existing = as_network_policies(&live.objects);
    existing.extend(live.other_policies.iter().cloned());
    let isolated = isolation::newly_isolated(&pods, selector, &directions, &existing);
    isolated.into_iter().map(|(pod, direction)| format!("{pod} ({})", direction.object_suffix())).collect()
}

/// What a controller that has reconciled the cluster's resource would hand on. Policies of 0.1.0 carry no selection: most
/// likely it is what that resource selects.
fn carry(current: Option<&CitrixAllowlist>) -> Carry {
    let selected = |current: &CitrixAllowlist| {
        Direction::ALL.map(|direction| (direction, SelectionDigest::of(&current.spec, direction))).into()
    };
    Carry { first_selected: current.map(selected).unwrap_or_default(), ..Carry::default() }
}

/// The applied objects with the policies that are kept. The ConfigMaps stay with those.
fn with_kept(resource: &CitrixAllowlist, live: &Live, preview: &Preview) -> Vec<KeyedObject> {
    let (mut objects, kept) = (preview.applied(resource.spec.mode), &preview.keep);
    let stays = |key: &ObjectKey| kept.iter().any(|kept| key.direction() == Some(kept.direction));
    if !kept.is_empty() {
        objects.retain(|(key, _)| key.is_policy());
        let stay = live.objects.iter().filter(|(key, _)| stays(key) || !key.is_policy());
        objects.extend(stay.cloned());
    }
    objects.sort_by(|(one, _), (other, _)| one.cmp(other));
    objects
}
