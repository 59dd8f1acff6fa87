use super::*;
use serde_json::json;

fn value(text: &str) -> Value {
    read(text).unwrap_or_else(|error| panic!("{text}: {error:?}")).0
}

fn refused(text: &str) -> (usize, String) {
    let error = read(text).expect_err(text);
    (error.line, error.message)
}

#[test]
fn numbers_are_what_json_makes_of_them() {
    let text = "a: 1e3\nb: 443.0\nc: 0443\nd: 1e21\ne: 18446744073709551615\nf: -0.0\ng: 0.5\nh: 1234e567\n";
    let expected = json!({
        "a": 1000, "b": 443, "c": 291, "d": 1e21, "e": 18_446_744_073_709_551_615.0, "f": 0, "g": 0.5, "h": "1234e567",
    });
    assert_eq!(value(text), expected);
    assert_eq!(refused("a: 1\nb: .inf\n"), (2, "it is no number that JSON can say".into()));
    assert_eq!(value("a: .inf\na: 2\n"), json!({ "a": 2 }), "what is replaced need not be said");
    let rounded = json!({ "a": 661_200_258_616_247_000_i64, "b": -4_109_241_767_118_269_000_i64 });
    let large = "a: 0661200258616247103\nb: !!float -4109241767118269162\n";
    assert_eq!(value(large), rounded, "as Go writes and reads it");
}

#[test]
fn keys_are_texts() {
    let text = "1: a\n2.50: b\nyes: c\n0x10: d\n1e6: e\n.inf: f\n1e-5: g\n\"null\": h\n100000.0: i\n1234567.0: j\n";
    let expected = json!({
        "1": "a", "2.5": "b", "true": "c", "16": "d", "1e+06": "e", ".inf": "f", "1e-05": "g", "null": "h", "100000": "i",
        "1.234567e+06": "j",
    });
    assert_eq!(value(text), expected);
    assert_eq!(refused("~: 1\n").1, "a key needs a text: null is none");
    assert_eq!(refused("[a]: 1\n").1, "a key needs a text: lists and mappings are none");
    assert_eq!(refused("18446744073709551615: 1\n").1, "`18446744073709551615` is too large for a key");
    assert!(refused("a: 1\n1: a\n'1': b\n").1.starts_with("`1` is the key of two entries in JSON"));
}

#[test]
fn the_last_of_repeated_keys_counts_and_is_reported() {
    let (value, repeated) = read("a: 1\nb: 2\na: 3\n").expect("YAML");
    assert_eq!(value, json!({ "a": 3, "b": 2 }));
    assert_eq!(repeated, [Repeated { key: "a".into(), line: 3 }]);
}

#[test]
fn merged_entries_take_precedence_by_their_place() {
    let base = "base: &b {k: 1, l: 2}\nother: &o {l: 3, m: 4}\n";
    let merged = |rest: &str| value(&format!("{base}merged:\n{rest}"))["merged"].clone();
    assert_eq!(merged("  <<: *b\n  k: 9\n"), json!({ "k": 9, "l": 2 }));
    assert_eq!(merged("  k: 9\n  <<: *b\n"), json!({ "k": 1, "l": 2 }), "what stands below counts");
    assert_eq!(merged("  <<: [*b, *o]\n"), json!({ "k": 1, "l": 2, "m": 4 }), "the first counts most");
    assert_eq!(merged("  <<: {a: 1}\n"), json!({ "a": 1 }));
    assert_eq!(merged("  \"<<\": 1\n"), json!({ "<<": 1 }));
    assert!(read(&format!("{base}merged:\n  <<: *b\n  k: 9\n")).expect("YAML").1.is_empty(), "no key stands twice");
    assert_eq!(refused("<<: 1\n").1, "`<<` needs a mapping, or a list of mappings");
}

#[test]
fn anchors_are_followed_and_bounded() {
    assert_eq!(value("a: &x 1\nb: *x\n&k c: 2\n*k : 3\n"), json!({ "a": 1, "b": 1, "c": 3 }));
    assert_eq!(refused("a: &x [*x]\n").1, "an anchor's value contains itself");
    assert!(read("a: *x\n").is_err());
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert_eq!(refused(&bomb).1, "aliases make it much larger than it is written");
    // Within the number of values that kubectl allows, 40 KB took 109 MiB.
    let objects = vec!["{a: {b: {c: 0}}}"; 50].join(", ");
    let heavy = format!("base: &b [{objects}]\nmany: [{}]\n", vec!["*b"; 400].join(", "));
    let unaliased = (0..1000).map(|number| format!("k{number}: 1\n")).collect::<String>();
    assert_eq!(refused(&format!("{heavy}{unaliased}")).1, "aliases make it much larger than it is written");
    let deep = format!("a: {}{}\n", "[".repeat(200), "]".repeat(200));
    assert_eq!(refused(&deep).1, format!("it nests deeper than the {MOST_LEVELS} levels that are read"));
    let deep = format!("a: &a {}{}\nb: {}*a{}\n", "[".repeat(100), "]".repeat(100), "[".repeat(100), "]".repeat(100));
    assert!(refused(&deep).1.starts_with("its aliases nest deeper"));
}

#[test]
fn nothing_after_a_document_is_left_out_in_silence() {
    assert_eq!(value("a: 1\n...\n"), json!({ "a": 1 }));
    let (line, message) = refused("a: 1\n...\nb: 2\n");
    assert_eq!((line, message.as_str()), (3, "a document ends above: another one needs a line `---` before it"));
    assert_eq!(value("# nothing\n"), Value::Null);
    assert_eq!(value("\u{feff}a: 1\n"), json!({ "a": 1 }));
}
