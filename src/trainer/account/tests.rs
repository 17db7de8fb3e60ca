use super::*;
use crate::domain::{Method as Named, Named as _, Stages, Targets, Wishes};
use crate::model::Outline;

fn config(tied: bool) -> String {
    serde_json::json!({
        "model_type": "llama", "hidden_act": "silu", "hidden_size": 64, "intermediate_size": 160,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 96,
        "max_position_embeddings": 512, "tie_word_embeddings": tied,
    })
    .to_string()
}

fn outline(tied: bool) -> Outline {
    Outline::of_config(&config(tied), None).unwrap()
}

fn wishes(method: Named) -> Wishes {
    let stages = r#"[{"layers": "2", "steps": 2}, {"modules": "embeddings,ffn", "steps": 1}]"#;
    Wishes {
        method: Some(method),
        max_seq: Some(128),
        batch_size: Some(4),
        train_modules: (method == Named::Modules).then(|| Targets::from_text("attention,norms")),
        stages: (method == Named::Staged).then(|| Stages::parse(stages).unwrap()),
        ..Wishes::default()
    }
}

fn account(outline: &Outline, wishes: &Wishes) -> Account {
    let job = Outlined::new(outline, None, wishes).unwrap();
    job.account(Load::full(&job.recipe))
}

/// r = 8 on q and v of Llama-2-7B, as PEFT prints it.
#[test]
fn parameters_of_a_base_that_is_not_here_are_pefts() {
    let config = serde_json::json!({
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "vocab_size": 32_000, "max_position_embeddings": 4096,
    });
    let outline = Outline::of_config(&config.to_string(), None).unwrap();
    let wishes = Wishes {
        rank: Some(8),
        targets: Some(Targets::from_text("q_proj,v_proj")),
        ..Wishes::default()
    };
    let job = Outlined::new(&outline, None, &wishes).unwrap();
    assert_eq!(job.parameters(), (4_194_304, 6_742_609_920));
}

/// By hand, of a middle block under LoRA of rank 8 on every linear layer: the stream before and after attention and what the
/// norms make of it, queries and what attention makes of them, keys, values, a number a head, gate, up and their product,
/// and what the seven narrow products make.
#[test]
fn a_block_keeps_what_its_operations_save() {
    let outline = outline(true);
    let wishes = Wishes {
        rank: Some(8),
        ..wishes(Named::Lora)
    };
    let job = Outlined::new(&outline, None, &wishes).unwrap();
    let (h, i, q, k) = (64, 160, 64, 32);
    let stage = |touches: Vec<(crate::adapter::Site, Touch)>| Footprint {
        linears: touches.into_iter().collect(),
        ..Footprint::default()
    };
    let all = |touch| {
        let sites = outline.sites().iter().map(|at| (at.site, touch));
        stage(sites.collect())
    };
    let lora = Touch::LowRank {
        rank: 8,
        magnitude: false,
        dropout: false,
    };
    let kept = all(lora).block(1, outline.spec(), true);
    assert_eq!(kept.token, 4 * h + 2 * q + 2 * k + 4 + 3 * i + 7 * 8);
    assert_eq!(kept.learned, 8 * (7 * h + 3 * i + 2 * q + 2 * k));
    // Nothing that learns: nothing is kept where nothing before it learned, else what frozen products pass on.
    let frozen = stage(Vec::new());
    let kept = frozen.block(1, outline.spec(), false);
    assert_eq!((kept.token, kept.recorded), (0, false));
    let kept = frozen.block(1, outline.spec(), true);
    assert_eq!(kept.token, 2 * h + 2 * q + 2 * k + 4 + 2 * i);
    assert_eq!(
        job.account(Load::full(&job.recipe))
            .peak()
            .of(Part::Optimizer),
        8 * job.parameters().0
    );
}

#[test]
fn every_method_has_an_account_that_falls_with_its_forwards() {
    for tied in [true, false] {
        let outline = outline(tied);
        for name in Named::NAMES {
            let method = Named::named(name).unwrap();
            let plain = account(&outline, &wishes(method));
            let of = |micro_batch, recompute| {
                let wishes = Wishes {
                    micro_batch: Some(micro_batch),
                    recompute: Some(recompute),
                    ..wishes(method)
                };
                account(&outline, &wishes).of_a_step()
            };
            let [off, on] = [Checkpointing::Off, Checkpointing::On].map(|how| of(4, how));
            assert_eq!(plain.of_a_step(), off, "{name}");
            assert!(
                on.of(Part::Activations) < off.of(Part::Activations),
                "{name}"
            );
            let (halved, one) = (of(2, Checkpointing::Off), of(1, Checkpointing::Off));
            assert!(
                halved.of(Part::Activations) < off.of(Part::Activations),
                "{name}"
            );
            assert!(one.total() <= halved.total(), "{name}: {one:?} {halved:?}");
            let job = Outlined::new(&outline, None, &wishes(method)).unwrap();
            let values = NUMBER * job.parameters().0;
            let peak = plain.peak();
            assert_eq!(peak.of(Part::Adapters), values, "{name}");
            assert!(peak.total() >= 4 * values, "{name}");
        }
    }
}

/// Whole weights are scored without their folder, and when that is made the optimizer is gone.
#[test]
fn a_folder_is_in_memory_while_it_is_published_and_of_low_ranks_while_they_are_scored() {
    let outline = outline(true);
    for method in [Named::Full, Named::Lora] {
        let job = Outlined::new(&outline, None, &wishes(method)).unwrap();
        let account = job.account(Load::full(&job.recipe));
        let of = |at| {
            *{ account.moments.iter() }
                .find(|usage| usage.at == at)
                .unwrap()
        };
        let values = NUMBER * job.parameters().0;
        let (scoring, publishing) = (of(Moment::Scoring), of(Moment::Publishing));
        assert_eq!(scoring.of(Part::Optimizer), 2 * values);
        assert_eq!(publishing.of(Part::Optimizer), 0);
        assert_eq!(publishing.of(Part::Adapters), values);
        assert!(publishing.of(Part::Scratch) >= values);
        let has_folder = scoring.of(Part::Scratch) >= 2 * values;
        assert_eq!(has_folder, method == Named::Lora, "{scoring:?}");
    }
}

#[test]
fn what_would_fit_is_named_and_does() {
    let outline = outline(false);
    let narrow = Wishes {
        rank: Some(2),
        ..wishes(Named::Lora)
    };
    let job = Outlined::new(&outline, None, &narrow).unwrap();
    let peak = job.account(Load::full(&job.recipe)).peak().total();
    let smallest = job.changes(1, None)[0].peak;
    for share in [0.9, 0.5, 0.25] {
        let limit = smallest + ((peak - smallest) as f64 * share) as u64;
        let changes = job.changes(limit, None);
        assert!(!changes.is_empty(), "{share}");
        for change in &changes {
            assert!(change.fits && change.peak <= limit, "{share}: {change}");
            let wished = Wishes {
                dpo_beta: None,
                gate_margin: None,
                ..Wishes::from(change.recipe.clone())
            };
            let changed = Outlined::new(&outline, None, &wished).unwrap();
            let found = changed.account(Load::full(&changed.recipe)).peak();
            assert_eq!(found.total(), change.peak, "{change}");
        }
    }
    let told =
        |changes: Vec<Change>| -> Vec<String> { changes.iter().map(ToString::to_string).collect() };
    let near = told(job.changes(peak - 1, None));
    assert_eq!(near[0], "gradient_checkpointing on");
    assert!(near.contains(&"micro_batch 2".to_owned()), "{near:?}");
    // Nothing fits in nothing, and what is least is told.
    let least = job.changes(1, None);
    assert!(matches!(&least[..], [least] if !least.fits && least.peak < peak));
    // Whole weights can give way to a low-rank update.
    let full = Outlined::new(&outline, None, &wishes(Named::Full)).unwrap();
    let limit = full.changes(1, None)[0].peak;
    let near = told(full.changes(limit, None));
    assert!(
        near.iter().any(|change| change.contains("method lora")),
        "{near:?}"
    );
}

#[test]
fn settings_that_do_not_fit_a_base_are_refused_as_a_job_is() {
    let outline = outline(true);
    let refused = |wishes: Wishes| match Outlined::new(&outline, None, &wishes) {
        Err(crate::domain::Reason::BadField { field, .. }) => field,
        _ => panic!("{wishes:?} is planned"),
    };
    let lora = wishes(Named::Lora);
    let max_seq = Some(1024);
    assert_eq!(
        refused(Wishes {
            max_seq,
            ..lora.clone()
        }),
        "max_seq"
    );
    let targets = Some(Targets::from_text("w_q"));
    assert_eq!(
        refused(Wishes {
            targets,
            ..lora.clone()
        }),
        "targets"
    );
    let from = Some("legal".to_owned());
    assert_eq!(
        refused(Wishes {
            from,
            ..lora.clone()
        }),
        "from"
    );
    let memory_limit = Some(crate::domain::Bytes::from_text("lots"));
    assert_eq!(
        refused(Wishes {
            memory_limit,
            ..lora
        }),
        "memory_limit"
    );
}
