use super::*;
use proptest::prelude::*;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn list(version: Option<&str>, valid_until: Option<&str>) -> Allowlist {
    Allowlist { version: version.map(str::to_owned), valid_until: valid_until.map(at), ..Allowlist::default() }
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

#[test]
fn an_older_list_is_followed_after_its_own_validity() {
    let newer = list(Some("2026-06-04T00:00:00Z"), Some("2026-06-07T12:00:00Z"));
    let older = list(Some("2026-06-01T00:00:00Z"), Some("2026-06-03T00:00:00Z"));
    let now = at("2026-06-05T00:00:00Z");
    let until = now + hours(48);
    assert_eq!(judge(&newer, &older, None, now), Recency::Keep { since: now, until });
    let moment = SignedDuration::from_nanos(1);
    assert_eq!(judge(&newer, &older, Some(now), until - moment), Recency::Keep { since: now, until });
    assert_eq!(judge(&newer, &older, Some(now), until), Recency::Follow);
    assert_eq!(judge(&older, &newer, None, now), Recency::Follow);
    assert_eq!(judge(&newer, &newer, Some(now), now), Recency::Follow);
    assert_eq!(judge(&newer, &older, Some(until), now), Recency::Keep { since: now, until }, "a clock set back");
}

#[test]
fn a_validity_has_a_default_and_bounds() {
    let newer = list(Some("2026-06-04T00:00:00Z"), None);
    let now = at("2026-06-05T00:00:00Z");
    for (valid_until, persistence) in [
        (None, hours(84)),
        (Some("2026-06-01T00:00:00Z"), hours(84)),
        (Some("2020-01-01T00:00:00Z"), hours(84)),
        (Some("2026-06-01T00:00:01Z"), hours(1)),
        (Some("2026-06-02T00:00:00Z"), hours(24)),
        (Some("2099-06-01T00:00:00Z"), hours(168)),
    ] {
        let older = list(Some("2026-06-01T00:00:00Z"), valid_until);
        let recency = judge(&newer, &older, None, now);
        assert_eq!(recency, Recency::Keep { since: now, until: now + persistence }, "{valid_until:?}");
    }
}

#[test]
fn versions_that_are_no_times_or_lie_ahead_order_nothing() {
    let now = at("2026-06-05T00:00:00Z");
    let dated = |version: &str| list(Some(version), None);
    let older = dated("2026-06-01T00:00:00Z");
    for newer in [list(None, None), dated("v7"), dated("2099-01-01T00:00:00Z"), dated("2026-06-07T00:00:01Z")] {
        assert_eq!(judge(&newer, &older, None, now), Recency::Follow, "{:?}", newer.version);
    }
    let ahead = dated("2026-06-07T00:00:00Z");
    assert!(matches!(judge(&ahead, &older, None, now), Recency::Keep { .. }), "a clock of another zone is late");
    for unreadable in [list(None, None), dated("6"), dated("")] {
        assert_eq!(judge(&dated("2026-06-04"), &unreadable, None, now), Recency::Follow);
    }
}

fn time() -> impl Strategy<Value = Timestamp> {
    // Some years around now, and the far ends.
    prop_oneof![
        4 => 1_700_000_000i64..1_900_000_000,
        1 => prop::sample::select(vec![-62_135_596_800i64, 0, 200_000_000_000]),
    ]
    .prop_map(|second| Timestamp::from_second(second).expect("a time"))
}

fn lists() -> impl Strategy<Value = Allowlist> {
    let version = prop_oneof![4 => time().prop_map(|time| Some(time.to_string())), 1 => Just(None), 1 => Just(Some("v2".to_owned()))];
    (version, prop::option::of(time())).prop_map(|(version, valid_until)| Allowlist {
        version,
        valid_until,
        ..Allowlist::default()
    })
}

proptest! {
    #[test]
    fn only_older_lists_wait_and_a_week_at_most(
        in_use in lists(), new in lists(), since in prop::option::of(time()), now in time(),
    ) {
        if let Recency::Keep { since: first, until } = judge(&in_use, &new, since, now) {
            prop_assert!(published(&new) < published(&in_use));
            prop_assert!(first <= now && until > now);
            prop_assert!(until.duration_since(first) >= SHORTEST_VALIDITY || until == Timestamp::MAX);
            prop_assert!(until.duration_since(first) <= LONGEST_VALIDITY);
            prop_assert_eq!(judge(&in_use, &new, Some(first), until), Recency::Follow);
        }
    }

    /// Edges take turns: while the newer list is answered now and then, nothing is taken back.
    #[test]
    fn a_newer_answer_is_followed_and_restarts_the_wait(
        turns in prop::collection::vec((any::<bool>(), 1i64..80), 1..40),
    ) {
        let newer = list(Some("2026-06-02T00:00:00Z"), Some("2026-06-05T12:00:00Z"));
        let older = list(Some("2026-06-01T00:00:00Z"), Some("2026-06-04T12:00:00Z"));
        let (mut since, mut now) = (None, at("2026-06-02T00:00:00Z"));
        for (is_newer, passed) in turns {
            now += hours(passed);
            if is_newer {
                prop_assert_eq!(judge(&newer, &newer, since, now), Recency::Follow);
                since = None;
                continue;
            }
            match judge(&newer, &older, since, now) {
                Recency::Keep { since: first, .. } => {
                    prop_assert!(now.duration_since(first) < hours(84));
                    since = Some(first);
                }
                Recency::Follow => {
                    prop_assert!(since.is_some_and(|since| now.duration_since(since) >= hours(84)));
                    break;
                }
            }
        }
    }
}
