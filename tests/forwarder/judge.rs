//! Whether each answer was in force when it was there: in the policies of every resource that wants its name.
//!
//! What the API server had at the moment of an answer is known between two of its versions: one that was seen before the answer was
//! there, and one that a consistent read found which was sent after that. An address counts only if the policies allow it at every
//! version between the two. For example, an address that is written 5 ms after its answer is missing at the first of them.

use crate::asking::Answered;
use crate::client::PATIENCE;
use crate::watcher::{History, Policies};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How old the first version may be: less than a released address has been in force at least (`--forward-settle`, 250 ms). Where
/// the machine let the watcher sleep for longer, an address that came meanwhile is unclear.
const LONGEST_SLEEP: Duration = Duration::from_millis(200);

/// The results that promise that addresses are in force.
const PROMISES: [&str; 3] = ["passed", "cut", "waited"];

/// How the operators said that they answered: by the question's id, which they log before they reply.
#[derive(Debug, Default)]
pub struct Results(HashMap<u16, (String, String)>);

impl Results {
    /// Reads the log of a replica.
    pub fn read(&mut self, log: &str) {
        for line in log.lines().filter(|line| line.contains("\"answered\"")) {
            let line: serde_json::Value = serde_json::from_str(line).expect("a line");
            let text = |field: &str| line[field].as_str().expect("text").to_owned();
            let id = line["id"].as_u64().and_then(|id| u16::try_from(id).ok()).expect("an id");
            let name = text("name").trim_end_matches('.').to_owned();
            let before = self.0.insert(id, (name, text("result")));
            assert!(before.is_none(), "a question is answered once");
        }
    }

    /// How an answer was given.
    pub fn of(&self, answer: &Answered) -> &str {
        let (name, result) = self.0.get(&answer.id).expect("every answer was logged before it was sent");
        assert_eq!(*name, answer.name);
        result
    }
}

/// The verdict on all answers.
#[derive(Debug, Default)]
pub struct Verdict {
    /// How many answers with addresses there were, by result.
    pub results: BTreeMap<String, usize>,
    /// The same for each five seconds.
    pub timeline: BTreeMap<u64, BTreeMap<String, usize>>,
    /// How many answers promised that their addresses are in force, and were judged.
    pub judged: usize,
    /// Of how many the watcher cannot say it, since the machine let it sleep.
    pub unclear: usize,
    /// The names of answers that lost an address within their TTL.
    pub left_early: Vec<String>,
    /// Those with an address that was not in force.
    pub broken: Vec<String>,
    /// How many came after CoreDNS had turned to its next upstream.
    pub late: usize,
}

/// The versions at which an answer has to be in force, as numbers of changes: after so many of them.
struct Window {
    first: usize,
    last: usize,
    /// Until the end of its TTL.
    cached: usize,
    /// How old the knowledge of the first version was.
    age: Duration,
}

fn window(history: &History, answer: &Answered) -> Window {
    let changes = |version: u64| history.changes.partition_point(|change| change.version <= version);
    let before = history.seen.iter().rev().find(|seen| seen.answered <= answer.at).expect("a read before it");
    let after = history.seen.iter().find(|seen| seen.asked >= answer.at).expect("a read after it");
    // What the watch has brought exists.
    let watched = history.changes.partition_point(|change| change.at <= answer.at);
    let first = changes(before.version).max(watched);
    let end = answer.at + answer.ttl;
    let cached = history.changes.partition_point(|change| change.at <= end);
    let last = changes(after.version).max(first);
    Window { first, last, cached: cached.max(last), age: answer.at - before.asked }
}

/// What is known of an answer while versions pass.
struct Case<'a> {
    answer: &'a Answered,
    result: &'a str,
    wanting: &'a [&'a str],
    window: Window,
    /// What was missing first, and whether it was there at the last version.
    missing: Option<(usize, String)>,
    is_there_at_last: bool,
    left_early: bool,
}

impl Case<'_> {
    fn missing_in(&self, policies: &Policies) -> Option<(IpAddr, &str)> {
        let pairs = self.answer.addresses.iter().flat_map(|address| self.wanting.iter().map(move |of| (*address, *of)));
        pairs.into_iter().find(|(address, resource)| !policies.allow(resource, *address))
    }

    fn look(&mut self, number: usize, policies: &Policies) {
        let missing = self.missing_in(policies).map(|(address, resource)| format!("{address} of {resource}"));
        if number > self.window.last {
            self.left_early |= missing.is_some();
            return;
        }
        if number == self.window.last {
            self.is_there_at_last = missing.is_none();
        }
        if let Some(missing) = missing.filter(|_| self.missing.is_none()) {
            self.missing = Some((number, missing));
        }
    }
}

/// Judges all answers; `wanting` says which resources want a name.
pub fn judge<'a>(
    history: &History,
    answers: &'a [Answered],
    results: &'a Results,
    wanting: impl Fn(&str) -> &'a [&'a str],
    began: Instant,
) -> Verdict {
    let mut verdict = Verdict::default();
    assert!(history.changes.is_sorted_by_key(|change| change.version), "the watch is in order");
    let mut cases = Vec::new();
    for answer in answers.iter().filter(|answer| !answer.addresses.is_empty()) {
        if answer.took > PATIENCE {
            verdict.late += 1;
            continue;
        }
        let result = results.of(answer);
        *verdict.results.entry(result.to_owned()).or_default() += 1;
        let second = answer.at.saturating_duration_since(began).as_secs() / 5 * 5;
        *verdict.timeline.entry(second).or_default().entry(result.to_owned()).or_default() += 1;
        if PROMISES.contains(&result) {
            let window = window(history, answer);
            let wanting = wanting(&answer.name);
            let case =
                Case { answer, result, wanting, window, missing: None, is_there_at_last: false, left_early: false };
            cases.push(case);
        }
    }
    cases.sort_by_key(|case| case.window.first);
    let mut policies = Policies::default();
    let (mut next, mut open): (usize, Vec<usize>) = (0, Vec::new());
    for number in 0..=history.changes.len() {
        if let Some(change) = number.checked_sub(1).map(|index| &history.changes[index]) {
            policies.change(change);
        }
        while cases.get(next).is_some_and(|case| case.window.first <= number) {
            open.push(next);
            next += 1;
        }
        open.retain(|index| {
            let case = &mut cases[*index];
            case.look(number, &policies);
            number < case.window.cached
        });
    }
    for case in cases {
        verdict.judged += 1;
        let Some((number, missing)) = case.missing else {
            verdict.left_early.extend(case.left_early.then(|| case.answer.name.clone()));
            continue;
        };
        // It came while the watcher slept: before or after the answer, nobody knows.
        if number == case.window.first && case.is_there_at_last && case.window.age > LONGEST_SLEEP {
            verdict.unclear += 1;
            continue;
        }
        let Answered { name, at, took, addresses, .. } = case.answer;
        let Window { first, last, age, .. } = case.window;
        let (at, there) = (at.saturating_duration_since(began), case.is_there_at_last);
        verdict.broken.push(format!(
            "{at:?} {name} {} {addresses:?} after {took:?}: {missing} is missing after {number} changes of {first}..={last}, \
             known for {age:?}; at the last it is there: {there}",
            case.result
        ));
    }
    verdict
}
