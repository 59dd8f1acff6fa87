//! A and AAAA of one name, each queried by the TTL of its own answer.

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// The name has no AAAA, or does not exist, without a SOA: such an answer may not be kept at all.
fn without_soa(nxdomain: bool) -> LookupOutcome {
    Ok(Answer::Absent { nxdomain, ttl: None })
}

/// The queries of these minutes, by family, after a first round of both.
async fn queries_in(minutes: u32, v4: LookupOutcome, v6: LookupOutcome) -> (Rig, BTreeMap<Family, usize>) {
    let script = move |_, _: &str, family, _| (ms(1), if family == Family::V4 { v4.clone() } else { v6.clone() });
    let mut rig = Rig::new(&[1], Scripted::new(script));
    rig.watch(0, &wanted(&["nosoa.example.net"]));
    rig.pass(ms(500)).await;
    let by_family = |rig: &Rig| rig.servers.counted(|_, family| family);
    assert_eq!(by_family(&rig), BTreeMap::from([(Family::V4, 1), (Family::V6, 1)]));
    rig.pass(MINUTE * minutes).await;
    let queries = by_family(&rig);
    (rig, queries)
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_without_soa_speeds_up_its_own_family_only() {
    for nxdomain in [false, true] {
        let (rig, first) = queries_in(1, has(&[2], 300), without_soa(nxdomain)).await;
        assert_eq!(first.get(&Family::V4), None, "A says 300 s: {first:?}");
        assert!((11..=12).contains(&first[&Family::V6]), "AAAA every 5 s: {first:?}");
        assert_eq!(rig.addresses("nosoa.example.net"), [ip(2)]);
        let (_, hour) = queries_in(60, has(&[2], 300), without_soa(nxdomain)).await;
        assert!((11..=12).contains(&hour[&Family::V4]), "A every 300 s: {hour:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_family_is_given_up_too_whichever_it_is() {
    let (_, first) = queries_in(5, nothing(5), nothing(120)).await;
    assert!((55..=60).contains(&first[&Family::V4]) && first[&Family::V6] == 2, "{first:?}");
    // Failing from the start: queried until it is given up, since the other has addresses.
    let (_, failing) = queries_in(30, has(&[2], 600), Err(Failure::Timeout)).await;
    assert!(failing[&Family::V4] <= 3, "A every 600 s: {failing:?}");
    assert!(failing[&Family::V6] <= 2 + 3, "AAAA twice more, then with A: {failing:?}");
}

#[tokio::test(start_paused = true)]
async fn families_of_one_ttl_stay_together() {
    let (_, queries) = queries_in(60, has(&[2], 30), nothing(30)).await;
    assert!((115..=120).contains(&queries[&Family::V4]), "{queries:?}");
    assert_eq!(queries[&Family::V4], queries[&Family::V6]);
}

#[tokio::test(start_paused = true)]
async fn a_new_server_is_queried_for_both_families_at_once() {
    let (mut rig, _) = queries_in(1, has(&[2], 300), without_soa(false)).await;
    rig.names.set_servers(vec![server(1), server(2)]);
    rig.pass(ms(1100)).await;
    let questions = rig.servers.queried.lock().expect("no panic").clone();
    for family in Family::ALL {
        assert!(questions.contains_key(&(server(2), "nosoa.example.net".to_owned(), family)), "{questions:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_expires_after_its_own_family_lacks_it() {
    let gone = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_gone = gone.clone();
    let script = move |_, _: &str, family, _| {
        let lasts: &[u8] = if is_gone.load(Ordering::SeqCst) { &[2] } else { &[1, 2] };
        (ms(1), if family == Family::V4 { has(lasts, 300) } else { without_soa(true) })
    };
    let mut rig = Rig::new(&[1], Scripted::new(script));
    let names = wanted(&["nosoa.example.net"]);
    rig.watch(0, &names);
    assert_eq!(rig.pass(MINUTE).await, [daas(0)]);
    gone.store(true, Ordering::SeqCst);
    assert_eq!(rig.pass(HOUR).await, [], "720 answers for AAAA say nothing about A");
    assert_eq!(rig.addresses("nosoa.example.net"), [ip(1), ip(2)]);
    rig.watch(0, &names);
    rig.pass(HOUR / 2).await;
    assert_eq!(rig.addresses("nosoa.example.net"), [ip(2)]);
}
