//! `render`: what the controller would apply, without a cluster.

use crate::crd::Mode;
use crate::manifests::document::ManifestDocument;
use crate::manifests::items::{self, Checks, Item, NOTHING_OF_OURS, Read, full_name};
use crate::preview::assumptions::AssumptionArguments;
use crate::preview::compute::{Existing, Simulation, compute};
use crate::preview::sources::{Known, SourceArguments, Sources};
use crate::preview::{Assumptions, Preview};
use crate::preview::{resource_list, summary};
use crate::status::plural;
use crate::text::output::{Form, Printer, style, warn};
use clap::Args;
use std::io;
use std::path::PathBuf;

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
    assumptions: AssumptionArguments,
}

pub(super) fn run(arguments: &RenderArguments, form_was_given: bool) -> anyhow::Result<()> {
    let assumptions = arguments.assumptions.assumptions();
    let mut work = Work {
        sources: Sources::new(&arguments.sources, &arguments.filename)?,
        checks: Checks::default(),
        printer: Printer::new(io::BufWriter::new(io::stdout().lock()), arguments.output),
    };
    let mut ours = 0;
    for document in items::documents(&arguments.filename)? {
        ours += work.document(&document?, arguments, form_was_given, &assumptions)?;
    }
    work.printer.finish()?;
    if ours == 0 && !arguments.pass_through {
        anyhow::bail!(NOTHING_OF_OURS);
    }
    Ok(())
}

struct Work<W> {
    sources: Sources,
    checks: Checks,
    printer: Printer<W>,
}

impl<W: io::Write> Work<W> {
    /// Prints the result of one document; returns how many of its objects are ours.
    fn document(
        &mut self,
        document: &ManifestDocument,
        arguments: &RenderArguments,
        form_was_given: bool,
        assumptions: &Assumptions,
    ) -> anyhow::Result<usize> {
        let items = self.checks.read(document)?;
        if let [Item::Other(value)] = &*items
            && resource_list::is_one(value)
        {
            return self.resource_list(document, value, assumptions);
        }
        let others = items.iter().filter(|item| matches!(item, Item::Other(_))).count();
        // A document without our objects is printed as it is, with its comments.
        if arguments.pass_through && others == items.len() && self.printer.form() == Form::Yaml {
            self.printer.text(&document.text)?;
            return Ok(0);
        }
        let ours = items.len() - others;
        for item in items {
            match item {
                Item::Ours(read) => self.resource(&read, arguments, form_was_given, assumptions)?,
                Item::Other(value) if arguments.pass_through => self.printer.object(&value)?,
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
        assumptions: &Assumptions,
    ) -> anyhow::Result<()> {
        let Simulation { allowlist, preview, .. } = self.simulate(read, assumptions)?;
        if arguments.summary {
            let summary = summary::PreviewSummary::of(&read.resource, &allowlist, &preview);
            return if form_was_given {
                self.printer.value(&summary)
            } else {
                self.printer.people(&summary.shown(style()))
            };
        }
        note(read, &preview);
        if read.resource.spec.suspend {
            return Ok(());
        }
        let objects = preview.applied(read.resource.spec.mode);
        for (_, object) in &objects {
            self.printer.value(&object.shown())?;
        }
        Ok(())
    }

    fn simulate(&mut self, read: &Read, assumptions: &Assumptions) -> anyhow::Result<Simulation> {
        let (known, existing) = (Known::default(), Existing::default());
        compute(&read.resource, &read.place, &mut self.sources, assumptions, &known, &existing)
    }

    /// Answers a ResourceList with one, as a KRM function does; returns how many of its objects are ours.
    fn resource_list(
        &mut self,
        document: &ManifestDocument,
        given: &serde_json::Value,
        assumptions: &Assumptions,
    ) -> anyhow::Result<usize> {
        let mut answer = resource_list::FunctionResult::default();
        let mut ours = 0;
        for item in self.checks.check(document, resource_list::objects(given), true)? {
            match item {
                Item::Other(value) => answer.pass(value),
                Item::Ours(read) => {
                    ours += 1;
                    let simulation = self.simulate(&read, assumptions)?;
                    check_complete(&read, &simulation)?;
                    note(&read, &simulation.preview);
                    answer.add(&read.resource, &simulation.preview)?;
                }
            }
        }
        self.printer.object(&answer.list(given))?;
        Ok(ours)
    }
}

/// Refuses an incomplete answer: applying a ResourceList prunes what it omits, and the controller would keep it.
fn check_complete(read: &Read, simulation: &Simulation) -> anyhow::Result<()> {
    let name = format!("{}: {}", read.place, full_name(&read.resource));
    if read.resource.spec.suspend {
        anyhow::bail!(
            "{name}: spec.suspend is true, so applied objects stay as they are; a ResourceList cannot say that: leave the resource out"
        );
    }
    if let Some(first) = simulation.unanswered.first() {
        let count = simulation.unanswered.len();
        let names = plural(count, "name", "names");
        anyhow::bail!(
            "{name}: {count} {names} got no answer, {first} for one: the list would lose addresses that are in use; try again, or see --dns-server and --hosts"
        );
    }
    if let Some((direction, absence)) = simulation.preview.plan.absences.first() {
        let why = match absence.is_failure() {
            true => "by the vendor's failure or DNS's",
            false => "since the spec matches nothing of the list",
        };
        anyhow::bail!(
            "{name}: nothing {direction} could be opened, {why}: the controller keeps what is applied, which a ResourceList cannot say; leave the resource out, take {direction} out of spec.direction, or see --feed and --hosts"
        );
    }
    Ok(())
}

/// Prints on standard error what the objects do not show: nothing is dropped silently.
fn note(read: &Read, preview: &Preview) {
    let name = full_name(&read.resource);
    if read.resource.spec.suspend {
        warn(&format!("note: {name}: suspended, so that nothing would be applied; --summary shows what else would be"));
        return;
    }
    let count = preview.policies().count();
    if read.resource.spec.mode == Mode::Audit && count > 0 {
        let policies = plural(count, "policy", "policies");
        warn(&format!(
            "note: {name}: mode Audit, so that {count} {policies} would not be applied; --summary shows them"
        ));
    }
    let count = preview.problems.len();
    if count > 0 {
        let kinds = summary::kinds(&preview.problems).map(|(kind, count)| format!("{count} {kind}"));
        let (kinds, problems) = (kinds.collect::<Vec<_>>().join(", "), plural(count, "problem", "problems"));
        warn(&format!("note: {name}: {count} {problems} ({kinds}); --summary lists them"));
    }
}
