//! How many resources are ready, and how many problems of each kind they have, as metrics tell it.

use crate::crd::{CitrixAllowlistStatus, ProblemKind};
use crate::subscriber::Subscriber;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

/// The newest word of each resource, and the counts over all of them.
#[derive(Debug, Default)]
pub struct Tally {
    words: Mutex<HashMap<Subscriber, Word>>,
}

/// What counts of one resource's status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Word {
    ready: Option<bool>,
    problems: BTreeMap<ProblemKind, usize>,
}

/// The counts over all resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Resources that are ready.
    pub ready: usize,
    /// Resources that are not.
    pub not_ready: usize,
    /// Resources that have not said.
    pub unknown: usize,
    /// Problems that status lists, by kind.
    pub problems: BTreeMap<ProblemKind, usize>,
}

impl Tally {
    /// Takes in what a resource says now.
    pub fn note(&self, who: &Subscriber, status: &CitrixAllowlistStatus) {
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        let mut word = Word { ready: ready.map(|condition| condition.status == "True"), ..Word::default() };
        for problem in &status.problems {
            *word.problems.entry(problem.kind).or_default() += 1;
        }
        self.words.lock().unwrap_or_else(PoisonError::into_inner).insert(who.clone(), word);
    }

    /// Forgets a resource that is gone.
    pub fn forget(&self, who: &Subscriber) {
        self.words.lock().unwrap_or_else(PoisonError::into_inner).remove(who);
    }

    /// The counts now. Made when somebody asks, once a scrape.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for word in self.words.lock().unwrap_or_else(PoisonError::into_inner).values() {
            match word.ready {
                Some(true) => counts.ready += 1,
                Some(false) => counts.not_ready += 1,
                None => counts.unknown += 1,
            }
            for (kind, number) in &word.problems {
                *counts.problems.entry(*kind).or_default() += number;
            }
        }
        counts
    }
}
