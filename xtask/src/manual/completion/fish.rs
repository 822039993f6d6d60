//! The completions of fish.

use crate::manual::completion::points::{Offer, Point, Valued, general, points, valued};
use crate::manual::completion::template::{fill, function, lines, quote};
use crate::manual::help::Help;

/// The file for fish.
pub(crate) fn fish(program: &str, help: &Help) -> String {
    let valued = valued(help);
    let of_points = points(help);
    let of_points = of_points
        .iter()
        .flat_map(|point| of_point(program, &valued, point));
    let general = general(help);
    let general = general
        .iter()
        .map(|offer| complete(program, &valued, "", offer));

    let places = [
        ("@STATES@", lines(of_points)),
        ("@GENERAL@", lines(general)),
    ];
    fill(include_str!("template.fish"), program, help, " ", &places)
}

/// The lines of a point: one for each offer, and one where a file can follow.
fn of_point(program: &str, valued: &[Valued<'_>], point: &Point<'_>) -> Vec<String> {
    let any = if point.is_command { "*" } else { "" };
    let test = format!("{} '{}{any}'", function(program), point.words);
    let condition = format!(" -n {}", quote(&test.replace('\'', "\"")));

    let offers = point.offers.iter();
    let mut lines: Vec<_> = offers
        .map(|offer| complete(program, valued, &condition, offer))
        .collect();
    if point.takes_file {
        lines.push(format!("complete -c {program}{condition} -F"));
    }
    lines
}

/// The line that offers a word.
fn complete(
    program: &str,
    valued: &[Valued<'_>],
    condition: &str,
    (word, about): &Offer<'_>,
) -> String {
    let form = match (word.strip_prefix("--"), word.strip_prefix('-')) {
        (Some(long), _) => format!("-l {long}"),
        (None, Some(short)) => format!("-s {short}"),
        (None, None) => format!("-a {word}"),
    };

    let option = valued.iter().find(|option| option.names.contains(word));
    let value = match option.map(|option| &option.values) {
        None => String::new(),
        Some(None) => " -rF".to_owned(),
        Some(Some(values)) => format!(" -xa {}", quote(&values.join(" "))),
    };

    let about = quote(about);
    format!("complete -c {program}{condition} {form}{value} -d {about}")
}
