use serde_json::json;

use super::*;
use crate::adapter::peft::{CONFIG_FILE, read};
use crate::adapter::testing::{bottleneck_specimen, fit, sites};

fn with(change: impl FnOnce(&mut Value)) -> ConfigFile {
    let files = bottleneck_specimen(2, Placement::Sequential, 1);
    let mut config: Value = serde_json::from_slice(&files[CONFIG_FILE]).unwrap();
    change(&mut config);
    ConfigFile::parse(CONFIG_FILE, &serde_json::to_vec(&config).unwrap()).unwrap()
}

fn parsed(pairs: &[(&str, Value)]) -> Result<BottleneckSettings, AdapterFault> {
    let file = with(|config| {
        for (key, value) in pairs {
            config[INNER][*key] = value.clone();
        }
    });
    BottleneckSettings::parse(&file).map(|(settings, _)| settings)
}

#[test]
fn what_is_written_reads_back_number_for_number() {
    for placement in [
        Placement::Double,
        Placement::Sequential,
        Placement::Parallel,
    ] {
        let files = bottleneck_specimen(2, placement, 3);
        assert_eq!(files, bottleneck_specimen(2, placement, 3));
        assert_ne!(files, bottleneck_specimen(2, placement, 4));
        let adapter = read(&files, &fit(&sites(2))).unwrap();
        let resume = adapter.resume::<BottleneckResume>().unwrap();
        assert_eq!(resume.settings.placement(), Some(placement));
        let again = Bottlenecks {
            settings: &resume.settings,
            base_name: "tiny",
            hidden: 16,
            weights: &resume.weights,
        };
        assert_eq!(again.files().unwrap(), files);
    }
}

#[test]
fn whatever_would_change_the_result_and_is_not_supported_is_refused_by_its_key() {
    for (key, value) in [
        ("phm_layer", json!(true)),
        ("use_gating", json!(true)),
        ("inv_adapter", json!("nice")),
        ("ln_before", json!(true)),
        ("ln_after", json!(true)),
        ("scaling", json!("learned")),
        ("scaling", json!("channel")),
        ("scaling", json!(1e9)),
        ("non_linearity", json!("mish")),
        ("non_linearity", json!(null)),
        ("residual_before_ln", json!("post_add")),
        ("residual_before_ln", json!(false)),
        ("original_ln_after", json!(false)),
        ("reduction_factor", json!(0)),
        ("reduction_factor", json!(-2.0)),
        ("reduction_factor", json!(null)),
        ("reduction_factor", json!({"0": 4.0})),
        ("reduction_factor", json!({"first": 4.0, "default": 4.0})),
        ("leave_out", json!("all")),
        ("output_adapter", json!(false)),
        ("architecture", json!("lora")),
        ("some_future_switch", json!(true)),
    ] {
        let fault = parsed(&[(key, value.clone())]).unwrap_err();
        assert_eq!(fault.field, format!("config.{key}"), "{value}");
    }
    for key in ["name", INNER] {
        let file = with(|config| config[key] = Value::Null);
        assert_eq!(BottleneckSettings::parse(&file).unwrap_err().field, key);
    }
}

#[test]
fn what_changes_nothing_is_accepted() {
    let plain = parsed(&[]).unwrap();
    for (key, value) in [
        ("dropout", json!(0.3)),
        ("init_weights", json!("houlsby")),
        ("init_weights_seed", json!(7)),
        ("stochastic_depth", json!(0.1)),
        ("cross_adapter", json!(true)),
        ("adapter_residual_before_ln", json!(true)),
        ("phm_dim", json!(8)),
        ("some_future_switch", json!(false)),
        ("scaling", json!(2)),
    ] {
        assert_eq!(parsed(&[(key, value)]).as_ref(), Ok(&plain), "{key}");
    }
}

#[test]
fn one_sum_has_several_spellings() {
    let of = |before: bool, residual: bool, after: bool| {
        let settings = parsed(&[
            ("original_ln_before", json!(before)),
            ("residual_before_ln", json!(residual)),
            ("original_ln_after", json!(after)),
        ]);
        settings.map(|settings| settings.reads)
    };
    assert_eq!(of(true, true, true), Ok(Reads::Sum));
    assert_eq!(of(true, false, false), Ok(Reads::Sum));
    assert_eq!(of(false, true, true), Ok(Reads::Output));
    assert_eq!(of(false, false, true), Ok(Reads::Output));
    assert!(of(true, false, true).is_err() && of(true, true, false).is_err());
    assert!(of(false, true, false).is_err() && of(false, false, false).is_err());
    let parallel = parsed(&[("is_parallel", json!(true))]).unwrap();
    assert_eq!(parallel.reads, Reads::Stream);
}

#[test]
fn widths_are_the_models_over_the_factor_of_the_layer() {
    let base = BaseShape {
        layers: 3,
        hidden: 40,
        ..BaseShape::default()
    };
    let widths = |pairs: &[(&str, Value)]| {
        let places = parsed(pairs).unwrap().places(base);
        places.map(|all| {
            all.iter()
                .map(|(at, width)| (at.layer, *width))
                .collect::<Vec<_>>()
        })
    };
    let factors = json!({"1": 0.5, "2": 100, "default": 16.0});
    assert_eq!(
        widths(&[("reduction_factor", factors)]),
        Ok(vec![(0, 2), (1, 80), (2, 1)])
    );
    let some = [("leave_out", json!([0, 2])), ("mh_adapter", json!(true))];
    assert_eq!(widths(&some), Ok(vec![(1, 10), (1, 10)]));
    for layers in [json!([3]), json!([0, 1, 2])] {
        let fault = widths(&[("leave_out", layers)]).unwrap_err();
        assert_eq!(fault.field, "config.leave_out");
    }
    let tiny = widths(&[("reduction_factor", json!(1e-3))]).unwrap_err();
    assert_eq!(tiny.field, "config.reduction_factor");
}

#[test]
fn names_of_before_version_3_mean_what_they_meant() {
    for (name, version, meaning) in [
        ("gelu", Some("adapters.1.0.0"), Activation::Gelu),
        ("gelu", None, Activation::GeluTanh),
        ("gelu_orig", None, Activation::Gelu),
        ("swish", None, Activation::Silu),
        ("ReLU", Some("0.2"), Activation::Relu),
    ] {
        let file = with(|config| {
            config["version"] = json!(version);
            config[INNER]["non_linearity"] = json!(name);
        });
        let (settings, _) = BottleneckSettings::parse(&file).unwrap();
        assert_eq!(settings.activation, meaning, "{name}");
    }
}
