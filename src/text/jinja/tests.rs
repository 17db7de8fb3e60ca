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

#[test]
fn what_would_take_too_much_memory_is_refused_before_it_does() {
    for source in [
        "{{ 'x' * 10**10 }}",
        "{{ 'x' * 10**30 }}",
        "{{ [0] * 10**9 }}",
        "{{ (0,) * 10**9 }}",
        "{{ 'ab'.encode() * 10**10 }}",
        "{{ range(10**9) }}",
        "{{ range(0 - 10**18, 10**18, 3) }}",
        "{{ 2 ** (10**9) }}",
        "{{ 10 ** (10 ** 10) }}",
        "{{ (10 ** 4000) ** 4000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%.1000000000f' % 1 }}",
        "{{ '%*d' % (10**12, 1) }}",
        "{{ '%99999999999999999999999d' % 1 }}",
        "{{ '{:1000000000}'.format(1) }}",
        "{{ '{:.1000000000f}'.format(1) }}",
        "{{ '{:99999999999999999999999}'.format('a') }}",
        "{{ 'a'.center(10**9) }}",
        "{{ 'a'.ljust(10**9, 'é') }}",
        "{{ 'a'.zfill(10**9) }}",
        "{{ 'a' | center(10**9) }}",
        "{{ 'a\tb'.expandtabs(10**9) }}",
        "{{ 'a\nb' | indent(10**9) }}",
        "{{ [1] | tojson(indent=10**9) }}",
        "{{ ('a' * 10**5).replace('', 'b' * 10**5) }}",
        "{{ ('a' * 10**5) | replace('a', 'b' * 10**5) }}",
        "{{ range(100000) | join('x' * 10**5) }}",
        "{{ ('x' * 10**5).join(range(100000) | map('string')) }}",
        "{{ [1] | slice(10**9) | list }}",
        "{{ [1] | batch(10**9, 0) | list }}",
        "{{ lipsum(10**9) }}",
        "{{ ('a ' * 10**6) | wordwrap(1, wrapstring='x' * 10**4) }}",
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{% set ns = namespace(s='x') %}{% for i in range(100) %}{% set ns.s %}{{ ns.s }}{{ ns.s }}{% endset %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(100) %}{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
        "{% set ns = namespace(l=1) %}{% for i in range(100) %}{% set ns.l = {'a': ns.l, 'b': ns.l} %}{% endfor %}{{ ns.l == ns.l }}",
        "{% set ns = namespace(l=[]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor %}",
        "{% set s = 'x' * 10**6 %}{% for i in range(100000) %}{{ s }}{% endfor %}",
        "{% macro m() %}{{ 'x' * 10**6 }}{% endmacro %}{% for i in range(1000) %}{{ m() }}{% endfor %}",
    ] {
        let began = std::time::Instant::now();
        assert!(alone(source).is_err(), "{source}");
        assert!(began.elapsed().as_secs() < 20, "{source}");
    }
}

#[test]
fn what_never_ends_is_ended() {
    for source in [
        "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{{ a }}{% endfor %}{% endfor %}",
        "{% for a in range(100000) %}{{ range(100000) | list | length }}{% endfor %}",
        "{% for a in range(100000) %}{{ range(100000) | sum }}{% endfor %}",
        "{% for a in range(100000) %}{% if -1 in range(100000) %}{% endif %}{% endfor %}",
        "{% set l = range(100000) | list %}{% for a in range(100000) %}{{ l == l + [] }}{% endfor %}",
        "{% set l = range(100000) | list %}{% for a in range(100000) %}{{ l | sort | first }}{% endfor %}",
        "{% set s = 'x' * 10**6 %}{% for a in range(100000) %}{{ s.count('y') }}{% endfor %}",
        "{% set s = 'x' * 10**6 %}{% for a in range(100000) %}{{ s | upper | length }}{% endfor %}",
        "{% set ns = namespace(n=0) %}{% for a in range(100000) if a < 0 %}{% endfor %}{% for a in range(100000) %}{% for b in range(100000) if b < 0 %}{% endfor %}{% endfor %}",
    ] {
        let fault = alone(source).unwrap_err();
        assert_eq!(fault.kind, Kind::Spent, "{source}: {fault:?}");
    }
}

#[test]
fn what_recurses_without_end_is_refused_and_the_stack_stays_whole() {
    let many = |text: &str| text.repeat(100_000);
    for source in [
        "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}".to_owned(),
        "{% macro f() %}{% call f() %}{% endcall %}{% endmacro %}{{ f() }}".to_owned(),
        "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}"
            .to_owned(),
        "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}".to_owned(),
        "{% block a %}{{ self.a() }}{% endblock %}".to_owned(),
        "{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}".to_owned(),
        format!("{{{{ {} 1 {} }}}}", many("("), many(")")),
        format!("{{{{ {} 1 {} }}}}", many("["), many("]")),
        format!("{{{{ {} 1 }}}}", many("not ")),
        format!("{{{{ {} 1 }}}}", many("- ")),
        format!("{{{{ 1 {} }}}}", many("+ 1 ")),
        format!("{{{{ 1 {} }}}}", many("** 1 ")),
        format!("{{{{ 1 {} }}}}", many("if 1 ")),
        format!("{{{{ 1 {} }}}}", many("if 1 else 1 ")),
        format!("{{{{ 1 {} }}}}", many("| abs ")),
        format!("{{{{ x{} }}}}", many(".x")),
        format!("{{{{ x{} }}}}", many("()")),
        many("{% if 1 %}"),
        format!("{}{}", many("{% if 1 %}"), many("{% endif %}")),
        format!("{}{}", many("{% for x in y %}"), many("{% endfor %}")),
        format!("{}{}", many("{% macro m() %}"), many("{% endmacro %}")),
    ] {
        assert!(alone(&source).is_err(), "{:.60}", source);
    }
    // Long is not deep.
    let long = format!("{{{{ {} 1 }}}}", many("1 ~ "));
    assert_eq!(alone(&long).unwrap().len(), 100_001);
    assert_eq!(alone(&many("{{ 1 }}")).unwrap().len(), 100_000);
    let arms = format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(2000));
    assert_eq!(alone(&arms).unwrap(), "");
    let sum = format!("{{{{ {} 1 }}}}", "1 + ".repeat(900));
    assert_eq!(alone(&sum).unwrap(), "901");
}

#[test]
fn nothing_that_a_template_can_say_is_a_panic() {
    // Pieces of the golden templates, put together anew.
    let golden = golden("templates/expressions.json");
    let values = values(&golden["context"]);
    let cases = golden["cases"].as_array().unwrap();
    let sources: Vec<&str> = cases.iter().filter_map(|case| case[0].as_str()).collect();
    let mut seed = 7_u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize % below.max(1)
    };
    for _ in 0..5_000 {
        let (a, b) = (
            sources[random(sources.len())],
            sources[random(sources.len())],
        );
        let cut = |text: &str, at: usize| {
            let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            places.get(at).copied().unwrap_or(text.len())
        };
        let (from, to) = (cut(a, random(a.len() + 1)), cut(b, random(b.len() + 1)));
        let source = format!("{}{}", &a[..from], &b[to..]);
        let _ = render(&source, &values);
    }
}

#[test]
fn a_failure_names_its_line() {
    for (source, line) in [
        ("a\n{{ missing.x }}", 2),
        ("{% if true %}\n\n{{ 1 + 'a' }}\n{% endif %}", 3),
        ("a\n\n{% nope %}", 3),
        ("{{ 1 }}\n{{ 1 | nope }}", 2),
        ("{% for x in [1] %}\n{{ x\n}}{% endif %}", 3),
    ] {
        assert_eq!(alone(source).unwrap_err().line, Some(line), "{source}");
    }
    let raised = alone("\n{{ raise_exception('Roles must alternate') }}").unwrap_err();
    assert_eq!(
        (raised.kind, &*raised.message),
        (Kind::Raised, "Roles must alternate")
    );
}

#[test]
fn renderings_do_not_change_the_template() {
    let source = "{% set ns = namespace(n=0) %}{% for x in xs %}{% set ns.n = ns.n + x %}{% endfor %}{{ ns.n }}{{ ns.m is defined }}{% set ns.m = 1 %}";
    let template = Template::compile(source).unwrap();
    let values = values(&serde_json::json!({"xs": [1, 2]}));
    for _ in 0..3 {
        assert_eq!(template.render(&values, &OPTIONS).unwrap(), "3False");
    }
}
