//! Runs the transcripts in Markdown files: fenced blocks whose first word is `console`.
//!
//! A line that starts with `$ ` is a command for bash, run where the caller says; what follows up to the next one is what
//! it prints, standard error included. `? 2` right after it is its exit code, where that is not 0. `[..]` stands for
//! anything within a line, and a line `...` for any lines. With `TRANSCRIPTS=overwrite` the files are written again.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::Path;
use std::process::{Command, Stdio};

/// What commands see.
pub struct Stage<'a> {
    /// The folder they run in.
    pub folder: &'a Path,
    /// Variables beside `PATH` and `HOME`.
    pub variables: &'a [(&'a str, String)],
    /// Texts that differ from run to run, and what stands for them.
    pub replaced: &'a [(&'a str, &'a str)],
    /// Blocks are run whose opening line has this after `console`.
    pub label: &'a str,
}

/// Runs every block of a file that carries the stage's label, and says what differs.
///
/// # Panics
/// Where a command does not print what the file says, or the file holds no such block.
pub fn run(file: &Path, stage: &Stage<'_>) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let opening = format!("```console {}", stage.label).trim_end().to_owned();
    let (mut written, mut differs, mut commands) = (String::new(), Vec::new(), 0);
    let mut lines = text.lines().enumerate().peekable();
    while let Some((_, line)) = lines.next() {
        written.push_str(&format!("{line}\n"));
        if line != opening {
            continue;
        }
        while let Some((number, line)) = lines.next_if(|(_, line)| *line != "```") {
            let command =
                line.strip_prefix("$ ").unwrap_or_else(|| panic!("{}:{}: no command", file.display(), number + 1));
            let mut expected = Vec::new();
            while let Some((_, line)) = lines.next_if(|(_, line)| *line != "```" && !line.starts_with("$ ")) {
                expected.push(line.to_owned());
            }
            let found = execute(command, stage);
            commands += 1;
            let same = matches(&expected, &found);
            if !same {
                differs.push(format!(
                    "{}:{}: $ {command}\n--- expected\n{}\n--- found\n{}\n",
                    file.display(),
                    number + 1,
                    expected.join("\n"),
                    found.join("\n")
                ));
            }
            written.push_str(&format!("$ {command}\n"));
            for line in if same { &expected } else { &found } {
                written.push_str(&format!("{line}\n"));
            }
        }
    }
    assert!(commands > 0, "{} holds no block `{opening}`", file.display());
    if std::env::var("TRANSCRIPTS").as_deref() == Ok("overwrite") {
        std::fs::write(file, written).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        return;
    }
    assert!(differs.is_empty(), "{}", differs.join("\n"));
}

fn execute(command: &str, stage: &Stage<'_>) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_citrix-allowlist"));
    let path =
        format!("{}:{}", program.parent().expect("a folder").display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("bash")
        .args(["-c", &format!("{{ {command}\n}} 2>&1")])
        .current_dir(stage.folder)
        .env_clear()
        .env("PATH", path)
        .env("HOME", stage.folder)
        .envs(stage.variables.iter().map(|(name, value)| (*name, value)))
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
    for (text, instead) in stage.replaced {
        printed = printed.replace(text, instead);
    }
    let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
    match output.status.code() {
        Some(0) => {}
        Some(code) => lines.insert(0, format!("? {code}")),
        None => lines.insert(0, "? killed".to_owned()),
    }
    lines
}

/// Whether what was found is what was expected, line by line.
pub fn matches(expected: &[String], found: &[String]) -> bool {
    match expected.split_first() {
        None => found.is_empty(),
        Some((any, rest)) if any == "..." => (0..=found.len()).any(|skipped| matches(rest, &found[skipped..])),
        Some((line, rest)) => {
            found.split_first().is_some_and(|(first, others)| like(line, first) && matches(rest, others))
        }
    }
}

fn like(expected: &str, found: &str) -> bool {
    match expected.split_once("[..]") {
        None => expected.trim_end() == found.trim_end(),
        Some((head, rest)) => found.strip_prefix(head).is_some_and(|tail| {
            tail.char_indices().map(|(at, _)| at).chain([tail.len()]).any(|at| like(rest, &tail[at..]))
        }),
    }
}
