use super::*;
use crate::domain::Role;

fn render(source: &str, messages: &[(Role, &str)], prompt: bool) -> Result<String, TextError> {
    let messages: Vec<_> = messages
        .iter()
        .map(|(role, text)| Message::new(*role, *text))
        .collect();
    ChatTemplate::new(source, Some("<s>"), Some("</s>"))?.render(&messages, prompt)
}

/// Renders without messages.
fn value(source: &str) -> String {
    render(source, &[], false).unwrap()
}

const CHAT: &[(Role, &str)] = &[
    (Role::System, "Be brief."),
    (Role::User, " Hi "),
    (Role::Assistant, "Hello."),
];

#[test]
fn blocks_leave_no_blank_lines() {
    let source = "{% for m in messages %}\n    {% if m.role == 'user' %}\n<|{{ m['role'] }}|>\n{{ m.content | trim }}\n    {% endif %}\n{% endfor %}\n";
    assert_eq!(render(source, CHAT, false).unwrap(), "<|user|>\nHi\n");
}

#[test]
fn a_begin_token_stands_only_where_the_template_writes_it() {
    let source = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}{{ unk_token }}";
    assert_eq!(
        render(source, CHAT, false).unwrap(),
        "<s>[system]Be brief.</s>[user] Hi </s>[assistant]Hello.</s>"
    );
}

#[test]
fn the_generation_prompt_is_added_when_asked_for() {
    let source = "{{ messages[-1].content }}{% if add_generation_prompt %}<|assistant|>{% endif %}";
    assert_eq!(render(source, CHAT, false).unwrap(), "Hello.");
    assert_eq!(render(source, CHAT, true).unwrap(), "Hello.<|assistant|>");
}

#[test]
fn a_template_that_raises_says_why() {
    let source = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}";
    assert_eq!(
        render(source, CHAT, true),
        Err(TextError::Template("System role not supported".into()))
    );
    assert!(matches!(
        render("{% if %}", CHAT, true),
        Err(TextError::Template(_))
    ));
    assert!(matches!(
        render("{{ messages[0].content.nothing.more }}", CHAT, true),
        Err(TextError::Template(_))
    ));
}

#[test]
fn python_idioms_of_published_templates_work() {
    for (source, expected) in [
        ("{{ ' a b '.strip().split(' ')[1] }}", "b"),
        (
            "{{ 'x</think>y'.split('</think>')[-1].lstrip('\\n') }}",
            "y",
        ),
        (
            "{{ 'abc'.startswith('ab') and not 'abc'.endswith('b') }}",
            "True",
        ),
        (
            "{{ 'prefix-x'.removeprefix('prefix-') ~ 'y.txt'.removesuffix('.txt') }}",
            "xy",
        ),
        ("{{ 'a' + 'b' + 1 | string }}", "ab1"),
        (
            "{% set ns = namespace(n=0) %}{% for i in [1, 2, 3] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
            "6",
        ),
        (
            "{% for i in [1, 2, 3, 4] %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "13",
        ),
        (
            "{% for i in [1, 2, 3][::-1] %}{{ loop.index0 }}{{ i }}{{ ',' if not loop.last }}{% endfor %}",
            "03,12,21",
        ),
        (
            "{{ {'a': 1}.get('b', 2) }}{% for k, v in {'x': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}",
            "2x1b2",
        ),
        (
            "{{ tools is none }} {{ tools is defined }} {{ nothing is defined }}",
            "True True False",
        ),
        ("{% if tools %}yes{% else %}no{% endif %}", "no"),
        (
            "{{ {'b': [1, 2.0], 'a': '\"é<'} | tojson }}",
            r#"{"b": [1, 2.0], "a": "\"é<"}"#,
        ),
        (
            "{{ [1, {'a': 2}] | tojson(indent=2) }}",
            "[\n  1,\n  {\n    \"a\": 2\n  }\n]",
        ),
        (
            "{%- macro twice(x) -%}{{ x }}{{ x }}{%- endmacro -%}{{ twice('ab') }}",
            "abab",
        ),
        (
            "{{ 'a' if true else 'b' }}{{ none }}{{ ['x', 'y'] | join('-') }}{{ 'q' in ['q'] }}",
            "aNonex-yTrue",
        ),
        ("{% set content = '<b>&' %}{{ content }}", "<b>&"),
        ("{% generation %}answer{% endgeneration %}", "answer"),
        ("a\n{%- generation %}\nb\n{%- endgeneration -%}\n c", "abc"),
    ] {
        assert_eq!(value(source), expected, "{source}");
    }
    assert_eq!(value("{{ strftime_now('%Y') }}").len(), 4);
    assert_eq!(value("{{ strftime_now('%Q') }}"), "%Q");
}

#[test]
fn values_print_as_python_prints_them() {
    for (source, expected) in [
        (
            "{{ [\"it's\", 1, 2.0, true, none, {'k': 'v'}] }}",
            r#"["it's", 1, 2.0, True, None, {'k': 'v'}]"#,
        ),
        (
            r#"{{ ["a'b\"c", 'x\n\\', 'é'] }}"#,
            r#"['a\'b"c', 'x\n\\', 'é']"#,
        ),
        (
            "{{ ['\u{a0}\u{200b}\u{7}\u{e0001}e\u{301}'] }}",
            "['\\xa0\\u200b\\x07\\U000e0001e\u{301}']",
        ),
        (
            "{{ {1: [], 'a': nothing, 'b': {}} }}",
            "{1: [], 'a': Undefined, 'b': {}}",
        ),
        (
            "{{ 1e16 }} {{ 0.1 + 0.2 }} {{ -0.0 }} {{ 1e-5 }} {{ 12 }}",
            "1e+16 0.30000000000000004 -0.0 1e-05 12",
        ),
        (
            "{{ 'x' ~ (['a', 1.0, true] | string) ~ (1e16 | string) ~ ('b' | string) }}",
            "x['a', 1.0, True]1e+16b",
        ),
    ] {
        assert_eq!(value(source), expected, "{source}");
    }
}

#[test]
fn strings_have_the_methods_templates_call() {
    for (source, expected) in [
        (
            "{{ 'a-b-c'.rsplit('-', 1) }}{{ 'a-b-c'.rsplit('-', maxsplit=1)[0] }}{{ 'a-b-c'.rsplit('-') | length }}",
            "['a-b', 'c']a-b3",
        ),
        (
            "{{ 'a-b-c'.partition('-')[2] }} {{ 'a-b-c'.rpartition('-')[0] }} {{ 'a'.partition('-')[0] }} {{ 'a'.rpartition('-')[2] }}",
            "b-c a-b a a",
        ),
        ("{{ 'été-b'.index('-') }}", "3"),
    ] {
        assert_eq!(value(source), expected, "{source}");
    }
    for source in [
        "{{ 'a'.index('b') }}",
        "{{ 'a'.partition('') }}",
        "{{ 'a'.rsplit('') }}",
        "{{ 'a'.removeprefix(1) }}",
        "{{ 'a'.rsplit('b', least=1) }}",
    ] {
        assert!(
            matches!(render(source, &[], false), Err(TextError::Template(_))),
            "{source}"
        );
    }
}

#[test]
fn an_endless_template_is_stopped() {
    let source = "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}{% endfor %}{% endfor %}";
    assert_eq!(
        render(source, &[], false),
        Err(TextError::Template("rendering takes too long".into()))
    );
}

#[test]
fn a_developer_message_is_a_system_message_to_templates_that_do_not_know_it() {
    let chat = &[(Role::Developer, "x")];
    assert_eq!(
        render("{{ messages[0].role }}", chat, false).unwrap(),
        "system"
    );
    assert_eq!(
        render("{{ messages[0].role }}{# developer #}", chat, false).unwrap(),
        "developer"
    );
}

#[test]
fn a_model_without_a_template_gets_the_plain_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("tokenizer_config.json"),
        r#"{"bos_token": "<s>", "eos_token": {"content": "</s>"}}"#,
    )
    .unwrap();
    let template = ChatTemplate::from_folder(dir.path()).unwrap();
    let chat: Vec<_> = CHAT
        .iter()
        .map(|(role, text)| Message::new(*role, *text))
        .collect();
    let rendered = template.render(&chat, true).unwrap();
    assert_eq!(
        rendered,
        "<s>### System:\nBe brief.\n\n### User:\n Hi \n\n### Assistant:\nHello.</s>\n\n### Assistant:\n"
    );
    let asked = template.render(&chat[..2], true).unwrap();
    assert!(
        rendered.starts_with(&asked),
        "what asks for an answer is the beginning of the text with the answer"
    );
}

#[test]
fn the_template_is_found_in_every_place_transformers_writes_it() {
    let dir = tempfile::tempdir().unwrap();
    let found = |dir: &Path| ChatTemplate::from_folder(dir).map(|t| t.source().to_owned());
    let config = dir.path().join("tokenizer_config.json");
    std::fs::write(&config, r#"{"chat_template": "one"}"#).unwrap();
    assert_eq!(found(dir.path()).unwrap(), "one");
    std::fs::write(&config, r#"{"chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "two"}]}"#).unwrap();
    assert_eq!(found(dir.path()).unwrap(), "two");
    std::fs::write(
        &config,
        r#"{"chat_template": [{"name": "tool_use", "template": "t"}]}"#,
    )
    .unwrap();
    assert!(matches!(found(dir.path()), Err(TextError::File(_))));
    std::fs::write(dir.path().join("chat_template.jinja"), "three").unwrap();
    assert_eq!(found(dir.path()).unwrap(), "three");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 98\n";
    std::fs::write(dir.path().join("chat_template.jinja"), pointer).unwrap();
    let error = found(dir.path()).unwrap_err().to_string();
    assert!(
        error.starts_with("chat_template.jinja") && error.contains("git lfs pull"),
        "{error}"
    );
}

#[test]
fn a_stopped_clock_tells_the_same_day_for_ever() {
    let template = ChatTemplate::new("{{ strftime_now('%j %Y') }}", None, None).unwrap();
    let then = template.at(200 * 86_400);
    assert!(then.render(&[], false).unwrap().ends_with(" 1970"));
    assert_ne!(then.render(&[], false), template.render(&[], false));
    assert_eq!(then.digest(), template.digest());
}

#[test]
fn generation_blocks_tell_which_parts_are_answers() {
    let chat: Vec<_> = CHAT
        .iter()
        .chain(CHAT)
        .map(|(role, text)| Message::new(*role, *text))
        .collect();
    let answers = |source: &str| {
        let template = ChatTemplate::new(source, Some("<s>"), Some("</s>")).unwrap();
        assert!(template.marks_answers(), "{source}");
        let marked = template.render_marked(&chat, true).unwrap();
        assert_eq!(marked.text, template.render(&chat, true).unwrap());
        let parts = marked.answers.iter();
        parts
            .map(|range| marked.text[range.clone()].to_owned())
            .collect::<Vec<_>>()
    };
    for (source, expected) in [
        (
            "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}\n{% else %}{{ m.content }}{% endif %}{% endfor %}",
            vec!["Hello.</s>", "Hello.</s>"],
        ),
        (
            "{%- macro say(m) -%}{%- generation -%}  {{ m.content }}  {%- endgeneration -%}{%- endmacro -%}{{ 'é' }}{% for m in messages[:2] %}{{ say(m) }}{% endfor %}",
            vec!["Be brief.", " Hi "],
        ),
        (
            "{% generation %}{% endgeneration %}{{ '\u{f0000}' }}{% generation %}a{% generation %}b{% endgeneration %}c{% endgeneration %}",
            vec!["abc"],
        ),
    ] {
        assert_eq!(answers(source), expected, "{source}");
    }
    let plain = ChatTemplate::plain(&Specials::default()).unwrap();
    assert!(!plain.marks_answers());
    assert!(plain.render_marked(&chat, true).unwrap().answers.is_empty());
}

#[test]
fn templates_are_told_of_tools_and_variables() {
    let source = "{{ tools is none }}{{ tools | length if tools else 0 }}{{ enable_thinking is defined and enable_thinking }}{{ messages[0].content }}{{ eos_token }}{{ documents }}{{ add_generation_prompt }}";
    let template = ChatTemplate::new(source, None, Some("</s>")).unwrap();
    let messages = [serde_json::json!({"role": "user", "content": "hi"})];
    let plain = Conversation {
        messages: &messages,
        ..Conversation::default()
    };
    let render = |conversation| template.render_with(&conversation).unwrap();
    assert_eq!(render(plain), "True0Falsehi</s>NoneFalse");
    let tools = [serde_json::json!({"type": "function"})];
    let with_tools = Conversation {
        tools: Some(&tools),
        ..plain
    };
    assert_eq!(render(with_tools), "False1Falsehi</s>NoneFalse");
    let no_tools = Conversation {
        tools: Some(&[]),
        ..plain
    };
    assert_eq!(render(no_tools), "False0Falsehi</s>NoneFalse");
    let variables = serde_json::json!({
        "enable_thinking": true, "eos_token": "!", "documents": [], "messages": 5, "tools": 5, "add_generation_prompt": 5
    });
    let with_variables = Conversation {
        variables: variables.as_object(),
        add_generation_prompt: true,
        ..plain
    };
    assert_eq!(render(with_variables), "True0Truehi![]True");
}

#[test]
fn reasoning_is_found_under_each_of_its_names() {
    let template = ChatTemplate::new(
        "{% for m in messages %}{{ m.thinking }},{{ m.reasoning_content }},{{ m.role }};{% endfor %}",
        None,
        None,
    )
    .unwrap();
    let messages = [
        serde_json::json!({"role": "assistant", "reasoning_content": "a"}),
        serde_json::json!({"role": "assistant", "thinking": "b"}),
        serde_json::json!({"role": "assistant", "reasoning": "c", "thinking": null}),
        serde_json::json!({"role": "developer", "content": "d"}),
    ];
    let conversation = Conversation {
        messages: &messages,
        ..Conversation::default()
    };
    assert_eq!(
        template.render_with(&conversation).unwrap(),
        "a,a,assistant;b,b,assistant;None,c,assistant;,,system;"
    );
}

/// See tests/golden/README.md for how its files are made.
#[test]
#[ignore = "reads the folder that ADAPTERD_TEMPLATE_CASES names"]
fn published_templates_render_as_the_reference_renders_them() {
    let folder = std::env::var("ADAPTERD_TEMPLATE_CASES").unwrap();
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let (mut count, mut failures, mut wrong) = (0, 0, Vec::new());
    for path in &paths {
        let file: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let specials = Specials {
            named: serde_json::from_value(file["tokens"].clone()).unwrap(),
            ..Specials::default()
        };
        let template = ChatTemplate::of(file["template"].as_str().unwrap(), &specials)
            .map(|template| template.at(file["time"].as_i64().unwrap()));
        for (at, case) in file["cases"].as_array().unwrap().iter().enumerate() {
            let conversation = Conversation {
                messages: case["messages"].as_array().unwrap(),
                tools: case["tools"].as_array().map(Vec::as_slice),
                variables: case["variables"].as_object(),
                add_generation_prompt: case["add_generation_prompt"] == true,
            };
            let rendered = template
                .clone()
                .and_then(|template| template.render_with(&conversation));
            count += 1;
            failures += usize::from(case["expected"].is_null());
            if rendered.as_deref().ok() != case["expected"].as_str() {
                wrong.push(format!(
                    "{} #{at}:\n  expected {} {}\n  rendered {rendered:?}",
                    path.display(),
                    case["expected"],
                    case["error"]
                ));
            }
        }
    }
    println!(
        "{} templates, {count} renderings, {failures} of which fail in both",
        paths.len()
    );
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
