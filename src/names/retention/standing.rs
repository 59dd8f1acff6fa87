//! The state of a name after a round, and when the next one is due. Pure.

use super::{Bounds, CachedName};
use crate::names::addresses::NameState;
use crate::names::answer::Family;
use crate::names::schedule::with_jitter;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first wait after a query that every server failed; it doubles with each further one.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
/// The longest wait between failing queries.
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);
/// How many rounds in a row must fail before an answered name counts as failing: one lost query is
/// repeated within a second or two, and is not reported.
const FAILURES_TO_REPORT: u32 = 2;
/// After this many failed rounds, a family that never had an answer is given up if the other has addresses. Servers that drop
/// AAAA queries are common.
pub const FAILURES_TO_GIVE_UP_FAMILY: u32 = 3;

impl CachedName {
    /// Whether a failed family does not count, because the name evidently lives by the other.
    fn given_up(&self, family: usize) -> bool {
        let other = &self.families[1 - family];
        let family = &self.families[family];
        family.definitive_at.is_none()
            && family.failures >= FAILURES_TO_GIVE_UP_FAMILY
            && other.round.answered
            && other.round.has_addresses
    }

    /// A waiting name need not wait for the slowest server once there is something to allow.
    pub(super) fn settle_early(&mut self) {
        let complete = self.families.iter().all(|family| family.round.answered);
        let has_addresses = self.families.iter().any(|family| family.round.has_addresses);
        if complete && has_addresses {
            self.state = NameState::Answered;
            self.ever_answered = true;
        }
    }

    pub(super) fn settle(&mut self, bounds: &Bounds, now: Instant) {
        // A never answered name is stale since its first query: policies may allow it from before.
        let first = *self.first_round_at.get_or_insert(now);
        let failing = |index: &usize| !self.families[*index].round.answered && !self.given_up(*index);
        let Some(index) = [0, 1].into_iter().find(failing) else {
            let has_addresses = self.families.iter().any(|family| family.round.has_addresses);
            self.state = if has_addresses { NameState::Answered } else { NameState::Absent };
            self.ever_answered = true;
            return;
        };
        let failures = [0, 1].into_iter().filter(failing).map(|index| self.families[index].failures).max();
        if self.ever_answered && self.state.is_definitive() && failures < Some(FAILURES_TO_REPORT) {
            return;
        }
        let oldest = [0, 1].into_iter().filter(failing).map(|index| self.families[index].definitive_at);
        let oldest = oldest.map(|answered| answered.unwrap_or(first)).min();
        let stale = oldest.is_some_and(|answered| now.saturating_duration_since(answered) > bounds.max_stale);
        // Servers that fail in turns would change the text with every query: the first failure stays.
        let error = match &self.state {
            NameState::Failing { error, .. } => error.clone(),
            _ => self.describe(index),
        };
        self.state = NameState::Failing { error, stale, ever_answered: self.ever_answered };
    }

    fn describe(&self, index: usize) -> Arc<str> {
        match &self.families[index].round.failure {
            Some(failed) => format!("{} of {}: {}", Family::ALL[index], failed.0, failed.1).into(),
            None => "no DNS server is known".into(),
        }
    }

    /// Schedules each queried family: by the TTL of its own answer within the bounds, after a back-off if every server failed,
    /// and with the other family if it is given up.
    pub(super) fn schedule(&mut self, bounds: &Bounds, random: f64, now: Instant) {
        for index in [0, 1] {
            let family = &self.families[index];
            if !family.queried || (!family.round.answered && self.given_up(index)) {
                continue;
            }
            let wait = with_jitter(self.wait(index, bounds), random).mul_f64(bounds.stretch);
            // The same random number for both: families with one TTL stay together.
            self.families[index].due = Some(now + wait);
        }
        for index in [0, 1] {
            if !self.families[index].round.answered && self.given_up(index) {
                self.families[index].due = self.families[1 - index].due;
            }
        }
    }

    /// How long after its newest round a family is due again.
    fn wait(&self, index: usize, bounds: &Bounds) -> Duration {
        let family = &self.families[index];
        let wait = if family.round.answered {
            family.round.ttl.unwrap_or_default().max(bounds.min_ttl)
        } else {
            back_off(family.failures)
        };
        wait.min(bounds.max_ttl)
    }

    /// How many queries a second the name needs, by the TTLs of its newest answers. The first query is not counted.
    #[must_use]
    pub fn questions_per_second(&self, bounds: &Bounds) -> f64 {
        let counts = |index: &usize| self.families[*index].round.answered || self.families[*index].failures > 0;
        [0, 1].into_iter().filter(counts).map(|index| self.wait(index, bounds).as_secs_f64().recip()).sum()
    }

    /// How long until a family is due.
    #[must_use]
    pub fn next_question(&self, now: Instant) -> Duration {
        let wait = |due: Option<Instant>| due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now));
        self.families.iter().map(|family| wait(family.due)).min().unwrap_or_default()
    }

    /// The families that are due now.
    #[must_use]
    pub fn due(&self, now: Instant) -> Vec<Family> {
        let is_due = |family: &Family| self.families[*family as usize].due.is_none_or(|due| due <= now);
        Family::ALL.into_iter().filter(is_due).collect()
    }

    /// Makes both families due at once, whatever their TTLs: there is a new server.
    pub fn ask_at_once(&mut self) {
        self.families.iter_mut().for_each(|family| family.due = None);
    }
}

fn back_off(failures: u32) -> Duration {
    let doubled = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_BACK_OFF.saturating_mul(doubled).min(LONGEST_BACK_OFF)
}
