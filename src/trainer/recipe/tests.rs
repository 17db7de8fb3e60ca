use super::*;
use crate::domain::{LossScale, Targets};

fn field(result: Result<Recipe, Reason>) -> String {
    match result {
        Err(Reason::BadField { field, .. }) => field,
        other => panic!("expected a bad field, got {other:?}"),
    }
}

#[test]
fn wishing_nothing_gives_the_documented_defaults() {
    let recipe = resolve(&Wishes::default(), None, 4096).unwrap();
    assert_eq!((recipe.rank, recipe.alpha, recipe.dropout), (16, 32.0, 0.0));
    assert_eq!(
        (recipe.adam_beta1, recipe.adam_beta2, recipe.adam_epsilon),
        (0.9, 0.999, 1e-8)
    );
    assert_eq!(
        (recipe.weight_decay, recipe.max_grad_norm, recipe.warmup),
        (0.0, 1.0, 0.0)
    );
    assert_eq!((recipe.epochs, recipe.steps), (Some(3.0), None));
    assert_eq!(
        (recipe.batch_size, recipe.micro_batch, recipe.max_seq),
        (8, 8, 2048)
    );
    assert_eq!(resolve(&Wishes::default(), None, 512).unwrap().max_seq, 512);
}

#[test]
fn any_two_batch_numbers_give_the_third() {
    let solve = |batch_size, micro_batch, accumulate| {
        resolve(
            &Wishes {
                batch_size,
                micro_batch,
                accumulate,
                ..Wishes::default()
            },
            None,
            512,
        )
        .map(|r| (r.batch_size, r.micro_batch))
    };
    assert_eq!(solve(Some(32), Some(8), None).unwrap(), (32, 8));
    assert_eq!(solve(Some(32), None, Some(4)).unwrap(), (32, 8));
    assert_eq!(solve(None, Some(8), Some(4)).unwrap(), (32, 8));
    assert_eq!(solve(Some(32), Some(8), Some(4)).unwrap(), (32, 8));
    assert_eq!(solve(Some(32), None, None).unwrap(), (32, 32));
    assert_eq!(solve(None, Some(2), None).unwrap(), (2, 2));
}

#[test]
fn batch_numbers_that_do_not_fit_name_their_field() {
    let fault = |batch_size, micro_batch, accumulate| {
        field(resolve(
            &Wishes {
                batch_size,
                micro_batch,
                accumulate,
                ..Wishes::default()
            },
            None,
            512,
        ))
    };
    assert_eq!(fault(Some(30), Some(8), None), "micro_batch");
    assert_eq!(fault(Some(8), Some(16), None), "micro_batch");
    assert_eq!(fault(Some(30), None, Some(4)), "accumulate");
    assert_eq!(fault(Some(32), Some(8), Some(3)), "accumulate");
    assert_eq!(fault(Some(0), None, None), "batch_size");
    assert_eq!(fault(None, Some(65_536), Some(65_536)), "batch_size");
}

#[test]
fn values_out_of_range_name_their_field() {
    let cases = [
        (
            "rank",
            Wishes {
                rank: Some(0),
                ..Wishes::default()
            },
        ),
        (
            "alpha",
            Wishes {
                alpha: Some(f64::NAN),
                ..Wishes::default()
            },
        ),
        (
            "dropout",
            Wishes {
                dropout: Some(1.0),
                ..Wishes::default()
            },
        ),
        (
            "targets",
            Wishes {
                targets: Some(Targets::List(vec![])),
                ..Wishes::default()
            },
        ),
        (
            "epochs",
            Wishes {
                epochs: Some(0.0),
                ..Wishes::default()
            },
        ),
        (
            "steps",
            Wishes {
                steps: Some(0),
                ..Wishes::default()
            },
        ),
        (
            "steps",
            Wishes {
                steps: Some(5),
                epochs: Some(1.0),
                ..Wishes::default()
            },
        ),
        (
            "learning_rate",
            Wishes {
                learning_rate: Some(-1.0),
                ..Wishes::default()
            },
        ),
        (
            "warmup",
            Wishes {
                warmup: Some(1.5),
                ..Wishes::default()
            },
        ),
        (
            "max_seq",
            Wishes {
                max_seq: Some(513),
                ..Wishes::default()
            },
        ),
        (
            "eval_split",
            Wishes {
                eval_split: Some(-0.1),
                ..Wishes::default()
            },
        ),
        (
            "save_every",
            Wishes {
                save_every: Some(0),
                ..Wishes::default()
            },
        ),
        (
            "adam_beta2",
            Wishes {
                adam_beta2: Some(1.0),
                ..Wishes::default()
            },
        ),
        (
            "adam_epsilon",
            Wishes {
                adam_epsilon: Some(0.0),
                ..Wishes::default()
            },
        ),
        (
            // Zero in the optimizer's f32.
            "adam_epsilon",
            Wishes {
                adam_epsilon: Some(1e-60),
                ..Wishes::default()
            },
        ),
        (
            "max_grad_norm",
            Wishes {
                max_grad_norm: Some(f64::INFINITY),
                ..Wishes::default()
            },
        ),
    ];
    for (expected, wishes) in cases {
        assert_eq!(field(resolve(&wishes, None, 512)), expected);
    }
}

#[test]
fn a_continuation_inherits_the_shape_and_may_not_contradict_it() {
    let parent = Wishes {
        rank: Some(4),
        alpha: Some(12.0),
        use_rslora: Some(true),
        targets: Some(Targets::List(vec!["q_proj".into()])),
        ..Wishes::default()
    };
    let recipe = resolve(&Wishes::default(), Some(&parent), 512).unwrap();
    assert_eq!(
        (recipe.rank, recipe.alpha, recipe.use_rslora),
        (4, 12.0, true)
    );
    assert_eq!(Some(recipe.targets), parent.targets);
    let agreeing = Wishes {
        rank: Some(4),
        alpha: Some(12.0),
        ..Wishes::default()
    };
    assert!(resolve(&agreeing, Some(&parent), 512).is_ok());
    let other_rank = Wishes {
        rank: Some(8),
        ..Wishes::default()
    };
    assert_eq!(field(resolve(&other_rank, Some(&parent), 512)), "rank");
    let other_variant = Wishes {
        use_rslora: Some(false),
        ..Wishes::default()
    };
    assert_eq!(
        field(resolve(&other_variant, Some(&parent), 512)),
        "use_rslora"
    );
}

#[test]
fn a_loss_scale_is_of_f16_and_what_refuses_it_names_both() {
    let resolved = |precision, loss_scale| {
        let wishes = Wishes {
            precision,
            loss_scale,
            ..Wishes::default()
        };
        resolve(&wishes, None, 512)
    };
    let scale = |precision| resolved(precision, None).unwrap().loss_scale;
    assert_eq!((scale(None), scale(Some(Precision::Bf16))), (None, None));
    assert_eq!(scale(Some(Precision::F16)), Some(LossScale::Dynamic));
    let fixed = Some(LossScale::Fixed(512.0));
    let found = resolved(Some(Precision::F16), fixed).unwrap();
    assert_eq!(found.loss_scale, fixed);
    for (precision, name) in [(None, "f32"), (Some(Precision::Bf16), "bf16")] {
        let Err(Reason::BadField { field, why }) = resolved(precision, fixed) else {
            panic!("refused")
        };
        assert_eq!(field, "loss_scale");
        assert!(why.contains(&format!("precision `{name}`")), "{why}");
    }
}
