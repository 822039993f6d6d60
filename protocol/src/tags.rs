//! Tags: what people call a host, for selectors. A tag is a key, and a value that may be
//! empty. A host has two kinds, which never mix: those that admins set, and those of its
//! agent's configuration.

use std::collections::BTreeMap;

use crate::field::{self, Errors, Object};
use crate::json::Json;
use crate::limits::{MAX_TAG_KEY_CHARS, MAX_TAG_VALUE_CHARS, MAX_TAGS};
use crate::problem::FieldError;

/// The tags of a host from one source: values by key.
pub type Tags = BTreeMap<String, String>;

/// The body of `PATCH /server/{ip}/tags`: by key, the value to set, or `None` to remove
/// the tag. A tag that is not in the patch stays as before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TagsPatch(pub BTreeMap<String, Option<String>>);

impl TagsPatch {
    /// The patch that `json` holds.
    ///
    /// # Errors
    /// Every key that a tag may not have, every value that is not a text or `null`, is too
    /// long or has characters that cannot be seen, and a patch of more tags than a host may
    /// have.
    pub fn from_json(json: &Json<'_>) -> Result<TagsPatch, Vec<FieldError>> {
        let mut errors = Errors::default();
        let mut patch = TagsPatch::default();
        if let Some(object) = Object::new("", json, &mut errors) {
            let read = |json: &Json<'_>, field: &str, errors: &mut Errors| match json {
                Json::Null => Some(None),
                _ => {
                    let value = field::text(field, json, MAX_TAG_VALUE_CHARS, errors)?;
                    // An agent's tags are taken with them: no heartbeat is refused for
                    // how a text looks.
                    if !value.contains('\0') {
                        field::check_seen(field, Some(value), errors);
                    }
                    Some(Some(value.to_owned()))
                }
            };
            patch.0 = members(&object, &mut errors, read);
            let count = patch.0.values().flatten().count();
            if count > MAX_TAGS {
                errors.add("", too_many(count));
            }
        }
        errors.into_result(patch)
    }
}

/// The tag that `text` spells: `key` or `key=value`.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if !is_key(key) {
        return Err(key_rule());
    }
    let mut errors = Errors::default();
    field::check_text("", value, MAX_TAG_VALUE_CHARS, &mut errors);
    match errors.into_vec().pop() {
        Some(error) => Err(format!("has a value that {}", error.message)),
        None => Ok((key.to_owned(), value.to_owned())),
    }
}

/// The tags of a heartbeat.
pub(crate) fn parse(body: &Object<'_>, errors: &mut Errors) -> Tags {
    let Some(object) = body
        .optional("tags")
        .and_then(|json| Object::new("tags", json, errors))
    else {
        return Tags::new();
    };
    let count = object.members().count();
    if count > MAX_TAGS {
        errors.add("tags", too_many(count));
        return Tags::new();
    }
    members(&object, errors, |json, field, errors| {
        field::text(field, json, MAX_TAG_VALUE_CHARS, errors).map(str::to_owned)
    })
}

/// Applies the rules of [`parse`] to the tags of a heartbeat of one's own.
pub(crate) fn check(tags: &Tags, errors: &mut Errors) {
    if tags.len() > MAX_TAGS {
        return errors.add("tags", too_many(tags.len()));
    }
    for (key, value) in tags {
        let field = format!("tags.{key}");
        if is_key(key) {
            field::check_text(&field, value, MAX_TAG_VALUE_CHARS, errors);
        } else {
            errors.add(field, key_rule());
        }
    }
}

/// What `read` makes of each member whose key a tag may have.
fn members<T>(
    object: &Object<'_>,
    errors: &mut Errors,
    read: impl Fn(&Json<'_>, &str, &mut Errors) -> Option<T>,
) -> BTreeMap<String, T> {
    let mut tags = BTreeMap::new();
    for (key, json) in object.members() {
        let field = object.field(key);
        if is_key(key) {
            let value = read(json, &field, errors);
            tags.extend(value.map(|value| (key.to_owned(), value)));
        } else {
            errors.add(field, key_rule());
        }
    }
    tags
}

/// Whether a tag may have this key. Selectors have the same rule.
fn is_key(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_inner = |c: char| is_plain(c) || "._/-".contains(c);
    text.len() <= MAX_TAG_KEY_CHARS
        && text.starts_with(is_plain)
        && text.chars().all(is_inner)
}

fn key_rule() -> String {
    format!(
        "is not a tag's key, which has a-z, 0-9 and . _ / - behind the first letter or \
         digit, and at most {MAX_TAG_KEY_CHARS} characters"
    )
}

fn too_many(count: usize) -> String {
    format!("has {count} tags, more than {MAX_TAGS}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch(json: &str) -> Result<TagsPatch, Vec<String>> {
        let json: Json<'_> = serde_json::from_str(json).unwrap();
        let fields = |errors: Vec<FieldError>| {
            errors.into_iter().map(|error| error.field).collect()
        };
        TagsPatch::from_json(&json).map_err(fields)
    }

    #[test]
    fn a_patch_sets_and_removes_tags() {
        let TagsPatch(tags) =
            patch(r#"{"env": "prod", "rack/a.b_c-1": "", "0": "ü", "old": null}"#)
                .unwrap();
        let shown: Vec<_> = tags
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_deref()))
            .collect();
        assert_eq!(
            shown,
            [
                ("0", Some("ü")),
                ("env", Some("prod")),
                ("old", None),
                ("rack/a.b_c-1", Some(""))
            ]
        );
        assert_eq!(patch("{}").unwrap(), TagsPatch::default());
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        for (json, fields) in [
            (r#"["env"]"#, vec![""]),
            (
                r#"{"Env": "a", "": "a", ".a": "a", "a b": null}"#,
                vec!["Env", "", ".a", "a b"],
            ),
            (
                r#"{"a": 1, "b": true, "c": ["x"], "d": "x"}"#,
                vec!["a", "b", "c"],
            ),
            (r#"{"a": "x\u0000"}"#, vec!["a"]),
            (r#"{"a": "x\u202e", "b": "\n"}"#, vec!["a", "b"]),
            (r#"{"a": "x", "a": "y"}"#, vec!["a"]),
        ] {
            assert_eq!(patch(json).unwrap_err(), fields, "{json}");
        }

        let long = "k".repeat(63);
        let fits = format!(r#"{{"{long}": "{}"}}"#, "ü".repeat(63));
        assert!(patch(&fits).is_ok());
        let key = format!("{long}k");
        let json = format!(r#"{{"{key}": "a", "b": "{}"}}"#, "ü".repeat(64));
        assert_eq!(patch(&json).unwrap_err(), [key, "b".to_owned()]);

        let many = |count: usize, value: &str| {
            let members: Vec<String> =
                (0..count).map(|n| format!("\"k{n}\": {value}")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(patch(&many(32, "\"\"")).is_ok());
        assert_eq!(patch(&many(33, "\"\"")).unwrap_err(), [""]);
        assert!(
            patch(&many(33, "null")).is_ok(),
            "removed ones do not count"
        );
    }

    #[test]
    fn a_tag_is_written_as_a_key_or_with_a_value() {
        let tag = |text: &str| parse_tag(text).unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(tag("edge"), pair("edge", ""));
        assert_eq!(tag("edge="), pair("edge", ""));
        assert_eq!(tag("env=prod = 1"), pair("env", "prod = 1"));
        for text in ["", "=x", "Env=x", "a b", &format!("a={}", "x".repeat(64))] {
            parse_tag(text).unwrap_err();
        }
    }
}
