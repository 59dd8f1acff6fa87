//! One namespace at work against the others: what ATTACK calls H1 and H2, as far as names go.

use super::*;

/// How much of the attack is run: all of it with `LONG=1`.
fn scale(short: usize, long: usize) -> usize {
    if std::env::var_os("LONG").is_some_and(|value| value != "0") { long } else { short }
}

fn hostile(number: usize) -> Subscriber {
    Subscriber::new("hostile", format!("many-{number}"))
}

fn quiet(number: usize) -> Subscriber {
    Subscriber::new("quiet", format!("daas-{number}"))
}

fn many(prefix: &str, number: usize, count: usize) -> Arc<BTreeSet<DomainName>> {
    Arc::new((0..count).map(|host| name(&format!("{prefix}-{number}-{host}.example.com"))).collect())
}

/// How long it took until `who` saw `address` at `text`.
async fn until_seen(rig: &mut Rig, who: &Subscriber, text: &str, address: IpAddr, most: Duration) -> Option<Duration> {
    let start = tokio::time::Instant::now();
    while start.elapsed() <= most {
        let seen = rig.names.watch(who, &wanted(&[text]), HOUR);
        if seen.by_name[&name(text)].addresses.contains(&address) {
            return Some(start.elapsed());
        }
        rig.pass(ms(50)).await;
    }
    None
}

/// H2. Formerly five resources of 4,096 names that nobody answers kept another namespace's change of an address from
/// being followed for more than 200 s, after four minutes (the first came, first was served places, and who found none
/// within 2 s had failed and backed off), and a new resource of it was not Ready within 300 s.
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
    let mut rig = Rig::new(&[1, 2], Scripted::new(script));
    let changing = "changes.example.com";
    assert!(until_seen(&mut rig, &quiet(0), changing, ip(1), ms(300)).await.is_some());
    for number in 0..5 {
        rig.names.watch(&hostile(number), &many("silent", number, names), HOUR);
        rig.pass(Duration::from_secs(6)).await;
    }
    // The first minutes, in which the silent names are not known to be silent, and the time after.
    for change in 2..scale(12, 60) {
        rig.pass(Duration::from_secs(20)).await;
        round.store(change, Ordering::SeqCst);
        let most = Duration::from_secs(5 + 5);
        let took = until_seen(&mut rig, &quiet(0), changing, ip(change as u8), most).await;
        assert!(took.is_some(), "change {change} was not followed within its TTL and 5 s");
        let first = format!("new-{change}.example.com");
        let took = until_seen(&mut rig, &quiet(change), &first, ip(change as u8), Duration::from_secs(5)).await;
        assert!(took.is_some(), "a new resource has no address within 5 s");
    }
    // The namespace harms itself: what of it is answered is delayed by its own silent names, not lost.
    let own = Subscriber::new("hostile", "own");
    assert!(
        until_seen(&mut rig, &own, "own.example.com", ip(round.load(Ordering::SeqCst) as u8), HOUR).await.is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn a_name_that_several_want_waits_in_the_shortest_line() {
    let script = |_, text: &str, family, _| {
        if text.starts_with("slow") { (ms(1900), has(&[9], 30)) } else { plain(family, &[1]) }
    };
    let mut rig = Rig::new(&[1], Scripted::new(script));
    let slow = many("slow", 0, 2000);
    let mut both = BTreeSet::clone(&slow);
    both.insert(name("zz-shared.example.com"));
    rig.names.watch(&hostile(0), &Arc::new(both), HOUR);
    // Asked again by the TTL, while the line of the other namespace is minutes long.
    rig.names.watch(&quiet(0), &wanted(&["zz-shared.example.com"]), HOUR);
    assert!(until_seen(&mut rig, &quiet(0), "zz-shared.example.com", ip(1), Duration::from_secs(3)).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_place_is_no_failure() {
    // 300 names, each of which takes 1.9 s: with 48 places the last are asked after 20 s.
    let mut rig = Rig::new(&[1], Scripted::new(|_, _, family, _| (ms(1900), plain(family, &[1]).1)));
    rig.names.watch(&quiet(0), &many("slow", 0, 300), HOUR);
    rig.pass(Duration::from_secs(40)).await;
    let seen = rig.names.watch(&quiet(0), &many("slow", 0, 300), HOUR);
    assert!(seen.by_name.values().all(|known| known.state == NameState::Answered), "{:?}", seen.by_name);
    let results = rig.observer.results.lock().expect("no panic").clone();
    assert!(!results.contains_key("timeout"), "the time of a question begins when it is sent: {results:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_comes_after_its_round_still_adds_its_addresses() {
    // Server 2 is slow for all, so that its line is longer than a round: what it says all the same is allowed.
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
