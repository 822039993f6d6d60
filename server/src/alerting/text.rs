//! What a message says of alerts: the engine's draft becomes what channels send.

use fleetbeat_alerts::{
    Alert, DeliveryKind, Draft, DraftItem, News as AlertNews, Subject as AlertSubject,
};
use fleetbeat_channels::{
    Group, Item, Links, Message, MessageKind, News, RuleRef, Severity, Subject,
};
use fleetbeat_protocol::Timestamp;

/// Lines about what else is wrong with a host.
const MAX_ALSO: usize = 5;

/// What a message needs besides its alerts.
pub(super) struct Context<'a> {
    /// Where people read on.
    pub(super) links: Links,
    /// The names of channels, by their ids.
    pub(super) channel_name: &'a dyn Fn(&str) -> Option<String>,
    /// Now.
    pub(super) now: Timestamp,
}

/// The message of a draft.
pub(super) fn message(draft: &Draft<'_>, context: Context<'_>) -> Message {
    let delivery = draft.delivery;
    let message = Message {
        id: delivery.id.clone(),
        kind: MessageKind::Alerts,
        severity: draft.severity,
        groups: Vec::new(),
        items: Vec::new(),
        also: also(&draft.also),
        links: context.links,
        made_at: context.now,
        reply_to: reply_to(&draft.items),
    };
    match &delivery.kind {
        DeliveryKind::Alerts { .. } => Message {
            groups: groups(&draft.items, Some(draft.firing)),
            items: items(&draft.items),
            ..message
        },
        DeliveryKind::Digest => Message {
            kind: MessageKind::Digest,
            groups: groups(&draft.items, None),
            items: items(&draft.items),
            ..message
        },
        DeliveryKind::ChannelFails { channel, since } => {
            let name = (context.channel_name)(channel);
            let name = name.unwrap_or_else(|| channel.clone());
            Message {
                groups: vec![own_group()],
                items: vec![channel_fails(&delivery.id, &name, *since)],
                ..message
            }
        }
    }
}

/// That all of these alerts fire still, for a channel that forgets.
pub(super) fn alive(alerts: &[&Alert], links: Links, now: Timestamp) -> Message {
    let drafts = alerts.iter().map(|alert| DraftItem {
        alert,
        news: AlertNews::Repeat,
        reason: None,
        firing: None,
    });
    let drafts: Vec<DraftItem<'_>> = drafts.collect();
    let worst = alerts.iter().map(|alert| alert.severity).max();
    Message {
        id: format!("alive-{}", now.as_second()),
        kind: MessageKind::Alive,
        severity: worst.unwrap_or(Severity::Info),
        groups: groups(&drafts, None),
        items: items(&drafts),
        also: Vec::new(),
        links,
        made_at: now,
        reply_to: None,
    }
}

/// That somebody tries a channel.
pub(super) fn test(id: String, links: Links, now: Timestamp) -> Message {
    Message {
        id,
        kind: MessageKind::Test,
        severity: Severity::Info,
        groups: Vec::new(),
        items: Vec::new(),
        also: Vec::new(),
        links,
        made_at: now,
        reply_to: None,
    }
}

/// What is wrong, without whom.
pub(super) fn what(alert: &Alert) -> String {
    let object = &alert.object;
    match alert.when.as_str() {
        "down" => "is down".to_owned(),
        "late" => "has not been heard".to_owned(),
        "service" => format!("service {object} is not running"),
        "load" => match object.as_str() {
            "" | "load" => "load".to_owned(),
            kind => format!("{kind} load"),
        },
        "reboot" => "has booted".to_owned(),
        "conflict" => "another host says that it is this one".to_owned(),
        "clock" => "the clock is wrong".to_owned(),
        "many_down" => match alert.counted {
            Some(counted) => {
                format!("{} of {} hosts are down", counted.hosts, counted.of)
            }
            None => "many hosts are down".to_owned(),
        },
        "server_deaf" => "hears no host: most likely its own network is cut".to_owned(),
        _ => object.clone(),
    }
}

/// The unit of value and limit.
fn unit(alert: &Alert) -> &'static str {
    let metric = alert.object.split('{').next().unwrap_or_default();
    match alert.when.as_str() {
        "load" => "%",
        "metric" if metric.ends_with("_percent") => "%",
        _ => "",
    }
}

/// The groups of the items, each once, in their order. `firing` is how many alerts of the
/// one group fire; without it, those among the items are counted.
fn groups(items: &[DraftItem<'_>], firing: Option<usize>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for item in items {
        let alert = item.alert;
        let place = groups.iter().position(|group| is_group(group, alert));
        let place = place.unwrap_or_else(|| {
            groups.push(Group {
                rule: Some(RuleRef {
                    id: alert.rule.clone(),
                    name: alert.rule_name.clone(),
                    note: Some(alert.note.clone()).filter(|note| !note.is_empty()),
                }),
                labels: alert.group.clone(),
                firing: firing.unwrap_or_default(),
                hosts: alert.counted.map(|counted| counted.of),
            });
            groups.len() - 1
        });
        if firing.is_none() && alert.is_open() {
            groups[place].firing += 1;
        }
    }
    groups
}

fn is_group(group: &Group, alert: &Alert) -> bool {
    let rule = group.rule.as_ref().map(|rule| rule.id.as_str());
    rule == Some(&alert.rule) && group.labels == alert.group
}

/// The group of what the server tells of itself.
fn own_group() -> Group {
    Group {
        rule: None,
        labels: Vec::new(),
        firing: 1,
        hosts: None,
    }
}

fn items(drafts: &[DraftItem<'_>]) -> Vec<Item> {
    let groups = groups(drafts, None);
    let place = |alert: &Alert| groups.iter().position(|group| is_group(group, alert));
    let item = |draft: &DraftItem<'_>| {
        let group = place(draft.alert).unwrap_or_default();
        item(draft, group)
    };
    drafts.iter().map(item).collect()
}

fn item(draft: &DraftItem<'_>, group: usize) -> Item {
    let alert = draft.alert;
    let news = match draft.news {
        AlertNews::Firing | AlertNews::Short => News::Firing,
        AlertNews::Resolved => News::Resolved,
        AlertNews::Repeat => News::Repeat,
        AlertNews::Flapping => News::Flapping,
        AlertNews::Settled => News::Settled,
    };
    let is_over = matches!(draft.news, AlertNews::Short | AlertNews::Resolved);
    // What the others measure is in what is said.
    let is_measured = matches!(alert.when.as_str(), "load" | "metric");
    Item {
        alert: alert.id.clone(),
        group,
        news,
        severity: alert.severity,
        subject: subject(alert),
        what: what(alert),
        value: alert.value.filter(|_| is_measured),
        limit: alert.limit.filter(|_| is_measured),
        unit: unit(alert).to_owned(),
        since: alert.since,
        ended: alert.ended_at.filter(|_| is_over),
        reason: draft.reason.map(|reason| reason.as_str().to_owned()),
        acked_by: alert.ack.as_ref().map(|ack| ack.by.clone()),
    }
}

fn channel_fails(delivery: &str, name: &str, since: Timestamp) -> Item {
    Item {
        alert: delivery.to_owned(),
        group: 0,
        news: News::Firing,
        severity: Severity::Critical,
        subject: Subject::Server,
        what: format!("cannot send messages to the channel {name}"),
        value: None,
        limit: None,
        unit: String::new(),
        since,
        ended: None,
        reason: None,
        acked_by: None,
    }
}

fn subject(alert: &Alert) -> Subject {
    let seen = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    match &alert.subject {
        AlertSubject::Host(host) => Subject::Host {
            server_id: host.server_id.clone(),
            name: host.hostname.clone(),
            ip: Some(host.ip),
            country: seen(&host.country_code),
            city: seen(&host.city),
        },
        AlertSubject::Group(pairs) => {
            let join = |part: fn(&(String, String)) -> &str| {
                pairs.iter().map(part).collect::<Vec<_>>().join(", ")
            };
            Subject::Group {
                label: join(|(label, _)| label),
                value: join(|(_, value)| value),
            }
        }
        AlertSubject::Server => Subject::Server,
    }
}

/// What else fires on the host.
fn also(others: &[&Alert]) -> Vec<String> {
    let mut lines: Vec<String> = others
        .iter()
        .take(MAX_ALSO)
        .map(|alert| what(alert))
        .collect();
    if others.len() > MAX_ALSO {
        lines.push(format!("{} more", others.len() - MAX_ALSO));
    }
    lines
}

/// The message that told the firings, where there is one for all.
fn reply_to(items: &[DraftItem<'_>]) -> Option<String> {
    let mut firings = items.iter().map(|item| item.firing.as_ref());
    let first = firings.next().flatten()?;
    let is_same = firings.all(|other| other.is_some_and(|other| other.id == first.id));
    is_same.then(|| first.id.clone())
}
