//! The threat model names for each promise the test that holds it.

use super::root;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

/// Sections of which every row and every point says what holds it.
const PROMISES: [&str; 7] = [
    "What it is trusted with",
    "What it defends",
    "What nothing opens",
    "Bounds worth knowing",
    "The forwarder",
    "RBAC",
    "Supply chain",
];

/// Rows and points that are held by something other than a test say so.
const OTHERWISE: [&str; 3] = ["`make check`", "`tests/image.sh`", "argued"];

fn page() -> String {
    std::fs::read_to_string(root().join("docs/security.md")).expect("the page")
}

/// Whether a text in backticks is the name of a test: words, and several of them. Metrics begin with the operator's name.
fn is_test(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.chars().all(is_word) && text.contains('_') && !text.starts_with("citrix_allowlist")
}

fn tests_named(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).filter(|text| is_test(text)).map(str::to_owned).collect()
}

/// Every function of the sources that is a test, and every fault of the matrix, which a macro makes a test of.
fn tests_there_are() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["src", "crates", "tests"] {
        collect(&root().join(folder), &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            found.extend(tests_of(&text));
        }
    }
}

fn tests_of(text: &str) -> Vec<String> {
    let (mut found, mut is_next) = (Vec::new(), false);
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            is_next = true;
        }
        let function = line.trim_start_matches("async ").strip_prefix("fn ");
        if let Some(function) = function {
            let name = function.split(['(', '<']).next().unwrap_or_default();
            found.extend(std::mem::take(&mut is_next).then(|| name.to_owned()));
        }
        let row = line.split_once(" within ").and_then(|(row, _)| row.split_once("::"));
        found.extend(row.filter(|(_, name)| is_test(name)).map(|(_, name)| name.to_owned()));
    }
    found
}

/// The rows of tables, without their heads, and the points of lists, each with its section.
fn promises(text: &str) -> Vec<(String, String)> {
    let (mut section, mut found, mut in_table) = (String::new(), Vec::<(String, String)>::new(), false);
    let mut in_point = false;
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            (section, in_table, in_point) = (heading.to_owned(), false, false);
        } else if line.starts_with("| ---") {
            in_table = true;
        } else if line.starts_with('|') {
            found.extend(in_table.then(|| (section.clone(), line.to_owned())));
        } else if line.starts_with("- ") {
            found.push((section.clone(), line.to_owned()));
            in_point = true;
        } else if line.starts_with("  ") && in_point {
            let point = found.last_mut().expect("a point");
            // Writing into a string does not fail.
            let _ = write!(point.1, " {}", line.trim());
        } else {
            (in_table, in_point) = (false, false);
        }
    }
    found
}

/// A renamed test would leave the page with a promise that nothing is known to hold.
#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let (named, there) = (tests_named(&page()), tests_there_are());
    assert!(named.len() > 50, "only {} tests are named", named.len());
    let stale: Vec<&String> = named.difference(&there).collect();
    assert!(stale.is_empty(), "no such tests: {stale:?}");
}

#[test]
fn every_promise_of_the_threat_model_says_what_holds_it() {
    let text = page();
    let promises = promises(&text);
    for section in PROMISES {
        assert!(
            promises.iter().any(|(of, _)| of == section) || text.contains(&format!("\n## {section}\n")),
            "{section}"
        );
    }
    let of_a_promise = |section: &str| PROMISES.contains(&section);
    let is_held = |promise: &str| {
        !tests_named(promise).is_empty() || OTHERWISE.iter().any(|otherwise| promise.contains(otherwise))
    };
    // The table of addresses is held as a whole, by the test that the section names.
    let is_address = |promise: &str| promise.starts_with("| `");
    let bare: Vec<&str> = promises
        .iter()
        .filter(|(section, promise)| of_a_promise(section) && !is_held(promise) && !is_address(promise))
        .map(|(_, promise)| promise.as_str())
        .collect();
    assert!(bare.is_empty(), "nothing is said to hold:\n{}", bare.join("\n"));
}

#[test]
fn a_promise_without_a_test_and_a_test_that_is_gone_are_found() {
    let text = "## RBAC\n\n| who | held by |\n| --- | --- |\n| a | `a_test_of_it` |\n\n- **b.** Said\n  on `two_more` lines.\n- c\n";
    let found = promises(text);
    assert_eq!(found.len(), 3);
    let named: Vec<_> = found.iter().map(|(_, promise)| tests_named(promise).into_iter().collect::<Vec<_>>()).collect();
    assert_eq!(named, [vec!["a_test_of_it".to_owned()], vec!["two_more".to_owned()], vec![]]);
    let source = "#[test]\nfn one_of_them() {\n}\nfn a_helper_here() {}\n  rooms::a_fault_here within 40 s {\n#[tokio::test]\nasync fn one_more() {";
    assert_eq!(tests_of(source), ["one_of_them", "a_fault_here", "one_more"]);
}
