use super::*;
use crate::adapter::testing::sites;

fn list(names: &[&str]) -> Targets {
    Targets::List(names.iter().map(|name| (*name).to_owned()).collect())
}

fn pattern(text: &str) -> Targets {
    Targets::Pattern(text.to_owned())
}

fn paths(selection: &Selection) -> Vec<String> {
    selection
        .sites(&sites(3))
        .unwrap()
        .iter()
        .map(|shape| shape.site.path())
        .collect()
}

fn refusal(selection: &Selection) -> AdapterFault {
    selection.sites(&sites(3)).unwrap_err()
}

#[test]
fn a_list_matches_whole_paths_and_ends_after_a_dot() {
    let found = paths(&Selection::of(list(&[
        "v_proj",
        "model.layers.1.mlp.up_proj",
        "0.self_attn.o_proj",
    ])));
    assert_eq!(
        found,
        [
            "model.layers.0.self_attn.v_proj",
            "model.layers.0.self_attn.o_proj",
            "model.layers.1.self_attn.v_proj",
            "model.layers.1.mlp.up_proj",
            "model.layers.2.self_attn.v_proj",
        ]
    );
    let partly = Selection::of(list(&["v_proj", "_proj"]));
    assert_eq!(paths(&partly).len(), 3, "no layer is called `_proj`");
}

#[test]
fn a_name_that_no_layer_has_chooses_nothing_but_is_a_mistake_to_ask_for() {
    let mixed = Selection::of(list(&["q_proj", "query_key_value"]));
    assert_eq!(paths(&mixed).len(), 3);
    let fault = mixed.check_names(&sites(3), &[]).unwrap_err();
    assert_eq!(fault.field, "target_modules");
    let has = "which has q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj";
    assert!(fault.why.contains("query_key_value"), "{fault}");
    assert!(fault.why.ends_with(has), "{fault}");
    let known = [list(&["q_proj", "mlp.up_proj"]), pattern(".*q_proj")];
    assert!(
        known
            .map(Selection::of)
            .iter()
            .all(|s| s.check_names(&sites(3), &[]).is_ok())
    );
}

#[test]
fn a_string_matches_the_whole_path_as_a_regular_expression() {
    let found = paths(&Selection::of(pattern(r".*\.[02]\.self_attn\.(q|v)_proj")));
    assert_eq!(found.len(), 4);
    assert!(
        Selection::of(pattern("q_proj")).sites(&sites(3)).is_err(),
        "no search, a full match"
    );
    let look_ahead = paths(&Selection::of(pattern(
        r"(?!.*mlp)model\.layers\.\d+\.\w+\.\w+_proj",
    )));
    assert_eq!(look_ahead.len(), 12);
}

#[test]
fn all_linear_means_every_site_whatever_its_case() {
    assert_eq!(paths(&Selection::of(pattern("all-linear"))).len(), 21);
    assert_eq!(paths(&Selection::of(pattern("All-Linear"))).len(), 21);
}

#[test]
fn layers_to_transform_filters_ends_but_not_whole_paths() {
    let mut selection = Selection::of(list(&["q_proj", "model.layers.0.mlp.up_proj"]));
    selection.layers = vec![1];
    assert_eq!(
        paths(&selection),
        [
            "model.layers.0.mlp.up_proj",
            "model.layers.1.self_attn.q_proj"
        ]
    );
    selection.layers_pattern = vec!["h".to_owned()];
    assert_eq!(paths(&selection), ["model.layers.0.mlp.up_proj"]);
    selection.layers_pattern = vec!["h".to_owned(), "layers".to_owned()];
    assert_eq!(paths(&selection).len(), 2);
}

#[test]
fn excluded_modules_are_left_out_even_where_they_are_targets() {
    let mut selection = Selection::of(list(&["q_proj", "v_proj"]));
    selection.exclude = Some(list(&["v_proj"]));
    assert_eq!(paths(&selection).len(), 3);
    selection.exclude = Some(pattern(r".*layers\.[12].*|.*v_proj"));
    assert_eq!(paths(&selection), ["model.layers.0.self_attn.q_proj"]);
    selection.exclude = Some(pattern(".*"));
    assert_eq!(refusal(&selection).field, "exclude_modules");
}

#[test]
fn embeddings_the_head_and_unknown_modules_are_refused_by_name() {
    for (targets, culprit) in [
        (list(&["q_proj", "lm_head"]), "lm_head"),
        (list(&["embed_tokens", "q_proj"]), "embed_tokens"),
        (pattern(".*(q_proj|mlp)"), "mlp"),
        (list(&["qkv_proj"]), "qkv_proj"),
    ] {
        let fault = refusal(&Selection::of(targets));
        assert_eq!(fault.field, "target_modules");
        assert!(fault.why.contains(culprit), "{fault}");
    }
    assert_eq!(refusal(&Selection::of(list(&[]))).field, "target_modules");
}

#[test]
fn embeddings_and_the_head_are_chosen_where_they_may_be() {
    let outer = |targets| {
        let found = Selection::of(targets).sites_and_outer(&sites(3));
        found.map(|(sites, outer)| (sites.len(), outer))
    };
    let both = Outer::ALL.to_vec();
    let listed = outer(list(&["q_proj", "lm_head", "embed_tokens"]));
    assert_eq!(listed.unwrap(), (3, both.clone()));
    assert_eq!(outer(list(&["lm_head"])).unwrap(), (0, vec![Outer::Head]));
    let matched = outer(pattern(r".*embed_tokens|.*\.0\.mlp\.up_proj"));
    assert_eq!(matched.unwrap(), (1, vec![Outer::Embedding]));
    assert_eq!(outer(pattern("all-linear")).unwrap(), (21, vec![]));
    assert!(outer(list(&["norm"])).is_err());
    // The head's name is its whole path, which a choice of layers does not filter.
    let mut selection = Selection::of(list(&["q_proj", "lm_head", "embed_tokens"]));
    selection.layers = vec![1];
    let found = selection.sites_and_outer(&sites(3)).unwrap();
    assert_eq!((found.0.len(), found.1), (1, vec![Outer::Head]));
    selection.exclude = Some(list(&["lm_head"]));
    assert!(selection.sites_and_outer(&sites(3)).unwrap().1.is_empty());
    for (targets, means) in [
        (list(&["q_proj", "model.embed_tokens"]), true),
        (pattern("(.*q_proj|lm_head)"), true),
        (pattern(r".*\.embed_tokens"), false),
        (pattern("all-linear"), false),
    ] {
        assert_eq!(Selection::of(targets).means_tied().unwrap(), means);
    }
}

#[test]
fn broken_and_explosive_patterns_are_refused() {
    for bad in ["(", "q_proj)|(", "[z-a]"] {
        assert_eq!(
            refusal(&Selection::of(pattern(bad))).field,
            "target_modules",
            "{bad}"
        );
    }
    let bomb = format!("(?=x)?({})", "(a|.)*".repeat(40));
    assert!(
        Selection::of(pattern(&format!("{bomb}(?!x)\\1z")))
            .sites(&sites(3))
            .is_err()
    );
    assert!(
        Selection::of(pattern(&"a".repeat(MAX_PATTERN + 1)))
            .sites(&sites(3))
            .is_err()
    );
}

#[test]
fn the_first_pattern_that_matches_gives_the_value() {
    let rules = [
        ("up_proj".to_owned(), 1),
        (r"layers\.1\..*".to_owned(), 2),
        (".*_proj".to_owned(), 3),
    ];
    let patterns = Patterns::new("rank_pattern", &rules).unwrap();
    assert_eq!(patterns.get("model.layers.1.mlp.up_proj").unwrap(), Some(1));
    assert_eq!(
        patterns.get("model.layers.1.mlp.down_proj").unwrap(),
        Some(2)
    );
    assert_eq!(
        patterns.get("model.layers.0.mlp.down_proj").unwrap(),
        Some(3)
    );
    assert_eq!(patterns.get("model.norm").unwrap(), None);
    let whole = [("^model.layers.0.mlp.down_proj".to_owned(), 7)];
    let patterns = Patterns::new("rank_pattern", &whole).unwrap();
    assert_eq!(
        patterns.get("model.layers.0.mlp.down_proj").unwrap(),
        Some(7)
    );
    assert_eq!(
        Patterns::new("rank_pattern", &[("(".to_owned(), 1)])
            .err()
            .unwrap()
            .field,
        "rank_pattern.("
    );
}
