//! The completions of bash.

use crate::manual::completion::points::{Offer, Point, Valued, general, points, valued};
use crate::manual::completion::template::{fill, lines};
use crate::manual::help::Help;

/// The file for bash-completion.
pub(crate) fn bash(program: &str, help: &Help) -> String {
    let places = [
        ("@VALUES@", lines(valued(help).into_iter().map(values))),
        ("@STATES@", lines(points(help).iter().map(offers))),
        ("@GENERAL@", words(&general(help))),
    ];
    fill(include_str!("template.bash"), program, help, "|", &places)
}

/// The case of an option whose value is completed.
fn values(option: Valued<'_>) -> String {
    let names = option.names.join("|");
    let reply = match option.values {
        None => "compopt -o default".to_owned(),
        Some(values) => {
            let values = values.join(" ");
            format!("COMPREPLY=($(compgen -W '{values}' -- \"$current\"))")
        }
    };
    format!("    {names}) {reply}; return ;;")
}

/// The case of a point.
fn offers(point: &Point<'_>) -> String {
    let file = if point.takes_file {
        "compopt -o default; "
    } else {
        ""
    };
    let offers = words(&point.offers);
    format!("    {}) {file}offers='{offers}' ;;", point.pattern())
}

fn words(offers: &[Offer<'_>]) -> String {
    let words: Vec<_> = offers.iter().map(|(word, _)| *word).collect();
    words.join(" ")
}
