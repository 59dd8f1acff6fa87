//! The health script, run by the Lua that Argo CD runs it in.

use std::fmt::Write as _;
use std::process::Command;

use serde_json::{Value, json};
use test_support::tools::workspace_root;

use crate::helm::run;

/// A JSON value as a Lua literal.
fn lua(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Object(map) => {
            let mut text = "{".to_owned();
            for (key, value) in map {
                write!(text, "[{}] = {}, ", Value::from(key.as_str()), lua(value)).unwrap();
            }
            text + "}"
        }
        Value::Array(items) => format!("{{{}}}", items.iter().map(lua).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn health(object: &Value) -> (String, String) {
    let script = std::fs::read_to_string(workspace_root().join("deploy/argocd/health.lua")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.lua");
    let program = format!(
        "obj = {}\nlocal hs = (function()\n{script}\nend)()\nprint(hs.status)\nprint(hs.message)\n",
        lua(object)
    );
    std::fs::write(&file, program).unwrap();
    let output = run(Command::new(test_support::tool("glua").unwrap()).arg(&file)).success();
    let mut lines = output.lines().map(str::to_owned);
    (lines.next().unwrap(), lines.next().unwrap_or_default())
}

fn allowlist(conditions: &Value) -> Value {
    json!({
        "metadata": {"name": "daas-us", "generation": 3},
        "spec": {"customerId": "testcustomer"},
        "status": {"observedGeneration": 3, "conditions": conditions},
    })
}

fn condition(kind: &str, status: &str, reason: &str, message: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": 3})
}

#[test]
fn ready_is_healthy_even_with_wildcards_left_over() {
    let wildcards = condition("WildcardsCovered", "False", "WildcardsUnenforceable", "5 wildcards");
    let ready = condition("Ready", "True", "Applied", "2 policies");
    let stalled = condition("Stalled", "False", "Applied", "");
    assert_eq!(
        health(&allowlist(&json!([wildcards, stalled, ready]))),
        ("Healthy".to_owned(), "2 policies".to_owned())
    );
}

#[test]
fn waiting_is_progressing_and_failing_is_degraded() {
    for (reason, expected) in [
        ("WaitingForFeed", "Progressing"),
        ("WaitingForNames", "Progressing"),
        ("Progressing", "Progressing"),
        ("ApplyFailed", "Degraded"),
        ("Conflict", "Degraded"),
        ("NoMatch", "Degraded"),
    ] {
        let object = allowlist(&json!([condition("Ready", "False", reason, "why")]));
        assert_eq!(health(&object), (expected.to_owned(), "why".to_owned()), "{reason}");
    }
    let reconciling = condition("Reconciling", "True", "Progressing", "");
    let object = allowlist(&json!([condition("Ready", "False", "ApplyFailed", "why"), reconciling]));
    assert_eq!(health(&object).0, "Progressing");
}

#[test]
fn stalled_is_degraded_whatever_ready_says() {
    let stalled = condition("Stalled", "True", "InvalidSpec", "podSelector: ...");
    let ready = condition("Ready", "Unknown", "Progressing", "");
    let object = allowlist(&json!([ready, stalled]));
    assert_eq!(health(&object), ("Degraded".to_owned(), "podSelector: ...".to_owned()));
}

#[test]
fn an_old_status_says_nothing_about_a_new_spec() {
    let mut object = allowlist(&json!([condition("Ready", "True", "Applied", "")]));
    object["metadata"]["generation"] = json!(4);
    assert_eq!(health(&object).0, "Progressing");
    object.as_object_mut().unwrap().remove("status");
    assert_eq!(health(&object).0, "Progressing");
    assert_eq!(health(&allowlist(&json!([]))).0, "Progressing");
}

#[test]
fn suspended_and_deleted_are_told_apart() {
    let mut object = allowlist(&json!([condition("Ready", "True", "Suspended", "")]));
    object["spec"]["suspend"] = json!(true);
    assert_eq!(health(&object).0, "Suspended");
    object["metadata"]["deletionTimestamp"] = json!("2026-11-22T09:00:00Z");
    assert_eq!(health(&object), ("Progressing".to_owned(), "Being deleted".to_owned()));
}
