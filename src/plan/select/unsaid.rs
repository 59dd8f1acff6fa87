//! Reports what the spec asks for and the list's form or words cannot answer: one problem each, however many entries.

use super::filter::Filter;
use crate::crd::{CitrixAllowlistSpec, CloudChoice, GeoChoice, Problem, ProblemKind};
use connectivity_allowlist::{Allowlist, EntryGeo, Geo, ListForm};
use std::collections::BTreeMap;

/// The most unknown regions that are reported by name.
const MOST_REGIONS: usize = 16;

pub(super) fn problems(spec: &CitrixAllowlistSpec, allowlist: &Allowlist, filter: &Filter) -> Vec<Problem> {
    let mut problems = unknown_regions(allowlist, filter);
    problems.extend(required(spec, allowlist, filter));
    problems.extend(region(spec, allowlist));
    problems
}

/// `requiredOnly`, if entries do not say what is required.
fn required(spec: &CitrixAllowlistSpec, allowlist: &Allowlist, filter: &Filter) -> Option<Problem> {
    let kept = allowlist.entries.iter().filter(|entry| entry.required.is_none() && filter.matches(entry)).count();
    if !spec.services.required_only || kept == 0 {
        return None;
    }
    let message = format!(
        "{} does not say what is required: services.requiredOnly leaves nothing out of it (entries kept: {kept}); services.include can name services instead",
        allowlist.form.in_words(),
    );
    Some(Problem::new(ProblemKind::NoMatch, "services.requiredOnly", None, message))
}

/// A region, if the list has no choice of them. The Japan cloud has no other than its own.
fn region(spec: &CitrixAllowlistSpec, allowlist: &Allowlist) -> Option<Problem> {
    let all_of_japan = spec.geo == GeoChoice::Jp && spec.cloud != CloudChoice::Global;
    if allowlist.form != ListForm::StaticList || spec.geo == GeoChoice::All || all_of_japan {
        return None;
    }
    let message = format!(
        "a static list names no regions: what it holds for every region of the {} cloud is allowed, whatever geo says",
        spec.asked_cloud()
    );
    Some(Problem::new(ProblemKind::NoMatch, format!("geo {}", Geo::from(spec.geo).as_str()), None, message))
}

/// Entries left out because the vendor does not document their region: a new one, or a word for several.
fn unknown_regions(allowlist: &Allowlist, filter: &Filter) -> Vec<Problem> {
    let mut unknown: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in allowlist.entries.iter().filter(|entry| filter.matches_but_for_geo(entry) && !filter.matches(entry)) {
        if let EntryGeo::Region(region) = &entry.geo
            && !Geo::REGIONS.iter().any(|known| known.as_str() == &**region)
        {
            *unknown.entry(region).or_default() += entry.names.len() + entry.patterns.len() + entry.networks.len();
        }
    }
    let left_out = |geo: &str, targets: usize, is: &str| {
        let message = format!(
            "{is} none of us, eu, ap-s, jp and all: left out (names, wildcards and networks: {targets}); geo: all lets them in"
        );
        Problem::new(ProblemKind::NoMatch, geo, None, message)
    };
    let further = unknown.values().skip(MOST_REGIONS).sum::<usize>();
    let mut problems: Vec<Problem> = unknown
        .iter()
        .take(MOST_REGIONS)
        .map(|(region, targets)| left_out(&format!("geo {region}"), *targets, "the list's word for a region is"))
        .collect();
    if further > 0 {
        let words = unknown.len() - MOST_REGIONS;
        problems.push(left_out("geo", further, &format!("{words} more of the list's words for regions are")));
    }
    problems
}
