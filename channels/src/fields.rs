//! Reads the settings of a channel, field by field, and notes every fault, so that one
//! answer tells all of them. What was read is noted, too: that is what is stored.

use std::borrow::Cow;
use std::collections::BTreeMap;

use fleetbeat_protocol::{FieldError, Json};
use serde_json::{Map, Value, json};

use crate::guard::Guard;
use crate::url::Url;

/// What was read: what anybody may see, and what nobody sees again.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Values {
    pub(crate) public: Map<String, Value>,
    pub(crate) secrets: BTreeMap<String, String>,
}

/// An object of settings that is being read.
pub(crate) struct Fields<'a> {
    members: &'a [(Cow<'a, str>, Json<'a>)],
    /// The settings that these replace. Secrets that are not given are taken from there.
    before: Option<&'a Values>,
    /// `None` for settings that were accepted before.
    guard: Option<&'a Guard>,
    values: Values,
    errors: Vec<FieldError>,
    known: Vec<&'static str>,
    /// The field by which messages go to another place than before.
    moved: Option<&'static str>,
}

/// Whether a field may be left out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
}

impl<'a> Fields<'a> {
    /// # Errors
    /// `json` is not an object, or names a field twice.
    pub(crate) fn new(
        json: &'a Json<'a>,
        before: Option<&'a Values>,
        guard: Option<&'a Guard>,
    ) -> Result<Fields<'a>, Vec<FieldError>> {
        let Json::Object(members) = json else {
            let message = format!("must be an object, not {}", json.kind());
            return Err(vec![FieldError::new("", message)]);
        };
        let is_twice = |(index, (name, _)): (usize, &(Cow<'a, str>, Json<'a>))| {
            let is_same = members[..index].iter().any(|(other, _)| other == name);
            is_same.then(|| FieldError::new(name.as_ref(), "is given twice"))
        };
        let twice: Vec<_> = members.iter().enumerate().filter_map(is_twice).collect();
        if !twice.is_empty() {
            return Err(twice);
        }

        Ok(Fields {
            members,
            before,
            guard,
            values: Values::default(),
            errors: Vec::new(),
            known: Vec::new(),
            moved: None,
        })
    }

    /// What was read.
    ///
    /// # Errors
    /// Every fault, also fields that nobody has asked for.
    pub(crate) fn finish(mut self) -> Result<Values, Vec<FieldError>> {
        let known = &self.known;
        let others = self.members.iter().map(|(name, _)| name.as_ref());
        for name in others.filter(|name| !known.contains(name)) {
            let message = format!("is not a field here: use {}", known.join(", "));
            self.errors.push(FieldError::new(name, message));
        }
        if self.errors.is_empty() {
            Ok(self.values)
        } else {
            Err(self.errors)
        }
    }

    pub(crate) fn fault(&mut self, name: &str, message: impl Into<String>) {
        self.errors.push(FieldError::new(name, message));
    }

    /// The value of a field that is given and not null.
    fn get(&mut self, name: &'static str) -> Option<&'a Json<'a>> {
        self.known.push(name);
        let found = self.members.iter().find(|(member, _)| member == name)?;
        Some(&found.1).filter(|value| **value != Json::Null)
    }

    fn missing(&mut self, name: &str, need: Need) {
        if need == Need::Required {
            self.fault(name, "is missing");
        }
    }

    /// A text of 1 to `max` characters, all of which can be seen.
    pub(crate) fn text(
        &mut self,
        name: &'static str,
        max: usize,
        need: Need,
    ) -> Option<String> {
        let Some(value) = self.get(name) else {
            self.missing(name, need);
            return None;
        };
        let text = self.short(name, value, max)?.to_owned();
        self.values.public.insert(name.to_owned(), json!(text));
        Some(text)
    }

    /// A text of many lines, up to `max` characters.
    pub(crate) fn long_text(
        &mut self,
        name: &'static str,
        max: usize,
        need: Need,
    ) -> Option<String> {
        let Some(value) = self.get(name) else {
            self.missing(name, need);
            return None;
        };
        let Json::Text(text) = value else {
            self.fault(name, format!("must be a string, not {}", value.kind()));
            return None;
        };
        if text.chars().count() > max || text.contains('\0') {
            self.fault(
                name,
                format!("must have at most {max} characters and no NUL"),
            );
            return None;
        }
        self.values.public.insert(name.to_owned(), json!(text));
        Some(text.clone().into_owned())
    }

    fn short(&mut self, name: &str, json: &'a Json<'a>, max: usize) -> Option<&'a str> {
        let Json::Text(text) = json else {
            self.fault(name, format!("must be a string, not {}", json.kind()));
            return None;
        };
        let length = text.chars().count();
        if length == 0 || length > max {
            self.fault(name, format!("must have 1 to {max} characters"));
            None
        } else if text.chars().any(char::is_control) {
            self.fault(name, "must not contain control characters");
            None
        } else {
            Some(text)
        }
    }

    /// One of `words`, of which the first is meant if none is given.
    pub(crate) fn choice(
        &mut self,
        name: &'static str,
        words: &[&'static str],
    ) -> Option<&'static str> {
        let word = match self.get(name) {
            None => words.first().copied(),
            Some(Json::Text(text)) => words.iter().copied().find(|word| word == text),
            Some(_) => None,
        };
        if word.is_none() {
            self.fault(name, format!("must be one of {}", words.join(", ")));
        }
        self.values.public.insert(name.to_owned(), json!(word?));
        self.notice_move(name);
        word
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn whole(
        &mut self,
        name: &'static str,
        least: i64,
        most: i64,
    ) -> Option<i64> {
        let value = self.get(name)?;
        let number = match value {
            Json::Number(number) if number.fract() == 0.0 => {
                number.to_string().parse().ok()
            }
            _ => None,
        };
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.fault(
                name,
                format!("must be a whole number from {least} to {most}"),
            );
        }
        self.values.public.insert(name.to_owned(), json!(number?));
        number
    }

    /// 1 to `most` texts.
    pub(crate) fn texts(
        &mut self,
        name: &'static str,
        most: usize,
    ) -> Option<Vec<String>> {
        let value = self.get(name);
        let Some(Json::Array(elements)) = value else {
            let kind = value.map_or("missing", Json::kind);
            self.fault(name, format!("must be an array of strings, not {kind}"));
            return None;
        };
        if elements.is_empty() || elements.len() > most {
            self.fault(name, format!("must have 1 to {most} elements"));
            return None;
        }

        let mut texts = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            let field = format!("{name}[{index}]");
            texts.extend(self.short(&field, element, 320).map(str::to_owned));
        }
        self.values.public.insert(name.to_owned(), json!(texts));
        Some(texts)
    }

    /// A URL that anybody may see; `usual` if none is given.
    pub(crate) fn url(&mut self, name: &'static str, usual: Option<&str>) -> Option<Url> {
        let text = match (self.get(name), usual) {
            (Some(Json::Text(text)), _) => text.as_ref(),
            (Some(value), _) => {
                self.fault(name, format!("must be a string, not {}", value.kind()));
                return None;
            }
            (None, Some(usual)) => usual,
            (None, None) => {
                self.fault(name, "is missing");
                return None;
            }
        };
        let url = self.checked_url(name, text)?;
        self.values.public.insert(name.to_owned(), json!(url.text));
        self.notice_move(name);
        Some(url)
    }

    /// A URL that is a secret, because whoever knows it may post. Its host may be seen.
    pub(crate) fn secret_url(
        &mut self,
        name: &'static str,
        usual: Option<&str>,
    ) -> Option<Url> {
        let is_given = matches!(self.peek(name), Some(Json::Text(_)));
        let text = match usual {
            Some(usual) if !is_given && !self.had(name) => {
                self.known.push(name);
                usual.to_owned()
            }
            _ => self.secret(name, 2000, Need::Required)?,
        };
        let url = self.checked_url(name, &text)?;
        let before = self.before.and_then(|before| before.secrets.get(name));
        if before.is_some_and(|before| *before != url.text) {
            self.moved = Some(name);
        }
        self.values.secrets.insert(name.to_owned(), text);
        Some(url)
    }

    /// A secret of visible ASCII characters. A secret that is not given, or given as the
    /// API shows it (`{"set": true}`), stays as it was; null takes it away.
    pub(crate) fn secret(
        &mut self,
        name: &'static str,
        max: usize,
        need: Need,
    ) -> Option<String> {
        let given = self.peek(name);
        self.known.push(name);
        let secret = match given {
            Some(Json::Text(text)) => text.clone().into_owned(),
            Some(Json::Null) => {
                self.missing(name, need);
                return None;
            }
            None | Some(Json::Object(_)) => self.kept(name, need)?,
            Some(other) => {
                self.fault(name, format!("must be a string, not {}", other.kind()));
                return None;
            }
        };

        let is_visible = secret.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if secret.is_empty() || secret.len() > max || !is_visible {
            let message = format!("must have 1 to {max} visible ASCII characters");
            self.fault(name, message);
            return None;
        }
        self.values.secrets.insert(name.to_owned(), secret.clone());
        Some(secret)
    }

    /// The secret of before, unless messages go to another place now.
    fn kept(&mut self, name: &'static str, need: Need) -> Option<String> {
        let before = self.before.and_then(|before| before.secrets.get(name));
        match (before, self.moved) {
            (Some(_), Some(moved)) => {
                let message = format!("must be given again, because {moved} has changed");
                self.fault(name, message);
                None
            }
            (Some(before), None) => Some(before.clone()),
            (None, _) => {
                self.missing(name, need);
                None
            }
        }
    }

    fn peek(&self, name: &str) -> Option<&'a Json<'a>> {
        let found = self.members.iter().find(|(member, _)| member == name);
        found.map(|(_, value)| value)
    }

    fn had(&self, name: &str) -> bool {
        self.before
            .is_some_and(|before| before.secrets.contains_key(name))
    }

    fn checked_url(&mut self, name: &str, text: &str) -> Option<Url> {
        let url = Url::parse(text).and_then(|url| {
            let guard = self.guard.map(|guard| guard.check_url(&url));
            guard.unwrap_or(Ok(())).map(|()| url)
        });
        match url {
            Ok(url) => Some(url),
            Err(message) => {
                self.fault(name, message);
                None
            }
        }
    }

    /// Notes that a public field which says where messages go is another one now.
    fn notice_move(&mut self, name: &'static str) {
        let Some(before) = self.before else { return };
        if before.public.get(name) != self.values.public.get(name) {
            self.moved = Some(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use fleetbeat_protocol::Json;

    use super::{Fields, Need, Values};
    use crate::guard::Guard;

    fn read(
        text: &str,
        before: Option<&Values>,
    ) -> Result<Values, Vec<(String, String)>> {
        let json: Json<'_> = serde_json::from_str(text).unwrap();
        let guard = Guard::default();
        let read = Fields::new(&json, before, Some(&guard)).and_then(|mut fields| {
            fields.url("url", Some("https://a.example"));
            fields.secret("token", 20, Need::Required);
            fields.secret("other", 20, Need::Optional);
            fields.text("name", 4, Need::Optional);
            fields.whole("number", -5, 5);
            fields.choice("format", &["one", "two"]);
            fields.finish()
        });
        read.map_err(|errors| {
            let pair =
                |error: fleetbeat_protocol::FieldError| (error.field, error.message);
            errors.into_iter().map(pair).collect()
        })
    }

    fn faults(text: &str, before: Option<&Values>) -> Vec<String> {
        let faults = read(text, before).err().unwrap_or_default();
        faults.into_iter().map(|(field, _)| field).collect()
    }

    #[test]
    fn every_fault_is_told() {
        let text = r#"{"url": "http://10.0.0.1", "token": "é", "name": "", "number": 1.5,
                       "format": "three", "nmae": 1}"#;
        let fields = ["url", "token", "name", "number", "format", "nmae"];
        assert_eq!(faults(text, None), fields);
        assert_eq!(faults("[]", None), [""]);
        assert_eq!(faults(r#"{"a": 1, "a": 2}"#, None), ["a"]);
        assert_eq!(faults("{}", None), ["token"]);
    }

    #[test]
    fn a_secret_stays_until_messages_go_elsewhere() {
        let before = read(r#"{"token": "t", "other": "o"}"#, None).unwrap();
        let kept =
            read(r#"{"token": {"set": true}, "name": "n"}"#, Some(&before)).unwrap();
        assert_eq!(kept.secrets, before.secrets);

        let removed = read(r#"{"other": null}"#, Some(&before)).unwrap();
        assert_eq!(removed.secrets.len(), 1);
        assert_eq!(faults(r#"{"token": null}"#, Some(&before)), ["token"]);

        let elsewhere = r#"{"url": "https://b.example"}"#;
        assert_eq!(faults(elsewhere, Some(&before)), ["token", "other"]);
        let elsewhere = r#"{"url": "https://b.example", "token": "u", "other": null}"#;
        assert!(read(elsewhere, Some(&before)).is_ok());
    }
}
