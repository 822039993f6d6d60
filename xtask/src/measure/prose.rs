//! The words of comments.

use crate::source::text::Text;

/// Words for which a reader has to find the noun elsewhere.
pub const PRONOUNS: [&str; 27] = [
    "he",
    "it",
    "its",
    "itself",
    "none",
    "one",
    "ones",
    "our",
    "ours",
    "she",
    "such",
    "their",
    "theirs",
    "them",
    "themselves",
    "these",
    "they",
    "this",
    "those",
    "us",
    "we",
    "what",
    "whatever",
    "who",
    "whoever",
    "whom",
    "whose",
];

/// Words that are pronouns, too, but mostly join a clause to the noun or verb right
/// before: "the host that …", "says that …".
pub const JOINING_PRONOUNS: [&str; 2] = ["that", "which"];

/// Words that say how two facts belong together.
pub const CONNECTIVES: [&str; 14] = [
    "although",
    "because",
    "for example",
    "for instance",
    "hence",
    "however",
    "instead",
    "otherwise",
    "since",
    "so that",
    "therefore",
    "thus",
    "unless",
    "whereas",
];

/// How many words of each kind some comments have.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Prose {
    pub(crate) words: usize,
    /// Of [`PRONOUNS`].
    pub(crate) pronouns: usize,
    /// Of [`JOINING_PRONOUNS`].
    pub(crate) joining_pronouns: usize,
    /// Of [`CONNECTIVES`].
    pub(crate) connectives: usize,
}

impl Prose {
    /// Counts the words in the comments of a file.
    pub(crate) fn of(text: &Text<'_>) -> Prose {
        let words = words(&text.comments);
        let count = |list: &[&str]| {
            let is_listed = |word: &&String| list.contains(&word.as_str());
            words.iter().filter(is_listed).count()
        };
        let pairs = words.windows(2).map(|pair| pair.join(" "));
        let pairs = pairs.filter(|pair| CONNECTIVES.contains(&pair.as_str()));

        Prose {
            words: words.len(),
            pronouns: count(&PRONOUNS),
            joining_pronouns: count(&JOINING_PRONOUNS),
            connectives: count(&CONNECTIVES) + pairs.count(),
        }
    }

    /// Adds the words of another file.
    pub(crate) fn add(&mut self, other: &Prose) {
        self.words += other.words;
        self.pronouns += other.pronouns;
        self.joining_pronouns += other.joining_pronouns;
        self.connectives += other.connectives;
    }
}

/// The words of comments in small letters; code between backticks and in fenced blocks
/// aside.
fn words(comments: &[&str]) -> Vec<String> {
    let mut is_fenced = false;
    let mut prose = String::new();
    for line in comments {
        let line = line.trim_start_matches(['/', '!', '*']).trim();
        if line.starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            prose.push_str(line);
            prose.push('\n');
        }
    }

    // A span of code may begin on one line and end on the next.
    let prose: String = prose.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let words = prose.split(|c: char| !c.is_alphabetic() && c != '\'');
    // "it's" is a pronoun and a verb.
    let words = words.flat_map(|word| word.trim_matches('\'').split('\'').next());
    words
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_and_code_is_none() {
        let comments = [
            "/// It's `its\n",
            "/// own` way, so that one can say that.",
            "/// ```",
            "/// let it = one;",
            "/// ```",
        ];
        let text = Text {
            tokens: Vec::new(),
            comments: comments.to_vec(),
        };
        let expected = Prose {
            words: 8,
            pronouns: 2,
            joining_pronouns: 2,
            connectives: 1,
        };
        assert_eq!(Prose::of(&text), expected);
    }
}
