//! Prometheus's text format, for textfile and for the output of exec's commands.

use std::collections::BTreeMap;

/// The metrics in `text` by their series, such as `disk_used_percent{mount="/"}`, with
/// the labels sorted by name. Comments are passed over, and so are numbers
/// unknown to JSON (NaN and the infinities), timestamps and exemplars.
///
/// # Errors
/// The number of the first wrong line, and the fault. The message repeats nothing of the
/// line, so that the message stays the same while the fault does.
#[cfg(test)]
fn parse(text: &str) -> Result<BTreeMap<String, f64>, String> {
    let (metrics, faults) = parse_good_lines(text);
    let wrong = faults.into_iter().find(|fault| fault.is_left_out);
    wrong.map_or(Ok(metrics), |fault| Err(fault.text))
}

/// The metrics in `text` as [`parse`] gives them, but without the wrong lines; and
/// what is not kept, or only in part.
pub(crate) fn parse_good_lines(text: &str) -> (BTreeMap<String, f64>, Vec<Fault>) {
    let (mut metrics, mut faults) = (BTreeMap::new(), Vec::new());
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);

    for (line, number) in text.lines().zip(1..) {
        let line = line.trim_matches(BLANK);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut fault = |why, is_left_out| {
            faults.push(Fault {
                text: format!("line {number}: {why}"),
                is_left_out,
            });
        };

        match parse_line(line) {
            Ok((series, ..)) if metrics.contains_key(&series) => {
                fault("repeats a metric", true);
            }
            Ok((series, value, remark)) => {
                metrics.insert(series, value);
                remark.into_iter().for_each(|remark| fault(remark, false));
            }
            Err(why) => fault(why, true),
        }
    }

    metrics.retain(|_, value| value.is_finite());
    (metrics, faults)
}

/// What is not in order in a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The line's number, and the fault.
    pub(crate) text: String,
    /// Whether the whole line is left out.
    pub(crate) is_left_out: bool,
}

/// The series of a `text` that holds nothing else, in the form of [`parse`].
pub(crate) fn parse_whole_series(text: &str) -> Result<String, &'static str> {
    match parse_series(text)? {
        (series, "") => Ok(series),
        _ => Err(NO_NAME),
    }
}

/// A label as series have it: `mount="/"`, with escapes where the value needs them.
pub(crate) fn show_label(name: &str, value: &str) -> String {
    let value = value
        .replace('\\', r"\\")
        .replace('"', r#"\""#)
        .replace('\n', r"\n");
    format!("{name}=\"{value}\"")
}

/// Whether `text` is a metric's name; labels are not part of a name.
pub(crate) fn is_name(text: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    text.starts_with(is_first) && text.chars().all(|c| is_first(c) || c.is_ascii_digit())
}

const BLANK: [char; 2] = [' ', '\t'];
/// The beginning of an exemplar, behind the number, as `OpenMetrics` has it.
const EXEMPLAR: &str = " # {";
const NO_NAME: &str = "does not begin with a metric's name";

/// A line's series and value, and what of the line is not kept.
fn parse_line(line: &str) -> Result<(String, f64, Option<&'static str>), &'static str> {
    let (series, rest) = parse_series(line)?;
    let (rest, exemplar) = match rest.split_once(EXEMPLAR) {
        Some((rest, _)) => (rest, Some("has an exemplar, which is not kept")),
        None => (rest, None),
    };

    let mut words = rest.split(BLANK).filter(|word| !word.is_empty());
    let value = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or("has no number after the name")?;
    match (words.next(), words.next()) {
        (None, _) => Ok((series, value, exemplar)),
        (Some(time), None) if time.parse::<f64>().is_ok() => {
            Ok((series, value, Some("has a timestamp, which is not kept")))
        }
        _ => Err("goes on after the number"),
    }
}

/// The series at the beginning of `text`, and the rest.
fn parse_series(text: &str) -> Result<(String, &str), &'static str> {
    let end = text
        .find(|c: char| BLANK.contains(&c) || c == '{')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if !is_name(name) {
        return Err(NO_NAME);
    }

    let Some(rest) = rest.trim_start_matches(BLANK).strip_prefix('{') else {
        return Ok((name.to_owned(), rest));
    };
    let (labels, rest) = parse_labels(rest)?;
    if labels.is_empty() {
        return Ok((name.to_owned(), rest));
    }
    let labels: Vec<_> = labels
        .iter()
        .map(|(name, value)| show_label(name, value))
        .collect();
    Ok((format!("{name}{{{}}}", labels.join(",")), rest))
}

/// Names and values, sorted by name.
type Labels<'a> = Vec<(&'a str, String)>;

/// The labels up to the closing brace, and the rest.
fn parse_labels(mut text: &str) -> Result<(Labels<'_>, &str), &'static str> {
    let mut labels = Labels::new();
    loop {
        text = text.trim_start_matches(BLANK);
        if let Some(rest) = text.strip_prefix('}') {
            return Ok((labels, rest));
        }

        let (name, rest) = text.split_once('=').ok_or("has no end of its labels")?;
        let name = name.trim_end_matches(BLANK);
        if !is_name(name) || name.contains(':') {
            return Err("has a label without a name");
        }
        let quoted = rest
            .trim_start_matches(BLANK)
            .strip_prefix('"')
            .ok_or("has a label without quotes")?;
        let (value, rest) = parse_quoted(quoted)?;
        match labels.binary_search_by_key(&name, |(known, _)| *known) {
            Ok(_) => return Err("repeats a label"),
            Err(place) => labels.insert(place, (name, value)),
        }

        text = rest.trim_start_matches(BLANK);
        match text.strip_prefix(',') {
            Some(rest) => text = rest,
            None if text.starts_with('}') => {}
            None => return Err("has no comma between its labels"),
        }
    }
}

/// The text up to the closing quote, and the rest.
fn parse_quoted(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, c)) = characters.next() {
        match c {
            '"' => return Ok((value, &text[index + 1..])),
            // The server refuses a NUL, because not every database can store a NUL.
            '\0' => return Err("has a NUL character in a label"),
            '\\' => value.push(match characters.next() {
                Some((_, 'n')) => '\n',
                Some((_, c @ ('\\' | '"'))) => c,
                _ => {
                    return Err("has a backslash before something else than \\, \" or n");
                }
            }),
            c => value.push(c),
        }
    }
    Err("has a label without a closing quote")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_read_as_prometheus_does() {
        let text = "# HELP jobs Jobs by queue.\n# TYPE jobs gauge\n\
            jobs{queue=\"mail\",host=\"a\"} 3\n\
            jobs { queue = \"a b\\\\c\\\"d\\ne}\" , } 4.5e3\n\
            \t up  1 \n\
            up_to{} -2\n\
            not_now NaN\n\
            too_much +Inf\n\
            \n#\n";
        let expected = [
            (r#"jobs{host="a",queue="mail"}"#, 3.0),
            (r#"jobs{queue="a b\\c\"d\ne}"}"#, 4500.0),
            ("up", 1.0),
            ("up_to", -2.0),
        ];
        let expected = expected
            .map(|(name, value)| (name.to_owned(), value))
            .into();
        assert_eq!(parse(text), Ok(expected));
        assert_eq!(parse("up 1"), Ok([("up".to_owned(), 1.0)].into()));
        assert_eq!(parse(""), Ok(BTreeMap::new()));
    }

    #[test]
    fn one_line_does_not_spoil_the_others() {
        let text = "\u{feff}up 1 1395066363000\r\nodd-one 2\nup 3\n\
            seconds_bucket{le=\"1\"} 4 # {trace_id=\"a b\"} 0.67 1520879607.789\n\
            down 5 1520879607.789 # {} 1\nlast 6\n";
        let (metrics, faults) = parse_good_lines(text);
        let expected = [
            ("down", 5.0),
            ("last", 6.0),
            (r#"seconds_bucket{le="1"}"#, 4.0),
            ("up", 1.0),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(metrics, expected.into());
        let faults: Vec<_> = faults
            .iter()
            .map(|fault| (fault.text.as_str(), fault.is_left_out))
            .collect();
        let expected = [
            ("line 1: has a timestamp, which is not kept", false),
            ("line 2: does not begin with a metric's name", true),
            ("line 3: repeats a metric", true),
            ("line 4: has an exemplar, which is not kept", false),
            ("line 5: has a timestamp, which is not kept", false),
        ];
        assert_eq!(faults, expected);
        assert_eq!(
            parse("up 1 1395066363000"),
            Ok([("up".to_owned(), 1.0)].into())
        );
    }

    #[test]
    fn a_wrong_line_is_named_with_its_fault() {
        for (line, why) in [
            ("9lives 1", NO_NAME),
            ("{a=\"b\"} 1", NO_NAME),
            ("jobs-done 1", NO_NAME),
            ("up", "has no number after the name"),
            ("up one", "has no number after the name"),
            ("up 1 1395066363000 1", "goes on after the number"),
            ("up 1 # on", "goes on after the number"),
            ("up{a=\"b\" 1", "has no comma between its labels"),
            ("up{a=\"b\",", "has no end of its labels"),
            ("up{a=\"b", "has a label without a closing quote"),
            ("up{a=b} 1", "has a label without quotes"),
            ("up{=\"b\"} 1", "has a label without a name"),
            ("up{a:b=\"c\"} 1", "has a label without a name"),
            ("up{a=\"b\",a=\"c\"} 1", "repeats a label"),
            (
                "up{a=\"\\t\"} 1",
                "has a backslash before something else than \\, \" or n",
            ),
            ("up{a=\"\0\"} 1", "has a NUL character in a label"),
            ("ok 2", "repeats a metric"),
        ] {
            assert_eq!(
                parse(&format!("ok 1\n{line}\n")),
                Err(format!("line 2: {why}")),
                "{line:?}"
            );
        }
    }

    #[test]
    fn a_series_stands_for_itself() {
        assert_eq!(
            parse_whole_series("a{c=\"d\",b=\"e\"}"),
            Ok("a{b=\"e\",c=\"d\"}".to_owned())
        );
        assert_eq!(parse_whole_series("a b"), Err(NO_NAME));
        assert_eq!(parse_whole_series("a{b=\"c\"} d"), Err(NO_NAME));
        assert_eq!(parse_whole_series(""), Err(NO_NAME));
    }
}
