use super::*;
use crate::names::tests::{guard, ip, server};

const BOUNDS: Bounds = Bounds {
    min_ttl: Duration::from_secs(5),
    max_ttl: Duration::from_secs(3600),
    max_stale: Duration::from_secs(168 * 3600),
    addresses: 1000,
    names: Bound { resource: 1000, namespace: 1000, process: 1000 },
    addresses_in_all: Bound { resource: 1000, namespace: 1000, process: 1000 },
    room: (usize::MAX, Level::Process),
    stretch: 1.0,
};
const RETENTION: Duration = Duration::from_secs(600);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn has(lasts: &[u8], ttl: u64) -> Answer {
    Answer::Addresses { addresses: lasts.iter().map(|last| ip(*last)).collect(), ttl: seconds(ttl) }
}

const NXDOMAIN: Answer = Answer::Absent { nxdomain: true, ttl: Some(Duration::from_secs(30)) };
const NODATA: Answer = Answer::Absent { nxdomain: false, ttl: Some(Duration::from_secs(30)) };

/// 20.60.0.200 and above are refused.
fn judge(address: IpAddr) -> Option<Arc<str>> {
    matches!(address, IpAddr::V4(address) if address.octets()[3] >= 200).then(|| "a lie".into())
}

/// A name and its clock.
struct Name {
    cached: CachedName,
    start: Instant,
    now: Instant,
    bounds: Bounds,
}

impl Name {
    fn new() -> Self {
        let start = Instant::now();
        Self { cached: CachedName::default(), start, now: start, bounds: BOUNDS }
    }

    /// One round at `second`: what one server says of A; AAAA is nothing for a day, or fails with it.
    fn round(&mut self, second: u64, outcome: Result<Answer, Failure>) -> Duration {
        let nothing = Answer::Absent { nxdomain: false, ttl: Some(seconds(86_400)) };
        let v6 = outcome.as_ref().map(|_| nothing).map_err(Clone::clone);
        self.round_of(second, outcome, v6)
    }

    fn round_of(&mut self, second: u64, v4: Result<Answer, Failure>, v6: Result<Answer, Failure>) -> Duration {
        self.now = self.start + seconds(second);
        self.cached.begin(&Family::ALL);
        for (family, outcome) in Family::ALL.into_iter().zip([v4, v6]) {
            self.say(family, 1, outcome);
        }
        self.cached.finish(&self.bounds, 0.0, self.now)
    }

    fn say(&mut self, family: Family, from: u8, outcome: Result<Answer, Failure>) {
        match outcome {
            Ok(answer) => drop(self.cached.answered(family, server(from), &answer, &judge, &self.bounds, self.now)),
            Err(failure) => self.cached.failed(family, server(from), failure),
        }
    }

    fn sweep(&mut self, second: u64) -> Vec<IpAddr> {
        self.now = self.start + seconds(second);
        self.cached.sweep(RETENTION, self.now);
        self.cached.view().addresses
    }

    fn state(&self) -> NameState {
        self.cached.view().state
    }
}

fn failing(error: &str, stale: bool, ever_answered: bool) -> NameState {
    NameState::Failing { error: error.into(), stale, ever_answered }
}

#[test]
fn an_address_stays_a_retention_after_its_last_answer() {
    let mut name = Name::new();
    assert_eq!(name.state(), NameState::Waiting);
    assert_eq!(name.round(0, Ok(has(&[1, 2], 30))), seconds(30));
    assert_eq!(name.state(), NameState::Answered);
    name.round(30, Ok(has(&[2, 3], 30)));
    name.round(629, Ok(has(&[3], 30)));
    assert_eq!(name.sweep(629), [ip(1), ip(2), ip(3)]);
    name.round(630, Ok(has(&[3], 30)));
    assert_eq!(name.sweep(630), [ip(2), ip(3)], "2 has been missing since 629 only");
    name.round(640, Ok(has(&[2], 30)));
    name.round(1300, Ok(has(&[2], 30)));
    assert_eq!(name.sweep(1300), [ip(2)], "3 was missing since 640; 2 came back");
}

#[test]
fn one_answer_without_an_address_takes_nothing_however_late() {
    for late in [NXDOMAIN, NODATA, has(&[9], 30)] {
        let mut name = Name::new();
        name.round(0, Ok(has(&[1], 3600)));
        name.round(3600, Ok(late.clone()));
        assert!(name.sweep(3600).contains(&ip(1)), "an hour between questions is not an hour of absence");
        name.round(4199, Ok(late.clone()));
        assert!(name.sweep(4199).contains(&ip(1)));
        name.round(4200, Ok(late));
        assert!(!name.sweep(4200).contains(&ip(1)));
    }
}

#[test]
fn flapping_between_nxdomain_and_records_keeps_the_records() {
    let mut name = Name::new();
    for second in (0..6000).step_by(30) {
        name.round(second, Ok(if second % 600 == 0 { has(&[1], 30) } else { NXDOMAIN }));
        assert_eq!(name.sweep(second), [ip(1)]);
    }
}

#[test]
fn families_are_absent_each_for_itself() {
    let v6: IpAddr = "2603:1030::1".parse().expect("an address");
    let both = Answer::Addresses { addresses: [v6].into(), ttl: seconds(30) };
    let mut name = Name::new();
    name.round_of(0, Ok(has(&[1], 30)), Ok(both));
    for second in (30..=1200).step_by(30) {
        name.round_of(second, Ok(NODATA), Err(Failure::Timeout));
    }
    assert_eq!(name.sweep(1200), [v6], "A is gone for good, of AAAA nothing is known");
    assert_eq!(name.state(), failing("AAAA of 10.128.0.1:53: no answer in time", false, true));
}

#[test]
fn time_without_answers_does_not_count() {
    let mut name = Name::new();
    name.round(0, Ok(has(&[1], 30)));
    name.round(30, Ok(NXDOMAIN));
    name.round(330, Ok(NXDOMAIN));
    for second in (360..9000).step_by(30) {
        name.round(second, Err(Failure::Timeout));
        assert_eq!(name.sweep(second), [ip(1)]);
    }
    name.round(9000, Ok(NXDOMAIN));
    name.round(9299, Ok(NXDOMAIN));
    assert_eq!(name.sweep(9299), [ip(1)], "300 s before the failures and 299 s after");
    name.round(9300, Ok(NXDOMAIN));
    assert!(name.sweep(9300).is_empty());
    name.round(9330, Ok(has(&[1], 30)));
    name.round(9360, Ok(NXDOMAIN));
    name.cached.interrupt();
    name.round(99_000, Ok(NXDOMAIN));
    assert_eq!(name.sweep(99_000), [ip(1)], "nor does time without queries");
}

#[test]
fn a_ttl_longer_than_the_retention_is_waited_for() {
    let mut name = Name::new();
    name.bounds.max_ttl = seconds(2 * 86_400);
    assert_eq!(name.round(0, Ok(has(&[1], 86_400))), seconds(86_400));
    name.round(3600, Ok(has(&[2], 86_400)));
    name.round(7200, Ok(has(&[2], 86_400)));
    assert_eq!(name.sweep(86_399), [ip(1), ip(2)]);
    assert_eq!(name.sweep(86_400), [ip(2)]);
}

/// M4. One lie with a TTL of a week, then right answers and a retention of a minute: the lie was open for the week.
#[test]
fn a_lie_with_a_long_ttl_is_retained_for_one_interval() {
    let mut name = Name::new();
    let ceiling = BOUNDS.max_ttl.as_secs();
    assert_eq!(name.round(0, Ok(has(&[66], 604_800))), seconds(ceiling), "queried again by the ceiling");
    name.round(60, Ok(has(&[1], 5)));
    name.round(60 + RETENTION.as_secs(), Ok(has(&[1], 5)));
    assert_eq!(name.sweep(ceiling - 1), [ip(1), ip(66)], "its TTL, as far as it is accepted");
    assert_eq!(name.sweep(ceiling), [ip(1)]);
}

#[test]
fn the_next_question_comes_by_the_least_ttl_within_bounds() {
    let mut name = Name::new();
    assert_eq!(name.round(0, Ok(has(&[1], 0))), seconds(5), "the floor");
    assert_eq!(name.round_of(5, Ok(has(&[1], 600)), Ok(has(&[], 60))), seconds(60));
    assert_eq!(name.round_of(65, Ok(NXDOMAIN), Ok(Answer::Absent { nxdomain: true, ttl: None })), seconds(5));
    name.cached.begin(&Family::ALL);
    name.say(Family::V4, 1, Ok(has(&[1], 90)));
    name.say(Family::V4, 2, Ok(has(&[1], 20)));
    name.say(Family::V6, 1, Ok(has(&[], 500)));
    let wait = name.cached.finish(&BOUNDS, 0.0, name.now);
    assert_eq!(wait, seconds(20), "the least TTL of all servers");
}

#[test]
fn failures_back_off_up_to_half_a_minute() {
    let mut name = Name::new();
    let waits: Vec<u64> = (0..8).map(|n| name.round(n * 40, Err(Failure::Timeout)).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    assert_eq!(name.round(400, Ok(has(&[1], 45))), seconds(45));
    assert_eq!(name.round(445, Err(Failure::Timeout)), seconds(1));
}

#[test]
fn failing_is_reported_once_it_lasts_with_its_first_cause() {
    let mut name = Name::new();
    name.round(0, Err(Failure::Code("SERVFAIL".into())));
    let first = failing("A of 10.128.0.1:53: answered SERVFAIL", false, false);
    assert_eq!(name.state(), first);
    assert!(!name.state().is_definitive());
    name.round(1, Err(Failure::Timeout));
    assert_eq!(name.state(), first, "the text does not change with every question");
    name.round(3, Ok(has(&[1], 30)));
    assert_eq!(name.state(), NameState::Answered);
    name.round(33, Err(Failure::Timeout));
    assert_eq!(name.state(), NameState::Answered, "one lost query is not reported");
    name.round(34, Err(Failure::Timeout));
    assert_eq!(name.state(), failing("A of 10.128.0.1:53: no answer in time", false, true));
    name.round(33 + 168 * 3600, Err(Failure::Timeout));
    assert_eq!(name.state(), failing("A of 10.128.0.1:53: no answer in time", true, true));
    assert_eq!(name.sweep(33 + 168 * 3600), [ip(1)], "stale is a problem, not a change");
    name.round(40 + 168 * 3600, Ok(NXDOMAIN));
    assert_eq!(name.state(), NameState::Absent);
}

#[test]
fn a_silent_family_is_given_up_when_the_other_answers() {
    let mut name = Name::new();
    for second in [0, 1] {
        assert!(name.round_of(second, Ok(has(&[1], 30)), Err(Failure::Timeout)) < seconds(5));
        assert_eq!(name.state(), failing("AAAA of 10.128.0.1:53: no answer in time", false, false));
    }
    assert_eq!(name.round_of(3, Ok(has(&[1], 30)), Err(Failure::Timeout)), seconds(30));
    assert_eq!(name.state(), NameState::Answered);
    let mut name = Name::new();
    for second in 0..9 {
        name.round_of(second, Ok(NODATA), Err(Failure::Timeout));
        assert!(matches!(name.state(), NameState::Failing { .. }), "nothing to live by");
    }
}

#[test]
fn a_first_answer_counts_at_once_and_an_absence_does_not() {
    let mut name = Name::new();
    name.cached.begin(&Family::ALL);
    name.say(Family::V4, 1, Ok(NXDOMAIN));
    name.say(Family::V6, 1, Ok(NXDOMAIN));
    assert_eq!(name.state(), NameState::Waiting);
    name.say(Family::V4, 2, Ok(has(&[1], 30)));
    assert_eq!(name.state(), NameState::Answered);
    name.say(Family::V4, 3, Ok(has(&[2], 30)));
    assert_eq!(name.cached.view().addresses, [ip(1), ip(2)], "late answers are merged");
}

#[test]
fn an_unanswered_name_is_stale_since_its_first_query() {
    let mut name = Name::new();
    for (second, stale) in [(0, false), (BOUNDS.max_stale.as_secs() + 1, true)] {
        name.round(second, Err(Failure::Timeout));
        assert_eq!(name.state(), failing("A of 10.128.0.1:53: no answer in time", stale, false));
    }
}

#[test]
fn lies_are_kept_apart_and_judged_again_when_the_guard_changes() {
    let mut name = Name::new();
    name.cached.begin(&Family::ALL);
    let answer = has(&[1, 201], 30);
    let refused = name.cached.answered(Family::V4, server(7), &answer, &judge, &BOUNDS, name.now);
    let lie = RefusedAddress { address: ip(201), server: server(7), reason: "a lie".into() };
    assert_eq!(refused, std::slice::from_ref(&lie));
    assert_eq!(name.cached.view().addresses, [ip(1)]);
    assert_eq!(name.cached.view().refused, [lie]);
    name.cached.judge_again(&|address| (address == ip(1)).then(|| "denied".into()), &BOUNDS);
    assert_eq!(name.cached.view().addresses, [ip(201)]);
    assert_eq!(name.cached.view().refused.len(), 1);
}

#[test]
fn a_name_past_the_bound_keeps_its_addresses_and_counts_others() {
    let mut name = Name::new();
    name.bounds.addresses = 3;
    for second in [0, 30, 60] {
        name.now = name.start + seconds(second);
        name.cached.begin(&Family::ALL);
        name.say(Family::V4, 1, Ok(has(&[1, 2, 250], 30)));
        name.say(Family::V4, 2, Ok(has(&[3, 4, 5], 30)));
        name.say(Family::V6, 1, Ok(NODATA));
        name.cached.finish(&name.bounds, 0.0, name.now);
        let view = name.cached.view();
        assert_eq!((view.addresses, view.evicted), (vec![ip(1), ip(2), ip(3)], 2));
    }
    name.round(90, Ok(has(&[9], 30)));
    assert_eq!(name.cached.view().addresses, [ip(1), ip(2), ip(9)], "the least recently answered, then the newest");
    assert_eq!(name.cached.view().evicted, 1);
    name.round(120, Ok(has(&[9], 30)));
    assert_eq!(name.cached.view().evicted, 0);
}

#[test]
fn another_lie_with_each_answer_is_reported_64_times() {
    let mut name = Name::new();
    let mut changes = 0;
    let mut before = name.cached.view();
    for round in 0..500u16 {
        name.now = name.start + seconds(round.into());
        name.cached.begin(&Family::ALL);
        let lie = IpAddr::from([10, 0, (round / 250) as u8, (round % 250) as u8]);
        let lie = Answer::Addresses { addresses: [lie].into(), ttl: seconds(1) };
        name.cached.answered(Family::V4, server(7), &lie, &|_| Some("private".into()), &BOUNDS, name.now);
        name.cached.finish(&BOUNDS, 0.0, name.now);
        let view = name.cached.view();
        changes += u32::from(view != before);
        before = view;
    }
    assert_eq!(before.refused.len(), 64);
    assert!(changes <= 66, "changed {changes} times");
}

#[test]
fn settings_out_of_reason_are_brought_within() {
    let mut settings = NamesSettings::new(guard());
    (settings.min_ttl, settings.max_ttl, settings.addresses_per_name) = (Duration::ZERO, Duration::MAX, 0);
    let bounds = Bounds::within_reason(&settings);
    assert_eq!((bounds.min_ttl, bounds.max_ttl, bounds.addresses), (SHORTEST_WAIT, LONGEST_TTL, 1));
    (settings.min_ttl, settings.max_ttl) = (seconds(60), seconds(30));
    assert_eq!(Bounds::within_reason(&settings).max_ttl, seconds(60));
}

mod families;
mod properties;
