//! Why a name is not allowed that only a wildcard covers, and what to do. Pure.

use crate::crd::{
    CitrixAllowlistSpec, CitrixAllowlistStatus, CoveredBy, ForwarderStatus, Observe, ProblemKind, WildcardStatus,
};
use crate::names::ObservedPattern;
use crate::names::learned::MOST_LEARNED;
use crate::names::zones::above;
use connectivity_allowlist::net::{DomainName, NamePattern};

/// A name, and the longest wildcard that covers it.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnlearnedName<'a> {
    pub name: &'a DomainName,
    pub pattern: &'a NamePattern,
    /// The service whose entry has the wildcard.
    pub service: &'a str,
}

impl UnlearnedName<'_> {
    /// Why it is not allowed, and what to do.
    pub fn why_not(self, spec: &CitrixAllowlistSpec, status: &CitrixAllowlistStatus) -> String {
        let Self { name, pattern, service } = self;
        let (why, or) = match &status.forwarder {
            Some(forwarder) => self.where_forwarded(spec, status, forwarder),
            None => ("DNS cannot enumerate it".to_owned(), String::new()),
        };
        format!(
            "only the wildcard {pattern} of {service} covers {name}, and {why}; name {name} under spec.wildcards for the pattern {pattern}{or}"
        )
    }

    /// The same, where the operator answers questions: why, and what else can be done than naming it.
    fn where_forwarded(
        self,
        spec: &CitrixAllowlistSpec,
        status: &CitrixAllowlistStatus,
        forwarder: &ForwarderStatus,
    ) -> (String, String) {
        let Self { name, pattern, .. } = self;
        let says = |why: &str, or: &str| (why.to_owned(), or.to_owned());
        let known = status.wildcards.iter().find(|wildcard| wildcard.pattern == pattern.as_str());
        let named = spec.wildcards.iter().find(|wildcard| wildcard.pattern == pattern.as_str());
        let observe = named.and_then(|named| named.observe).unwrap_or(spec.observe_wildcards);
        let within = named.map(|named| named.within.clone()).unwrap_or_default();
        let observed = ObservedPattern { pattern: pattern.clone(), within, opens: observe == Observe::Allow };
        if observe == Observe::Off {
            return says("observe: Off has no name learned under it", ", or set observe: Allow for it");
        }
        if !pattern.matches_labels(name) {
            return says("it is not learned, since each star stands for one label there", "");
        }
        if !observed.matches(name) {
            return says("within leaves it out", ", or add to within a glob that it matches");
        }
        if observe == Observe::Suggest {
            let is_suggested = |known: &WildcardStatus| known.suggested.iter().any(|text| text == name.as_str());
            let why = match known.is_some_and(is_suggested) {
                true => "pods asked for it, and observe: Suggest does not allow it",
                false => "observe: Suggest allows no name that pods ask for",
            };
            return says(why, ", or set observe: Allow for it");
        }
        if let Some(of_zone) = not_forwarded(pattern, forwarder) {
            return of_zone;
        }
        let is_full = status
            .problems
            .iter()
            .any(|problem| problem.kind == ProblemKind::Limit && problem.subject == pattern.as_str());
        if is_full {
            let why = format!("it is not among the {MOST_LEARNED} names learned under it, as many as may be");
            return (why, ", or narrow within: it is learned once a pod asks the cluster's DNS for it".to_owned());
        }
        match known.is_some_and(|known| known.covered_by == CoveredBy::Observed) {
            true => says("no pod has asked the cluster's DNS for it yet", ", or have a pod ask: it is allowed then"),
            false => says(
                "it is not known yet whether the cluster's DNS forwards its zone to the operator",
                ", or ask again in a minute",
            ),
        }
    }
}

/// Why no question under a pattern arrives at the operator, and what to do.
fn not_forwarded(pattern: &NamePattern, forwarder: &ForwarderStatus) -> Option<(String, String)> {
    let ForwarderStatus { missing, looping, not_served, zones, .. } = forwarder;
    let zone = pattern.zone()?;
    let has = |zones: &[String], zone: &str| zones.iter().any(|known| known == zone);
    // The innermost zone of status that the pattern lies in.
    let zone = above(&zone).find(|zone| has(zones, zone) || has(not_served, zone))?;
    if has(not_served, zone) {
        let why = format!("the operator does not serve {zone}, which is not among --forward-zone");
        return Some((why, format!(", or add {zone} to --forward-zone")));
    }
    if has(looping, zone) {
        let why = format!("the forwarder's upstream leads back to it for {zone}");
        return Some((why, format!(", or give --forward-upstream a resolver that does not forward {zone}")));
    }
    let why = format!("the cluster's DNS does not forward {zone} to the operator");
    let or = ", or write the block that `citrix-allowlist forwarder config` prints";
    has(missing, zone).then(|| (why, or.to_owned()))
}

#[cfg(test)]
mod tests;
