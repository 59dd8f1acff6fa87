//! Every metric, for registration, documentation and checks. Pure.

use std::fmt;

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

impl fmt::Display for MetricKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// One metric, as documentation and alerts name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricDoc {
    /// Its whole name, unit and a counter's `_total` included.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Its meaning, in one sentence without a full stop.
    pub help: &'static str,
}

macro_rules! metrics {
    (@name whole $name:literal) => { $name };
    (@name $name:literal) => { concat!("citrix_allowlist_", $name) };
    ($($constant:ident = $kind:ident $($whole:ident)? $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            pub(super) const $constant: MetricDoc = MetricDoc {
                name: metrics!(@name $($whole)? $name),
                kind: MetricKind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*
        /// Every metric, in the order of the documentation.
        pub const ALL: &[MetricDoc] = &[$($constant),*];
    };
}

metrics! {
    BUILD_INFO = Gauge "build_info" ["version"] "Always 1; the version is in the label";
    PROCESS_CPU = Counter whole "process_cpu_seconds_total" [] "Processor time of the process, in user and system mode";
    PROCESS_RESIDENT = Gauge whole "process_resident_memory_bytes" [] "Resident memory of the process";
    PROCESS_VIRTUAL = Gauge whole "process_virtual_memory_bytes" [] "Virtual memory of the process";
    PROCESS_OPEN_FILES = Gauge whole "process_open_fds" [] "Open file descriptors of the process";
    PROCESS_MOST_FILES = Gauge whole "process_max_fds" [] "Most open file descriptors that the process may have";
    PROCESS_THREADS = Gauge whole "process_threads" [] "Threads of the process";
    PROCESS_START = Gauge whole "process_start_time_seconds" [] "When the process started, in Unix time";
    LEADER = Gauge "leader" [] "1 while this replica leads and writes, 0 while it stands by";
    RESOURCES = Gauge "resources" ["ready"] "CitrixAllowlists by the status of their Ready condition";
    CONDITIONS = Gauge "conditions" ["type", "status", "reason"] "CitrixAllowlists by what each of their conditions says";
    PROBLEMS = Gauge "problems" ["kind"] "Problems that the CitrixAllowlists list in their status, by kind";
    WILDCARDS = Gauge "wildcards" [] "Wildcards that nothing covers, neither names of a spec nor the forwarder, over all CitrixAllowlists";
    RECONCILES = Counter "reconciles_total" ["outcome"] "Reconciles by outcome: changed, unchanged, waiting (for a list or for names), held (by the spec, the mode or a conflict) or failed";
    RECONCILE_DURATION = Histogram "reconcile_duration_seconds" [] "How long a reconcile took";
    OVERDUE = Gauge "overdue_resources" [] "CitrixAllowlists that changed more than two minutes ago and have not been reconciled since; 0 on a standby";
    LOST_WAKES = Counter "lost_wakes_total" [] "Changes of CitrixAllowlists that were reconciled only since the watchdog found them after two minutes: each is a defect of the operator";
    PODS_OPENED = Counter "pods_opened_total" ["cause"] "Times that the pods of a resource lost its last policy of a direction, by cause";
    WRITES = Counter "writes_total" ["kind", "verb", "result"] "Writes to the API server by kind of object, verb and result";
    FEED_FETCHES = Counter "feed_fetches_total" ["cloud", "result"] "Requests for a list by result";
    FEED_FETCH_DURATION = Histogram "feed_fetch_duration_seconds" [] "How long a request for a list took";
    FEED_FETCHED = Gauge "feed_fetched_timestamp_seconds" ["cloud", "customer"] "When the list in use was fetched or last confirmed, in Unix time";
    FEED_AGE = Gauge "feed_age_seconds" ["cloud", "customer"] "How long ago the list in use was fetched or last confirmed";
    FEED_VALID_UNTIL = Gauge "feed_valid_until_timestamp_seconds" ["cloud", "customer"] "Until when the vendor calls the list in use valid, in Unix time";
    FEED_NEXT_FETCH = Gauge "feed_next_fetch_timestamp_seconds" ["cloud", "customer"] "About when the list is asked for again, in Unix time";
    LIMITER_LIMIT = Gauge "limiter_requests_per_minute" [] "Requests that one host of the API is sent in any minute, at most";
    LIMITER_QUEUE = Gauge "limiter_queue_length" [] "Requests that wait for their turn under the rate limit";
    LIMITER_WAIT = Histogram "limiter_wait_seconds" [] "How long a request waited for its turn under the rate limit";
    DNS_QUESTIONS = Counter "dns_questions_total" ["server", "result"] "Questions to DNS servers by result";
    DNS_DURATION = Histogram "dns_question_duration_seconds" ["server"] "How long a DNS server took to answer, or to fail";
    DNS_REFUSED = Counter "dns_refused_answers_total" ["server"] "Addresses in answers that may not be opened";
    NAMES = Gauge "names" ["state"] "Names that are asked for, by what DNS says: waiting, answered, absent, failing, or stale: failing for longer than --max-stale";
    ADDRESSES = Gauge "addresses" [] "Addresses held for these names, retained ones included";
    MEMORY_USED = Gauge "memory_used_bytes" [] "Memory that the container uses and that cannot be taken back from it; 0 where no limit is known";
    MEMORY_LIMIT = Gauge "memory_limit_bytes" [] "The most memory that the container may use; 0 where no limit is known";
    MEMORY_SHORT = Gauge "memory_short" [] "1 while first policies of new resources and large lists wait, since the container is close to its memory limit";
    LISTS_HELD = Gauge "lists_held_back" [] "Lists that lost or gained far too much, and wait for a second fetch";
    LISTS_FAILING = Gauge "lists_failing" [] "Lists whose newest request failed; the last good one stays in use";
    LISTS_LEFT_OUT = Gauge "lists_left_out" ["bound"] "CitrixAllowlists without a list, by the bound that has no room for it: of the namespace or the process";
    NAMES_LEFT_OUT = Gauge "names_left_out" ["bound"] "Names that are not asked, over all CitrixAllowlists, by the bound that has no room for them: of the resource, the namespace or the process";
    ADDRESSES_LEFT_OUT = Gauge "names_with_addresses_left_out" ["bound"] "Names of which new addresses are left out, by the bound that has no room for them: of the resource, the namespace or the process";
    DNS_STRETCH = Gauge "dns_stretch" [] "By what factor names are asked less often than their TTLs say since --dns-questions-per-second is reached, at most; 1 where none is";
    DNS_WAITING = Gauge "dns_waiting_questions" ["server"] "Questions that wait for a place among those that a DNS server is asked at once";
    FORWARDED = Counter "forwarded_questions_total" ["result"] "Questions that the cluster's DNS forwarded, by how they were answered: passed, cut (with the addresses in force), waited, own (while the operator itself talks to that host), early (not in force in time), barred (never in force), standby (by a replica that does not lead, or does not know yet what resources want), failed, looping (the upstream leads back here), probe (the operator's own), refused or dropped";
    FORWARD_HELD = Histogram "forward_held_seconds" [] "How long an answer was held beyond what the upstream took";
    FORWARD_UPSTREAM = Histogram "forward_upstream_seconds" [] "How long the upstream of the forwarder took to answer";
    FORWARD_ZONES = Gauge "forward_zones" ["state"] "Zones of the names and wildcards of the lists in use, by whether the cluster's DNS forwards them to the operator: forwarded, missing, or looping (the forwarder's own upstream leads back to it); with --forward-zone, only those among its zones; 0 on a standby and where nothing is forwarded";
    LEARNED = Gauge "learned_names" [] "Names that pods asked for under wildcards, and that are learned; 0 on a standby";
    LEARNED_TOTAL = Counter "names_learned_total" [] "Names that were learned since the start";
    FORGOTTEN_TOTAL = Counter "names_forgotten_total" ["reason"] "Learned names that no resource has any more, since the start, by reason: unasked (nobody asked for --learned-retention) or room (256 others under its wildcard were asked for later)";
    PREDICTED_MISS = Histogram "predicted_miss_seconds" [] "How long an address had been answered before policies allowed it";
}
