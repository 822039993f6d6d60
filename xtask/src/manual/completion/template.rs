//! The parts that the templates of the three shells have in common.

use crate::manual::completion::points::valued;
use crate::manual::help::Help;

/// Fills in the names of a template, and `places`. `separator` stands between the names
/// of the options that take a value.
pub(crate) fn fill(
    template: &str,
    program: &str,
    help: &Help,
    separator: &str,
    places: &[(&str, String)],
) -> String {
    let options = valued(help).into_iter();
    let names: Vec<_> = options.flat_map(|option| option.names).collect();

    let text = template
        .replace("@PROGRAM@", program)
        .replace("@FUNCTION@", &function(program))
        .replace("@VALUED@", &names.join(separator));
    places
        .iter()
        .fold(text, |text, (place, content)| text.replace(place, content))
}

/// The name of the shell's function that completes `program`.
pub(crate) fn function(program: &str) -> String {
    format!("_{}", program.replace('-', "_"))
}

/// Joins lines.
pub(crate) fn lines(lines: impl Iterator<Item = String>) -> String {
    lines.collect::<Vec<_>>().join("\n")
}

/// Quotes `text`, with any characters, as a single word for a shell.
pub(crate) fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
