use super::*;
use crate::adapter::Precision;
use crate::model::{KvKind, Quant};

fn vars(list: &[(&str, &str)]) -> std::vec::IntoIter<(OsString, OsString)> {
    let owned: Vec<_> = list
        .iter()
        .map(|(k, v)| ((*k).into(), (*v).into()))
        .collect();
    owned.into_iter()
}

#[test]
fn flags_win_over_the_environment_which_wins_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("adapterd.toml");
    std::fs::write(
        &file,
        "[engine]\nrows = 3\nstep_tokens = 100\nblock_size = 8\n",
    )
    .unwrap();
    let settings = load(
        Some(&file),
        vars(&[
            ("ADAPTERD_ENGINE__STEP_TOKENS", "200"),
            ("ADAPTERD_ENGINE__BLOCK_SIZE", "32"),
        ]),
        &[("engine.block_size", "64".into())],
    )
    .unwrap();
    assert_eq!(settings.values.engine.rows, 3);
    assert_eq!(settings.values.engine.step_tokens, 200);
    assert_eq!(settings.values.engine.block_size, 64);
    let rows = settings.rows();
    let origin = |key: &str| rows.iter().find(|row| row.0 == key).unwrap().2.clone();
    assert_eq!(origin("engine.block_size"), "flag");
    assert_eq!(origin("engine.step_tokens"), "ADAPTERD_ENGINE__STEP_TOKENS");
    assert!(origin("engine.rows").ends_with("adapterd.toml"));
    assert_eq!(origin("engine.kv_bytes"), "default");
}

#[test]
fn a_context_can_be_set_from_everywhere_and_has_a_bound() {
    let of = |value: &str| load(None, vars(&[]), &[("model.max_len", value.into())]);
    assert_eq!(load(None, vars(&[]), &[]).unwrap().values.model.max_len, 0);
    assert_eq!(of("4096").unwrap().values.model.max_len, 4096);
    let environment = vars(&[("ADAPTERD_MODEL__MAX_LEN", "512")]);
    assert_eq!(
        load(None, environment, &[]).unwrap().values.model.max_len,
        512
    );
    for bad in ["-1", "1.5", "many", "1000000000000"] {
        assert_eq!(of(bad).unwrap_err()[0].key, "model.max_len", "{bad}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_near_misses_get_a_suggestion() {
    let problems = load(
        None,
        vars(&[
            ("ADAPTERD_ENGINE__ROWZ", "3"),
            ("ADAPTERD_SERVER__HTTP", "nowhere"),
        ]),
        &[("model.quant", "q9".into()), ("engine.rows", "0".into())],
    )
    .unwrap_err();
    let of = |key: &str| {
        problems
            .iter()
            .find(|p| p.key == key)
            .map(|p| p.why.clone())
    };
    assert!(
        of("engine.rowz").unwrap().contains("engine.rows"),
        "{problems:?}"
    );
    assert!(of("server.http").is_some(), "{problems:?}");
    assert!(of("model.quant").unwrap().contains("q9"), "{problems:?}");
    assert!(of("engine.rows").is_some(), "{problems:?}");
}

#[test]
fn a_text_is_read_as_what_the_setting_is() {
    let settings = load(
        None,
        vars(&[
            ("ADAPTERD_ADAPTERS__ROOT", "true"),
            ("ADAPTERD_ADAPTERS__BUNDLED", "false"),
        ]),
        &[
            ("storage.data_dir", "2024".into()),
            ("engine.rows", "8".into()),
        ],
    )
    .unwrap();
    assert_eq!(settings.values.storage.data_dir, PathBuf::from("2024"));
    assert_eq!(settings.values.adapters.root, PathBuf::from("true"));
    assert!(!settings.values.adapters.bundled);
    assert_eq!(settings.values.engine.rows, 8);
    let problems = load(None, vars(&[]), &[("engine.rows", "many".into())]).unwrap_err();
    assert_eq!(problems[0].key, "engine.rows");
    let problems = load(None, vars(&[("ADAPTERD_MODEL__PATH", "7")]), &[]).unwrap_err();
    assert!(problems[0].why.contains("`7` is no folder"), "{problems:?}");
}

#[test]
fn int8_has_a_threshold_and_nothing_else_has() {
    let model =
        |pairs: &[(&str, String)]| load(None, vars(&[]), pairs).map(|s| s.values.model.quant());
    let int8 = ("model.quant", "int8".to_owned());
    let threshold = |x: &str| ("model.int8_threshold", x.to_owned());
    assert_eq!(
        model(std::slice::from_ref(&int8)),
        Ok(Ok(Some(Quant::Int8 { threshold: 6.0 })))
    );
    for (text, value) in [("4.5", 4.5), ("0", 0.0)] {
        let quant = model(&[int8.clone(), threshold(text)]);
        assert_eq!(quant, Ok(Ok(Some(Quant::Int8 { threshold: value }))));
    }
    for wrong in ["-1", "nan", "six"] {
        assert!(model(&[int8.clone(), threshold(wrong)]).is_err(), "{wrong}");
    }
    let problems = model(&[threshold("4.5")]).unwrap_err();
    assert_eq!(problems[0].key, "model.int8_threshold");
}

#[test]
fn the_cache_has_a_type_among_those_there_are() {
    for (value, kind) in [
        ("auto", KvKind::Auto),
        ("f16", KvKind::F16),
        ("q8", KvKind::Q8),
    ] {
        let settings = load(None, vars(&[]), &[("model.kv", value.into())]).unwrap();
        assert_eq!(settings.values.model.kv(), Ok(kind));
    }
    let problems = load(None, vars(&[]), &[("model.kv", "q4".into())]).unwrap_err();
    assert_eq!(problems[0].key, "model.kv");
    assert!(problems[0].why.contains("q8"), "{problems:?}");
}

#[test]
fn the_client_variables_are_not_settings() {
    let of_commands = OF_COMMANDS.map(|name| (name, "x"));
    assert_eq!(load(None, vars(&of_commands), &[]).unwrap().warnings, []);
}

#[test]
fn the_switch_of_the_kernels_is_no_setting_and_must_name_a_unit() {
    let settings = load(None, vars(&[(OF_KERNELS, "avx2")]), &[]).unwrap();
    assert_eq!(settings.warnings, []);
    let problems = load(None, vars(&[(OF_KERNELS, "mmx")]), &[]).unwrap_err();
    assert_eq!(problems[0].key, OF_KERNELS);
    assert!(problems[0].why.contains("avx512_vnni"), "{problems:?}");
}

#[test]
fn a_variable_that_is_almost_a_setting_is_a_mistake_and_an_unknown_one_is_told_of() {
    let problems = load(None, vars(&[("ADAPTERD_SERVER_HTTP", "x")]), &[]).unwrap_err();
    assert_eq!(problems[0].key, "ADAPTERD_SERVER_HTTP");
    assert!(
        problems[0].why.contains("`ADAPTERD_SERVER__HTTP`"),
        "{problems:?}"
    );
    let settings = load(None, vars(&[("ADAPTERD_SERVICE_HOST", "10.0.0.1")]), &[]).unwrap();
    assert_eq!(settings.warnings[0].key, "ADAPTERD_SERVICE_HOST");
}

#[test]
fn adapters_are_rounded_as_the_base_is_unless_the_setting_says_otherwise() {
    let precision = |value: &str, base_has_32_bits| {
        let settings = load(None, vars(&[]), &[("adapters.precision", value.into())]).unwrap();
        settings.values.adapters.precision(base_has_32_bits)
    };
    assert_eq!(precision("auto", true), Ok(Precision::Exact));
    assert_eq!(precision("auto", false), Ok(Precision::Bf16));
    assert_eq!(precision("bf16", true), Ok(Precision::Bf16));
    assert_eq!(precision("stored", false), Ok(Precision::Exact));
    let problems = load(None, vars(&[]), &[("adapters.precision", "f8".into())]).unwrap_err();
    assert_eq!(problems[0].key, "adapters.precision");
}

#[test]
fn a_list_is_read_from_a_file_and_from_text() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("adapterd.toml");
    let both = ["https://a.example", "http://localhost:3000"];
    std::fs::write(&file, format!("[server]\ncors_origins = {both:?}\n")).unwrap();
    let settings = load(Some(&file), vars(&[]), &[]).unwrap();
    assert_eq!(settings.values.server.cors_origins, both);
    let key = "server.cors_origins";
    let row = settings
        .rows()
        .into_iter()
        .find(|row| row.0 == key)
        .unwrap();
    assert_eq!(row.1, both.join(","));
    for text in [both.join(","), both.join(" , ") + ",", format!("{both:?}")] {
        let variable = [("ADAPTERD_SERVER__CORS_ORIGINS", text.as_str())];
        let settings = load(Some(&file), vars(&variable), &[]).unwrap();
        assert_eq!(settings.values.server.cors_origins, both, "{text}");
    }
    let none = load(Some(&file), vars(&[]), &[(key, String::new())]).unwrap();
    assert!(none.values.server.cors_origins.is_empty());
}

#[test]
fn an_origin_that_is_none_is_a_mistake_that_names_the_entry() {
    let list = "https://a.example, b.example, https://c.example/".to_owned();
    let problems = load(None, vars(&[]), &[("server.cors_origins", list)]).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems:?}");
    for (problem, entry) in problems.iter().zip(["`b.example`", "`https://c.example/`"]) {
        assert_eq!(problem.key, "server.cors_origins");
        assert!(problem.why.contains(entry), "{problem}");
    }
}

#[test]
fn the_record_of_changes_is_kept_for_ninety_days_unless_the_setting_says_otherwise() {
    let days = |pairs: &[(&str, String)]| {
        load(None, vars(&[]), pairs).map(|settings| settings.values.storage.keep_audit_days)
    };
    let set = |text: &str| days(&[("storage.keep_audit_days", text.into())]);
    assert_eq!(days(&[]), Ok(90));
    assert_eq!((set("0"), set("7")), (Ok(0), Ok(7)));
    for wrong in ["-1", "many", "1.5", "99999"] {
        assert_eq!(
            set(wrong).unwrap_err()[0].key,
            "storage.keep_audit_days",
            "{wrong}"
        );
    }
}

#[test]
fn where_state_is_kept_is_told_with_what_chose_it() {
    let row = |settings: &Settings| {
        let rows = settings.rows();
        let found = rows.into_iter().find(|row| row.0 == DATA_DIR);
        found.map(|(_, value, origin)| (value, origin)).unwrap()
    };
    let xdg = ("XDG_STATE_HOME", "/x");
    let settings = load(None, vars(&[xdg, ("HOME", "/y")]), &[]).unwrap();
    assert_eq!(settings.place().unwrap().dir, Path::new("/x/adapterd"));
    assert_eq!(
        row(&settings),
        ("/x/adapterd".into(), "default: $XDG_STATE_HOME".into())
    );
    let said = [(DATA_DIR, "/z".to_owned())];
    let settings = load(None, vars(&[xdg]), &said).unwrap();
    assert_eq!(settings.place().unwrap().dir, Path::new("/z"));
    assert_eq!(row(&settings), ("/z".into(), "flag".into()));
    let variable = "ADAPTERD_STORAGE__DATA_DIR";
    let settings = load(None, vars(&[xdg, (variable, "z")]), &[]).unwrap();
    let place = settings.place().unwrap();
    assert!(place.dir.is_absolute() && place.dir.ends_with("z"));
    assert_eq!(place.why, variable);
    // Empty means that nothing is said.
    let settings = load(None, vars(&[xdg, (variable, "")]), &[]).unwrap();
    assert_eq!(settings.place().unwrap().dir, Path::new("/x/adapterd"));
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_a_mistake_only_where_it_is_ours() {
    use std::os::unix::ffi::OsStringExt;
    let odd = || OsString::from_vec(vec![b'/', 0xff]);
    let load = |name: OsString| load(None, [(name, odd())].into_iter(), &[]);
    assert_eq!(load("LESSOPEN".into()).unwrap().warnings, []);
    assert!(load(odd()).is_ok());
    let home = load("XDG_STATE_HOME".into()).unwrap();
    assert_eq!(
        home.place().unwrap().dir,
        Path::new(&odd()).join("adapterd")
    );
    let problems = load("ADAPTERD_MODEL__PATH".into()).unwrap_err();
    assert_eq!(problems[0].key, "ADAPTERD_MODEL__PATH");
    assert!(problems[0].why.contains("UTF-8"), "{problems:?}");
}

#[test]
fn feedback_and_rules_are_read_from_a_file_and_all_mistakes_are_told_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("adapterd.toml");
    let load_of = |text: &str| {
        std::fs::write(&file, text).unwrap();
        load(Some(&file), vars(&[]), &[])
    };
    let text = "[feedback]\ncapture = true\nmax_bytes = \"1MiB\"\nadapters = [\"legal\"]\n\
                [[retrain]]\nadapter = \"legal\"\nmin_rows = 5\nlr = 0.001\n";
    let settings = load_of(text).unwrap();
    let config = settings.values.feedback.config().unwrap();
    assert_eq!(config.max_bytes, 1 << 20);
    let rule = settings.values.retrain[0].read().unwrap();
    assert_eq!((rule.min_rows, rule.wishes.learning_rate), (5, Some(0.001)));
    let rows = settings.rows();
    let row = rows.iter().find(|row| row.0 == "retrain").unwrap();
    assert!(row.1.contains("\"min_rows\" = 5"), "{row:?}");
    assert_eq!(settings.warnings, []);
    let told = load_of(&format!("{text}publish = \"canary:10\"\n")).unwrap();
    assert_eq!(told.warnings[0].key, "retrain[0].publish");
    assert!(told.warnings[0].origin.ends_with("adapterd.toml"));
    let problems = load_of("[feedback]\nkeep_days = 0\n[[retrain]]\nrang = 1\n").unwrap_err();
    let keys: Vec<&str> = problems.iter().map(|problem| &*problem.key).collect();
    let rule = ["rang", "adapter", "min_rows"].map(|key| format!("retrain[0].{key}"));
    assert_eq!(keys[0], "feedback.keep_days");
    assert_eq!(keys[1..], rule);
    assert!(
        problems[1].origin.ends_with("adapterd.toml"),
        "{problems:?}"
    );
    let more = vars(&[
        ("ADAPTERD_FEEDBACK__CAPTURE", "true"),
        ("ADAPTERD_FEEDBACK__MAX_BYTES", "2GiB"),
    ]);
    let values = load(None, more, &[]).unwrap().values;
    assert_eq!(values.feedback.config().unwrap().max_bytes, 2 << 30);
}

#[test]
fn a_hub_is_an_address_and_its_token_is_never_shown() {
    let token = ("ADAPTERD_ADAPTERS__HUB_TOKEN", "hf_secret");
    let settings = load(None, vars(&[token]), &[]).unwrap();
    assert_eq!(settings.values.adapters.hub_token, "hf_secret");
    let rows = settings.rows();
    let row = rows.iter().find(|row| row.0 == "adapters.hub_token");
    let (_, value, origin) = row.unwrap();
    assert_eq!((value.as_str(), origin.as_str()), ("(hidden)", token.0));
    assert!(rows.iter().all(|row| !row.1.contains("hf_secret")));
    for right in ["", "https://hub.example"] {
        let said = [("adapters.hub", right.to_owned())];
        assert!(load(None, vars(&[]), &said).is_ok(), "{right}");
    }
    let said = [("adapters.hub", "http://hub.example".to_owned())];
    let told = load(None, vars(&[]), &said).unwrap_err();
    assert_eq!(told[0].key, "adapters.hub");
}
