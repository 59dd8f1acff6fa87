//! stub
use clap::Args;
use std::process::ExitCode;
#[derive(Debug, Args)]
pub(super) struct ExplainArguments { name: String }
pub(super) fn run(_: &ExplainArguments) -> anyhow::Result<ExitCode> { Ok(ExitCode::SUCCESS) }
