//! Files that nothing is wrong with.

use serde_json::{Value, json};

use super::{lines, pick, report, report_with};
use crate::trainer::data::report::{Options, to_text};

fn silent(name: &str, rows: &[Value]) {
    let report = report(rows);
    assert!(
        report.findings.is_empty() && report.usable,
        "{name}:\n{}",
        to_text(&report, name)
    );
}

const THINGS: [&str; 24] = [
    "the heart",
    "a lease",
    "the moon",
    "copper",
    "a glacier",
    "the parliament",
    "yeast",
    "a violin",
    "the nile",
    "an eclipse",
    "a mortgage",
    "the retina",
    "coral",
    "a turbine",
    "the senate",
    "limestone",
    "a comet",
    "rice",
    "the spleen",
    "a fugue",
    "granite",
    "a bicycle",
    "the tundra",
    "an enzyme",
];
const DEEDS: [&str; 16] = [
    "stores energy for the winter",
    "was described long before it was understood",
    "needs more care than most people expect",
    "changes slowly over many years",
    "depends on the weather of the whole year",
    "is measured with simple instruments",
    "carries oxygen to every part",
    "can be repaired if one is patient",
    "was a sign of wealth in older times",
    "keeps its shape under great pressure",
    "grows best in the shade of taller ones",
    "moves faster at night than by day",
    "is taught in every school of the country",
    "costs less than its parts",
    "attracts visitors from far away",
    "turns light into warmth",
];

fn sentence(seed: u64) -> String {
    let (thing, deed) = (pick(&THINGS, seed), pick(&DEEDS, seed ^ 77));
    let other = pick(&THINGS, seed ^ 1234);
    format!(
        "{}{} {deed}, unlike {other}.",
        thing[..1].to_uppercase(),
        &thing[1..]
    )
}

#[test]
fn open_questions_of_all_kinds() {
    let asks = [
        "What is known about",
        "Why do people study",
        "How would you describe",
        "When did anybody first see",
        "Explain",
        "Tell me something about",
    ];
    let rows: Vec<Value> = (0..400)
        .map(|n| {
            let answer: Vec<String> = (0..1 + n % 5).map(|part| sentence(n * 31 + part * 7)).collect();
            let number = n + 3;
            json!({"instruction": format!("{} {} in chapter {number}?", pick(&asks, n), pick(&THINGS, n ^ 9)), "output": answer.join(" ")})
        })
        .collect();
    silent("questions", &rows);
}

#[test]
fn classes_at_sixty_to_forty() {
    let rows: Vec<Value> = (0..300)
        .map(|n| {
            let mood = if n % 5 < 3 { "positive" } else { "negative" };
            json!({"instruction": "Name the mood of the review.", "input": format!("{} Visit {n}. {}", sentence(n), sentence(n * 5 + 1)), "output": mood})
        })
        .collect();
    silent("classes", &rows);
}

#[test]
fn extraction_into_objects() {
    let names = [
        "Anna", "Bela", "Chen", "Dora", "Emil", "Fatima", "Goran", "Hana", "Igor", "Jana",
    ];
    let cities = [
        "Berlin", "Porto", "Oslo", "Graz", "Lyon", "Turin", "Gdansk", "Malmo",
    ];
    let rows: Vec<Value> = (0..300)
        .map(|n| {
            let (name, city, age) = (pick(&names, n), pick(&cities, n ^ 5), 18 + n % 60);
            let order = 10_000 + n * 7;
            let answer = json!({"name": name, "city": city, "age": age, "order": order});
            json!({"messages": [
                {"role": "system", "content": "You read orders and answer in JSON."},
                {"role": "user", "content": format!("{name} of {city}, who is {age} years old, sent order {order}.")},
                {"role": "assistant", "content": answer.to_string()}
            ]})
        })
        .collect();
    silent("objects", &rows);
}

#[test]
fn translations_of_phrases_and_sentences() {
    let german = |text: &str| {
        text.split(' ')
            .map(|word| format!("{word}en"))
            .collect::<Vec<_>>()
            .join(" und ")
    };
    let rows: Vec<Value> = (0..300)
        .map(|n| {
            let (english, end) = match n % 7 {
                0 => (format!("{} number {n}", pick(&THINGS, n)), ""),
                _ => (format!("{} at {n}", sentence(n).trim_end_matches('.')), "."),
            };
            json!({"instruction": "Translate into German.", "input": format!("{english}{end}"), "output": format!("die das {}{end}", german(&english))})
        })
        .collect();
    silent("translations", &rows);
}

#[test]
fn dialogues_of_several_turns() {
    let rows: Vec<Value> = (0..200)
        .map(|n| {
            let mut turns = vec![json!({"role": "system", "content": "You are a helpful assistant."})];
            for turn in 0..1 + n % 3 {
                turns.push(json!({"role": "user", "content": format!("{} What about {} and item {n}?", sentence(n * 3 + turn), pick(&THINGS, n + turn))}));
                turns.push(json!({"role": "assistant", "content": format!("{} {}", sentence(n * 11 + turn), sentence(n * 13 + turn))}));
            }
            json!({"messages": turns})
        })
        .collect();
    silent("dialogues", &rows);
}

#[test]
fn chinese_instructions() {
    let topics = [
        "高血压",
        "糖尿病",
        "租赁合同",
        "股票市场",
        "光合作用",
        "古代诗歌",
        "电动汽车",
        "海洋生物",
        "量子力学",
        "城市交通",
        "人工智能",
        "茶叶种植",
    ];
    let points = [
        "首先要了解它的基本概念和历史背景",
        "需要注意的是不同地区的情况差别很大",
        "专家认为应当结合实际情况来判断",
        "许多研究表明坚持锻炼可以明显改善结果",
        "在日常生活中人们常常忽略这一点",
        "近年来相关技术取得了很大的进步",
        "如果条件允许最好咨询专业人士",
        "这个过程通常需要几个星期甚至更久",
    ];
    let asks = [
        "请解释",
        "请介绍一下",
        "怎样理解",
        "为什么要学习",
        "请总结关于",
        "如何看待",
    ];
    let rows: Vec<Value> = (0..300_u64)
        .map(|n| {
            let answer: Vec<&str> = (0..1 + n % 4).map(|part| pick(&points, n * 17 + part * 3)).collect();
            json!({"instruction": format!("{}{}的第{}个问题？", pick(&asks, n), pick(&topics, n ^ 3), n + 2), "output": format!("关于{}，{}。", pick(&topics, n ^ 3), answer.join("，"))})
        })
        .collect();
    silent("chinese", &rows);
}

#[test]
fn the_files_of_the_ready_made_adapters() {
    for name in ["legal", "medical", "finance"] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("adapters")
            .join(name);
        let read = |file: &str| std::fs::read(folder.join(file)).unwrap();
        let (train, held_out) = (read("train.jsonl"), read("heldout.jsonl"));
        let report = report_with(&train, Some(&held_out), &Options::default());
        assert!(
            report.findings.is_empty() && report.usable,
            "{}",
            to_text(&report, name)
        );
        assert_eq!(
            report.leakage.as_ref().map(|leakage| leakage.held_out_rows),
            Some(200)
        );
    }
}

#[test]
fn a_report_is_the_same_every_time() {
    let rows: Vec<Value> = (0..200)
        .map(|n| json!({"instruction": sentence(n), "output": sentence(n * 7)}))
        .collect();
    let once =
        |()| serde_json::to_string(&report_with(&lines(&rows), None, &Options::default())).unwrap();
    assert_eq!(once(()), once(()));
}
