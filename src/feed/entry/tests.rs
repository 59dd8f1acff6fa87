use super::*;
use connectivity_allowlist::document::{Reading, parse};
use connectivity_allowlist::gzip::compress;
use jiff::SignedDuration;
use serde_json::json;

const FLOOR: Duration = Duration::from_secs(60);

fn bounds() -> IntervalBounds {
    IntervalBounds::shared([(Duration::from_secs(300), Duration::from_secs(86_400))], FLOOR)
}

fn epoch() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().expect("a time")
}

fn entry(start: Instant) -> Entry {
    Entry::new("https://api.example".into(), bounds(), start, None)
}

/// The answer of a list with these names, valid for these seconds from the epoch.
fn answer(names: &[&str], valid_seconds: i64) -> Answer {
    Answer::List(list(names, valid_seconds))
}

fn list(names: &[&str], valid_seconds: i64) -> CachedList {
    list_of("v7", epoch() + SignedDuration::from_secs(valid_seconds), names)
}

fn list_of(version: &str, valid_until: Timestamp, names: &[&str]) -> CachedList {
    let document = json!({
        "meta": { "version": version, "validUntil": valid_until.to_string() },
        "services": [{ "name": "S", "direction": "outbound", "endpoints": [{ "fqdns": names }] }],
    });
    let bytes = document.to_string().into_bytes();
    let allowlist = parse(&bytes, &Reading::default()).expect("a list").allowlist;
    CachedList::new(compress(&bytes), allowlist, Validators::new(None, Some("Mon, 01 Jun 2026 00:00:00 GMT".into())))
}

fn arrival(start: Instant, seconds: u32) -> ResponseMetadata {
    ResponseMetadata {
        at: epoch() + SignedDuration::from_secs(seconds.into()),
        instant: start + Duration::from_secs(seconds.into()),
        transaction_id: Some(format!("transaction {seconds}")),
        fraction: 0.0,
        from_api: true,
    }
}

fn failed() -> Answer {
    Answer::failed(Reason::FeedUnavailable, "no way")
}

const FULL: [&str; 4] = ["a.example.net", "b.example.net", "c.example.net", "d.example.net"];

#[test]
fn a_list_a_confirmation_a_failure_and_an_empty_answer() {
    let start = Instant::now();
    let mut entry = entry(start);
    assert_eq!(entry.due(FLOOR, start, epoch()), start);
    assert!(entry.validators(epoch()).is_empty());

    assert!(entry.take(answer(&FULL, 3600), &arrival(start, 0)));
    assert_eq!((entry.confirmations, entry.condition.reason, entry.condition.current), (1, Reason::Fetched, true));
    assert_eq!(entry.next_fetch(), Some(epoch() + SignedDuration::from_secs(3600)));
    assert!(!entry.validators(arrival(start, 3599).at).is_empty());

    assert!(!entry.take(Answer::NotModified, &arrival(start, 1800)));
    assert_eq!((entry.confirmations, entry.condition.reason, entry.condition.current), (2, Reason::Fetched, true));
    assert!(entry.validators(arrival(start, 3600).at).is_empty(), "304 would leave it past its validity for ever");
    assert!(!entry.take(answer(&FULL, 3600), &arrival(start, 3600)));
    assert_eq!((entry.confirmations, entry.condition.reason), (3, Reason::FeedExpired), "the API itself has no other");
    assert!(!entry.condition.current);

    assert!(!entry.take(failed(), &arrival(start, 3900)));
    assert_eq!(entry.condition.message, "no way; the list of 2026-06-01T01:00:00Z stays in use");
    assert_eq!(entry.transaction_id.as_deref(), Some("transaction 3900"));
    assert_eq!(entry.fetched_at, Some(arrival(start, 3600).at), "a failure is no fetch");

    assert!(!entry.take(answer(&[], 9000), &arrival(start, 4000)));
    assert_eq!(entry.condition.reason, Reason::FeedMalformed);
    assert_eq!(entry.accepted.as_ref().map(|list| list.allowlist.entries.len()), Some(1));
}

/// It was in use until it expired: a day without a policy, after one wrong answer.
#[test]
fn a_first_list_that_holds_nothing_is_asked_for_again() {
    let start = Instant::now();
    let mut entry = entry(start);
    assert!(!entry.take(answer(&[], 86_400), &arrival(start, 0)));
    assert_eq!((entry.accepted.is_none(), entry.condition.reason), (true, Reason::FeedMalformed));
    assert_eq!(entry.condition.message, "the list holds nothing; there is no earlier list, so no policy is written");
    assert_eq!(entry.next_fetch(), Some(epoch() + SignedDuration::from_secs(10)));
    assert!(entry.take(answer(&FULL, 86_400), &arrival(start, 10)));
    assert_eq!(entry.condition.reason, Reason::Fetched);
}

#[test]
fn a_shrunk_list_waits_for_the_next_fetch_and_comes_whole() {
    let start = Instant::now();
    let mut entry = entry(start);
    entry.take(answer(&FULL, 3600), &arrival(start, 0));
    assert!(!entry.take(answer(&FULL[..1], 7200), &arrival(start, 3600)));
    assert_eq!(entry.condition.reason, Reason::FeedShrank);
    assert_eq!(entry.condition.problems.iter().map(|it| it.kind).collect::<Vec<_>>(), [ProblemKind::FeedShrank]);
    assert!(entry.condition.message.starts_with("the newest list drops 3 of 4"));
    assert_eq!(entry.next_fetch(), Some(epoch() + SignedDuration::from_secs(3900)));
    assert!(entry.validators(arrival(start, 3600).at).is_empty(), "304 would say nothing about the list held back");
    assert!(!entry.take(failed(), &arrival(start, 3900)));
    assert!(entry.held_back.is_some(), "a failure neither confirms nor forgets");
    assert!(entry.take(answer(&FULL[..1], 7200), &arrival(start, 4000)));
    assert_eq!((entry.confirmations, entry.condition.reason), (2, Reason::Fetched));
    assert!(entry.previous.is_none() && entry.held_back.is_none() && entry.condition.problems.is_empty());
}

#[test]
fn the_list_before_stays_until_the_new_one_is_confirmed() {
    let start = Instant::now();
    let mut entry = entry(start);
    entry.take(answer(&FULL, 3600), &arrival(start, 0));
    assert!(entry.take(answer(&FULL[..3], 7200), &arrival(start, 3600)));
    assert_eq!(entry.confirmations, 1);
    assert_eq!(entry.previous.as_ref().map(|list| list.allowlist.entries[0].names.len()), Some(4));
    assert!(!entry.take(answer(&FULL[..3], 9000), &arrival(start, 7200)));
    assert_eq!(entry.confirmations, 2);
    assert!(entry.previous.is_none());
    let valid_until = entry.accepted.as_ref().and_then(|list| list.allowlist.valid_until);
    assert_eq!(valid_until, Some(epoch() + SignedDuration::from_secs(9000)), "the same content may hold longer");
}

#[test]
fn both_clocks_count() {
    let start = Instant::now();
    let mut entry = entry(start);
    entry.take(answer(&FULL, 3600), &arrival(start, 0));
    let due = |monotonic: u64, wall: i64| {
        let now = start + Duration::from_secs(monotonic);
        entry.due(FLOOR, now, epoch() + SignedDuration::from_secs(wall)) <= now
    };
    assert!(!due(3599, 3599));
    assert!(due(3600, 3600));
    assert!(due(3600, -1_000_000), "the clock set back delays nothing");
    assert!(due(61, 9000), "a machine that slept requests when it is awake");
    assert!(!due(59, 9000), "but not within the operator's shortest time");
}

#[test]
fn a_restored_list_is_due_when_it_was() {
    let start = Instant::now();
    let mut entry = entry(start);
    let restored = Restored {
        accepted: list(&FULL, 3600),
        previous: None,
        fetched_at: epoch(),
        confirmations: 3,
        stale_answers: 0,
        older_since: None,
        from_elsewhere: false,
    };
    entry.restore(restored, &arrival(start, 1000));
    let after = |seconds: u64| start + Duration::from_secs(seconds);
    assert_eq!(entry.due(FLOOR, after(1000), arrival(start, 1000).at), after(3600));
    assert_eq!((entry.confirmations, entry.fetched_at), (3, Some(epoch())));
    assert_eq!(entry.condition.reason, Reason::Fetched);
}

/// Formerly a list whose answer filled the memory was requested at each start: six times in 195 s.
#[test]
fn a_fetch_that_ended_the_process_backs_off_by_doubling() {
    let start = Instant::now();
    for (times, seconds) in [(1, 15), (2, 30), (4, 120), (40, 900)] {
        let mut entry = entry(start);
        let message = entry.interrupt((epoch(), epoch()), times, &arrival(start, 5)).expect("a message");
        assert!(message.contains(&format!("{times} times in a row")), "{message}");
        let status = "the first list has not arrived yet; the fetch of 2026-06-01T00:00:00Z";
        assert!(entry.condition.message.starts_with(status));
        entry.request_by(start);
        let due = entry.due(FLOOR, start + Duration::from_secs(5), arrival(start, 5).at);
        assert_eq!(due, start + Duration::from_secs(seconds), "from when it was begun, and not hurried");
        assert!(entry.take(answer(&FULL, 3600), &arrival(start, 2000)));
        assert_eq!((entry.interrupted, entry.last.map(|last| last.failures)), (0, Some(0)));
    }
    let mut entry = entry(start);
    entry.take(answer(&FULL, 3600), &arrival(start, 10));
    assert_eq!(entry.interrupt((epoch(), epoch()), 1, &arrival(start, 20)), None, "the list has come since");
    // Its list is dated by the clock that noted the fetch, an hour behind ours.
    let noted = epoch() - SignedDuration::from_hours(1);
    assert_eq!(entry.interrupt((arrival(start, 20).at, noted), 1, &arrival(start, 30)), None);
}

/// Formerly everything that a list had more than the last one was opened at once.
#[test]
fn a_list_that_grows_a_hundredfold_waits_for_the_next_fetch() {
    let start = Instant::now();
    let mut entry = entry(start);
    let many: Vec<String> = (0..401).map(|number| format!("n{number}.example.net")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).chain(FULL).collect();
    entry.take(answer(&FULL, 3600), &arrival(start, 0));
    assert!(!entry.take(answer(&many, 7200), &arrival(start, 3600)));
    assert_eq!((entry.condition.reason, entry.condition.current), (Reason::FeedGrew, false));
    assert_eq!(
        entry.condition.message,
        "the newest list holds 405 names and wildcards where 4 are in use, over 100 times as many: it is held back until the \
         next fetch says the same; the list of 2026-06-01T00:00:00Z stays in use"
    );
    assert_eq!(entry.condition.problems.iter().map(|problem| problem.kind).collect::<Vec<_>>(), [ProblemKind::Limit]);
    assert_eq!(entry.next_fetch(), Some(epoch() + SignedDuration::from_secs(3900)));
    assert!(entry.take(answer(&many, 7200), &arrival(start, 3900)));
    assert_eq!((entry.confirmations, entry.condition.reason), (2, Reason::Fetched));
    assert!(entry.previous.is_none() && entry.held_back.is_none());
}

#[test]
fn a_first_list_that_opens_too_much_waits_for_the_next_fetch() {
    let start = Instant::now();
    let mut entry = entry(start);
    let wide = answer(&["20.0.0.0/8", "40.0.0.0/8"], 3600);
    assert!(!entry.take(wide.clone(), &arrival(start, 0)));
    assert!(entry.accepted.is_none() && entry.validators(epoch()).is_empty());
    assert_eq!(entry.condition.reason, Reason::FeedGrew);
    assert!(entry.condition.message.ends_with("no policy is written from it before"), "{}", entry.condition.message);
    assert!(entry.take(wide, &arrival(start, 300)));
    assert_eq!((entry.confirmations, entry.condition.reason), (2, Reason::Fetched));
}

mod older;
