//! The commands without a cluster, as people run them: every transcript of the documentation and of `tests/cli/`.

mod schemas;
mod transcripts;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use test_support::dns::{Behaviour, DnsServer};
use test_support::standin::{
    ConnectProxy, Fault, Injection, ProxyConfig, RetryAfter, Standin, StandinCloud, StandinConfig, TestAuthority,
};
use transcripts::{Stage, run};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn offline(file: &Path) {
    let temporary = tempfile::tempdir().expect("a folder");
    // Root reads whatever it likes, unless it gives that up.
    let plain = if is_root() { "setpriv --bounding-set=-dac_override,-dac_read_search" } else { "" };
    let folder = temporary.path().display().to_string();
    let variables = [("TMPDIR", folder.clone()), ("PLAIN", plain.to_owned()), ("ALONE", alone().join(" "))];
    let replaced = [(folder.as_str(), "TMPDIR")];
    run(file, &Stage { folder: &root().join("tests/cli/data"), variables: &variables, replaced: &replaced, label: "" });
}

/// What gives a program mounts of its own, where the machine allows it.
fn alone() -> Vec<&'static str> {
    if is_root() { vec!["unshare", "--mount"] } else { vec!["unshare", "--mount", "--map-root-user"] }
}

fn is_root() -> bool {
    let output = std::process::Command::new("id").arg("-u").output().expect("id runs");
    output.stdout.trim_ascii() == b"0"
}

#[test]
fn the_guide_is_true() {
    offline(&root().join("docs/cli.md"));
}

#[test]
fn render_does_what_its_transcript_says() {
    offline(&root().join("tests/cli/render.md"));
}

#[test]
fn explain_does_what_its_transcript_says() {
    offline(&root().join("tests/cli/explain.md"));
}

#[test]
fn every_error_says_what_its_transcript_says() {
    offline(&root().join("tests/cli/errors.md"));
}

#[test]
fn a_machine_without_nameservers_says_so() {
    let alone = alone();
    let allowed = std::process::Command::new(alone[0]).args(&alone[1..]).arg("true").output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        println!("not shown here, where nobody may have mounts of their own: a unit test judges the sentence");
        return;
    }
    offline(&root().join("tests/cli/machine.md"));
}

/// `PATH` with this program and kustomize first.
fn path_with_kustomize() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_citrix-allowlist"));
    let kustomize = test_support::tools::tool("kustomize").expect("kustomize");
    let folder = |program: &Path| program.parent().expect("a folder").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{}:{}:{path}", folder(program), folder(&kustomize))
}

#[test]
fn kustomize_does_what_its_transcript_says() {
    let variables = [("PATH", path_with_kustomize())];
    let folder = root().join("tests/cli/data/kustomize");
    let stage = Stage { folder: &folder, variables: &variables, replaced: &[], label: "kustomize" };
    run(&root().join("docs/gitops.md"), &stage);
}

/// What a command prints, run in a folder: objects by kind and name.
fn objects(folder: &Path, program: &str, arguments: &[&str]) -> BTreeMap<String, serde_json::Value> {
    let output = std::process::Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("PATH", path_with_kustomize())
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let documents = text.split("---\n").filter(|document| !document.trim().is_empty());
    let objects = documents.map(|document| {
        let object: serde_json::Value = serde_saphyr::from_str(document).expect("YAML");
        (format!("{} {}", object["kind"], object["metadata"]["name"]), object)
    });
    objects.collect()
}

#[test]
fn kustomize_makes_of_a_resource_what_render_makes_of_it() {
    let given = root().join("tests/cli/data/kustomize");
    let build = ["build", "--enable-alpha-plugins", "--enable-exec", "."];
    let saved = ["--feed", "saved/global.json", "--hosts", "saved/hosts"];
    let all = ["render", "--pass-through", "-f", "web.yaml", "-f", "daas-us.yaml"];
    let rendered = objects(&given, "citrix-allowlist", &[&all[..], &saved].concat());
    let kinds: BTreeSet<&str> = rendered.values().filter_map(|object| object["kind"].as_str()).collect();
    assert_eq!(kinds, BTreeSet::from(["ConfigMap", "Namespace", "NetworkPolicy", "Service"]));
    assert_eq!(objects(&given, "kustomize", &build), rendered, "as a transformer");

    // As a generator the resource says itself what makes objects of it; kustomize puts it among the items too.
    let folder = tempfile::tempdir().expect("a folder");
    let read = |name: &str| std::fs::read_to_string(given.join(name)).expect("a file");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    std::fs::create_dir(folder.path().join("saved")).expect("a folder");
    for name in ["web.yaml", "saved/global.json", "saved/hosts"] {
        write(name, &read(name));
    }
    let render = read("render.yaml");
    let annotation = render.split_once("  annotations:\n").expect("an annotation").1;
    write("daas-us.yaml", &read("daas-us.yaml").replace("spec:\n", &format!("  annotations:\n{annotation}spec:\n")));
    write("kustomization.yaml", "resources: [web.yaml]\ngenerators: [daas-us.yaml]\n");
    assert_eq!(objects(folder.path(), "kustomize", &build), rendered, "as a generator");

    // What cannot be rendered ends the build, and says which resource it was.
    write(
        "daas-us.yaml",
        &std::fs::read_to_string(folder.path().join("daas-us.yaml")).expect("a file").replace("geo: us", "geo: mars"),
    );
    let failed = std::process::Command::new("kustomize")
        .args(build)
        .current_dir(folder.path())
        .env("PATH", path_with_kustomize())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(!failed.status.success() && failed.stdout.is_empty(), "{failed:?}");
    let expected = "citrix/daas-us: spec.geo: invalid value \"mars\": expected one of us, eu, ap-s, jp, all";
    assert!(said.contains(expected), "{said}");
}

/// Serves the list of the other transcripts, spoilt by a fault.
async fn vendor(fault: Option<Fault>, authority: Option<TestAuthority>) -> Standin {
    let standin = Standin::start(StandinConfig { authority, ..StandinConfig::unlimited() }).await.expect("a stand-in");
    let list = std::fs::read_to_string(root().join("tests/cli/data/list.json")).expect("a list");
    standin.publish(StandinCloud::Global, serde_json::from_str(&list).expect("a document"));
    if let Some(fault) = fault {
        standin.inject(Injection::always(fault));
    }
    standin
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_vendor_and_dns_answer_is_told_in_a_sentence() {
    let status = |status, retry_after| Fault::Status { status, retry_after };
    let faults = [
        ("WELL", None),
        ("MOVED", Some(Fault::RedirectSameHost)),
        ("ELSEWHERE", Some(Fault::RedirectOtherHost)),
        ("ROUND_AND_ROUND", Some(Fault::Redirect("?again".to_owned()))),
        ("TO_NOWHERE", Some(Fault::Redirect("http://[".to_owned()))),
        ("NOT_MODIFIED", Some(status(304, None))),
        ("REFUSING", Some(status(400, None))),
        ("BUSY", Some(status(429, None))),
        ("BUSY_FOR_A_WHILE", Some(status(429, Some(RetryAfter::Seconds(90))))),
        ("CLOSED", Some(status(503, Some(RetryAfter::Seconds(600))))),
        ("BROKEN", Some(status(500, None))),
        ("CUT", Some(Fault::TruncatedBody)),
        ("RESET", Some(Fault::Reset)),
        ("PORTAL", Some(Fault::HtmlPage)),
        ("HALF", Some(Fault::MalformedJson)),
        ("NO_LIST", Some(Fault::json("[]"))),
        ("HUGE", Some(Fault::OversizedBody { padding: 5 << 20 })),
        ("BOMB", Some(Fault::GzipBomb { padding: 5 << 20 })),
        ("MISLABELLED", Some(Fault::WrongContentEncoding)),
        ("UNASKED", Some(Fault::UnaskedEncoding)),
        ("SILENT", Some(Fault::Silence)),
    ];
    let mut variables = Vec::new();
    let mut hosts: Vec<(String, String)> = Vec::new();
    let mut vendors = Vec::new();
    for (name, fault) in faults {
        let standin = vendor(fault, None).await;
        variables.push((name, standin.base_url_global()));
        hosts.push((format!(":{}", standin.addr().port()), ":8080".to_owned()));
        vendors.push(standin);
    }
    let authority = TestAuthority::new().expect("an authority");
    let folder = tempfile::tempdir().expect("a folder");
    let pem = folder.path().join("authority.pem");
    std::fs::write(&pem, authority.pem()).expect("a file");
    let private = vendor(None, Some(authority)).await;
    let credentials = Some(("user".to_owned(), "password".to_owned()));
    let proxy = ConnectProxy::start(ProxyConfig { credentials, ..ProxyConfig::default() }).await.expect("a proxy");
    let dns = DnsServer::start().await.expect("a DNS server");
    dns.default_behaviour(|_, _| Behaviour::servfail());
    let failing: SocketAddr = dns.addr();
    let half = DnsServer::start().await.expect("a DNS server");
    half.default_behaviour(|_, _| Behaviour::refused());
    half.set_addresses("testcustomer.xendesktop.net", &[[13, 64, 10, 1].into()], 60);
    variables.extend([
        ("PRIVATE", private.base_url_global()),
        ("AUTHORITY", pem.display().to_string()),
        ("PROXY", proxy.url()),
        ("DNS", half.addr().to_string()),
        ("FAILING_DNS", failing.to_string()),
        ("CITRIX_ALLOWLIST_HOSTS", "hosts".to_owned()),
        ("TMPDIR", folder.path().display().to_string()),
    ]);
    hosts.push((format!(":{}", private.addr().port()), ":8443".to_owned()));
    hosts.push((format!(":{}", half.addr().port()), ":53".to_owned()));
    hosts.push((format!(":{}", failing.port()), ":53".to_owned()));
    let replaced: Vec<(&str, &str)> = hosts.iter().map(|(found, instead)| (found.as_str(), instead.as_str())).collect();
    let stage =
        Stage { folder: &root().join("tests/cli/data"), variables: &variables, replaced: &replaced, label: "vendor" };
    run(&root().join("tests/cli/vendor.md"), &stage);
}

#[test]
fn the_other_commands_do_what_their_transcript_says() {
    offline(&root().join("tests/cli/other.md"));
}

#[test]
fn forwarder_config_does_what_its_transcripts_say() {
    offline(&root().join("tests/cli/forwarder.md"));
    offline(&root().join("docs/guides/forwarder-platforms.md"));
}

#[test]
fn output_for_programs_is_documented_and_equal_in_json_and_yaml() {
    let inputs = ["--feed", "list.json", "--hosts", "hosts"];
    let explain =
        ["explain", "-f", "daas-us.yaml", "--to", "13.64.10.1:443", "--to", "gateway.example.com", "--from", "1.1.1.1"];
    let commands: [&[&str]; 2] = [&["render", "-f", "daas-us.yaml", "--summary"], &explain];
    for command in commands {
        let print = |form: &str| {
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_citrix-allowlist"))
                .args(command)
                .args(inputs)
                .args(["-o", form])
                .current_dir(root().join("tests/cli/data"))
                .output()
                .expect("the program runs");
            let is_a_no = i32::from(command[0] == "explain");
            assert_eq!(output.status.code(), Some(is_a_no), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text")
        };
        let json: serde_json::Value = serde_json::from_str(&print("json")).expect("JSON");
        let yaml: serde_json::Value = serde_saphyr::from_str(&print("yaml")).expect("YAML");
        assert_eq!(json, yaml);
        schemas::are_documented(&json);
    }
}

/// Runs the program on what is given on standard input, in the folder of the transcripts' data.
fn piped(arguments: &[&str], input: &str) -> std::process::Output {
    use std::io::Write as _;
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_citrix-allowlist"))
        .args(arguments)
        .args(["--feed", "list.json", "--hosts", "hosts"])
        .current_dir(root().join("tests/cli/data"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    program.stdin.take().expect("its input").write_all(input.as_bytes()).expect("it reads");
    program.wait_with_output().expect("it ends")
}

fn printed(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const RESOURCE: &str = "apiVersion: citrix-allowlist.io/v1alpha1\nkind: CitrixAllowlist\nmetadata: {name: daas, namespace: citrix}\nspec: {customerId: testcustomer}\n";

#[test]
fn a_commit_that_looks_like_a_number_is_a_text() {
    let pipeline = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: build\n  labels: {{commit: 1234e567}}\n---\n{RESOURCE}"
    );
    for command in [&["render", "--pass-through", "-f", "-"][..], &["explain", "-f", "-"]] {
        let output = piped(command, &pipeline);
        assert!(output.status.success(), "{command:?}: {}", printed(&output));
    }
    let output = piped(&["render", "--pass-through", "-o", "json", "-f", "-"], &pipeline);
    assert!(printed(&output).contains("\"commit\": \"1234e567\""), "{}", printed(&output));
    let item = RESOURCE.trim_end().replace('\n', "\n  ");
    let list = format!(
        "apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {{name: build, labels: {{commit: 1234e567, id: 123456e78901}}}}\n- {item}\n"
    );
    let output = piped(&["render", "-f", "-"], &list);
    assert!(output.status.success() && printed(&output).contains("1234e567"), "{}", printed(&output));
    let customer = RESOURCE.replace("testcustomer", "123456e78901");
    let output = piped(&["render", "--summary", "-o", "json", "-f", "-"], &customer);
    assert!(output.status.success(), "{}", printed(&output));
}

#[test]
fn what_goes_through_keeps_its_texts_to_the_last_line() {
    let others = "kind: A\napiVersion: v1\ntext: |+\n  kept\n\n\n---\nkind: B\napiVersion: v1\ntext: |\n  a";
    let output = piped(&["render", "--pass-through", "-f", "-"], others);
    let through = String::from_utf8_lossy(&output.stdout).into_owned();
    let json = |text: &str| {
        let output = piped(&["render", "--pass-through", "-o", "json", "-f", "-"], text);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(json(others).contains("\"kept\\n\\n\\n\"") && json(others).contains("\"a\\n\""), "{}", json(others));
    assert_eq!(json(&through), json(others), "{through:?}");
}

#[test]
fn a_hostile_list_cannot_act_on_a_terminal() {
    let hostile = ["--feed", "hostile-list.json", "--hosts", "/dev/null"];
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cr.yaml");
    std::fs::write(&path, RESOURCE).expect("a file");
    let path = path.display().to_string();
    let commands: [&[&str]; 7] = [
        &["render", "-f", &path, "--summary"],
        &["explain", "-f", &path],
        &["explain", "-f", &path, "--to", "20.1.1.1:443"],
        &["render", "-f", &path],
        &["render", "-f", &path, "-o", "json"],
        &["explain", "-f", &path, "-o", "yaml"],
        &["explain", "-f", &path, "-o", "json"],
    ];
    for command in commands {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_citrix-allowlist"))
            .args(command)
            .args(hostile)
            .current_dir(root().join("tests/cli/data"))
            .output()
            .expect("the program runs");
        let text = printed(&output);
        assert!(output.status.success(), "{command:?}: {text}");
        assert!(!text.chars().any(acts), "{command:?}: {text:?}");
        // Machines read the escape as a text, in which its backslash is escaped once more, or twice within a text of JSON.
        let once = text.replace("\\\\", "\\").replace("\\\\", "\\");
        assert!(once.contains("\\x1b[2J\\x1b[31mDaaS\\x1b[0m\\rHidden"), "{command:?}: {text}");
        assert!(!text.lines().any(|line| line.starts_with("b.example.net")), "{command:?}: {text}");
    }
}

/// Whether a character does something on a terminal, or turns the direction of writing.
fn acts(character: char) -> bool {
    let turns =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (character.is_control() && character != '\n')
}

/// Formerly a tenant's filter reached the administrator's terminal as it was, and could clear the screen or print a green "allowed".
#[test]
fn a_filter_with_control_characters_is_refused_and_escaped() {
    for hostile in ["\\u001b[2J\\u001b[32mallowed", "\\u202edewolla", "a\\u009b31m"] {
        let resource =
            RESOURCE.replace("testcustomer}", &format!("testcustomer, services: {{include: [\"{hostile}\"]}}}}"));
        let output = piped(&["render", "--summary", "-f", "-"], &resource);
        let text = printed(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("services.include") && !text.chars().any(acts), "{text:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_mounted_config_map_is_read_once_and_a_resource_once_only() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().expect("a folder");
    let (mounted, version) = (folder.path().join("vol"), "..2026_01_01_00_00_00.1");
    std::fs::create_dir_all(mounted.join(version)).expect("folders");
    std::fs::write(mounted.join(version).join("cr.yaml"), RESOURCE).expect("a file");
    symlink(version, mounted.join("..data")).expect("a link");
    symlink("..data/cr.yaml", mounted.join("cr.yaml")).expect("a link");
    let path = mounted.display().to_string();
    let output = piped(&["render", "-f", &path], "");
    let kinds = printed(&output).lines().filter(|line| line.starts_with("kind:")).count();
    assert_eq!((output.status.success(), kinds), (true, 2), "{}", printed(&output));

    for command in ["render", "explain"] {
        let output = piped(&[command, "-f", &path, "-f", "-"], &format!("---\n{RESOURCE}"));
        assert_eq!(output.status.code(), Some(2), "{}", printed(&output));
        let expected = format!("error: <stdin>:2: citrix/daas is given twice: it stands at {path}/cr.yaml:1 already\n");
        assert!(printed(&output).ends_with(&expected), "{}", printed(&output));
    }
}

#[test]
fn a_key_that_stands_twice_is_told() {
    let twice =
        RESOURCE.replace("spec: {customerId: testcustomer}", "spec:\n  customerId: other\n  customerId: testcustomer");
    let output = piped(&["render", "--summary", "-f", "-"], &twice);
    assert!(output.status.success(), "{}", printed(&output));
    let note = "note: <stdin>:6: `customerId` stands there again: what stands last counts\n";
    assert!(printed(&output).contains(note), "{}", printed(&output));
}
