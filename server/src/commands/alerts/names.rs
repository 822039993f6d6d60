//! The names of channels. A channel has another id on each server, so a file names it as
//! people do.

use crate::alerting::{ALL_CHANNELS, KeptChannel, read_kept};
use crate::store::{AlertStore, ObjectKind, StoreError};

/// The channels of the store.
#[derive(Debug, Default)]
pub(super) struct Channels(Vec<NamedChannel>);

/// A channel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NamedChannel {
    pub(super) id: String,
    pub(super) kept: KeptChannel,
}

impl NamedChannel {
    pub(super) fn name(&self) -> &str {
        &self.kept.form.name
    }
}

impl Channels {
    /// Reads them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn read(
        store: &(impl AlertStore + ?Sized),
    ) -> Result<Channels, StoreError> {
        let objects = store.alert_objects(ObjectKind::Channel)?.into_iter();
        let channels = objects.filter_map(|object| {
            let kept = read_kept(&object)?;
            Some(NamedChannel {
                id: object.id,
                kept,
            })
        });
        Ok(Channels(channels.collect()))
    }

    /// The channel that `word` means: the one of this name, or else of this id.
    ///
    /// # Errors
    /// What is wrong with the word.
    pub(super) fn find(&self, word: &str) -> Result<&NamedChannel, String> {
        let named = self.0.iter().filter(|channel| channel.name() == word);
        match *named.collect::<Vec<_>>() {
            [channel] => Ok(channel),
            [] => {
                let mut all = self.0.iter();
                let by_id = all.find(|channel| channel.id == word);
                by_id.ok_or_else(|| self.explain_unknown())
            }
            ref several => {
                let ids: Vec<&str> =
                    several.iter().map(|channel| channel.id.as_str()).collect();
                let ids = ids.join(", ");
                Err(format!(
                    "is the name of several channels: use an id of {ids}"
                ))
            }
        }
    }

    /// The word that means the channel of this id: its name, unless that means another one
    /// or several. `None` if there is no such channel.
    pub(super) fn word<'a>(&'a self, id: &'a str) -> Option<&'a str> {
        let channel = self.0.iter().find(|channel| channel.id == id)?;
        let name = channel.name();
        let is_plain = name != ALL_CHANNELS
            && self.find(name).is_ok_and(|found| found.id == channel.id);
        Some(if is_plain { name } else { id })
    }

    fn explain_unknown(&self) -> String {
        if self.0.is_empty() {
            return "is not a channel: there is none yet".to_owned();
        }
        let names = self.0.iter().map(|channel| format!("{:?}", channel.name()));
        let names: Vec<String> = names.collect();
        format!("is not a channel: there are {}", names.join(", "))
    }
}

#[cfg(test)]
impl Channels {
    /// Channels of these ids and names.
    pub(super) fn of(channels: &[(&str, &str)]) -> Channels {
        let channels = channels.iter().map(|(id, name)| {
            let kept = serde_json::json!({
                "name": name, "kind": "email", "enabled": true, "min_severity": "info",
                "quiet": null, "settings": "{}",
            });
            NamedChannel {
                id: (*id).to_owned(),
                kept: serde_json::from_value(kept).unwrap(),
            }
        });
        Channels(channels.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_meant_by_its_name_and_else_by_its_id() {
        let channels = Channels::of(&[
            ("chn-1", "Mail"),
            ("chn-2", "On call"),
            ("chn-3", "On call"),
            ("chn-4", "chn-1"),
            ("chn-5", "all"),
        ]);
        let id = |word| channels.find(word).map(|channel| channel.id.as_str());
        assert_eq!(id("Mail"), Ok("chn-1"));
        assert_eq!(id("chn-2"), Ok("chn-2"));
        assert_eq!(id("chn-1"), Ok("chn-4"), "the name counts");
        assert!(id("On call").unwrap_err().contains("chn-2, chn-3"));
        assert!(id("mail").unwrap_err().contains("\"Mail\""));

        let words = ["chn-1", "chn-2", "chn-4", "chn-5", "chn-9"];
        let words = words.map(|id| channels.word(id));
        let expected = [
            Some("Mail"),
            Some("chn-2"),
            Some("chn-1"),
            Some("chn-5"),
            None,
        ];
        assert_eq!(words, expected);
    }
}
