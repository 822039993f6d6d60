//! What every backend must do with API tokens.

use fleetbeat_protocol::{Role, Scope, Timestamp};
use serde_json::{Value, json};

use super::events::{all, query, watch};
use super::fixtures::{act, ip, now};
use super::users::user;
use crate::store::{Act, ApiToken, Conflict, EventKind, Store, StoreError, Who};

fn token(id: &str, owner: &str, scopes: &[Scope]) -> ApiToken {
    let created_at = now();
    ApiToken {
        name: format!("token {id} \u{1b}[2J"),
        networks: vec!["192.0.2.0/24".parse().unwrap(), "::/0".parse().unwrap()],
        created_at,
        expires_at: created_at + jiff::SignedDuration::from_hours(24),
        ..ApiToken::example(id, owner, scopes)
    }
}

pub(super) fn tokens_are_kept_until_they_are_revoked(store: &dyn Store) {
    assert!(store.api_tokens().unwrap().is_empty());
    let first = token("first", "ann", &Scope::ALL);
    let second = ApiToken {
        networks: Vec::new(),
        created_at: first.created_at + jiff::SignedDuration::from_secs(1),
        ..token("second", "ann", &[Scope::SdRead])
    };
    store.add_api_token(&second, &act()).unwrap();
    store.add_api_token(&first, &act()).unwrap();
    assert_eq!(store.api_tokens().unwrap(), [first.clone(), second.clone()]);

    let day: Timestamp = "2026-02-03T00:00:00Z".parse().unwrap();
    store.note_api_token_use("second", day).unwrap();
    store.note_api_token_use("unknown", day).unwrap();
    let used = ApiToken {
        last_used_on: Some(day),
        ..second
    };
    assert_eq!(store.api_tokens().unwrap(), [first, used.clone()]);

    let by_token = Act {
        who: Who::ApiToken {
            user: "ann".to_owned(),
            id: "second".to_owned(),
        },
        address: Some(ip("192.0.2.7")),
        at: now(),
    };
    store.remove_api_token("first", &by_token).unwrap();
    let again = store.remove_api_token("first", &act());
    assert!(matches!(
        again,
        Err(StoreError::Conflict(Conflict::NoSuchToken(id))) if id == "first"
    ));
    assert_eq!(store.api_tokens().unwrap(), [used]);

    watch(store, now());
    let events = all(store, &query(None, 100));
    let told: Vec<(EventKind, Option<&str>)> = events
        .iter()
        .map(|event| (event.event.kind, event.event.user.as_deref()))
        .collect();
    let (created, revoked) = (EventKind::TokenCreated, EventKind::TokenRevoked);
    let ann = Some("ann");
    assert_eq!(told, [(created, ann), (created, ann), (revoked, ann)]);
    let facts = |n: usize| Value::Object(events[n].event.facts.clone());
    let name = "token first \u{1b}[2J";
    assert_eq!(
        facts(2),
        json!({"id": "first", "name": name, "token": "second"})
    );
    assert_eq!(facts(0)["scopes"], json!(["sd:read"]));
    let text = format!("{events:?}");
    assert!(!text.contains("hash of"), "{text}");
    let actor = &events[2].event.act.as_ref().unwrap().who;
    assert_eq!(*actor, Who::User("ann".to_owned()), "the user is the actor");
}

pub(super) fn tokens_go_with_their_user(store: &dyn Store) {
    for name in ["ann", "bob"] {
        store
            .add_user(&user(name, Role::Superadmin), &act())
            .unwrap();
    }
    for (id, owner) in [("1", "ann"), ("2", "bob"), ("3", "ann")] {
        let token = token(id, owner, &[Scope::ServersRead]);
        store.add_api_token(&token, &act()).unwrap();
    }
    store.remove_user("ann", &act()).unwrap();
    let left: Vec<String> = store
        .api_tokens()
        .unwrap()
        .into_iter()
        .map(|token| token.id)
        .collect();
    assert_eq!(left, ["2"]);
}
