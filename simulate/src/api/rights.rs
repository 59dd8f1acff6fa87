//! Role-based access: which account may do what.

use super::call::Call;
use super::failure::{ApiFailure, Subject};
use serde_json::Value;
use std::collections::BTreeMap;

/// The rights of every account. An account without rights may do nothing.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    rules: BTreeMap<String, Vec<Rule>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    namespace: Option<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    verbs: Vec<String>,
    names: Vec<String>,
}

fn is_one(listed: &[String], wanted: &str) -> bool {
    listed.iter().any(|one| one == "*" || one == wanted)
}

impl Rights {
    /// Grants the rules of a Role (with its namespace) or a ClusterRole (without), as their JSON has them.
    pub fn grant(&mut self, account: &str, namespace: Option<&str>, rules: &[Value]) {
        let strings = |rule: &Value, key: &str| -> Vec<String> {
            let listed = rule.get(key).and_then(Value::as_array).into_iter().flatten();
            listed.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let granted = rules.iter().map(|rule| Rule {
            namespace: namespace.map(str::to_owned),
            groups: strings(rule, "apiGroups"),
            resources: strings(rule, "resources"),
            verbs: strings(rule, "verbs"),
            names: strings(rule, "resourceNames"),
        });
        self.rules.entry(account.to_owned()).or_default().extend(granted);
    }

    /// Grants everything.
    pub fn grant_all(&mut self, account: &str) {
        let all = serde_json::json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] });
        self.grant(account, None, &[all]);
    }

    /// Takes a verb on a resource (such as `pods`, or `citrixallowlists/status`) from an account.
    pub fn revoke(&mut self, account: &str, resource: &str, verb: &str) {
        for rule in self.rules.get_mut(account).into_iter().flatten() {
            if is_one(&rule.resources, resource) {
                rule.verbs.retain(|granted| granted != verb);
            }
        }
    }

    /// Whether the caller may do it.
    #[must_use]
    pub fn allow(&self, call: &Call) -> bool {
        let resource = call.resource();
        let of_account = self.rules.get(&call.account).into_iter().flatten();
        of_account.into_iter().any(|rule| {
            rule.namespace.as_ref().is_none_or(|namespace| Some(namespace) == call.namespace.as_ref())
                && is_one(&rule.groups, &call.group)
                && is_one(&rule.resources, &resource)
                && is_one(&rule.verbs, call.verb)
                && (rule.names.is_empty() || call.named().is_some_and(|name| rule.names.iter().any(|one| one == name)))
        })
    }
}

/// The refusal of a call without the right to it.
pub(super) fn refusal(call: &Call) -> ApiFailure {
    let place = match &call.namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".to_owned(),
    };
    let resource = call.resource();
    let why = format!(
        "User {:?} cannot {} resource {resource:?} in API group {:?} {place}",
        call.account, call.verb, call.group
    );
    let subject = Subject { group: &call.group, kind: &call.plural, name: call.named().unwrap_or_default() };
    ApiFailure::forbidden(subject, &why)
}
