//! The demo itself: it tells its story to the end, and nothing is left of it however it ends.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use test_support::ControlPlane;
use test_support::tools::workspace_root;

/// The operator, which the demo looks for beside itself; built by every `cargo test --workspace`.
fn operator_is_built() -> bool {
    Path::new(env!("CARGO_BIN_EXE_demo")).with_file_name("citrix-allowlist").is_file()
}

fn demo() -> Command {
    assert!(operator_is_built(), "the operator is not built: run `cargo build --workspace --bins`");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_demo"));
    demo.current_dir(workspace_root()).env_remove("KEEP").stdin(Stdio::null()).stderr(Stdio::piped());
    demo
}

/// Sends a signal as a shell does.
fn signal(child: &Child, name: &str) {
    let status = Command::new("/bin/sh").args(["-c", &format!("kill -s {name} {}", child.id())]).status();
    assert!(status.expect("a shell").success());
}

fn ends_within(child: &mut Child, limit: Duration) -> Option<i32> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("its state") {
            return status.code();
        }
        assert!(Instant::now() < deadline, "the demo does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn it_ends_by_itself_after_everything_was_shown() {
    let output = demo().output().expect("the demo");
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    let in_order = [
        "Starting a Kubernetes control plane",
        "citrixallowlist.citrix-allowlist.io/daas-us created",
        "True",
        "daas-us-egress: ",
        "citrix-allowlist explain daas-us",
        "testcustomer.xendesktop.net",
        "citrixdemo.blob.core.windows.net",
        "is in no policy",
        "until the policies allow it",
        "TCP 443",
        "The next pod's question",
        "+ 104.46.20.7/32 ",
        "TCP 443,9100",
        "NamesLearned",
        "Done",
    ];
    let mut rest: &str = &told;
    // In a cluster that was there before, the first heading is another.
    for expected in in_order.iter().skip(usize::from(ControlPlane::existing_kubeconfig().is_some())) {
        let at = rest.find(expected).unwrap_or_else(|| panic!("no {expected:?} after the others in:\n{told}"));
        rest = &rest[at..];
    }
    assert!(told.contains("WildcardsUnenforceable"), "{told}");
}

#[test]
fn kept_running_it_goes_with_everything_when_interrupted() {
    let mut child = demo().env("KEEP", "1").stderr(Stdio::inherit()).stdout(Stdio::piped()).spawn().expect("the demo");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    let mut kubeconfig = None;
    // Its last line; the output stays open, and is read to the end no more.
    for line in lines {
        if let Some(path) = line.trim().strip_prefix("export KUBECONFIG=") {
            kubeconfig = Some(PathBuf::from(path));
        }
        if line.contains("/admin/publish") {
            break;
        }
    }
    let kubeconfig = kubeconfig.expect("it says which kubeconfig");
    assert!(kubeconfig.is_file(), "{} while it runs", kubeconfig.display());
    signal(&child, "INT");
    assert_eq!(ends_within(&mut child, Duration::from_secs(30)), Some(0));
    assert!(!kubeconfig.exists(), "{} is left", kubeconfig.display());
}

#[test]
fn interrupted_at_its_start_it_leaves_no_program_behind() {
    let mut child = demo().stdout(Stdio::piped()).spawn().expect("the demo");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("0.0 s]")), "it says what it starts");
    std::thread::sleep(Duration::from_millis(500));
    let started = children_of(child.id());
    signal(&child, "TERM");
    assert_eq!(ends_within(&mut child, Duration::from_secs(30)), Some(130));
    let deadline = Instant::now() + Duration::from_secs(10);
    for process in started {
        while Path::new("/proc").join(process.to_string()).exists() {
            assert!(Instant::now() < deadline, "process {process} outlives the demo");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The processes that a process has started, and those that they have, as Linux knows them.
fn children_of(parent: u32) -> Vec<u32> {
    let mut found = vec![parent];
    let mut next = 0;
    while next < found.len() {
        let path = format!("/proc/{0}/task/{0}/children", found[next]);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
        next += 1;
    }
    found.remove(0);
    found
}
