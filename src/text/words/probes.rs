//! Texts that tell whether two ways of cutting are one: blanks of every kind between everything else.

const BLANKS: [&str; 6] = [" ", "\n", "\r", "\t", "\u{a0}", "\u{3000}"];
const AROUND: [&str; 8] = ["", "a", "Zb", "7", "12345", "!", "'s", "中"];
const TEXTS: [&str; 6] = [
    "It's they're I'VE we'd DON'T, isn't it? (No.)",
    "Größe naïve Ærø ΑΒΓ привет 你好，世界。 こんにちは 안녕 🙂🎉",
    "fn main() { println!(\"{:?}\", x[0] / 2); }\n\n\n\t// done\r\n  end",
    "1 22 333 4444 55555 3.14 ²³ ⅷ ٣٤",
    "<|im_start|>user\nhi<|im_end|>\n<s>[INST] x [/INST]</s>",
    "   leading, trailing   ",
];

pub fn texts() -> impl Iterator<Item = String> {
    let mut runs: Vec<String> = BLANKS.iter().map(|one| (*one).to_owned()).collect();
    for first in BLANKS {
        for second in BLANKS {
            runs.push(format!("{first}{second}"));
            runs.push(format!("{first}{second}{first}"));
        }
    }
    // One text for all that may stand around a run of blanks.
    let mixed = runs.into_iter().map(|run| {
        let mut text = String::new();
        for before in AROUND {
            for behind in AROUND {
                text.push_str(before);
                text.push_str(&run);
                text.push_str(behind);
                text.push('.');
            }
        }
        text.push_str(&run);
        text
    });
    TEXTS.map(str::to_owned).into_iter().chain(mixed)
}
