//! Manifests, as `render`, `diff` and the KRM function read them, and what they print of them.

use super::sight::{assert_calm, is_calm};
use citrix_allowlist::crd::CitrixAllowlist;
use citrix_allowlist::facts::ClusterFacts;
use citrix_allowlist::guard::{Guard, GuardSettings, Origin};
use citrix_allowlist::manifests::document::{Documents, ManifestDocument, ManifestError};
use citrix_allowlist::manifests::items::{Checks, Item, Refused};
use citrix_allowlist::manifests::validate::Validator;
use citrix_allowlist::plan::{self, Target};
use citrix_allowlist::text::output::{Form, Printer};
use connectivity_allowlist::Allowlist;
use connectivity_allowlist::document::{Reading, parse};
use connectivity_allowlist::net::cidr;
use serde_json::Value;
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::LazyLock;

thread_local! {
    /// Made once: that takes longer than most inputs.
    static VALIDATOR: OnceCell<Rc<Validator>> = const { OnceCell::new() };
}

/// A small one: what a long one makes is the list's own matter.
static LIST: LazyLock<Allowlist> = LazyLock::new(|| {
    let list = include_bytes!("../../tests/cli/data/list.json");
    parse(list, &Reading::for_customer("testcustomer")).expect("a list").allowlist
});
static GUARD: LazyLock<Guard> = LazyLock::new(|| Guard::new(GuardSettings::default(), &ClusterFacts::default()));

fn checks() -> Checks {
    let made = || Rc::new(Validator::new().expect("the CRD's schema is one"));
    Checks::by(VALIDATOR.with(|held| Rc::clone(held.get_or_init(made))))
}

/// Reads, checks and prints every document of an input.
pub fn judge(input: &[u8]) {
    let mut checks = checks();
    for document in Documents::new("input.yaml", input) {
        let Ok(document) = document else { return };
        match document.objects() {
            Ok((objects, notes)) => {
                assert!(notes.iter().all(|note| note.starts_with("input.yaml:")), "{notes:?}");
                for object in &objects {
                    check_printing(&object.value);
                }
                match checks.check(&document, objects, false) {
                    Ok(items) => items.iter().for_each(check_item),
                    Err(error) => check_refusal(&error, &document),
                }
            }
            Err(error) => check_place(&error, &document),
        }
    }
}

/// An error names a line of its document.
fn check_place(error: &ManifestError, document: &ManifestDocument) {
    // To YAML, either character ends a line.
    let lines = document.text.split(['\n', '\r']).count();
    assert!((document.first_line..=document.first_line + lines).contains(&error.line), "{error} of {lines} lines");
}

fn check_refusal(error: &anyhow::Error, document: &ManifestDocument) {
    let Some(Refused(lines)) = error.downcast_ref() else { return };
    assert!(!lines.is_empty());
    let length: usize = lines.iter().map(String::len).sum();
    assert!(length <= 4096 + 64 * document.text.len(), "{length} bytes say what is wrong with {}", document.text.len());
}

fn check_item(item: &Item) {
    let Item::Ours(read) = item else { return };
    check_again(&read.resource);
    let selection = plan::select(&read.resource.spec, &LIST, &GUARD, &std::sync::Arc::default());
    for endpoint in &selection.endpoints {
        if let Target::Network(network) = &endpoint.target {
            assert!(GUARD.check_network(*network, endpoint.origin).is_ok(), "{network} of {:?}", endpoint.origin);
            assert!(endpoint.origin == Origin::User || network.prefix_len() >= 8);
        }
    }
    // A quarter of IPv4 at most is opened by CIDRs of the user's own.
    let own = selection.endpoints.iter().filter_map(|endpoint| match &endpoint.target {
        Target::Network(network) if endpoint.origin == Origin::User && network.addr().is_ipv4() => {
            Some((endpoint.direction, *network))
        }
        _ => None,
    });
    let own: Vec<_> = own.collect();
    for direction in connectivity_allowlist::net::Direction::ALL {
        let networks = own.iter().filter(|(of, _)| *of == direction).map(|(_, network)| *network);
        let sum: u128 = cidr::canonical_set(networks).iter().map(cidr::addresses).sum();
        assert!(sum <= 1 << 30, "{sum} addresses");
    }
    for problem in &selection.problems {
        assert_calm(&problem.message);
        assert_calm(&problem.subject);
    }
}

/// A resource that was taken is taken again as it came out.
fn check_again(resource: &CitrixAllowlist) {
    let written = serde_json::to_string(resource).expect("JSON");
    let again = objects(&written).and_then(|(document, objects)| checks().check(&document, objects, true).ok());
    let Some([Item::Ours(read)]) = again.as_deref() else { panic!("it is not taken again: {written}") };
    assert_eq!(serde_json::to_value(&read.resource).ok(), serde_json::to_value(resource).ok());
}

type Objects = (ManifestDocument, Vec<citrix_allowlist::manifests::document::Object>);

fn objects(text: &str) -> Option<Objects> {
    let document = Documents::new("again.yaml", text.as_bytes()).next()?.ok()?;
    let (objects, _) = document.objects().ok()?;
    Some((document, objects))
}

/// What is printed of an object of any kind reads the same, and nothing in it acts on a terminal.
fn check_printing(value: &Value) {
    for form in [Form::Yaml, Form::Json] {
        let mut out = Vec::new();
        Printer::new(&mut out, form).object(value).expect("memory takes it");
        let text = String::from_utf8(out).expect("text");
        for line in text.split('\n') {
            assert!(is_calm(&line.replace('\t', " ")), "{line:?}");
        }
        // What is empty, or a list of objects, stands for nothing or for several.
        let is_list = value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
        if is_list || value.as_object().is_none_or(|fields| fields.is_empty()) {
            continue;
        }
        let again =
            objects(&text).map(|(_, objects)| objects.into_iter().map(|object| object.value).collect::<Vec<_>>());
        assert_eq!(again.as_deref(), Some(std::slice::from_ref(value)), "{text}");
    }
}
