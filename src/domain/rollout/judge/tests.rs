use super::*;
use crate::domain::rollout::Outcome;

fn tally(answers: u64, errors: u64, seconds: f64) -> Tally {
    let mut tally = Tally::default();
    for _ in 0..answers - errors {
        tally.ended(Outcome::Answered, Some(seconds / 4.0), seconds);
    }
    for _ in 0..errors {
        tally.ended(Outcome::Failed, None, seconds);
    }
    tally
}

fn scored(mut tally: Tally, scores: u64, score: f64) -> Tally {
    (0..scores).for_each(|_| tally.scored(score));
    tally
}

fn strict() -> Policy {
    Policy {
        min_requests: Some(20),
        max_error_rate: Some(0.1),
        max_latency_ratio: Some(1.5),
        max_heldout_loss_ratio: Some(1.1),
        min_feedback: Some(5),
        min_score_ratio: Some(0.9),
        promote_after: Some(60),
    }
}

fn judged(policy: &Policy, canary: &Tally, losses: [Option<f64>; 2], elapsed: f64) -> Verdict {
    let stable = scored(tally(200, 1, 1.0), 10, 0.5);
    let [of_canary, of_stable] = losses;
    let canary = Evidence {
        tally: canary,
        heldout_loss: of_canary,
    };
    let stable = Evidence {
        tally: &stable,
        heldout_loss: of_stable,
    };
    judge(policy, canary, stable, elapsed)
}

const ALIKE: [Option<f64>; 2] = [Some(1.0), Some(1.0)];

#[test]
fn a_policy_promotes_waits_or_aborts_as_the_numbers_say() {
    use Decision::{Abort, Keep, Promote};
    let good = || scored(tally(30, 1, 1.0), 6, 0.5);
    type Case = (
        &'static str,
        Tally,
        [Option<f64>; 2],
        f64,
        Decision,
        &'static str,
    );
    let table: [Case; 11] = [
        ("all holds", good(), ALIKE, 61.0, Promote, "30 answers"),
        ("too soon", good(), ALIKE, 59.0, Keep, "59 of 60 s"),
        (
            "few answers",
            scored(tally(10, 0, 1.0), 6, 0.5),
            ALIKE,
            99.0,
            Keep,
            "10 of 20",
        ),
        (
            "no scores",
            tally(30, 0, 1.0),
            ALIKE,
            99.0,
            Keep,
            "0 of 5 scores",
        ),
        (
            "errors",
            scored(tally(30, 4, 1.0), 6, 0.5),
            ALIKE,
            1.0,
            Abort,
            "4 of 30",
        ),
        (
            "errors early",
            tally(3, 3, 1.0),
            ALIKE,
            0.0,
            Abort,
            "3 of 3",
        ),
        (
            "few errors early",
            tally(3, 2, 1.0),
            ALIKE,
            0.0,
            Keep,
            "3 of 20",
        ),
        (
            "slow",
            scored(tally(30, 0, 2.0), 6, 0.5),
            ALIKE,
            99.0,
            Abort,
            "95 %",
        ),
        (
            "lossy",
            good(),
            [Some(1.2), Some(1.0)],
            0.0,
            Abort,
            "held-out",
        ),
        ("no loss", good(), [None, Some(1.0)], 99.0, Keep, "held-out"),
        (
            "disliked",
            scored(tally(30, 0, 1.0), 6, -0.5),
            ALIKE,
            0.0,
            Abort,
            "score",
        ),
    ];
    for (case, canary, losses, elapsed, decision, says) in table {
        let verdict = judged(&strict(), &canary, losses, elapsed);
        assert_eq!(verdict.decision, decision, "{case}: {}", verdict.why);
        assert!(verdict.why.contains(says), "{case}: {}", verdict.why);
    }
}

#[test]
fn an_empty_policy_neither_promotes_nor_aborts() {
    for errors in [0, 500] {
        let verdict = judged(&Policy::default(), &tally(500, errors, 9.0), ALIKE, 1e9);
        assert_eq!(verdict.decision, Decision::Keep, "{}", verdict.why);
    }
}

#[test]
fn more_errors_never_turn_an_abort_back() {
    let policy = Policy {
        min_requests: Some(40),
        max_error_rate: Some(0.05),
        promote_after: Some(0),
        ..Policy::default()
    };
    for answers in 1..120u64 {
        let mut aborted = false;
        for errors in 0..=answers {
            let verdict = judged(&policy, &tally(answers, errors, 1.0), ALIKE, 1.0);
            let aborts = verdict.decision == Decision::Abort;
            assert!(aborts || !aborted, "{errors} of {answers}");
            aborted = aborts;
            // Nothing is promoted that has not been seen enough, or that has failed too often.
            if verdict.decision == Decision::Promote {
                assert!(answers >= 40 && errors as f64 <= 0.05 * answers as f64);
            }
        }
    }
}

#[test]
fn without_enough_of_stable_nothing_is_compared_with_it() {
    let policy = Policy {
        min_requests: Some(10),
        max_latency_ratio: Some(1.0),
        promote_after: Some(0),
        ..Policy::default()
    };
    let (canary, stable) = (tally(50, 0, 5.0), tally(9, 0, 1.0));
    let evidence = |tally| Evidence {
        tally,
        heldout_loss: None,
    };
    let verdict = judge(&policy, evidence(&canary), evidence(&stable), 9.0);
    assert_eq!(verdict.decision, Decision::Keep);
    assert!(verdict.why.contains("9 of 10"), "{}", verdict.why);
}
