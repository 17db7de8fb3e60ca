//! Stop strings, found across the borders of chunks.

/// Watches the text of one answer. The text ends before the stop string that is complete first; of those complete at
/// the same character, before the one that begins first.
pub struct StopMatcher {
    /// Each with its number among those that were asked for.
    stops: Vec<(usize, String)>,
    /// The end of the text so far that a stop string may begin with.
    held: String,
    stopped: Option<usize>,
}

/// What may be shown, and which stop string ended the text, if one did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub text: String,
    pub stopped: Option<usize>,
}

impl StopMatcher {
    /// Empty strings stop nothing.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().cloned().enumerate();
        Self {
            stops: stops.filter(|(_, stop)| !stop.is_empty()).collect(),
            held: String::new(),
            stopped: None,
        }
    }

    /// After a stop all further text is dropped.
    pub fn push(&mut self, text: &str) -> Checked {
        if self.stopped.is_some() {
            return Checked {
                text: String::new(),
                stopped: self.stopped,
            };
        }
        self.held.push_str(text);
        // The first occurrence of each stop string is the one that ends first.
        let found = self
            .stops
            .iter()
            .filter_map(|(number, stop)| {
                let at = self.held.find(stop.as_str())?;
                Some((at + stop.len(), at, *number))
            })
            .min();
        if let Some((_, start, number)) = found {
            self.stopped = Some(number);
            self.held.truncate(start);
            return Checked {
                text: std::mem::take(&mut self.held),
                stopped: self.stopped,
            };
        }
        let keep = self
            .stops
            .iter()
            .map(|(_, stop)| overlap(&self.held, stop))
            .max()
            .unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        Checked {
            text: std::mem::replace(&mut self.held, rest),
            stopped: None,
        }
    }

    /// What was held back, at the end of an answer that no stop string ended.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes of the longest end of `text` that is a beginning of `stop`, short of all of it.
pub(super) fn overlap(text: &str, stop: &str) -> usize {
    let most = text.len().min(stop.len() - 1);
    (1..=most)
        .rev()
        .find(|&n| text.as_bytes()[text.len() - n..] == stop.as_bytes()[..n])
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn run(stops: &[&str], chunks: &[&str]) -> (String, bool) {
        let stops: Vec<String> = stops.iter().map(|s| (*s).to_owned()).collect();
        let mut matcher = StopMatcher::new(&stops);
        let mut out = String::new();
        for chunk in chunks {
            let checked = matcher.push(chunk);
            out.push_str(&checked.text);
            if checked.stopped.is_some() {
                return (out, true);
            }
        }
        out.push_str(&matcher.finish());
        (out, false)
    }

    #[test]
    fn a_stop_string_is_found_across_chunks() {
        assert_eq!(
            run(&["</end>"], &["answer<", "/e", "nd", "> more"]),
            ("answer".into(), true)
        );
    }

    #[test]
    fn text_that_only_begins_like_a_stop_string_comes_out() {
        assert_eq!(
            run(&["</end>"], &["a </e", "m> b </en"]),
            ("a </em> b </en".into(), false)
        );
    }

    #[test]
    fn the_stop_string_complete_first_wins() {
        assert_eq!(run(&["abc", "b"], &["xabc"]), ("xa".into(), true));
        assert_eq!(run(&["abc", "bc"], &["xabc"]), ("x".into(), true));
    }

    #[test]
    fn a_chunk_is_held_back_only_as_far_as_it_may_still_match() {
        let mut matcher = StopMatcher::new(&["\n\nUser".into()]);
        assert_eq!(matcher.push("Hello\n").text, "Hello");
        assert_eq!(matcher.push("\n").text, "");
        assert_eq!(
            matcher.push("\n").text,
            "\n",
            "two newlines may still match, the third from the end may not"
        );
        assert_eq!(matcher.push("User").stopped, Some(0));
        assert_eq!(
            matcher.push("more"),
            Checked {
                text: String::new(),
                stopped: Some(0)
            }
        );
    }

    #[test]
    fn the_stop_string_that_ended_the_text_is_told_by_its_place_among_those_asked_for() {
        let stops = ["", "bc", "abc"].map(str::to_owned);
        assert_eq!(StopMatcher::new(&stops).push("xabc").stopped, Some(2));
        assert_eq!(StopMatcher::new(&stops).push("xbc").stopped, Some(1));
        assert_eq!(StopMatcher::new(&stops).push("x").stopped, None);
    }

    /// Looks at every end of the whole text in turn.
    fn plain(stops: &[String], text: &str) -> (String, bool) {
        for (end, _) in text.char_indices().skip(1).chain([(text.len(), ' ')]) {
            let starts = stops
                .iter()
                .filter(|s| !s.is_empty() && text[..end].ends_with(s.as_str()));
            if let Some(start) = starts.map(|s| end - s.len()).min() {
                return (text[..start].to_owned(), true);
            }
        }
        (text.to_owned(), false)
    }

    proptest! {
        #[test]
        fn matching_by_chunks_equals_searching_the_whole_text(
            stops in proptest::collection::vec("[abé]{0,4}", 0..4),
            chunks in proptest::collection::vec("[abé]{0,3}", 0..12),
        ) {
            let (stop_refs, chunk_refs): (Vec<&str>, Vec<&str>) =
                (stops.iter().map(String::as_str).collect(), chunks.iter().map(String::as_str).collect());
            prop_assert_eq!(run(&stop_refs, &chunk_refs), plain(&stops, &chunks.concat()));
        }
    }
}
