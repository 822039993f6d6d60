//! Whether any host could be meant at all.
//!
//! The values that make a difference are tried, field by field. What is hard to say is
//! taken as possible: patterns, versions, ages, and what takes too many tries.

use std::net::{IpAddr, Ipv4Addr};

use crate::evaluate::{Host, Value, holds};
use crate::field::{Field, Kind};
use crate::literal::Literal;
use crate::selector::Selector;
use crate::tree::{Expression, Test};

/// After so many tries a selector counts as possible.
const MOST_TRIES: usize = 5_000;

impl Selector {
    /// Whether there could be a host that is meant, and of whose fields each has a value
    /// that is `allowed`. Also `true` where that is too hard to say.
    pub fn is_possible(&self, allowed: &dyn Fn(&Field, Value<'_>) -> bool) -> bool {
        let mut fields: Vec<(&Field, Vec<Candidate>)> = Vec::new();
        for field in self.expression().fields() {
            if !fields.iter().any(|(known, _)| *known == field)
                && let Some(mut found) = candidates(field, self.expression())
            {
                found.retain(|candidate| allowed(field, candidate.value()));
                fields.push((field, found));
            }
        }
        let mut search = Search {
            expression: self.expression(),
            fields: &fields,
            tries_left: MOST_TRIES,
        };
        search.finds(&mut Guess::default())
    }
}

/// A value that makes a difference.
#[derive(Debug, Clone, PartialEq)]
enum Candidate {
    Missing,
    Text(String),
    Either(String, String),
    Number(f64),
    Switch(bool),
    Address(IpAddr),
}

impl Candidate {
    fn value(&self) -> Value<'_> {
        match self {
            Candidate::Missing => Value::Missing,
            Candidate::Text(text) => Value::Text(text),
            Candidate::Either(one, other) => Value::Either(one, other),
            Candidate::Number(number) => Value::Number(*number),
            Candidate::Switch(is_on) => Value::Switch(*is_on),
            Candidate::Address(ip) => Value::Address(*ip),
        }
    }
}

/// A host of which some fields are chosen, and of the others nothing is known.
#[derive(Default)]
struct Guess<'a> {
    chosen: Vec<(&'a Field, &'a Candidate)>,
}

impl Host for Guess<'_> {
    fn value(&self, field: &Field) -> Value<'_> {
        let chosen = self.chosen.iter().find(|(known, _)| *known == field);
        chosen.map_or(Value::Unknown, |(_, candidate)| candidate.value())
    }
}

/// A walk through all guesses.
struct Search<'a> {
    expression: &'a Expression,
    fields: &'a [(&'a Field, Vec<Candidate>)],
    tries_left: usize,
}

impl<'a> Search<'a> {
    fn finds(&mut self, guess: &mut Guess<'a>) -> bool {
        self.tries_left = self.tries_left.saturating_sub(1);
        if self.tries_left == 0 {
            return true;
        }
        if let Some(holds) = holds(self.expression, guess, 0) {
            return holds;
        }
        // Only what is too hard to say is left.
        let Some((field, candidates)) = self.fields.get(guess.chosen.len()) else {
            return true;
        };
        for candidate in candidates {
            guess.chosen.push((field, candidate));
            if self.finds(guess) {
                return true;
            }
            guess.chosen.pop();
        }
        false
    }
}

/// The values of a field that make a difference to the expression; `None` where that is
/// too hard to say.
fn candidates(field: &Field, expression: &Expression) -> Option<Vec<Candidate>> {
    let mut tests = Vec::new();
    collect(field, expression, &mut tests);
    let literals = tests.into_iter().flat_map(|test| match test {
        Test::Alone => &[],
        Test::Compare(_, literal) => std::slice::from_ref(literal),
        Test::In(_, literals) => literals.as_slice(),
    });
    let literals: Vec<&Literal> = literals.collect();
    match field.kind() {
        Kind::Age => None,
        Kind::Switch => Some(vec![
            Candidate::Missing,
            Candidate::Switch(true),
            Candidate::Switch(false),
        ]),
        Kind::Status => Some(["active", "down"].map(text).to_vec()),
        Kind::Number => numbers(&literals),
        Kind::Address => addresses(&literals),
        Kind::Text | Kind::Version | Kind::Tag => texts(field, &literals),
    }
}

/// What the expression asks of the field.
fn collect<'a>(field: &Field, expression: &'a Expression, tests: &mut Vec<&'a Test>) {
    match expression {
        Expression::All => {}
        Expression::Term(asked, test) if asked == field => tests.push(test),
        Expression::Term(..) => {}
        Expression::Not(inner) => collect(field, inner, tests),
        Expression::And(parts) | Expression::Or(parts) => {
            parts.iter().for_each(|part| collect(field, part, tests));
        }
    }
}

fn text(text: &str) -> Candidate {
    Candidate::Text(text.to_owned())
}

/// Each number, what is a little less and more, and what is far away.
fn numbers(literals: &[&Literal]) -> Option<Vec<Candidate>> {
    let mut all = vec![f64::MIN, f64::MAX];
    for literal in literals {
        let Literal::Number(number) = literal else {
            return None;
        };
        let little = number.abs().max(1.0) * 1e-9;
        all.extend([*number, number - little, number + little]);
    }
    let all = all.into_iter().map(Candidate::Number);
    Some(all.chain([Candidate::Missing]).collect())
}

fn addresses(literals: &[&Literal]) -> Option<Vec<Candidate>> {
    let mut all = vec![Candidate::Missing];
    for literal in literals {
        let Literal::Address(ip) = literal else {
            return None;
        };
        all.push(Candidate::Address(*ip));
    }
    let other = (1..=u32::MAX).map(|bits| IpAddr::from(Ipv4Addr::from(bits)));
    let mut other = other.map(Candidate::Address);
    all.extend(other.find(|other| !all.contains(other)));
    Some(all)
}

/// Each text, and one that is none of them. A country has a code and a name.
fn texts(field: &Field, literals: &[&Literal]) -> Option<Vec<Candidate>> {
    let mut named = Vec::new();
    for literal in literals {
        let Literal::Text(text) = literal else {
            return None;
        };
        named.push(text.as_str());
    }

    let mut all = vec![Candidate::Missing, text("\u{1}")];
    all.extend(named.iter().copied().map(text));
    if *field == Field::Country {
        let is_code = |text: &str| text.len() == 2;
        let codes = named.iter().filter(|text| is_code(text));
        for code in codes {
            let names = named.iter().filter(|text| !is_code(text));
            let pairs = names
                .map(|name| Candidate::Either((*code).to_owned(), (*name).to_owned()));
            all.extend(pairs);
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_possible(text: &str) -> bool {
        Selector::parse(text).unwrap().is_possible(&|_, _| true)
    }

    #[test]
    fn what_contradicts_itself_is_impossible() {
        for text in [
            "country = DE and country = FR",
            "country = Germany and country = France",
            "paid and not paid",
            "tag.x = a and tag.x = b",
            "not tag.x and tag.x = b",
            "load.cpu > 5 and load.cpu < 5",
            "load.cpu >= 5 and load.cpu < 5 or gaming and not gaming",
            "metric.a = 1 and metric.a in (2, 3)",
            "ip = 1.2.3.4 and ip = 1.2.3.5",
            "status = active and status = down",
            "not all",
            "hostname ~ a* and gaming = true and gaming = false",
        ] {
            assert!(!is_possible(text), "{text}");
        }
    }

    #[test]
    fn what_may_be_or_is_hard_to_say_is_possible() {
        for text in [
            "all",
            "country = DE and country = Germany",
            "country = DE or country = FR",
            "not country = DE and not country = FR",
            "country not in (DE, FR)",
            "paid and not gaming",
            "tag.x = a and tag.y = b",
            "tag.x > 3 and tag.x < 2",
            "load.cpu > 5 and load.cpu < 5.1",
            "not load.cpu",
            "ip != 0.0.0.1 and ip",
            "hostname ~ a* and hostname ~ *b",
            "last_heartbeat < 5m and last_heartbeat > 6m",
            "agent_version >= 2 and agent_version < 1",
            "service.wg and not service.ov",
        ] {
            assert!(is_possible(text), "{text}");
        }
        let many = (0..60).map(|n| format!("(tag.a{n} = x or tag.b{n} = y)"));
        let many: Vec<String> = many.collect();
        assert!(is_possible(&many[..30].join(" and ")));
    }

    #[test]
    fn values_that_are_not_allowed_count() {
        let selector = Selector::parse("load.cpu < 50 and paid").unwrap();
        let above = |least: f64| {
            move |field: &Field, value: Value<'_>| match (field, value) {
                (Field::LoadCpu, Value::Number(number)) => number >= least,
                (field, _) => *field != Field::LoadCpu,
            }
        };
        assert!(!selector.is_possible(&above(90.0)));
        assert!(!selector.is_possible(&above(50.0)));
        assert!(selector.is_possible(&above(49.9)));
    }
}
