//! How much of a shared table one resource, one namespace and all together may take. Pure.
//!
//! First come, first served: a bound leaves out the newest, and never takes back what policies allow. A quarter of the whole
//! is reserved for namespaces that use little. So a namespace with thousands of names leaves others their first hundreds.

/// Which bound has no room left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// That of one resource.
    Resource,
    /// That of all resources of a namespace together.
    Namespace,
    /// That of all namespaces together.
    Process,
}

impl Full {
    /// Which bound it is, and the flag that sets it, for lists, names or addresses.
    #[must_use]
    pub fn sentence(&self, of: &str) -> String {
        let (whose, flag) = match self.level {
            Level::Resource => ("one resource", format!("--max-{of}-per-resource")),
            Level::Namespace => ("all resources of a namespace together", format!("--max-{of}-per-namespace")),
            Level::Process => {
                ("all namespaces together, of which a part is kept for those that use little,", format!("--max-{of}"))
            }
        };
        format!("{whose} may have {} ({flag})", self.bound)
    }

    /// What the problem is about, for lists, names or addresses: `names of the namespace`.
    #[must_use]
    pub fn subject(&self, of: &str) -> String {
        format!("{of} of the {}", self.level.as_str())
    }
}

impl Level {
    /// Every level, from the narrowest.
    pub const ALL: [Self; 3] = [Self::Resource, Self::Namespace, Self::Process];

    /// The metric label, and the last word of the flags that set the bound.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Namespace => "namespace",
            Self::Process => "process",
        }
    }
}

/// A bound that has no room left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Full {
    /// Which it is.
    pub level: Level,
    /// How many it allows.
    pub bound: usize,
}

/// A bound on names or on addresses, at each level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// How many one resource may have.
    pub resource: usize,
    /// How many all resources of one namespace may have together; shared ones count once.
    pub namespace: usize,
    /// How many there may be in all; shared ones count once.
    pub process: usize,
}

/// How much is taken already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// By the resource.
    pub resource: usize,
    /// By its namespace.
    pub namespace: usize,
    /// By all.
    pub process: usize,
}

impl Bound {
    /// The bound of one level, as one without room left.
    #[must_use]
    pub const fn full(&self, level: Level) -> Full {
        let bound = match level {
            Level::Resource => self.resource,
            Level::Namespace => self.namespace,
            Level::Process => self.process,
        };
        Full { level, bound }
    }

    /// How much of the reserved quarter a namespace may use: an eighth of a namespace's bound.
    #[must_use]
    pub const fn little(&self) -> usize {
        self.namespace / 8
    }

    /// How much room one resource has, and the bound that limits it. What an earlier process `applied` comes before all that
    /// is new, and may use the reserved quarter.
    #[must_use]
    pub fn room(&self, taken: Taken, applied: bool) -> (usize, Level) {
        let left = self.process.saturating_sub(taken.process);
        let process = if applied {
            left
        } else {
            let little = self.little().saturating_sub(taken.namespace);
            left.saturating_sub(self.process / 4).max(little.min(left))
        };
        let rooms = [
            (self.resource.saturating_sub(taken.resource), Level::Resource),
            (self.namespace.saturating_sub(taken.namespace), Level::Namespace),
            (process, Level::Process),
        ];
        rooms.into_iter().min().unwrap_or((0, Level::Process))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOUND: Bound = Bound { resource: 40, namespace: 80, process: 200 };

    fn room(resource: usize, namespace: usize, process: usize) -> (usize, Level) {
        BOUND.room(Taken { resource, namespace, process }, false)
    }

    #[test]
    fn the_narrowest_bound_counts_and_a_quarter_is_for_small_users() {
        assert_eq!(room(0, 0, 0), (40, Level::Resource));
        assert_eq!(room(0, 60, 60), (20, Level::Namespace));
        assert_eq!(room(0, 40, 145), (5, Level::Process));
        assert_eq!(room(10, 40, 150), (0, Level::Process), "a namespace that uses much");
        assert_eq!(room(0, 0, 150), (10, Level::Process), "one that uses little: an eighth of a namespace's bound");
        assert_eq!(room(0, 0, 195), (5, Level::Process));
        assert_eq!(room(0, 0, 200), (0, Level::Process));
        let applied = BOUND.room(Taken { resource: 0, namespace: 40, process: 150 }, true);
        assert_eq!(applied, (40, Level::Resource), "what was applied comes before what is new");
    }

    proptest! {
        #[test]
        fn no_order_of_arrival_exceeds_a_bound_or_starves_small_users(
            steps in prop::collection::vec((0usize..6, 0usize..3, 1usize..60), 1..80),
        ) {
            let mut resources = [[0usize; 3]; 6];
            let mut all = 0;
            for (namespace, resource, wanted) in steps {
                let used: usize = resources[namespace].iter().sum();
                let taken = Taken { resource: resources[namespace][resource], namespace: used, process: all };
                let (room, _) = BOUND.room(taken, false);
                let got = room.min(wanted);
                // Five greedy namespaces leave the reserved part to the sixth.
                if namespace == 5 && taken.resource == 0 && used == 0 {
                    let others = resources[..5].iter().flatten().sum::<usize>();
                    prop_assert!(got >= wanted.min(BOUND.little()).min(200 - others), "{got} of {wanted} at {all}");
                }
                resources[namespace][resource] += got;
                all += got;
                prop_assert!(resources[namespace][resource] <= BOUND.resource);
                prop_assert!(resources[namespace].iter().sum::<usize>() <= BOUND.namespace);
                prop_assert!(all <= BOUND.process);
                let much = resources.iter().map(|of| of.iter().sum::<usize>());
                let much: usize = much.filter(|used| *used > BOUND.little()).map(|used| used - BOUND.little()).sum();
                prop_assert!(much <= BOUND.process - BOUND.process / 4, "the reserved part is for little alone");
            }
        }
    }
}
