//! How a host gets a key of its own: the bodies about enrolment and their rules.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::agent_id::AgentId;
use crate::field::{self, Errors, Object};
use crate::json::Json;
use crate::limits::MAX_TEXT_CHARS;
use crate::problem::FieldError;
use crate::server::FlagsPatch;

/// Bytes of a SHA-256.
const HASH_BYTES: usize = 32;
/// Most uses of one code.
const MAX_USES: f64 = 100_000.0;
/// Most networks that a code may name.
const MAX_NETWORKS: usize = 64;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The life of a code that says nothing else.
pub const USUAL_CODE_LIFE: Duration = DAY;
/// Longest life of a code.
pub const MAX_CODE_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The body of `POST /enroll`: a host asks for its key to be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Enrollment {
    /// The code that a superadmin has given out. Left out by a host that has a key and
    /// replaces it: the key in the header speaks for the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The host.
    pub agent_id: AgentId,
    /// The SHA-256 of the whole key, in hexadecimal digits.
    pub key_sha256: KeyHash,
    /// The host's name, for people.
    pub hostname: String,
}

/// The SHA-256 of a key. Nobody gets from it to the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(pub [u8; HASH_BYTES]);

impl KeyHash {
    /// The hash that 64 hexadecimal digits spell.
    #[must_use]
    pub fn parse(text: &str) -> Option<KeyHash> {
        let is_hex = text.len() == 2 * HASH_BYTES
            && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex {
            return None;
        }
        let mut hash = [0; HASH_BYTES];
        for (byte, at) in hash.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(KeyHash(hash))
    }

    /// The hexadecimal digits.
    #[must_use]
    pub fn show(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Serialize for KeyHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.show())
    }
}

impl Enrollment {
    /// The enrolment that `json` holds. Unknown members are ignored.
    ///
    /// # Errors
    /// Every broken rule, each with the field's path.
    pub fn from_json(json: &Json<'_>) -> Result<Enrollment, Vec<FieldError>> {
        let mut errors = Errors::default();
        let Some(body) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };

        let code = body.optional("code").and_then(|json| {
            field::text("code", json, MAX_TEXT_CHARS, &mut errors).map(str::to_owned)
        });
        let agent_id = body
            .required("agent_id", &mut errors)
            .and_then(|json| field::agent_id("agent_id", json, &mut errors));
        let key_sha256 = body
            .required("key_sha256", &mut errors)
            .and_then(|json| parse_hash(json, &mut errors));
        let hostname = body.optional("hostname").and_then(|json| {
            field::text("hostname", json, MAX_TEXT_CHARS, &mut errors).map(str::to_owned)
        });

        match (agent_id, key_sha256) {
            (Some(agent_id), Some(key_sha256)) => errors.into_result(Enrollment {
                code,
                agent_id,
                key_sha256,
                hostname: hostname.unwrap_or_default(),
            }),
            _ => Err(errors.into_vec()),
        }
    }
}

fn parse_hash(json: &Json<'_>, errors: &mut Errors) -> Option<KeyHash> {
    let text = field::text("key_sha256", json, MAX_TEXT_CHARS, errors)?;
    let hash = KeyHash::parse(text);
    if hash.is_none() {
        errors.add("key_sha256", "must be 64 hexadecimal digits");
    }
    hash
}

/// The answer of `POST /enroll`: the key is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollmentAnswer {
    /// Always `ok`.
    pub status: String,
}

/// The body of `POST /enrollment-codes`: what a new code allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCode {
    /// How many keys may be enrolled with it.
    pub max_uses: u32,
    /// How long it may be used.
    pub expires_in: Duration,
    /// What the flags of the hosts that it enrols begin with.
    pub flags: FlagsPatch,
    /// The networks from which it may be used, as texts; none for all.
    pub networks: Vec<String>,
    /// Whether a host that has a key, and has lost it, may enrol again from the address
    /// that its record has.
    pub reinstall: bool,
    /// What it is for, for people.
    pub note: String,
}

impl Default for NewCode {
    /// A code for one host.
    fn default() -> NewCode {
        NewCode {
            max_uses: 1,
            expires_in: USUAL_CODE_LIFE,
            flags: FlagsPatch::default(),
            networks: Vec::new(),
            reinstall: false,
            note: String::new(),
        }
    }
}

impl NewCode {
    /// The code that `json` asks for. A member that is left out has its default.
    ///
    /// # Errors
    /// Every broken rule, and every member that a code does not have.
    pub fn from_json(json: &Json<'_>) -> Result<NewCode, Vec<FieldError>> {
        let mut errors = Errors::default();
        let mut code = NewCode::default();
        let Some(body) = Object::new("", json, &mut errors) else {
            return Err(errors.into_vec());
        };

        for (name, value) in body.members() {
            code.set(name, value, &mut errors);
        }
        errors.into_result(code)
    }

    fn set(&mut self, name: &str, value: &Json<'_>, errors: &mut Errors) {
        match name {
            "max_uses" => {
                self.max_uses = parse_uses(value, errors).unwrap_or(self.max_uses);
            }
            "expires_in" => {
                let life = field::life(name, value, MINUTE..=MAX_CODE_LIFE, errors);
                self.expires_in = life.unwrap_or(self.expires_in);
            }
            "flags" => self.flags = FlagsPatch::read(name, value, errors),
            "networks" => self.networks = parse_networks(value, errors),
            "reinstall" => {
                let reinstall = field::boolean(name, value, errors);
                self.reinstall = reinstall.unwrap_or_default();
            }
            "note" => {
                let note = field::text(name, value, MAX_TEXT_CHARS, errors);
                field::check_seen(name, note, errors);
                self.note = note.unwrap_or_default().to_owned();
            }
            _ => errors.add(
                name,
                "is not a part of a code: use max_uses, expires_in, flags, networks, \
                 reinstall and note",
            ),
        }
    }
}

fn parse_uses(json: &Json<'_>, errors: &mut Errors) -> Option<u32> {
    let uses = field::number("max_uses", json, errors)?;
    if uses.fract() != 0.0 || !(1.0..=MAX_USES).contains(&uses) {
        let message = format!("must be a whole number from 1 to {MAX_USES}");
        errors.add("max_uses", message);
        return None;
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and in range"
    )]
    Some(uses as u32)
}

fn parse_networks(json: &Json<'_>, errors: &mut Errors) -> Vec<String> {
    let Json::Array(items) = json else {
        errors.add("networks", format!("must be an array, not {}", json.kind()));
        return Vec::new();
    };
    if items.len() > MAX_NETWORKS {
        errors.add("networks", format!("has more than {MAX_NETWORKS} elements"));
        return Vec::new();
    }
    let texts = items.iter().enumerate().filter_map(|(index, item)| {
        field::text(&format!("networks[{index}]"), item, MAX_TEXT_CHARS, errors)
    });
    texts.map(str::to_owned).collect()
}
