//! Templates in the manner of published ones: what is asked, and what is answered.

use super::*;
use crate::domain::Role::{self, Assistant, System, User};

type Turns<'a> = &'a [(Role, &'a str)];

/// The last turn of `turns`: what comes before the answer, and the answer with what the template writes behind it.
fn split(source: &str, turns: Turns<'_>) -> Result<(String, Vec<String>), String> {
    let template = ChatTemplate::new(source, Some("<s>"), Some("</s>"))
        .unwrap()
        .at(86_400 * 20_000);
    let turns: Vec<_> = turns
        .iter()
        .map(|(role, text)| Message::new(*role, *text))
        .collect();
    let located = locate(&template, &turns, turns.len() - 1)?;
    let parts = located.answers.iter();
    let answers = parts
        .map(|range| located.text[range.clone()].to_owned())
        .collect();
    Ok((located.text[..located.answers[0].start].to_owned(), answers))
}

fn assert_split(source: &str, cases: &[(Turns<'_>, &str, &str)]) {
    for (turns, asked, answer) in cases {
        assert_eq!(
            split(source, turns),
            Ok(((*asked).to_owned(), vec![(*answer).to_owned()])),
            "{source}"
        );
    }
}

const PLAIN: Turns<'_> = &[(User, "a"), (Assistant, "b")];
const THOUGHT: Turns<'_> = &[(User, "a"), (Assistant, "<think>\nx\n</think>\n\nb")];
const LONGER: Turns<'_> = &[
    (System, "s"),
    (User, "a"),
    (Assistant, "<think>\nx\n</think>\n\nb"),
    (User, "c"),
    (Assistant, "<d>"),
];

#[test]
fn a_prompt_that_opens_a_thought_is_answered_without_one() {
    let r1 = "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}{% endif %}{% endfor %}\
        {% for m in messages %}{% if m.role == 'user' %}{{ '<|User|>' + m.content }}{% endif %}\
        {% if m.role == 'assistant' %}{% set c = m.content %}{% if '</think>' in c %}{% set c = c.split('</think>')[-1] %}{% endif %}\
        {{ '<|Assistant|>' + c + eos_token }}{% endif %}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|Assistant|><think>\\n' }}{% endif %}";
    assert_split(
        r1,
        &[
            (PLAIN, "<s><|User|>a<|Assistant|>", "b</s>"),
            (THOUGHT, "<s><|User|>a<|Assistant|>", "\n\nb</s>"),
            // The answer's first character is that of the tag that the prompt has in its place.
            (
                LONGER,
                "<s>s<|User|>a<|Assistant|>\n\nb</s><|User|>c<|Assistant|>",
                "<d></s>",
            ),
            (
                &[(User, "a"), (Assistant, "<th")],
                "<s><|User|>a<|Assistant|>",
                "<th</s>",
            ),
            // What a probe looks like is an answer as any other.
            (
                &[(User, "3"), (Assistant, "31415926535897932384")],
                "<s><|User|>3<|Assistant|>",
                "31415926535897932384</s>",
            ),
            (
                &[(User, "2"), (Assistant, "27")],
                "<s><|User|>2<|Assistant|>",
                "27</s>",
            ),
            // An open thought is what the prompt begins.
            (
                &[(User, "a"), (Assistant, "<think>\nx")],
                "<s><|User|>a<|Assistant|><think>\n",
                "x</s>",
            ),
        ],
    );
    let qwq = "{% for m in messages %}{% if m.role == 'assistant' %}{% set c = m.content.split('</think>')[-1].lstrip('\\n') %}\
        {{- '<|im_start|>assistant\\n' + c + '<|im_end|>\\n' }}{% else %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}\
        {%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{% endif %}";
    let asked = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n";
    assert_split(
        qwq,
        &[
            (PLAIN, asked, "b<|im_end|>\n"),
            (THOUGHT, asked, "b<|im_end|>\n"),
        ],
    );
}

#[test]
fn an_answer_that_the_template_leaves_out_is_refused() {
    let drops = "{% for m in messages %}[{{ m.role }}]{{ m.content.split('</think>')[-1] }}{% endfor %}{% if add_generation_prompt %}[assistant]<think>\n{% endif %}";
    let thought = &[(User, "a"), (Assistant, "<think>only</think>")];
    assert!(
        split(drops, thought)
            .unwrap_err()
            .contains("leaves the whole answer out")
    );
    let forgets = "{% for m in messages if m.role == 'user' %}[{{ m.content }}]{% endfor %}{% if add_generation_prompt %}>{% endif %}";
    assert!(split(forgets, PLAIN).is_err());
}

#[test]
fn what_cannot_be_told_for_certain_is_refused() {
    let twice = "{% for m in messages %}[{{ m.content }}|{{ m.content }}]{% endfor %}{% if add_generation_prompt %}<A>{% endif %}";
    assert!(split(twice, PLAIN).unwrap_err().contains("as one piece"));
    // What the template says before the question depends on the answer.
    let titled = "<{{ messages[-1].content[:1] }}>{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    assert!(split(titled, PLAIN).is_err());
    let length = "{{ messages[-1].content | length }}:{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]!{% endif %}";
    assert!(split(length, &[(User, "abc"), (Assistant, "b")]).is_err());
}

#[test]
fn thoughts_that_a_template_rewrites_belong_to_the_answer() {
    // Qwen3: a thought block before the last answer, none before earlier ones.
    let qwen3 = "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}\
        {% for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}{% set c = m.content %}{% set t = '' %}\
        {% if m.role == 'assistant' and '</think>' in c %}{% set t = c.split('</think>')[0].split('<think>')[-1].strip('\\n') %}{% set c = c.split('</think>')[-1].lstrip('\\n') %}{% endif %}\
        {% if m.role == 'assistant' and loop.index0 > ns.last %}{{- '<think>\\n' + t + '\\n</think>\\n\\n' }}{% endif %}{{- c + '<|im_end|>\\n' }}{% endfor %}\
        {%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}PROMPT{% endif %}";
    let user = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n";
    assert_split(
        &qwen3.replace("PROMPT", ""),
        &[
            (PLAIN, user, "<think>\n\n</think>\n\nb<|im_end|>\n"),
            (THOUGHT, user, "<think>\nx\n</think>\n\nb<|im_end|>\n"),
            (
                LONGER,
                "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n",
                "<think>\n\n</think>\n\n<d><|im_end|>\n",
            ),
        ],
    );
    // A prompt that closes the thought at once: an answer with a thought does not continue it.
    let closed = qwen3.replace("PROMPT", "<nothink>");
    assert_split(
        &closed,
        &[(THOUGHT, user, "<think>\nx\n</think>\n\nb<|im_end|>\n")],
    );
    // DeepSeek V3.1: a tag that closes what was not opened, except where there is a thought.
    let v31 = "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<U>{{ m.content }}{% else %}<A>{% if '</think>' not in m.content %}</think>{% endif %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<A></think>{% endif %}";
    assert_split(
        v31,
        &[
            (PLAIN, "<s><U>a<A></think>", "b</s>"),
            (THOUGHT, "<s><U>a<A>", "<think>\nx\n</think>\n\nb</s>"),
        ],
    );
    let thinking = v31.replace("%}<A></think>{%", "%}<A><think>{%");
    assert_split(
        &thinking,
        &[
            (PLAIN, "<s><U>a<A></think>", "b</s>"),
            (THOUGHT, "<s><U>a<A><think>", "\nx\n</think>\n\nb</s>"),
        ],
    );
}

#[test]
fn an_answer_follows_the_prompt_that_is_served_where_earlier_turns_are_rewritten() {
    // Mistral: the system text stands in the last turn if that is the user's, and nowhere once an answer follows.
    let mistral = "{% if messages[0].role == 'system' %}{% set s = messages[0].content %}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}{{ bos_token }}\
        {% for m in rest %}{% if m.role == 'user' %}{% if loop.last and s is defined %}{{ '[INST] ' + s + '\\n\\n' + m.content + '[/INST]' }}{% else %}{{ '[INST] ' + m.content + '[/INST]' }}{% endif %}{% else %}{{ ' ' + m.content | trim + eos_token }}{% endif %}{% endfor %}";
    assert_split(
        mistral,
        &[
            (PLAIN, "<s>[INST] a[/INST]", " b</s>"),
            (
                &[(System, "s"), (User, "a"), (Assistant, " b ")],
                "<s>[INST] s\n\na[/INST]",
                " b</s>",
            ),
            (
                &[
                    (System, "s"),
                    (User, "a"),
                    (Assistant, "b"),
                    (User, "c"),
                    (Assistant, "d"),
                ],
                "<s>[INST] a[/INST] b</s>[INST] s\n\nc[/INST]",
                " d</s>",
            ),
        ],
    );
    let mode = "{% if add_generation_prompt %}serving {% endif %}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
    assert_split(mode, &[(PLAIN, "serving <user>a<assistant>", "b")]);
}

#[test]
fn templates_that_continue_their_prompt_are_taken_as_ever() {
    let llama31 = "{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nToday: {{ strftime_now('%d %b %Y') }}\n\n{% if messages[0].role == 'system' %}{{ messages[0].content | trim }}{% set messages = messages[1:] %}{% endif %}<|eot_id|>\
        {% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";
    let (asked, answer) = split(llama31, &[(User, " a "), (Assistant, " b ")]).unwrap();
    assert!(
        asked.ends_with("04 Oct 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\na<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"),
        "{asked}"
    );
    assert_eq!(answer, ["b<|eot_id|>"]);
    let gemma = "{{ bos_token }}{% for m in messages %}{% set role = 'model' if m.role == 'assistant' else m.role %}{{ '<start_of_turn>' + role + '\\n' + m.content | trim + '<end_of_turn>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}";
    let phi = "{% for m in messages %}{{ '<|' + m.role + '|>\\n' + m.content + '<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}";
    let glm = "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
    let chatml = "{% if messages[0].role != 'system' %}<|im_start|>system\nDefault.<|im_end|>\n{% endif %}{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
    let harmony = "<|start|>system<|message|>Be.<|end|>{% for m in messages %}{% if m.role == 'assistant' %}<|start|>assistant<|channel|>final<|message|>{{ m.content }}{% if loop.last and not add_generation_prompt %}<|return|>{% else %}<|end|>{% endif %}{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|start|>assistant{% endif %}";
    let loud = "{% for m in messages %}[{{ m.role }}]{{ m.content | upper }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    let silent = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
    for (source, asked, answer) in [
        (
            gemma,
            "<s><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\n",
            "b<end_of_turn>\n",
        ),
        (phi, "<|user|>\na<|end|>\n<|assistant|>\n", "b<|end|>\n</s>"),
        (glm, "[gMASK]<sop><|user|>\na<|assistant|>", "\nb"),
        (
            chatml,
            "<|im_start|>system\nDefault.<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n",
            "b<|im_end|>\n",
        ),
        (
            harmony,
            "<|start|>system<|message|>Be.<|end|><|start|>user<|message|>a<|end|><|start|>assistant",
            "<|channel|>final<|message|>b<|return|>",
        ),
        (loud, "[user]A[assistant]", "B"),
        (silent, "<user>a", "<assistant>b"),
    ] {
        assert_split(source, &[(PLAIN, asked, answer)]);
    }
    // The same where the prompt opens a thought, too.
    let loud = loud.replace("%}[assistant]{%", "%}[assistant]<think>{%");
    assert_split(&loud, &[(PLAIN, "[user]A[assistant]", "B")]);
}

#[test]
fn a_template_s_own_marks_decide() {
    let body = "{% for m in messages %}{% if m.role == 'assistant' %}<A>{% generation %}{{ m.content.split('</think>')[-1] | trim }}{{ eos_token }}{% endgeneration %}\n{% else %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<A><think>\n{% endif %}";
    assert_split(
        body,
        &[
            (PLAIN, "<user>a<A>", "b</s>"),
            (THOUGHT, "<user>a<A>", "b</s>"),
            (LONGER, "<system>s<user>a<A>b</s><user>c<A>", "<d></s>"),
        ],
    );
    // Two marks a turn: those of the last turn.
    let parts = "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}1{{ m.content }}{% endgeneration %}|{% generation %}2{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
    let longer = &[(User, "a"), (Assistant, "b"), (User, "c"), (Assistant, "d")];
    assert_eq!(
        split(parts, longer),
        Ok((
            "<user>a<assistant>1b|2b<user>c<assistant>".into(),
            vec!["1d".into(), "2d".into()]
        ))
    );
    // A template that marks only some answers says of the others that they are none.
    let some = "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' and loop.first %}{% generation %}{{ m.content }}{% endgeneration %}{% elif m.role == 'assistant' and loop.index0 == 1 %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";
    assert_split(some, &[(PLAIN, "<user>a<assistant>", "b")]);
    assert!(
        split(some, longer)
            .unwrap_err()
            .contains("none in this turn")
    );
}
