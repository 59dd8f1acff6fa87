//! The faults, each a test and a row of docs/reliability.md: one list makes both.

use super::{answers, leaders, objects, outages, rights, vendor};
use std::fmt::Write as _;
use std::path::PathBuf;

/// A fault, and what is promised of it.
pub struct Row {
    /// The test that shows it.
    pub test: &'static str,
    /// What goes wrong.
    pub fault: &'static str,
    /// What stays meanwhile, and what is said.
    pub meanwhile: &'static str,
    /// How it recovers.
    pub recovery: &'static str,
    /// In how many seconds after the fault's end everything is right, at most.
    pub within: u64,
}

macro_rules! faults {
    ($($room:ident::$name:ident within $within:literal s { $fault:literal, $meanwhile:literal, $recovery:literal })*) => {
        /// Every fault, in the order of the documentation.
        const ROWS: &[Row] = &[$(Row {
            test: stringify!($name),
            fault: $fault,
            meanwhile: $meanwhile,
            recovery: $recovery,
            within: $within,
        }),*];
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            let row = ROWS.iter().find(|row| row.test == stringify!($name)).expect("a row");
            let _closed: super::trial::Closed = $room::$name(row).await;
        })*
    };
}

faults! {
    outages::api_server_down_at_start within 40 s {
        "The API server is down when the operator starts",
        "The process waits; `/readyz` says for what, `/livez` stays well",
        "Watches are tried again, 30 s apart at most"
    }
    outages::api_server_restarted within 40 s {
        "The API server is killed and comes back; the list moves on meanwhile",
        "Policies stand in the cluster as they are; `/readyz` stays well",
        "Watches go on where they were; what changed meanwhile is written"
    }
    outages::api_server_frozen within 40 s {
        "The API server stops answering with its connections open",
        "Every call ends at its deadline; `/livez` stays well",
        "The next try after the back-off"
    }
    outages::etcd_restarted within 40 s {
        "etcd is killed and comes back",
        "As when the API server answers 500",
        "The next try after the back-off"
    }
    outages::definition_missing within 40 s {
        "The CRD is not installed yet",
        "The process waits and says so in its log; `/readyz` fails, `/livez` stays well",
        "Once it is installed, resources are found by the next try of the watch"
    }
    outages::definition_removed within 60 s {
        "The CRD is removed and installed again",
        "Kubernetes deletes the resources, and collects their policies when it gets to it; the operator touches none of them, and asks nobody any more on their behalf",
        "Resources made again are new ones; policies of their forerunners that are still there become theirs, without a gap"
    }
    answers::server_errors within 40 s {
        "Every request is answered 500, watches are cut",
        "Policies stay; the log and `writes_total{result=\"unavailable\"}` tell; the condition where it can be written",
        "The next try after the back-off"
    }
    answers::too_many_requests within 40 s {
        "Every request is answered 429 with `Retry-After`",
        "As with 500",
        "The next try after the back-off"
    }
    answers::token_expired within 40 s {
        "Every request is answered 401: the token has expired",
        "As with 500",
        "With the new token, which a pod's client reads from its file"
    }
    answers::slow within 40 s {
        "Every answer takes 1.5 s",
        "Everything is done, later",
        "Nothing to recover from"
    }
    answers::silent within 40 s {
        "Requests are taken and never answered",
        "Every call ends at its deadline; `/livez` stays well",
        "The next try after the back-off"
    }
    answers::conflicts within 15 s {
        "Writes are answered 409",
        "Nothing is said: the decision is made anew on what is there",
        "At once, or within 5 s where no watch shows a change"
    }
    answers::watches_gone within 40 s {
        "Watches are answered 410 Gone, as a status and as an event",
        "What is known stays",
        "Everything is listed anew"
    }
    answers::watches_cut within 20 s {
        "Watches break off in the middle of an event; a policy is deleted in the gap",
        "What is known stays",
        "The list that follows shows what is missing, and it is made again"
    }
    answers::answer_lost within 40 s {
        "Writes are carried out and their answers lost",
        "The write counts as failed",
        "The watch, or the next try, shows that it was carried out"
    }
    outages::etcd_full within 40 s {
        "etcd takes no writes: database space exceeded",
        "Policies stay; the log and `writes_total{result=\"unavailable\"}` tell, since no status can be written",
        "When space is made and the alarm switched off: the next try after the back-off, at most two minutes apart"
    }
    answers::too_large within 40 s {
        "A policy is refused as too large (413)",
        "The policy before it stays; `Ready=False`, `ApplyFailed`, `Stalled`, with the API server's words",
        "The next try after the back-off, or a change of the list or the spec"
    }
    rights::may_not_create within 40 s {
        "RBAC lacks `create` on networkpolicies",
        "No policy; `Ready=False`, `ApplyFailed`, `Stalled`, naming verb and resource",
        "The next try after the back-off"
    }
    rights::may_not_own within 40 s {
        "RBAC lacks `update` on citrixallowlists/finalizers where the cluster asks for it (`OwnerReferencesPermissionEnforcement`)",
        "No policy; `Ready=False`, `ApplyFailed`, `Stalled`, with the API server's words",
        "The next try after the back-off"
    }
    rights::may_not_patch within 40 s {
        "RBAC lacks `patch` on networkpolicies",
        "The policy before it stays; `Ready=False`, `ApplyFailed`, `Stalled`, naming verb and resource",
        "The next try after the back-off"
    }
    rights::may_not_watch within 40 s {
        "RBAC lacks `list` and `watch` on what the operator keeps",
        "What is known stays, and is written on; the log tells",
        "The next try of the watch"
    }
    rights::may_not_watch_resources within 40 s {
        "RBAC lacks `list` and `watch` on citrixallowlists",
        "What is known stays, and is kept; the log tells",
        "The next try of the watch"
    }
    rights::may_not_patch_status within 40 s {
        "RBAC lacks `patch` on citrixallowlists/status",
        "Policies follow the list; the log tells, since no status can be written",
        "The next try after the back-off"
    }
    rights::may_not_create_events within 20 s {
        "RBAC lacks `create` on events",
        "Policies and status follow; the log and `writes_total{kind=\"Event\"}` tell",
        "With the next event"
    }
    answers::term_in_a_write within 40 s {
        "SIGTERM while a write is under way",
        "The write is finished, nothing new is begun, and the process leaves within 10 s with nothing left behind",
        "The next process starts from what the cluster holds"
    }
    objects::edited within 90 s {
        "Somebody else edits a policy; another controller edits it every 100 ms",
        "The edit is undone; one that keeps coming back is left, and told by its manager's name: `Conflict`",
        "Undone for good once the other has stopped, after the pause"
    }
    objects::cut_out within 90 s {
        "Somebody cuts our rules out of a policy every 100 ms, which leaves no field manager's name behind",
        "Undone three times, then left and told: `Conflict`",
        "Undone for good once it has stopped, after the pause"
    }
    objects::deleted within 10 s {
        "Somebody deletes a policy and the ConfigMap",
        "They are made again at once",
        "At once"
    }
    objects::not_ours within 90 s {
        "An object of somebody else's has the name of a policy",
        "It stays as it is; `Ready=False`, `Conflict`, naming it and how to hand it over",
        "Within a minute of its going, or at once with any change"
    }
    objects::quota within 60 s {
        "A ResourceQuota leaves no room for policies",
        "No policy; `Ready=False`, `ApplyFailed`, `Stalled`, naming the quota",
        "The next try after the back-off"
    }
    objects::admission_denies within 60 s {
        "Admission denies our policies",
        "The policy before it stays; `Ready=False`, `ApplyFailed`, `Stalled`, with the denial's words",
        "The next try after the back-off"
    }
    objects::one_of_several_denied within 60 s {
        "Admission denies one of several policies, while addresses move between them",
        "An address that stays allowed stays in one of the policies: each gains before another loses; `Ready=False`, `ApplyFailed`, `Stalled`",
        "The next try after the back-off, or a change of the list or the spec"
    }
    objects::admission_alters within 90 s {
        "Admission makes something else of our policies",
        "It is written again, once a minute at most; `Ready=False`, `Conflict`, naming it",
        "Within a minute, or at once with any change"
    }
    objects::webhook_denies within 60 s {
        "An admission webhook denies our policies, then does not answer at all",
        "The policy before it stays; `Ready=False`, `ApplyFailed`, `Stalled`, with the webhook's words; where it does not answer, with the API server's",
        "The next try after the back-off"
    }
    objects::namespace_terminating within 40 s {
        "A namespace is being deleted, and takes its time",
        "Resources elsewhere are served; nothing holds the namespace up",
        "It goes"
    }
    leaders::leader_leaves within 30 s {
        "The leader of two replicas gets SIGTERM",
        "The standby takes over at once, long before the Lease expires, and starts from the saved lists",
        "At once"
    }
    leaders::leader_dies within 40 s {
        "The leader of two replicas is killed",
        "Policies stand; the list moves on meanwhile",
        "Another takes over when the Lease has run out, 15 s after its last renewal"
    }
    leaders::clock_jumps within 40 s {
        "The wall clock jumps a day ahead and a day back, on the leader and on the standby, while DNS fails",
        "No address is dropped, no list is asked for more often than `--min-refresh` allows, and the leader leads on: retention and the Lease's fence go by the monotonic clock",
        "The next fetch comes when it was due by either clock"
    }
    leaders::leader_sleeps within 40 s {
        "The leader of three replicas is stopped for longer than its Lease, and continued",
        "Another takes over; the sleeper wakes, writes nothing and stands by",
        "As when it dies"
    }
    leaders::two_lead within 90 s {
        "Two operators lead at once over one namespace and do not agree: `--no-leader-election` twice, or two releases",
        "What both allow stays, in every version; three rounds, then each leaves the policy as it is; `Ready=False`, `Conflict`, naming a second operator as the likely cause",
        "Once one of them has stopped, after the pause"
    }
    outages::memory_short within 40 s {
        "The operator comes close to its memory limit",
        "What is applied is kept current; new resources get no policy yet, and large lists are not read: `WaitingForMemory`",
        "Once it is under 75 % of the limit, by itself"
    }
    vendor::list_grew within 20 s {
        "A list holds a hundred times as much as the last one, or networks that are a part of the Internet",
        "The list in use stays, and nothing of the new one is asked for; `FeedCurrent=False`, `FeedGrew`, a problem of kind `Limit`",
        "The next list that is as before, or a second fetch that says the same"
    }
    vendor::list_matches_nothing within 20 s {
        "The vendor's list has nothing any more for a spec that did not change: here it spells its regions otherwise",
        "The last policy of a direction goes only by the user's word: it stays as it was applied; `Ready=False`, `LastPolicyKept`, naming the policy and what lets it go",
        "The next list that has something for the spec, or the user's word"
    }
}

const HEAD: &str = "# Reliability

What goes wrong between the operator, its cluster and the vendor, what stays meanwhile, what is said, and how it recovers.
Each row is a test of the same name in `tests/faults/`, on a real control plane, most of them through a proxy that answers in
the API server's place. The operator has the rights that the chart gives it, and no others. `make test` runs them all.

Every test ends with the same checks:

- Policies, the ConfigMap of CIDRs and the Ready condition are right within so many seconds of the fault's end, without a
  restart of the operator.
- A recorder that watches every version of every policy saw none that was narrower than the last good, wider than the
  lists and answers published so far, or that opened every address or port.
- No hot loop: at most 15 requests a second of each replica on average to the API server while the fault lasts, after 60 at
  once.
- Then nothing more is written.

This file is written by `UPDATE_DOCS=1 cargo test --test faults documentation`.

| fault | meanwhile | recovery | right within | test |
| --- | --- | --- | --- | --- |
";

fn document() -> String {
    let mut text = HEAD.to_owned();
    for Row { test, fault, meanwhile, recovery, within } in ROWS {
        // Writing into a string does not fail.
        let _ = writeln!(text, "| {fault} | {meanwhile} | {recovery} | {within} s | `{test}` |");
    }
    text
}

#[test]
fn documentation() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, document()).expect("written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == document(), "docs/reliability.md is not what the tests say: run this with UPDATE_DOCS=1");
}
