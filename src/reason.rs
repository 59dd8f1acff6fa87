//! Why a condition is as it is: one enum that feeds conditions, events, metric labels and the documentation. Pure.

use crate::explain_texts::explained;

explained! {
    /// The reason of a condition or an event, in CamelCase as Kubernetes asks for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    Reason, "" {
        Applied:
            "The policies in the cluster say what the newest usable list and the newest usable answers say.",
            "Nothing.";
        Audit:
            "Everything is computed and reported, and no policy is kept.",
            "Set spec.mode to Enforce once the report is as you want it.";
        Suspended:
            "What is applied stays as it is, and nothing else is done.",
            "Set spec.suspend to false to go on.";
        WaitingForFeed:
            "The first list has not arrived yet.",
            "Wait; where it lasts, see whether the operator reaches the API, through a proxy perhaps.";
        WaitingForNames:
            "The first policy would isolate pods, and waits until DNS has answered for every name.",
            "Wait; where it lasts, see whether the operator reaches the DNS servers that pods ask.";
        WaitingForMemory:
            "The operator is close to its memory limit, and takes up no new resource until it is not; what is applied is kept current.",
            "Raise the memory limit of the operator's container, or delete what fills it: many names, many addresses, long retention.";
        Fetched:
            "The newest fetch brought a usable list, or confirmed the one that is held.",
            "Nothing.";
        FeedUnavailable:
            "The API could not be reached, or failed; the last good list stays in use.",
            "See whether the operator reaches the API, and whether a proxy inspects its TLS (--extra-ca-file).";
        FeedRejected:
            "The API refuses the request, so that asking again is no use.",
            "Correct spec.customerId or spec.cloud, or the operator's --global-url or --japan-url.";
        FeedMalformed:
            "What came back is no list; the last good one stays in use.",
            "See whether a proxy answers in the API's place; else tell Citrix's support, with the transaction id.";
        RateLimited:
            "The API takes five requests a minute from one address, and they are used up.",
            "Wait; where it lasts, find what else asks from the same address, or use --shared-template.";
        FeedShrank:
            "A list that lost more than half of the last one is held back until a second fetch confirms it.",
            "Nothing, or `refresh` to have it confirmed now.";
        FeedGrew:
            "A list that holds over a hundred times as much as the last one, or whose networks in sum are more than one address in 256, is held back until a second fetch confirms it.",
            "Compare what the message says with what Citrix publishes; `refresh` has it confirmed now.";
        FeedExpired:
            "The list in use is past the time that the vendor vouches for; it stays in use.",
            "See why fetches bring no newer one: the message of FeedCurrent says.";
        Resolved:
            "Every name has been answered.",
            "Nothing.";
        Unresolved:
            "Some names have no usable address; everything else is allowed.",
            "See the problems of kind Unresolved: each says why.";
        WildcardsCovered:
            "Each wildcard of the list is covered, or the list has none.",
            "Nothing.";
        WildcardsUnenforceable:
            "The list holds wildcards that nothing covers; names under them are not allowed.",
            "Name under spec.wildcards the names that your pods use, or have the cluster's DNS forward the wildcards' zones to the operator.";
        NamesLearned:
            "Pods asked the cluster's DNS for the first names under a wildcard; with observe: Allow they are allowed.",
            "Compare them with what your pods need: within, Suggest, or names under spec.wildcards narrow it.";
        Opened:
            "Pods lost their last policy of this resource: they are open in that direction, unless another policy selects them.",
            "See the cause in the message. Where it was not meant, set mode: Enforce, or apply the resource again.";
        Isolated:
            "Pods got their first policy of this resource: what no policy allows them is cut in that direction.",
            "Nothing, where it was meant; else mode: Audit shows what would be allowed and isolates nothing.";
        AddressRefused:
            "An address that DNS gave, or a network of the list or the spec, may not be opened, and is not.",
            "See the problem of kind Refused: who answers like this? A private address of your own belongs under spec.additional, or into --allow-private-cidr.";
        NoMatch:
            "The spec matches nothing of the list, and a policy that allows nothing would cut everything.",
            "Compare spec.services, geo and direction with the list; `render --summary` shows what matches.";
        LastPolicyKept:
            "Nothing is left to allow in a direction: the vendor, DNS or the cluster changed, and the spec did not. The last policy stays as it was applied, since without it the selected pods would be open.",
            "See the problem of that policy. Select what the list has now, or let the policy go: delete the resource, set mode: Audit, or take the direction out of spec.direction.";
        InvalidSpec:
            "The spec cannot be acted on, though its schema is right.",
            "Correct the field that the message names.";
        Protected:
            "The pods selected are the cluster's or the operator's own, which a policy would cut off.",
            "Choose another namespace or a narrower spec.podSelector.";
        Conflict:
            "Another owner's object already uses a needed name, or something keeps changing the operator's objects.",
            "Rename one of the two, stop the other writer, or hand the object over with citrix-allowlist.io/adopt: \"true\".";
        ApplyFailed:
            "The API server refused a write, or could not be reached; it is tried again.",
            "See the message: a missing permission, a quota or an admission webhook.";
        SavedListIgnored:
            "A list saved in the operator's namespace cannot be used, or another client wrote it; the operator asks the vendor again.",
            "Find out who writes ConfigMaps there; the operator saves the list again by itself.";
        Progressing:
            "The operator works on it.",
            "Wait.";
    }
}

impl Reason {
    /// Whether it is a stage that passes by itself, and so worth a condition but no event.
    #[must_use]
    pub const fn is_passing(self) -> bool {
        matches!(self, Self::WaitingForFeed | Self::WaitingForNames | Self::Progressing)
    }

    /// Every reason that a condition can have, the worst first: the one order of `status.summary.status`. A suspended resource shows
    /// that alone, since its other conditions are of before. What cuts or opens pods comes before what will, and that before what only
    /// waits.
    pub const WORST_FIRST: [Self; 25] = [
        Self::Suspended,
        Self::InvalidSpec,
        Self::Protected,
        Self::Conflict,
        Self::ApplyFailed,
        Self::LastPolicyKept,
        Self::NoMatch,
        Self::FeedRejected,
        Self::FeedMalformed,
        Self::FeedUnavailable,
        Self::FeedExpired,
        Self::RateLimited,
        Self::FeedShrank,
        Self::FeedGrew,
        Self::Unresolved,
        Self::WaitingForMemory,
        Self::WaitingForFeed,
        Self::WaitingForNames,
        Self::Progressing,
        Self::WildcardsUnenforceable,
        Self::Audit,
        Self::Applied,
        Self::Fetched,
        Self::Resolved,
        Self::WildcardsCovered,
    ];

    /// Whether something went wrong with the list.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::FeedUnavailable
                | Self::FeedRejected
                | Self::FeedMalformed
                | Self::FeedShrank
                | Self::FeedGrew
                | Self::FeedExpired
                | Self::RateLimited
        )
    }
}
