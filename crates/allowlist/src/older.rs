//! Whether an answer may replace a list with a later publication. Pure.
//!
//! The edges of a content delivery network differ for a while after each publication: one still answers the list before. Such an
//! answer takes nothing back. A vendor that withdraws a list answers the older one from all edges, permanently.

use crate::document;
use crate::list::Allowlist;
use jiff::{SignedDuration, Timestamp};

/// How long an older list without a validity has to persist: the 84 hours of the API overview's own example, from `version`
/// 2026-06-01T00:00:00Z to `validUntil` 2026-06-04T12:00:00Z.
const USUAL_VALIDITY: SignedDuration = SignedDuration::from_hours(84);
/// The shortest time that it has to persist: an hour, for which caches may keep an answer of the API.
const SHORTEST_VALIDITY: SignedDuration = SignedDuration::from_hours(1);
/// The longest: a week. A vendor who withdraws a list means it earlier.
const LONGEST_VALIDITY: SignedDuration = SignedDuration::from_hours(168);
/// How far ahead of the clock a version may be and still order lists: two days. A version years ahead would stop every later list. A
/// clock that takes one zone's local time for another's is up to 26 hours behind.
const AHEAD: SignedDuration = SignedDuration::from_hours(48);

/// The decision on an answer, by its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recency {
    /// It may replace the list: it is no older, or one of the two versions is no time, or older answers have persisted.
    Follow,
    /// It is older than the list in use, which stays.
    Keep {
        /// Since when every answer has been older.
        since: Timestamp,
        /// When such an answer is followed.
        until: Timestamp,
    },
}

/// Judges `new`, answered at `now`, against the list in use. `since` is the time of the first in an unbroken row of older answers.
#[must_use]
pub fn judge(in_use: &Allowlist, new: &Allowlist, since: Option<Timestamp>, now: Timestamp) -> Recency {
    let (Some(known), Some(answered)) = (published(in_use), published(new)) else { return Recency::Follow };
    if !orders(answered, known, now) {
        return Recency::Follow;
    }
    // A clock that was set back must not make the wait longer.
    let since = since.map_or(now, |since| since.min(now));
    let until = since.saturating_add(persistence(new, answered)).unwrap_or(Timestamp::MAX);
    if now >= until { Recency::Follow } else { Recency::Keep { since, until } }
}

/// Whether a list, last answered at `answered`, is older than one published at `newer` that was in use before and is no longer
/// known. The newer one counts as withdrawn where an answer is still the older one a whole validity after that time.
#[must_use]
pub fn is_behind(list: &Allowlist, newer: Timestamp, answered: Option<Timestamp>, now: Timestamp) -> bool {
    let Some(known) = published(list).filter(|known| orders(*known, newer, now)) else { return false };
    let withdrawn = newer.saturating_add(persistence(list, known)).unwrap_or(Timestamp::MAX);
    answered.is_none_or(|answered| answered < withdrawn)
}

/// The time of a version; `None` if it is no time.
#[must_use]
pub fn publication(version: &str) -> Option<Timestamp> {
    document::timestamp(version)
}

/// When a list was published; `None` if its version is no time.
fn published(list: &Allowlist) -> Option<Timestamp> {
    list.version.as_deref().and_then(publication)
}

/// Whether one publication is older than another, which is not too far ahead of the clock to count.
fn orders(one: Timestamp, other: Timestamp, now: Timestamp) -> bool {
    one < other && other.duration_since(now) <= AHEAD
}

/// How long an older list has to persist: a whole validity of its own.
fn persistence(list: &Allowlist, published: Timestamp) -> SignedDuration {
    let validity = list.valid_until.map(|until| until.duration_since(published));
    validity.filter(SignedDuration::is_positive).unwrap_or(USUAL_VALIDITY).clamp(SHORTEST_VALIDITY, LONGEST_VALIDITY)
}

#[cfg(test)]
mod tests;
