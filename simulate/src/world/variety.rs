//! What sort of world a seed makes, beside its faults.

/// Traits of a world, each by one bit of its seed: what a known seed means stays when a trait is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variety {
    /// Whether the cluster's DNS forwards to the operator, lists have wildcards, and pods ask for names.
    pub forwards: bool,
    /// Whether each request to the API server takes some milliseconds, and its answer too: more happens meanwhile, and
    /// processes die between any two of their steps.
    pub has_latency: bool,
    /// Whether resources have their lists fetched every half hour, in place of once a day: most faults of the vendor then meet a fetch.
    pub refreshes: bool,
}

impl Variety {
    /// That of a seed.
    #[must_use]
    pub const fn of(seed: u64) -> Self {
        Self { forwards: seed & 1 == 0, has_latency: seed & 2 == 0, refreshes: seed & 4 != 0 }
    }
}
