//! What a chat request may say, and what counts as nothing in it.

use serde_json::json;

use super::*;
use crate::api::http::shape::tests::conforms;
use crate::domain::ToolChoice;

fn field_of(body: Value) -> String {
    match Chat::read(body) {
        Err(Reason::BadField { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

fn with(field: &str, value: Value) -> Value {
    json!({"messages": [{"role": "user", "content": "hello"}], field: value})
}

#[test]
fn every_field_is_read_and_every_wrong_type_is_named() {
    conforms(&CHAT, |body| Chat::read(body).map(drop));
    conforms(&MESSAGE, |message| {
        match Chat::read(json!({"messages": [message]})) {
            Err(Reason::BadField { field, why }) => Err(Reason::field(
                field.strip_prefix("messages[0].").unwrap_or(&field),
                why,
            )),
            other => other.map(drop),
        }
    });
}

#[test]
fn content_may_be_a_list_of_text_parts() {
    let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    let chat = Chat::read(json!({"messages": [{"role": "user", "content": parts}]})).unwrap();
    assert_eq!(chat.messages[0].content, "a\nb");
    let image = json!([{"type": "image_url", "image_url": {"url": "x"}}]);
    assert!(
        field_of(json!({"messages": [{"role": "user", "content": image}]}))
            .starts_with("messages[0].content[0]")
    );
    assert_eq!(
        field_of(json!({"messages": [{"role": "user", "content": 5}]})),
        "messages[0].content"
    );
}

#[test]
fn an_answer_can_be_sent_back_as_the_client_received_it() {
    let answer = json!({"role": "assistant", "content": "hi", "refusal": null, "annotations": null, "audio": null,
        "function_call": null, "tool_calls": null});
    assert!(Chat::read(json!({"messages": [{"role": "user", "content": "a"}, answer]})).is_ok());
}

#[test]
fn fields_that_contradict_each_other_are_refused() {
    let mut both = with("max_tokens", json!(5));
    both["max_completion_tokens"] = json!(6);
    assert_eq!(field_of(both.clone()), "max_completion_tokens");
    both["max_completion_tokens"] = json!(5);
    assert_eq!(Chat::read(both).unwrap().sampling.max_tokens, Some(5));
    assert_eq!(field_of(with("max_tokens", json!(0))), "max_tokens");
    assert_eq!(field_of(with("top_logprobs", json!(2))), "top_logprobs");
    assert_eq!(
        field_of(with("stream_options", json!({"include_usage": true}))),
        "stream_options"
    );
    let mut more = with("min_tokens", json!(9));
    more["max_tokens"] = json!(3);
    assert_eq!(field_of(more), "min_tokens");
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for (field, value) in [
        ("functions", json!([{"name": "f"}])),
        ("function_call", json!({"name": "f"})),
        ("modalities", json!(["text", "audio"])),
        ("audio", json!({"voice": "alloy", "format": "wav"})),
        ("prediction", json!({"type": "content", "content": "a"})),
        ("web_search_options", json!({})),
        ("verbosity", json!("low")),
        ("guided_decoding_backend", json!("outlines")),
        ("guided_whitespace_pattern", json!(" ")),
        ("use_beam_search", json!(true)),
        ("length_penalty", json!(1.5)),
        ("skip_special_tokens", json!(false)),
        ("include_stop_str_in_output", json!(true)),
        ("truncate_prompt_tokens", json!(10)),
        ("prompt_logprobs", json!(0)),
        ("allowed_token_ids", json!([1])),
        ("bad_words", json!(["a"])),
        ("detokenize", json!(false)),
        ("echo", json!(true)),
        ("add_special_tokens", json!(true)),
        ("add_generation_prompt", json!(false)),
        ("continue_final_message", json!(true)),
        ("chat_template", json!("{{ messages }}")),
        ("chat_template_kwargs", json!({"enable_thinking": false})),
        ("documents", json!([{"text": "a"}])),
        ("return_tokens_as_token_ids", json!(true)),
        ("kv_transfer_params", json!({"do_remote_decode": true})),
        ("provider", json!({"order": ["a"]})),
        ("models", json!(["a", "b"])),
        ("include_reasoning", json!(false)),
        ("best_of", json!(2)),
        ("no_such_field", json!(null)),
    ] {
        assert_eq!(field_of(with(field, value.clone())), field, "{value}");
    }
}

#[test]
fn what_asks_for_nothing_counts_as_absent() {
    let plain = Chat::read(with("stop", json!(null))).unwrap();
    let plain = format!("{plain:?}");
    for (field, values) in [
        ("tools", vec![json!([]), json!(""), json!({}), json!(null)]),
        ("tool_choice", vec![json!("auto"), json!(""), json!(null)]),
        ("parallel_tool_calls", vec![json!(true)]),
        ("functions", vec![json!([]), json!(null)]),
        (
            "function_call",
            vec![json!("none"), json!("auto"), json!(null)],
        ),
        (
            "response_format",
            vec![json!({"type": "text"}), json!({}), json!(null)],
        ),
        ("modalities", vec![json!(["text"]), json!([]), json!(null)]),
        ("audio", vec![json!(null), json!({"voice": null})]),
        ("prediction", vec![json!(null)]),
        ("web_search_options", vec![json!(null)]),
        ("verbosity", vec![json!("medium"), json!("")]),
        ("top_logprobs", vec![json!(0), json!(null)]),
        ("logprobs", vec![json!(false), json!(0)]),
        ("logit_bias", vec![json!({}), json!([]), json!(null)]),
        ("stop", vec![json!([]), json!(""), json!(null)]),
        ("stop_token_ids", vec![json!([]), json!(null)]),
        (
            "stream_options",
            vec![
                json!({}),
                json!(null),
                json!({"include_usage": false}),
                json!({"include_usage": null, "include_obfuscation": true}),
            ],
        ),
        ("n", vec![json!(1)]),
        ("echo", vec![json!(false)]),
        ("guided_json", vec![json!(null), json!("")]),
        ("guided_choice", vec![json!([]), json!(null)]),
        (
            "structured_outputs",
            vec![json!(null), json!({}), json!({"json": null, "regex": null})],
        ),
        ("use_beam_search", vec![json!(false)]),
        ("length_penalty", vec![json!(1), json!(1.0)]),
        ("early_stopping", vec![json!(false)]),
        ("skip_special_tokens", vec![json!(true)]),
        (
            "spaces_between_special_tokens",
            vec![json!(true), json!(false)],
        ),
        ("add_special_tokens", vec![json!(false)]),
        ("add_generation_prompt", vec![json!(true)]),
        ("continue_final_message", vec![json!(false)]),
        ("include_stop_str_in_output", vec![json!(false)]),
        ("truncate_prompt_tokens", vec![json!(null)]),
        ("prompt_logprobs", vec![json!(null)]),
        ("allowed_token_ids", vec![json!(null), json!([])]),
        ("bad_words", vec![json!([]), json!(null)]),
        ("detokenize", vec![json!(true)]),
        ("chat_template", vec![json!(null), json!("")]),
        ("chat_template_kwargs", vec![json!({}), json!(null)]),
        ("documents", vec![json!([]), json!(null)]),
        ("mm_processor_kwargs", vec![json!(null), json!({})]),
        ("kv_transfer_params", vec![json!(null)]),
        ("return_tokens_as_token_ids", vec![json!(false)]),
        ("metadata", vec![json!({}), json!([]), json!({"a": "b"})]),
        ("user", vec![json!(""), json!("u-1")]),
        ("safety_identifier", vec![json!("u-1"), json!(null)]),
        ("prompt_cache_key", vec![json!("k")]),
        ("prompt_cache_retention", vec![json!("24h"), json!(null)]),
        (
            "reasoning_effort",
            vec![json!("low"), json!(""), json!(null)],
        ),
        ("service_tier", vec![json!("auto"), json!("")]),
        ("store", vec![json!(false), json!(true)]),
        ("request_id", vec![json!("r")]),
        ("session_id", vec![json!("s")]),
        ("provider", vec![json!({}), json!(null)]),
        ("transforms", vec![json!([])]),
        ("litellm_metadata", vec![json!({"a": {"b": 1}})]),
    ] {
        for value in values {
            let chat = Chat::read(with(field, value.clone()));
            let chat = chat.unwrap_or_else(|reason| panic!("{field} = {value}: {reason}"));
            assert_eq!(format!("{chat:?}"), plain, "{field} = {value}");
        }
    }
}

#[test]
fn what_other_servers_add_to_a_message_is_ignored() {
    let read = |message: Value| {
        let messages = json!([{"role": "user", "content": "a"}, message]);
        Chat::read(json!({"messages": messages})).map(|chat| chat.messages[1].clone())
    };
    let plain = read(json!({"role": "assistant", "content": "hi"})).unwrap();
    for (field, value) in [
        ("type", json!("message")),
        ("id", json!("msg_1")),
        ("status", json!("completed")),
        ("annotations", json!([{"type": "url_citation"}])),
        ("annotations", json!([])),
        ("refusal", json!("no")),
        ("reasoning", json!("thought")),
        ("reasoning_content", json!("thought")),
        ("reasoning_details", json!([{"type": "reasoning.text"}])),
        ("provider_specific_fields", json!({"a": 1})),
        ("function_call", json!(null)),
        ("tool_calls", json!([])),
        ("tool_calls", json!("")),
        ("tool_call_id", json!("")),
        ("audio", json!(null)),
        ("images", json!([])),
        ("name", json!("")),
        ("cache_control", json!({"type": "ephemeral"})),
    ] {
        let mut message = json!({"role": "assistant", "content": "hi"});
        message[field] = value.clone();
        let told = read(message);
        assert_eq!(told.as_ref(), Ok(&plain), "{field} = {value}");
    }
    for (field, value) in [
        ("tool_call_id", json!("c")),
        ("function_call", json!({"name": "f", "arguments": "{}"})),
        ("images", json!(["data:"])),
        ("audio", json!({"id": "a"})),
        ("prefix", json!(true)),
        ("role", json!("function")),
        ("color", json!("red")),
    ] {
        let mut message = json!({"role": "assistant", "content": "hi"});
        message[field] = value;
        let told = read(message);
        assert!(
            matches!(&told, Err(Reason::BadField { field: path, .. }) if *path == format!("messages[1].{field}")),
            "{field}: {told:?}"
        );
    }
}

#[test]
fn only_an_assistant_may_have_said_nothing() {
    let content = |message: Value| {
        Chat::read(json!({"messages": [message]})).map(|chat| chat.messages[0].content.clone())
    };
    for said in [
        json!({"role": "assistant", "content": null}),
        json!({"role": "assistant", "content": null, "refusal": "no"}),
        json!({"role": "assistant", "reasoning_content": "hm", "tool_calls": []}),
        json!({"role": "assistant", "content": ""}),
        json!({"role": "assistant", "content": []}),
        json!({"role": "user", "content": ""}),
    ] {
        assert_eq!(content(said.clone()).as_deref(), Ok(""), "{said}");
    }
    for role in ["system", "developer", "user", "tool"] {
        for message in [
            json!({"role": role}),
            json!({"role": role, "content": null}),
        ] {
            assert_eq!(
                field_of(json!({"messages": [message]})),
                "messages[0].content"
            );
        }
    }
}

#[test]
fn parts_of_text_are_read_as_different_clients_write_them() {
    let parts = json!(["a", {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}},
        {"type": "input_text", "text": "c"}, {"type": "output_text", "text": "d", "annotations": [], "logprobs": []}]);
    let chat = Chat::read(json!({"messages": [{"role": "user", "content": parts}]})).unwrap();
    assert_eq!(chat.messages[0].content, "a\nb\nc\nd");
    for bad in [
        json!({"type": "image_url", "text": "a"}),
        json!({"text": "a"}),
        json!(5),
        json!(null),
    ] {
        let path = field_of(json!({"messages": [{"role": "user", "content": ["a", bad]}]}));
        assert!(path.starts_with("messages[0].content[1]"), "{path}");
    }
}

#[test]
fn sampling_arrives_as_sent() {
    let mut body = with("temperature", json!(0));
    body["stop"] = json!("END");
    body["seed"] = json!(-1);
    body["top_k"] = json!(-1);
    body["logit_bias"] = json!({"7": -100});
    body["logprobs"] = json!(true);
    let chat = Chat::read(body).unwrap();
    assert_eq!(chat.sampling.temperature, 0.0);
    assert_eq!(chat.sampling.stop, ["END"]);
    assert_eq!(chat.sampling.seed, Some(u64::MAX));
    assert_eq!(chat.sampling.top_k, 0);
    assert_eq!(chat.sampling.logit_bias, [(7, -100.0)]);
    assert_eq!(chat.sampling.logprobs, Some(0));
    assert_eq!(
        field_of(with("logit_bias", json!({"x": 1}))),
        "logit_bias.x"
    );
    assert_eq!(field_of(with("stop", json!([""]))), "stop[0]");
}

#[test]
fn tools_their_calls_and_results_are_read_as_clients_send_them() {
    let call = |arguments: Value| json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}});
    let mut body = with(
        "tools",
        json!([{"type": "function", "function": {"name": "f", "strict": null}}]),
    );
    body["tool_choice"] = json!("none");
    body["parallel_tool_calls"] = json!(false);
    body["messages"] = json!([
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": null, "tool_calls": [call(json!("{\"a\": 1}")), call(json!({"a": 1}))]},
        {"role": "tool", "content": [{"type": "text", "text": "r"}], "tool_call_id": "c", "name": "f"},
    ]);
    let chat = Chat::read(body.clone()).unwrap();
    let [first, second] = &chat.messages[1].tool_calls[..] else {
        panic!("{:?}", chat.messages)
    };
    assert_eq!(first, second);
    assert_eq!(chat.messages[2].tool_call_id.as_deref(), Some("c"));
    assert_eq!(
        (chat.tools.parallel(), chat.tools.offered().len()),
        (false, 0)
    );
    body["tool_choice"] = json!({"type": "function", "function": {"name": "f"}});
    let chat = Chat::read(body).unwrap();
    assert_eq!(*chat.tools.choice(), ToolChoice::Named("f".into()));
}

#[test]
fn what_is_wrong_with_tools_and_calls_is_named_by_its_path() {
    let f = json!({"type": "function", "function": {"name": "f"}});
    let message = |message: Value| json!({"messages": [{"role": "user", "content": "q"}, message]});
    for (body, field) in [
        (with("tool_choice", json!("required")), "tool_choice"),
        (with("tool_choice", json!("any")), "tool_choice"),
        (with("tools", json!([f, f])), "tools[1].function.name"),
        (
            with("tools", json!([{"type": "function", "function": {}}])),
            "tools[0].function.name",
        ),
        (
            with(
                "tools",
                json!([{"type": "custom", "function": {"name": "f"}}]),
            ),
            "tools[0].type",
        ),
        (
            message(json!({"role": "user", "content": "a", "tool_calls": [f]})),
            "messages[1].tool_calls",
        ),
        (
            message(
                json!({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}),
            ),
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            message(json!({"role": "assistant", "content": "a", "tool_call_id": "c"})),
            "messages[1].tool_call_id",
        ),
        (
            message(json!({"role": "tool", "tool_call_id": "c"})),
            "messages[1].content",
        ),
    ] {
        assert_eq!(field_of(body), field);
    }
}
