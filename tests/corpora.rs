//! What fuzzing once found, given again to what it was found with: no panic, no more than 100 MiB, nothing that hangs.

#[path = "../fuzz/src/lib.rs"]
mod fuzzed;

use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Memory is measured for the whole process, so one input at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Gives every file of a corpus to its judge.
fn replay(corpus: &str, judge: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(corpus);
    let mut paths: Vec<_> =
        std::fs::read_dir(&folder).expect("a corpus").map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    assert!(paths.len() > 20, "{} files in {}", paths.len(), folder.display());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut failed = Vec::new();
    for path in paths {
        let input = std::fs::read(&path).expect("a file");
        println!("{}", path.display());
        if std::panic::catch_unwind(|| fuzzed::hold(judge, &input)).is_err() {
            failed.push(path);
        }
    }
    assert!(failed.is_empty(), "what is wrong with each stands above: {failed:#?}");
}

/// What is not compressed on its way cannot be kept in full size, and is made here.
#[test]
fn config_maps_of_the_largest_size_are_read_within_bounds() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    for piece in [r#"{"a":{"":0}},"#, "{},", "[],", "0,", r#"{"name":"a.b","addresses":["1.1.1.1"]},"#] {
        let many = piece.repeat((1 << 20) / piece.len());
        let text = format!(r#"{{"endpoints":[{many}0]}}"#);
        fuzzed::hold(fuzzed::endpoints::judge, text.as_bytes());
    }
}

#[test]
fn served_lists_are_read_within_bounds() {
    replay("list", fuzzed::list::judge);
}

#[test]
fn answers_of_dns_are_read_within_bounds() {
    replay("dns", fuzzed::dns::judge);
}

#[test]
fn questions_and_replies_of_the_forwarder_are_read_in_bounds() {
    replay("forward", fuzzed::forward::judge);
}

#[test]
fn manifests_are_read_within_bounds() {
    replay("manifest", fuzzed::manifest::judge);
}

#[test]
fn what_a_restart_reads_back_is_read_within_bounds() {
    replay("endpoints", fuzzed::endpoints::judge);
}
