//! The bounds that a resource reaches: names and addresses without room, and names that are queried late.

use super::few;
use crate::bound::Full;
use crate::crd::{Problem, ProblemKind};
use crate::names::{Addresses, NameAddresses, NameState};
use connectivity_allowlist::net::DomainName;
use std::collections::{BTreeMap, BTreeSet};

/// One problem for each bound that was reached, however many names it concerns.
pub(super) fn problems(names: &BTreeSet<DomainName>, addresses: &Addresses) -> Vec<Problem> {
    let mut names_left_out: BTreeMap<Full, Vec<&DomainName>> = BTreeMap::new();
    let mut addresses_left_out: BTreeMap<Full, Vec<&DomainName>> = BTreeMap::new();
    let mut late = Vec::new();
    for (name, known) in addresses.by_name.iter().filter(|(name, _)| names.contains(*name)) {
        if let NameState::LeftOut(full) = known.state {
            names_left_out.entry(full).or_default().push(name);
        }
        if let Some(full) = known.reached.left_out {
            addresses_left_out.entry(full).or_default().push(name);
        }
        if known.reached.late {
            late.push(name);
        }
    }
    let mut problems = Vec::new();
    let mut limit = |what: &str, full: Full, names: Vec<&DomainName>, start: String| {
        let message = format!("{start}: {}: {}", full.sentence(what), few(names.into_iter()));
        problems.push(Problem::new(ProblemKind::Limit, full.subject(what), None, message));
    };
    for (full, names) in names_left_out {
        let start = format!("{} names are left out and not asked, the newest of all", names.len());
        limit("names", full, names, start);
    }
    for (full, names) in addresses_left_out {
        let start = format!("new addresses of {} names are left out, what is allowed stays", names.len());
        limit("addresses", full, names, start);
    }
    if !late.is_empty() {
        let message = format!(
            "{} names are asked notably later than their TTL says: this namespace's names want more than a DNS server is asked in a second (--dns-questions-per-second)",
            late.len()
        );
        problems.push(Problem::new(ProblemKind::Limit, "DNS questions", None, message));
    }
    problems
}

/// Why an answered name has no address to allow.
pub(super) fn why_none(known: Option<&NameAddresses>) -> &'static str {
    match known.and_then(|known| known.reached.left_out) {
        Some(_) => "there is no room for its addresses: see the Limit",
        None => "no address of the answer may be opened",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bound::Level;
    use crate::names::Reached;
    use std::sync::Arc;

    #[test]
    fn each_bound_that_is_reached_is_one_problem_with_its_flag() {
        let name = |number: usize| DomainName::parse(&format!("n{number}.example.com")).expect("a name");
        let full = |level, bound| Full { level, bound };
        let known = |state, reached| NameAddresses { state, reached, ..NameAddresses::default() };
        let mut addresses = Addresses::default();
        let mut know = |number, state, reached| {
            addresses.by_name.insert(name(number), Arc::new(known(state, reached)));
        };
        for number in 0..7 {
            know(number, NameState::LeftOut(full(Level::Namespace, 5000)), Reached::default());
        }
        let cut = Reached { left_out: Some(full(Level::Process, 80_000)), late: true };
        know(7, NameState::Answered, cut);
        know(8, NameState::Answered, Reached::default());
        let names = (0..9).map(name).collect();
        let problems = problems(&names, &addresses);
        let subjects: Vec<&str> = problems.iter().map(|problem| &*problem.subject).collect();
        assert_eq!(subjects, ["names of the namespace", "addresses of the process", "DNS questions"]);
        assert!(problems.iter().all(|problem| problem.kind == ProblemKind::Limit));
        let has = |index: usize, words: &[&str]| {
            let message = &problems[index].message;
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        };
        has(0, &["7 names", "5000", "--max-names-per-namespace", "n0.example.com"]);
        has(1, &["1 names", "80000", "(--max-addresses)", "stays"]);
        has(2, &["1 names", "--dns-questions-per-second"]);
    }
}
