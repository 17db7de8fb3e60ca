use proptest::prelude::*;

use super::row;
use super::*;

fn choose(sampling: &Sampling, logits: &[f32]) -> u32 {
    Sampler::new(sampling, &[], 0)
        .choose(logits, &[], None, &mut Scratch::default())
        .unwrap()
        .id
}

/// How often each token is drawn in `draws` draws of one answer.
fn frequencies(sampling: &Sampling, logits: &[f32], draws: usize) -> Vec<usize> {
    let mut sampler = Sampler::new(sampling, &[], 0);
    let mut scratch = Scratch::default();
    let mut counts = vec![0; logits.len()];
    for _ in 0..draws {
        counts[sampler.choose(logits, &[], None, &mut scratch).unwrap().id as usize] += 1;
    }
    counts
}

fn seeded() -> Sampling {
    Sampling {
        seed: Some(7),
        ..Sampling::default()
    }
}

fn softmax(logits: &[f32], temperature: f64) -> Vec<f64> {
    let peak = logits.iter().copied().fold(f32::MIN, f32::max);
    let weights: Vec<f64> = logits
        .iter()
        .map(|&v| (f64::from(v - peak) / temperature).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / total).collect()
}

/// The plain reading of the filters: sort everything, cut, renormalise.
fn kept_plainly(logits: &[f32], sampling: &Sampling) -> Vec<u32> {
    let probs = softmax(logits, f64::from(sampling.temperature));
    let mut ids: Vec<usize> = (0..logits.len()).collect();
    ids.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    if sampling.top_k > 0 {
        ids.truncate(sampling.top_k as usize);
    }
    let total: f64 = ids.iter().map(|&id| probs[id]).sum();
    let mut mass = 0.0;
    let mut kept = Vec::new();
    for &id in &ids {
        if mass >= f64::from(sampling.top_p) * total {
            break;
        }
        mass += probs[id];
        kept.push(id);
    }
    kept.retain(|&id| probs[id] >= f64::from(sampling.min_p) * probs[ids[0]]);
    let mut kept: Vec<u32> = kept.into_iter().map(|id| id as u32).collect();
    kept.sort_unstable();
    kept
}

#[test]
fn greedy_takes_the_largest_and_of_equals_the_lowest_id() {
    let greedy = Sampling {
        temperature: 0.0,
        ..Sampling::default()
    };
    assert_eq!(choose(&greedy, &[0.0, 3.0, 1.0, 3.0]), 1);
    let mut wide = vec![-1.0; 1000];
    wide[637] = 5.0;
    wide[638] = 5.0;
    assert_eq!(choose(&greedy, &wide), 637);
}

#[test]
fn draws_follow_the_distribution() {
    let logits = [0.0, 1.0, 2.0, -1.0, 0.5, 0.5];
    for temperature in [0.5, 1.0, 2.0] {
        let draws = 20_000;
        let counts = frequencies(
            &Sampling {
                temperature,
                ..seeded()
            },
            &logits,
            draws,
        );
        let chi_square: f64 = softmax(&logits, f64::from(temperature))
            .into_iter()
            .zip(&counts)
            .map(|(p, &n)| (n as f64 - p * draws as f64).powi(2) / (p * draws as f64))
            .sum();
        // 99.9 % quantile for 5 degrees of freedom.
        assert!(chi_square < 20.5, "temperature {temperature}: {counts:?}");
    }
}

#[test]
fn a_seed_repeats_an_answer_and_answers_of_one_seed_differ() {
    let logits: Vec<f32> = (0..200).map(|i| (i as f32 * 0.7).sin()).collect();
    let say = |seed, answer| -> Vec<u32> {
        let sampling = Sampling {
            seed: Some(seed),
            ..Sampling::default()
        };
        let mut sampler = Sampler::new(&sampling, &[], answer);
        let mut scratch = Scratch::default();
        (0..50)
            .map(|_| sampler.choose(&logits, &[], None, &mut scratch).unwrap().id)
            .collect()
    };
    assert_eq!(say(1, 0), say(1, 0));
    assert_ne!(say(1, 0), say(1, 1));
    assert_ne!(say(1, 0), say(2, 0));
}

#[test]
fn the_repetition_penalty_reads_prompt_and_answer() {
    let sampling = Sampling {
        temperature: 0.0,
        repetition_penalty: 2.0,
        ..Sampling::default()
    };
    let mut sampler = Sampler::new(&sampling, &[0], 0);
    let mut scratch = Scratch::default();
    let mut next = |logits: &[f32]| sampler.choose(logits, &[], None, &mut scratch).unwrap().id;
    // 3 / 2 is behind 2; then 2 / 2 is behind 3 / 2; a negative score is multiplied.
    assert_eq!(next(&[3.0, 2.0, 0.0]), 1);
    assert_eq!(next(&[3.0, 2.0, 0.0]), 0);
    assert_eq!(next(&[-1.0, -1.5, -1.8]), 2);
}

#[test]
fn presence_and_frequency_penalties_read_the_answer_only() {
    let mut scratch = Scratch::default();
    let presence = Sampling {
        temperature: 0.0,
        presence_penalty: 1.0,
        ..Sampling::default()
    };
    let mut sampler = Sampler::new(&presence, &[0, 0, 0], 0);
    let said: Vec<u32> = (0..3)
        .map(|_| {
            sampler
                .choose(&[1.5, 1.0, 0.0], &[], None, &mut scratch)
                .unwrap()
                .id
        })
        .collect();
    assert_eq!(said, [0, 1, 0]);
    let frequency = Sampling {
        temperature: 0.0,
        frequency_penalty: 0.5,
        ..Sampling::default()
    };
    let mut sampler = Sampler::new(&frequency, &[], 0);
    let said: Vec<u32> = (0..4)
        .map(|_| {
            sampler
                .choose(&[2.2, 1.0], &[], None, &mut scratch)
                .unwrap()
                .id
        })
        .collect();
    assert_eq!(said, [0, 0, 0, 1]);
}

#[test]
fn bias_moves_and_forbidding_excludes() {
    let sampling = Sampling {
        temperature: 0.0,
        logit_bias: vec![(2, 100.0), (9, 1.0)],
        ..Sampling::default()
    };
    let mut sampler = Sampler::new(&sampling, &[], 0);
    let mut scratch = Scratch::default();
    assert_eq!(
        sampler
            .choose(&[5.0, 4.0, 0.0], &[], None, &mut scratch)
            .unwrap()
            .id,
        2
    );
    assert_eq!(
        sampler
            .choose(&[5.0, 4.0, 0.0], &[2, 0], None, &mut scratch)
            .unwrap()
            .id,
        1
    );
    assert_eq!(
        sampler.choose(&[5.0, 4.0, 0.0], &[0, 1, 2], None, &mut scratch),
        Err(NotFinite)
    );
}

#[test]
fn log_probabilities_are_the_models_own_whatever_the_settings() {
    let logits = [0.0, 2.0, 1.0];
    let plain = softmax(&logits, 1.0);
    let sampling = Sampling {
        temperature: 0.3,
        top_k: 1,
        presence_penalty: 1.0,
        logit_bias: vec![(0, 100.0)],
        logprobs: Some(2),
        ..seeded()
    };
    let chosen = Sampler::new(&sampling, &[], 0)
        .choose(&logits, &[], None, &mut Scratch::default())
        .unwrap();
    let score = chosen.score.unwrap();
    assert_eq!(chosen.id, 0);
    assert!((f64::from(score.logprob) - plain[0].ln()).abs() < 1e-6);
    assert_eq!(score.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 2]);
    assert!((f64::from(score.top[0].1) - plain[1].ln()).abs() < 1e-6);
    assert!(
        Sampler::new(&seeded(), &[], 0)
            .choose(&logits, &[], None, &mut Scratch::default())
            .unwrap()
            .score
            .is_none()
    );
}

#[test]
fn scores_that_are_not_finite_are_an_error() {
    for temperature in [0.0, 1.0] {
        let sampling = Sampling {
            temperature,
            ..seeded()
        };
        for bad in [f32::NAN, f32::INFINITY] {
            for at in [0, 3, 17, 32] {
                let mut logits = vec![1.0; 33];
                logits[at] = bad;
                let mut sampler = Sampler::new(&sampling, &[], 0);
                assert_eq!(
                    sampler.choose(&logits, &[at as u32], None, &mut Scratch::default()),
                    Err(NotFinite)
                );
            }
        }
        assert!(
            Sampler::new(&sampling, &[], 0)
                .choose(&[], &[], None, &mut Scratch::default())
                .is_err()
        );
    }
}

#[test]
fn extreme_temperatures_stay_in_range() {
    let logits = [1.0, 1.1, f32::NEG_INFINITY, -1e30];
    assert_eq!(
        choose(
            &Sampling {
                temperature: 1e-38,
                ..seeded()
            },
            &logits
        ),
        1
    );
    let hot = frequencies(
        &Sampling {
            temperature: f32::MAX,
            ..seeded()
        },
        &logits,
        600,
    );
    assert!(
        hot[0] > 100 && hot[1] > 100 && hot[2] == 0 && hot[3] > 100,
        "{hot:?}"
    );
}

fn row_of_logits() -> impl Strategy<Value = Vec<f32>> {
    // Few distinct values, so that ties are common.
    prop::collection::vec((-40i32..40).prop_map(|v| v as f32 / 8.0), 1..700)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_foremost_are_those_a_full_sort_puts_first(logits in row_of_logits(), k in 0usize..40) {
        let mut fast = Vec::new();
        row::foremost(&logits, k, &mut fast);
        fast.sort_unstable_by(row::ahead);
        let mut plain: Vec<(f32, u32)> = logits.iter().copied().zip(0..).collect();
        plain.sort_unstable_by(row::ahead);
        plain.truncate(k);
        prop_assert_eq!(fast, plain);
    }

    #[test]
    fn filters_keep_what_their_definitions_keep(
        logits in row_of_logits(),
        top_k in prop_oneof![Just(0u32), 1u32..60],
        top_p in prop_oneof![Just(1.0f32), 0.05f32..0.999],
        min_p in prop_oneof![Just(0.0f32), 0.01f32..1.0],
        temperature in 0.3f32..3.0,
    ) {
        let sampling = Sampling { temperature, top_k, top_p, min_p, ..seeded() };
        let allowed = kept_plainly(&logits, &sampling);
        let counts = frequencies(&sampling, &logits, 200);
        for (id, &count) in counts.iter().enumerate() {
            prop_assert!(count == 0 || allowed.contains(&(id as u32)), "{} was drawn but not kept", id);
        }
        // Of those that one draw in ten should give, none is missed by 200.
        let weight = |id: u32| (logits[id as usize] / temperature).exp();
        let all: f32 = allowed.iter().map(|&id| weight(id)).sum();
        for &id in allowed.iter().filter(|&&id| weight(id) >= 0.1 * all) {
            prop_assert!(counts[id as usize] > 0, "{} was kept but never drawn", id);
        }
    }

    #[test]
    fn the_nucleus_is_the_smallest_leading_set(logits in row_of_logits(), p in 0.01f64..1.0) {
        let mut weights: Vec<(f32, u32)> = logits.iter().map(|&v| v.exp()).zip(0..).collect();
        let total: f64 = weights.iter().map(|w| f64::from(w.0)).sum();
        let end = row::nucleus_end(&mut weights, p * total).unwrap();
        weights.sort_unstable_by(row::ahead);
        let size = weights.iter().position(|w| *w == end).unwrap();
        let mass = |n: usize| -> f64 { weights[..n].iter().map(|w| f64::from(w.0)).sum() };
        prop_assert!(mass(size) < p * total * (1.0 + 1e-9));
        prop_assert!(mass(size + 1) >= p * total * (1.0 - 1e-9));
    }
}

#[test]
fn tokens_are_kept_by_their_bits_whatever_the_word() {
    let bits = [u32::MAX, 0, 0x8000_0001, 0xdead_beef];
    for length in [0, 1, 33, 97, 127, 160] {
        let scores: Vec<f32> = (0..length).map(|id| id as f32 - 60.0).collect();
        let mut kept = scores.clone();
        row::keep(&mut kept, &bits);
        for (id, score) in scores.iter().enumerate() {
            let set = bits
                .get(id / 32)
                .is_some_and(|word| word >> (id % 32) & 1 == 1);
            let expected = if set { *score } else { f32::NEG_INFINITY };
            assert_eq!(kept[id], expected, "{id} of {length}");
        }
    }
}
