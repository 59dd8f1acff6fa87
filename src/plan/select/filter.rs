//! Filters the entries of a list by a spec.

use crate::crd::{CitrixAllowlistSpec, Problem, ProblemKind};
use connectivity_allowlist::net::Direction;
use connectivity_allowlist::{Allowlist, Directions, Entry, Geo, ListProblem};
use wildmatch::WildMatch;

/// A glob over service names. Capitals do not matter: few users remember the vendor's.
struct Glob<'a> {
    text: &'a str,
    matcher: WildMatch,
}

impl<'a> Glob<'a> {
    fn all(texts: &'a [String]) -> Vec<Self> {
        let glob = |text: &'a String| Self { text, matcher: WildMatch::new_case_insensitive(text) };
        texts.iter().map(glob).collect()
    }
}

fn any(globs: &[Glob], service: &str) -> bool {
    globs.iter().any(|glob| glob.matcher.matches(service))
}

/// A spec's filters.
pub(super) struct Filter<'a> {
    geo: Geo,
    directions: &'static [Direction],
    include: Vec<Glob<'a>>,
    exclude: Vec<Glob<'a>>,
    required_only: bool,
}

impl<'a> Filter<'a> {
    pub(super) fn new(spec: &'a CitrixAllowlistSpec) -> Self {
        Self {
            geo: spec.geo.into(),
            directions: Directions::from(spec.direction).each(),
            include: Glob::all(&spec.services.include),
            exclude: Glob::all(&spec.services.exclude),
            required_only: spec.services.required_only,
        }
    }

    pub(super) fn matches(&self, entry: &Entry) -> bool {
        self.matches_but_for_geo(entry) && self.geo.is_served_by(&entry.geo)
    }

    /// Whether an entry would match in another region. One that does not say whether it is required is kept, since pods may need
    /// it.
    pub(super) fn matches_but_for_geo(&self, entry: &Entry) -> bool {
        self.directions.contains(&entry.direction)
            && self.service(&entry.service)
            && (entry.required.unwrap_or(true) || !self.required_only)
    }

    /// Whether a problem of the list lies within the filters, as far as it could be read.
    pub(super) fn concerns(&self, listed: &ListProblem) -> bool {
        listed.direction.is_none_or(|direction| self.directions.contains(&direction))
            && self.geo.is_served_by(&listed.geo)
            && listed.service.as_deref().is_none_or(|service| self.service(service))
    }

    /// Globs without a match: otherwise a typing error in one would pass for intent.
    pub(super) fn unmatched(&self, allowlist: &Allowlist) -> Vec<Problem> {
        if allowlist.entries.is_empty() {
            return Vec::new();
        }
        let known = |glob: &Glob| allowlist.entries.iter().any(|entry| glob.matcher.matches(&entry.service));
        let mut problems = Vec::new();
        for glob in &self.include {
            let scoped = |entry: &Entry| self.in_scope(entry) && glob.matcher.matches(&entry.service);
            let message = if !known(glob) {
                "services.include matches no service of the list: nothing is allowed for it"
            } else if !allowlist.entries.iter().any(|entry| scoped(entry)) {
                "services.include matches services of the list, but none in the geo and direction asked for"
            } else {
                continue;
            };
            problems.push(Problem::new(ProblemKind::NoMatch, glob.text, None, message));
        }
        for glob in self.exclude.iter().filter(|glob| !known(glob)) {
            let message = "services.exclude matches no service of the list: it leaves nothing out";
            problems.push(Problem::new(ProblemKind::NoMatch, glob.text, None, message));
        }
        problems
    }

    fn in_scope(&self, entry: &Entry) -> bool {
        self.directions.contains(&entry.direction) && self.geo.is_served_by(&entry.geo)
    }

    /// Whether an entry's exact names may expand wildcards of other entries. The user did not ask for those of another region, or
    /// of a service excluded by name.
    pub(super) fn expands_to_names(&self, entry: &Entry) -> bool {
        self.geo.is_served_by(&entry.geo) && !any(&self.exclude, &entry.service)
    }

    fn service(&self, service: &str) -> bool {
        (self.include.is_empty() || any(&self.include, service)) && !any(&self.exclude, service)
    }
}
