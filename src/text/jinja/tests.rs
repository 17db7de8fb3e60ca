use serde_json::Value as Json;

use super::*;

fn golden(path: &str) -> Json {
    let path = format!("{}/tests/golden/{path}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn values(json: &Json) -> IndexMap<String, Value> {
    let values = json.as_object().unwrap().iter();
    values
        .map(|(name, value)| (name.clone(), Value::from(value)))
        .collect()
}

const OPTIONS: Options = Options {
    steps: 5_000_000,
    fence: None,
    time: None,
};

fn render(source: &str, values: &IndexMap<String, Value>) -> Result<String, Fault> {
    Template::compile(source)?.render(values, &OPTIONS)
}

fn alone(source: &str) -> Result<String, Fault> {
    render(source, &IndexMap::new())
}

#[test]
fn templates_render_as_jinja_renders_them_and_fail_where_it_fails() {
    let golden = golden("templates/expressions.json");
    let values = values(&golden["context"]);
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() > 3000);
    let mut wrong = Vec::new();
    for case in cases {
        let source = case[0].as_str().unwrap();
        let rendered = render(source, &values);
        if rendered.as_deref().ok() != case[1].as_str() {
            wrong.push(format!(
                "{source}\n  expected {}\n  rendered {rendered:?}",
                case[1]
            ));
        }
    }
    let shown = wrong.join("\n");
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{shown}",
        wrong.len(),
        cases.len()
    );
}
