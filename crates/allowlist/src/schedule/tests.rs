use super::*;
use proptest::prelude::*;

const MIN: Duration = Duration::from_secs(300);
const MAX: Duration = Duration::from_secs(24 * 3600);

fn bounds() -> IntervalBounds {
    IntervalBounds::shared([(MIN, MAX)], Duration::from_secs(60))
}

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().expect("a time")
}

fn usable(after_seconds: i64, changed: bool) -> FetchOutcome {
    let valid_until = Timestamp::from_second(now().as_second() + after_seconds).expect("a time");
    FetchOutcome::Usable { valid_until: Some(valid_until), changed }
}

/// The planned delays, in seconds, of outcomes that follow each other; each completes at the same moment.
fn delays(outcomes: &[FetchOutcome]) -> Vec<u64> {
    let mut last = None;
    let mut delays = Vec::new();
    for outcome in outcomes {
        let completed = CompletedRequest::after(last.as_ref(), *outcome, now(), bounds());
        delays.push(completed.delay(bounds()).planned.as_secs());
        last = Some(completed);
    }
    delays
}

#[test]
fn the_list_says_when() {
    assert_eq!(delays(&[usable(3600, true)]), [3600]);
    assert_eq!(delays(&[usable(3600, true), usable(3600, false)]), [3600, 3600], "asked early, it still says when");
    assert_eq!(delays(&[usable(10, true)]), [300], "not before the shortest interval");
    assert_eq!(delays(&[usable(10 * 365 * 86_400, true)]), [86_400], "not after the longest");
}

#[test]
fn an_answer_that_stays_old_is_asked_for_less_and_less() {
    let expired = usable(-86_400, false);
    assert_eq!(delays(&[usable(-86_400, true), expired, expired, expired]), [300, 600, 1200, 2400]);
    assert_eq!(delays(&[expired; 12])[9..], [86_400, 86_400, 86_400]);
    assert_eq!(delays(&[usable(10, true), usable(10, false), usable(10, false)]), [300, 300, 600]);
    assert_eq!(delays(&[expired, expired, usable(3600, true), expired]), [300, 600, 3600, 300]);
}

#[test]
fn a_list_that_does_not_say_when_doubles_too() {
    let silent = |changed| FetchOutcome::Usable { valid_until: None, changed };
    assert_eq!(delays(&[silent(true), silent(false), silent(false)]), [300, 600, 1200]);
}

#[test]
fn failures_back_off_and_a_success_forgives_them() {
    let failed = FetchOutcome::Failed;
    assert_eq!(delays(&[failed; 9]), [10, 20, 40, 80, 160, 320, 640, 900, 900]);
    assert_eq!(delays(&[failed, failed, usable(3600, false), failed]), [10, 20, 3600, 10]);
    assert_eq!(delays(&vec![failed; 200])[199], 900, "no overflow");
}

#[test]
fn pauses_are_obeyed_within_reason() {
    let paused = |seconds: Option<u64>| FetchOutcome::Paused { retry_after: seconds.map(Duration::from_secs) };
    assert_eq!(delays(&[paused(Some(90))]), [90]);
    assert_eq!(delays(&[paused(Some(0))]), [1]);
    assert_eq!(delays(&[paused(Some(u64::MAX))]), [3600]);
    assert_eq!(delays(&[paused(None), paused(None), paused(None)]), [60, 120, 240]);
    let completed = CompletedRequest::after(None, paused(Some(90)), now(), bounds());
    assert_eq!(completed.host_pause(), Some(Duration::from_secs(90)));
    assert_eq!(CompletedRequest::after(None, FetchOutcome::Failed, now(), bounds()).host_pause(), None);
}

#[test]
fn refused_and_held_back_lists_have_times_of_their_own() {
    assert_eq!(delays(&[FetchOutcome::Rejected, FetchOutcome::Rejected]), [3600, 3600]);
    assert_eq!(delays(&[FetchOutcome::HeldBack]), [300]);
}

#[test]
fn the_shortest_bounds_win_but_never_under_the_floor() {
    let seconds = Duration::from_secs;
    let shared = IntervalBounds::shared([(seconds(300), seconds(3600)), (seconds(5), seconds(7200))], seconds(60));
    assert_eq!((shared.min(), shared.max()), (seconds(60), seconds(3600)));
    let crossed = IntervalBounds::shared([(seconds(300), seconds(400)), (seconds(600), seconds(30))], seconds(60));
    assert_eq!((crossed.min(), crossed.max()), (seconds(300), seconds(300)));
    let absurd = IntervalBounds::shared([(Duration::MAX, Duration::MAX)], seconds(60));
    assert_eq!(absurd.max(), LONGEST_INTERVAL);
}

#[test]
fn jitter_spreads_later_for_lists_and_fully_for_failures() {
    let list = CompletedRequest::after(None, usable(3600, true), now(), bounds()).delay(bounds());
    assert_eq!(list.jittered(0.0), Duration::from_secs(3600));
    assert_eq!(list.jittered(1.0), Duration::from_secs(3600 + 300));
    assert_eq!(Delay::later(Duration::from_secs(50)).jittered(1.0), Duration::from_secs(55));
    let failure = CompletedRequest::after(None, FetchOutcome::Failed, now(), bounds()).delay(bounds());
    assert_eq!(failure.jittered(0.0), Duration::from_secs(1));
    assert_eq!(failure.jittered(0.5), Duration::from_secs(5));
    assert_eq!(failure.jittered(f64::NAN), Duration::from_secs(10));
}

proptest! {
    #[test]
    fn a_usable_list_is_asked_for_within_the_bounds(
        seconds in -200_000_000_000i64..200_000_000_000,
        stale in 0u32..100,
        changed in any::<bool>(),
        fraction in 0.0f64..=1.0,
    ) {
        let at = Timestamp::from_second(seconds.clamp(-9_000_000_000, 250_000_000_000)).expect("a time");
        let outcome = FetchOutcome::Usable { valid_until: Some(at), changed };
        let before = CompletedRequest { outcome, at: now(), stale_answers: stale, failures: 3 };
        let delay = CompletedRequest::after(Some(&before), outcome, now(), bounds()).delay(bounds());
        prop_assert!(delay.planned >= MIN && delay.planned <= MAX);
        prop_assert!(delay.jittered(fraction) >= delay.planned);
        prop_assert!(delay.jittered(fraction) <= delay.planned + MOST_JITTER);
    }
}
