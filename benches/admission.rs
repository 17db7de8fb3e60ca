//! What it takes to let a caller in and to count what it asks for: 10,000 keys with limits, each for 64 of 1,000 adapters, and every
//! adapter with limits of its own. `cargo bench --bench admission`. No disk and no model is asked for any of it, so how many
//! adapters are registered does not matter; their names in lists and limits do.

#[path = "../tests/suite/callers.rs"]
#[allow(dead_code, unused_imports, reason = "the suite uses more of it")]
mod callers;
#[path = "../tests/suite/harness.rs"]
#[allow(dead_code, unused_imports, reason = "the suite uses more of it")]
mod harness;
#[path = "../tests/suite/samples.rs"]
#[allow(dead_code, unused_imports, reason = "the suite uses more of it")]
mod samples;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use adapterd::domain::{AdapterName, KeyLimits, Rates, Scope};
use adapterd::gateway::{AdapterRates, Caller, Credentials};
use harness::Daemon;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const ADAPTERS: usize = 1_000;
/// As many as a list may have.
const LISTED: usize = 64;
const ROUNDS: usize = 100_000;

/// A key, and the adapter that is asked for with it: the last one of its list.
struct Holder {
    secret: String,
    adapter: AdapterName,
}

fn name(number: usize) -> String {
    format!("team-{:02}-adapter-{number:04}", number % 40)
}

async fn holders(daemon: &Daemon, count: usize) -> Vec<Holder> {
    let limits = KeyLimits {
        requests_per_minute: Some(1_000_000),
        tokens_per_minute: Some(1_000_000_000),
        concurrent: Some(100),
        ..KeyLimits::default()
    };
    let mut holders = Vec::with_capacity(count);
    for number in 0..count {
        let list = |at: usize| name((number * 7 + at) % ADAPTERS);
        let adapters: Vec<String> = (0..LISTED).map(list).collect();
        let list = adapters.join(",");
        let (_, secret) = daemon.limited_key("infer", &list, limits).await;
        let adapter = adapters[LISTED - 1].parse().unwrap();
        holders.push(Holder { secret, adapter });
    }
    holders
}

async fn admitted(daemon: &Daemon, holder: &Holder) -> Caller {
    let credentials = Credentials {
        key: Some(holder.secret.clone()),
        ..Credentials::default()
    };
    let caller = daemon.gateway.admit(credentials).await.unwrap();
    caller.check(Scope::Infer).unwrap();
    caller
}

/// All of the limits of one request: looked at, counted, told, settled.
fn counted(caller: &Caller, holder: &Holder) {
    caller.check_limits().unwrap();
    assert!(caller.sees(&holder.adapter));
    let grant = caller.reserve(Some(&holder.adapter), 64).unwrap();
    grant.begin();
    black_box(caller.standing().headers().count());
    drop(grant);
}

fn told(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let mean = times.iter().sum::<Duration>() / times.len() as u32;
    let at = |share: f64| us(times[(times.len() as f64 * share) as usize]);
    println!(
        "{what}: mean {:.2} µs, median {:.2}, 99 % {:.2}",
        us(mean),
        at(0.5),
        at(0.99)
    );
}

#[tokio::main]
async fn main() {
    let most = Rates {
        requests_per_minute: Some(10_000_000),
        tokens_per_minute: Some(10_000_000_000),
        concurrent: Some(1_000),
    };
    let entries: BTreeMap<String, Rates> = (0..ADAPTERS).map(|at| (name(at), most)).collect();
    let rates = AdapterRates::read(&entries).unwrap();
    let daemon = Daemon::with_limited_adapters(rates, true).await;
    let mut known = Vec::new();
    for count in [10, 10_000] {
        known.extend(holders(&daemon, count - known.len()).await);
        let mut rng = StdRng::seed_from_u64(1);
        let (mut letting_in, mut counting, mut both) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let holder = &known[rng.random_range(0..known.len())];
            let began = Instant::now();
            let caller = admitted(&daemon, holder).await;
            let is_in = began.elapsed();
            counted(&caller, holder);
            let whole = began.elapsed();
            letting_in.push(is_in);
            counting.push(whole - is_in);
            both.push(whole);
        }
        println!(
            "{count} keys, {ADAPTERS} adapters with limits, {LISTED} in each list, {ROUNDS} requests"
        );
        told("  key and scope", letting_in);
        told("  list and limits", counting);
        told("  both", both);
    }
    daemon.stop().await;
}
