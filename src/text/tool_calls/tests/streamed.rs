//! Calls that are told while they come.

use super::*;

#[test]
fn calls_that_must_come_read_the_same_while_they_come() {
    let given = ["{\"a\": [1, \"}é\\\\\\\"\"]}", "{}"];
    for row in ROWS.iter().filter(|row| row.forms.key.is_some()) {
        let syntax = Syntax { row };
        let call =
            |tool: &Tool, given: &str| forced::head(tool, row.forms.key.unwrap()) + given + "}";
        let offered = tools();
        let both = offered.iter().zip(given);
        let both: Vec<String> = both.map(|(tool, given)| call(tool, given)).collect();
        let text = format!(
            "{}{}{}",
            row.forms.begin,
            both.join(row.forms.between),
            row.forms.end
        );
        let expected = (
            String::new(),
            calls(&[("weather", given[0]), ("time", given[1])]),
        );
        assert_eq!(whole(row.name, &text), expected, "{text}");
        let streamed = || CallParser::new(syntax, tools(), true).nothing_but_calls();
        let single = { text.char_indices() }.map(|(at, c)| &text[at..at + c.len_utf8()]);
        assert_eq!(collected(streamed(), single), expected);
        for (at, _) in text.char_indices() {
            let (a, b) = text.split_at(at);
            assert_eq!(collected(streamed(), [a, b]), expected, "{a}|{b}");
            // Cut there, it is what there is.
            let (said, told) = collected(streamed(), [a]);
            let told: String = told.into_iter().map(|(_, given)| given).collect();
            assert!(given.concat().starts_with(&told) && text.starts_with(&said));
        }
    }
}
