//! The rules of the house that a reader can count: pure rooms, plain words, one name for one type.

use super::root;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Words that a newcomer has to decode. CONTRIBUTING says which to use.
const AVOIDED: [&str; 8] =
    ["whoever", "anew", "in hand", "told of", "under way", "be it that", "somebody else's", "forerunner"];

/// Where those words are listed.
const LISTS: [&str; 2] = ["CONTRIBUTING.md", "tests/docs/house.rs"];

/// Rooms whose every file is pure: no file, no socket, no client, no clock.
const PURE: [&str; 13] = [
    "src/bound.rs",
    "src/crd",
    "src/direction.rs",
    "src/engines",
    "src/export",
    "src/facts.rs",
    "src/guard",
    "src/objects",
    "src/pipeline",
    "src/plan",
    "src/platforms",
    "src/status",
    "src/trail",
];

/// Rooms that a pure one may import: the pure ones, and the pure parts of `feed`, `memory` and `names`.
const IMPORTED: [&str; 23] = [
    "bound",
    "counts",
    "crd",
    "direction",
    "engines",
    "explain_texts",
    "export",
    "facts",
    "feed",
    "fnv",
    "guard",
    "interner",
    "lock",
    "memory",
    "names",
    "objects",
    "pipeline",
    "plan",
    "reason",
    "status",
    "resource_ref",
    "trail",
    "visible",
];

/// What reaches outside the process, or asks it for the time.
const OUTSIDE: [&str; 13] = [
    "std::fs",
    "std::process",
    "std::env",
    "std::thread",
    "std::io::stdin",
    "tokio::",
    "reqwest::",
    "hickory_",
    "tracing::",
    "kube::Client",
    "kube::api",
    "::now()",
    "fastrand::",
];

/// Every file under these paths with one of these endings, with its path from the root.
fn files(paths: &[&str], endings: &[&str]) -> Vec<(String, String)> {
    fn walk(path: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        if path.is_dir() {
            for entry in std::fs::read_dir(path).expect("a folder").map(|entry| entry.expect("an entry").path()) {
                walk(&entry, endings, found);
            }
        } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
            found.push(path.to_owned());
        }
    }
    let mut found = Vec::new();
    paths.iter().for_each(|path| walk(&root().join(path), endings, &mut found));
    found.sort();
    let named = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("a text");
        (path.strip_prefix(root()).expect("below the root").display().to_string(), text)
    };
    found.into_iter().map(named).collect()
}

/// The text without its tests, which may do as they like.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

#[test]
fn texts_use_plain_words() {
    let paths = [
        "src",
        "crates",
        "simulate",
        "tests",
        "benches",
        "docs",
        "charts",
        "examples",
        "README.md",
        "CHANGELOG.md",
        "Makefile",
    ];
    let mut found = String::new();
    for (path, text) in files(&paths, &["rs", "md", "yaml", "sh", "tpl", "txt", "json"]) {
        if LISTS.contains(&&*path) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let padded = format!(" {} ", line.to_lowercase().replace(|c: char| !c.is_alphanumeric() && c != '\'', " "));
            for word in AVOIDED.iter().filter(|word| padded.contains(&format!(" {word} "))) {
                let _ = writeln!(found, "{path}:{}: `{word}`: {}", number + 1, line.trim());
            }
        }
    }
    assert!(found.is_empty(), "words that CONTRIBUTING.md avoids:\n{found}");
}

#[test]
fn pure_rooms_reach_nothing_outside() {
    let mut found = String::new();
    for (path, text) in files(&PURE, &["rs"]).into_iter().filter(|(path, _)| !is_test(path)) {
        let code = without_tests(&text).lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            let rooms =
                line.split("crate::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_'));
            let rooms = rooms.filter_map(|mut words| words.next()).filter(|room| !room.is_empty());
            for room in rooms.filter(|room| !IMPORTED.contains(room)) {
                let _ = writeln!(found, "{path} imports `{room}`: {}", line.trim());
            }
            for outside in OUTSIDE.iter().filter(|outside| line.contains(**outside)) {
                let _ = writeln!(found, "{path} uses `{outside}`: {}", line.trim());
            }
        }
    }
    assert!(found.is_empty(), "{found}");
}

fn public_types(text: &str) -> impl Iterator<Item = String> {
    let kinds = ["pub struct ", "pub enum ", "pub trait ", "pub type "];
    let declared = without_tests(text).lines().map(str::trim_start);
    let declared = declared.filter_map(move |line| kinds.iter().find_map(|kind| line.strip_prefix(kind)));
    declared.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric()).collect())
}

#[test]
fn a_public_type_has_a_name_of_its_own() {
    let mut places: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in files(&["src", "crates", "fuzz/src", "simulate/src", "tests/support/src"], &["rs"]) {
        if path.starts_with("tests/") || !is_test(&path) {
            for name in public_types(&text) {
                places.entry(name).or_default().insert(path.clone());
            }
        }
    }
    let twice: Vec<_> = places.iter().filter(|(_, places)| places.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}

#[test]
fn test_names_fit_a_line_of_a_report() {
    const LONGEST: usize = 60;
    let paths = ["src", "crates", "simulate", "tests"];
    let mut found = String::new();
    for (path, text) in files(&paths, &["rs"]) {
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        for (at, _) in
            lines.iter().enumerate().filter(|(_, line)| line.starts_with("#[test") || line.starts_with("#[tokio::test"))
        {
            let signature = lines[at..].iter().find_map(|line| line.split_once("fn ").map(|(_, rest)| rest));
            let name = signature.and_then(|rest| rest.split('(').next()).unwrap_or_default();
            if name.len() > LONGEST {
                let _ = writeln!(found, "{path}: `{name}` has {} characters", name.len());
            }
        }
    }
    assert!(found.is_empty(), "names of tests have {LONGEST} characters at most:\n{found}");
}
