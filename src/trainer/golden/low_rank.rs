//! Jobs that learn all that a low-rank method can: patterns, biases, the embedding and the head.

use super::*;
use crate::domain::{Bias, Method, Patterns, Reason, Recipe, Targets};
use crate::trainer::checkpoint::Checkpoints;
use crate::trainer::run::Finished;

fn everything(method: Method) -> Wishes {
    Wishes {
        method: Some(method),
        rank: Some(4),
        targets: Some(Targets::from_text("q_proj,down_proj,embed_tokens,lm_head")),
        bias: Some(Bias::All),
        rank_pattern: Some(Patterns::from_text(
            r#"{"lm_head": 3, ".*\\.0\\..*q_proj": 2}"#,
        )),
        alpha_pattern: Some(Patterns::from_text(r#"{"embed_tokens": 2}"#)),
        dropout: Some(0.1),
        steps: Some(6),
        batch_size: Some(2),
        pack: Some(false),
        learning_rate: Some(1e-2),
        save_every: Some(2),
        lora_plus_ratio: Some(2.0),
        ..Wishes::default()
    }
}

fn planned(base: &Base, recipe: Recipe, parent: Option<Parent>) -> Result<Plan, Reason> {
    let rows = golden("training/rows.jsonl");
    Plan::new(base, recipe, parent, Data::of(&rows), 0)
}

/// Fails after a step, as a crash would end a job.
struct Dies(u64);

impl Watch for Dies {
    fn stepped(&mut self, report: &StepReport) -> Result<(), Fault> {
        match report.step == self.0 {
            true => Err(std::io::Error::other("killed").into()),
            false => Ok(()),
        }
    }
}

fn finish(
    base: &Base,
    plan: &Plan,
    saved: Option<&Checkpoints>,
    watch: &mut dyn Watch,
) -> Option<Finished> {
    let spec = RunSpec {
        held_out: &plan.held_out,
        checkpoints: saved,
        ..bare(&base.model, &plan.recipe, &plan.train, fit(base))
    };
    match train(&spec, plan.method.start(&base.model).unwrap(), watch) {
        Ok(Ending::Finished(finished)) => Some(finished),
        _ => None,
    }
}

fn files(base: &Base, plan: &Plan, finished: &Finished) -> peft::Files {
    publish::files(plan, &base.name, finished).unwrap()
}

#[test]
fn a_job_that_was_killed_goes_on_bit_for_bit() {
    for (method, base) in [(Method::Lora, "qwen2"), (Method::Dora, "llama")] {
        let base = self::base(base);
        let recipe = settle(&everything(method), None, &base).unwrap();
        let plan = planned(&base, recipe, None).unwrap();
        let whole = finish(&base, &plan, None, &mut Steps::default()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let saved = Checkpoints {
            folder: folder.path().to_owned(),
            identity: plan.identity.clone(),
        };
        assert!(finish(&base, &plan, Some(&saved), &mut Dies(3)).is_none());
        let mut steps = Steps::default();
        let resumed = finish(&base, &plan, Some(&saved), &mut steps).unwrap();
        assert_eq!(steps.0.first().map(|report| report.step), Some(3));
        let [whole, resumed] = [whole, resumed].map(|finished| finished.trainable.values());
        assert_eq!(whole, resumed, "{method:?}");
    }
}

#[test]
fn a_job_goes_on_from_an_adapter_as_it_is_and_does_not_contradict_it() {
    for (method, base) in [(Method::Lora, "qwen2"), (Method::Dora, "qwen2")] {
        let base = self::base(base);
        let recipe = settle(&everything(method), None, &base).unwrap();
        let plan = planned(&base, recipe, None).unwrap();
        let counted = plan.method.count();
        let first = finish(&base, &plan, None, &mut Steps::default()).unwrap();
        let first = files(&base, &plan, &first);
        let parent = Parent {
            adapter: Arc::new(adapter(&base, &first)),
            generation: None,
        };
        let wishes = |wishes: Wishes| Wishes {
            steps: Some(1),
            learning_rate: Some(0.0),
            from: Some("first".into()),
            ..wishes
        };
        let settled = |asked: Wishes| settle(&wishes(asked), Some(&parent.adapter), &base);
        let recipe = settled(Wishes::default()).unwrap();
        assert_eq!(recipe.bias, Bias::All);
        assert_eq!(
            recipe.rank_pattern,
            everything(method).rank_pattern.unwrap()
        );
        let plan = planned(&base, recipe, Some(parent.clone())).unwrap();
        assert_eq!(plan.method.count(), counted);
        let second = finish(&base, &plan, None, &mut Steps::default()).unwrap();
        let second = files(&base, &plan, &second);
        // A rate of zero moves nothing.
        assert!(first[peft::WEIGHTS_FILE] == second[peft::WEIGHTS_FILE]);
        for (field, asked) in [
            (
                "bias",
                Wishes {
                    bias: Some(Bias::None),
                    ..Wishes::default()
                },
            ),
            (
                "rank_pattern",
                Wishes {
                    rank_pattern: Some(Patterns::default()),
                    ..Wishes::default()
                },
            ),
            (
                "alpha_pattern",
                Wishes {
                    alpha_pattern: Some(Patterns::from_text(r#"{"q_proj": 1}"#)),
                    ..Wishes::default()
                },
            ),
            (
                "targets",
                Wishes {
                    targets: Some(Targets::from_text("q_proj,down_proj,lm_head")),
                    ..Wishes::default()
                },
            ),
        ] {
            let why = settled(asked).unwrap_err().to_string();
            assert!(why.contains("contradicts"), "{field}: {why}");
        }
        // Said again in other words, it is no contradiction.
        let again = Patterns::from_text(r#"{ "embed_tokens" : 2.0 }"#);
        settled(Wishes {
            alpha_pattern: Some(again),
            ..Wishes::default()
        })
        .unwrap();
    }
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    let base = base("llama");
    let asked = |wishes: Wishes| {
        let recipe = settle(&wishes, None, &base);
        let planned = recipe.and_then(|recipe| planned(&base, recipe, None));
        match planned.map(drop) {
            Err(Reason::BadField { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    };
    let patterns = |text| Some(Patterns::from_text(text));
    for (field, wishes) in [
        (
            "rank_pattern",
            Wishes {
                rank_pattern: patterns(r#"{"o_proj": 4}"#),
                targets: Some(Targets::from_text("q_proj")),
                ..Wishes::default()
            },
        ),
        (
            "rank_pattern",
            Wishes {
                rank_pattern: patterns(r#"{"q_proj": 0}"#),
                ..Wishes::default()
            },
        ),
        (
            "rank_pattern",
            Wishes {
                rank_pattern: patterns(r#"{"(": 4}"#),
                ..Wishes::default()
            },
        ),
        (
            "alpha_pattern",
            Wishes {
                alpha_pattern: patterns("[]"),
                ..Wishes::default()
            },
        ),
        (
            "targets",
            Wishes {
                targets: Some(Targets::from_text("q_proj,norm")),
                ..Wishes::default()
            },
        ),
        (
            "bias",
            Wishes {
                method: Some(Method::Ia3),
                bias: Some(Bias::All),
                ..Wishes::default()
            },
        ),
    ] {
        assert_eq!(asked(wishes), field);
    }
    let folders = ["llama-modules", "llama-tokens"];
    for name in folders {
        let parent = adapter(&base, &folder(&format!("adapters/{name}")));
        let refused = settle(&Wishes::default(), Some(&parent), &base).unwrap_err();
        assert!(
            refused.to_string().contains("cannot be trained further"),
            "{refused}"
        );
    }
}
