//! Who causes a conflict, as far as the cluster shows it, and its message. Pure.

use super::contention::LastWrite;
use crate::crd::{FIELD_MANAGER, Problem, ProblemKind};
use crate::objects::key::ObjectKey;
use crate::objects::observed::Observed;

/// A field manager that left no name.
pub(super) const UNNAMED: &str = "";

/// Who reverted the last write, where no other field manager owns a field of the object: our own name, or [`UNNAMED`].
///
/// Something wrote under our name if the time of its entry in the managed fields moved, or if the entry still owns every
/// field it owned. Example: `kubectl edit` takes a changed field from our entry, but a second operator leaves it there.
pub(super) fn reverted_by(last: Option<&LastWrite>, observed: Option<&Observed>) -> &'static str {
    let (Some(last), Some(observed)) = (last, observed) else { return UNNAMED };
    let is_later = last.at.zip(observed.written_at).is_some_and(|(ours, newest)| newest != ours);
    let owns_all = last.fields.is_some() && last.fields == observed.fields;
    if is_later || owns_all { FIELD_MANAGER } else { UNNAMED }
}

/// An object that is altered on write.
pub(super) fn altered(key: &ObjectKey) -> Problem {
    let (kind, name) = (key.kind.name, &key.name);
    let message = format!("{kind} {name} is altered on write, probably by an admission webhook or policy; exempt it");
    Problem::new(ProblemKind::Conflict, &**name, None, message)
}

/// An object that another client keeps changing.
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

    /// Two releases that led at once were reported as `keeps being deleted NetworkPolicy ..., or fields of it`.
    #[test]
    fn a_second_operator_shows_by_what_it_wrote_under_the_same_name() {
        let ours = observed(json!([written(FIELD_MANAGER, "2026-06-01T00:00:00Z")]));
        let digest = Digest::of(&"policy").expect("a digest");
        let last = LastWrite { digest, at: ours.written_at, fields: ours.fields };
        assert!(last.at.is_some() && last.fields.is_some());
        let second = observed(json!([written(FIELD_MANAGER, "2026-06-01T00:00:07Z")]));
        // Another manager that removes a field moves its own time, and leaves ours without the field.
        let mut without = written(FIELD_MANAGER, "2026-06-01T00:00:00Z");
        without["fieldsV1"] = json!({ "f:spec": { "f:policyTypes": {} } });
        let removed = observed(json!([written("kubectl-edit", "2026-06-01T00:00:07Z"), without]));
        let unknown = LastWrite { at: None, fields: None, ..last };
        for (last, observed, expected, case) in [
            (last, Some(second.clone()), FIELD_MANAGER, "later"),
            (last, Some(ours), FIELD_MANAGER, "in the same second"),
            (last, Some(removed), UNNAMED, "a field removed"),
            (last, None, UNNAMED, "deleted"),
            (last, Some(observed(json!([]))), UNNAMED, "managed fields cleared"),
            (unknown, Some(second), UNNAMED, "not known"),
        ] {
            assert_eq!(reverted_by(Some(&last), observed.as_ref()), expected, "{case}");
        }
        let key = ObjectKey::new(&NETWORK_POLICY, "web", "daas-egress");
        let message = |manager| contested_by(&key, manager).message;
        assert!(message(FIELD_MANAGER).contains("most likely a second operator"), "{}", message(FIELD_MANAGER));
        assert!(message(UNNAMED).contains("keeps being deleted") && message(UNNAMED).contains("a second operator"));
        assert!(message("helm").starts_with("the field manager helm keeps changing"));
    }
}
