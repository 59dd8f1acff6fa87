//! Arguments to one command.

use citrix_allowlist::cli;
use std::process::ExitCode;

/// In place of musl's, which takes long for every allocation (Cargo.toml).
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    cli::main()
}
