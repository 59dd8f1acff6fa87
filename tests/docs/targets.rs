//! What `make` does is listed, and continuous integration runs nothing else.

use super::root;
use std::collections::BTreeSet;

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The words after `make`, where a line of a script or of a workflow's step runs it.
fn made(script: &str) -> BTreeSet<String> {
    let commands = script.lines().filter(|line| !line.trim_start().starts_with('#'));
    let targets = commands.filter_map(|line| {
        let command = line.trim().trim_start_matches("- ").trim_start_matches("run: ");
        let mut words = command.split_whitespace().skip_while(|word| word.contains('='));
        if words.next() == Some("make") { words.next().map(str::to_owned) } else { None }
    });
    targets.collect()
}

#[test]
fn continuous_integration_runs_targets_that_contributing_lists() {
    let table: BTreeSet<String> = read("CONTRIBUTING.md")
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `make ")?.split_once('`')?.0.to_owned()))
        .collect();
    let makefile = read("Makefile");
    let unknown: Vec<_> = table.iter().filter(|name| !makefile.contains(&format!("\n{name}: ## "))).collect();
    assert!(unknown.is_empty(), "CONTRIBUTING.md lists what the Makefile has not: {unknown:?}");
    let words = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    for (file, expected) in [
        (".ci/run", words(&["tools", "check", "test", "test-oldest", "simulate", "soak"])),
        (".github/workflows/ci.yaml", words(&["check", "test", "test-oldest", "simulate"])),
    ] {
        let made = made(&read(file));
        assert_eq!(made, expected, "{file}");
        assert!(made.is_subset(&table), "{file} runs {made:?}, CONTRIBUTING.md lists {table:?}");
    }
}

#[test]
fn a_target_is_found_in_a_script_and_in_a_workflow() {
    let script =
        "# make nothing\nmake check\nTEST_JOBS=1 TEST_THREADS=3 make test\n      - run: make soak\nx=1 echo make no\n";
    assert_eq!(made(script).into_iter().collect::<Vec<_>>(), ["check", "soak", "test"]);
}
