//! The folder of a control plane, removed when it is no longer needed, in whatever way the process ends.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use tempfile::TempDir;

/// Waits for the end of its standard input, gives the programs that lose theirs at the same moment time to die, and
/// removes the folder.
const JANITOR: &str = r#"
while read -r _; do :; done
sleep 0.5
tries=0
while [ -e "$1" ] && [ "$tries" -lt 50 ]; do
    rm -rf -- "$1" 2>/dev/null
    sleep 0.1
    tries=$((tries + 1))
done
"#;

/// The variable that, set to anything, keeps the folders of control planes, with their logs, for a look.
const KEEP: &str = "CITRIX_ALLOWLIST_KEEP_LOGS";

/// A temporary folder. A static is never dropped and a killed process drops nothing, so a small shell watches over it.
#[derive(Debug)]
pub(super) struct Folder {
    folder: Option<TempDir>,
    janitor: Option<Child>,
    path: PathBuf,
}

impl Folder {
    pub(super) fn new() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("citrix-allowlist-control-plane-")
            .tempdir()
            .context("make a temporary folder")?;
        let path = folder.path().to_path_buf();
        if std::env::var_os(KEEP).is_some_and(|value| !value.is_empty()) {
            let path = folder.keep();
            eprintln!("{KEEP}: the control plane's folder is kept: {}", path.display());
            return Ok(Self { folder: None, janitor: None, path });
        }
        let janitor = Command::new("/bin/sh")
            .args(["-c", JANITOR, "janitor"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("start the shell that removes the folder")?;
        Ok(Self { folder: Some(folder), janitor: Some(janitor), path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(self.folder.take());
        if let Some(mut janitor) = self.janitor.take() {
            // There is nothing left for it to do; it is ended rather than waited for.
            let _ = janitor.kill();
            let _ = janitor.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn it_is_gone_after_its_drop() {
        let folder = Folder::new().expect("a folder");
        let path = folder.path().to_path_buf();
        std::fs::write(path.join("data"), "data").expect("a file");
        let kept = folder.folder.is_none();
        drop(folder);
        assert_eq!(path.exists(), kept);
    }

    /// Not a test by itself: what `it_is_gone_after_a_killed_test` runs and kills.
    #[test]
    #[ignore = "started by another test"]
    fn hold_a_folder() {
        let Some(note) = std::env::var_os("NOTE_IN") else { return };
        let folder = Folder::new().expect("a folder");
        std::fs::write(folder.path().join("data"), "data").expect("a file");
        std::fs::write(note, folder.path().display().to_string()).expect("a note");
        std::thread::sleep(Duration::from_secs(60));
    }

    #[test]
    fn it_is_gone_after_a_killed_test() {
        let notes = tempfile::tempdir().expect("a folder");
        let note = notes.path().join("note");
        let mut test = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "control_plane::folder::tests::hold_a_folder", "--ignored"])
            .env("NOTE_IN", &note)
            .env_remove(KEEP)
            .stdout(Stdio::null())
            .spawn()
            .expect("this program once more");
        let deadline = Instant::now() + Duration::from_secs(20);
        let path = loop {
            let path = PathBuf::from(std::fs::read_to_string(&note).unwrap_or_default());
            if path.is_absolute() && path.exists() {
                break path;
            }
            assert!(Instant::now() < deadline, "no folder was made");
            std::thread::sleep(Duration::from_millis(5));
        };
        test.kill().expect("it is killed");
        test.wait().expect("its end");
        while path.exists() {
            assert!(Instant::now() < deadline, "the folder outlives the test");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
