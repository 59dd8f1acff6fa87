//! Arguments to one command.

use citrix_allowlist::cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
