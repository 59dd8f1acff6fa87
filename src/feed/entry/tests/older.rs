//! Answers of edges that differ: an older list takes nothing back, unless it persists.

use super::*;

/// A list of these names, published these hours after the epoch and valid for 84 hours from then on.
fn published(hours: i64, names: &[&str]) -> Answer {
    let version = epoch() + SignedDuration::from_hours(hours);
    Answer::List(list_of(&version.to_string(), version + SignedDuration::from_hours(84), names))
}

fn at_hour(start: Instant, hours: u32) -> ResponseMetadata {
    arrival(start, hours * 3600)
}

fn names_in_use(entry: &Entry) -> usize {
    entry.accepted.as_ref().map_or(0, |list| list.allowlist.entries[0].names.len())
}

fn version_in_use(entry: &Entry) -> Option<&str> {
    entry.accepted.as_ref().and_then(|list| list.allowlist.version.as_deref())
}

#[test]
fn an_older_list_takes_nothing_back_while_edges_take_turns() {
    let start = Instant::now();
    let mut entry = entry(start);
    assert!(entry.take(published(24, &FULL), &at_hour(start, 24)));
    for hour in 25..200 {
        let changed = entry.take(published(if hour % 2 == 1 { 0 } else { 24 }, &FULL[..3]), &at_hour(start, hour));
        if hour == 25 {
            assert!(!changed);
            assert_eq!((names_in_use(&entry), version_in_use(&entry)), (4, Some("2026-06-02T00:00:00Z")));
            assert_eq!((entry.condition.reason, entry.condition.current), (Reason::Fetched, true));
            assert_eq!(
                entry.condition.message,
                "the list 2026-06-02T00:00:00Z is in use, valid until 2026-06-05T12:00:00Z; the newest answer is an older \
                 list, 2026-06-01T00:00:00Z, as every one since 2026-06-02T01:00:00Z: it takes nothing back, and is \
                 followed if none newer has come by 2026-06-05T13:00:00Z"
            );
            assert!(entry.validators(at_hour(start, hour).at).is_empty(), "the next answer has to come whole");
            assert_eq!(entry.fetched_at, Some(at_hour(start, 24).at), "it confirms nothing");
        } else {
            assert_eq!(version_in_use(&entry), Some("2026-06-02T00:00:00Z"), "hour {hour}");
        }
    }
}

fn saved(entry: &Entry) -> Restored {
    Restored {
        accepted: entry.accepted.clone().expect("a list"),
        previous: None,
        fetched_at: entry.fetched_at.expect("a fetch"),
        confirmations: 1,
        stale_answers: 0,
        older_since: entry.older_since,
        from_elsewhere: false,
    }
}

/// Found by simulation: the newer list could not be saved, the clock was set back before it came, and the process led once more.
#[test]
fn a_saved_list_is_compared_by_its_version_and_not_by_a_clock() {
    let start = Instant::now();
    let of = |published_at: i64, fetched_at: u32| {
        let mut entry = entry(start);
        entry.take(published(published_at, &FULL), &at_hour(start, fetched_at));
        entry
    };
    let (older, newer) = (of(24, 48), of(30, 31));
    let now = at_hour(start, 49).at;
    assert!(newer.is_newer_than(&saved(&older), now), "fetched earlier by its clock");
    assert!(!older.is_newer_than(&saved(&newer), now));
    let again = of(24, 49);
    assert!(again.is_newer_than(&saved(&older), now) && !older.is_newer_than(&saved(&again), now), "the same version");
    let elsewhere = Restored { from_elsewhere: true, ..saved(&older) };
    assert!(!newer.is_newer_than(&elsewhere, now), "another address orders nothing");
}

#[test]
fn an_older_list_that_persists_is_followed_after_a_restart_too() {
    let start = Instant::now();
    let mut entry = entry(start);
    entry.take(published(24, &FULL), &at_hour(start, 24));
    for hour in [30, 60, 90] {
        assert!(!entry.take(published(0, &FULL[..3]), &at_hour(start, hour)));
    }
    assert_eq!((names_in_use(&entry), entry.older_since), (4, Some(at_hour(start, 30).at)));
    let saved = saved(&entry);
    let mut entry = super::entry(start);
    entry.restore(saved, &at_hour(start, 91));
    assert!(!entry.take(published(0, &FULL[..3]), &at_hour(start, 113)));
    assert!(entry.condition.message.contains("older list"), "{}", entry.condition.message);
    assert!(entry.take(published(0, &FULL[..3]), &at_hour(start, 114)), "84 hours after hour 30");
    assert_eq!((names_in_use(&entry), entry.older_since), (3, None));
}

#[test]
fn a_file_and_another_address_may_go_back_to_an_older_list() {
    let start = Instant::now();
    let mut entry = entry(start);
    entry.take(published(24, &FULL), &at_hour(start, 24));
    assert!(entry.take(published(0, &FULL[..3]), &ResponseMetadata { from_api: false, ..at_hour(start, 25) }));
    entry.take(published(24, &FULL), &at_hour(start, 26));
    entry.from_elsewhere = true;
    assert!(entry.take(published(0, &FULL[..3]), &at_hour(start, 27)));
    assert!(!entry.from_elsewhere);
}

#[test]
fn an_older_list_neither_confirms_nor_refuses_a_waiting_one() {
    let start = Instant::now();
    let mut entry = entry(start);
    entry.take(published(24, &FULL), &at_hour(start, 24));
    assert!(!entry.take(published(48, &FULL[..1]), &at_hour(start, 48)));
    assert!(!entry.take(published(0, &FULL), &at_hour(start, 49)));
    assert_eq!((entry.condition.reason, names_in_use(&entry)), (Reason::FeedShrank, 4));
    assert!(entry.take(published(48, &FULL[..1]), &at_hour(start, 50)));
    assert_eq!(names_in_use(&entry), 1);
}
