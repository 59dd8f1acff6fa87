//! Keys and roles of objects. Pure.

use super::kind::Kind;
use crate::direction::PolicyDirection as _;
use connectivity_allowlist::net::Direction;
use std::fmt;
use std::sync::Arc;

/// What an object is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// It allows connections of one direction.
    Policy {
        /// The direction.
        direction: Direction,
        /// Its number among the policies of that direction, from 1.
        part: usize,
    },
    /// It lists the allowed CIDRs and names for other programs.
    Export {
        /// Its number, from 1.
        part: usize,
    },
}

impl Role {
    /// The end of object names with this role.
    fn suffix(self) -> &'static str {
        match self {
            Self::Policy { direction, .. } => direction.object_suffix(),
            Self::Export { .. } => "cidrs",
        }
    }

    const fn part(self) -> usize {
        match self {
            Self::Policy { part, .. } | Self::Export { part } => part,
        }
    }

    /// The name of an owner's object with this role: `daas-egress`, `daas-egress-2`, `daas-cidrs`.
    #[must_use]
    pub fn object_name(self, owner: &str) -> String {
        match self.part() {
            1 => format!("{owner}-{}", self.suffix()),
            part => format!("{owner}-{}-{part}", self.suffix()),
        }
    }

    /// The reverse of [`Self::object_name`]: the owner and the role of a name, or `None` for a name that the operator never
    /// gives. The end of a name decides, so that an owner may be called `daas-egress-2`.
    #[must_use]
    pub fn of_name(name: &str) -> Option<(&str, Self)> {
        let numbered = name.rsplit_once('-').and_then(|(base, number)| {
            let part = number.parse().ok().filter(|part| *part > 1 && !number.starts_with(['0', '+']))?;
            Some((base, part))
        });
        let (base, part) = numbered.unwrap_or((name, 1));
        let (owner, suffix) = base.rsplit_once('-').filter(|(owner, _)| !owner.is_empty())?;
        let policies = Direction::ALL.map(|direction| Self::Policy { direction, part });
        let roles = policies.into_iter().chain([Self::Export { part }]);
        roles.into_iter().find(|role| role.suffix() == suffix).map(|role| (owner, role))
    }
}

/// An object by kind, namespace and name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// What it is for; `None` where the operator never gives this name to an object of this kind.
    pub role: Option<Role>,
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.name, self.namespace, self.name)
    }
}

impl ObjectKey {
    /// The key of an object in the cluster. The only place that reads a role from a name.
    #[must_use]
    pub fn new(kind: &'static Kind, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        let (namespace, name) = (namespace.into(), name.into());
        let role = Role::of_name(&name).map(|(_, role)| role).filter(|role| match role {
            Role::Policy { .. } => kind.policy.is_some(),
            Role::Export { .. } => kind.policy.is_none(),
        });
        Self { kind, namespace, name, role }
    }

    /// Whether it is a policy.
    #[must_use]
    pub const fn is_policy(&self) -> bool {
        self.kind.policy.is_some()
    }

    /// Of a policy: which direction it is for.
    #[must_use]
    pub const fn direction(&self) -> Option<Direction> {
        match self.role {
            Some(Role::Policy { direction, .. }) => Some(direction),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_has_an_owner_and_a_role() {
        let policy = |direction, part| Role::Policy { direction, part };
        for (name, expected) in [
            ("daas-egress", Some(("daas", policy(Direction::Outbound, 1)))),
            ("daas-ingress-12", Some(("daas", policy(Direction::Inbound, 12)))),
            ("daas-cidrs-2", Some(("daas", Role::Export { part: 2 }))),
            ("daas-egress-2-egress", Some(("daas-egress-2", policy(Direction::Outbound, 1)))),
            ("daas-egress-1", None),
            ("daas-egress-02", None),
            ("daas-egress-+2", None),
            ("daas", None),
            ("-egress", None),
            ("egress", None),
        ] {
            assert_eq!(Role::of_name(name), expected, "{name}");
        }
        let map = ObjectKey::new(&crate::export::CONFIG_MAP, "web", "daas-egress");
        assert_eq!(map.role, None, "a ConfigMap is no policy");
    }

    proptest! {
        #[test]
        fn every_name_is_read_back(
            owner in "[a-z0-9]([a-z0-9-]{0,12}(egress|ingress|cidrs|-2|[a-z]))?",
            part in 1_usize..10_000,
            which in 0_usize..3,
        ) {
            let role = match which {
                0 => Role::Policy { direction: Direction::Outbound, part },
                1 => Role::Policy { direction: Direction::Inbound, part },
                _ => Role::Export { part },
            };
            let name = role.object_name(&owner);
            prop_assert_eq!(Role::of_name(&name), Some((&*owner, role)));
        }
    }
}
