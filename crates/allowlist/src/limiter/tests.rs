use super::*;
use proptest::prelude::*;

const WINDOW: Duration = Duration::from_secs(61);

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

#[test]
fn five_at_once_then_one_for_each_that_leaves_the_window() {
    let start = Instant::now();
    let mut limiter = RateLimiter::new(5, WINDOW);
    for second in 0..5 {
        let now = after(start, second);
        assert!(limiter.is_open(now));
        let ticket = limiter.send();
        limiter.complete(ticket, now);
    }
    assert!(!limiter.is_open(after(start, 5)));
    assert_eq!(limiter.opens_at(after(start, 5)), Some(after(start, 61)));
    assert!(!limiter.is_open(after(start, 60)));
    assert!(limiter.is_open(after(start, 61)));
}

#[test]
fn a_request_in_flight_counts_until_a_window_after_its_end() {
    let start = Instant::now();
    let mut limiter = RateLimiter::new(1, WINDOW);
    let ticket = limiter.send();
    assert_eq!(limiter.opens_at(after(start, 500)), None);
    assert!(!limiter.is_open(after(start, 500)));
    limiter.complete(ticket, after(start, 500));
    assert_eq!(limiter.opens_at(after(start, 501)), Some(after(start, 561)));
}

#[test]
fn requests_before_a_restart_count() {
    // Far from the machine's first moment, as a process before a restart is.
    let start = Instant::now() + Duration::from_secs(1000);
    let wall: Timestamp = "2026-06-01T00:00:00Z".parse().expect("a time");
    let mut before = RateLimiter::new(5, WINDOW);
    for seconds in [0, 10, 20] {
        let ticket = before.send();
        before.complete(ticket, after(start, seconds));
    }
    let _in_flight = before.send();
    let log = before.log(after(start, 30), wall);
    let seconds: Vec<i64> = log.iter().map(|at| wall.as_second() - at.as_second()).collect();
    assert_eq!(seconds, [30, 20, 10, 0]);

    let mut restored = RateLimiter::new(5, WINDOW);
    restored.restore(&log, after(start, 40), wall + SignedDuration::from_secs(10));
    assert!(restored.is_open(after(start, 40)), "one of five is left");
    restored.fill(after(start, 40));
    assert!(!restored.is_open(after(start, 60)));

    let mut later = RateLimiter::new(1, WINDOW);
    later.restore(&log, start, wall + SignedDuration::from_secs(3600));
    assert!(later.is_open(start), "an hour later nothing counts");
    let mut earlier = RateLimiter::new(5, WINDOW);
    earlier.restore(&log, start, wall - SignedDuration::from_secs(3600));
    assert_eq!(earlier.slots.len(), 4, "a clock set back forgets nothing");
    assert!(earlier.is_open(after(start, 61)));
}

#[test]
fn abandoned_requests_count_as_completed() {
    let start = Instant::now();
    let mut limiter = RateLimiter::new(1, WINDOW);
    let _ticket = limiter.send();
    limiter.abandon(start);
    assert!(limiter.is_open(after(start, 61)));
}

proptest! {
    #[test]
    fn no_window_ever_holds_more_than_the_limit(
        steps in prop::collection::vec((0u64..30, 0u64..40), 1..200),
        limit in 1usize..6,
    ) {
        let mut limiter = RateLimiter::new(limit, WINDOW);
        let mut now = Instant::now();
        let mut sent: Vec<Instant> = Vec::new();
        let mut in_flight: Vec<(Instant, RequestTicket)> = Vec::new();
        for (step, took) in steps {
            now += Duration::from_secs(step);
            in_flight.sort_by_key(|(at, _)| *at);
            while in_flight.first().is_some_and(|(at, _)| *at <= now) {
                let (at, ticket) = in_flight.remove(0);
                limiter.complete(ticket, at);
            }
            if limiter.is_open(now) {
                prop_assert_eq!(limiter.opens_at(now), Some(now));
                sent.push(now);
                in_flight.push((now + Duration::from_secs(took), limiter.send()));
            } else if let Some(opens) = limiter.opens_at(now) {
                prop_assert!(limiter.clone().is_open(opens));
                prop_assert!(!limiter.clone().is_open(opens - Duration::from_millis(1)));
            }
        }
        for (index, at) in sent.iter().enumerate() {
            let within = sent[index..].iter().filter(|other| **other < *at + Duration::from_secs(60)).count();
            prop_assert!(within <= limit);
        }
    }
}

fn request(new: bool, due: Instant, tenants: &[&str]) -> DueRequest {
    DueRequest { new, failures: 0, due, tenants: tenants.iter().map(|name| Arc::from(*name)).collect() }
}

/// Sends `count` times from requests that stay due; returns which each time.
fn turns(due: &[DueRequest], count: usize) -> Vec<usize> {
    let mut order = FairOrder::default();
    let mut turn = || {
        let index = order.choose(due).expect("a request");
        order.serve(&due[index]);
        index
    };
    (0..count).map(|_| turn()).collect()
}

#[test]
fn new_lists_go_first_but_one_slot_in_five_is_kept() {
    let now = Instant::now();
    let due = [request(false, now, &["a"]), request(true, now, &["a"])];
    assert_eq!(turns(&due, 10), [1, 1, 1, 1, 0, 1, 1, 1, 1, 0]);
    assert_eq!(turns(&due[1..], 6), [0; 6], "with no refresh waiting nothing is kept");
    assert_eq!(turns(&due[..1], 3), [0; 3]);
    assert_eq!(FairOrder::default().choose(&[]), None);
}

#[test]
fn tenants_take_turns_whatever_each_brings() {
    let now = Instant::now();
    let mut due: Vec<DueRequest> = (0..50).map(|_| request(true, now, &["greedy"])).collect();
    due.push(request(true, after(now, 30), &["modest"]));
    due.push(request(true, after(now, 30), &["greedy", "third"]));
    let mut order = FairOrder::default();
    let mut served = Vec::new();
    for _ in 0..4 {
        let index = order.choose(&due).expect("a request");
        let chosen = due.swap_remove(index);
        order.serve(&chosen);
        served.push(chosen.tenants.iter().map(|name| name.to_string()).collect::<Vec<_>>().join("+"));
    }
    assert_eq!(served[0], "greedy");
    assert!(served[1..3].contains(&"modest".to_owned()) && served[1..3].contains(&"greedy+third".to_owned()));
    assert_eq!(served[3], "greedy");
    order.retain(|tenant| tenant == "modest");
    assert_eq!(order.served.len(), 1);
}

#[test]
fn a_tenants_first_request_failed_least_and_waited_longest() {
    let now = Instant::now();
    let failing = DueRequest { failures: 2, ..request(true, now, &["a"]) };
    let due = [failing, request(true, after(now, 9), &["a"]), request(true, after(now, 3), &["a"])];
    assert_eq!(FairOrder::default().choose(&due), Some(2));
}
