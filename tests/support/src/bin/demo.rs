//! `make demo`: the operator at work, on a control plane of its own or on the cluster of `KUBECONFIG`.

use std::process::ExitCode;

use test_support::demo::{self, Ended};

/// What a shell calls a program that was interrupted.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let keep = std::env::var("KEEP").is_ok_and(|value| !matches!(value.as_str(), "" | "0"));
    match demo::run(keep).await {
        Ok(Ended::Told) => ExitCode::SUCCESS,
        Ok(Ended::Interrupted) => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
