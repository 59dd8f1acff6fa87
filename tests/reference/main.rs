//! What is generated from the definitions themselves: the CRD, the references in `docs/` as Markdown, and the schema that
//! resources are checked by. `make generate` writes them.

mod alerts;
mod metrics;
mod problems;
mod reasons;
mod resource;

use citrix_allowlist::manifests::validate;
use citrix_allowlist::{cli, crd};
use clap::builder::StyledStr;
use clap::{Arg, Command};
use std::fmt::Write as _;
use std::path::Path;

/// Set to write what is stale.
const UPDATE: &str = "UPDATE_DOCS";

#[test]
fn generated_files_are_current() {
    let files = [
        ("crds/citrixallowlists.yaml", crd::yaml().expect("a definition")),
        ("docs/reference/cli.md", commands(&cli::command())),
        ("docs/reference/citrixallowlist.md", resource::markdown()),
        ("docs/metrics.md", metrics::markdown()),
        ("docs/reasons.md", reasons::markdown()),
        ("docs/problems.md", problems::markdown()),
        ("docs/alerts.md", alerts::markdown()),
        ("src/manifests/validate/schema.json", validate::written_schema()),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_stale = |file: &str, text: &str| std::fs::read_to_string(root.join(file)).ok().as_deref() != Some(text);
    let stale = files.iter().filter(|(file, text)| is_stale(file, text));
    if std::env::var_os(UPDATE).is_some() {
        stale.for_each(|(file, text)| std::fs::write(root.join(file), text).expect("a file"));
        return;
    }
    let stale: Vec<&str> = stale.map(|(file, _)| *file).collect();
    assert!(stale.is_empty(), "{stale:?} are stale: run `make generate`, and commit what it writes");
}

#[test]
fn every_shown_command_and_flag_is_in_the_reference() {
    let command = cli::command();
    let text = commands(&command);
    for (name, subcommand) in leaves("citrix-allowlist", &command) {
        assert!(text.contains(&format!("\n## {name}\n")), "{text}");
        for argument in subcommand.get_arguments() {
            let Some(long) = argument.get_long().filter(|long| *long != "help") else { continue };
            assert!(text.contains(&format!("`--{long}")), "--{long}");
        }
    }
    assert!(!text.contains("## citrix-allowlist probe"), "it is hidden");
}

/// The first line of a reference, which says where it comes from.
fn generated() -> &'static str {
    "<!-- Generated: `make generate` writes it. -->\n\n"
}

fn commands(command: &Command) -> String {
    let mut text = generated().to_owned();
    text.push_str("# citrix-allowlist: reference\n\n");
    let name = command.get_name();
    let _ = writeln!(text, "{}\n", sentence(command.get_about()));
    let _ = writeln!(
        text,
        "Each flag can be given by an environment variable too, as listed. Errors go to standard error, and the exit code is then 2.\n"
    );
    let _ = writeln!(text, "| command | |\n| --- | --- |");
    let leaves = leaves(name, command);
    for (heading, subcommand) in &leaves {
        let _ = writeln!(text, "| [`{heading}`](#{}) | {} |", heading.replace(' ', "-"), about(subcommand));
    }
    for (heading, subcommand) in &leaves {
        section(&mut text, heading, subcommand);
    }
    text
}

/// The commands that do something, each with its whole name: those without commands below them.
fn leaves<'a>(name: &str, command: &'a Command) -> Vec<(String, &'a Command)> {
    let below = shown(command).flat_map(|below| {
        let name = format!("{name} {}", below.get_name());
        if below.has_subcommands() { leaves(&name, below) } else { vec![(name, below)] }
    });
    below.collect()
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set())
}

fn section(text: &mut String, name: &str, command: &Command) {
    let _ = writeln!(text, "\n## {name}\n\n{}.\n", about(command));
    let usage = command.clone().bin_name(name).render_usage().to_string();
    let _ = writeln!(text, "```\n{}\n```", usage.trim_start_matches("Usage: "));
    let arguments: Vec<&Arg> = command.get_arguments().filter(|argument| !argument.is_hide_set()).collect();
    let mut headings: Vec<Option<&str>> = Vec::new();
    for argument in &arguments {
        if !headings.contains(&argument.get_help_heading()) {
            headings.push(argument.get_help_heading());
        }
    }
    for heading in headings {
        let rows: Vec<&&Arg> = arguments
            .iter()
            .filter(|argument| argument.get_help_heading() == heading && argument.get_id() != "help")
            .collect();
        if rows.is_empty() {
            continue;
        }
        if let Some(heading) = heading {
            let _ = write!(text, "\n**{heading}**\n");
        }
        let _ = writeln!(text, "\n| flag | what it is | default | variable |\n| --- | --- | --- | --- |");
        for argument in rows {
            row(text, argument);
        }
    }
}

fn row(text: &mut String, argument: &Arg) {
    let short = argument.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    let takes_value = argument.get_action().takes_values();
    let value = argument.get_value_names().map(|names| names.join(" ")).filter(|_| takes_value);
    let flag = match (argument.get_long(), value) {
        (Some(long), Some(value)) => format!("{short}`--{long} {value}`"),
        (Some(long), None) => format!("{short}`--{long}`"),
        (None, Some(value)) => format!("`{value}`"),
        (None, None) => format!("`{}`", argument.get_id()),
    };
    let mut help = sentence(argument.get_help());
    let possible = argument.get_possible_values();
    let possible: Vec<String> =
        possible.iter().filter(|_| takes_value).map(|value| format!("`{}`", value.get_name())).collect();
    if !possible.is_empty() {
        let _ = write!(help, ": {}", possible.join(", "));
    }
    let defaults = argument.get_default_values().iter().filter(|_| takes_value);
    let default = defaults.map(|value| format!("`{}`", value.to_string_lossy())).collect::<Vec<_>>().join(", ");
    let variable = argument.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
    let cell = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    let _ = writeln!(text, "| {} | {} | {} | {} |", cell(&flag), cell(&help), cell(&default), cell(&variable));
}

fn about(command: &Command) -> String {
    sentence(command.get_about())
}

fn sentence(text: Option<&StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}
