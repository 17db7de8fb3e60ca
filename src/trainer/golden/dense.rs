//! Whole weights against plain torch (`tests/golden/training/dense`), from the base itself.

use super::*;

#[derive(Deserialize)]
struct Case {
    base: String,
    wishes: Wishes,
    prompt: Prompt,
    run: Run,
}

#[test]
fn every_step_and_the_result_are_those_of_torch() {
    for name in ["full", "full-qwen2", "modules", "staged"] {
        let file = |end: &str| std::fs::read(golden(&format!("training/dense/{name}.{end}")));
        let case: Case = serde_json::from_slice(&file("json").unwrap()).unwrap();
        let base = base(&case.base);
        let Case { run, wishes, .. } = &case;
        let wishes = Wishes {
            method: wishes.method,
            train_modules: wishes.train_modules.clone(),
            train_layers: wishes.train_layers.clone(),
            stages: wishes.stages.clone(),
            lr_decay_per_layer: wishes.lr_decay_per_layer,
            from: None,
            pack: Some(false),
            ..run.wishes()
        };
        let recipe = settle(&wishes, None, &base).unwrap();
        let (files, steps) = train_from(&base, recipe, None);
        assert_eq!(steps.len(), run.losses.len(), "{name}");
        for (at, report) in steps.iter().enumerate() {
            run.compare(name, at, &report.stepped);
        }
        let trained = Uniform {
            adapter: Arc::new(adapter(&base, &files)),
        };
        let wanted = candle_core::safetensors::load_buffer(
            &file("safetensors").unwrap(),
            &candle_core::Device::Cpu,
        );
        let far = farthest(
            &answers(&base, &case.prompt.ids, &trained),
            &wanted.unwrap()["logprobs"],
        );
        assert!(far < 1e-3, "{name}: log-probabilities are {far} away");
    }
}

#[test]
fn whole_weights_are_trained_further_from_where_they_were_left() {
    let base = base("llama");
    let wishes = |method, modules: Option<&str>, from| Wishes {
        method,
        train_modules: modules.map(crate::domain::Targets::from_text),
        from,
        steps: Some(3),
        learning_rate: Some(1e-2),
        ..Wishes::default()
    };
    let first = wishes(Some(crate::domain::Method::Modules), Some("ffn"), None);
    let recipe = settle(&first, None, &base).unwrap();
    let (files, _) = train_from(&base, recipe, None);
    let parent = Arc::new(adapter(&base, &files));
    let values = |files: &peft::Files| {
        let read = adapter(&base, files);
        read.resume::<peft::DenseSettings>().unwrap().values.clone()
    };
    let before = values(&files);
    // Of the same modules where nothing is said; others leave those as they are.
    for (method, modules) in [
        (None, None),
        (None, Some("norms")),
        (Some(crate::domain::Method::Full), None),
    ] {
        let second = wishes(method, modules, Some("first".to_owned()));
        let recipe = settle(&second, Some(&parent), &base).unwrap();
        let continued = Parent {
            adapter: parent.clone(),
            generation: None,
        };
        let (files, _) = train_from(&base, recipe, Some(continued));
        let after = values(&files);
        for (place, weight) in &before {
            let same = after[place] == *weight;
            assert_eq!(same, modules.is_some(), "{method:?} {modules:?} {place:?}");
        }
        assert_eq!(
            after.len() > before.len(),
            modules.is_some() || method.is_some()
        );
    }
}
