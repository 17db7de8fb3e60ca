use super::*;

fn setting(methods: &'static [Method], kind: Kind) -> Setting {
    Setting {
        name: "width",
        field: "breadth",
        aliases: &[],
        group: Group::Method,
        kind,
        methods,
        about: "",
        default: String::new,
    }
}

#[test]
fn every_name_leads_to_one_row() {
    for (at, setting) in TABLE.iter().enumerate() {
        let names = [setting.name, setting.field];
        for name in names.iter().chain(setting.aliases) {
            let found = TABLE.iter().position(|row| {
                row.name == *name || row.field == *name || row.aliases.contains(name)
            });
            assert_eq!(found, Some(at), "{name}");
            assert_eq!(public_name(name), setting.name);
        }
    }
    assert!(find("no_such_setting").is_none());
}

#[test]
fn a_default_is_of_its_rows_kind_and_within_its_range() {
    let recipe = Recipe::default();
    Wishes::from(recipe.clone()).check().unwrap();
    let values = serde_json::to_value(&recipe).unwrap();
    for setting in TABLE {
        let value = &values[setting.field];
        let fits = match setting.kind {
            Kind::Flag | Kind::Off => value.is_boolean(),
            Kind::Whole(..) | Kind::Interval => value.is_u64() || value.is_null(),
            Kind::Number(_) | Kind::ShareOrCount => value.is_f64() || value.is_null(),
            Kind::Choice(names) => names.iter().any(|name| value == name),
            Kind::Text | Kind::Modules => value.is_string() || value.is_null(),
            Kind::Stages => value.is_array() || value.is_null(),
            Kind::Ranks | Kind::Alphas => value.is_object(),
            Kind::LossScale => value.is_null(),
            Kind::Bytes => value.is_u64() || value.is_null(),
        };
        assert!(fits, "{}: {value}", setting.name);
        assert!(!setting.default().is_empty() && !setting.about.is_empty());
    }
}

#[test]
fn text_that_is_no_value_is_told_with_what_is_allowed() {
    for (name, text, why) in [
        ("rank", "abc", "allowed is whole, 1 to 512"),
        ("rank", "-1", "allowed is whole, 1 to 512"),
        ("lr", "fast", "allowed is between 0 and 100"),
        (
            "warmup",
            "5%",
            "allowed is a share below 1, or a whole count",
        ),
        ("save_every", "x", "allowed is a number of steps"),
        ("dedup", "yes", "allowed is `true` or `false`"),
    ] {
        let parsed = find(name).unwrap().parse(text);
        assert_eq!(parsed, Err(why.to_owned()), "{name}");
    }
}

#[test]
fn what_is_out_of_range_is_told_with_the_range() {
    let told = |kind, said, why: &str| {
        let judged = setting(&[Method::Lora], kind).judge(said, Some(Method::Lora));
        let fits = why.is_empty();
        assert_eq!(
            judged,
            if fits {
                Ok(())
            } else {
                Err(Reason::field("breadth", why))
            }
        );
    };
    told(Kind::Whole(1, 4), Said::Whole(4), "");
    told(
        Kind::Whole(1, 4),
        Said::Whole(5),
        "5 is not between 1 and 4",
    );
    told(Kind::Interval, Said::Whole(1), "");
    let why = "0 is not a number of steps; leave it out to switch it off";
    told(Kind::Interval, Said::Whole(0), why);
    let why = "0 is not a number above 0";
    told(Kind::Number(Range::above(0.0)), Said::Number(0.0), why);
    told(Kind::ShareOrCount, Said::Number(0.5), "");
    told(Kind::ShareOrCount, Said::Number(2.0), "");
    let why = "2.5 is neither a share below 1 nor a whole count";
    told(Kind::ShareOrCount, Said::Number(2.5), why);
    let why = "-0.5 is not a number of at least 0";
    told(Kind::ShareOrCount, Said::Number(-0.5), why);
    told(Kind::Modules, Said::List(&[]), "names no module");
    told(Kind::Bytes, Said::Text("2GiB"), "");
    let why = "`much` is not a number of bytes such as 2GiB, 800MB or 1073741824";
    told(Kind::Bytes, Said::Text("much"), why);
}

#[test]
fn a_setting_that_the_method_does_not_use_is_refused() {
    let unused = setting(&[], Kind::Flag).judge(Said::Flag(true), Some(Method::Lora));
    assert_eq!(
        unused,
        Err(Reason::field("breadth", "is not used by method `lora`"))
    );
}

#[test]
fn a_recipe_of_before_a_row_was_new_is_read_with_its_default() {
    let recipe: Recipe = serde_json::from_value(json!({
        "rank": 4, "batch_size": 32, "micro_batch": 8, "steps": 7, "epochs": null, "shuffle": false,
    }))
    .unwrap();
    assert_eq!((recipe.rank, recipe.alpha, recipe.accumulate), (4, 8.0, 4));
    assert_eq!(
        (recipe.epochs, recipe.steps, recipe.shuffle),
        (None, Some(7), false)
    );
    let kept = serde_json::to_value(&recipe).unwrap();
    assert_eq!(serde_json::from_value::<Recipe>(kept).unwrap(), recipe);
}

#[test]
fn texts_of_the_command_line_are_read_by_their_rows() {
    let read = |name, text| find(name).unwrap().parse(text);
    assert_eq!(read("rank", "8"), Ok(json!(8)));
    assert_eq!(read("lr", "2e-4"), Ok(json!(2e-4)));
    assert_eq!(read("targets", "a,b"), Ok(json!(["a", "b"])));
    assert_eq!(read("memory_limit", "2GiB"), Ok(json!(2u64 << 30)));
    for (name, text) in [
        ("rank", "1.5"),
        ("lr", "fast"),
        ("lr", "inf"),
        ("no_pack", "maybe"),
        ("memory_limit", "a lot"),
    ] {
        assert!(read(name, text).is_err(), "{name} {text}");
    }
}

/// The page's table. Where it differs from the code's, the failure prints what belongs there.
#[test]
fn the_documented_table_is_the_codes() {
    let mut table = "| Flag | Default | Values | |\n|---|---|---|---|\n".to_owned();
    let mut group = None;
    for setting in TABLE {
        if group.replace(setting.group) != Some(setting.group) {
            table.push_str(&format!("| **{}** | | | |\n", setting.group.title()));
        }
        table.push_str(&format!(
            "| `--{}` | {} | {} | {} |\n",
            setting.flag(),
            setting.default(),
            setting.kind,
            setting.about
        ));
    }
    let page = include_str!("../../../docs/training.md");
    assert!(
        page.contains(&table),
        "docs/training.md should have:\n{table}"
    );
}

#[test]
fn flags_by_their_names_are_wishes() {
    let said = json!({"lr": 0.5, "no_pack": true, "memory_limit": "1KiB", "n_epochs": 2.0});
    let wishes = super::wishes(said.as_object().unwrap()).unwrap();
    assert_eq!(
        (wishes.learning_rate, wishes.pack),
        (Some(0.5), Some(false))
    );
    assert_eq!(wishes.memory_limit, Some(Bytes::Count(1024)));
    assert_eq!(wishes.epochs, Some(2.0));
    let unknown = json!({"colour": 1});
    assert!(super::wishes(unknown.as_object().unwrap()).is_err());
}
