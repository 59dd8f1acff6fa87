use super::*;
use proptest::prelude::*;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn the_most_overdue_comes_first_and_nothing_before_its_time() {
    let start = Instant::now();
    let mut agenda = Agenda::default();
    agenda.set("late", start + ms(30));
    agenda.set("first", start + ms(10));
    agenda.set("second", start + ms(20));
    agenda.set("gone", start);
    agenda.remove(&"gone");
    agenda.set_by("late", start + ms(40));
    assert_eq!(agenda.get(&"late"), Some(start + ms(30)));
    assert_eq!(agenda.first(), Some(start + ms(10)));
    assert_eq!(agenda.pop_due(start + ms(9)), None);
    assert_eq!(agenda.pop_due(start + ms(25)), Some("first"));
    assert_eq!(agenda.pop_due(start + ms(25)), Some("second"));
    assert_eq!(agenda.pop_due(start + ms(25)), None);
    agenda.set_by("late", start + ms(5));
    assert_eq!(agenda.pop_due(start + ms(25)), Some("late"));
    assert_eq!((agenda.first(), agenda.get(&"late")), (None, None));
}

#[test]
fn a_group_wakes_at_once_then_once_a_window_or_when_complete() {
    let now = Instant::now();
    let mut group = Group::default();
    assert_eq!(group.wake_at(now), now);
    group.woken = now.checked_sub(ms(50));
    assert_eq!(group.wake_at(now), now + ms(150));
    group.woken = now.checked_sub(ms(500));
    assert_eq!(group.wake_at(now), now);
    group.waiting = 3;
    assert_eq!(group.wake_at(now), now + COALESCE);
}

proptest! {
    #[test]
    fn jitter_comes_after_the_ttl_and_within_a_second(wait in 0u64..10_000_000, random in -1.0f64..2.0) {
        let wait_after = with_jitter(ms(wait), random);
        prop_assert!(wait_after >= ms(wait));
        prop_assert!(wait_after <= ms(wait) + (ms(wait) / 20).min(Duration::from_secs(1)));
    }

    #[test]
    fn ticks_are_common_to_all(interval in 1u64..100_000, passed in 0u64..10_000_000) {
        let epoch = Instant::now();
        let tick = next_tick(epoch, ms(interval), epoch + ms(passed));
        prop_assert!(tick > epoch + ms(passed));
        prop_assert!(tick <= epoch + ms(passed) + ms(interval));
        prop_assert_eq!((tick - epoch).as_millis() % u128::from(interval), 0);
    }
}
