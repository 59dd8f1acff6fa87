//! The commands without a cluster, as people run them: every transcript of the documentation and of `tests/cli/`.

mod schemas;
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

#[test]
fn what_is_printed_for_programs_is_documented_and_the_same_as_json_and_yaml() {
    let inputs = ["--feed", "list.json", "--hosts", "hosts"];
    let explain =
        ["explain", "-f", "daas-us.yaml", "--to", "13.64.10.1:443", "--to", "gateway.example.com", "--from", "1.1.1.1"];
    let commands: [&[&str]; 2] = [&["render", "-f", "daas-us.yaml", "--summary"], &explain];
    for command in commands {
        let print = |form: &str| {
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_citrix-allowlist"))
                .args(command)
                .args(inputs)
                .args(["-o", form])
                .current_dir(root().join("tests/cli/data"))
                .output()
                .expect("the program runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text")
        };
        let json: serde_json::Value = serde_json::from_str(&print("json")).expect("JSON");
        let yaml: serde_json::Value = serde_saphyr::from_str(&print("yaml")).expect("YAML");
        assert_eq!(json, yaml);
        schemas::are_documented(&json);
    }
}
