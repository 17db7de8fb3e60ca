use clap::Parser;

use super::*;
use crate::domain::Wishes;
use crate::trainer::data::held_out;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: PlanArgs,
}

fn args(words: &[&str]) -> PlanArgs {
    Line::parse_from(["plan"].iter().chain(words)).args
}

/// A small base of which there is only a description, for texts of 512 tokens.
fn base() -> Subject {
    let config = json!({
        "model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 160,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 96,
        "max_position_embeddings": 512, "tie_word_embeddings": true,
    });
    Subject::of_config("small".to_owned(), config.to_string(), None).unwrap()
}

#[test]
fn the_cache_is_no_larger_than_all_answers_can_fill() {
    let base = base();
    let job = Outlined::new(&base.outline, None, &Wishes::default()).unwrap();
    let planned = memory(&args(&["--kv", "f16"]), &base.outline, &job, None).unwrap();
    // Keys and values of two bytes each, of two heads of 16 numbers in three layers, for 64 texts.
    assert_eq!(planned.cache, 2 * 2 * 2 * 16 * 3 * 512 * 64);
}

#[test]
fn rows_that_are_held_out_are_not_counted_as_rows_to_train_on() {
    let base = base();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rows.jsonl");
    let row =
        |at: usize| json!({"instruction": "x".repeat(40 * at), "output": "y"}).to_string() + "\n";
    std::fs::write(&file, (1..=10).map(row).collect::<String>()).unwrap();
    let planned = |eval_split| {
        let wishes = Wishes {
            eval_split: Some(eval_split),
            ..Wishes::default()
        };
        let job = Outlined::new(&base.outline, None, &wishes).unwrap();
        let of_file = Rows::of_file(&file, &job.recipe, None);
        let full = Rows::full(10, &job.recipe);
        (of_file, full, job.recipe)
    };
    let (all, ..) = planned(0.0);
    let (of_file, full, recipe) = planned(0.25);
    let (of_file, all) = (of_file.ok().unwrap(), all.ok().unwrap());
    assert_eq!((of_file.count, full.unwrap().count), (7, 7));
    let held = held_out(10, 0.25, recipe.seed).unwrap();
    let held = held
        .iter()
        .map(|row| u64::from(all.lengths[*row as usize].tokens));
    assert_eq!(of_file.tokens, all.tokens - held.sum::<u64>());
    let (of_file, full, _) = planned(10.0);
    assert!(of_file.is_err() && full.is_err(), "none is left");
}

#[test]
fn recipes_from_elsewhere_are_planned_for() {
    let accumulated = r#"{"train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 6}"#;
    let brought = joined(&args(&["--deepspeed", accumulated])).unwrap();
    assert_eq!(
        (brought.wishes.micro_batch, brought.wishes.accumulate),
        (Some(2), Some(6))
    );
    assert!(brought.mappings.len() >= 2, "{:?}", brought.mappings);
    let refused = joined(&args(&["--deepspeed", accumulated, "--micro-batch", "4"]));
    assert!(
        matches!(&refused, Err(Reason::BadField { field, .. }) if field.starts_with("deepspeed")),
        "{refused:?}"
    );
}
