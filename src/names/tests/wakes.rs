//! Whom an answer wakes, and how often.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_first_batch_wakes_when_its_last_name_has_an_outcome() {
    let script = |_, text: &str, family, _| match text {
        "slow.example.com" => (ms(120), plain(family, &[2]).1),
        "broken.example.com" => (ms(150), Err(Failure::Code("SERVFAIL".into()))),
        _ => plain(family, &[1]),
    };
    let mut rig = Rig::new(&[1], Scripted::new(script));
    let names = wanted(&["quick.example.com", "slow.example.com", "broken.example.com"]);
    assert!(rig.watch(0, &names).by_name.values().all(|known| known.state == NameState::Waiting));
    assert_eq!(rig.pass(ms(140)).await, []);
    assert_eq!(rig.pass(ms(20)).await, [daas(0)]);
    let seen = rig.watch(0, &names);
    assert_eq!(seen.by_name[&name("slow.example.com")].state, NameState::Answered);
    assert!(matches!(seen.by_name[&name("broken.example.com")].state, NameState::Failing { ever_answered: false, .. }));
    assert_eq!(rig.pass(ms(800)).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_first_batch_wakes_after_the_window_and_when_complete() {
    let script = |_, text: &str, family, _| match text {
        "silent.example.com" => (HOUR, has(&[2], 30)),
        _ => plain(family, &[1]),
    };
    let mut rig = Rig::new(&[1], Scripted::new(script));
    rig.watch(0, &wanted(&["quick.example.com", "silent.example.com"]));
    assert_eq!(rig.pass(ms(190)).await, []);
    assert_eq!(rig.pass(ms(30)).await, [daas(0)]);
    assert_eq!(rig.pass(ms(1700)).await, []);
    assert_eq!(rig.pass(ms(200)).await, [daas(0)], "the timeout ends the batch");
}

#[test]
fn a_change_wakes_at_once_and_later_ones_once_per_window() {
    let start = Instant::now();
    let mut table = Table::new(&NamesSettings::new(guard()), start);
    let texts = ["a.example.com", "b.example.com", "c.example.com", "d.example.com"];
    table.set_servers(vec![server(1)], start);
    table.watch(&daas(0), &wanted(&texts), HOUR, &|_| false, start);
    let report = |table: &mut Table, question: &Question, last, at| {
        let outcome = if question.family == Family::V4 { has(&[last], 30) } else { nothing(30) };
        table.report(question, &outcome, start + at);
        table.tick(start + at).len()
    };
    for question in table.questions_due(start) {
        report(&mut table, &question, 1, ms(1));
    }
    // Their second answers, all different from the first, come 50 ms after each other.
    let second = ms(32_000);
    let due = table.questions_due(start + second);
    let wakes = due.iter().zip(0..).map(|(question, n)| report(&mut table, question, 2, second + ms(n / 2 * 50)));
    assert_eq!(wakes.collect::<Vec<_>>(), [1, 0, 0, 0, 0, 0, 0, 0], "the first at once");
    assert_eq!(table.next_moment(false), Some(start + second + schedule::COALESCE));
    assert_eq!(table.tick(start + second + ms(199)), []);
    assert_eq!(table.tick(start + second + ms(200)), [daas(0)], "the others together");
    assert_eq!(table.next_moment(false), None);
}

#[tokio::test(start_paused = true)]
async fn only_who_uses_a_name_is_woken() {
    let script = |_, text: &str, family, before: usize| {
        let lasts: &[u8] = if text.starts_with("turns") && before > 0 { &[1, 2] } else { &[1] };
        plain(family, lasts)
    };
    let mut rig = Rig::new(&[1], Scripted::new(script));
    rig.watch(0, &wanted(&["stays.example.com"]));
    rig.watch(1, &wanted(&["stays.example.com", "turns.example.com"]));
    assert_eq!(rig.pass(ms(500)).await, [daas(0), daas(1)]);
    assert_eq!(rig.pass(Duration::from_secs(300)).await, [daas(1)]);
}

#[tokio::test(start_paused = true)]
async fn sweeps_of_many_names_wake_once() {
    let script = |_, text: &str, family, before: usize| {
        let number: usize = text[..2].parse().expect("digits");
        // Names drop their first address at different times, all within an eighth of the retention.
        plain(family, if before <= number % 10 { &[1, 2] } else { &[2] })
    };
    let mut rig = Rig::new(&[1], Scripted::new(script));
    let names = wanted(&(10..60).map(|n| format!("{n}.example.com")).collect::<Vec<_>>());
    rig.watch(0, &names);
    rig.pass(Duration::from_secs(1)).await;
    let wakes = rig.pass(Duration::from_secs(5000)).await.len();
    assert!((1..=2).contains(&wakes), "fifty names lost an address in {wakes} wakes");
    assert!(rig.watch(0, &names).by_name.values().all(|known| known.addresses == [ip(2)]));
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_failures_wakes_once_and_takes_nothing() {
    let mut rig = Rig::new(&[1, 2], Scripted::new(|_, _, family, _| plain(family, &[1])));
    let names = wanted(&["a.example.com", "b.example.com"]);
    rig.watch(0, &names);
    rig.pass(ms(500)).await;
    rig.servers.script(|from, _, _, before| {
        let is_silent = (before + usize::from(from == server(1))) % 2 == 0;
        (ms(1), Err(if is_silent { Failure::Timeout } else { Failure::Code("SERVFAIL".into()) }))
    });
    rig.servers.questions();
    let woken = rig.pass(6 * HOUR).await;
    assert!((1..=2).contains(&woken.len()), "{woken:?}");
    let questions = rig.servers.total();
    assert!(questions <= 6 * 3600 / 30 * 8 + 60, "at most one round in half a minute: {questions}");
    for (hours, is_stale) in [(0, false), (170, true)] {
        rig.pass(hours * HOUR).await;
        for known in rig.watch(0, &names).by_name.values() {
            assert_eq!(known.addresses, [ip(1)]);
            assert!(matches!(known.state, NameState::Failing { stale, .. } if stale == is_stale));
        }
    }
    rig.servers.script(|_, _, family, _| plain(family, &[1]));
    assert!(!rig.pass(Duration::from_secs(32)).await.is_empty());
    assert!(rig.watch(0, &names).by_name.values().all(|known| known.state == NameState::Answered));
}

#[tokio::test(start_paused = true)]
async fn a_new_guard_judges_cached_addresses_and_wakes_affected() {
    let script = |_, text: &str, family, _| plain(family, if text.starts_with('a') { &[1] } else { &[7] });
    let mut rig = Rig::new(&[1], Scripted::new(script));
    rig.watch(0, &wanted(&["a.example.com"]));
    rig.watch(1, &wanted(&["b.example.com"]));
    rig.pass(ms(500)).await;
    let deny = vec!["20.60.0.0/30".parse().expect("a network")];
    let stricter = Guard::new(GuardSettings { deny, ..GuardSettings::default() }, &ClusterFacts::default());
    rig.names.set_guard(stricter);
    assert_eq!(rig.pass(ms(10)).await, [daas(0)]);
    let seen = rig.watch(0, &wanted(&["a.example.com"]));
    let known = &seen.by_name[&name("a.example.com")];
    assert!(known.addresses.is_empty());
    assert_eq!((known.refused[0].address, known.refused[0].server), (ip(1), server(1)));
    rig.pass(Duration::from_secs(31)).await;
    assert_eq!(rig.observer.refused.load(Ordering::SeqCst), 1, "counted when answered");
    rig.names.set_guard(guard());
    assert_eq!(rig.addresses("a.example.com"), [ip(1)]);
}
