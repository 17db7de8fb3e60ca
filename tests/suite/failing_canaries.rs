//! A canary that cannot give exactly one in five of its answers: by then its weights are damaged on disk and out of memory, and
//! they are whole again before the next.

use std::path::PathBuf;

use adapterd::domain::rollout::{Part, Percent, falls_in};
use serde_json::{Value, json};

use crate::rollout::Two;

const MIN_REQUESTS: u64 = 50;
/// Of so many answers of the canary the last one fails.
const EVERY: u64 = 5;

/// A name with a canary for half of its requests.
struct Failing {
    two: Two,
    weights: PathBuf,
    whole: Vec<u8>,
    /// Requests so far, and those of them that fell to the canary.
    asked: u64,
    drawn: u64,
    failed: u64,
    of_stable: u64,
}

impl Failing {
    async fn start(max_error_rate: f64) -> Self {
        let two = Two::start().await;
        let policy = json!({"min_requests": MIN_REQUESTS, "max_error_rate": max_error_rate});
        two.canary(50.0, policy).await;
        let stored = two.daemon.root().parent().unwrap().join("adapters");
        let weights = stored.join(&two.new).join("adapter_model.safetensors");
        let whole = std::fs::read(&weights).unwrap();
        Self {
            two,
            weights,
            whole,
            asked: 0,
            drawn: 0,
            failed: 0,
            of_stable: 0,
        }
    }

    /// Asks once, and returns the route once that is counted.
    async fn ask(&mut self) -> Value {
        let id = format!("trace-{}", self.asked);
        self.asked += 1;
        let (name, new) = ("legal".parse().unwrap(), self.two.new.parse().unwrap());
        let half = Percent::new("percent", 50.0).unwrap();
        let is_drawn = falls_in(Part::Canary, &name, new, &id, half);
        self.drawn += u64::from(is_drawn);
        let fails = is_drawn && self.drawn.is_multiple_of(EVERY);
        if fails {
            let unload = self.two.post("unload", json!({})).await;
            assert_eq!(unload.0, 200, "{}", unload.1);
            std::fs::write(&self.weights, b"damaged").unwrap();
        }
        // Whatever becomes of the canary, the request is answered.
        let said = self.two.ask("legal", &id).await;
        let expected = match is_drawn && !fails {
            true => &self.two.new,
            false => &self.two.stable,
        };
        assert_eq!(said, *expected, "request {id}");
        self.failed += u64::from(fails);
        self.of_stable += u64::from(said == self.two.stable);
        if fails {
            std::fs::write(&self.weights, &self.whole).unwrap();
        }
        let (drawn, failed, of_stable) = (self.drawn, self.failed, self.of_stable);
        let is_counted = |route: &Value| {
            let counts = &route["counts"];
            let whole = |arm: &str, what: &str| counts[arm][what].as_u64();
            // What its policy has decided is done a moment later.
            let is_over = route["verdict"]["decision"] == "abort";
            route["canary"].is_null()
                || !is_over
                    && (whole("canary", "requests"), whole("canary", "errors"))
                        == (Some(drawn), Some(failed))
                    && (whole("stable", "requests"), whole("stable", "errors"))
                        == (Some(of_stable), Some(0))
        };
        self.two.until(is_counted).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_fails_a_fifth_is_given_up_within_its_requests_and_stable_answers_all_the_same()
 {
    for max_error_rate in [0.1, 0.19] {
        let mut failing = Failing::start(max_error_rate).await;
        while !failing.ask().await["canary"].is_null() {
            assert!(failing.drawn < MIN_REQUESTS, "{} drawn", failing.drawn);
        }
        // The first failure that the answers still missing could not make up for.
        let most = (max_error_rate * MIN_REQUESTS as f64) as u64;
        assert_eq!(
            (failing.failed, failing.drawn),
            (most + 1, EVERY * (most + 1))
        );
        let Failing { two, .. } = failing;
        let (_, view) = two.daemon.get("/v1/adapters/legal").await;
        assert_eq!(view["generation"], json!(two.stable));
        for id in 0..20 {
            assert_eq!(two.ask("legal", &format!("after-{id}")).await, two.stable);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_may_fail_a_fifth_is_kept() {
    let mut failing = Failing::start(0.2).await;
    let mut route = Value::Null;
    while failing.drawn < MIN_REQUESTS {
        route = failing.ask().await;
        assert!(!route["canary"].is_null(), "{route}");
    }
    assert_eq!(failing.failed, MIN_REQUESTS / EVERY);
    assert_eq!(route["verdict"]["decision"], "keep", "{route}");
    assert!(
        route["verdict"]["why"]
            .as_str()
            .unwrap()
            .contains("keeps to its policy")
    );
}
