//! The program as people run it, against a daemon of the test's process: addresses, proxies, lines, exit codes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::harness::{Daemon, PATIENCE};

const PROGRAM: &str = env!("CARGO_BIN_EXE_adapterd");
const PROXIES: [&str; 6] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
];
/// An address that is documentation's and no machine's.
const ELSEWHERE: &str = "http://198.51.100.7:8080";

/// A command with nothing in its environment that was not put there.
pub fn program(args: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

/// Exit code, standard output, standard error.
pub async fn outcome(mut command: Command) -> (i32, String, String) {
    let running = tokio::task::spawn_blocking(move || command.output().unwrap());
    let done = tokio::time::timeout(PATIENCE, running).await;
    let done = done.expect("the command ends").unwrap();
    (
        done.status.code().unwrap(),
        String::from_utf8(done.stdout).unwrap(),
        String::from_utf8(done.stderr).unwrap(),
    )
}

/// A proxy that gives every request the same answer.
struct Proxy {
    at: String,
    /// The first line of every request.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn answering(answer: &'static str) -> Self {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = door.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        std::thread::spawn(move || {
            for mut caller in door.incoming().map_while(Result::ok) {
                heard.lock().unwrap().push(first_line(&mut caller));
                let _ = caller.write_all(answer.as_bytes());
            }
        });
        Self { at, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn first_line(caller: &mut TcpStream) -> String {
    let mut request = [0; 4096];
    let read = caller.read(&mut request).unwrap_or(0);
    let text = String::from_utf8_lossy(&request[..read]).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}

const BAD_GATEWAY: &str = "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/html\r\ncontent-length: 11\r\nconnection: close\r\n\r\n<h1>502</h1";

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_is_asked_directly_however_it_is_spelled_and_whatever_the_environment_says() {
    let daemon = Daemon::start().await;
    let proxy = Proxy::answering(BAD_GATEWAY);
    let port = daemon.http.rsplit(':').next().unwrap();
    for server in [
        daemon.http.clone(),
        format!("{}/", daemon.http),
        format!("{}/v1", daemon.http),
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("http://localhost:{port}/v1/"),
    ] {
        let mut by_flag = program(&["adapter", "list", "--server", &server]);
        let mut by_variable = program(&["adapter", "list"]);
        by_variable.env("ADAPTERD_SERVER", &server);
        for command in [&mut by_flag, &mut by_variable] {
            for name in PROXIES {
                command.env(name, format!("http://{}", proxy.at));
            }
        }
        for command in [by_flag, by_variable] {
            let (code, _, said) = outcome(command).await;
            assert_eq!((code, said.as_str()), (0, ""), "{server}");
        }
    }
    assert_eq!(proxy.asked(), Vec::<String>::new());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_machine_is_asked_through_the_proxy() {
    let proxy = Proxy::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 27\r\nconnection: close\r\n\r\n{\"object\":\"list\",\"data\":[]}",
    );
    for (name, value) in [
        ("HTTP_PROXY", format!("http://{}", proxy.at)),
        ("http_proxy", proxy.at.clone()),
        ("ALL_PROXY", format!("http://user:secret@{}", proxy.at)),
    ] {
        let mut command = program(&["adapter", "list", "--json", "--server", ELSEWHERE]);
        command.env(name, value);
        let (code, told, said) = outcome(command).await;
        assert_eq!((code, said.as_str()), (0, ""), "{name}");
        assert!(told.contains("\"data\": []"), "{told}");
    }
    let line = format!("GET {ELSEWHERE}/v1/adapters HTTP/1.1");
    assert_eq!(proxy.asked(), [line.as_str(); 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_fails_is_told_with_the_variable_that_named_it() {
    let gone = {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        door.local_addr().unwrap().to_string()
    };
    let refusing = Proxy::answering(BAD_GATEWAY);
    let asking = Proxy::answering(
        "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    let mute = Proxy::answering("");
    let page = Proxy::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 12\r\nconnection: close\r\n\r\n<h1>Hello</h",
    );
    for (at, codes) in [
        (&gone, &[3][..]),
        (&refusing.at, &[3]),
        (&asking.at, &[3]),
        (&mute.at, &[1, 3]),
        (&page.at, &[1]),
    ] {
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            let mut command = program(&["adapter", "list", "--server", ELSEWHERE]);
            command.env(name, format!("http://user:secret@{at}"));
            let (code, _, said) = outcome(command).await;
            assert!(codes.contains(&code), "{code}: {said}");
            let named = said.contains(&format!("the proxy http://{at} that {name} names"));
            assert!(named && !said.contains("secret"), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_none_is_wrong_usage_and_the_message_says_what_is_wanted() {
    for server in [
        "8080",
        "localhost:port",
        "ftp://host",
        "not an address",
        "http://",
    ] {
        let by_flag = program(&["adapter", "list", "--server", server]);
        let mut by_variable = program(&["job", "list"]);
        by_variable.env("ADAPTERD_SERVER", server);
        for command in [by_flag, by_variable] {
            let (code, _, said) = outcome(command).await;
            assert_eq!(code, 2, "{server}: {said}");
            assert!(said.contains("http://HOST:PORT"), "{said}");
        }
    }
    let (code, _, said) = outcome(program(&["adapter", "list", "--server", ""])).await;
    assert_eq!(code, 2, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_of_another_protocol_is_told_as_that() {
    let daemon = Daemon::start().await;
    let (code, _, said) = outcome(program(&["adapter", "list", "--server", &daemon.grpc])).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("does not speak HTTP/1.1"), "{said}");
    let other = Proxy::answering("220 mail.example.com ESMTP\r\n");
    let (code, _, said) = outcome(program(&["adapter", "list", "--server", &other.at])).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("does not speak HTTP/1.1"), "{said}");
    let page = Proxy::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 12\r\nconnection: close\r\n\r\n<h1>Hello</h",
    );
    let (code, _, said) = outcome(program(&["adapter", "list", "--server", &page.at])).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("is not adapterd"), "{said}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_exits_by_what_the_probe_says_and_by_whether_anybody_does() {
    let daemon = Daemon::start().await;
    let ask = |probe| {
        outcome(program(&[
            "health",
            "--probe",
            probe,
            "--server",
            &daemon.http,
        ]))
    };
    for probe in ["ready", "live", "startup"] {
        let (code, said, error) = ask(probe).await;
        assert_eq!((code, said.as_str()), (0, "ok\n"), "{probe}: {error}");
    }
    daemon.gateway.close();
    let (code, _, said) = ask("ready").await;
    assert_eq!(code, 1, "{said}");
    let (code, _, said) = ask("live").await;
    assert_eq!(code, 0, "{said}");
    let other =
        Proxy::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
    let (code, _, said) = outcome(program(&["health", "--server", &other.at])).await;
    assert!(
        code == 1 && said.contains("is not adapterd"),
        "{code}: {said}"
    );
    daemon.stop().await;
    let gone = {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        door.local_addr().unwrap().to_string()
    };
    let (code, _, said) = outcome(program(&["health", "--server", &gone])).await;
    assert_eq!(code, 3, "{said}");
}

fn data(folder: &Path) -> String {
    let row = |i| {
        format!(
            "{{\"instruction\":\"Copy the name.\",\"input\":\"The clerk is Ada {i}.\",\"output\":\"Ada\"}}\n"
        )
    };
    let file = folder.join("rows.jsonl");
    std::fs::write(&file, (0..16).map(row).collect::<String>()).unwrap();
    file.to_str().unwrap().to_owned()
}

fn train<'a>(daemon: &'a Daemon, data: &'a str, more: &[&'a str]) -> Command {
    let common = [
        "train",
        "--name",
        "clerk",
        "--data",
        data,
        "--steps",
        "30",
        "--rank",
        "4",
        "--batch-size",
        "2",
        "--eval-split",
        "2",
        "--eval-every",
        "15",
        "--server",
        &daemon.http,
    ];
    program(&[&common[..], more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_a_job_is_told_in_few_lines_from_its_first_step_to_its_last() {
    let daemon = Daemon::start().await;
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let (code, told, said) = outcome(train(&daemon, &data, &["--wait", "--use-rslora"])).await;
    assert_eq!((code, said.as_str()), (0, ""), "{told}");
    let steps: Vec<&str> = told
        .lines()
        .filter(|line| line.contains("/30: loss"))
        .collect();
    assert!(steps.len() <= 4, "{told}");
    let first = steps.first().unwrap();
    assert!(first.starts_with("step 1/30: loss "), "{told}");
    assert!(
        first.contains("learning rate ") && first.contains(" tokens/s"),
        "{told}"
    );
    let last = steps.last().unwrap();
    assert!(last.starts_with("step 30/30: loss "), "{told}");
    assert!(last.contains("held-out loss "), "{told}");
    for event in [
        "before training: held-out loss ",
        "step 15: held-out loss ",
        "step 30: checkpoint written",
        "the adapter is served as `clerk`",
        "succeeded: `clerk` answers now",
    ] {
        assert!(told.contains(event), "{event}: {told}");
    }
    let (_, jobs) = daemon.get("/v1/fine_tuning/jobs").await;
    assert_eq!(jobs["data"][0]["adapterd"]["recipe"]["use_rslora"], true);
    // The events of a job that has ended are printed, too.
    let id = jobs["data"][0]["id"].as_str().unwrap();
    let watch = program(&["job", "watch", id, "--server", &daemon.http]);
    let (code, told, _) = outcome(watch).await;
    assert_eq!(code, 0);
    assert!(told.contains("step 30/30: loss "), "{told}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn as_json_a_followed_job_is_one_object_and_its_lines_go_to_standard_error() {
    let daemon = Daemon::start().await;
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let (code, told, said) = outcome(train(&daemon, &data, &["--wait", "--json"])).await;
    assert_eq!(code, 0, "{said}");
    let job: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(job["status"], "succeeded");
    assert!(
        said.contains("step 1/30: ") && said.contains("step 30/30: "),
        "{said}"
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_ends_the_watching_quietly() {
    let daemon = Daemon::start().await;
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let mut command = train(&daemon, &data, &["--wait"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
    let ended = tokio::time::timeout(PATIENCE, ended)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ended.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    daemon.stop().await;
}

/// What `config show` says of the data directory: value and origin.
async fn place(variables: &[(&str, &str)], flags: &[&str]) -> (String, String) {
    let mut command = program(&["config", "show", "--origin", "--json"]);
    command.args(flags).envs(variables.iter().copied());
    let (code, told, said) = outcome(command).await;
    assert_eq!(code, 0, "{said}");
    let settings: Value = serde_json::from_str(&told).unwrap();
    let row = &settings["storage.data_dir"];
    let text = |field: &str| row[field].as_str().unwrap().to_owned();
    (text("value"), text("origin"))
}

#[tokio::test(flavor = "multi_thread")]
async fn state_is_never_kept_in_the_temporary_directory_unless_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (home, tmp) = (folder.path().join("home"), folder.path().join("tmp"));
    for dir in [&home, &tmp] {
        std::fs::create_dir(dir).unwrap();
    }
    let (home, tmp) = (home.to_str().unwrap(), tmp.to_str().unwrap());
    let of_tmp = ("TMPDIR", tmp);
    let (value, origin) = place(&[of_tmp, ("HOME", home)], &[]).await;
    assert_eq!(value, format!("{home}/.local/state/adapterd"));
    assert_eq!(origin, "default: $HOME");
    let (value, _) = place(&[of_tmp, ("HOME", home), ("XDG_STATE_HOME", "/x")], &[]).await;
    assert_eq!(value, "/x/adapterd");
    let (value, _) = place(&[of_tmp, ("STATE_DIRECTORY", "/unit")], &[]).await;
    assert_eq!(value, "/unit");
    for variables in [
        &[of_tmp][..],
        &[of_tmp, ("HOME", "/")],
        &[of_tmp, ("HOME", "")],
    ] {
        let (value, origin) = place(variables, &[]).await;
        assert!(
            !value.starts_with(tmp) && !value.starts_with("/tmp"),
            "{value}"
        );
        assert!(!origin.is_empty() && origin != "default");
    }
    let (value, origin) = place(&[of_tmp], &["--data-dir", tmp]).await;
    assert_eq!((value.as_str(), origin.as_str()), (tmp, "flag"));
    assert!(std::fs::read_dir(tmp).unwrap().next().is_none());
    let (code, _, said) = outcome(program(&["serve", "--data-dir", ""])).await;
    assert!(code == 2 && said.contains("--data-dir"), "{code}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_or_an_address_that_cannot_be_used_is_named_with_the_flag_to_change() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let free = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"];
    for dir in [
        file.to_owned(),
        format!("{file}/below"),
        "/proc/adapterd".to_owned(),
    ] {
        let command = program(&[&["serve", "--data-dir", &dir][..], &free].concat());
        let (code, _, said) = outcome(command).await;
        assert!([1, 2].contains(&code), "{code}: {said}");
        assert!(said.contains(&dir) && !said.contains("panicked"), "{said}");
    }
    let dir = folder.path().to_str().unwrap();
    for (door, other) in [("--http", "--grpc"), ("--grpc", "--http")] {
        let args = [
            "serve",
            "--data-dir",
            dir,
            door,
            &taken,
            other,
            "127.0.0.1:0",
        ];
        let (code, _, said) = outcome(program(&args)).await;
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains(&taken) && said.contains(&format!("with {door}")),
            "{said}"
        );
    }
}
