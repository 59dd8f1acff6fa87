//! Expands wildcards into names: DNS cannot enumerate them, and NetworkPolicy cannot express them.

use super::filter::Filter;
use crate::crd::{CitrixAllowlistSpec, ExpandWildcards, Observe, Problem, ProblemKind};
use crate::names::ObservedPattern;
use crate::names::learned::MOST_LEARNED;
use connectivity_allowlist::Allowlist;
use connectivity_allowlist::net::{DomainName, NamePattern};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often names of the list may stand in for its wildcards, in all. Among the vendor's lists of November 2026 the largest
/// needs some hundreds; what a hostile list needs, grows with the square of its length.
const MOST_EXPANSIONS: usize = 100_000;

/// A wildcard in the spec.
#[derive(Default)]
struct Named {
    names: BTreeSet<DomainName>,
    observe: Option<Observe>,
    within: Vec<String>,
    seen: bool,
}

/// The names that stand in for a wildcard.
pub(super) struct StandIns {
    /// From the spec and the list, sorted.
    pub names: Vec<DomainName>,
    /// Learned ones besides, sorted.
    pub learned: Vec<DomainName>,
    /// Learned ones that are only suggested, sorted.
    pub suggested: Vec<DomainName>,
    /// Whether the spec names some.
    pub honoured: bool,
}

/// The spec's `wildcards`, and the names that the list knows.
pub(super) struct Wildcards {
    named: BTreeMap<NamePattern, Named>,
    /// Exact names of the list that may expand a wildcard of any entry, by their spelling from the end: those under one zone
    /// are neighbours, so that a list of thousands of both is not each against each.
    known: BTreeMap<Vec<u8>, DomainName>,
    /// Patterns of the whole list, to tell a filtered one from a missing one.
    listed: BTreeSet<NamePattern>,
    expanded: BTreeMap<NamePattern, BTreeSet<DomainName>>,
    /// How many names may still be compared with wildcards, or stand in for them.
    left: usize,
    /// The wildcards that are not expanded, since nothing is left.
    unexpanded: BTreeSet<NamePattern>,
    /// What becomes of names that pods ask for, unless the spec says otherwise for a wildcard.
    observe: Observe,
    /// The wildcards under which names are learned, and what has been.
    observed: BTreeMap<ObservedPattern, Vec<DomainName>>,
    learned: Arc<BTreeSet<DomainName>>,
    problems: Vec<Problem>,
}

impl Wildcards {
    pub(super) fn new(
        spec: &CitrixAllowlistSpec,
        allowlist: &Allowlist,
        filter: &Filter,
        learned: &Arc<BTreeSet<DomainName>>,
    ) -> Self {
        let mut named: BTreeMap<NamePattern, Named> = BTreeMap::new();
        let mut problems = Vec::new();
        for wildcard in &spec.wildcards {
            let pattern = match NamePattern::parse(&wildcard.pattern) {
                Ok(pattern) => pattern,
                Err(error) => {
                    problems.push(malformed(&wildcard.pattern, &format!("wildcards.pattern: {error}")));
                    continue;
                }
            };
            let entry = named.entry(pattern.clone()).or_default();
            (entry.observe, entry.within) = (wildcard.observe, wildcard.within.clone());
            let names = &mut entry.names;
            for text in &wildcard.names {
                match DomainName::parse(text) {
                    Ok(name) if pattern.matches(&name) => {
                        names.insert(name);
                    }
                    Ok(name) => {
                        problems.push(malformed(name.as_str(), &format!("does not match wildcards.pattern {pattern}")));
                    }
                    Err(error) => problems.push(malformed(text, &format!("wildcards.names: {error}"))),
                }
            }
        }
        let known = match spec.expand_wildcards {
            ExpandWildcards::Auto => {
                let sources = allowlist.entries.iter().filter(|entry| filter.expands_to_names(entry));
                let names = sources.flat_map(|entry| &entry.names);
                names.map(|name| (reversed(name.as_str()), name.clone())).collect()
            }
            ExpandWildcards::None => BTreeMap::new(),
        };
        let listed = allowlist.entries.iter().flat_map(|entry| entry.patterns.iter().cloned()).collect();
        let (expanded, unexpanded) = (BTreeMap::new(), BTreeSet::new());
        let (observe, observed, learned) = (spec.observe_wildcards, BTreeMap::new(), Arc::clone(learned));
        Self { named, known, listed, expanded, left: MOST_EXPANSIONS, unexpanded, observe, observed, learned, problems }
    }

    /// Notes that an entry within the filters has `pattern`.
    pub(super) fn seen(&mut self, pattern: &NamePattern) {
        if let Some(named) = self.named.get_mut(pattern) {
            named.seen = true;
        }
    }

    /// The names that stand in for `pattern`.
    pub(super) fn stand_ins(&mut self, pattern: &NamePattern) -> StandIns {
        self.seen(pattern);
        let mut names = self.expanded(pattern).unwrap_or_else(|| {
            self.unexpanded.insert(pattern.clone());
            BTreeSet::new()
        });
        let (learned, opens) = self.learned(pattern);
        let named = self.named.get(pattern).map(|named| &named.names).filter(|names| !names.is_empty());
        names.extend(named.into_iter().flatten().cloned());
        let learned = learned.into_iter().filter(|name| !names.contains(name)).collect();
        let (learned, suggested) = if opens { (learned, Vec::new()) } else { (Vec::new(), learned) };
        StandIns { names: names.into_iter().collect(), learned, suggested, honoured: named.is_some() }
    }

    /// The names that are learned under `pattern`, and whether the spec allows them.
    fn learned(&mut self, pattern: &NamePattern) -> (Vec<DomainName>, bool) {
        let named = self.named.get(pattern);
        let observe = named.and_then(|named| named.observe).unwrap_or(self.observe);
        if observe == Observe::Off {
            return (Vec::new(), false);
        }
        let within = named.map(|named| named.within.clone()).unwrap_or_default();
        let observed = ObservedPattern { pattern: pattern.clone(), within, opens: observe == Observe::Allow };
        // Many entries of a list have the same wildcard.
        if let Some(known) = self.observed.get(&observed) {
            return (known.clone(), observed.opens);
        }
        let matching = self.learned.iter().filter(|name| observed.matches(name));
        let names: Vec<DomainName> = matching.cloned().collect();
        if names.len() >= MOST_LEARNED {
            let message = format!(
                "{MOST_LEARNED} names are learned under it, as many as may be: the next one takes the place of the one that nobody has asked for the longest; narrow it by within"
            );
            self.problems.push(Problem::new(ProblemKind::Limit, pattern.as_str(), None, message));
        }
        let opens = observed.opens;
        self.observed.insert(observed, names.clone());
        (names, opens)
    }

    /// The wildcards under which names are learned, sorted.
    pub(super) fn observed(&self) -> Arc<[ObservedPattern]> {
        self.observed.keys().cloned().collect()
    }

    /// The names of the list that match `pattern`; `None` if that takes more than is left.
    fn expanded(&mut self, pattern: &NamePattern) -> Option<BTreeSet<DomainName>> {
        if let Some(known) = self.expanded.get(pattern) {
            self.left = self.left.checked_sub(known.len())?;
            return Some(known.clone());
        }
        let ending = reversed(pattern.as_str().rsplit('*').next().unwrap_or_default());
        let neighbours = self.known.range(ending.clone()..).take_while(|(spelling, _)| spelling.starts_with(&ending));
        let neighbours: Vec<&DomainName> = neighbours.take(self.left + 1).map(|(_, name)| name).collect();
        self.left = self.left.checked_sub(neighbours.len())?;
        let matches = pattern.matcher();
        let known: BTreeSet<DomainName> = neighbours.into_iter().filter(|name| matches(name)).cloned().collect();
        self.expanded.insert(pattern.clone(), known.clone());
        Some(known)
    }

    /// A problem for each wildcard that the spec names without a match, and for each bound that is reached.
    pub(super) fn problems(&mut self) -> Vec<Problem> {
        let mut problems = std::mem::take(&mut self.problems);
        if let Some(first) = self.unexpanded.first() {
            let message = format!(
                "{} wildcards of the list are not expanded, {first} first: they and its names fit in more than \
                 {MOST_EXPANSIONS} ways; names that the list has are allowed only as it lists them",
                self.unexpanded.len()
            );
            problems.push(Problem::new(ProblemKind::Limit, "wildcards", None, message));
        }
        for (pattern, _) in self.named.iter().filter(|(_, named)| !named.seen) {
            let message = if self.listed.contains(pattern) {
                "wildcards names a pattern of the list that geo, direction or services leave out: its names are not allowed"
            } else {
                "wildcards names a pattern that the list does not have: its names are not allowed; additional can name them with ports"
            };
            problems.push(Problem::new(ProblemKind::NoMatch, pattern.as_str(), None, message));
        }
        problems
    }
}

fn malformed(subject: &str, message: &str) -> Problem {
    Problem::new(ProblemKind::Malformed, subject, None, message)
}

fn reversed(text: &str) -> Vec<u8> {
    text.bytes().rev().collect()
}
