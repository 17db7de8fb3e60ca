//! A process that dies while it publishes. Each case runs this test binary again as a child that ends itself, or is
//! killed, at the moment in question; then the folder it leaves is opened and checked.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;
use crate::store::Failpoint;

const POINTS: [Failpoint; 6] = [
    Failpoint::Written,
    Failpoint::Verified,
    Failpoint::Renamed,
    Failpoint::Placed,
    Failpoint::Prepared,
    Failpoint::Committed,
];
const DIR: &str = "REGISTRY_TEST_DIR";
const CASE: &str = "REGISTRY_TEST_CASE";

/// Ends the process, without any clean-up, at this point.
struct DieAt(Failpoint);

impl Failpoints for DieAt {
    fn reached(&self, point: Failpoint) {
        if point == self.0 {
            std::process::abort();
        }
    }
}

fn child(home: &Home, case: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "registry::tests::crash::in_the_child",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(DIR, home.dir.path())
        .env(CASE, case)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// What the children do; on its own it is an empty test.
#[tokio::test]
async fn in_the_child() {
    let (Some(dir), Ok(case)) = (std::env::var_os(DIR), std::env::var(CASE)) else {
        return;
    };
    let dir = Path::new(&dir);
    match case.parse::<usize>() {
        Ok(point) => {
            let registry = open(dir, 1 << 30, BASE_DIGEST, Arc::new(DieAt(POINTS[point]))).await;
            publish(&registry, "legal", 2).await;
        }
        Err(_) => {
            let registry = open(dir, 1 << 30, BASE_DIGEST, Arc::new(NoFailpoints)).await;
            for seed in 0.. {
                let text = format!("name-{}", seed % 3);
                let view = publish(&registry, &text, seed % 7).await;
                println!("acknowledged {seed} {text} {}", view.generation);
                if seed % 4 == 3 {
                    registry.remove(&name(&text), None).await.unwrap();
                    println!("acknowledged {seed} {text} none");
                }
            }
        }
    }
}

/// Every name complete and answering, nothing left over, and the store still works.
async fn judge(home: &Home, registry: &Registry) {
    let mut known = std::collections::HashSet::new();
    for view in registry.list().await {
        assert_eq!(
            lease(registry, view.id.as_str())
                .await
                .unwrap()
                .generation(),
            view.generation
        );
        known.extend(registry.history(&view.id).await.unwrap());
    }
    assert_eq!((home.contents(), home.staged()), (known.len(), 0));
    let view = publish(registry, "afterwards", 99).await;
    assert_eq!(
        lease(registry, "afterwards").await.unwrap().generation(),
        view.generation
    );
}

#[tokio::test]
async fn a_death_at_any_point_leaves_the_old_version_or_the_new_one_never_half() {
    for (case, point) in POINTS.into_iter().enumerate() {
        for replaces in [false, true] {
            let home = Home::new();
            if replaces {
                publish(&home.open().await, "legal", 1).await;
            }
            let status = child(&home, &case.to_string())
                .stdout(Stdio::null())
                .status()
                .unwrap();
            assert!(!status.success(), "{point:?} was not reached");
            let registry = home.open().await;
            let found = registry.list().await.first().map(|view| view.generation);
            let expected = match (point, replaces) {
                (Failpoint::Committed, _) => Some(generation(2)),
                (_, true) => Some(generation(1)),
                (_, false) => None,
            };
            assert_eq!(found, expected, "{point:?}");
            judge(&home, &registry).await;
            publish(&registry, "legal", 2).await;
            assert_eq!(
                lease(&registry, "legal").await.unwrap().generation(),
                generation(2)
            );
        }
    }
}

#[tokio::test]
async fn whatever_was_acknowledged_before_a_kill_is_there_after_it() {
    let home = Home::new();
    for round in 0..6 {
        let mut process = child(&home, "loop").spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut acknowledged = std::collections::BTreeMap::new();
        let mut note = |line: String| -> bool {
            let Some((_, line)) = line.split_once("acknowledged ") else {
                return false;
            };
            let mut words = line.split(' ').skip(1).map(str::to_owned);
            acknowledged.insert(words.next().unwrap(), words.next().unwrap());
            true
        };
        let mut count = 0;
        while count < 3 + 2 * round {
            count += usize::from(note(
                lines.next().expect("the child goes on until it is killed"),
            ));
        }
        process.kill().unwrap();
        // What it said before it died counts too.
        for line in lines {
            note(line);
        }
        process.wait().unwrap();

        let registry = home.open().await;
        // The child may have been about to answer for one change more; all other names are as acknowledged.
        let mut differing = 0;
        for (text, wanted) in &acknowledged {
            let found = registry
                .show(&name(text))
                .await
                .map_or("none".to_owned(), |view| view.generation.to_string());
            differing += usize::from(found != *wanted);
        }
        assert!(differing <= 1, "{acknowledged:?}");
        judge(&home, &registry).await;
    }
}
