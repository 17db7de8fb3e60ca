use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Mutex;

use super::*;

const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

/// What a path is answered by.
#[derive(Clone)]
enum Answer {
    Bytes(Vec<u8>),
    To(String),
    Status(u16),
    /// Announces more than it sends.
    Short,
}

/// What a hub was asked, and by which token.
type Asked = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// A hub on this machine, which remembers that.
struct Stand {
    at: String,
    asked: Asked,
}

fn stand(answers: BTreeMap<String, Answer>) -> Stand {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("http://{}", door.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    std::thread::spawn(move || {
        for mut caller in door.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(caller.try_clone().unwrap()).lines();
            let first = lines.next().and_then(Result::ok).unwrap_or_default();
            let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
            let mut token = None;
            for line in lines
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
            {
                let (name, value) = line.split_once(": ").unwrap_or_default();
                if name.eq_ignore_ascii_case("authorization") {
                    token = Some(value.to_owned());
                }
            }
            let answer = answers.get(&path).cloned().unwrap_or(Answer::Status(404));
            heard.lock().unwrap().push((path, token));
            let (status, more, body) = match answer {
                Answer::Bytes(bytes) => (200, format!("content-length: {}", bytes.len()), bytes),
                Answer::To(place) => (
                    302,
                    format!("location: {place}\r\ncontent-length: 0"),
                    vec![],
                ),
                Answer::Status(status) => (status, "content-length: 0".into(), vec![]),
                Answer::Short => (200, "content-length: 9".into(), b"half".to_vec()),
            };
            let head = format!("HTTP/1.1 {status} Told\r\nconnection: close\r\n{more}\r\n\r\n");
            let _ = caller.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    Stand { at, asked }
}

fn listing(sha: &str, files: &[&str]) -> Answer {
    let files = files
        .iter()
        .map(|name| serde_json::json!({"rfilename": name}));
    let all = serde_json::json!({"sha": sha, "siblings": files.collect::<Vec<_>>()});
    Answer::Bytes(all.to_string().into_bytes())
}

fn resolve(name: &str) -> String {
    format!("/owner/name/resolve/{SHA}/{name}")
}

const LIST: &str = "/api/models/owner/name/revision/main";

/// A repository with a configuration and weights, and with these answers besides or instead.
fn repository(changes: &[(&str, Answer)]) -> Stand {
    let files = [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "adapter_model.bin",
    ];
    let mut answers = BTreeMap::from([
        (LIST.to_owned(), listing(SHA, &files)),
        (
            resolve("adapter_config.json"),
            Answer::Bytes(b"{}".to_vec()),
        ),
        (
            resolve("adapter_model.safetensors"),
            Answer::Bytes(vec![7; 100]),
        ),
    ]);
    let changes = changes.iter().cloned();
    answers.extend(changes.map(|(path, answer)| (path.to_owned(), answer)));
    stand(answers)
}

fn fetch_at(at: &str, token: &str, id: &HubId) -> Result<(Files, String), Reason> {
    let hub = Hub::new(at, token).unwrap();
    let caller = Arc::new(());
    let wait = Wait {
        caller: Arc::downgrade(&caller),
        until: Instant::now() + Duration::from_secs(20),
    };
    let door = hub.0.expect("a hub");
    door.fetch(id, Sizes { weights: 1000 }, &wait)
}

fn of_main() -> HubId {
    HubId::new("owner/name", None).unwrap()
}

fn refused(changes: &[(&str, Answer)]) -> String {
    let fault = fetch_at(&repository(changes).at, "", &of_main());
    match fault {
        Ok((files, _)) => panic!("{:?}", files.keys()),
        Err(reason) => reason.to_string(),
    }
}

#[test]
fn the_files_of_an_adapter_come_from_one_commit_and_nothing_else_does() {
    let hub = repository(&[]);
    let (files, source) = fetch_at(&hub.at, "hf_secret", &of_main()).unwrap();
    assert_eq!(source, format!("hf:owner/name@{SHA}"));
    let names: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["adapter_config.json", "adapter_model.safetensors"]);
    assert_eq!(files["adapter_model.safetensors"], vec![7; 100]);
    let asked = hub.asked.lock().unwrap();
    let token = Some("Bearer hf_secret".to_owned());
    assert!(asked.iter().all(|(_, sent)| *sent == token));
    let paths: Vec<_> = asked.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(
        paths,
        [
            LIST.to_owned(),
            resolve("adapter_config.json"),
            resolve("adapter_model.safetensors")
        ]
    );
}

#[test]
fn a_revision_is_asked_for_as_it_was_said() {
    let path = "/api/models/owner/name/revision/refs%2Fpr%2F3";
    let files = ["adapter_config.json", "adapter_model.safetensors"];
    let hub = repository(&[(path, listing(SHA, &files))]);
    let id = HubId::new("owner/name", Some("refs/pr/3")).unwrap();
    assert!(fetch_at(&hub.at, "", &id).is_ok());
    assert_eq!(hub.asked.lock().unwrap()[0], (path.to_owned(), None));
}

#[test]
fn a_redirect_is_followed_within_the_hub_and_nowhere_inside_a_network() {
    let weights = resolve("adapter_model.safetensors");
    let moved = Answer::Bytes(vec![9; 10]);
    let hub = repository(&[
        (weights.as_str(), Answer::To("/moved".into())),
        ("/moved", moved),
    ]);
    let (files, _) = fetch_at(&hub.at, "", &of_main()).unwrap();
    assert_eq!(files["adapter_model.safetensors"], vec![9; 10]);
    let other = repository(&[]);
    for place in [
        other.at.as_str(),
        "http://example.com/x",
        "https://127.0.0.1/x",
        "https://10.0.0.1/x",
        "https://[::1]/x",
        "https://localhost/x",
        "https://x.localhost/x",
        "https://intranet/x",
        "https://me:secret@example.com/x",
        "file:///etc/passwd",
    ] {
        let told = refused(&[(weights.as_str(), Answer::To(place.into()))]);
        assert!(
            told.contains("leads where nothing is fetched from"),
            "{place}: {told}"
        );
    }
    assert!(other.asked.lock().unwrap().is_empty());
    let circle = refused(&[(weights.as_str(), Answer::To(weights.clone()))]);
    assert!(circle.contains("from place to place"), "{circle}");
}

#[test]
fn what_a_hub_lacks_or_says_wrongly_is_told() {
    let (config, weights) = (
        resolve("adapter_config.json"),
        resolve("adapter_model.safetensors"),
    );
    let bytes = |text: &str| Answer::Bytes(text.as_bytes().to_vec());
    for (path, answer, why) in [
        (LIST, Answer::Status(404), "there is no `owner/name@main`"),
        (LIST, Answer::Status(401), "has to let you see it"),
        (LIST, Answer::Status(500), "status 500"),
        (LIST, bytes("<html>"), "its list of files is none"),
        (
            LIST,
            listing("../../x", &["adapter_model.safetensors"]),
            "which commit",
        ),
        (
            LIST,
            listing(SHA, &["README.md"]),
            "has no weights of an adapter",
        ),
        (
            LIST,
            listing(SHA, &["adapter_model.bin"]),
            "holds pickled weights",
        ),
        (
            &weights,
            Answer::Bytes(vec![0; 1001]),
            "is larger than 1000 bytes",
        ),
        (weights.as_str(), Answer::Short, "adapter_model.safetensors"),
        (
            &config,
            Answer::Status(404),
            "there is no `owner/name@main`",
        ),
    ] {
        let told = refused(&[(path, answer)]);
        assert!(told.contains(why), "{path}: {told}");
    }
    let gone = fetch_at("http://127.0.0.1:1", "", &of_main()).unwrap_err();
    assert!(matches!(gone, Reason::HubFailed(_)), "{gone}");
}

#[test]
fn a_caller_who_leaves_ends_the_download() {
    let hub = Hub::new(&repository(&[]).at, "").unwrap();
    let wait = Wait {
        caller: Weak::new(),
        until: Instant::now() + Duration::from_secs(20),
    };
    let door = hub.0.expect("a hub");
    let ended = door.fetch(&of_main(), Sizes { weights: 1000 }, &wait);
    assert!(matches!(ended, Err(Reason::HubFailed(_))));
}

#[test]
fn a_hub_is_asked_by_https_or_is_on_this_machine() {
    for right in [
        "",
        "https://huggingface.co",
        "https://hub.example:8443/",
        "http://127.0.0.1:9",
        "http://localhost:9",
    ] {
        assert!(Hub::address(right).is_ok(), "{right}");
    }
    for wrong in [
        "huggingface.co",
        "http://huggingface.co",
        "https://me@x.y",
        "https://x.y/path",
        "https://x.y?a",
        "ftp://x.y",
    ] {
        assert!(Hub::address(wrong).is_err(), "{wrong}");
    }
    assert!(Hub::new("", "token").unwrap().0.is_none());
    let shown = format!(
        "{:?}",
        Hub::new("https://hub.example", "hf_secret").unwrap()
    );
    assert!(!shown.contains("hf_secret"), "{shown}");
}
