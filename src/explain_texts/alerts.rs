//! What each alert of the chart means. Pure.

use super::explained;

explained! {
    /// An alert of the chart's rules (`files/alerts.yaml`), in their order.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    Alert, "CitrixAllowlist" {
        NoLeader:
            "No replica has led for five minutes, or none is scraped.",
            "Bring a pod of the operator up; policies stay as they are meanwhile.";
        PoliciesNotApplied:
            "Policies that are needed have not been written for ten minutes: the API server refuses, or something else keeps changing them.",
            "Mend what the resource's message names: a permission, a quota, a webhook, another owner.";
        NotReady:
            "Resources have not been Ready for a quarter of an hour; the label `reason` says why.",
            "Read `explain` of one of them; a spec is its owner's to correct, a way to the API or to DNS yours.";
        LastPolicyKept:
            "For a quarter of an hour, the list or DNS has had nothing for a policy that is applied; the policy stays, since without it the selected pods would be open.",
            "Read the resource's problem: select what the list has now, or let the policy go by deleting the resource, mode: Audit or the direction.";
        NotReconciled:
            "For ten minutes, resources that changed have not been reconciled.",
            "Look at the log and at the API server's latency; if other resources are reconciled, restart the operator and report a defect.";
        ReconcileFailing:
            "Reconciles have ended in failure for a quarter of an hour: a write of policies or of status is refused, or times out.",
            "Mend what the log's lines `reconcile failed` name.";
        PodsOpened:
            "Within a quarter of an hour, pods lost their last policy of a resource; the label `cause` says why.",
            "Find them by the events `Opened` or the log; where it was not meant, set mode: Enforce or apply the resource again.";
        FeedFailing:
            "Requests for a list have failed for half an hour; the last good list stays in use.",
            "Fix what the message of FeedCurrent names before the list is past its validUntil.";
        ListHeld:
            "For five minutes, a list that lost or gained far too much has been held back.",
            "Compare it with what Citrix publishes; `refresh` has it confirmed now.";
        FeedExpired:
            "A list has been past the time that Citrix vouches for it for an hour, and no newer one has come.",
            "See why fetches fail: the message of FeedCurrent says; the last good list stays in force.";
        FeedOverdue:
            "A fetch has been due for more than half an hour, and waits for its turn.",
            "Ask for fewer lists, or less often; see the queue under the rate limit.";
        RateLimited:
            "Citrix's API has answered for ten minutes that there are too many requests.",
            "Find what else asks from the same public address, or lower --requests-per-minute.";
        RateLimitNear:
            "For a quarter of an hour, fetches took more than four fifths of what --requests-per-minute allows.",
            "Nothing yet; lengthen refresh.minInterval before fetches become overdue.";
        DnsFailing:
            "One of the cluster's DNS servers has failed more than half of the operator's questions for ten minutes.",
            "Mend the server or the way to it: pods ask the same one; addresses that are known stay open.";
        DnsDead:
            "For five minutes, DNS has answered no name of the lists at all.",
            "Look at the cluster's DNS and at the way from the operator to port 53: pods ask the same servers.";
        NamesUnresolved:
            "Names of the lists do not exist in DNS, or have not been answered for an hour.",
            "Ask the cluster's DNS for one of them; a few that do not exist are the vendor's, and harm nobody who does not need them.";
        AnswersRefused:
            "DNS, the list or a spec named an address that is never opened on their word; it was not opened.",
            "Where it is meant, such as a private link, open the range with --allow-private-cidr; else find out who answers so.";
        RulesLate:
            "One in ten new addresses was allowed more than 15 seconds after DNS first gave it.",
            "Mend what is slow: the API server, DNS, or the operator's own CPU limit.";
        NotForwarded:
            "For a quarter of an hour, the cluster's DNS has not asked the operator's forwarder for zones of the lists, or the forwarder's own upstream leads back to it.",
            "Add the missing block that `citrix-allowlist forwarder config` prints; give --forward-upstream a resolver that does not forward these zones.";
        ForwardedEarly:
            "For a quarter of an hour, the forwarder has given out addresses that policies did not allow in time.",
            "Mend what is slow: the API server, or the operator's own CPU limit; `learn` and the log say which names.";
        MemoryShort:
            "For five minutes, the operator has been close to its memory limit: first policies of new resources and large lists wait.",
            "Raise the container's memory limit, or delete what fills it; what is applied is kept current meanwhile.";
        NoRoom:
            "For a quarter of an hour, all namespaces together have had as many lists, names or addresses as --max-lists, --max-names or --max-addresses allows: the newest are left out.",
            "Find which resources use most, or raise the bound and the container's memory limit; what is applied is kept current meanwhile.";
    }
}
