//! Whose doing a conflict is, as far as the cluster tells, and how it is said. Pure.

use super::contention::Left;
use crate::crd::{FIELD_MANAGER, Problem, ProblemKind};
use crate::objects::key::ObjectKey;
use crate::objects::observed::Observed;

/// Stands for a field manager that left no name behind.
pub(super) const UNNAMED: &str = "";

/// Who undid what was left, where no other field manager holds a field of it: the operator's own name where something
/// wrote under it since, or nobody known.
///
/// Something did where the time of that name moved, which managed fields tell to the second, or where the name still holds
/// every field that it held: who changes or cuts out a field under another name takes it from there.
pub(super) fn who_undid(left: Option<&Left>, observed: Option<&Observed>) -> &'static str {
    let (Some(left), Some(observed)) = (left, observed) else { return UNNAMED };
    let is_later = left.at.zip(observed.written_at).is_some_and(|(ours, newest)| newest != ours);
    let holds_all = left.held.is_some() && left.held == observed.held;
    if is_later || holds_all { FIELD_MANAGER } else { UNNAMED }
}

/// An object that is altered on write.
pub(super) fn altered(key: &ObjectKey) -> Problem {
    let (kind, name) = (key.kind.name, &key.name);
    let message = format!("{kind} {name} is altered on write, probably by an admission webhook or policy; exempt it");
    Problem::new(ProblemKind::Conflict, &**name, None, message)
}

/// An object that somebody keeps changing.
pub(super) fn contested_by(key: &ObjectKey, manager: &str) -> Problem {
    let (kind, name) = (key.kind.name, &key.name);
    let message = match manager {
        UNNAMED => format!(
            "{kind} {name}, or a field of it, keeps being deleted; find and stop what does it: a second operator (another release), a controller, a pipeline or admission"
        ),
        FIELD_MANAGER => format!(
            "something else writes {kind} {name} under this operator's own field manager {FIELD_MANAGER}: most likely a second operator, of another release or with --no-leader-election; leave one over this namespace"
        ),
        manager => format!(
            "the field manager {manager} keeps changing {kind} {name}; stop it, or take the object out of its reach"
        ),
    };
    Problem::new(ProblemKind::Conflict, &*key.name, None, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::FIELD_MANAGER;
    use crate::engines::network_policy::{NETWORK_POLICY, fold};
    use crate::objects::digest::Digest;
    use serde_json::{Value, json};

    fn observed(managers: Value) -> Observed {
        let policy =
            json!({ "metadata": { "name": "daas-egress", "managedFields": managers }, "spec": { "podSelector": {} } });
        fold(&serde_json::from_value(policy).expect("a policy"))
    }

    fn written(manager: &str, time: &str) -> Value {
        json!({ "manager": manager, "operation": "Apply", "time": time, "fieldsV1": { "f:spec": { "f:egress": {} } } })
    }

    /// Two releases that lead at once were told as `keeps being deleted NetworkPolicy ..., or fields of it`.
    #[test]
    fn a_second_operator_shows_by_what_it_wrote_under_the_same_name() {
        let ours = observed(json!([written(FIELD_MANAGER, "2026-06-01T00:00:00Z")]));
        let left = Left { digest: Digest::of(&"policy").expect("a digest"), at: ours.written_at, held: ours.held };
        assert!(left.at.is_some() && left.held.is_some());
        let second = observed(json!([written(FIELD_MANAGER, "2026-06-01T00:00:07Z")]));
        assert_eq!(who_undid(Some(&left), Some(&second)), FIELD_MANAGER);
        let at_once = observed(json!([written(FIELD_MANAGER, "2026-06-01T00:00:00Z")]));
        assert_eq!(who_undid(Some(&left), Some(&at_once)), FIELD_MANAGER, "in the same second");
        // Another who takes fields out moves their own time, and leaves ours without the field.
        let mut without = written(FIELD_MANAGER, "2026-06-01T00:00:00Z");
        without["fieldsV1"] = json!({ "f:spec": { "f:policyTypes": {} } });
        let cut = observed(json!([written("kubectl-edit", "2026-06-01T00:00:07Z"), without]));
        assert_eq!(who_undid(Some(&left), Some(&cut)), UNNAMED);
        assert_eq!(who_undid(Some(&left), None), UNNAMED, "deleted");
        assert_eq!(who_undid(Some(&left), Some(&observed(json!([])))), UNNAMED, "managed fields cleared");
        assert_eq!(who_undid(Some(&Left { at: None, held: None, ..left }), Some(&second)), UNNAMED, "not known");
        let key = ObjectKey::new(&NETWORK_POLICY, "web", "daas-egress");
        let told = |manager| contested_by(&key, manager).message;
        assert!(told(FIELD_MANAGER).contains("most likely a second operator"), "{}", told(FIELD_MANAGER));
        assert!(told(UNNAMED).contains("keeps being deleted") && told(UNNAMED).contains("a second operator"));
        assert!(told("helm").starts_with("the field manager helm keeps changing"));
    }
}
