//! `render`: what the controller would apply, without a cluster.

use super::manifest::{Document, Documents, ManifestError};
use super::output::{Form, Printer};
use super::pipeline::{self, Computed, Surroundings};
use super::sources::{self, SourceArguments, Sources, SurroundingArguments};
use super::summary;
use super::validate::{Invalid, Validator, is_ours};
use crate::crd::CitrixAllowlist;
use crate::feed::Allowlist;
use anyhow::Context as _;
use clap::Args;
use kube::ResourceExt as _;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct RenderArguments {
    /// Manifests as YAML or JSON: files, folders, or - for standard input
    #[arg(short, long, value_name = "FILE|DIR|-", required = true)]
    filename: Vec<PathBuf>,
    /// Print the objects as YAML or JSON
    #[arg(short, long, value_enum, default_value_t = Form::Yaml)]
    output: Form,
    /// Print a table of services, names, addresses, ports and problems instead (-o: for programs)
    #[arg(long)]
    summary: bool,
    /// Print objects of other kinds as they are, instead of leaving them out
    #[arg(long)]
    pass_through: bool,
    #[command(flatten)]
    sources: SourceArguments,
    #[command(flatten)]
    surroundings: SurroundingArguments,
}

/// Errors of a document, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\nerror: "))]
pub(super) struct Refused(Vec<String>);

/// One of our resources, as it stands in a document.
pub(super) struct Read {
    pub resource: CitrixAllowlist,
    /// Where it starts, as `file:line`.
    pub place: String,
}

/// An object of another kind, or one of ours.
pub(super) enum Item {
    Ours(Box<Read>),
    Other(serde_json::Value),
}

pub(super) fn run(arguments: &RenderArguments, form_was_given: bool) -> anyhow::Result<ExitCode> {
    let surroundings = arguments.surroundings.surroundings();
    let mut work = Work {
        sources: Sources::new(&arguments.sources)?,
        validator: None,
        printer: Printer::new(io::BufWriter::new(io::stdout().lock()), arguments.output),
    };
    let mut ours = 0;
    for path in sources::inputs(&arguments.filename)? {
        let (name, reader) = sources::open(&path)?;
        for document in Documents::new(&name, reader) {
            let document = document.with_context(|| format!("{name} cannot be read"))?;
            ours += work.document(&document, arguments, form_was_given, &surroundings)?;
        }
    }
    work.printer.finish()?;
    if ours == 0 && !arguments.pass_through {
        anyhow::bail!("-f: no CitrixAllowlist of citrix-allowlist.io/v1alpha1 is in there");
    }
    Ok(ExitCode::SUCCESS)
}

struct Work<W> {
    sources: Sources,
    validator: Option<Validator>,
    printer: Printer<W>,
}

impl<W: io::Write> Work<W> {
    /// Prints what becomes of one document; returns how many of its objects are ours.
    fn document(
        &mut self,
        document: &Document,
        arguments: &RenderArguments,
        form_was_given: bool,
        surroundings: &Surroundings,
    ) -> anyhow::Result<usize> {
        let items = read(document, &mut self.validator)?;
        let others = items.iter().filter(|item| matches!(item, Item::Other(_))).count();
        // A document of nothing else goes through letter by letter, its remarks and its spelling kept.
        if arguments.pass_through && others == items.len() && self.printer.form() == Form::Yaml {
            self.printer.text(&document.text)?;
            return Ok(0);
        }
        let ours = items.len() - others;
        for item in items {
            match item {
                Item::Ours(read) => self.resource(&read, arguments, form_was_given, surroundings)?,
                Item::Other(value) if arguments.pass_through => self.printer.value(&value)?,
                Item::Other(_) => {}
            }
        }
        Ok(ours)
    }

    fn resource(
        &mut self,
        read: &Read,
        arguments: &RenderArguments,
        form_was_given: bool,
        surroundings: &Surroundings,
    ) -> anyhow::Result<()> {
        let (allowlist, computed) =
            compute(&read.resource, &read.place, &mut self.sources, surroundings, &BTreeMap::new(), &[])?;
        if arguments.summary {
            let summary = summary::Summary::of(&read.resource, &allowlist, &computed);
            return if form_was_given {
                self.printer.value(&summary)
            } else {
                Ok(self.printer.raw(&summary.shown(super::output::style()))?)
            };
        }
        note(read, &computed);
        if read.resource.spec.suspend {
            return Ok(());
        }
        let objects = computed.applied(read.resource.spec.mode);
        for policy in &objects.policies {
            self.printer.value(policy)?;
        }
        for config_map in &objects.config_maps {
            self.printer.value(config_map)?;
        }
        Ok(())
    }
}

/// Reads and checks the objects of a document.
pub(super) fn read(document: &Document, validator: &mut Option<Validator>) -> anyhow::Result<Vec<Item>> {
    let mut items = Vec::new();
    for object in document.objects()? {
        let refused = |found: Vec<Invalid>| {
            let error = |invalid: Invalid| {
                document.error(&format!("{}{}", object.pointer, invalid.pointer), invalid.sentence())
            };
            let mut errors: Vec<ManifestError> = found.into_iter().map(error).collect();
            errors.sort_by_key(|error| error.line);
            Refused(errors.iter().map(ToString::to_string).collect())
        };
        let Some(fields) = object.value.as_object() else { continue };
        if !is_ours(fields).map_err(|invalid| refused(vec![invalid]))? {
            items.push(Item::Other(object.value));
            continue;
        }
        if validator.is_none() {
            *validator = Some(Validator::new()?);
        }
        let Some(prepared) = validator.as_ref() else { continue };
        let resource = prepared.check(object.value.clone()).map_err(refused)?;
        let place = document.error(&object.pointer, "").to_string().trim_end_matches(": ").to_owned();
        items.push(Item::Ours(Box::new(Read { resource, place })));
    }
    Ok(items)
}

/// The way from a resource to its objects, as the controller goes it.
pub(super) fn compute(
    resource: &CitrixAllowlist,
    place: &str,
    sources: &mut Sources,
    surroundings: &Surroundings,
    known: &BTreeMap<crate::net::DomainName, Vec<std::net::IpAddr>>,
    applied: &[String],
) -> anyhow::Result<(Allowlist, Computed)> {
    let place = || format!("{place}: {}", full_name(resource));
    let allowlist = sources.allowlist(&resource.spec).with_context(place)?;
    let selection = pipeline::select(resource, &allowlist, surroundings).with_context(place)?;
    let addresses = sources.addresses(&selection.names, known, &surroundings.guard).with_context(place)?;
    let computed =
        pipeline::compute(resource, &selection, &addresses, surroundings, applied.iter().map(String::as_str))
            .with_context(place)?;
    Ok((allowlist, computed))
}

/// Says on standard error what the objects do not: nothing is dropped in silence.
fn note(read: &Read, computed: &Computed) {
    let name = full_name(&read.resource);
    if read.resource.spec.suspend {
        eprintln!("note: {name}: suspended, so that nothing would be applied; --summary shows what else would be");
        return;
    }
    if read.resource.spec.mode == crate::crd::Mode::Audit && !computed.objects.policies.is_empty() {
        let count = computed.objects.policies.len();
        let policies = crate::status::plural(count, "policy", "policies");
        eprintln!("note: {name}: mode Audit, so that {count} {policies} would not be applied; --summary shows them");
    }
    if computed.problems.is_empty() {
        return;
    }
    let mut text = String::new();
    for (kind, count) in summary::kinds(&computed.problems) {
        let separator = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{separator}{count} {kind}");
    }
    let count = computed.problems.len();
    eprintln!(
        "note: {name}: {count} {} ({text}); --summary lists them",
        crate::status::plural(count, "problem", "problems")
    );
}

/// `namespace/name`, or the name alone.
pub(super) fn full_name(resource: &CitrixAllowlist) -> String {
    match resource.namespace() {
        Some(namespace) => format!("{namespace}/{}", resource.name_any()),
        None => resource.name_any(),
    }
}
