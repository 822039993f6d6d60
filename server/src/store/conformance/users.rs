//! What every backend must do with users.

use std::thread;

use fleetbeat_protocol::Role;
use serde_json::{Value, json};

use super::events::{all, query, watch};
use super::fixtures::{act, now};
use crate::fleet::scope::HostScope;
use crate::store::{
    Act, Conflict, ScopeChange, Store, StoreError, Totp, User, UserChange,
};

/// A user with a hash and a version that a test can know.
pub(super) fn user(name: &str, role: Role) -> User {
    User {
        id: format!("id of {name}"),
        username: name.to_owned(),
        role,
        hashed_password: format!("hash of {name}"),
        token_version: "1".to_owned(),
        scope: None,
        totp: Totp::default(),
    }
}

fn with_role(role: Role) -> UserChange {
    UserChange::Account {
        role: Some(role),
        hashed_password: None,
        scope: ScopeChange::Keep,
        token_version: "2".to_owned(),
    }
}

fn is_last(result: &Result<impl Sized, StoreError>) -> bool {
    matches!(
        result,
        Err(StoreError::Conflict(Conflict::LastSuperadmin(_)))
    )
}

fn is_unknown(result: &Result<impl Sized, StoreError>) -> bool {
    matches!(result, Err(StoreError::Conflict(Conflict::NoSuchUser(_))))
}

/// What the events tell of users: kind, user and facts.
fn told(store: &dyn Store) -> Vec<(&'static str, String, Value)> {
    watch(store, now());
    let events = all(store, &query(None, 100)).into_iter();
    let told = events.filter_map(|event| {
        let event = event.event;
        Some((event.kind.as_str(), event.user?, Value::Object(event.facts)))
    });
    told.collect()
}

pub(super) fn a_password_is_changed_by_whoever_has_proven_the_one_that_counts(
    store: &dyn Store,
) {
    store
        .add_user(&user("ann", Role::Superadmin), &act())
        .unwrap();
    let own = |proven: &str, version: &str| UserChange::OwnPassword {
        hashed_password: format!("hash of {version}"),
        proven: proven.to_owned(),
        token_version: version.to_owned(),
    };
    let change = |change: &UserChange| store.change_user("ann", change, &act()).unwrap();
    let begun = UserChange::TotpBegun {
        secret: "pending".to_owned(),
    };
    change(&begun).unwrap();
    let changed = change(&own("1", "2")).unwrap();
    assert_eq!(changed.hashed_password, "hash of 2");
    assert_eq!(
        changed.totp.pending, None,
        "who knew the old one may have begun"
    );
    assert_eq!(
        change(&own("1", "3")),
        None,
        "another password counts by now"
    );
    assert_eq!(store.user("ann").unwrap(), Some(changed));
    let passwords = told(store)
        .into_iter()
        .filter(|told| told.0 == "user.password");
    assert_eq!(passwords.count(), 1);
}

pub(super) fn users_are_kept(store: &dyn Store) {
    assert!(store.users().unwrap().is_empty());
    let (ann, bob) = (user("ann", Role::Readonly), user("bob", Role::Superadmin));
    store.add_user(&bob, &act()).unwrap();
    store.add_user(&ann, &act()).unwrap();
    assert_eq!(store.users().unwrap(), [ann.clone(), bob.clone()]);
    let taken = store.add_user(&user("ann", Role::Admin), &act());
    assert!(matches!(
        taken,
        Err(StoreError::Conflict(Conflict::UserExists(name))) if name == "ann"
    ));
    assert_eq!(
        store.user("ann").unwrap(),
        Some(ann.clone()),
        "the first stays"
    );

    let change = UserChange::Account {
        role: Some(Role::Admin),
        hashed_password: Some("another hash".to_owned()),
        scope: ScopeChange::Keep,
        token_version: "2".to_owned(),
    };
    let changed = User {
        role: Role::Admin,
        hashed_password: "another hash".to_owned(),
        token_version: "2".to_owned(),
        ..ann
    };
    for _ in 0..2 {
        let result = store.change_user("ann", &change, &act()).unwrap();
        assert_eq!(result.as_ref(), Some(&changed), "once and again");
    }
    assert_eq!(store.user("ann").unwrap(), Some(changed));
    assert!(is_unknown(&store.change_user("eve", &change, &act())));
    assert_eq!(store.user("eve").unwrap(), None);

    let out = UserChange::LoggedOut {
        token_version: "3".to_owned(),
    };
    let result = store.change_user("bob", &out, &act()).unwrap().unwrap();
    assert_eq!(result.token_version, "3");
    let name = |name: &str| name.to_owned();
    assert_eq!(
        told(store),
        [
            ("user.created", name("bob"), json!({"role": "superadmin"})),
            ("user.created", name("ann"), json!({"role": "readonly"})),
            (
                "user.changed",
                name("ann"),
                json!({"from": "readonly", "to": "admin"})
            ),
            ("user.password", name("ann"), json!({})),
            ("user.logged_out", name("bob"), json!({})),
        ]
    );
}

pub(super) fn a_user_is_found_by_any_spelling_of_the_name(store: &dyn Store) {
    let joerg = user("J\u{f6}rg", Role::Admin);
    store.add_user(&joerg, &act()).unwrap();
    for spelling in ["J\u{f6}rg", "j\u{f6}rg", "JO\u{308}RG"] {
        assert_eq!(store.user(spelling).unwrap(), Some(joerg.clone()));
        let taken = store.add_user(&user(spelling, Role::Readonly), &act());
        assert!(matches!(
            taken,
            Err(StoreError::Conflict(Conflict::UserExists(name))) if name == "J\u{f6}rg"
        ));
    }
    assert_eq!(store.user("jorg").unwrap(), None);

    let changed = store.change_user("JÖRG", &with_role(Role::Readonly), &act());
    assert_eq!(changed.unwrap().unwrap().username, "J\u{f6}rg");
    store.remove_user("jörg", &act()).unwrap();
    assert!(store.users().unwrap().is_empty());
    store.add_user(&user("jörg", Role::Admin), &act()).unwrap();
}

pub(super) fn the_last_superadmin_stays(store: &dyn Store) {
    for user in [
        user("ann", Role::Superadmin),
        user("bob", Role::Superadmin),
        user("eve", Role::Admin),
    ] {
        store.add_user(&user, &act()).unwrap();
    }
    store
        .change_user("ann", &with_role(Role::Readonly), &act())
        .unwrap();
    let demoted = store.change_user("bob", &with_role(Role::Admin), &act());
    assert!(is_last(&demoted));
    assert!(is_last(&store.remove_user("bob", &act())));
    assert_eq!(store.user("bob").unwrap().unwrap().role, Role::Superadmin);

    store.remove_user("eve", &act()).unwrap();
    assert!(is_unknown(&store.remove_user("eve", &act())));
    store
        .change_user("ann", &with_role(Role::Superadmin), &act())
        .unwrap();
    store.remove_user("bob", &act()).unwrap();
    assert!(is_last(&store.remove_user("ann", &act())));
    assert_eq!(store.users().unwrap().len(), 1);
}

fn scope(text: &str) -> HostScope {
    HostScope::parse(text).unwrap()
}

fn with_scope(scope: ScopeChange) -> UserChange {
    UserChange::Account {
        role: None,
        hashed_password: None,
        scope,
        token_version: "2".to_owned(),
    }
}

pub(super) fn a_scope_is_kept_and_told(store: &dyn Store) {
    let all = user("ann", Role::Admin);
    let scoped = User {
        scope: Some(scope("tag.customer = acme and not paid")),
        ..user("bob", Role::Readonly)
    };
    for user in [&all, &scoped] {
        store.add_user(user, &act()).unwrap();
    }
    assert_eq!(store.users().unwrap(), [all, scoped.clone()]);

    let change = |name: &str, change: &UserChange| {
        let changed = store.change_user(name, change, &act()).unwrap().unwrap();
        assert_eq!(store.user(name).unwrap(), Some(changed.clone()));
        changed
    };
    let set = |name: &str, scope| change(name, &with_scope(scope));
    let ann = set("ann", ScopeChange::Hosts(scope("gaming")));
    assert_eq!(
        (ann.scope, ann.token_version.as_str()),
        (Some(scope("gaming")), "2")
    );
    let same = set(
        "bob",
        ScopeChange::Hosts(scope("tag.customer=acme and not paid")),
    );
    assert_eq!(same, scoped, "nothing has changed, so the logins go on");
    change("bob", &with_role(Role::Admin));
    assert_eq!(set("bob", ScopeChange::AllHosts).scope, None);

    let told = told(store)
        .into_iter()
        .filter(|(kind, ..)| *kind != "user.changed");
    let name = |name: &str| name.to_owned();
    let text = "tag.customer = acme and not paid";
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            ("user.created", name("ann"), json!({"role": "admin"})),
            (
                "user.created",
                name("bob"),
                json!({"role": "readonly", "scope": text})
            ),
            (
                "user.scope",
                name("ann"),
                json!({"from": null, "to": "gaming"})
            ),
            ("user.scope", name("bob"), json!({"from": text, "to": null})),
        ]
    );
}

pub(super) fn the_last_superadmin_without_a_scope_stays(store: &dyn Store) {
    for name in ["ann", "bob"] {
        store
            .add_user(&user(name, Role::Superadmin), &act())
            .unwrap();
    }
    let scoped = || with_scope(ScopeChange::Hosts(scope("all")));
    store.change_user("ann", &scoped(), &act()).unwrap();
    assert!(is_last(&store.change_user("bob", &scoped(), &act())));
    assert!(is_last(&store.remove_user("bob", &act())));
    assert!(is_last(&store.change_user(
        "bob",
        &with_role(Role::Admin),
        &act()
    )));
    let bob = store.user("bob").unwrap().unwrap();
    assert_eq!((bob.role, bob.scope), (Role::Superadmin, None));

    // One with a scope does not count, and may go.
    store
        .change_user("ann", &with_role(Role::Readonly), &act())
        .unwrap();
    store
        .change_user("ann", &with_role(Role::Superadmin), &act())
        .unwrap();
    store
        .change_user("ann", &with_scope(ScopeChange::AllHosts), &act())
        .unwrap();
    store.change_user("bob", &scoped(), &act()).unwrap();
    store.remove_user("bob", &act()).unwrap();
    assert!(is_last(&store.remove_user("ann", &act())));
}

pub(super) fn of_two_superadmins_who_get_a_scope_at_once_one_stays_without(
    store: &dyn Store,
) {
    for round in 0..8 {
        let names = [format!("ann{round}"), format!("bob{round}")];
        for name in &names {
            store
                .add_user(&user(name, Role::Superadmin), &act())
                .unwrap();
        }
        let scoped = with_scope(ScopeChange::Hosts(scope("paid")));
        thread::scope(|threads| {
            for name in &names {
                let scoped = &scoped;
                threads.spawn(move || {
                    let changed = store.change_user(name, scoped, &act());
                    assert!(changed.is_ok() || is_last(&changed), "{changed:?}");
                });
            }
        });
        let users = store.users().unwrap();
        let left = users.iter().filter(|user| user.may_do_all());
        assert!(left.count() >= 1, "{users:?}");
    }
}

pub(super) fn two_superadmins_cannot_demote_each_other(store: &dyn Store) {
    for round in 0..8 {
        let names = [format!("ann{round}"), format!("bob{round}")];
        for name in &names {
            store
                .add_user(&user(name, Role::Superadmin), &act())
                .unwrap();
        }
        if round > 0 {
            // The one of the round before may go now.
            let before = store.users().unwrap().into_iter().find(|user| {
                user.role == Role::Superadmin && !names.contains(&user.username)
            });
            store
                .remove_user(&before.unwrap().username, &act())
                .unwrap();
        }
        thread::scope(|scope| {
            scope.spawn(|| {
                let demoted =
                    store.change_user(&names[0], &with_role(Role::Readonly), &act());
                assert!(demoted.is_ok() || is_last(&demoted), "{demoted:?}");
            });
            scope.spawn(|| {
                let removed = store.remove_user(&names[1], &act());
                assert!(removed.is_ok() || is_last(&removed), "{removed:?}");
            });
        });
        let users = store.users().unwrap();
        let left = users.iter().filter(|user| user.role == Role::Superadmin);
        assert!((1..=2).contains(&left.count()), "{users:?}");
        if users
            .iter()
            .filter(|user| user.role == Role::Superadmin)
            .count()
            == 2
        {
            store.remove_user(&names[0], &act()).unwrap();
        }
    }
}

pub(super) fn a_second_factor_counts_from_its_first_code(store: &dyn Store) {
    store
        .add_user(&user("ann", Role::Superadmin), &act())
        .unwrap();
    let change = |change: &UserChange| store.change_user("ann", change, &act()).unwrap();
    let begin = |secret: &str| {
        let secret = secret.to_owned();
        change(&UserChange::TotpBegun { secret }).unwrap()
    };
    let enable = |secret: &str, step| {
        change(&UserChange::TotpEnabled {
            secret: secret.to_owned(),
            step,
            recovery_codes: vec!["first".to_owned(), "second".to_owned()],
            token_version: "2".to_owned(),
        })
    };
    assert_eq!(enable("A", 7), None, "there is nothing to be confirmed");
    assert_eq!(begin("A").totp.secret, None, "it does not count yet");
    begin("B");
    assert_eq!(enable("A", 7), None, "another one has been asked for since");
    let enabled = enable("B", 7).unwrap();
    assert_eq!(enabled.token_version, "2");
    assert_eq!(enable("B", 8), None, "once");
    let totp = Totp {
        secret: Some("B".to_owned()),
        pending: None,
        last_step: 7,
        recovery_codes: vec!["first".to_owned(), "second".to_owned()],
    };
    assert_eq!(store.user("ann").unwrap().unwrap().totp, totp);
    assert!(enabled.account().totp);

    let step = |step| change(&UserChange::TotpStepUsed { step }).is_some();
    assert_eq!(
        [7, 6, 9, 9, 8, 10].map(step),
        [false, false, true, false, false, true]
    );
    let recover = |hash: &str| {
        let hash = hash.to_owned();
        change(&UserChange::RecoveryCodeUsed { hash }).is_some()
    };
    let used = ["second", "second", "third", ""].map(recover);
    assert_eq!(used, [true, false, false, false]);

    let reset = UserChange::TotpReset {
        token_version: "3".to_owned(),
    };
    let reset = change(&reset).unwrap();
    assert_eq!(
        (reset.totp, reset.token_version.as_str()),
        (Totp::default(), "3")
    );
    let changes: Vec<Value> = told(store)
        .into_iter()
        .filter(|(kind, ..)| *kind == "user.totp")
        .map(|(.., facts)| facts)
        .collect();
    assert_eq!(
        changes,
        [
            json!({"change": "begun", "recovery_codes": 0}),
            json!({"change": "begun", "recovery_codes": 0}),
            json!({"change": "enabled", "recovery_codes": 2}),
            json!({"change": "recovery code used", "recovery_codes": 1}),
            json!({"change": "reset", "recovery_codes": 0}),
        ]
    );
}

pub(super) fn of_many_who_show_one_code_one_is_let_in(store: &dyn Store) {
    store
        .add_user(&user("ann", Role::Superadmin), &act())
        .unwrap();
    let act = Act::program("test", act().at);
    for step in 1..=4 {
        let use_step = || {
            let change = UserChange::TotpStepUsed { step };
            store.change_user("ann", &change, &act).unwrap().is_some()
        };
        let let_in = thread::scope(|scope| {
            let tries: Vec<_> = (0..8).map(|_| scope.spawn(use_step)).collect();
            let tries = tries.into_iter().map(|of| of.join().unwrap());
            tries.filter(|is_let_in| *is_let_in).count()
        });
        assert_eq!(let_in, 1, "{step}");
    }
}
