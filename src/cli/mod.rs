//! The command line: a file for each small command. The large ones are rooms of their own.

mod completions;
mod crd;
mod forwarder;
mod history;
mod learn;
mod probe;
mod refresh;
mod render;
mod version;

use crate::cluster::client::CallError;
use crate::engines::Engines;
use crate::manifests::items;
use crate::operator::RunArguments;
use crate::preview::connection::is_unknown_path;
use crate::text::output;
use crate::{diff, explain};
use clap::{ArgMatches, Command, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::process::ExitCode;

/// Keeps Kubernetes NetworkPolicies equal to what Citrix's Connectivity AllowList API says.
#[derive(Debug, Parser)]
#[command(name = "citrix-allowlist", version, max_term_width = 100, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run the controller
    Run(Box<RunArguments>),
    /// Show what a resource does, before it is applied: the very objects, or a summary
    Render(Box<render::RenderArguments>),
    /// Show what a resource, or a new list, would change in a cluster; exit 0 nothing, 1 something, 2 error
    Diff(Box<diff::DiffArguments>),
    /// Show where a resource stands, and why a connection is or is not allowed
    Explain(Box<explain::ExplainArguments>),
    /// Show what was allowed when, for which name and why: the changes of a resource's policies
    History(history::HistoryArguments),
    /// Print the names that pods asked for under wildcards, or a block with them for the spec
    Learn(learn::LearnArguments),
    /// Ask for a fetch of the list now
    Refresh(refresh::RefreshArguments),
    /// Print what the DNS of a platform needs to forward the zones in use to the operator
    Forwarder(forwarder::ForwarderArguments),
    /// Print the CustomResourceDefinition as YAML, or apply it to the cluster
    Crd(crd::CrdArguments),
    /// Print the completions of a shell
    Completions(completions::CompletionsArguments),
    /// Print the version
    Version(version::VersionArguments),
    /// Find out whether the operator can be reached: what `helm test` runs
    #[command(hide = true)]
    Probe(probe::ProbeArguments),
}

/// The most common uses, under the list of commands.
const EXAMPLES: &str = "\
What will this resource do?
  citrix-allowlist render -f allowlist.yaml --summary
What would change if Citrix published this list?
  citrix-allowlist diff NAME -n NAMESPACE --feed list.json
Why can my pod not reach this host?
  citrix-allowlist explain NAME -n NAMESPACE --pod POD --to HOST:443

Every flag can be given by an environment variable too: CITRIX_ALLOWLIST_<FLAG>";

/// The exit code of every error, of the user's input or of the cluster.
const FAILURE: u8 = 2;
/// The prefix of the environment variables of flags.
const ENVIRONMENT_PREFIX: &str = "CITRIX_ALLOWLIST_";

/// Reads the arguments, runs one command, and prints an error as one sentence.
#[must_use]
pub fn main() -> ExitCode {
    // reqwest and kube take the process' default provider; without one, the first TLS connection panics.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        output::warn("error: a TLS provider is installed already");
        return ExitCode::from(FAILURE);
    }
    let matches = command().get_matches();
    let result =
        Arguments::from_arg_matches(&matches).map_err(Into::into).and_then(|arguments| act(arguments, &matches));
    match result {
        Ok(code) => code,
        // The reader of the output has ended: `citrix-allowlist render ... | head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref() {
                Some(items::Refused(lines)) => lines.iter().for_each(|line| output::warn(&format!("error: {line}"))),
                None => output::warn(&format!("error: {}", sentence(&error))),
            }
            ExitCode::from(FAILURE)
        }
    }
}

fn act(arguments: Arguments, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Action::Run(arguments) => crate::operator::run(*arguments, Engines::default())?,
        Action::Render(arguments) => render::run(&arguments, was_given(matches, "output"))?,
        Action::Diff(arguments) => return diff::run(&arguments),
        Action::Explain(arguments) => return explain::run(&arguments),
        Action::History(arguments) => history::run(&arguments)?,
        Action::Learn(arguments) => learn::run(&arguments)?,
        Action::Refresh(arguments) => return refresh::run(&arguments),
        Action::Forwarder(arguments) => forwarder::run(&arguments)?,
        Action::Crd(arguments) => crd::run(&arguments)?,
        Action::Completions(arguments) => completions::run(&arguments, command())?,
        Action::Version(arguments) => version::run(&arguments)?,
        Action::Probe(arguments) => return probe::run(&arguments),
    }
    Ok(ExitCode::SUCCESS)
}

/// An error and its causes in one sentence. Some errors repeat their causes in their own text: once is enough.
fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let call = cause.downcast_ref::<CallError>();
        let text = match call {
            // A webhook's reason is often on a line of its own.
            Some(_) => text.split_whitespace().collect::<Vec<_>>().join(" "),
            // A parser may draw the place under its sentence.
            None => text.lines().next().unwrap_or_default().to_owned(),
        };
        if !sentence.contains(&text) {
            sentence.push_str(if sentence.is_empty() { "" } else { ": " });
            sentence.push_str(&text);
        }
        if let Some(error) = call {
            sentence.push_str(remedy(error));
            // The causes below only repeat the fields of the answer.
            break;
        }
    }
    sentence
}

/// The remedy for a failed call to the API server, where its own message has none.
fn remedy(error: &CallError) -> &'static str {
    match error.code() {
        None => "; is the cluster up, and is it the one that --context and KUBECONFIG mean?",
        Some(401) => "; log in to the cluster, or see --user and --context",
        Some(404) if is_unknown_path(error) => "; is the CRD installed (`citrix-allowlist crd --apply`)?",
        Some(_) => "",
    }
}

/// Whether an argument of the command was given, rather than left at its default.
fn was_given(matches: &ArgMatches, argument: &str) -> bool {
    let source = matches.subcommand().and_then(|(_, matches)| matches.value_source(argument));
    source.is_some_and(|source| source != clap::parser::ValueSource::DefaultValue)
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut errors = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    errors.any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// All commands, each flag with its environment variable.
#[must_use]
pub fn command() -> Command {
    Arguments::command().mut_subcommands(with_variables)
}

fn with_variables(command: Command) -> Command {
    let is_controller = command.get_name() == "run";
    let command = command.mut_subcommands(with_variables);
    command.mut_args(|argument| match argument.get_long() {
        Some(long) if argument.get_env().is_none() && !matches!(long, "help" | "version") => {
            let variable = format!("{ENVIRONMENT_PREFIX}{}", long.replace('-', "_").to_uppercase());
            // A few dozen short texts, leaked once in a process.
            argument.env(&*variable.leak()).hide_env(true)
        }
        // The operator's manifests set variables; people type flags.
        _ => argument.hide_env(!is_controller),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_printed_once() {
        let error = anyhow::anyhow!("no such file").context("cannot read: no such file").context("kubeconfig");
        assert_eq!(sentence(&error), "kubeconfig: cannot read: no such file");
    }

    #[test]
    fn command_definitions_are_valid_and_flags_have_variables() {
        let command = command();
        command.clone().debug_assert();
        let nested = command.get_subcommands().flat_map(Command::get_subcommands);
        for subcommand in command.get_subcommands().chain(nested) {
            for argument in subcommand.get_arguments().filter(|argument| argument.get_long().is_some()) {
                let long = argument.get_long().unwrap_or_default();
                if matches!(long, "help" | "version") {
                    continue;
                }
                let expected = format!("{ENVIRONMENT_PREFIX}{}", long.replace('-', "_").to_uppercase());
                let variable = argument.get_env().map(|name| name.to_string_lossy().into_owned());
                assert_eq!(variable, Some(expected), "{} --{long}", subcommand.get_name());
            }
        }
    }
}
