//! Whether an answer may take the place of a list that says it was published later. Pure.
//!
//! The edges of a content delivery network differ for a while after each publication: one still answers the list before.
//! That takes nothing back. A vendor that withdraws a list answers the older one from all of its edges, and goes on so.

use crate::document;
use crate::list::Allowlist;
use jiff::{SignedDuration, Timestamp};

/// How long an older list has to persist where it does not say for how long it is valid: the 84 hours of the API
/// overview's own example, from `version` 2026-06-01T00:00:00Z to `validUntil` 2026-06-04T12:00:00Z.
const USUAL_VALIDITY: SignedDuration = SignedDuration::from_hours(84);
/// The shortest that it has to persist: an hour, for which caches may keep an answer of the API.
const SHORTEST_VALIDITY: SignedDuration = SignedDuration::from_hours(1);
/// The longest: a week. A vendor who withdraws a list means it before.
const LONGEST_VALIDITY: SignedDuration = SignedDuration::from_hours(168);
/// How far ahead of the clock a version may lie and still order lists. One of years ahead would let nothing follow it.
const AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// What to do with an answer, as far as its version goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recency {
    /// Its version does not stand in the way: it is no older, or one of the two has none that is a time; or older answers
    /// have persisted.
    Follow,
    /// It is older than the list in use, which stays.
    Keep {
        /// Since when every answer has been older.
        since: Timestamp,
        /// From when on such an answer is followed.
        until: Timestamp,
    },
}

/// Judges `new`, which was answered at `now`, against the list in use. `since` is when the first of an unbroken row of
/// older answers came.
#[must_use]
pub fn judge(in_use: &Allowlist, new: &Allowlist, since: Option<Timestamp>, now: Timestamp) -> Recency {
    let (Some(known), Some(answered)) = (published(in_use), published(new)) else { return Recency::Follow };
    if answered >= known || known.duration_since(now) > AHEAD {
        return Recency::Follow;
    }
    // A clock that was set back must not make the wait longer.
    let since = since.map_or(now, |since| since.min(now));
    let until = since.saturating_add(persistence(new, answered)).unwrap_or(Timestamp::MAX);
    if now >= until { Recency::Follow } else { Recency::Keep { since, until } }
}

/// When a list was published; `None` where its version is no time.
fn published(list: &Allowlist) -> Option<Timestamp> {
    list.version.as_deref().and_then(document::timestamp)
}

/// How long an older list has to persist: a whole validity of its own.
fn persistence(list: &Allowlist, published: Timestamp) -> SignedDuration {
    let validity = list.valid_until.map(|until| until.duration_since(published));
    validity.filter(SignedDuration::is_positive).unwrap_or(USUAL_VALIDITY).clamp(SHORTEST_VALIDITY, LONGEST_VALIDITY)
}

#[cfg(test)]
mod tests;
