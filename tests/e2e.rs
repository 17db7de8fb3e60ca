//! The real program, end to end: start, probe, stop, and the whole tour. Run on its own (`--test e2e`), since it takes
//! about a minute and wants the machine to itself.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_adapterd");

/// A daemon of this test's own; killed if the test fails on the way.
struct Daemon {
    child: Child,
    http: String,
}

impl Daemon {
    fn start(data_dir: &std::path::Path) -> Self {
        let mut child = Command::new(PROGRAM)
            .args([
                "serve",
                "--http",
                "127.0.0.1:0",
                "--grpc",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(data_dir)
            .env("ADAPTERD_TELEMETRY__FORMAT", "json")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (ready, address) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if event["message"] == "ready" {
                    let _ = ready.send(event["http"].as_str().unwrap_or_default().to_owned());
                }
            }
        });
        let address = address
            .recv_timeout(Duration::from_secs(30))
            .expect("the daemon gets ready");
        Self {
            child,
            http: format!("http://{address}"),
        }
    }

    fn client(&self, args: &[&str]) -> serde_json::Value {
        let done = Command::new(PROGRAM)
            .args(args)
            .args(["--json", "--server", &self.http])
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        serde_json::from_slice(&done.stdout).unwrap()
    }

    #[cfg(unix)]
    fn terminate(mut self) -> std::process::ExitStatus {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the daemon ends after a signal");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[cfg(unix)]
fn a_daemon_serves_the_ready_made_adapters_and_ends_in_order() {
    let data_dir = tempfile::tempdir().unwrap();
    let began = Instant::now();
    let daemon = Daemon::start(data_dir.path());
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "ready after {:?}",
        began.elapsed()
    );

    let adapters = daemon.client(&["adapter", "list"]);
    let names: Vec<_> = adapters["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["id"].clone())
        .collect();
    assert_eq!(names, ["legal", "medical"]);
    let answer = daemon.client(&["generate", "--prompt", "Once", "--max-tokens", "4"]);
    assert_eq!(answer["usage"]["completion_tokens"], 4);
    daemon.client(&["adapter", "remove", "legal"]);
    assert!(daemon.terminate().success());

    // What a user took away stays away.
    let daemon = Daemon::start(data_dir.path());
    let adapters = daemon.client(&["adapter", "list"]);
    assert_eq!(adapters["data"].as_array().unwrap().len(), 1, "{adapters}");
    assert!(daemon.terminate().success());
}

#[test]
fn an_absent_daemon_and_wrong_settings_have_exit_codes_of_their_own() {
    let code = |args: &[&str]| {
        Command::new(PROGRAM)
            .args(args)
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(
        code(&["adapter", "list", "--server", "http://127.0.0.1:9"]),
        Some(3)
    );
    assert_eq!(code(&["serve", "--quant", "q9"]), Some(2));
    assert_eq!(code(&["serve", "--no-such-flag"]), Some(2));
}

#[test]
fn the_tour_shows_what_it_promises() {
    let done = Command::new(PROGRAM)
        .args(["demo", "--json"])
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["tasks"].as_array().unwrap().len(), 3, "{report}");
    println!("{report}");
}

#[test]
fn every_measure_of_adapters_gives_a_ratio() {
    let done = Command::new(PROGRAM)
        .args([
            "bench",
            "adapters",
            "--json",
            "--runs",
            "1",
            "--streams",
            "2",
        ])
        .args([
            "--prompt-tokens",
            "16",
            "--tokens",
            "32",
            "--registered",
            "8",
        ])
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let measured: Vec<_> = rows
        .iter()
        .filter_map(|row| row["measure"].as_str())
        .collect();
    assert_eq!(
        measured,
        [
            "costs", "costs", "costs", "cold", "cold", "replace", "replace", "replace", "slots",
            "crowd"
        ]
    );
    for row in rows {
        assert!(row["ratio"]["median"].as_f64().unwrap() > 0.0, "{row}");
    }
}
