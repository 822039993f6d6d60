//! The bodies between agent, server and dashboard, and the rules of each body.
//!
//! Types and rules only: nothing in here does I/O or reads a clock. `golden/` holds one
//! JSON body for each type. The tests here and the dashboard's tests read the same files,
//! so neither side can drift alone. Types only ever gain fields.
//!
//! A body from outside is read in two steps. serde parses the body into a [`Json`], which
//! keeps everything that was sent. Then a `from_json` such as
//! [`Heartbeat::from_json`] applies the rules and reports each broken rule with the
//! field. A derived `Deserialize` would stop at the first.

mod account;
mod agent_id;
mod agent_key;
mod alerting;
mod api_token;
mod bulk;
mod enrollment;
mod field;
mod heartbeat;
mod ip;
mod json;
mod limits;
mod matched;
mod offer;
mod problem;
mod server;
mod settings;
mod state;
mod tags;
mod timestamp;
mod user;

pub use account::{Account, Role, Token};
pub use agent_id::AgentId;
pub use agent_key::{
    AGENT_KEY_PREFIX, AGENT_KEY_SECRET_BYTES, new_agent_key, owner_of_key,
};
pub use alerting::{
    AckNote, ChannelForm, ClockTime, Condition, Day, Escalation, GroupLabel, Limit,
    LoadKind, MAX_MUTE_LIFE, MAX_WEEKLY_LIFE, Mute, Quiet, Rule, Severity, Side,
    Vocabulary, Weekly, show_span,
};
pub use api_token::{ApiToken, NewApiToken, Scope, ShownApiToken};
pub use bulk::{BulkAnswer, BulkOrder, BulkPurpose, BulkSet};
pub use enrollment::{
    Enrollment, EnrollmentAnswer, KeyHash, MAX_CODE_LIFE, NewCode, USUAL_CODE_LIFE,
};
pub use heartbeat::{
    BatchAnswer, Heartbeat, HeartbeatAnswer, Load, RejectedHeartbeat, Service,
};
pub use ip::{is_everybodys, is_nobodys, parse_ip};
pub use json::Json;
pub use limits::{
    MAX_BATCH, MAX_BATCH_BYTES, MAX_HEARTBEAT_BYTES, MAX_METRICS, MAX_NAME_CHARS,
    MAX_SERVICES, MAX_TAGS, MAX_TEXT_CHARS,
};
pub use matched::{FullProblem, MatchedHost, MatchedHosts};
pub use offer::{GeoSource, LoadReason, Offer, ShownGeo, ShownServer};
pub use problem::{
    DELETED, FieldError, IDENTITY_CONFLICT, OWN_KEY_NEEDED, Problem, TotpDemand,
};
pub use server::{Flags, FlagsPatch, Server, Status};
pub use settings::{Billing, Counted, Geo, Settings, SettingsPatch};
pub use state::{HostState, MAX_STATE_LIFE, Mode, StatePatch};
pub use tags::{Tags, TagsPatch, parse_tag};
pub use timestamp::Timestamp;
pub use user::{
    NewUser, PasswordChange, ScopePatch, SecondFactor, TotpConfirmation, TotpRequest,
    TotpSetup, UserPatch,
};
