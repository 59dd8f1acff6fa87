use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn server() -> SocketAddr {
    SocketAddr::from(([10, 128, 0, 1], 53))
}

fn question(namespace: &str, number: u64, silent: bool) -> Question {
    let name = DomainName::parse(&format!("{namespace}-{number}.example.com")).expect("a name");
    Question { server: server(), name, family: Family::V4, number, namespace: namespace.into(), silent }
}

fn all(_: &DomainName) -> bool {
    true
}

fn fill(places: &mut Places, namespace: &str, numbers: std::ops::Range<u64>, silent: bool) {
    for number in numbers {
        places.join(&question(namespace, number, silent));
    }
}

fn drain(places: &mut Places, now: Instant) -> Vec<Question> {
    std::iter::from_fn(|| places.next(all, now)).collect()
}

fn count(questions: &[Question], namespace: &str) -> usize {
    questions.iter().filter(|question| &*question.namespace == namespace).count()
}

#[test]
fn places_go_round_the_namespaces_and_each_keeps_its_order() {
    let now = Instant::now();
    let mut places = Places::new(server(), 1000);
    fill(&mut places, "hostile", 0..4000, false);
    fill(&mut places, "quiet", 0..3, false);
    let first: Vec<Question> = drain(&mut places, now).into_iter().take(8).collect();
    let order: Vec<(&str, u64)> = first.iter().map(|question| (&*question.namespace, question.number)).collect();
    let expected = [("hostile", 0), ("quiet", 0), ("hostile", 1), ("quiet", 1), ("hostile", 2), ("quiet", 2)];
    assert_eq!(order[..6], expected);
    assert_eq!(order[6..], [("hostile", 3), ("hostile", 4)], "and a namespace alone in the queue goes on");
}

#[test]
fn a_quarter_of_the_places_is_free_for_newcomers() {
    let now = Instant::now();
    let mut places = Places::new(server(), 1000);
    fill(&mut places, "hostile", 0..4000, false);
    assert_eq!(drain(&mut places, now).len(), 48);
    assert_eq!(places.next_moment(), None, "no time frees a place");
    fill(&mut places, "quiet", 0..20, false);
    let others = drain(&mut places, now);
    assert_eq!((count(&others, "hostile"), others.len()), (0, 16));
    places.leave(&others[0]);
    assert_eq!(drain(&mut places, now)[0].namespace, "quiet".into(), "the hostile hold their share");
}

#[test]
fn silent_names_get_a_small_share_and_always_get_it() {
    let now = Instant::now();
    let mut places = Places::new(server(), 1000);
    fill(&mut places, "hostile", 0..4000, true);
    fill(&mut places, "quiet", 0..20, false);
    let first = drain(&mut places, now);
    assert_eq!((count(&first, "hostile"), count(&first, "quiet")), (8, 20));
    fill(&mut places, "quiet", 200..201, true);
    let silent = first.iter().find(|question| question.silent).expect("one");
    places.leave(silent);
    let next = drain(&mut places, now);
    assert_eq!((next.len(), next[0].number), (1, 200), "in turn here too");
}

#[test]
fn a_question_waits_once_and_answers_the_newest_round() {
    let now = Instant::now();
    let mut places = Places::new(server(), 1000);
    let mut query = question("quiet", 1, false);
    places.join(&query);
    query.number = 7;
    places.join(&query);
    assert_eq!(places.waiting(), 1);
    assert_eq!(drain(&mut places, now), [query.clone()]);
    places.leave(&query);
    fill(&mut places, "busy", 0..3000, false);
    let shared = question("busy", 2999, false);
    places.change_line(&(shared.name.clone(), shared.family), &"quiet".into());
    drain(&mut places, now).iter().for_each(|question| places.leave(question));
    assert_eq!(places.in_flight.get("quiet"), None);
    assert!(!places.waiting.contains_key(&(shared.name, shared.family)), "it went by the other queue");
    while let Some(question) = places.next(|_| false, now) {
        places.leave(&question);
    }
    fill(&mut places, "gone", 0..5, false);
    assert_eq!((places.next(|_| false, now), places.waiting()), (None, 0), "unused names are dropped");
}

#[test]
fn no_second_has_more_questions_than_it_may() {
    let start = Instant::now();
    let mut places = Places::new(server(), 20);
    fill(&mut places, "hostile", 0..500, false);
    let mut moments = Vec::new();
    let mut now = start;
    while moments.len() < 200 {
        for question in drain(&mut places, now) {
            moments.push(now.saturating_duration_since(start));
            places.leave(&question);
        }
        let next = places.next_moment().expect("the budget alone is in the way");
        assert!(next > now, "time goes on");
        now = next;
    }
    let last = moments.last().expect("some").as_secs_f64();
    assert!((8.9..9.1).contains(&last), "a second's worth at once and 180 in nine seconds: {last}");
    now += Duration::from_secs(100);
    assert_eq!(drain(&mut places, now).len(), 20, "a quiet time saves no more than a second's worth");
}

proptest! {
    #[test]
    fn no_bound_is_passed_and_no_query_is_forgotten(
        steps in prop::collection::vec((0u8..4, 0u64..40, any::<bool>(), 0u8..4), 1..400),
    ) {
        let mut now = Instant::now();
        let mut places = Places::new(server(), 30);
        let mut in_flight: Vec<Question> = Vec::new();
        let mut waits: BTreeSet<DomainName> = BTreeSet::new();
        for (namespace, number, silent, action) in steps {
            let query = question(&format!("n{namespace}"), number, silent);
            match action {
                0 | 1 => {
                    places.join(&query);
                    waits.insert(query.name);
                }
                2 if !in_flight.is_empty() => places.leave(&in_flight.swap_remove(number as usize % in_flight.len())),
                _ => now += Duration::from_millis(number * 10),
            }
            while let Some(next) = places.next(all, now) {
                prop_assert!(waits.remove(&next.name), "queried without being wanted: {}", next.name);
                in_flight.push(next);
            }
            prop_assert!(in_flight.len() <= IN_FLIGHT_PER_SERVER);
            prop_assert!(in_flight.iter().filter(|question| question.silent).count() <= MOST_SILENT);
            for namespace in ["n0", "n1", "n2", "n3"] {
                prop_assert!(count(&in_flight, namespace) <= MOST_PER_NAMESPACE);
            }
            prop_assert_eq!(places.waiting(), waits.len());
        }
        // Every waiting query is sent in the end, if those in flight end.
        for _ in 0..10_000 {
            if waits.is_empty() {
                break;
            }
            in_flight.drain(..).for_each(|question| places.leave(&question));
            now = places.next_moment().unwrap_or(now).max(now);
            while let Some(next) = places.next(all, now) {
                waits.remove(&next.name);
                in_flight.push(next);
            }
        }
        prop_assert!(waits.is_empty());
    }
}
