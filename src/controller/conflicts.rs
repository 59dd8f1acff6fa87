//! Whose doing a conflict is, as far as the cluster tells, and how it is said. Pure.

use super::contention::Left;
use crate::crd::{FIELD_MANAGER, Problem, ProblemKind};
use crate::objects::key::ObjectKey;
use crate::objects::observed::Observed;

/// Stands for a field manager that left no name behind.
pub(super) const UNNAMED: &str = "";

/// Who undid what was left, where no other field manager holds a field of it: the operator's own name where something
/// wrote under it since, or nobody known.
pub(super) fn who_undid(left: Option<&Left>, observed: Option<&Observed>) -> &'static str {
    match (left.and_then(|left| left.at), observed.and_then(|observed| observed.written_at)) {
        (Some(ours), Some(newest)) if newest != ours => FIELD_MANAGER,
        _ => UNNAMED,
    }
}

/// An object that stays other than it is written.
pub(super) fn altered(key: &ObjectKey) -> Problem {
    let (kind, name) = (key.kind.as_str(), &key.name);
    let message = format!(
        "{kind} {name} stays other than it is written: look for an admission webhook or policy that alters it, and exempt it"
    );
    Problem::new(ProblemKind::Conflict, &**name, None, message)
}

/// An object that somebody keeps changing.
pub(super) fn contested_by(key: &ObjectKey, manager: &str) -> Problem {
    let (kind, name) = (key.kind.as_str(), &key.name);
    let message = match manager {
        UNNAMED => format!(
            "somebody keeps deleting {kind} {name}, or fields of it; look for a second operator (another release), a controller, a pipeline or admission that does, and stop it"
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
    use crate::objects::digest::Digest;
    use crate::objects::key::Kind;
    use crate::objects::observed::fold_policy;
    use serde_json::{Value, json};

    fn observed(managers: Value) -> Observed {
        let policy =
            json!({ "metadata": { "name": "daas-egress", "managedFields": managers }, "spec": { "podSelector": {} } });
        fold_policy(&serde_json::from_value(policy).expect("a policy"))
    }

    fn written(manager: &str, time: &str) -> Value {
        json!({ "manager": manager, "operation": "Apply", "time": time, "fieldsV1": { "f:spec": { "f:egress": {} } } })
    }

    /// Two releases that lead at once were told as `somebody keeps deleting NetworkPolicy ..., or fields of it`.
    #[test]
    fn a_second_operator_shows_by_when_it_wrote_under_the_same_name() {
        let ours = observed(json!([written(FIELD_MANAGER, "2026-06-01T00:00:00Z")]));
        let left = Left { digest: Digest::of(&"policy").expect("a digest"), at: ours.written_at };
        assert!(left.at.is_some());
        let second = observed(json!([written(FIELD_MANAGER, "2026-06-01T00:00:07Z")]));
        assert_eq!(who_undid(Some(&left), Some(&second)), FIELD_MANAGER);
        // Another who takes fields out moves their own time, and leaves ours.
        let cut = observed(json!([
            written("kubectl-edit", "2026-06-01T00:00:07Z"),
            written(FIELD_MANAGER, "2026-06-01T00:00:00Z")
        ]));
        assert_eq!(who_undid(Some(&left), Some(&cut)), UNNAMED);
        assert_eq!(who_undid(Some(&left), None), UNNAMED, "deleted");
        assert_eq!(who_undid(Some(&Left { at: None, ..left }), Some(&second)), UNNAMED, "not known");
        let key = ObjectKey::new(Kind::Policy, "web", "daas-egress");
        let told = |manager| contested_by(&key, manager).message;
        assert!(told(FIELD_MANAGER).contains("most likely a second operator"), "{}", told(FIELD_MANAGER));
        assert!(told(UNNAMED).starts_with("somebody keeps deleting") && told(UNNAMED).contains("a second operator"));
        assert!(told("helm").starts_with("the field manager helm keeps changing"));
    }
}
