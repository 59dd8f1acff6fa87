//! The faults, each a test and a row of docs/reliability.md: one list makes both.

use super::{answers, forwarder, leaders, objects, outages, rights, vendor};
use std::fmt::Write as _;
use std::path::PathBuf;

/// A fault, and what is promised of it.
pub struct Row {
    /// The test that shows it.
    pub test: &'static str,
    /// What goes wrong.
    pub fault: &'static str,
    /// What stays meanwhile, and what is reported.
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
        "The process waits; `/readyz` names the wait, `/livez` stays ok",
        "Watches are tried again, 30 s apart at most"
    }
    outages::api_server_restarted within 40 s {
        "The API server is killed and comes back; the list changes meanwhile",
        "Policies stay in the cluster as they are; `/readyz` stays ok",
        "Watches continue where they were; changes of the meantime are written"
    }
    outages::api_server_frozen within 40 s {
        "The API server stops answering, with its connections open",
        "Every call ends at its deadline; `/livez` stays ok",
        "The next try after the back-off"
    }
    outages::etcd_restarted within 40 s {
        "etcd is killed and comes back",
        "As when the API server answers 500",
        "The next try after the back-off"
    }
    outages::definition_missing within 40 s {
        "The CRD is not installed yet",
        "The process waits and logs it; `/readyz` fails, `/livez` stays ok",
        "Once it is installed, the next try of the watch finds the resources"
    }
    outages::definition_removed within 60 s {
        "The CRD is removed and installed again",
        "Kubernetes deletes the resources, and later collects their policies; the operator touches none of them, and sends no more requests for them",
        "Recreated resources are new ones; they adopt the remaining policies of their previous owners, without a gap"
    }
    answers::server_errors within 40 s {
        "Every request is answered 500, watches are cut",
        "Policies stay; the log and `writes_total{result=\"unavailable\"}` report it, and the condition if it can be written",
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
        "Everything is done, only later",
        "Nothing to recover from"
    }
    answers::silent within 40 s {
        "Requests are accepted and never answered",
        "Every call ends at its deadline; `/livez` stays ok",
        "The next try after the back-off"
    }
    answers::conflicts within 15 s {
        "Writes are answered 409",
        "Nothing is reported: the operator decides again on the current objects",
        "At once, or within 5 s if no watch shows a change"
    }
    answers::watches_gone within 40 s {
        "Watches are answered 410 Gone, as a status and as an event",
        "Known state stays",
        "Everything is listed again"
    }
    answers::watches_cut within 20 s {
        "Watches break off in the middle of an event; a policy is deleted in the gap",
        "Known state stays",
        "The next list shows what is missing, and it is created again"
    }
    answers::answer_lost within 40 s {
        "Writes are executed and their answers lost",
        "The write counts as failed",
        "The watch, or the next try, shows that it was executed"
    }
    outages::etcd_full within 40 s {
        "etcd accepts no writes: database space exceeded",
        "Policies stay; the log and `writes_total{result=\"unavailable\"}` report it, since no status can be written",
        "When space is free and the alarm is off: the next try after the back-off, at most two minutes apart"
    }
    answers::too_large within 40 s {
        "A policy is refused as too large (413)",
        "The previous policy stays; `Ready=False`, `ApplyFailed`, `Stalled`, with the API server's message",
        "The next try after the back-off, or a change of the list or the spec"
    }
    rights::may_not_create within 40 s {
        "RBAC lacks `create` on networkpolicies",
        "No policy; `Ready=False`, `ApplyFailed`, `Stalled`, naming verb and resource",
        "The next try after the back-off"
    }
    rights::may_not_own within 40 s {
        "RBAC lacks `update` on citrixallowlists/finalizers, and the cluster requires it (`OwnerReferencesPermissionEnforcement`)",
        "No policy; `Ready=False`, `ApplyFailed`, `Stalled`, with the API server's message",
        "The next try after the back-off"
    }
    rights::may_not_patch within 40 s {
        "RBAC lacks `patch` on networkpolicies",
        "The previous policy stays; `Ready=False`, `ApplyFailed`, `Stalled`, naming verb and resource",
        "The next try after the back-off"
    }
    rights::may_not_watch within 40 s {
        "RBAC lacks `list` and `watch` on the operator's objects",
        "Known state stays, and writes continue; the log reports it",
        "The next try of the watch"
    }
    rights::may_not_watch_resources within 40 s {
        "RBAC lacks `list` and `watch` on citrixallowlists",
        "Known resources stay, and are kept current; the log reports it",
        "The next try of the watch"
    }
    rights::may_not_patch_status within 40 s {
        "RBAC lacks `patch` on citrixallowlists/status",
        "Policies follow the list; the log reports it, since no status can be written",
        "The next try after the back-off"
    }
    rights::may_not_create_events within 20 s {
        "RBAC lacks `create` on events",
        "Policies and status follow; the log and `writes_total{kind=\"Event\"}` report it",
        "With the next event"
    }
    answers::term_in_a_write within 40 s {
        "SIGTERM while a write is in flight",
        "The write is finished, nothing new is started, and the process exits within 10 s and leaves nothing behind",
        "The next process starts from the cluster's objects"
    }
    objects::edited within 90 s {
        "A person edits a policy; another controller edits it every 100 ms",
        "The edit is reverted; an edit that keeps coming back stays, and is reported with its field manager: `Conflict`",
        "Reverted for good after the pause, once the other has stopped"
    }
    objects::cut_out within 90 s {
        "Another writer removes our rules from a policy every 100 ms, which leaves no field manager's name",
        "Reverted three times, then left and reported: `Conflict`",
        "Reverted for good after the pause, once it has stopped"
    }
    objects::deleted within 10 s {
        "A person deletes a policy and the ConfigMap",
        "The operator creates them again at once",
        "At once"
    }
    objects::not_ours within 90 s {
        "Another owner's object already uses the policy's name",
        "It stays as it is; `Ready=False`, `Conflict`, naming it and how to hand it over",
        "Within a minute of its deletion, or at once with any change"
    }
    objects::quota within 60 s {
        "A ResourceQuota leaves no room for policies",
        "No policy; `Ready=False`, `ApplyFailed`, `Stalled`, naming the quota",
        "The next try after the back-off"
    }
    objects::admission_denies within 60 s {
        "Admission denies our policies",
        "The previous policy stays; `Ready=False`, `ApplyFailed`, `Stalled`, with the denial's message",
        "The next try after the back-off"
    }
    objects::one_of_several_denied within 60 s {
        "Admission denies one of several policies, while addresses move between them",
        "An allowed address stays in one of the policies: each gains before another loses; `Ready=False`, `ApplyFailed`, `Stalled`",
        "The next try after the back-off, or a change of the list or the spec"
    }
    objects::admission_alters within 90 s {
        "Admission alters our policies",
        "The policy is written again, once a minute at most; `Ready=False`, `Conflict`, naming it",
        "Within a minute, or at once with any change"
    }
    objects::webhook_denies within 60 s {
        "An admission webhook denies our policies, then does not answer at all",
        "The previous policy stays; `Ready=False`, `ApplyFailed`, `Stalled`, with the webhook's message, or the API server's if the webhook does not answer",
        "The next try after the back-off"
    }
    objects::namespace_terminating within 40 s {
        "A namespace is being deleted slowly",
        "Resources elsewhere are served; nothing delays the namespace",
        "The namespace is deleted"
    }
    leaders::leader_leaves within 30 s {
        "The leader of two replicas gets SIGTERM",
        "The standby takes over at once, long before the Lease expires, and starts from the saved lists",
        "At once"
    }
    leaders::leader_dies within 40 s {
        "The leader of two replicas is killed",
        "Policies stay; the list changes meanwhile",
        "Another takes over when the Lease has expired, 15 s after its last renewal"
    }
    leaders::list_not_saved within 60 s {
        "The leader of two replicas cannot save a new list, and is killed; the vendor is away",
        "The successor knows only the older list, and leaves what is applied as it is; `FeedCurrent` and `Ready` report it",
        "With the next answer of the vendor, here to a `refresh`"
    }
    leaders::clock_jumps within 40 s {
        "The wall clock jumps a day ahead and a day back, on the leader and on the standby, while DNS fails",
        "No address is dropped, no list is fetched more often than `--min-refresh` allows, and the leader stays: retention and the Lease's fence use the monotonic clock",
        "The next fetch comes when it was due by either clock"
    }
    leaders::leader_sleeps within 40 s {
        "The leader of three replicas is paused for longer than its Lease, and continued",
        "Another takes over; the paused one wakes, writes nothing and stands by",
        "As when it dies"
    }
    leaders::two_lead within 90 s {
        "Two operators lead at once over one namespace and disagree: `--no-leader-election` twice, or two releases",
        "Networks that both allow stay, in every version; after three rounds each leaves the policy as it is; `Ready=False`, `Conflict`, naming a second operator as the likely cause",
        "After the pause, once one of them has stopped"
    }
    forwarder::forwarding_leader_leaves within 40 s {
        "Pods ask through the forwarder; the leader of two replicas gets SIGTERM",
        "Every question is answered: the cluster's DNS asks its second server until the Service leads to the standby",
        "The Service follows the Lease; answers are held again once the new leader has reconciled every resource"
    }
    forwarder::forwarding_leader_dies within 40 s {
        "Pods ask through the forwarder; the leader of two replicas is killed",
        "Every question is answered, by the second server until the Lease has expired; what was learned stays allowed",
        "As when the leader leaves"
    }
    forwarder::forwarding_leader_sleeps within 40 s {
        "Pods ask through the forwarder; the leader of two replicas is paused for longer than its Lease, and continued",
        "As when it is killed",
        "As when the leader leaves; the paused one wakes and does not take the Service"
    }
    forwarder::forwarding_leader_cut_off within 40 s {
        "Pods ask through the forwarder; the leader of two replicas is cut off from the API server",
        "It answers what it cannot apply after 1.5 s as it came (`early`), and all of it at once when it no longer leads (`standby`)",
        "As when the leader leaves; the first one does not take the Service back"
    }
    forwarder::forwarding_without_api_server within 60 s {
        "Pods ask through the forwarder; the API server is killed and comes back, then stops answering",
        "Addresses in force are answered at once, and what cannot be applied after 1.5 s as it came (`early`)",
        "The next try after the back-off applies what was learned meanwhile; answers are held again"
    }
    forwarder::upstream_dead within 40 s {
        "The forwarder's upstream answers nothing",
        "The operator does not answer either (`failed`), and the cluster's DNS asks its second server; addresses are kept",
        "With its next answer"
    }
    forwarder::upstream_slow within 40 s {
        "The forwarder's upstream takes 1.4 s for an answer, then 2.5 s",
        "Answers that leave no time for a policy go out as they came (`early`); later than 1.9 s, the second server answers (`failed`)",
        "With its next answer"
    }
    forwarder::upstream_lying within 40 s {
        "The forwarder's upstream answers private, metadata and the cluster's own addresses, alone and beside the right ones",
        "None of them is opened. Beside addresses in force they are withheld (`cut`), alone they go out as they came (`barred`); what was allowed stays",
        "With its next answer"
    }
    forwarder::upstream_truncating within 40 s {
        "The forwarder's upstream truncates every answer over UDP, with half of its records or none",
        "Pods get the truncation without records, and ask over TCP; that answer is held as ever",
        "Nothing to recover from"
    }
    outages::memory_short within 40 s {
        "The operator comes close to its memory limit",
        "Applied policies are kept current; new resources get no policy yet, and large lists are not read: `WaitingForMemory`",
        "By itself, once it is under 75 % of the limit"
    }
    vendor::list_grew within 20 s {
        "A list is a hundred times as long as the last one, or its networks are a part of the Internet",
        "The list in use stays, and no name of the new one is queried; `FeedCurrent=False`, `FeedGrew`, a problem of kind `Limit`",
        "The next list that is as before, or a second fetch that confirms it"
    }
    vendor::list_matches_nothing within 20 s {
        "The vendor's list has nothing any more for an unchanged spec: here it spells its regions differently",
        "The last policy of a direction goes only by the user's word: it stays as it was applied; `Ready=False`, `LastPolicyKept`, naming the policy and how to delete it",
        "The next list that has something for the spec, or the user's word"
    }
}

const HEAD: &str = "# Reliability

Faults between the operator, its cluster and the vendor: what stays meanwhile, what is reported, and how the operator recovers.
Each row is a test of the same name in `tests/faults/`, on a real control plane. Most run through a proxy that answers in the API
server's place. The operator has the rights that the chart gives it, and no others. `make test` runs them all.

Every test ends with the same checks:

- Policies, the ConfigMap of CIDRs and the Ready condition are right within so many seconds of the fault's end, without a
  restart of the operator.
- A recorder watches every version of every policy. It saw none that was narrower than the last good, wider than the
  lists and answers published so far, or that opened every address or port.
- No hot loop: while the fault lasts, each replica sends at most 15 requests a second on average to the API server, after 60 at
  once.
- After that, nothing more is written.
- Where pods ask through the forwarder, they ask the real CoreDNS all along, with the block of the
  [guide](guides/wildcards.md#turn-it-on): for a name of the list, for learned names and for new ones. Each question gets an answer
  with addresses within four seconds; some two are usual, after which CoreDNS asks its second server. What was learned stays allowed.
  At the end a new name is allowed again when its answer arrives.

`UPDATE_DOCS=1 cargo test --test faults documentation` writes this file.

| fault | meanwhile | recovery | right within | test |
| --- | --- | --- | --- | --- |
";

/// What stands below the table.
const SIMULATED: &str = include_str!("simulated.md");

fn document() -> String {
    let mut text = HEAD.to_owned();
    for Row { test, fault, meanwhile, recovery, within } in ROWS {
        // Writing into a string does not fail.
        let _ = writeln!(text, "| {fault} | {meanwhile} | {recovery} | {within} s | `{test}` |");
    }
    text + SIMULATED
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
