//! The reference of all kinds of problems as Markdown, from the table that `explain` prints. Pure.

use super::generated;
use citrix_allowlist::crd::ProblemKind;
use std::fmt::Write as _;

/// The whole reference.
#[must_use]
pub fn markdown() -> String {
    let mut text = generated().to_owned();
    text.push_str(
        "# Problems\n\n\
         What a `CitrixAllowlist` could not honour stands in `status.problems`, each with a kind, a subject (a name, an address, a\n\
         port, an object), the service or the `additional` entry it belongs to, and a message that says what a person can do.\n\
         `status.problemsTotal` counts them all, also where there are more than status lists. A problem never stops the rest: what\n\
         can be honoured is. `kubectl citrix-allowlist explain` says the same sentences, and `explain --term KIND` those of one kind.\n\n\
         | kind | what it means | what to do |\n| --- | --- | --- |\n",
    );
    for kind in ProblemKind::ALL {
        let explained = kind.text();
        let _ = writeln!(text, "| `{kind:?}` | {} | {} |", explained.means, explained.remedy);
    }
    text.push_str("\n## In more words\n\n");
    for kind in ProblemKind::ALL {
        let _ = writeln!(text, "- **{kind:?}.** {}", detail(kind));
    }
    text.push_str(BUDGETS);
    text
}

/// What is worth knowing beside the two sentences that `explain` has room for.
const fn detail(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Wildcard => {
            "Exact names that the list itself has under the wildcard are allowed meanwhile (`expandWildcards: Auto`) and \
             stand in the message; only names under the spec's `wildcards` make it honoured."
        }
        ProblemKind::NoPorts => "It concerns entries of `additional` too, whose ports may all be unusable.",
        ProblemKind::NoMatch => {
            "A glob of `services`, a pattern of `wildcards`, a port of `inboundPorts`, an `additional` entry of a direction \
             that is not asked for, a whole direction; what the list's form cannot say (`requiredOnly`, a region), and the list's \
             words for regions that nobody documents; also an inbound rule on a port that no selected pod declares: map the \
             published port to the pod's under `inboundPorts`. A direction that matches nothing has no policy, since that \
             policy would cut everything."
        }
        ProblemKind::Unresolved => {
            "DNS has not answered yet, says there is none, has only addresses of a family that the policies do not hold, or \
             its servers fail. With a whole direction as its subject, none of its names has an address, and what was applied \
             stays."
        }
        ProblemKind::Refused => {
            "Loopback, link-local, multicast, private ranges, the cluster's own, what clouds answer on, what `--deny-cidr` \
             names, or a network that is too wide. Of `additional` also a name outside `--additional-suffix`. Where it is not \
             meant, find out who answers so."
        }
        ProblemKind::Malformed => "It is left out rather than guessed. `status.feed.transactionId` is the id to give.",
        ProblemKind::FeedShrank => {
            "What is compared is what this spec takes of the list. The annotation \
             `citrix-allowlist.io/refresh-requested-at` asks for the second fetch now."
        }
        ProblemKind::Conflict => {
            "Foreign edits are undone at once, three times; then pauses double, up to ten minutes, and the message names the \
             field manager that edits."
        }
        ProblemKind::Limit => {
            "The network plugin enforces less than the policies say, a name has more addresses than are held, lists, names or \
             addresses are beyond what a resource, its namespace or all together may have (`--max-lists`, `--max-names`, \
             `--max-addresses`), IPv4 has no \
             way out of an IPv6-only cluster, or `endpoints.json` had to be shortened. Splitting pods over several resources \
             helps with most."
        }
    }
}

const BUDGETS: &str = "
## Budgets of network plugins

These are watched where the plugin is known (`--cni`, or the chart's `cluster.cni`). None of them is an error to Kubernetes: the
API server takes the policy, and the plugin enforces a part of it. [guides/cni.md](guides/cni.md) says more of each.

| plugin | budget | counted as |
| --- | --- | --- |
| Amazon VPC CNI | 24 port ranges a CIDR | the ranges of a CIDR together with those of wider CIDRs around it |
| Cilium | 16,384 entries of the policy map | for each CIDR its ports and those of wider CIDRs around it; a port range takes an entry for each aligned power of two it is made of |
| Azure NPM | no IPv6; large lists are applied late or in part | IPv6 CIDRs; CIDRs beyond the bound of one object |
| Calico, kube-router | 65,536 members of an ipset | CIDRs of a direction |
";
