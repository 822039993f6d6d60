//! The built-in text: what a person reads at three in the morning. What, where, since
//! when, how bad, what else, and where to click. All channels tell the same, each within
//! its own limits.
//!
//! Names come from hosts, which may be in a stranger's hands: they are cleaned here of
//! all that is not seen, and each channel escapes them in its own way.

use std::fmt::Write;

use fleetbeat_protocol::Timestamp;
use jiff::tz::Offset;

use crate::message::{Group, Item, Message, MessageKind, News, Subject};

/// Longest name of a host or a place in a text, in characters.
const MAX_NAME: usize = 64;
/// Longest note of a rule in a text, in characters.
const MAX_NOTE: usize = 300;
/// Most lines about what else is affected.
const MAX_ALSO: usize = 5;

/// A message as text, without any markup.
pub(crate) struct Text {
    /// One line that says what it is about.
    pub(crate) title: String,
    /// A line for each item.
    lines: Vec<String>,
    /// What stands below, the most important last.
    footer: Vec<Line>,
}

/// A line below the items.
enum Line {
    Text(String),
    Link(&'static str, String),
}

/// What a channel takes, and how it is written there.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    /// Longest text.
    pub(crate) max: usize,
    /// How long a text is for this channel.
    pub(crate) measure: fn(&str) -> usize,
    /// Takes the meaning from characters that have one.
    pub(crate) escape: fn(&str) -> String,
    /// A link, of its label and its URL.
    pub(crate) link: fn(&str, &str) -> String,
}

/// Text without markup.
pub(crate) const PLAIN: Style = Style {
    max: usize::MAX,
    measure: count_chars,
    escape: str::to_owned,
    link: |label, url| format!("{label}: {url}"),
};

/// The length in characters.
pub(crate) fn count_chars(text: &str) -> usize {
    text.chars().count()
}

/// The length in units of UTF-16.
pub(crate) fn count_utf16(text: &str) -> usize {
    text.encode_utf16().count()
}

/// For HTML and what is close to it.
pub(crate) fn escape_html(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

impl Text {
    pub(crate) fn of(message: &Message) -> Text {
        Text {
            title: title(message),
            lines: lines(message),
            footer: footer(message),
        }
    }

    /// The title within `max`.
    pub(crate) fn title_within(&self, max: usize, measure: fn(&str) -> usize) -> String {
        cut(&self.title, max, measure)
    }

    /// All but the title, as the channel takes it. If there is too much, the last items
    /// are counted instead of named.
    pub(crate) fn body(&self, style: &Style) -> String {
        let measure = |line: &str| (style.measure)(line).saturating_add(1);
        let footer = self.footer.iter().map(|line| line.show(style));
        let mut footer: Vec<_> = footer.filter(|line| !line.is_empty()).collect();
        let length = |lines: &[String]| lines.iter().map(|line| measure(line)).sum();
        while !footer.is_empty() && length(&footer) > style.max / 2 {
            footer.remove(0);
        }

        let reserve = measure("… and 1000000 more");
        let mut left = style
            .max
            .saturating_sub(length(&footer))
            .saturating_sub(reserve);
        let mut lines = Vec::new();
        for line in &self.lines {
            let line = (style.escape)(line);
            let Some(rest) = left.checked_sub(measure(&line)) else {
                break;
            };
            left = rest;
            lines.push(line);
        }

        let missing = self.lines.len() - lines.len();
        if missing > 0 {
            lines.push(format!("… and {missing} more"));
        }
        lines.append(&mut footer);
        lines.join("\n")
    }
}

impl Line {
    fn show(&self, style: &Style) -> String {
        match self {
            Line::Text(text) => (style.escape)(text),
            Line::Link(label, url) => (style.link)(label, url),
        }
    }
}

/// `text` without what is not seen or changes how the rest is seen: controls, line
/// breaks, marks of the direction of text. At most `max` characters of it.
pub(crate) fn clean(text: &str, max: usize) -> String {
    let is_hidden = |c: char| {
        matches!(
            c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}'
                | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
    };
    let is_space = |c: char| c.is_whitespace() || c.is_control();
    let shown: String = text.chars().filter(|c| !is_hidden(*c)).collect();
    let words: Vec<_> = shown
        .split(is_space)
        .filter(|word| !word.is_empty())
        .collect();
    cut(&words.join(" "), max, count_chars)
}

/// The beginning of `text` within `max`, with "…" if something is missing.
fn cut(text: &str, max: usize, measure: fn(&str) -> usize) -> String {
    if measure(text) <= max {
        return text.to_owned();
    }
    let limit = max.saturating_sub(measure("…"));
    let mut length = 0;
    let fits = |(_, c): &(usize, char)| {
        length += measure(c.encode_utf8(&mut [0; 4]));
        length <= limit
    };
    let end = text.char_indices().take_while(fits).last();
    let end = end.map_or(0, |(at, c)| at + c.len_utf8());
    format!("{}…", &text[..end])
}

fn title(message: &Message) -> String {
    let over = || message.items.iter().all(|item| !item.is_firing());
    let tag = match message.kind {
        MessageKind::Test => "test",
        _ if over() => "resolved",
        _ => message.severity.as_str(),
    };
    let rest = match (
        message.kind,
        message.items.as_slice(),
        message.groups.as_slice(),
    ) {
        (MessageKind::Test, ..) => "Fleetbeat reaches you here".to_owned(),
        (MessageKind::Alerts, [item], _) => title_of_item(item),
        (MessageKind::Alerts, items, [group]) => title_of_group(items, group),
        (_, items, _) => format!("{} alerts", items.len()),
    };
    let rest = match message.kind {
        MessageKind::Digest => format!("{rest} while you could not be reached"),
        _ => rest,
    };
    format!("[{tag}] {rest}")
}

/// "vpn-1: down", and once it is over "vpn-1: down (over after 3 min)".
fn title_of_item(item: &Item) -> String {
    let after = |ended| format!(" (over after {})", duration(item.since, ended));
    let after = item.ended.map(after).unwrap_or_default();
    format!("{}{after}", what(item))
}

/// "country DE: 42 of 60 hosts: Host down".
fn title_of_group(items: &[Item], group: &Group) -> String {
    let mut title = String::new();
    for (label, value) in &group.labels {
        let (label, value) = (clean(label, MAX_NAME), clean(value, MAX_NAME));
        let _ = write!(title, "{label} {value}: ");
    }

    let count = group.firing;
    let _ = match group.hosts {
        _ if count == 0 => write!(title, "all {} over", items.len()),
        Some(hosts) => write!(title, "{count} of {hosts} hosts"),
        None => write!(title, "{count} alerts"),
    };
    if let Some(rule) = &group.rule {
        let _ = write!(title, ": {}", clean(&rule.name, MAX_NAME));
    }
    title
}

/// "vpn-1: `disk_used_percent` of /var 93.4% (limit 90%)".
fn what(item: &Item) -> String {
    let mut what = format!("{}: {}", subject(item), clean(&item.what, 150));
    if let Some(value) = item.value {
        let unit = clean(&item.unit, 8);
        let _ = write!(what, " {}{unit}", number(value));
        if let Some(limit) = item.limit {
            let _ = write!(what, " (limit {}{unit})", number(limit));
        }
    }
    what
}

fn subject(item: &Item) -> String {
    match &item.subject {
        Subject::Host { name, .. } => clean(name, MAX_NAME),
        Subject::Group { label, value } => {
            format!("{} {}", clean(label, MAX_NAME), clean(value, MAX_NAME))
        }
        Subject::Server => "Fleetbeat".to_owned(),
    }
}

/// " (203.0.113.7, Frankfurt, DE)".
fn place(item: &Item) -> String {
    let Subject::Host {
        ip, country, city, ..
    } = &item.subject
    else {
        return String::new();
    };
    let parts = [
        ip.map(|ip| ip.to_string()),
        city.as_deref().map(|city| clean(city, MAX_NAME)),
        country.as_deref().map(|country| clean(country, MAX_NAME)),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        return String::new();
    }
    format!(" ({})", parts.join(", "))
}

fn lines(message: &Message) -> Vec<String> {
    match message.kind {
        MessageKind::Test => {
            vec!["Somebody has tried this channel. It works.".to_owned()]
        }
        _ => message
            .items
            .iter()
            .map(|item| line(item, message))
            .collect(),
    }
}

/// "Firing: vpn-1 (203.0.113.7, DE): down since 03:02 UTC (4 min)".
fn line(item: &Item, message: &Message) -> String {
    let state = match (item.news, item.is_firing()) {
        (News::Firing, true) => "Firing",
        (News::Repeat, true) => "Still firing",
        (News::Flapping, _) => "Comes and goes",
        (News::Settled, true) => "Stable, firing",
        (News::Settled, false) => "Stable, over",
        (News::Firing | News::Repeat, false) => "Was firing",
        (News::Resolved, _) => "Over",
    };
    let name = subject(item);
    let rest = what(item).split_off(name.len());
    let mut line = format!("{state}: {name}{}{rest}", place(item));

    let since = clock(item.since, message.made_at);
    let lasted = duration(item.since, item.ended.unwrap_or(message.made_at));
    let _ = match item.ended {
        Some(ended) => {
            let ended = clock(ended, message.made_at);
            write!(line, ", for {lasted} ({since} to {ended} UTC)")
        }
        None if !item.is_firing() => write!(line, ", since {since} UTC ({lasted})"),
        None => write!(line, " since {since} UTC ({lasted})"),
    };
    if let Some(reason) = &item.reason {
        let _ = write!(line, ", because {}", clean(reason, 100));
    }
    if let Some(name) = &item.acked_by {
        let _ = write!(line, ", taken care of by {}", clean(name, MAX_NAME));
    }
    line
}

fn footer(message: &Message) -> Vec<Line> {
    let mut footer = Vec::new();
    for group in &message.groups {
        let Some(rule) = &group.rule else { continue };
        let note = rule.note.as_deref().unwrap_or_default();
        let note = clean(note, MAX_NOTE);
        if message.groups.len() == 1 {
            let name = clean(&rule.name, MAX_NAME);
            let note = if note.is_empty() {
                note
            } else {
                format!(". {note}")
            };
            footer.push(Line::Text(format!("Rule: {name}{note}")));
        }
    }

    let also = message.also.iter().take(MAX_ALSO);
    footer.extend(also.map(|line| Line::Text(clean(line, 150))));
    let links = [
        ("Alerts", &message.links.alerts),
        ("Acknowledge", &message.links.ack),
    ];
    for (label, url) in links {
        footer.extend(url.clone().map(|url| Line::Link(label, url)));
    }
    footer
}

/// At most three digits behind the point, and no zeros at the end.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The time of day, and the date where it is another day than `near`.
fn clock(at: Timestamp, near: Timestamp) -> String {
    let at = Offset::UTC.to_datetime(at);
    let is_same_day = at.date() == Offset::UTC.to_datetime(near).date();
    let date = if is_same_day {
        String::new()
    } else {
        format!("{} ", at.date())
    };
    format!("{date}{:02}:{:02}", at.hour(), at.minute())
}

/// Two units are enough: "45 s", "4 min", "1 h 4 min", "2 d 3 h".
fn duration(from: Timestamp, to: Timestamp) -> String {
    let seconds = to.as_second().saturating_sub(from.as_second()).max(0);
    let units = [(86_400, "d", 3600, "h"), (3600, "h", 60, "min")];
    let found = units.into_iter().find(|unit| seconds >= unit.0);
    match found {
        None if seconds < 60 => format!("{seconds} s"),
        None => format!("{} min", seconds / 60),
        Some((size, name, next, next_name)) => {
            let rest = seconds % size / next;
            let rest = if rest == 0 {
                String::new()
            } else {
                format!(" {rest} {next_name}")
            };
            format!("{} {name}{rest}", seconds / size)
        }
    }
}
