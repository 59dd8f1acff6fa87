//! By what each wildcard of a selection is covered: names of the spec, the names that pods ask for, or nothing. Pure.

use super::few;
use super::select::{Selection, WildcardUse};
use crate::crd::{CoveredBy, Problem, ProblemKind};
use crate::names::ZoneState;
use crate::names::zones::above;
use connectivity_allowlist::net::{DomainName, NamePattern};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of the zones of a selection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownZones {
    /// Whether the cluster's DNS forwards each; `None` where the operator answers no questions.
    pub states: Option<BTreeMap<DomainName, ZoneState>>,
    /// The wildcards that status calls observed: so they stay until a process that has just begun to lead knows better.
    pub reported: BTreeSet<String>,
}

impl KnownZones {
    /// The zone that a pattern is in, and its state.
    fn of(&self, pattern: &NamePattern) -> Option<(&DomainName, ZoneState)> {
        let (states, zone) = (self.states.as_ref()?, pattern.zone()?);
        above(&zone).find_map(|name| states.get_key_value(name)).map(|(zone, state)| (zone, *state))
    }
}

/// A wildcard, and by what it is covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoveredWildcard {
    /// The wildcard.
    pub pattern: NamePattern,
    /// By what it is covered.
    pub by: CoveredBy,
    /// How many names stand in for it.
    pub names: usize,
    /// How many of these names are learned.
    pub learned: usize,
    /// Names that pods asked for and that are only suggested, sorted.
    pub suggested: Vec<DomainName>,
}

/// The wildcards of a selection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Each, sorted by pattern.
    pub wildcards: Vec<CoveredWildcard>,
    /// Whether an uncovered one is of an entry that the vendor calls required.
    pub is_required_uncovered: bool,
    /// A problem for each uncovered one of each service, sorted.
    pub problems: Vec<Problem>,
    /// Whether the cluster's DNS forwards each zone; `None` where the operator answers no questions.
    pub zones: Option<BTreeMap<DomainName, ZoneState>>,
}

impl Coverage {
    /// Of a selection.
    #[must_use]
    pub fn of(selection: &Selection, known: &KnownZones) -> Self {
        let mut wildcards: BTreeMap<&NamePattern, CoveredWildcard> = BTreeMap::new();
        for used in &selection.wildcard_uses {
            let new = || CoveredWildcard {
                pattern: used.pattern.clone(),
                by: covered_by(selection, used, known),
                names: 0,
                learned: 0,
                suggested: used.suggested.clone(),
            };
            let wildcard = wildcards.entry(&used.pattern).or_insert_with(new);
            wildcard.names = wildcard.names.max(used.expansions.len() + used.learned);
            wildcard.learned = wildcard.learned.max(used.learned);
        }
        let mut coverage = Self { zones: known.states.clone(), ..Self::default() };
        let mut gaps: BTreeMap<(&NamePattern, &str), (bool, &WildcardUse)> = BTreeMap::new();
        for used in &selection.wildcard_uses {
            if wildcards.get(&used.pattern).is_some_and(|wildcard| wildcard.by == CoveredBy::Nobody) {
                gaps.entry((&used.pattern, &*used.service)).or_insert((false, used)).0 |= used.required;
                coverage.is_required_uncovered |= used.required;
            }
        }
        let problems = gaps.into_iter().map(|((pattern, service), (is_required, used))| {
            let message = gap(used, is_required, is_opening(selection, pattern).then(|| known.of(pattern)).flatten());
            Problem::new(ProblemKind::Wildcard, pattern.as_str(), Some(service), message)
        });
        coverage.problems = problems.collect();
        coverage.problems.sort_unstable();
        coverage.wildcards = wildcards.into_values().collect();
        coverage
    }

    /// How many wildcards are covered by nothing.
    #[must_use]
    pub fn uncovered(&self) -> usize {
        self.wildcards.iter().filter(|wildcard| wildcard.by == CoveredBy::Nobody).count()
    }
}

/// Whether names that pods ask for under a pattern are allowed.
fn is_opening(selection: &Selection, pattern: &NamePattern) -> bool {
    selection.observed.iter().any(|observed| observed.opens && observed.pattern == *pattern)
}

fn covered_by(selection: &Selection, used: &WildcardUse, known: &KnownZones) -> CoveredBy {
    if used.honoured {
        return CoveredBy::Names;
    }
    let is_forwarded = || match known.of(&used.pattern).map(|(_, state)| state) {
        Some(ZoneState::Forwarded) => true,
        Some(ZoneState::Unknown) => known.reported.contains(used.pattern.as_str()),
        Some(ZoneState::Missing | ZoneState::Looping | ZoneState::NotServed) | None => false,
    };
    if is_opening(selection, &used.pattern) && is_forwarded() { CoveredBy::Observed } else { CoveredBy::Nobody }
}

/// What an uncovered wildcard means, and what to do.
fn gap(used: &WildcardUse, is_required: bool, zone: Option<(&DomainName, ZoneState)>) -> String {
    let required = if is_required { "required; " } else { "" };
    let WildcardUse { expansions, learned, suggested, .. } = used;
    let gap = match (expansions.is_empty(), learned) {
        (true, 0) => "nothing under it is allowed".to_owned(),
        (false, 0) => format!("only names known from the list are allowed: {}", few(expansions.iter())),
        (true, learned) => format!("only what pods asked for is allowed: {learned} learned"),
        (false, learned) => {
            format!("only names known from the list and {learned} learned are allowed: {}", few(expansions.iter()))
        }
    };
    let remedy = match zone {
        Some((zone, ZoneState::Missing)) => format!(", or have the cluster's DNS forward {zone} to the operator"),
        Some((zone, ZoneState::NotServed)) => format!(", or add {zone} to --forward-zone"),
        Some((zone, ZoneState::Looping)) => format!("; the forwarder's upstream leads back to it for {zone}"),
        _ if !suggested.is_empty() => {
            format!("; pods asked for {}: `citrix-allowlist learn` prints them", suggested.len())
        }
        _ => String::new(),
    };
    format!("{required}{gap}; name what pods use under wildcards{remedy}")
}
