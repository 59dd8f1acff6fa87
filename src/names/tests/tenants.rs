//! One namespace attacks the others: H1 and H2 of ATTACK, as far as names go.

use super::*;
use crate::bound::Level;

/// The size of the attack: full with `LONG=1`.
fn scale(short: usize, long: usize) -> usize {
    if std::env::var_os("LONG").is_some_and(|value| value != "0") { long } else { short }
}

fn hostile(number: usize) -> ResourceRef {
    ResourceRef::new("hostile", format!("many-{number}"))
}

fn quiet(number: usize) -> ResourceRef {
    ResourceRef::new("quiet", format!("daas-{number}"))
}

/// Waits until a resource sees `address` at `text`, for `most`.
async fn expect_seen(rig: &mut Rig, resource: &ResourceRef, text: &str, address: IpAddr, most: Duration) {
    let start = tokio::time::Instant::now();
    while !rig.names.watch(resource, &wanted(&[text]), HOUR).by_name[&name(text)].addresses.contains(&address) {
        assert!(start.elapsed() <= most, "{resource} does not see {address} at {text} within {most:?}");
        rig.pass(ms(50)).await;
    }
}

/// H2. Five resources of 4,096 silent names kept another namespace from following a change for more than 200 s. Places went
/// first come, first served, and a query without a place within 2 s had failed and backed off. A new resource of the other
/// namespace was not Ready within 300 s.
#[tokio::test(start_paused = true)]
async fn silent_names_of_one_namespace_delay_no_other() {
    let names = scale(512, 4096);
    let round = Arc::new(AtomicUsize::new(1));
    let newest = round.clone();
    let script = move |_, text: &str, family, _| {
        if text.starts_with("silent") {
            return (HOUR, nothing(30));
        }
        // A zone of TTL 5 whose address changes.
        let last = newest.load(Ordering::SeqCst) as u8;
        (ms(5), if family == Family::V4 { has(&[last], 5) } else { nothing(5) })
    };
    // Without the bounds on names, which would leave most of them out.
    let all = Bound { resource: 30_000, namespace: 30_000, process: 60_000 };
    let mut rig = Rig::with(&bounded(all, all), &[1, 2], Scripted::new(script));
    let changing = "changes.example.com";
    expect_seen(&mut rig, &quiet(0), changing, ip(1), ms(300)).await;
    for number in 0..5 {
        rig.names.watch(&hostile(number), &many("silent", number, names), HOUR);
        rig.pass(Duration::from_secs(6)).await;
    }
    // The first minutes, before the silent names are known to be silent, and the time after.
    for change in 2..scale(12, 60) {
        rig.pass(Duration::from_secs(20)).await;
        round.store(change, Ordering::SeqCst);
        // Its TTL, and 5 s.
        let most = Duration::from_secs(5 + 5);
        expect_seen(&mut rig, &quiet(0), changing, ip(change as u8), most).await;
        let first = format!("new-{change}.example.com");
        expect_seen(&mut rig, &quiet(change), &first, ip(change as u8), Duration::from_secs(5)).await;
    }
    // The namespace harms itself: its silent names delay its others, but lose nothing.
    let own = ResourceRef::new("hostile", "own");
    let last = ip(round.load(Ordering::SeqCst) as u8);
    expect_seen(&mut rig, &own, "own.example.com", last, HOUR).await;
}

#[tokio::test(start_paused = true)]
async fn a_shared_name_waits_in_the_shortest_queue() {
    let script = |_, text: &str, family, _| {
        if text.starts_with("slow") { (ms(1900), has(&[9], 30)) } else { plain(family, &[1]) }
    };
    let mut rig = Rig::new(&[1], Scripted::new(script));
    let slow = many("slow", 0, 2000);
    let mut both = BTreeSet::clone(&slow);
    both.insert(name("zz-shared.example.com"));
    rig.names.watch(&hostile(0), &Arc::new(both), HOUR);
    // Queried again by the TTL, while the queue of the other namespace is minutes long.
    rig.names.watch(&quiet(0), &wanted(&["zz-shared.example.com"]), HOUR);
    expect_seen(&mut rig, &quiet(0), "zz-shared.example.com", ip(1), Duration::from_secs(3)).await;
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_place_is_no_failure() {
    // 300 names of 1.9 s each: with 48 places, the last are queried after 20 s.
    let mut rig = Rig::new(&[1], Scripted::new(|_, _, family, _| (ms(1900), plain(family, &[1]).1)));
    rig.names.watch(&quiet(0), &many("slow", 0, 300), HOUR);
    rig.pass(Duration::from_secs(40)).await;
    let seen = rig.names.watch(&quiet(0), &many("slow", 0, 300), HOUR);
    assert!(seen.by_name.values().all(|known| known.state == NameState::Answered), "{:?}", seen.by_name);
    let results = rig.observer.results.lock().expect("no panic").clone();
    assert!(!results.contains_key("timeout"), "the time of a query begins when it is sent: {results:?}");
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_still_adds_its_addresses() {
    // Server 2 is slow, so that its queue is longer than a round: its addresses are allowed all the same.
    let script = |from: SocketAddr, _: &str, family, _| {
        if from == server(2) {
            (ms(1900), if family == Family::V4 { has(&[2], 5) } else { nothing(5) })
        } else {
            plain(family, &[1])
        }
    };
    let mut rig = Rig::new(&[1, 2], Scripted::new(script));
    let names = many("both", 0, 400);
    rig.names.watch(&quiet(0), &names, HOUR);
    rig.pass(Duration::from_secs(60)).await;
    let seen = rig.names.watch(&quiet(0), &names, HOUR);
    assert!(seen.by_name.values().all(|known| known.addresses == [ip(1), ip(2)]), "{:?}", seen.by_name);
}

fn bounded(names: Bound, addresses: Bound) -> NamesSettings {
    NamesSettings { names, addresses, ..NamesSettings::new(guard()) }
}

fn left_out(seen: &Addresses, level: Level) -> usize {
    let of_level = |state: &NameState| matches!(state, NameState::LeftOut(full) if full.level == level);
    seen.by_name.values().filter(|known| of_level(&known.state)).count()
}

/// H1, as far as names and their addresses go. 4,096 names of one resource, each with 70 new addresses in every answer and
/// TTL 0, grew the table to 1.57 GiB in 82 s. Both replicas were killed again and again, and changes of another namespace were
/// followed after 17 to 151 s.
#[tokio::test(start_paused = true)]
async fn one_namespace_cannot_fill_the_table() {
    let names = scale(128, 4096);
    let (most_names, most_addresses) = (names, scale(1000, 20_000));
    let names_bound = Bound { resource: names, namespace: most_names, process: 4 * most_names };
    let addresses_bound =
        Bound { resource: most_addresses / 2, namespace: most_addresses, process: 4 * most_addresses };
    let number = Arc::new(AtomicUsize::new(0));
    let script = move |_, text: &str, family, before: usize| {
        if family == Family::V6 {
            return (ms(5), nothing(0));
        }
        if !text.starts_with("random") {
            return plain(family, &[before.min(200) as u8 + 1]);
        }
        let fresh = || IpAddr::V4(Ipv4Addr::from(0x1400_0000 + number.fetch_add(1, Ordering::SeqCst) as u32));
        let addresses = (0..70).map(|_| fresh()).collect();
        (ms(5), Ok(Answer::Addresses { addresses, ttl: Duration::ZERO }))
    };
    let mut rig = Rig::with(&bounded(names_bound, addresses_bound), &[1], Scripted::new(script));
    for resource in 0..3 {
        rig.names.watch(&hostile(resource), &many("random", resource, names), HOUR);
    }
    let sizes = |rig: &Rig| {
        let snapshot = rig.names.snapshot();
        (snapshot.names.len(), snapshot.names.iter().map(|name| name.addresses.len()).sum::<usize>())
    };
    let mut most = (0, 0);
    for _ in 0..20 {
        rig.pass(Duration::from_secs(5)).await;
        let now = sizes(&rig);
        assert!(now.1 >= most.1, "cached addresses stay, since policies allow them: {now:?} after {most:?}");
        most = now;
    }
    assert_eq!(most.0, most_names, "the first resource, and nothing of the others: {most:?}");
    // An answer may come for a name when another has just taken the room: one answer's addresses at most beyond it.
    assert!(most.1 <= most_addresses / 2, "{most:?}");
    assert_eq!(left_out(&rig.names.watch(&hostile(1), &many("random", 1, names), HOUR), Level::Namespace), names);
    let seen = rig.names.watch(&hostile(0), &many("random", 0, names), HOUR);
    let cut = seen.by_name.values().filter(|known| known.reached.left_out.is_some()).count();
    assert!(cut > names / 2, "each name of which addresses are left out says so: {cut}");
    assert_eq!(rig.names.snapshot().names_left_out, [0, 2 * names, 0]);
    // Another namespace has its names and its addresses, and the newest of them.
    expect_seen(&mut rig, &quiet(0), "other.example.com", ip(1), Duration::from_secs(2)).await;
    expect_seen(&mut rig, &quiet(0), "other.example.com", ip(2), Duration::from_secs(30 + 5)).await;
    // Room becomes free, and a resource that was left without is woken to take it.
    rig.names.unwatch(&hostile(0));
    let woken = rig.pass(Duration::from_secs(2)).await;
    assert!(woken.contains(&hostile(1)), "the first to come: {woken:?}");
    assert_eq!(left_out(&rig.names.watch(&hostile(1), &many("random", 1, names), HOUR), Level::Namespace), 0);
}

#[tokio::test(start_paused = true)]
async fn new_names_are_left_out_and_earlier_ones_stay() {
    let names = Bound { resource: 6, namespace: 8, process: 16 };
    let addresses = Bound { resource: 100, namespace: 100, process: 100 };
    let mut rig = Rig::with(&bounded(names, addresses), &[1], Scripted::new(|_, _, family, _| plain(family, &[1])));
    let seen = rig.names.watch(&hostile(0), &many("a", 0, 7), HOUR);
    assert_eq!((left_out(&seen, Level::Resource), seen.by_name.len()), (1, 7), "every name stands");
    let seen = rig.names.watch(&hostile(1), &many("b", 0, 5), HOUR);
    assert_eq!(left_out(&seen, Level::Namespace), 3);
    let shared = rig.names.watch(&hostile(2), &many("a", 0, 6), HOUR);
    assert_eq!(left_out(&shared, Level::Namespace), 0, "names of the namespace cost no more");
    // An edit frees the room of names it removes; an older resource that grows is as new as any.
    let seen = rig.names.watch(&hostile(1), &many("c", 0, 5), HOUR);
    assert_eq!(left_out(&seen, Level::Namespace), 3);
    let names_of = |rig: &Rig| rig.names.snapshot().names.len();
    assert_eq!(names_of(&rig), 8);
    // Three quarters of the whole are open to all; an eighth of a namespace's bound is reserved for small users.
    let second = |number| ResourceRef::new("second", format!("{number}"));
    assert_eq!(left_out(&rig.names.watch(&second(0), &many("d", 0, 6), HOUR), Level::Process), 2);
    assert_eq!(names_of(&rig), 12);
    assert_eq!(left_out(&rig.names.watch(&quiet(0), &many("e", 0, 3), HOUR), Level::Process), 2);
    // After a restart, applied names come before new ones, and use the reserved part.
    let applied = |name: &DomainName| name.as_str() < "f-0-3";
    let seen = rig.names.watch_applied(&ResourceRef::new("third", "old"), &many("f", 0, 6), HOUR, &applied).0;
    assert_eq!(left_out(&seen, Level::Process), 3);
    assert!(seen.by_name[&name("f-0-5.example.com")].state.is_definitive(), "a first policy does not wait for it");
    rig.pass(ms(500)).await;
    let seen = rig.names.watch(&hostile(0), &many("a", 0, 7), HOUR);
    let answered = seen.by_name.values().filter(|known| known.state == NameState::Answered).count();
    assert_eq!((answered, seen.by_name.len()), (6, 7));
}

mod counts {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn counts_are_right_and_no_bound_is_passed(
            steps in prop::collection::vec((0usize..3, 0usize..3, prop::collection::btree_set(0u8..30, 0..12), 0u8..6), 1..60),
        ) {
            let names = Bound { resource: 6, namespace: 8, process: 16 };
            let addresses = Bound { resource: 12, namespace: 16, process: 40 };
            let start = Instant::now();
            let mut table = Table::new(&bounded(names, addresses), start);
            table.set_servers(vec![server(1)], start);
            let mut now = start;
            let mut fresh = 0u32;
            for (namespace, resource, wants, action) in steps {
                now += Duration::from_secs(6);
                let resource = ResourceRef::new(format!("n{namespace}"), format!("r{resource}"));
                if action == 0 {
                    table.unwatch(&resource, now);
                } else {
                    let hosts = wants.iter().map(|host| name(&format!("h{host}.example.com"))).collect();
                    table.watch(&resource, &Arc::new(hosts), HOUR, &|_| false, now);
                }
                for question in table.questions_due(now) {
                    fresh += 1;
                    let addresses = [0x1400_0000, 0x1500_0000].map(|base: u32| IpAddr::from((base + fresh).to_be_bytes()));
                    let outcome = match question.family {
                        Family::V4 => Ok(Answer::Addresses { addresses: addresses.into(), ttl: Duration::ZERO }),
                        Family::V6 => nothing(5),
                    };
                    table.report(&question, &outcome, now);
                }
                table.tick(now);
                table.check_counts();
            }
        }
    }
}

/// H2, the flood. One resource of 4,096 names of TTL 0 made 1,640 queries a second at each server, for ever. Eight made 12,855,
/// and another namespace's change was not followed within 200 s.
#[tokio::test(start_paused = true)]
async fn a_flood_of_names_is_queried_less_often_and_alone() {
    let (names, per_second) = (scale(400, 4096), scale(100, 1000));
    let newest = Arc::new(AtomicUsize::new(1));
    let says = newest.clone();
    let script = move |_, text: &str, family, _| {
        let last = if text.starts_with("changes") { says.load(Ordering::SeqCst) as u8 } else { 9 };
        // A minute for some, to see that one factor holds for all.
        let ttl = if text.starts_with("flood-0") { 60 } else { 5 };
        (ms(5), if family == Family::V4 { has(&[last], ttl) } else { nothing(ttl) })
    };
    let settings = NamesSettings { questions_per_second: per_second as u32, ..NamesSettings::new(guard()) };
    let mut rig = Rig::with(&settings, &[1], Scripted::new(script));
    rig.names.watch(&hostile(0), &many("flood-0", 0, names / 8), HOUR);
    rig.names.watch(&hostile(1), &many("flood", 1, names), HOUR);
    expect_seen(&mut rig, &quiet(0), "changes.example.com", ip(1), Duration::from_secs(2)).await;
    rig.pass(Duration::from_secs(120)).await;
    rig.servers.questions();
    for change in 2..8 {
        rig.pass(Duration::from_secs(50)).await;
        newest.store(change, Ordering::SeqCst);
        let most = Duration::from_secs(5 + 5);
        expect_seen(&mut rig, &quiet(0), "changes.example.com", ip(change as u8), most).await;
    }
    let elapsed = 6.0 * 50.0 + 60.0;
    let queries = std::mem::take(&mut *rig.servers.queried.lock().expect("no panic"));
    let total: usize = queries.values().sum();
    assert!(total as f64 <= (elapsed + 2.0) * per_second as f64, "{total} questions");
    assert!(total as f64 >= 0.7 * 300.0 * per_second as f64, "queries use what they may: {total}");
    let mean = |prefix: &str| {
        let counts: Vec<_> =
            queries.iter().filter(|((_, name, _), _)| name.starts_with(prefix)).map(|entry| *entry.1).collect();
        counts.iter().sum::<usize>() as f64 / counts.len() as f64
    };
    let (slow, quick) = (mean("flood-0"), mean("flood-1"));
    assert!((0.7..1.4).contains(&(quick / slow / 12.0)), "each by its TTL and one factor: {quick} and {slow}");
    let snapshot = rig.names.snapshot();
    assert!(snapshot.stretch > 1.5, "reported: {}", snapshot.stretch);
    assert_eq!(rig.observer.stretched.lock().expect("no panic").len(), 1, "and logged once");
    let seen = rig.names.watch(&hostile(1), &many("flood", 1, names), HOUR);
    assert!(seen.by_name.values().all(|known| known.reached.late), "status says that they are late");
    let seen = rig.names.watch(&quiet(0), &wanted(&["changes.example.com"]), HOUR);
    assert!(!seen.by_name[&name("changes.example.com")].reached.late);
    rig.names.unwatch(&hostile(1));
    rig.pass(Duration::from_secs(120)).await;
    assert!(rig.names.snapshot().stretch < 1.01, "and it ends");
}
