//! Prometheus's text format, for textfile and for the output of exec's commands.

use std::collections::BTreeMap;

/// The metrics in `text` by their series, such as `disk_used_percent{mount="/"}`, with
/// the labels sorted by name. Comments are passed over, and so are numbers
/// unknown to JSON (NaN and the infinities).
///
/// # Errors
/// The number of the first wrong line, and the fault. The message repeats nothing of the
/// line, so that the message stays the same while the fault does.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, f64>, String> {
    let mut metrics = BTreeMap::new();
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim_matches(BLANK);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (series, value) =
            parse_line(line).map_err(|why| format!("line {number}: {why}"))?;
        if metrics.insert(series, value).is_some() {
            return Err(format!("line {number}: repeats a metric"));
        }
    }
    metrics.retain(|_, value| value.is_finite());
    Ok(metrics)
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
const NO_NAME: &str = "does not begin with a metric's name";

/// A line's series and value.
fn parse_line(line: &str) -> Result<(String, f64), &'static str> {
    let (series, rest) = parse_series(line)?;
    let mut words = rest.split(BLANK).filter(|word| !word.is_empty());
    let value = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or("has no number after the name")?;
    match words.next() {
        None => Ok((series, value)),
        Some(word) if word.parse::<i64>().is_ok() => {
            Err("has a timestamp, which is not kept")
        }
        Some(_) => Err("goes on after the number"),
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

/// The labels up to the closing brace, and the rest.
fn parse_labels(mut text: &str) -> Result<(BTreeMap<&str, String>, &str), &'static str> {
    let mut labels = BTreeMap::new();
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
        if labels.insert(name, value).is_some() {
            return Err("repeats a label");
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
    fn a_wrong_line_is_named_with_its_fault() {
        for (line, why) in [
            ("9lives 1", NO_NAME),
            ("{a=\"b\"} 1", NO_NAME),
            ("jobs-done 1", NO_NAME),
            ("up", "has no number after the name"),
            ("up one", "has no number after the name"),
            ("up 1 1395066363000", "has a timestamp, which is not kept"),
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
