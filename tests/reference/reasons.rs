//! The reference of all reasons as Markdown, from the table that `explain` prints. Pure.

use super::generated;
use citrix_allowlist::reason::Reason;
use std::fmt::Write as _;

/// The whole reference.
#[must_use]
pub fn markdown() -> String {
    let mut text = generated().to_owned();
    text.push_str(
        "# Reasons\n\n\
         Each condition in `status.conditions` and each event carries a reason, the label `reason` of\n\
         `citrix_allowlist_conditions` and the label `result` of `citrix_allowlist_feed_fetches_total` are the same words, and\n\
         `kubectl citrix-allowlist explain` says the same sentences. Reasons are added, never renamed.\n\n\
         ## Conditions\n\n\
         | condition | True means |\n| --- | --- |\n\
         | `Ready` | The policies in the cluster say what the newest usable list and the newest usable answers say; or Audit mode has computed them. |\n\
         | `FeedCurrent` | The newest fetch brought or confirmed a list, and the vendor still vouches for it. |\n\
         | `NamesResolved` | Every exact name has an address. |\n\
         | `WildcardsCovered` | Each wildcard is covered: by names, or since the cluster's DNS forwards its zone to the operator. |\n\
         | `PoliciesApplied` | The policies are applied: False in Audit mode. |\n\
         | `Reconciling` | The operator works on it, or tries again by itself; absent otherwise, as kstatus has it. |\n\
         | `Stalled` | Nothing will change until somebody mends something; absent otherwise. |\n\n\
         ## In one word\n\n\
         `status.summary.status`, and the column STATUS of `kubectl get cal`, have the reason of the worst condition: of `Ready`, and of\n\
         each other one that is False. The order, the worst first:\n\n",
    );
    let order: Vec<String> = Reason::WORST_FIRST.iter().map(|reason| format!("`{reason}`")).collect();
    let _ = writeln!(text, "{}.\n", order.join(", "));
    text.push_str(
        "## Events\n\n\
         An event is published on the CitrixAllowlist when `Ready`, `FeedCurrent`, `NamesResolved` or `WildcardsCovered`\n\
         changes its status or reason: Normal where the condition is True, a Warning where it is not. A change of rules is told as a Normal event with the reason\n\
         `Applied`. `SavedListIgnored` concerns no one resource and is published on the operator's own pod. Reasons that pass by\n\
         themselves are told by the condition alone.\n\n\
         ## All of them\n\n\
         | reason | event | what it means | what to do |\n| --- | --- | --- | --- |\n",
    );
    for reason in Reason::ALL {
        let explained = reason.text();
        let event = if reason.is_passing() { "no" } else { "yes" };
        let _ = writeln!(text, "| `{reason}` | {event} | {} | {} |", explained.means, explained.remedy);
    }
    text.push_str("\nWhat could not be honoured stands in `status.problems`: see [problems.md](problems.md).\n");
    text
}
