use super::*;

fn shell(script: &str, folder: &Path) -> Process {
    Process::start("a shell", Path::new("/bin/sh"), ["-c", script], &folder.join("log")).expect("a process")
}

/// Waits until the script has printed a line, and gives it.
fn first_line(process: &Process) -> String {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if let Some((line, _)) = process.log_text().split_once('\n') {
            return line.to_owned();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it printed nothing: {}", process.log_tail());
}

fn is_running(pid: &str) -> bool {
    Command::new("/bin/sh").args(["-c", "kill -0 \"$0\" 2>/dev/null", pid]).status().expect("a shell").success()
}

#[tokio::test]
async fn its_own_end_its_status_and_its_output_are_seen() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = shell("echo out; echo err >&2; exit 3", folder.path());
    let status = process.wait(Duration::from_secs(10)).await.expect("an end");
    assert_eq!(status.code(), Some(3));
    assert!(process.log_text().contains("out\n") && process.log_text().contains("err\n"));
    let error = process.expect_running().expect_err("it ended").to_string();
    let refused = process.signal("TERM").expect_err("nobody is there to take it").to_string();
    assert!(refused.contains("not running"), "{refused}");
    assert!(error.contains("a shell ended by itself") && error.contains("err"), "{error}");
}

#[tokio::test]
async fn a_signal_reaches_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let mut process = shell(script, folder.path());
    assert_eq!(first_line(&process), "ready");
    process.expect_running().expect("it runs");
    let log = process.log_path().to_path_buf();
    let status = process.stop(Duration::from_secs(10)).await.expect("an end");
    assert_eq!(status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(log).expect("its log"), "ready\nbye\n");
}

#[test]
fn dropping_kills_even_what_ignores_requests() {
    let folder = tempfile::tempdir().expect("a folder");
    let process = shell("trap '' TERM INT HUP; echo $$; while :; do sleep 0.01; done", folder.path());
    let pid = first_line(&process);
    assert!(is_running(&pid));
    drop(process);
    assert!(!is_running(&pid));
}

#[test]
fn a_frozen_program_is_killed_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = shell("echo $$; while :; do sleep 0.01; done", folder.path());
    let pid = first_line(&process);
    process.signal("STOP").expect("a signal");
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a status");
    assert!(status.contains(") T "), "it is stopped when the signal is sent: {status}");
    drop(process);
    assert!(!is_running(&pid));
}

#[test]
fn a_program_that_is_not_there_shows_as_one_that_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let nowhere = folder.path().join("nowhere");
    let none: [&str; 0] = [];
    let mut process = Process::start("nothing", &nowhere, none, &folder.path().join("log")).expect("a shell");
    let deadline = Instant::now() + Duration::from_secs(10);
    while process.exit_status().expect("a status").is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(process.exit_status().expect("a status").and_then(|status| status.code()), Some(127));
}

/// Not a test by itself: what `a_killed_test_leaves_no_program_behind` runs and kills.
#[test]
#[ignore = "started by another test"]
fn hold_a_program() {
    let Some(folder) = std::env::var_os("HOLD_IN") else { return };
    let _process = shell("echo $$; while :; do sleep 0.01; done", Path::new(&folder));
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_test_leaves_no_program_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut test = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "process::tests::hold_a_program", "--ignored"])
        .env("HOLD_IN", folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("this program once more");
    let log = folder.path().join("log");
    let deadline = Instant::now() + Duration::from_secs(10);
    let pid = loop {
        if let Some((pid, _)) = std::fs::read_to_string(&log).unwrap_or_default().split_once('\n') {
            break pid.to_owned();
        }
        assert!(Instant::now() < deadline, "the program did not start");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(is_running(&pid));

    // SIGKILL: nothing in it runs any more.
    test.kill().expect("it is killed");
    test.wait().expect("its end");
    while is_running(&pid) {
        assert!(Instant::now() < deadline, "the program outlives the test");
        std::thread::sleep(Duration::from_millis(5));
    }
}
