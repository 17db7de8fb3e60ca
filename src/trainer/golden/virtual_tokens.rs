//! Prefixes and prompts go on from where they were left, and begin as PEFT's do.

use super::*;
use crate::adapter::peft::{ENCODER_FILE, PrefixResume, PromptResume};
use crate::domain::{Method, Reason};
use crate::trainer::checkpoint::Checkpoints;

fn wishes(method: Method) -> Wishes {
    Wishes {
        method: Some(method),
        virtual_tokens: Some(4),
        steps: Some(3),
        learning_rate: Some(1e-2),
        ..Wishes::default()
    }
}

/// The files of a job, and what it said of its steps.
fn trained(base: &Base, wishes: &Wishes, from: Option<&peft::Files>) -> (peft::Files, Vec<f64>) {
    let parent = from.map(|files| Parent {
        adapter: Arc::new(adapter(base, files)),
        generation: None,
    });
    let adapter = parent.as_ref().map(|parent| &*parent.adapter);
    let recipe = settle(wishes, adapter, base).unwrap();
    let (files, steps) = train_from(base, recipe, parent);
    let losses = steps.iter().map(|report| report.stepped.loss);
    (files, losses.collect())
}

/// What continues `files` for no rate at all: what it makes is what it began with.
fn continued(base: &Base, files: &peft::Files, wishes: &Wishes) -> peft::Files {
    let wishes = Wishes {
        from: Some("first".to_owned()),
        learning_rate: Some(0.0),
        ..wishes.clone()
    };
    trained(base, &wishes, Some(files)).0
}

fn without_origin(files: &peft::Files) -> peft::Files {
    let mut files = files.clone();
    files.remove(peft::PROVENANCE_FILE);
    files
}

#[test]
fn what_is_continued_begins_with_what_was_left() {
    let base = base("llama");
    let bare = Wishes::default();
    for wished in [
        wishes(Method::Prefix),
        Wishes {
            prefix_projection: Some(true),
            prefix_hidden: Some(10),
            ..wishes(Method::Prefix)
        },
        wishes(Method::Prompt),
        Wishes {
            prompt_text: Some("Copy the name.".to_owned()),
            ..wishes(Method::Prompt)
        },
    ] {
        let (files, losses) = trained(&base, &wished, None);
        assert_eq!(
            files.contains_key(ENCODER_FILE),
            wished.prefix_projection.is_some()
        );
        let again = continued(&base, &files, &bare);
        assert_eq!(without_origin(&again), without_origin(&files), "{wished:?}");
        // Saying the same is no contradiction, saying something else is.
        let again = continued(
            &base,
            &files,
            &Wishes {
                steps: None,
                learning_rate: None,
                ..wished.clone()
            },
        );
        assert_eq!(without_origin(&again), without_origin(&files), "{wished:?}");
        let parent = adapter(&base, &files);
        let other = Wishes {
            virtual_tokens: Some(5),
            ..Wishes::default()
        };
        let refused = settle(&other, Some(&parent), &base).unwrap_err();
        assert!(matches!(refused, Reason::BadField { field, .. } if field == "virtual_tokens"));
        let more = Wishes {
            from: Some("first".to_owned()),
            steps: Some(1),
            ..Wishes::default()
        };
        let (_, later) = trained(&base, &more, Some(&files));
        assert!(
            later[0] < losses[0],
            "{wished:?}: {losses:?}, then {later:?}"
        );
    }
}

#[test]
fn a_prefix_without_its_projection_goes_on_as_it_is() {
    let base = base("llama");
    let projected = Wishes {
        prefix_projection: Some(true),
        ..wishes(Method::Prefix)
    };
    let (files, _) = trained(&base, &projected, None);
    let embeddings = |files: &peft::Files| {
        let read = adapter(&base, files);
        let resume: &PrefixResume = read.resume().unwrap();
        (resume.embeddings.clone(), resume.encoder.is_some())
    };
    let mut alone = files.clone();
    alone.remove(ENCODER_FILE);
    let again = continued(&base, &alone, &Wishes::default());
    assert_eq!(embeddings(&again), (embeddings(&files).0, false));
    let refused = settle(&projected, Some(&adapter(&base, &alone)), &base).unwrap_err();
    assert!(matches!(refused, Reason::BadField { field, .. } if field == "prefix_projection"));
}

#[test]
fn a_prompt_begins_as_the_embeddings_of_its_text() {
    let base = base("qwen2");
    let start = |tokens: usize, text: &str| {
        let wished = Wishes {
            virtual_tokens: Some(tokens),
            prompt_text: Some(text.to_owned()),
            learning_rate: Some(0.0),
            ..wishes(Method::Prompt)
        };
        let read = adapter(&base, &trained(&base, &wished, None).0);
        let resume: &PromptResume = read.resume().unwrap();
        resume.embeddings.clone()
    };
    // As PEFT began with this text.
    let initial = adapter(&base, &folder("training/virtual/prompt-text/initial"));
    let wanted: &PromptResume = initial.resume().unwrap();
    let text = wanted.text.as_deref().unwrap();
    assert_eq!(start(20, text), wanted.embeddings);
    let short = start(3, text);
    assert_eq!(short.values(), &wanted.embeddings.values()[..short.len()]);
}

#[test]
fn settings_of_virtual_tokens_that_contradict_each_other_are_refused() {
    let base = base("llama");
    let prefix = || wishes(Method::Prefix);
    let prompt = || wishes(Method::Prompt);
    let text = || Some("Copy.".to_owned());
    let random = Some(crate::domain::PromptInit::Random);
    for (field, wished) in [
        (
            "prefix_hidden",
            Wishes {
                prefix_hidden: Some(8),
                ..prefix()
            },
        ),
        (
            "prompt_text",
            Wishes {
                prompt_init: Some(crate::domain::PromptInit::Text),
                ..prompt()
            },
        ),
        (
            "prompt_text",
            Wishes {
                prompt_init: random,
                prompt_text: text(),
                ..prompt()
            },
        ),
        (
            "prompt_text",
            Wishes {
                prompt_text: text(),
                ..prefix()
            },
        ),
        (
            "prefix_projection",
            Wishes {
                prefix_projection: Some(true),
                ..prompt()
            },
        ),
        (
            "virtual_tokens",
            Wishes {
                method: Some(Method::Lora),
                ..prefix()
            },
        ),
        (
            "virtual_tokens",
            Wishes {
                virtual_tokens: Some(511),
                ..prefix()
            },
        ),
        (
            "virtual_tokens",
            Wishes {
                virtual_tokens: Some(0),
                ..prefix()
            },
        ),
        (
            "max_seq",
            Wishes {
                max_seq: Some(509),
                ..prefix()
            },
        ),
        (
            "rank",
            Wishes {
                rank: Some(8),
                ..prefix()
            },
        ),
    ] {
        let refused = settle(&wished, None, &base).unwrap_err();
        let Reason::BadField { field: named, why } = refused else {
            panic!("{refused}")
        };
        assert_eq!(named, field, "{why}");
    }
    let recipe = settle(&prefix(), None, &base).unwrap();
    assert_eq!(recipe.max_seq, 508, "what virtual tokens leave");
}

/// Says no after so many questions.
struct Stopping(usize);

impl Watch for Stopping {
    fn go_on(&mut self) -> bool {
        self.0 = self.0.saturating_sub(1);
        self.0 > 0
    }
}

#[test]
fn an_interrupted_job_makes_the_same_bytes() {
    let base = base("llama");
    let rows = golden("training/rows.jsonl");
    for wished in [
        Wishes {
            prefix_projection: Some(true),
            ..wishes(Method::Prefix)
        },
        wishes(Method::Prefix),
        wishes(Method::Prompt),
    ] {
        let wished = Wishes {
            steps: Some(6),
            eval_split: Some(2.0),
            ..wished
        };
        let recipe = settle(&wished, None, &base).unwrap();
        let plan = Plan::new(&base, recipe, None, Data::of(&rows), 0).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints {
            folder: folder.path().to_owned(),
            identity: plan.identity.clone(),
        };
        let go = |checkpoints: Option<&Checkpoints>, watch: &mut dyn Watch| {
            let spec = RunSpec {
                held_out: &plan.held_out,
                checkpoints,
                ..bare(&base.model, &plan.recipe, &plan.train, fit(&base))
            };
            train(&spec, plan.method.start(&base.model).unwrap(), watch).unwrap()
        };
        let files = |ending| match ending {
            Ending::Finished(finished) => publish::files(&plan, &base.name, &finished).unwrap(),
            Ending::Interrupted => panic!("nothing interrupts it"),
        };
        let wanted = files(go(None, &mut Steps::default()));
        let stopped = go(Some(&checkpoints), &mut Stopping(7));
        assert!(matches!(stopped, Ending::Interrupted));
        let mut rest = Steps::default();
        assert_eq!(files(go(Some(&checkpoints), &mut rest)), wanted);
        let first = rest.0[0].step;
        assert!((2..=6).contains(&first), "{first}");
    }
}
