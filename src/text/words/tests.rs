use std::path::PathBuf;

use proptest::prelude::*;

use crate::text::synthetic;
use crate::text::{Encoded, Tokenizer};

fn folders() -> Vec<PathBuf> {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/models");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(models)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("tokenizer.json").exists())
        .collect();
    folders.sort();
    folders
}

fn tokenizers() -> Vec<Tokenizer> {
    let made = tempfile::TempDir::new().unwrap();
    synthetic::write(made.path(), 600).unwrap();
    let folders = folders().into_iter().chain([made.path().to_owned()]);
    folders
        .map(|folder| Tokenizer::from_folder(&folder).unwrap())
        .collect()
}

#[test]
fn byte_level_tokenizers_are_understood() {
    let taken = tokenizers();
    let fast = taken.iter().filter(|tokenizer| tokenizer.is_fast());
    // All but those of SentencePiece's kind.
    assert!(fast.count() * 2 > taken.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_has_the_ids_that_the_library_gives_it(
        parts in prop::collection::vec(
            prop_oneof![
                "[a-zA-Z]{1,9}",
                "[0-9]{1,6}",
                "[ \n\r\t\u{a0}\u{3000}]{1,5}",
                "[\\p{L}\\p{N}\\p{P}\\p{S}]{1,4}",
                "[\u{300}-\u{330}\u{1100}-\u{11ff}]{1,2}",
                Just("<|im_end|>".to_owned()),
                Just("</s>".to_owned()),
                Just("'ll".to_owned()),
                "\\PC{0,6}",
            ],
            0..24,
        ),
        special in any::<bool>(),
    ) {
        thread_local! {
            static TOKENIZERS: Vec<Tokenizer> = tokenizers();
        }
        let text = parts.concat();
        TOKENIZERS.with(|tokenizers| {
            for tokenizer in tokenizers {
                // Twice: made, and remembered.
                for _ in 0..2 {
                    let ids = tokenizer.encode(&text, special).ok();
                    prop_assert_eq!(&ids, &tokenizer.encode_plainly(&text, special).ok());
                }
                let mut before = Encoded::default();
                let ends = (0..=parts.len()).flat_map(|end| [(end, ""), (end, "> x<|im_end|>")]);
                for (end, behind) in ends {
                    let begun = parts[..end].concat() + behind;
                    let Ok(encoded) = tokenizer.encode_after(before.clone(), &begun) else {
                        continue;
                    };
                    let plain = tokenizer.encode_plainly(&begun, false).unwrap();
                    prop_assert_eq!(encoded.ids(), plain);
                    before = encoded;
                }
            }
            Ok(())
        })?;
    }
}
