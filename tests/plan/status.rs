//! What a reconcile found becomes a status and events.

use citrix_allowlist::crd::{CitrixAllowlistStatus, FeedStatus, Problem, ProblemKind, Summary};
use citrix_allowlist::reason::Reason;
use citrix_allowlist::status::*;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

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
        coverage: None,
        summary: Some(Summary { resolved: "2/2".into(), names: 2, ..Summary::default() }),
        policies: vec!["a-egress".into()],
        problems: vec![],
        handled_refresh: None,
    }
}

/// The first status with these findings.
fn first(findings: Findings) -> CitrixAllowlistStatus {
    status(None, findings, at("2026-06-01T00:00:00.4Z"))
}

fn conditions(status: &CitrixAllowlistStatus) -> Vec<(&str, &str, &str)> {
    status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect()
}

/// After a restart, inherited CIDRs were counted nowhere, and Ready was `applied` without mentioning them.
#[test]
fn inherited_cidrs_are_counted_and_reported_while_they_last() {
    let with = |inherited: i64| {
        let mut found = findings(Outcome::Applied);
        found.summary = Some(Summary { inherited, ..Summary::default() });
        let status = first(found);
        assert_eq!(conditions(&status)[0], ("Ready", "True", "Applied"));
        let counted = serde_json::to_value(&status).expect("JSON")["summary"]["inherited"].clone();
        (status.conditions[0].message.clone(), counted)
    };
    let (message, counted) = with(2);
    assert_eq!(counted, serde_json::json!(2));
    let end = "2 CIDRs from before the operator's start that nothing explains stay until DNS has answered for addressRetention";
    assert!(message.ends_with(end), "{message}");
    assert!(with(1).0.contains("1 CIDR from before the operator's start that nothing explains stays"));
    let (message, counted) = with(0);
    assert!(!message.contains("before") && counted.is_null(), "{message}");
}

#[test]
fn applied_is_ready_and_settled() {
    let status = first(findings(Outcome::Applied));
    assert_eq!(
        conditions(&status),
        [
            ("Ready", "True", "Applied"),
            ("FeedCurrent", "True", "Fetched"),
            ("NamesResolved", "True", "Resolved"),
            ("WildcardsCovered", "True", "WildcardsCovered"),
            ("PoliciesApplied", "True", "Applied"),
        ]
    );
    assert_eq!(status.conditions[0].message, "1 policy applied, from list v7");
    assert_eq!(status.conditions[0].last_transition_time, Time(at("2026-06-01T00:00:00Z")));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(3)));
}

#[test]
fn silent_dns_is_reported_while_the_resource_stays_ready() {
    let mut silent = findings(Outcome::Applied);
    silent.names = Some(NameFindings { silent: true, wildcards: 2, uncovered: 2, ..NameFindings::default() });
    let status = first(silent);
    assert_eq!(conditions(&status)[0], ("Ready", "True", "Applied"));
    assert_eq!(conditions(&status)[2], ("NamesResolved", "False", "Unresolved"));
    assert!(
        status.conditions[2].message.starts_with("no name is being answered at the moment: the addresses known of 2/2")
    );
}

#[test]
fn times_move_only_with_their_condition() {
    let first = first(findings(Outcome::Applied));
    let second = status(Some(&first), findings(Outcome::Applied), at("2026-06-02T00:00:00Z"));
    assert_eq!(first, second);
    let mut failing = findings(Outcome::Applied);
    failing.feed = Some(FeedFindings { current: false, reason: Reason::FeedUnavailable, ..feed() });
    let later = status(Some(&first), failing, at("2026-06-03T00:00:00Z"));
    let is_moved = |condition: &&Condition| condition.last_transition_time == Time(at("2026-06-03T00:00:00Z"));
    let moved: Vec<_> = later.conditions.iter().filter(is_moved).map(|condition| &*condition.type_).collect();
    assert_eq!(moved, ["FeedCurrent"], "a failed fetch leaves the resource ready on the last good list");
}

#[test]
fn kstatus_distinguishes_waiting_from_stuck() {
    let waiting = Outcome::WaitingForNames { waiting: 2, none_answered: false };
    let stuck = [Outcome::Conflict, Outcome::Protected, Outcome::InvalidSpec, Outcome::Refused];
    let stuck = stuck.map(|outcome| outcome("x".into())).into_iter().chain([Outcome::NoMatch]);
    let waiting = [waiting, Outcome::Unavailable("down".into()), Outcome::WaitingForFeed].into_iter();
    let cases = waiting.map(|outcome| (outcome, Some("Reconciling")));
    let cases = cases.chain(stuck.map(|outcome| (outcome, Some("Stalled")))).chain([(Outcome::Applied, None)]);
    for (outcome, phase) in cases {
        let status = first(findings(outcome));
        let true_ones = conditions(&status).into_iter().filter(|(_, status, _)| *status == "True");
        let found = true_ones.map(|(type_, ..)| type_).find(|type_| matches!(*type_, "Reconciling" | "Stalled"));
        assert_eq!(found, phase, "{:?}", status.conditions[0]);
    }
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
    let status = first(rejected);
    assert!(conditions(&status).contains(&("Ready", "False", "FeedRejected")));
    assert!(conditions(&status).contains(&("Stalled", "True", "FeedRejected")));
    assert_eq!(status.conditions[0].message, "400: no such customer");
}

#[test]
fn wildcards_leave_it_ready() {
    let mut wild = findings(Outcome::Applied);
    wild.names =
        Some(NameFindings { wildcards: 3, uncovered: 1, is_required_uncovered: true, ..NameFindings::default() });
    let status = first(wild);
    assert!(conditions(&status).contains(&("Ready", "True", "Applied")));
    assert!(conditions(&status).contains(&("NamesResolved", "True", "Resolved")));
    assert!(conditions(&status).contains(&("WildcardsCovered", "False", "WildcardsUnenforceable")));
    let message = &status.conditions[3].message;
    assert!(message.starts_with("1 of 3 wildcards are not covered, and the vendor requires at least one"), "{message}");
    assert_eq!(status.summary.expect("a summary").status, "WildcardsUnenforceable");
}

/// The first table looked alike when all was well and when DNS, the vendor or another owner was in the way.
#[test]
fn status_in_one_word_is_the_worst_conditions_reason() {
    let word = |found: Findings| first(found).summary.expect("a summary").status;
    assert_eq!(word(findings(Outcome::Applied)), "Applied");
    let with = |outcome: Outcome, feed_reason: Option<Reason>, names: NameFindings| {
        let mut found = findings(outcome);
        if let Some(reason) = feed_reason {
            found.feed = Some(FeedFindings { current: false, reason, ..feed() });
        }
        found.names = Some(names);
        word(found)
    };
    let (well, unresolved) = (
        NameFindings::default(),
        NameFindings { unresolved: 1, uncovered: 1, wildcards: 1, ..NameFindings::default() },
    );
    let audit = || Outcome::Audit(Box::default());
    assert_eq!(with(audit(), None, well.clone()), "Audit");
    assert_eq!(with(audit(), None, unresolved.clone()), "Unresolved", "MODE says that it is Audit");
    assert_eq!(with(Outcome::Applied, Some(Reason::FeedExpired), unresolved.clone()), "FeedExpired");
    assert_eq!(with(Outcome::Conflict("x".into()), Some(Reason::FeedExpired), unresolved.clone()), "Conflict");
    let failing = first(Findings { names: Some(unresolved), ..findings(Outcome::Applied) });
    let suspended = status(Some(&failing), findings(Outcome::Suspended), at("2026-06-02T00:00:00Z"));
    assert_eq!(suspended.summary.expect("a summary").status, "Suspended", "what else it says is of before");
    let mut without_list = findings(Outcome::WaitingForFeed);
    (without_list.summary, without_list.names) = (None, None);
    without_list.feed = Some(FeedFindings { current: false, reason: Reason::WaitingForFeed, ..feed() });
    assert_eq!(word(without_list), "WaitingForFeed");
}

#[test]
fn every_reason_of_a_condition_has_its_place() {
    let of_events =
        [Reason::SavedListIgnored, Reason::NamesLearned, Reason::Opened, Reason::Isolated, Reason::AddressRefused];
    let all = Reason::ALL.iter().filter(|reason| !of_events.contains(reason));
    let (mut all, mut ordered): (Vec<Reason>, Vec<Reason>) = (all.copied().collect(), Reason::WORST_FIRST.to_vec());
    all.sort_unstable();
    ordered.sort_unstable();
    assert_eq!(ordered, all);
}

#[test]
fn suspended_keeps_its_status_and_follows_the_generation() {
    let first = first(findings(Outcome::Applied));
    let mut quiet = findings(Outcome::Suspended);
    quiet.generation = 4;
    let suspended = status(Some(&first), quiet, at("2026-06-02T00:00:00Z"));
    assert_eq!(suspended.observed_generation, Some(4));
    assert_eq!(suspended.policies, first.policies);
    assert!(conditions(&suspended).contains(&("Ready", "True", "Suspended")));
    assert_eq!(suspended.conditions[0].last_transition_time, first.conditions[0].last_transition_time);
}

/// Problems beyond the bound are counted. Hundreds of names that were left out once hid the bound that left them out.
#[test]
fn many_problems_of_a_kind_hide_none_of_another() {
    let of = |kind, count| (0..count).map(move |index| Problem::new(kind, format!("{index:02}"), None, "none"));
    let mut many = findings(Outcome::Applied);
    many.problems = of(ProblemKind::Unresolved, 80).chain(of(ProblemKind::Limit, 2)).collect();
    let status = first(many);
    let expected: Vec<Problem> = of(ProblemKind::Unresolved, 48).chain(of(ProblemKind::Limit, 2)).collect();
    assert_eq!(status.problems, expected);
    assert_eq!(status.problems_total, 82);
}

#[test]
fn an_endless_message_does_not_prevent_the_status_write() {
    let message = "ä".repeat(40_000);
    let mut found = findings(Outcome::Refused(message.clone()));
    found.feed = Some(FeedFindings { message, ..feed() });
    let status = first(found);
    assert!(status.conditions.iter().all(|condition| condition.message.len() <= 32_768));
    assert!(status.conditions[0].message.ends_with('…'));
}

/// A successor that finds an older list has to know which one was applied.
#[test]
fn without_a_list_status_names_the_one_before() {
    let feed = |version: Option<&str>| FeedFindings {
        status: FeedStatus { version: version.map(str::to_owned), ..FeedStatus::default() },
        ..feed()
    };
    let with = |before: Option<&CitrixAllowlistStatus>, outcome, generation, version| {
        let findings = Findings { feed: Some(feed(version)), generation, ..findings(outcome) };
        status(before, findings, Timestamp::UNIX_EPOCH)
    };
    let version = |status: &CitrixAllowlistStatus| status.feed.clone().and_then(|feed| feed.version);
    let applied = with(None, Outcome::Applied, 1, Some("v1"));
    let waiting = with(Some(&applied), Outcome::WaitingForFeed, 1, None);
    assert_eq!(version(&waiting).as_deref(), Some("v1"));
    assert_eq!(version(&with(Some(&waiting), Outcome::WaitingForFeed, 2, None)).as_deref(), Some("v1"));
    assert_eq!(version(&with(Some(&waiting), Outcome::Applied, 1, None)), None, "a list without a version is in use");
}
