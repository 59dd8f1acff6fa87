//! What would change, for people and for programs. Pure.

use super::openings::{Attributed, attribute, difference};
use crate::crd::{ALLOWLIST_LABEL, CitrixAllowlist, MANAGED_BY_LABEL};
use crate::export::{ExportedEndpoint, config_maps, endpoints};
use crate::objects::desired::Desired;
use crate::objects::key::ObjectKey;
use crate::pipeline::MOST_PODS;
use crate::plan::RememberedRule;
use crate::status::plural;
use crate::text::{Style, Tone, WIDTH, first_of, table, wrap};
use connectivity_allowlist::net::Direction;
use connectivity_allowlist::visible::visible;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The version of the schema that `-o json|yaml` prints.
pub const SCHEMA: &str = "citrix-allowlist.io/diff/v1";

/// What would change for one resource.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiffReport {
    /// The schema's name and version.
    pub schema: &'static str,
    /// The resource's namespace.
    pub namespace: String,
    /// The resource's name.
    pub name: String,
    /// What is opened and closed.
    pub openings: Vec<Line>,
    /// Which objects change, and in what.
    pub objects: Vec<ObjectChange>,
    /// Pods that no policy isolates yet, and that these would, as `name (egress)`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub newly_isolated_pods: Vec<String>,
    /// Notes: what delays or prevents a change, or explains it; each a sentence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One network that is opened or closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// `added` or `removed`.
    pub change: &'static str,
    /// `outbound` or `inbound`.
    pub direction: &'static str,
    /// The service that needs, or needed, it; absent where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The name or network that needs, or needed, it; absent where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The network.
    pub cidr: String,
    /// Its ports, as `TCP 80,443; UDP 123`.
    pub ports: String,
}

/// One object that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectChange {
    /// `NetworkPolicy` or `ConfigMap`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// `created`, `changed`, `deleted`, or `conflict`: another owner's object has the name.
    pub change: &'static str,
    /// The changed parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

impl DiffReport {
    /// The changes of `resource` from `live` to `desired`. `foreign` names objects of other owners.
    #[must_use]
    pub fn of(
        resource: &CitrixAllowlist,
        live: &[(ObjectKey, Desired)],
        desired: &[(ObjectKey, Desired)],
        foreign: &BTreeSet<(&'static str, String)>,
    ) -> Self {
        let (before, after) = (allowed(live), allowed(desired));
        let (known_before, known_after) = (endpoints(&config_maps(live)), endpoints(&config_maps(desired)));
        let mut openings = lines("removed", &difference(&before, &after), &known_before);
        openings.extend(lines("added", &difference(&after, &before), &known_after));
        openings.sort_by(|a, b| key(a).cmp(&key(b)));
        Self {
            schema: SCHEMA,
            namespace: resource.namespace().unwrap_or_default(),
            name: resource.name_any(),
            openings,
            objects: object_changes(&compared(live), &compared(desired), foreign),
            newly_isolated_pods: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A note on closed networks that nothing explains: an operator that has just started finds them in its own policies, and
    /// does not know for which name they were.
    #[must_use]
    pub fn unexplained(&self) -> Option<String> {
        let count = self.openings.iter().filter(|line| line.change == "removed" && line.service.is_none()).count();
        let belong = plural(count, "belongs to", "belong to");
        (count > 0).then(|| {
            format!(
                "{count} of the networks to be removed {belong} no name or entry: an operator that has just started keeps them for spec.addressRetention first"
            )
        })
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.openings.is_empty() && self.objects.is_empty()
    }

    /// The report for people, in at most 80 columns where names and addresses allow; empty where nothing changes.
    #[must_use]
    pub fn shown(&self, style: Style) -> String {
        if self.is_empty() {
            return String::new();
        }
        let name = format!("{}/{}", self.namespace, self.name);
        let mut text = style.paint(Tone::Bold, &visible(&name)) + "\n";
        for direction in Direction::ALL {
            let rows: Vec<&Line> = self.openings.iter().filter(|line| line.direction == direction.as_str()).collect();
            if rows.is_empty() {
                continue;
            }
            let cells = |line: &&Line| {
                let sign = if line.change == "added" { "+" } else { "-" };
                let unknown = || "?".to_owned();
                let service = line.service.clone().unwrap_or_else(unknown);
                let name = line.name.clone().unwrap_or_else(unknown);
                let what = if name == line.cidr { name } else { format!("{name} {}", line.cidr) };
                vec![sign.to_owned(), service, line.ports.clone(), what]
            };
            let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
            text.push_str(&format!("\n{direction}\n"));
            let mut sign = None;
            for line in table(&["", "SERVICE", "PORTS", "NAME AND NETWORK"], &rows).lines() {
                // A continued line has the colour of the one before.
                sign = line.chars().next().filter(|first| *first != ' ').or(sign);
                text.push_str(&painted(sign, line, style));
            }
        }
        if !self.objects.is_empty() {
            let row = |object: &ObjectChange| {
                let fields = object.fields.join(", ");
                vec![object.change.to_owned(), object.kind.to_owned(), object.name.clone(), fields]
            };
            let rows: Vec<Vec<String>> = self.objects.iter().map(row).collect();
            text.push('\n');
            text.push_str(&table(&["CHANGE", "KIND", "NAME", "IN"], &rows));
        }
        let isolated = (!self.newly_isolated_pods.is_empty()).then(|| {
            let pods = first_of(self.newly_isolated_pods.iter().cloned(), MOST_PODS);
            format!("Isolated for the first time, so that all else is cut: {pods}")
        });
        for note in isolated.into_iter().chain(self.notes.iter().map(|note| format!("note: {note}"))) {
            text.push('\n');
            for line in wrap(&note, WIDTH) {
                text.push_str(&style.paint(Tone::Notable, &line));
                text.push('\n');
            }
        }
        text
    }
}

/// A line that begins with this sign, in its colour.
fn painted(sign: Option<char>, line: &str, style: Style) -> String {
    let line = match sign {
        Some('+') => style.paint(Tone::Good, line),
        Some('-') => style.paint(Tone::Bad, line),
        _ => line.to_owned(),
    };
    line + "\n"
}

fn key(line: &Line) -> (&'static str, &Option<String>, &Option<String>, &str, &str) {
    (line.direction, &line.service, &line.name, line.change, &line.cidr)
}

fn lines(change: &'static str, openings: &[super::openings::Opening], known: &[ExportedEndpoint]) -> Vec<Line> {
    let line = |one: Attributed| Line {
        change,
        direction: one.direction.as_str(),
        service: one.service,
        name: one.name,
        cidr: one.network.to_string(),
        ports: one.ports.to_string(),
    };
    attribute(openings, known).into_iter().map(line).collect()
}

/// The rules of the policies among objects.
fn allowed(objects: &[(ObjectKey, Desired)]) -> Vec<RememberedRule> {
    let rules = |(key, object): &(ObjectKey, Desired)| Some((key.kind.policy?.rules)(&object.body.json));
    objects.iter().filter_map(rules).flatten().collect()
}

fn compared(objects: &[(ObjectKey, Desired)]) -> BTreeMap<ObjectKey, BTreeMap<&'static str, Value>> {
    let compared = |(key, object): &(ObjectKey, Desired)| {
        let parts = (key.kind.parts)(&object.body.json).into_iter();
        (key.clone(), parts.chain([("labels", labels(&object.metadata))]).collect())
    };
    objects.iter().map(compared).collect()
}

fn labels(metadata: &ObjectMeta) -> Value {
    let label = |label| (label, metadata.labels.as_ref().and_then(|labels| labels.get(label)));
    json!(BTreeMap::from([ALLOWLIST_LABEL, MANAGED_BY_LABEL].map(label)))
}

fn object_changes(
    before: &BTreeMap<ObjectKey, BTreeMap<&'static str, Value>>,
    after: &BTreeMap<ObjectKey, BTreeMap<&'static str, Value>>,
    foreign: &BTreeSet<(&'static str, String)>,
) -> Vec<ObjectChange> {
    // In the order in which they are written.
    let keys: BTreeSet<&ObjectKey> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for key in keys {
        let (kind, name) = (key.kind.name, key.name.to_string());
        let (change, fields) = match (before.get(key), after.get(key)) {
            (None, Some(_)) if foreign.contains(&(kind, name.clone())) => {
                ("conflict", vec!["it belongs to another owner".to_owned()])
            }
            (None, Some(_)) => ("created", Vec::new()),
            (Some(_), None) => ("deleted", Vec::new()),
            (Some(before), Some(after)) => {
                let differs = |field: &&&'static str| before.get(**field) != after.get(**field);
                let fields: Vec<String> = after.keys().filter(differs).map(|field| (*field).to_owned()).collect();
                ("changed", fields)
            }
            (None, None) => continue,
        };
        if change != "changed" || !fields.is_empty() {
            changes.push(ObjectChange { kind, name, change, fields });
        }
    }
    changes
}

/// The objects as YAML, with the operator's fields alone, for a comparison line by line.
///
/// # Errors
/// Where an object does not serialise, which none fails to.
pub fn raw(objects: &[(ObjectKey, Desired)]) -> anyhow::Result<String> {
    let mut text = String::new();
    for (key, object) in objects {
        let kind = key.kind;
        let value = json!({
            "apiVersion": kind.api_version(),
            "kind": kind.name,
            "metadata": { "name": key.name, "labels": labels(&object.metadata) },
            kind.body: (kind.owned)(&object.body.json),
        });
        text.push_str("---\n");
        text.push_str(&crate::text::output::yaml(&value)?);
    }
    Ok(text)
}

/// Two texts line by line, as `diff -u` prints them; empty where they are the same.
#[must_use]
pub fn unified(before: &str, after: &str, style: Style) -> String {
    let mut options = diffy::DiffOptions::new();
    options.set_original_filename("live").set_modified_filename("would be");
    let difference = options.create_patch(before, after);
    if difference.hunks().is_empty() {
        return String::new();
    }
    let text = difference.to_string();
    text.lines().map(visible).map(|line| painted(line.chars().next(), &line, style)).collect()
}
