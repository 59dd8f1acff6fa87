//! Rounds that query one family alone.

use super::*;
use proptest::prelude::*;

/// Queries what is due at `second`, and returns those families.
fn ask(name: &mut Name, second: u64, v4: &Answer, v6: &Answer) -> Vec<Family> {
    name.now = name.start + seconds(second);
    let due = name.cached.due(name.now);
    name.cached.begin(&due);
    for family in &due {
        let answer = if *family == Family::V4 { v4 } else { v6 };
        name.say(*family, 1, Ok(answer.clone()));
    }
    name.cached.finish(&BOUNDS, 0.0, name.now);
    due
}

fn v6(last: u16, ttl: u64) -> Answer {
    let address = IpAddr::from([0x2603, 0x1030, 0, 0, 0, 0, 0, last]);
    Answer::Addresses { addresses: [address].into(), ttl: seconds(ttl) }
}

const WITHOUT_SOA: Answer = Answer::Absent { nxdomain: true, ttl: None };

#[test]
fn a_family_is_due_by_its_own_answer() {
    let mut name = Name::new();
    assert_eq!(ask(&mut name, 0, &has(&[1], 300), &WITHOUT_SOA), Family::ALL);
    assert_eq!(name.cached.next_question(name.now), seconds(5));
    assert_eq!(ask(&mut name, 5, &has(&[1], 300), &WITHOUT_SOA), [Family::V6]);
    assert_eq!(ask(&mut name, 299, &has(&[1], 300), &WITHOUT_SOA), [Family::V6]);
    assert_eq!(name.cached.next_question(name.now), seconds(1));
    assert_eq!(ask(&mut name, 300, &has(&[1], 300), &WITHOUT_SOA), [Family::V4]);
    name.cached.ask_at_once();
    assert_eq!(ask(&mut name, 301, &has(&[1], 300), &WITHOUT_SOA), Family::ALL);
}

#[test]
fn knowledge_of_the_other_family_stays() {
    let mut name = Name::new();
    name.bounds.addresses = 2;
    ask(&mut name, 0, &has(&[1], 300), &WITHOUT_SOA);
    for second in (5..300).step_by(5) {
        ask(&mut name, second, &has(&[1], 300), &WITHOUT_SOA);
        assert_eq!(name.state(), NameState::Answered, "NXDOMAIN for AAAA is not NXDOMAIN for A");
        assert_eq!(name.sweep(second), [ip(1)]);
    }
    // Over its bound, a name loses the address that its own family has lacked for longest, however often the other is queried.
    let mut name = Name::new();
    let few = Bounds { addresses: 2, ..BOUNDS };
    let mut round = |second: u64, v4: &[u8], last: u16| {
        name.now = name.start + seconds(second);
        let due = name.cached.due(name.now);
        name.cached.begin(&due);
        for family in &due {
            let answer = if *family == Family::V4 { has(v4, 300) } else { v6(last, 5) };
            name.cached.answered(*family, server(1), &answer, &judge, &few, name.now);
        }
        name.cached.finish(&few, 0.0, name.now);
        name.cached.view().addresses
    };
    let first = round(0, &[1], 1);
    assert_eq!(round(5, &[1], 2), [first[0], "2603:1030::2".parse::<IpAddr>().expect("an address")]);
    assert_eq!(round(10, &[1], 3)[0], ip(1));
}

proptest! {
    /// A family is queried when its own answer may be kept no longer, and not before.
    #[test]
    fn no_family_is_asked_before_its_time_nor_long_after(
        answers in prop::collection::vec((prop::sample::select(vec![0u64, 3, 30, 300, 90_000]), any::<bool>(), any::<bool>()), 2..40),
        random in 0.0f64..=1.0,
    ) {
        let mut name = Name::new();
        let mut may_be_kept: [Option<(Instant, Duration)>; 2] = [None, None];
        let mut answers = answers.into_iter();
        while answers.len() > 1 {
            let due = name.cached.due(name.now);
            prop_assert!(!due.is_empty(), "a round of nothing");
            name.cached.begin(&due);
            for (family, (ttl, found, fails)) in due.iter().zip(&mut answers) {
                if let Some((since, kept)) = may_be_kept[*family as usize] {
                    let waited = name.now - since;
                    prop_assert!(waited >= kept && waited <= kept + seconds(1), "{family} after {waited:?} of {kept:?}");
                }
                let outcome = match (found, fails) {
                    (true, _) if *family == Family::V6 => Ok(v6(1, ttl)),
                    (true, _) => Ok(has(&[1], ttl)),
                    (false, true) => Err(Failure::Timeout),
                    (false, false) => Ok(Answer::Absent { nxdomain: true, ttl: Some(seconds(ttl)) }),
                };
                // Failures back off on their own, or follow the other family once given up.
                may_be_kept[*family as usize] =
                    outcome.is_ok().then(|| (name.now, seconds(ttl).max(BOUNDS.min_ttl).min(BOUNDS.max_ttl)));
                name.say(*family, 1, outcome);
            }
            let wait = name.cached.finish(&BOUNDS, random, name.now);
            prop_assert!(!wait.is_zero() && wait <= BOUNDS.max_ttl + seconds(1), "{wait:?}");
            name.now += wait;
        }
    }
}
