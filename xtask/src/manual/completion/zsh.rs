//! The completions of zsh.

use crate::manual::completion::points::{Offer, Point, Valued, general, points, valued};
use crate::manual::completion::template::{fill, lines, quote};
use crate::manual::help::Help;

/// The function for zsh's fpath.
pub(crate) fn zsh(program: &str, help: &Help) -> String {
    let places = [
        ("@VALUES@", lines(valued(help).into_iter().map(values))),
        ("@STATES@", lines(points(help).iter().map(offers))),
        ("@GENERAL@", described(&general(help))),
    ];
    fill(include_str!("template.zsh"), program, help, "|", &places)
}

/// The case of an option whose value is completed.
fn values(option: Valued<'_>) -> String {
    let names = option.names.join("|");
    let reply = match option.values {
        None => "_files".to_owned(),
        Some(values) => format!("compadd -- {}", values.join(" ")),
    };
    format!("  ({names}) {reply}; return ;;")
}

/// The case of a point.
fn offers(point: &Point<'_>) -> String {
    let file = if point.takes_file { "_files; " } else { "" };
    let offers = described(&point.offers);
    format!("  ({}) {file}offers=({offers}) ;;", point.pattern())
}

/// Words with their descriptions, as `_describe` takes them.
fn described(offers: &[Offer<'_>]) -> String {
    let describe = |(word, about): &Offer<'_>| {
        let about = about.replace(':', "\\:");
        quote(&format!("{word}:{about}"))
    };
    let offers: Vec<_> = offers.iter().map(describe).collect();
    offers.join(" ")
}
