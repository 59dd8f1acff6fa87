use super::*;
use crate::crd::ProblemKind;

fn at(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

fn feed() -> FeedFindings {
    FeedFindings {
        current: true,
        reason: Reason::Fetched,
        message: "fetched".into(),
        status: FeedStatus { cloud: "Global".into(), version: Some("v7".into()), ..FeedStatus::default() },
    }
}

fn findings(outcome: Outcome) -> Findings {
    Findings {
        generation: 3,
        outcome,
        feed: Some(feed()),
        names: Some(NameFindings::default()),
        summary: Some(Summary { resolved: "2/2".into(), names: 2, ..Summary::default() }),
        policies: vec!["a-egress".into()],
        problems: vec![],
        handled_refresh: None,
    }
}

fn said(status: &CitrixAllowlistStatus) -> Vec<(&str, &str, &str)> {
    status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect()
}

/// What a restart had inherited was counted nowhere, and Ready said `applied` without a word of it.
#[test]
fn what_is_inherited_is_counted_and_told_while_it_lasts() {
    let with = |inherited: i64| {
        let mut found = findings(Outcome::Applied);
        found.summary = Some(Summary { inherited, ..Summary::default() });
        let status = status(None, found, at("2026-06-01T00:00:00Z"));
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready").cloned().expect("Ready");
        let counted = serde_json::to_value(&status).expect("JSON")["summary"]["inherited"].clone();
        (ready.status, ready.reason, ready.message, counted)
    };
    let (truth, reason, message, counted) = with(2);
    assert_eq!((&*truth, &*reason, counted), ("True", "Applied", serde_json::json!(2)));
    let told = "2 CIDRs from before the operator's start that nothing explains stay until DNS has answered for addressRetention";
    assert!(message.ends_with(told), "{message}");
    assert!(with(1).2.contains("1 CIDR from before the operator's start that nothing explains stays"));
    let (truth, _, message, counted) = with(0);
    assert!(truth == "True" && !message.contains("before") && counted.is_null(), "{message}");
}

#[test]
fn applied_is_ready_and_settled() {
    let status = status(None, findings(Outcome::Applied), at("2026-06-01T00:00:00.4Z"));
    assert_eq!(
        said(&status),
        [
            ("Ready", "True", "Applied"),
            ("FeedCurrent", "True", "Fetched"),
            ("NamesResolved", "True", "Resolved"),
            ("PoliciesApplied", "True", "Applied"),
        ]
    );
    assert_eq!(status.conditions[0].message, "1 policy applied, from list v7");
    assert_eq!(status.conditions[0].last_transition_time, Time(at("2026-06-01T00:00:00Z")));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(3)));
}

#[test]
fn silent_dns_is_told_while_what_is_applied_stays_ready() {
    let mut silent = findings(Outcome::Applied);
    silent.names = Some(NameFindings { silent: true, wildcards: 2, ..NameFindings::default() });
    let status = status(None, silent, at("2026-06-01T00:00:00Z"));
    assert_eq!(said(&status)[0], ("Ready", "True", "Applied"));
    assert_eq!(said(&status)[2], ("NamesResolved", "False", "Unresolved"));
    assert!(
        status.conditions[2].message.starts_with("no name is being answered at the moment: the addresses known of 2/2")
    );
}

#[test]
fn times_move_only_with_their_condition() {
    let first = status(None, findings(Outcome::Applied), at("2026-06-01T00:00:00Z"));
    let again = status(Some(&first), findings(Outcome::Applied), at("2026-06-02T00:00:00Z"));
    assert_eq!(first, again);
    let mut failing = findings(Outcome::Applied);
    failing.feed = Some(FeedFindings { current: false, reason: Reason::FeedUnavailable, ..feed() });
    let later = status(Some(&first), failing, at("2026-06-03T00:00:00Z"));
    let moved: Vec<_> = later
        .conditions
        .iter()
        .filter(|condition| condition.last_transition_time == Time(at("2026-06-03T00:00:00Z")))
        .map(|condition| condition.type_.as_str())
        .collect();
    assert_eq!(moved, ["FeedCurrent"], "a failed fetch leaves the resource ready on the last good list");
}

#[test]
fn kstatus_tells_waiting_from_stuck() {
    let course = |outcome| {
        let status = status(None, findings(outcome), at("2026-06-01T00:00:00Z"));
        let of = |type_: &str| status.conditions.iter().any(|held| held.type_ == type_ && held.status == "True");
        (of("Reconciling"), of("Stalled"))
    };
    assert_eq!(course(Outcome::Applied), (false, false));
    assert_eq!(course(Outcome::WaitingForNames { waiting: 2, none_answered: false }), (true, false));
    assert_eq!(course(Outcome::Unavailable("down".into())), (true, false));
    assert_eq!(course(Outcome::WaitingForFeed), (true, false));
    assert_eq!(course(Outcome::NoMatch), (false, true));
    assert_eq!(course(Outcome::Conflict("x".into())), (false, true));
    assert_eq!(course(Outcome::Protected("x".into())), (false, true));
    assert_eq!(course(Outcome::InvalidSpec("x".into())), (false, true));
    assert_eq!(course(Outcome::Refused("x".into())), (false, true));
}

#[test]
fn a_rejected_request_without_a_list_is_stuck_and_says_why() {
    let mut rejected = findings(Outcome::WaitingForFeed);
    rejected.feed = Some(FeedFindings {
        current: false,
        reason: Reason::FeedRejected,
        message: "400: no such customer".into(),
        ..feed()
    });
    let status = status(None, rejected, at("2026-06-01T00:00:00Z"));
    assert!(said(&status).contains(&("Ready", "False", "FeedRejected")));
    assert!(said(&status).contains(&("Stalled", "True", "FeedRejected")));
    assert_eq!(status.conditions[0].message, "400: no such customer");
}

#[test]
fn wildcards_leave_it_ready() {
    let mut wild = findings(Outcome::Applied);
    wild.names = Some(NameFindings { wildcards: 1, required_wildcard: true, ..NameFindings::default() });
    let status = status(None, wild, at("2026-06-01T00:00:00Z"));
    assert!(said(&status).contains(&("Ready", "True", "Applied")));
    assert!(said(&status).contains(&("NamesResolved", "False", "WildcardsUnenforceable")));
}

#[test]
fn suspended_keeps_what_it_said_and_follows_the_generation() {
    let first = status(None, findings(Outcome::Applied), at("2026-06-01T00:00:00Z"));
    let mut quiet = findings(Outcome::Suspended);
    quiet.generation = 4;
    let suspended = status(Some(&first), quiet, at("2026-06-02T00:00:00Z"));
    assert_eq!(suspended.observed_generation, Some(4));
    assert_eq!(suspended.policies, first.policies);
    assert!(said(&suspended).contains(&("Ready", "True", "Suspended")));
    assert_eq!(suspended.conditions[0].last_transition_time, first.conditions[0].last_transition_time);
}

#[test]
fn problems_beyond_the_bound_are_counted() {
    let mut many = findings(Outcome::Applied);
    many.problems = (0..80).map(|index| Problem::new(ProblemKind::NoPorts, format!("{index}"), None, "none")).collect();
    let status = status(None, many, at("2026-06-01T00:00:00Z"));
    assert_eq!((status.problems.len(), status.problems_total), (50, 80));
}

/// Hundreds of names without room left the bound that had none for them out of the status.
#[test]
fn many_problems_of_a_kind_hide_none_of_another() {
    let of = |kind, count| (0..count).map(move |index| Problem::new(kind, format!("{index:02}"), None, "none"));
    let mut many = findings(Outcome::Applied);
    many.problems = of(ProblemKind::Unresolved, 80).chain(of(ProblemKind::Limit, 2)).collect();
    let status = status(None, many, at("2026-06-01T00:00:00Z"));
    let expected: Vec<Problem> = of(ProblemKind::Unresolved, 48).chain(of(ProblemKind::Limit, 2)).collect();
    assert_eq!(status.problems, expected);
    assert_eq!(status.problems_total, 82);
}

#[test]
fn an_endless_message_does_not_prevent_the_status_write() {
    let message = "ä".repeat(40_000);
    let mut found = findings(Outcome::Refused(message.clone()));
    found.feed = Some(FeedFindings { message, ..feed() });
    let status = status(None, found, at("2026-06-01T00:00:00Z"));
    assert!(status.conditions.iter().all(|condition| condition.message.len() <= 32_768));
    assert!(status.conditions[0].message.ends_with('…'));
}
