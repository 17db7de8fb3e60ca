//! Which language a text is in, where it says so: by its script, and for Latin letters by small words.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::LazyLock;

use serde::Serialize;

use super::text::{Quick, Script};

/// What is told apart: scripts, and the languages of Latin letters that have words of their own here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    English,
    German,
    French,
    Spanish,
    Italian,
    Portuguese,
    Dutch,
    Swedish,
    Polish,
    Turkish,
    Indonesian,
    Vietnamese,
    #[serde(untagged)]
    Of(Script),
}

/// Small words of each; those of several languages are left out or count for each.
const WORDS: [(Language, &str); 12] = [
    (
        Language::English,
        "the of and is are was with that this for you they have has not from it be which their can will would your",
    ),
    (
        Language::German,
        "der die das und ist nicht ein eine einen den dem mit für auf von sich auch werden wird sind zu im ich sie wir es",
    ),
    (
        Language::French,
        "le la les des est une et dans pour que qui pas sur avec vous nous du au ce cette il elle sont être",
    ),
    (
        Language::Spanish,
        "el los las una es y en que por para con del se no más como está son pero su al lo",
    ),
    (
        Language::Italian,
        "il gli una è e che di per con non sono della del nel si anche come questo più alla dei",
    ),
    (
        Language::Portuguese,
        "o os as uma é e em que para com não do da dos das se por mais como ao você são",
    ),
    (
        Language::Dutch,
        "het een en is van de niet dat die voor met op zijn aan ook wordt naar bij worden ik je",
    ),
    (
        Language::Swedish,
        "och att det som en är på för med inte av ett den har till om jag kan från",
    ),
    (
        Language::Polish,
        "w i na nie z do to się jest że jak o po od przez są który ale dla",
    ),
    (
        Language::Turkish,
        "ve bir bu için ile çok daha olarak olan de da gibi ne var mi değil",
    ),
    (
        Language::Indonesian,
        "yang dan di untuk dengan ini adalah dari tidak pada itu dalam ke akan atau saya",
    ),
    (
        Language::Vietnamese,
        "là và của không có một được cho trong các với để này đã những người",
    ),
];
/// Words of a text that are looked at.
const SEEN: usize = 60;

/// Of each small word, a bit for every language that has it.
static KNOWN: LazyLock<HashMap<&str, u16, BuildHasherDefault<Quick>>> = LazyLock::new(|| {
    let mut known = HashMap::default();
    for (at, (_, words)) in WORDS.iter().enumerate() {
        for word in words.split(' ') {
            *known.entry(word).or_default() |= 1 << at;
        }
    }
    known
});

impl Language {
    pub const fn name(self) -> &'static str {
        match self {
            Self::English => "English",
            Self::German => "German",
            Self::French => "French",
            Self::Spanish => "Spanish",
            Self::Italian => "Italian",
            Self::Portuguese => "Portuguese",
            Self::Dutch => "Dutch",
            Self::Swedish => "Swedish",
            Self::Polish => "Polish",
            Self::Turkish => "Turkish",
            Self::Indonesian => "Indonesian",
            Self::Vietnamese => "Vietnamese",
            Self::Of(script) => script.name(),
        }
    }

    /// The language of a text; a script alone where its words do not tell, `None` where there are hardly any letters.
    pub fn of(text: &str) -> Option<Self> {
        let script = Script::of(text)?;
        match script {
            Script::Latin => Some(by_words(text).unwrap_or(Self::Of(script))),
            _ => Some(Self::Of(script)),
        }
    }

    /// Whether two texts are certainly of different languages: Latin letters alone say nothing.
    pub fn differs(self, other: Self) -> bool {
        let latin = Self::Of(Script::Latin);
        let is_latin =
            |language: Self| !matches!(language, Self::Of(script) if script != Script::Latin);
        self != other && !((self == latin && is_latin(other)) || (other == latin && is_latin(self)))
    }
}

/// The language whose small words are found, several of them and clearly more than of any other.
fn by_words(text: &str) -> Option<Language> {
    let mut counts = [0_usize; WORDS.len()];
    let mut lower = String::new();
    for word in text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(SEEN)
    {
        if word.len() > 12 {
            continue;
        }
        lower.clear();
        if word.is_ascii() {
            lower.push_str(word);
            lower.make_ascii_lowercase();
        } else {
            lower.extend(word.chars().flat_map(char::to_lowercase));
        }
        let Some(of) = KNOWN.get(lower.as_str()) else {
            continue;
        };
        for (at, count) in counts.iter_mut().enumerate() {
            *count += usize::from(of >> at & 1);
        }
    }
    let best = (0..counts.len()).max_by_key(|at| (counts[*at], std::cmp::Reverse(*at)))?;
    let next = { counts.iter().enumerate() }
        .filter(|(at, _)| *at != best)
        .map(|(_, count)| *count)
        .max()?;
    (counts[best] >= 3 && counts[best] * 2 >= next * 3).then_some(WORDS[best].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_of_one_script_are_told_by_their_small_words() {
        for (text, language) in [
            (
                "The tenant shall pay the rent for the month that is due.",
                Language::English,
            ),
            (
                "Der Mieter zahlt die Miete und das Geld ist nicht weg.",
                Language::German,
            ),
            (
                "Le locataire est dans la maison et il ne paie pas pour les autres.",
                Language::French,
            ),
            (
                "El inquilino no paga la renta en los meses que son de su contrato.",
                Language::Spanish,
            ),
            ("患者需要多休息。", Language::Of(Script::Chinese)),
            ("Berlin, Paris, London", Language::Of(Script::Latin)),
        ] {
            assert_eq!(Language::of(text), Some(language), "{text}");
        }
        assert_eq!(Language::of("12 + 3"), None);
    }

    #[test]
    fn names_in_latin_letters_differ_from_no_language_of_them() {
        let latin = Language::Of(Script::Latin);
        assert!(!latin.differs(Language::German) && !Language::German.differs(latin));
        assert!(Language::English.differs(Language::German));
        assert!(latin.differs(Language::Of(Script::Chinese)));
        assert!(!latin.differs(latin));
    }
}
