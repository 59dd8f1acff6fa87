//! The commands without a cluster, as people run them: every transcript of the documentation and of `tests/cli/`.

mod transcripts;

use std::path::{Path, PathBuf};
use transcripts::{Stage, run};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn offline(file: &Path) {
    let temporary = tempfile::tempdir().expect("a folder");
    let variables = [("TMPDIR", temporary.path().display().to_string())];
    run(file, &Stage { folder: &root().join("tests/cli/data"), variables: &variables, replaced: &[], label: "" });
}

#[test]
fn the_guide_is_true() {
    offline(&root().join("docs/cli.md"));
}

#[test]
fn render_does_what_its_transcript_says() {
    offline(&root().join("tests/cli/render.md"));
}

#[test]
fn explain_does_what_its_transcript_says() {
    offline(&root().join("tests/cli/explain.md"));
}

#[test]
fn every_error_says_what_its_transcript_says() {
    offline(&root().join("tests/cli/errors.md"));
}

#[test]
fn the_other_commands_do_what_their_transcript_says() {
    offline(&root().join("tests/cli/other.md"));
}
