use super::*;
use proptest::prelude::*;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn record(holder: &str, renewed: i64) -> Record {
    Record {
        holder: holder.to_owned(),
        duration: seconds(15.0),
        renewed: jiff::Timestamp::from_second(renewed).ok(),
        transitions: 3,
    }
}

fn candidate() -> (Election, Instant) {
    (Election::new("me", Timing::default(), 0.0), Instant::now())
}

fn leader() -> (Election, Instant) {
    let (mut election, start) = candidate();
    election.read(None, start);
    election.written(record("me", 1), start);
    (election, start)
}

#[test]
fn a_third_of_the_lease_lies_between_fence_and_successor() {
    let timing = Timing::default();
    let expected = Timing { duration: seconds(15.0), renew: seconds(5.0), retry: seconds(2.0), fence: seconds(10.0) };
    assert_eq!((timing, timing.call()), (expected, seconds(2.5)));
}

#[test]
fn a_candidate_reads_first_and_takes_a_free_lease() {
    let (mut election, start) = candidate();
    assert_eq!(election.decide(start), ElectionStep::Look);
    election.read(None, start);
    assert_eq!(election.decide(start), ElectionStep::Acquire);
    election.watched(Some(record("", 1)), start);
    assert_eq!((election.decide(start), election.transitions()), (ElectionStep::Acquire, (3, false)));
}

#[test]
fn a_lease_is_free_when_unchanged_for_its_own_duration() {
    let (mut election, start) = candidate();
    election.watched(Some(record("other", 1)), start);
    assert_eq!(election.decide(start), ElectionStep::Wait(start + seconds(15.0)));
    // A renewal restarts the wait; the same record seen again does not.
    election.watched(Some(record("other", 2)), start + seconds(5.0));
    election.watched(Some(record("other", 2)), start + seconds(9.0));
    assert_eq!(election.decide(start + seconds(19.9)), ElectionStep::Wait(start + seconds(20.0)));
    assert_eq!(election.decide(start + seconds(20.0)), ElectionStep::Acquire);
    // The holder's own duration counts, and its clock never does.
    let long = Record { duration: seconds(60.0), ..record("other", 9_999_999_999) };
    election.watched(Some(long), start + seconds(21.0));
    assert_eq!(election.decide(start + seconds(80.0)), ElectionStep::Wait(start + seconds(81.0)));
}

#[test]
fn a_leader_renews_at_a_third_and_is_over_at_the_fence() {
    let (mut election, start) = leader();
    assert_eq!(election.fence(), Some(start + seconds(10.0)));
    assert_eq!(election.decide(start), ElectionStep::Wait(start + seconds(5.0)));
    assert_eq!(election.decide(start + seconds(5.0)), ElectionStep::Renew);
    election.failed(start + seconds(7.5));
    assert_eq!(election.decide(start + seconds(7.5)), ElectionStep::Wait(start + seconds(9.5)));
    assert_eq!(election.decide(start + seconds(9.5)), ElectionStep::Renew);
    election.failed(start + seconds(9.9));
    let last = ElectionStep::Wait(start + seconds(10.0));
    assert_eq!(election.decide(start + seconds(9.9)), last, "never past the fence");
    assert_eq!(election.decide(start + seconds(10.0)), ElectionStep::Lost);
    election.stopped();
    assert_eq!(election.fence(), None);
    // The Lease still names us: it is taken again as soon as the API server answers.
    assert_eq!(election.decide(start + seconds(10.0)), ElectionStep::Wait(start + seconds(11.9)));
    assert_eq!(election.decide(start + seconds(11.9)), ElectionStep::Acquire);
}

#[test]
fn the_fence_counts_from_before_the_renewal_was_sent() {
    let (mut election, start) = leader();
    let (sent, answered) = (start + seconds(5.0), start + seconds(7.0));
    election.written(record("me", 2), sent);
    assert_eq!(election.decide(answered), ElectionStep::Wait(start + seconds(10.0)));
    assert_eq!(election.fence(), Some(start + seconds(15.0)));
}

#[test]
fn theft_is_verified_and_then_obeyed_at_once() {
    let (mut election, start) = leader();
    let now = start + seconds(1.0);
    election.watched(Some(record("thief", 2)), now);
    assert_eq!(election.decide(now), ElectionStep::Look);
    election.read(Some(record("thief", 2)), now);
    assert_eq!(election.decide(now), ElectionStep::Lost);
    election.stopped();
    assert_eq!(election.decide(now), ElectionStep::Wait(now + seconds(15.0)));
}

#[test]
fn a_watch_that_lags_costs_one_read_and_no_leadership() {
    let (mut election, start) = leader();
    election.watched(Some(record("me", 1)), start);
    assert_eq!(election.decide(start), ElectionStep::Wait(start + seconds(5.0)), "our own write needs no read");
    for late in [None, Some(record("", 0)), Some(record("previous", 0))] {
        election.watched(late, start);
        assert_eq!(election.decide(start), ElectionStep::Look);
        election.read(Some(record("me", 1)), start);
        assert_eq!(election.decide(start), ElectionStep::Wait(start + seconds(5.0)));
    }
}

#[test]
fn theft_that_cannot_be_verified_ends_leading_too() {
    let (mut election, start) = leader();
    election.watched(Some(record("thief", 2)), start);
    election.failed(start + seconds(1.0));
    assert_eq!(election.decide(start + seconds(1.0)), ElectionStep::Lost);
    election.stopped();
    assert_eq!(election.decide(start + seconds(3.0)), ElectionStep::Look);
}

#[test]
fn a_lease_deleted_under_a_leader_is_no_longer_its_own() {
    let (mut election, start) = leader();
    election.outdated();
    assert_eq!(election.decide(start), ElectionStep::Look);
    election.read(None, start);
    assert_eq!(election.decide(start), ElectionStep::Lost);
    election.stopped();
    assert_eq!(election.decide(start), ElectionStep::Acquire);
}

#[test]
fn a_refused_write_is_followed_by_a_read_before_the_next() {
    let (mut election, start) = candidate();
    election.read(Some(record("", 1)), start);
    election.outdated();
    assert_eq!(election.decide(start), ElectionStep::Look);
    election.failed(start);
    assert_eq!(election.decide(start), ElectionStep::Wait(start + seconds(2.0)));
}

#[test]
fn candidates_do_not_move_in_step() {
    let start = Instant::now();
    let waits = [0.0, 0.5, 1.0].map(|spread| {
        let mut election = Election::new("me", Timing::default(), spread);
        election.read(Some(record("other", 1)), start);
        election.decide(start)
    });
    assert_eq!(waits, [15.0, 16.0, 17.0].map(|wait| ElectionStep::Wait(start + seconds(wait))));
}

/// One Lease, candidates with clocks of their own, and a network that loses calls, delays answers and watch events.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Act { candidate: usize, lost_request: bool, lost_answer: bool, takes: u64 },
    Watch { candidate: usize, behind: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1u64..4_000).prop_map(Step::Pass),
        (0usize..3, prop::bool::weighted(0.2), prop::bool::weighted(0.2), 0u64..2_500).prop_map(
            |(candidate, lost_request, lost_answer, takes)| Step::Act { candidate, lost_request, lost_answer, takes }
        ),
        (0usize..3, 0usize..3).prop_map(|(candidate, behind)| Step::Watch { candidate, behind }),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #[test]
    fn two_never_lead_at_once(steps in steps(), spreads in prop::array::uniform3(0.0f64..=1.0)) {
        let start = Instant::now();
        let mut now = start;
        let mut candidates: Vec<Election> = (0..3)
            .map(|index| Election::new(index.to_string(), Timing::default(), spreads[index]))
            .collect();
        // The Lease's history: a version is its index. What each candidate knows of it when it writes.
        let mut history: Vec<Option<Record>> = vec![None];
        let mut known = [0usize; 3];
        for step in steps {
            match step {
                Step::Pass(millis) => now += Duration::from_millis(millis),
                Step::Watch { candidate, behind } => {
                    let version = history.len().saturating_sub(1 + behind);
                    candidates[candidate].watched(history[version].clone(), now);
                    if candidates[candidate].fence().is_none() {
                        known[candidate] = version;
                    }
                }
                Step::Act { candidate, lost_request, lost_answer, takes } => {
                    let election = &mut candidates[candidate];
                    let decision = election.decide(now);
                    let (transitions, _) = election.transitions();
                    let sent = now;
                    match decision {
                        ElectionStep::Lost => election.stopped(),
                        ElectionStep::Wait(_) => {}
                        ElectionStep::Look => {
                            now += Duration::from_millis(takes);
                            if lost_request || lost_answer {
                                election.failed(now);
                            } else {
                                known[candidate] = history.len() - 1;
                                election.read(history[known[candidate]].clone(), now);
                            }
                        }
                        ElectionStep::Acquire | ElectionStep::Renew => {
                            let mine = Record {
                                holder: candidate.to_string(),
                                duration: Duration::from_secs(15),
                                renewed: jiff::Timestamp::from_second(history.len() as i64).ok(),
                                transitions,
                            };
                            // The write happens when it arrives: anywhere between sent and answered.
                            now += Duration::from_millis(takes);
                            let current = known[candidate] == history.len() - 1;
                            if !lost_request && current {
                                history.push(Some(mine.clone()));
                            }
                            match (lost_request || lost_answer, current) {
                                (true, _) => election.failed(now),
                                (false, true) => {
                                    known[candidate] = history.len() - 1;
                                    election.written(mine, sent);
                                }
                                (false, false) => election.outdated(),
                            }
                        }
                    }
                }
            }
            let leaders = candidates.iter().filter(|election| election.fence().is_some_and(|fence| now < fence));
            prop_assert!(leaders.count() <= 1);
        }
    }
}
