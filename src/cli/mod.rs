//! The command line: one file for each command.

mod crd;
mod debug_state;
mod run;
mod run_arguments;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Keeps Kubernetes NetworkPolicies equal to what Citrix's Connectivity AllowList API says.
#[derive(Debug, Parser)]
#[command(name = "citrix-allowlist", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller
    Run(Box<run_arguments::RunArguments>),
    /// Print the CustomResourceDefinition as YAML, or apply it to the cluster
    Crd(crd::CrdArguments),
}

/// The exit code of every error: what a person typed or gave, or what the cluster said.
const FAILURE: u8 = 2;

/// Reads the arguments, runs one command, and says in one sentence what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    // reqwest and kube take the process' default provider; without one, the first TLS connection panics.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("error: a TLS provider is installed already");
        return ExitCode::from(FAILURE);
    }
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Run(arguments) => run::run(*arguments),
        Command::Crd(arguments) => crd::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(FAILURE)
        }
    }
}
