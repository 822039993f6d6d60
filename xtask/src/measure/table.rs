//! The measurements as a table: a column for each package, a row for each number.

use crate::measure::package::Measures;

/// What stands in one row for a package.
type Cell = fn(&Measures) -> String;

/// The table of `measured`, in Markdown.
pub fn table(measured: &[Measures]) -> String {
    let titles: Vec<_> = measured
        .iter()
        .map(|package| package.name.clone())
        .collect();
    let mut table =
        row("", &titles) + &row("---", &vec!["---:".to_owned(); titles.len()]);

    let rows: [(&str, Cell); 14] = [
        ("files", |of| of.files.to_string()),
        ("lines with code", |of| of.tokens.lines.to_string()),
        ("tokens a line", |of| {
            share(of.tokens.count, of.tokens.lines, 1.0)
        }),
        ("blank lines in bodies, %", |of| {
            share(of.functions.blank_lines, of.functions.body_lines, 100.0)
        }),
        ("functions", |of| of.functions.count().to_string()),
        ("lines of a function, p50", |of| length(of, 50)),
        ("p95", |of| length(of, 95)),
        ("p99", |of| length(of, 99)),
        ("longest", |of| length(of, 100)),
        ("words of comments", |of| of.prose.words.to_string()),
        ("pronouns per 100 words", |of| {
            share(of.prose.pronouns, of.prose.words, 100.0)
        }),
        ("the same with that, which", |of| {
            let all = of.prose.pronouns + of.prose.joining_pronouns;
            share(all, of.prose.words, 100.0)
        }),
        ("connectives per 100 words", |of| {
            share(of.prose.connectives, of.prose.words, 100.0)
        }),
        ("types without a doc comment, %", |of| {
            share(of.undocumented.len(), of.types, 100.0)
        }),
    ];
    for (title, cell) in rows {
        let cells: Vec<_> = measured.iter().map(cell).collect();
        table += &row(title, &cells);
    }
    table
}

/// Where the longest functions are, and the types without a doc comment.
pub fn places(measured: &[Measures]) -> String {
    let Some(together) = measured.last() else {
        return String::new();
    };

    let longest = together.functions.longest(10);
    let longest =
        longest.map(|function| format!("{} lines: {}\n", function.lines, function.place));
    let undocumented = together.undocumented.iter();
    let undocumented = undocumented.map(|place| format!("no doc comment: {place}\n"));
    longest.chain(undocumented).collect()
}

fn row(title: &str, cells: &[String]) -> String {
    let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:>10}")).collect();
    format!("| {title:<30} | {} |\n", cells.join(" | "))
}

fn length(of: &Measures, percent: usize) -> String {
    let length = of.functions.percentile(percent);
    length.map_or("-".to_owned(), |length| length.lines.to_string())
}

/// `part` of `whole`, times `scale`, with two places after the point.
#[allow(
    clippy::cast_precision_loss,
    reason = "counts of words and lines are small"
)]
fn share(part: usize, whole: usize, scale: f64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    format!("{:.2}", part as f64 * scale / whole as f64)
}
