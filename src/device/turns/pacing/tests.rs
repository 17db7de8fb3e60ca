use super::*;

/// A machine with open-loop load: answers come at random, each step computes one token of all that run and takes longer
/// the more there are, and a prompt makes a step longer. Virtual time, so a minute takes no time.
struct Machine {
    bare: f64,
    each: f64,
    prompt: f64,
    /// Answers a second, and tokens of each.
    arrivals: f64,
    tokens: u32,
    /// What a slice takes longer than was asked.
    overrun: f64,
    /// Instead of arrivals: so many that each ask again when they are answered.
    streams: Option<usize>,
}

struct Seen {
    gaps: Vec<f64>,
    /// What training had of the time.
    training: f64,
    longest_slice: f64,
}

impl Seen {
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.gaps.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[(share * (sorted.len() - 1) as f64) as usize]
    }
}

fn random(state: &mut u64) -> f64 {
    *state = state
        .wrapping_mul(6364136223846793005)
        .wrapping_add(1442695040888963407);
    (*state >> 11) as f64 / (1u64 << 53) as f64
}

impl Machine {
    /// The embedded base on two cores.
    fn small(arrivals: f64) -> Self {
        Self {
            bare: 0.0006,
            each: 0.000_15,
            prompt: 0.0025,
            arrivals,
            tokens: 64,
            overrun: 0.000_06,
            streams: None,
        }
    }

    fn run(&self, sharing: Option<Sharing>, seconds: f64) -> Seen {
        let mut pacing = Pacing::new(sharing.unwrap_or_default());
        let mut state = 7u64;
        let next = |state: &mut u64| -(1.0 - random(state)).ln() / self.arrivals;
        let (mut now, mut arrival) = (0.0f64, next(&mut state));
        // Tokens left, and when the newest came.
        let mut running: Vec<(u32, Option<f64>)> = Vec::new();
        let mut seen = Seen {
            gaps: Vec::new(),
            training: 0.0,
            longest_slice: 0.0,
        };
        while now < seconds {
            while self.streams.is_none() && arrival <= now {
                running.push((self.tokens, None));
                arrival += next(&mut state);
            }
            while running.len() < self.streams.unwrap_or(0) {
                // The first begin at different places, so that they do not end together.
                let begun = if now == 0.0 {
                    running.len() as u32 * self.tokens / 16
                } else {
                    0
                };
                running.push((self.tokens - begun, None));
            }
            if running.is_empty() {
                seen.training += arrival - now;
                now = arrival;
                continue;
            }
            let prompts = running.iter().filter(|(_, last)| last.is_none()).count();
            let coming = Coming {
                generating: prompts < running.len(),
                opening: prompts > 0,
                crowded: false,
            };
            let trainer = Trainer {
                waits: sharing.is_some(),
                works: sharing.is_some(),
            };
            let slice = pacing.before(now, coming, trainer, 0.000_15);
            if slice > 0.0 {
                let given = slice + self.overrun;
                pacing.given(given);
                seen.training += given;
                seen.longest_slice = seen.longest_slice.max(given);
                now += given;
            }
            let noise = 1.0 + 0.1 * random(&mut state);
            now += noise
                * (self.bare + self.each * running.len() as f64 + self.prompt * prompts as f64);
            for (left, last) in &mut running {
                *left -= 1;
                if let Some(last) = last.replace(now) {
                    seen.gaps.push(now - last);
                }
            }
            running.retain(|(left, _)| *left > 0);
            pacing.after(now, !running.is_empty());
        }
        seen.training /= now;
        seen
    }
}

#[test]
fn beside_requests_training_has_more_than_idle_time_and_the_slowest_gaps_stay() {
    for arrivals in [20.0, 34.5] {
        let machine = Machine::small(arrivals);
        let off = machine.run(None, 60.0);
        let on = machine.run(Some(Sharing::default()), 60.0);
        let slower = on.quantile(0.99) / off.quantile(0.99);
        assert!(slower <= 1.3, "{arrivals}: p99 {slower}");
        // Without slices, idle time is all that training would have.
        let more = on.training - off.training;
        assert!(more >= 0.05, "{arrivals}: {more} of {}", on.training);
    }
}

#[test]
fn at_saturation_training_has_its_least_and_the_slowest_gaps_stay() {
    // As many streams as never end, and no prompts: every step is alike.
    for (bare, streams) in [(0.0006, 16u32), (0.004, 8), (0.06, 8), (0.5, 2)] {
        let steps = |sharing: Option<Sharing>| {
            let (mut pacing, mut state) = (Pacing::new(sharing.unwrap_or_default()), 3u64);
            let (mut now, mut last, mut given, mut gaps) = (0.0, 0.0, 0.0, Vec::new());
            for _ in 0..20_000 {
                let coming = Coming {
                    generating: true,
                    opening: false,
                    crowded: true,
                };
                let waits = sharing.is_some();
                let slice = pacing.before(
                    now,
                    coming,
                    Trainer {
                        waits,
                        works: waits,
                    },
                    0.000_15,
                );
                pacing.given(slice);
                given += slice;
                let step = bare + 0.000_15 * f64::from(streams);
                now += slice + step * (1.0 + 0.2 * random(&mut state));
                pacing.after(now, true);
                gaps.push(now - last);
                last = now;
            }
            let seen = Seen {
                gaps,
                training: given / now,
                longest_slice: 0.0,
            };
            (seen.quantile(0.99), seen.training)
        };
        let (off, _) = steps(None);
        let (on, share) = steps(Some(Sharing::default()));
        assert!(on / off <= 1.1, "{bare}: p99 {}", on / off);
        assert!((0.04..0.07).contains(&share), "{bare}: {share}");
    }
}

#[test]
fn streams_that_each_ask_again_at_once_leave_training_its_least() {
    // Never idle, and prompts among the steps: the slower gaps are several times the usual ones.
    let machine = Machine {
        streams: Some(16),
        ..Machine::small(1.0)
    };
    let off = machine.run(None, 60.0);
    let on = machine.run(Some(Sharing::default()), 60.0);
    let slower = on.quantile(0.99) / off.quantile(0.99);
    assert!(slower <= 1.1, "p99 {slower}");
    assert!(
        (0.03..0.08).contains(&on.training),
        "training has {}",
        on.training
    );
    let kept = on.gaps.len() as f64 / off.gaps.len() as f64;
    assert!(kept >= 0.9, "serving keeps {kept}");
}

#[test]
fn what_a_target_leaves_is_used_and_gaps_stay_within_it() {
    let sharing = Sharing {
        longest_gap: Some(Duration::from_millis(10)),
        max_share: 0.8,
        ..Sharing::default()
    };
    let machine = Machine {
        prompt: 0.001,
        ..Machine::small(10.0)
    };
    let on = machine.run(Some(sharing), 30.0);
    assert!(on.quantile(0.99) <= 0.0103, "{}", on.quantile(0.99));
    assert!(on.quantile(0.5) >= 0.002, "{}", on.quantile(0.5));
    assert!(on.training > 0.6, "{}", on.training);
}

#[test]
fn a_target_that_serving_alone_exceeds_leaves_the_least() {
    let sharing = Sharing {
        longest_gap: Some(Duration::from_micros(500)),
        ..Sharing::default()
    };
    let machine = Machine {
        tokens: 100_000,
        ..Machine::small(2.0)
    };
    let on = machine.run(Some(sharing), 30.0);
    assert!((0.02..0.15).contains(&on.training), "{}", on.training);
    assert!(on.longest_slice <= LUMP, "{}", on.longest_slice);
}

#[test]
fn no_slice_is_longer_than_is_told() {
    let mut pacing = Pacing::new(Sharing::default());
    let waits = Trainer {
        waits: true,
        works: true,
    };
    let coming = Coming {
        generating: true,
        ..Coming::default()
    };
    let (mut now, mut state) = (0.0, 5u64);
    for step in 0..20_000 {
        let told = pacing.longest();
        let slice = pacing.before(now, coming, waits, 0.0001);
        assert!(slice <= told.max(pacing.longest()) + 1e-9, "{slice} {told}");
        pacing.given(slice);
        now += slice + 0.001 + 0.002 * random(&mut state);
        // Idle for a moment now and then, so that gaps are filled.
        let idle = step % 64 == 0;
        pacing.after(now, !idle);
        now += if idle { 0.02 } else { 0.0 };
    }
    assert!(pacing.share(now, waits) > 0.2);
}

#[test]
fn nothing_is_given_where_nothing_trains_or_the_share_is_none() {
    let none = Sharing {
        min_share: 0.0,
        max_share: 0.0,
        longest_gap: None,
    };
    for (sharing, waits) in [(Sharing::default(), false), (none, true)] {
        let mut pacing = Pacing::new(sharing);
        let mut now = 0.0;
        for _ in 0..5_000 {
            let trainer = Trainer {
                waits,
                works: waits,
            };
            assert_eq!(pacing.before(now, Coming::default(), trainer, 0.0), 0.0);
            now += 0.002;
            pacing.after(now, true);
        }
    }
}

#[test]
fn idle_time_counts_as_trainings() {
    let mut pacing = Pacing::new(Sharing::default());
    let works = Trainer {
        waits: false,
        works: true,
    };
    pacing.after(0.0, false);
    pacing.before(30.0, Coming::default(), works, 0.0);
    assert!(pacing.share(30.0, works) > 0.9);
    assert_eq!(pacing.owed, -CREDIT);
}
