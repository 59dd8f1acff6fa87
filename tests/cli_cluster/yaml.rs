//! Whether YAML is read here as kubectl and the API server read it: thousands of generated texts, in batches, both ways.

use super::{kubectl, root};
use fastrand::Rng;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use test_support::ControlPlane;

/// What the generator starts from, so that every run sees the same texts.
const SEED: u64 = 20_261_128;
/// How many texts are read by both.
const CASES: usize = 5000;
/// The most of these that kubectl may refuse: each is given to a run of its own here.
const MOST_REFUSED: usize = 900;

/// Reads a folder with kubectl, without a cluster: the value of each case that it takes.
fn by_kubectl(folder: &Path) -> BTreeMap<String, Value> {
    let output = Command::new(test_support::tools::tool("kubectl").expect("kubectl"))
        .args(["label", "--local", "-o", "json", "-f"])
        .arg(folder)
        .arg("read=true")
        .env("KUBECONFIG", "/dev/null")
        .output()
        .expect("kubectl runs");
    values(&output.stdout)
}

/// The value of each object in a stream of JSON, by its name.
fn values(json: &[u8]) -> BTreeMap<String, Value> {
    let objects: Result<Vec<Value>, _> = serde_json::Deserializer::from_slice(json).into_iter().collect();
    let objects = objects.expect("JSON").into_iter();
    objects
        .map(|mut object| {
            let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
            let mut value = object.as_object_mut().expect("an object").remove("value").unwrap_or(Value::Null);
            large_numbers(&mut value);
            (name, value)
        })
        .collect()
}

/// Above the largest whole number of 64 bits with a sign, kubectl has numbers of 53, and writes them without an exponent.
fn large_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if !number.is_i64() => *value = number.as_f64().into(),
        Value::Array(items) => items.iter_mut().for_each(large_numbers),
        Value::Object(fields) => fields.values_mut().for_each(large_numbers),
        _ => {}
    }
}

/// Reads manifests with this program.
fn by_us(path: &Path) -> Result<BTreeMap<String, Value>, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_citrix-allowlist"))
        .args(["render", "--pass-through", "-o", "json", "-f"])
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    if output.status.success() {
        Ok(values(&output.stdout))
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn case(number: usize, value: &str) -> String {
    format!("apiVersion: cases.example.com/v1\nkind: Case\nmetadata: {{ name: case-{number} }}\n{value}\n")
}

#[test]
fn yaml_is_read_as_kubectl_reads_it() {
    println!("seed {SEED}");
    let mut random = Rng::with_seed(SEED);
    let folder = tempfile::tempdir().expect("a folder");
    let (all, taken) = (folder.path().join("all"), folder.path().join("taken"));
    std::fs::create_dir(&all).expect("a folder");
    std::fs::create_dir(&taken).expect("a folder");
    let mut texts = BTreeMap::new();
    for (number, value) in
        KNOWN.iter().map(|known| (*known).to_owned()).chain((0..CASES).map(|_| document(&mut random))).enumerate()
    {
        let text = case(number, &value);
        std::fs::write(all.join(format!("case-{number}.yaml")), &text).expect("a file");
        texts.insert(format!("case-{number}"), text);
    }
    let expected = by_kubectl(&all);
    assert!(expected.len() > texts.len() / 2, "kubectl takes {} of {}", expected.len(), texts.len());
    for name in expected.keys() {
        std::fs::hard_link(all.join(format!("{name}.yaml")), taken.join(format!("{name}.yaml"))).expect("a link");
    }
    let mut wrong = Vec::new();
    let found = by_us(&taken).unwrap_or_else(|_| {
        // One of many is refused: which ones are?
        let one = |name: &String| by_us(&taken.join(format!("{name}.yaml")));
        expected
            .keys()
            .filter_map(|name| match one(name) {
                Ok(found) => found.into_iter().next(),
                Err(error) => {
                    wrong.push(format!("{}refused here: {error}and not by kubectl: {}\n", texts[name], expected[name]));
                    None
                }
            })
            .collect()
    });
    for (name, value) in &found {
        if *value != expected[name] {
            wrong.push(format!("{}here: {value}\nkubectl: {}\n", texts[name], expected[name]));
        }
    }
    let refused: Vec<&String> = texts.keys().filter(|name| !expected.contains_key(*name)).collect();
    println!("{} texts, {} refused by kubectl", texts.len(), refused.len());
    assert!(refused.len() <= MOST_REFUSED, "kubectl refuses {} of {}", refused.len(), texts.len());
    for name in refused {
        if let Ok(found) = by_us(&all.join(format!("{name}.yaml"))) {
            wrong.push(format!("{}refused by kubectl, and here: {found:?}\n", texts[name]));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ (seed {SEED})\n{}", wrong.len(), texts.len(), wrong.join("\n"));
}

#[test]
fn what_is_printed_as_yaml_is_read_by_kubectl_as_the_same_texts() {
    println!("seed {SEED}");
    let mut random = Rng::with_seed(SEED + 1);
    let mut items = vec![json!({
        "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist",
        "metadata": { "name": "one", "namespace": "citrix" }, "spec": { "customerId": "testcustomer" },
    })];
    let mut given = BTreeMap::new();
    for number in 0..200 {
        let mut value = Map::new();
        for _ in 0..20 {
            let mut text = || match random.u8(..3) {
                0 => scalar(&mut random),
                1 => WORDS[random.usize(..WORDS.len())].to_owned(),
                _ => (0..random.usize(..12)).map(|_| MARKS[random.usize(..MARKS.len())]).collect(),
            };
            let (key, text) = (text(), text());
            value.insert(key, text.into());
        }
        let name = format!("case-{number}");
        items.push(json!({
            "apiVersion": "cases.example.com/v1", "kind": "Case", "metadata": { "name": name }, "value": value,
        }));
        given.insert(name, Value::Object(value));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
    std::fs::write(folder.path().join("list.json"), list.to_string()).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_citrix-allowlist"))
        .args([
            "render",
            "--pass-through",
            "--feed",
            "tests/cli/data/list.json",
            "--hosts",
            "tests/cli/data/hosts",
            "-f",
        ])
        .arg(folder.path().join("list.json"))
        .current_dir(root())
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = folder.path().join("printed");
    std::fs::create_dir(&printed).expect("a folder");
    std::fs::write(printed.join("all.yaml"), &output.stdout).expect("a file");
    let mut read = by_kubectl(&printed);
    read.retain(|name, _| name.starts_with("case-"));
    assert_eq!(read.len(), given.len());
    for (name, value) in &given {
        assert_eq!(&read[name], value, "{name} (seed {SEED})");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scalars_are_what_the_api_server_stores() {
    println!("seed {SEED}");
    let control_plane = test_support::shared_control_plane().await.expect("a control plane");
    let namespace = control_plane.fresh_namespace("yaml").await.expect("a namespace");
    cases(control_plane).await;
    let mut random = Rng::with_seed(SEED + 2);
    let folder = tempfile::tempdir().expect("a folder");
    let scalars: Vec<String> = (0..4000).map(|_| plain(&mut random)).collect();
    // What JSON cannot say, kubectl refuses as a whole: it is seen above.
    let is_sayable =
        |text: &&String| !text.trim_start_matches(['+', '-']).starts_with(".inf") && !text.eq_ignore_ascii_case(".nan");
    let scalars: Vec<&String> =
        scalars.iter().filter(is_sayable).filter(|text| !text.to_lowercase().ends_with(".inf")).collect();
    let client = control_plane.client().await.expect("a client");
    for (number, chunk) in scalars.chunks(500).enumerate() {
        let lines: Vec<String> = chunk.iter().enumerate().map(|(at, text)| format!("  v{at}: {text}\n")).collect();
        let text = case(number, &format!("value:\n{}", lines.concat()))
            .replace("name: case-", &format!("namespace: {}, name: case-", &*namespace));
        let path = folder.path().join("case.yaml");
        std::fs::write(&path, &text).expect("a file");
        let here = by_us(&path).expect("read").remove(&format!("case-{number}")).expect("the case");
        let applied = kubectl(control_plane, &["create", "--dry-run=server", "-o", "json", "-f", "-"], &text).await;
        let applied = values(applied.success().expect("taken").as_bytes());
        assert_eq!(applied[&format!("case-{number}")], here, "by kubectl (seed {SEED})");
        // Without kubectl, the API server reads YAML itself.
        let request =
            http::Request::post(format!("/apis/cases.example.com/v1/namespaces/{}/cases?dryRun=All", &*namespace))
                .header("Content-Type", "application/yaml")
                .body(text.into_bytes())
                .expect("a request");
        let answer = client.request_text(request).await.expect("taken");
        assert_eq!(values(answer.as_bytes())[&format!("case-{number}")], here, "by the API server (seed {SEED})");
    }
}

/// Has the API server take cases with any value.
async fn cases(control_plane: &ControlPlane) {
    let definition = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: { name: cases.cases.example.com }
spec:
  group: cases.example.com
  names: { plural: cases, singular: case, kind: Case, listKind: CaseList }
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: { openAPIV3Schema: { type: object, x-kubernetes-preserve-unknown-fields: true } }
";
    kubectl(control_plane, &["apply", "-f", "-"], definition).await.success().expect("a definition");
    let established = ["wait", "--for=condition=Established", "crd/cases.cases.example.com", "--timeout=30s"];
    kubectl(control_plane, &established, "").await.success().expect("established");
}

/// Texts that have meant something else somewhere.
const KNOWN: [&str; 40] = [
    "value: 1234e567",
    "value: 123456e78901",
    "value: 0443",
    "value: 1e3",
    "value: 443.0",
    "value: 017",
    "value: 0o17",
    "value: 0b1",
    "value: 0b-1",
    "value: 1_000",
    "value: .5_0",
    "value: yes",
    "value: {y: n, on: off, ~: null}",
    "value: ~",
    "value: .inf",
    "value: .NaN",
    "value: =",
    "value: <<",
    "value: 2026-01-02T03:04:05Z",
    "value: 190:20:30",
    "value: !!binary aGVsbG8=",
    "value: !!binary /4A=",
    "value: !!str 1",
    "value: ! 1",
    "value: !!int 1.0",
    "value: !!float 1",
    "value: !!timestamp 2026-01-02",
    "value: !!timestamp soon",
    "value: {1: a, 1.5: b, true: c, .inf: d, 1e6: e}",
    "value: {a: 1, a: 2}",
    "value: &a {b: *a}",
    "value: [&a 1, &a 2, *a]",
    "base: &b {k: 1, l: 2}\nvalue: {k: 9, <<: *b}",
    "base: &b {k: 1, l: 2}\nvalue: {<<: *b, k: 9}",
    "base: &b {k: 1}\nother: &o {k: 2, m: 3}\nvalue: {<<: [*b, *o]}",
    "value: {<<: 1}",
    "value: |+\n  a\n\n\n",
    "value: >-\n  a\n   b\n\n  c",
    "value: 18446744073709551615",
    "value: 18446744073709551616",
];

const WORDS: [&str; 48] = [
    "",
    "~",
    "null",
    "Null",
    "NULL",
    "nULL",
    "y",
    "Y",
    "n",
    "N",
    "yes",
    "Yes",
    "YES",
    "yEs",
    "no",
    "No",
    "on",
    "ON",
    "off",
    "Off",
    "true",
    "True",
    "TRUE",
    "tRUE",
    "false",
    "False",
    ".nan",
    ".NaN",
    ".NAN",
    ".nAN",
    ".inf",
    ".Inf",
    "-.INF",
    "+.inf",
    ".iNF",
    "inf",
    "nan",
    "=",
    "<<",
    "-",
    ".",
    "..",
    "+",
    "2026-01-02",
    "2026-1-2 3:4:5",
    "12:30:45",
    "0x",
    "1e",
];
const NUMERIC: &[u8] = b"00112345679+-._eExXobBaF";
const MARKS: [&str; 24] = [
    "a", "B", "7", " ", "-", ":", "#", ",", "[", "}", "\"", "'", "\\", "\n", "\t", "é", "ブ", "\u{1b}", "\u{85}",
    "\u{2028}", "!", "&", "*", "%",
];

/// A scalar that looks like something, or nearly.
fn scalar(random: &mut Rng) -> String {
    let digits =
        |random: &mut Rng, most: usize| -> String { (0..random.usize(1..=most)).map(|_| random.digit(10)).collect() };
    match random.u8(..12) {
        0 => WORDS[random.usize(..WORDS.len())].to_owned(),
        1 => format!("{}e{}", digits(random, 7), digits(random, 4)),
        2 => format!("{}.{}", digits(random, 4), digits(random, 3)),
        3 => format!("0{}", digits(random, 6)),
        4 => format!("0{}{}", ["x", "o", "b", "X", "B", "O"][random.usize(..6)], digits(random, 5)),
        5 => format!("{}{}", ["", "-", "+"][random.usize(..3)], digits(random, 22)),
        6 => format!("{}_{}", digits(random, 3), digits(random, 3)),
        7 => format!(
            "{}-{}-{}{}",
            digits(random, 4),
            digits(random, 2),
            digits(random, 2),
            ["", "T1:2:3Z", " 1:2:3"][random.usize(..3)]
        ),
        8 => format!(".{}", digits(random, 4)),
        _ => (0..random.usize(1..9)).map(|_| char::from(NUMERIC[random.usize(..NUMERIC.len())])).collect(),
    }
}

/// A scalar as it may stand without quotes.
fn plain(random: &mut Rng) -> String {
    loop {
        let text = scalar(random);
        if text != "-" && !text.starts_with("- ") && !text.starts_with("---") {
            return text;
        }
    }
}

/// A scalar in any of its forms, for a place at an indentation of two within a flow or a block.
fn written(random: &mut Rng) -> String {
    let text = plain(random);
    match random.u8(..14) {
        0 => format!("'{text}'"),
        1 => format!("\"{text}\\t\\x41\\u00e9\\n\\\"\\\\\""),
        2 => format!(
            "!!{} {text}",
            ["str", "int", "float", "bool", "null", "binary", "timestamp", "set"][random.usize(..8)]
        ),
        3 => format!("!!{} '{text}'", ["str", "int", "float"][random.usize(..3)]),
        4 => format!("!{} {text}", ["", "local", "<tag:yaml.org,2002:str>"][random.usize(..3)]),
        5 => format!("{text}   # remark"),
        6 => format!("&anchor {text}"),
        _ => text,
    }
}

/// The entries of one case, `value` among them.
fn document(random: &mut Rng) -> String {
    match random.u8(..22) {
        0 => format!("value: [{}, {}, {}]", written(random), written(random), written(random)),
        1 => format!("value: {{a: {}, {}: b}}", written(random), plain(random)),
        2 => format!("value:\n  {}: a\n  {}: b", plain(random), written(random)),
        3 => format!("value:\n- {}\n-  {}\n- - {}\n  - a", written(random), plain(random), plain(random)),
        4 => {
            let header = ["|", "|-", "|+", ">", ">-", ">+", "|2", ">2-"][random.usize(..8)];
            format!(
                "value: {header}\n  {}\n   {}\n\n  {}\n{}",
                plain(random),
                plain(random),
                plain(random),
                "\n".repeat(random.usize(..3))
            )
        }
        5 => format!("base: &b {}\nvalue: [*b, {}, *b]", written(random).replace("&anchor ", ""), plain(random)),
        6 => {
            let maps = ["*b", "[*b, *o]", "[*o, *b]", "{l: 5}", "[{l: 6}, *o]"];
            let merge = format!("<<: {}", maps[random.usize(..maps.len())]);
            let own = format!("{}: own", ["k", "l", "m"][random.usize(..3)]);
            let entries = if random.bool() { [merge, own] } else { [own, merge] };
            let value = plain(random);
            format!(
                "base: &b {{k: 1, l: 2}}\nother: &o {{l: {value}, m: 4}}\nvalue:\n  {}\n  {}",
                entries[0], entries[1]
            )
        }
        7 => {
            let key = ["k", "1", "1.0", "true"][random.usize(..4)];
            format!("value: {{{key}: {}, other: 1, {key}: {}}}", written(random), plain(random))
        }
        8 => format!("value: {}\n  {}\n\n  a", plain(random).trim_end_matches('#'), plain(random)),
        9 => format!("value: \"{} \\\n    {}\n\n  a\"", plain(random), plain(random)),
        10 => format!("? {}\n: a\nvalue:\n  ? {}\n  : b", plain(random), plain(random)),
        11 => format!("value: {{\"a\":{}, 'b':{}}}", plain(random), plain(random)),
        12 => format!("value:\r\n  a: {}\r\n  b: |\r\n    c\r\n", written(random)),
        _ => format!("value: {}", written(random)),
    }
}
